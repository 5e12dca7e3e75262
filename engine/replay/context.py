"""What can an orchestration ask for? The context: its only door to the world.

Asking is eager: the call records what is asked for, awaiting only waits. Every call raises Evicting while the
execution is put away; let it pass. A call that does not come from the orchestration's own turn raises UsageError.
"""

import logging
import uuid
from collections.abc import Callable, Coroutine, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Never, TypeVar, Unpack, cast, overload

from engine.converter import Converter
from engine.errors import UsageError
from engine.model.actions import (
    ContinueAsNew,
    DequeueMessage,
    StartDetached,
    StartSubOrchestration,
    UpdateCustomStatus,
    WaitExternal,
)
from engine.model.ids import instant_problem
from engine.registry import orchestration_definition
from engine.replay import arguments
from engine.replay.activity_calls import ActivityCalls
from engine.replay.call_options import ChildOptions
from engine.replay.combinators import Combinators
from engine.replay.futures import AskedFuture, DurableFuture
from engine.replay.key_calls import KeyCalls
from engine.replay.ledger import Ledger
from engine.replay.loop import DeterministicLoop
from engine.replay.retry import Attempts

I = TypeVar("I")  # noqa: E741  # input, beside O for output
O = TypeVar("O")  # noqa: E741  # output, beside I for input

LOGGER = logging.getLogger("turnlog.orchestration")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OrchestrationLogger(logging.LoggerAdapter[logging.Logger]):
    """Names the instance and the execution in every record, and is silent while a history is replayed."""

    def __init__(self, instance: str, execution_id: int) -> None:
        super().__init__(LOGGER, {"instance": instance, "execution_id": execution_id})
        self.replaying = False

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the standard library's name
        return not self.replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Keep what the caller puts into `extra`; the standard adapter drops it before 3.13."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


