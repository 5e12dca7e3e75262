"""What does an activity know about its own call? The context that a worker hands to functions that ask for one."""

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.client import Client


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

    def is_cancelled(self) -> bool:
        """Whether nobody waits for this call any more: the orchestration took it back, or the engine stops."""
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
