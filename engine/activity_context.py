"""What does an activity know about its own call? The context that a worker hands to functions that ask for one."""

import logging
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from engine.client import Client

T = TypeVar("T")


class ActivityContext(Protocol):
    """First parameter of an activity that is annotated with it; an activity without one takes its input alone."""

    @property
    def instance(self) -> str:
        """The instance that asked."""
        ...

    @property
    def execution_id(self) -> int:
        """Its execution that asked."""
        ...

    @property
    def activity_id(self) -> int:
        """Event id of the call.

        With `instance` and `execution_id` it is the same over redeliveries of this call, and another for each retry
        by policy. A key that a payment must keep over retries belongs into the input: `ctx.new_guid()` in the
        orchestration, once, before the call.
        """
        ...

    @property
    def name(self) -> str:
        """The activity's name."""
        ...

    @property
    def orchestration(self) -> str:
        """Name of the orchestration that asked."""
        ...

    @property
    def version(self) -> str:
        """Version of the orchestration that asked."""
        ...

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of whoever started the instance; None if the start brought none."""
        ...

    @property
    def session_id(self) -> str | None:
        """The session it was asked for in; None without one."""
        ...

    @property
    def tag(self) -> str | None:
        """The tag it was asked for with; None without one."""
        ...

    @property
    def attempt(self) -> int:
        """Which delivery of this one call this is, from 1. A retry by policy is a call of its own."""
        ...

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger that names the instance, the execution and the activity."""
        ...

    @property
    def client(self) -> "Client":
        """A client of the engine's own provider, for async activities: its calls are awaited on the engine's loop.

        What it does is a side effect as any other: a redelivery does it again, unless it is given a `message_id` that
        stays the same, such as one made of `instance`, `execution_id` and `activity_id`. An activity that waits for
        its own instance waits for ever.
        """
        ...

    def heartbeat(self, details: object = None) -> None:
        """Say that this call lives and, with `details`, how far it is; from any thread, as often as you like.

        The newest details are kept with the call, so that whoever does its work again reads them (`heartbeat_details`):
        the next delivery after a crash, the next attempt after a failure. What a failure leaves is what was said last.
        After a crash it is what was said up to a third of `activity_lease_ms` before, for details travel with the
        renewals of the lease, the first ones at once. Without details it is a sign of life, and what was said before
        stands.

        Raises:
            ConversionError: `details` have no payload, or are larger than `EngineOptions.heartbeat_bytes_max`.
        """
        ...

    @overload
    def heartbeat_details(self, expected: type[T], /) -> T | None: ...
    @overload
    def heartbeat_details(self, /) -> object: ...
    def heartbeat_details(self, expected: Any = object, /) -> Any:
        """What this call, or the attempt before it, said last of how far it was; None if it never did.

        Raises:
            ConversionError: It is not of the type `expected`.
        """
        ...

    def is_cancelled(self) -> bool:
        """Whether nobody waits for this call any more: it was taken back, took too long, or the engine stops."""
        ...

    async def cancelled(self) -> None:
        """Return once `is_cancelled` is true. For async activities; they are interrupted some seconds later."""
        ...

    def raise_if_cancelled(self) -> None:
        """For synchronous activities, which nothing can interrupt: call it wherever the work may end.

        Raises:
            asyncio.CancelledError: `is_cancelled` is true.
        """
        ...