class OrchestrationContext(ActivityCalls, KeyCalls, Combinators):
    """Given to every orchestration as its first argument.

    Attributes:
        instance: Id of this instance.
        execution_id: Which execution of it this is, from 1; grows with each continue-as-new.
        name: Of this orchestration.
        version: The one this execution is pinned to.
        logger: Logs what happens now and is silent about what is replayed.
    """

    def __init__(
        self, name: str, version: str, *, ledger: Ledger, loop: DeterministicLoop, converter: Converter
    ) -> None:
        super().__init__(ledger=ledger, loop=loop, converter=converter)
        self.instance = ledger.instance
        self.execution_id = ledger.execution_id
        self.name = name
        self.version = version
        self.logger = OrchestrationLogger(ledger.instance, ledger.execution_id)
        self.continued: ContinueAsNew | None = None
        self._guids = 0

    # Children.

    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: "Callable[[OrchestrationContext, I], Coroutine[Any, Any, O]]",
        input: I,
        /,
        **options: Unpack[ChildOptions],
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: "Callable[[OrchestrationContext], Coroutine[Any, Any, O]]",
        /,
        **options: Unpack[ChildOptions],
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_sub_orchestration(
        self, orchestration: str, input: object = None, /, *, output: type[O], **options: Unpack[ChildOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_sub_orchestration(
        self, orchestration: str, input: object = None, /, **options: Unpack[ChildOptions]
    ) -> DurableFuture[Any]: ...
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        output: Any = Any,
        **options: Unpack[ChildOptions],
    ) -> DurableFuture[Any]:
        """Start a child. A function gives its name alone: which version runs is `version`, or the latest.

        The future raises SubOrchestrationError if the child failed, was cancelled, or has the id of an instance that
        exists already; TimedOut if it took too long, and is cancelled then. Cancelling the future cancels the child.
        With `retry` each attempt is another child. With `on_parent_end="abandon"` it goes on when this orchestration
        ends; one that is cancelled while it waits for the child only gives up the wait.

        Raises:
            ConversionError: The input has no payload.
            UsageError: The function is not decorated with `@orchestration`, `instance` cannot be an id or stands beside
                `retry`, `version` is none, or an option is unknown.
        """
        return self._future_of(self._child(orchestration, value, output, options))

    @overload
    async def sub_orchestration(
        self,
        orchestration: "Callable[[OrchestrationContext, I], Coroutine[Any, Any, O]]",
        input: I,
        /,
        **options: Unpack[ChildOptions],
    ) -> O: ...
    @overload
    async def sub_orchestration(
        self,
        orchestration: "Callable[[OrchestrationContext], Coroutine[Any, Any, O]]",
        /,
        **options: Unpack[ChildOptions],
    ) -> O: ...
    @overload
    async def sub_orchestration(
        self, orchestration: str, input: object = None, /, *, output: type[O], **options: Unpack[ChildOptions]
    ) -> O: ...
    @overload
    async def sub_orchestration(
        self, orchestration: str, input: object = None, /, **options: Unpack[ChildOptions]
    ) -> Any: ...
    async def sub_orchestration(
        self,
        orchestration: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        output: Any = Any,
        **options: Unpack[ChildOptions],
    ) -> Any:
        """`schedule_sub_orchestration` as a coroutine, for `tg.create_task`: asked for when it first runs."""
        child = self._child(orchestration, value, output, options)
        return await (child if isinstance(child, DurableFuture) else child.run())

    def _child(
        self, orchestration: Callable[..., Any] | str, value: object, output: Any, options: ChildOptions
    ) -> AskedFuture[Any] | Attempts[Any]:
        arguments.options(options, ChildOptions.__annotations__, "a sub-orchestration")
        name, raises = _orchestration_name(orchestration), ()
        if not isinstance(orchestration, str):
            definition = orchestration_definition(orchestration)
            output, raises = definition.output_type, definition.raises
        action = StartSubOrchestration(
            name=name,
            input=self._converter.encode(value, f"input of orchestration {name}"),
            instance=arguments.instance_id(options.get("instance")),
            version=arguments.version(options.get("version"), "version"),
            on_parent_end=arguments.on_parent_end(options.get("on_parent_end")),
        )
        if action.instance is not None and "retry" in options:
            raise UsageError(
                f"expected no `instance` beside `retry`, for each attempt is an instance of its own, "
                f"but sub-orchestration {name} has {action.instance!r}"
            )
        on_cancel = None if action.on_parent_end is None else self._cancel_abandoned
        return self._tried(f"orchestration {name}", action, output, options, raises, on_cancel)

    def _cancel_abandoned(self, event_id: int) -> None:
        """The future of a child that goes on is cancelled, or only the wait of a parent that was asked to end."""
        if self._ledger.is_ending and self._loop.waits_given_up:
            self._ledger.leave(event_id)
        else:
            self._ledger.cancel(event_id)

    @overload
    def start_detached(
        self,
        orchestration: "Callable[[OrchestrationContext, I], Coroutine[Any, Any, Any]]",
        input: I,
        /,
        *,
        instance: str,
        version: str | None = None,
        delay: timedelta | None = None,
    ) -> None: ...
    @overload
    def start_detached(
        self,
        orchestration: "Callable[[OrchestrationContext], Coroutine[Any, Any, Any]] | str",
        /,
        *,
        instance: str,
        version: str | None = None,
        delay: timedelta | None = None,
    ) -> None: ...
    @overload
    def start_detached(
        self,
        orchestration: str,
        input: object,
        /,
        *,
        instance: str,
        version: str | None = None,
        delay: timedelta | None = None,
    ) -> None: ...
    def start_detached(
        self,
        orchestration: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        instance: str,
        version: str | None = None,
        delay: timedelta | None = None,
    ) -> None:
        """Start an orchestration that lives on its own. If `instance` exists already, nothing happens.

        With `delay` it begins so much later, and does not exist until then.

        Raises:
            ConversionError: The input has no payload.
            UsageError: The function is not decorated with `@orchestration`, `instance` cannot be an id, `version` is
                none, or `delay` is no length of time, or ends after the year 9999.
        """
        name = _orchestration_name(orchestration)
        payload = self._converter.encode(value, f"input of orchestration {name}")
        arguments.instance_id(instance)
        arguments.version(version, "version")
        delay_ms = None if delay is None else arguments.milliseconds(delay)
        if problem := instant_problem(self._ledger.now_ms + (delay_ms or 0), "an orchestration that starts"):
            raise UsageError(problem)
        self._ask(StartDetached(name=name, instance=instance, input=payload, version=version, delay_ms=delay_ms))

    # Waiting.

    @overload
    def wait_event(self, name: str, expected: type[O], /) -> DurableFuture[O]: ...
    @overload
    def wait_event(self, name: str, /) -> DurableFuture[Any]: ...
    def wait_event(self, name: str, expected: Any = Any, /) -> DurableFuture[Any]:
        """The next external event `name` that arrives from now on; what arrived before is lost, unless it was kept.

        Several waits of one name get one event each, oldest wait first; of events that were kept the oldest comes
        first. The future raises ConversionError if the data is not of the type `expected`.

        Raises:
            UsageError: `name` cannot be a name.
        """
        event_id = self._ask(WaitExternal(name=arguments.name(name, "the name of an external event")))
        future = self._asked(event_id, expected, f"external event {name}")
        self._ledger.open_wait(event_id, name)
        return future

    @overload
    def dequeue(self, queue: str, expected: type[O], /) -> DurableFuture[O]: ...
    @overload
    def dequeue(self, queue: str, /) -> DurableFuture[Any]: ...
    def dequeue(self, queue: str, expected: Any = Any, /) -> DurableFuture[Any]:
        """The next unread message of `queue`. Messages are kept until they are read, over continue-as-new too.

        The future raises ConversionError if the message is not of the type `expected`; it counts as read then.

        Raises:
            UsageError: `queue` cannot be a name.
        """
        event_id = self._ask(DequeueMessage(name=arguments.name(queue, "the name of a queue")))
        future = self._asked(event_id, expected, f"message of queue {queue}", on_read=self._ledger.message_read)
        self._ledger.read_queue(event_id, queue)
        return future

    # The rest.

    def continue_as_new(self, value: object = None, /, *, version: str | None = None) -> Never:
        """`return ctx.continue_as_new(x)` ends this execution and starts the next with input `x`.

        Nothing happens until the orchestration returns what this returned. Unread queue messages and the custom
        status go along; what is still open is cancelled.

        Raises:
            ConversionError: The input has no payload.
            UsageError: `version` is none.
        """
        self._loop.require_turn()
        arguments.version(version, "version")
        payload = self._converter.encode(value, f"input of orchestration {self.name}")
        self.continued = ContinueAsNew(input=payload, version=version)
        # To the types nothing comes back, so that it can stand where any output is returned; `live` sees what does.
        return cast("Never", self.continued)  # pyright: ignore[reportGeneralTypeIssues]  # see the line above

    def set_custom_status(self, status: str | None) -> None:
        """Show `status` in queries from the end of this turn on; None shows nothing.

        Raises:
            UsageError: It is no string, or has no UTF-8 form. A longer one than the bound fails the instance.
        """
        self._ask(UpdateCustomStatus(status=None if status is None else arguments.text(status, "a custom status")))

    @property
    def custom_status(self) -> str | None:
        """What was set last, by this execution or the ones before it."""
        self._loop.require_turn()
        return self._ledger.custom_status

    def utc_now(self) -> datetime:
        """Time of the event that woke the code; it stands still until the next."""
        self._loop.require_turn()
        return EPOCH + timedelta(milliseconds=self._ledger.now_ms)

    def new_guid(self) -> uuid.UUID:
        """An id nobody else has: the same on every replay, another for every call, execution and life."""
        self._loop.require_turn()
        self._guids += 1
        return uuid.UUID(bytes=self._derived(f"guid {self._guids}"), version=5)


def _orchestration_name(orchestration: Callable[..., Any] | str) -> str:
    if isinstance(orchestration, str):
        return arguments.name(orchestration, "the name of an orchestration")
    return orchestration_definition(orchestration).name
