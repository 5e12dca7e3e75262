"""What can an orchestration ask for? The context: its only door to the world.

Asking is eager: the call records what is asked for, awaiting only waits. Every call raises Evicting while the
execution is put away; let it pass. A call that does not come from the orchestration's own turn raises UsageError.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Coroutine, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Never, TypeVar, Unpack, cast, overload

from engine.activity_context import ActivityContext
from engine.converter import Converter
from engine.errors import UsageError
from engine.model.actions import (
    AnyAction,
    CallActivity,
    ClearKeyValue,
    ClearKeyValues,
    ContinueAsNew,
    DequeueMessage,
    ReadKeys,
    ReadKeyValue,
    SetKeyValue,
    StartDetached,
    StartSubOrchestration,
    UpdateCustomStatus,
    WaitExternal,
)
from engine.model.payload import Payload
from engine.registry import activity_definition, orchestration_definition
from engine.replay import arguments
from engine.replay.call_options import ActivityOptions, ChildOptions, TrialOptions
from engine.replay.combinators import Combinators
from engine.replay.futures import AskedFuture, DurableFuture
from engine.replay.ledger import Ledger
from engine.replay.loop import DeterministicLoop
from engine.replay.retry import ONCE, Attempts, AttemptsFuture

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


class OrchestrationContext(Combinators):
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
        self.instance = ledger.instance
        self.execution_id = ledger.execution_id
        self.name = name
        self.version = version
        self.logger = OrchestrationLogger(ledger.instance, ledger.execution_id)
        self.continued: ContinueAsNew | None = None
        self._ledger = ledger
        self._loop = loop
        self._converter = converter
        self._guids = 0

    # Activities.

    @overload
    def schedule_activity(
        self,
        activity: Callable[[ActivityContext, I], Coroutine[Any, Any, O]],
        input: I,
        /,
        **options: Unpack[ActivityOptions],
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[ActivityContext, I], O], input: I, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[I], Coroutine[Any, Any, O]], input: I, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[I], O], input: I, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[ActivityContext], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[ActivityContext], O], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: Callable[[], O], /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: str, input: object = None, /, *, output: type[O], **options: Unpack[ActivityOptions]
    ) -> DurableFuture[O]: ...
    @overload
    def schedule_activity(
        self, activity: str, input: object = None, /, **options: Unpack[ActivityOptions]
    ) -> DurableFuture[Any]: ...
    def schedule_activity(
        self,
        activity: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        output: Any = Any,
        **options: Unpack[ActivityOptions],
    ) -> DurableFuture[Any]:
        """Call an activity, given as its function or by name.

        The future raises ActivityError if it failed for good, TimedOut if it took too long, and ConversionError if
        what it returned is not of the type its function (or `output`) says.

        Raises:
            ConversionError: The input has no payload.
            UsageError: The function is not decorated with `@activity`, or an option is unknown or of the wrong type.
        """
        return self._future_of(self._activity(activity, value, output, options))

    @overload
    async def activity(
        self,
        activity: Callable[[ActivityContext, I], Coroutine[Any, Any, O]],
        input: I,
        /,
        **options: Unpack[ActivityOptions],
    ) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[ActivityContext, I], O], input: I, /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[I], Coroutine[Any, Any, O]], input: I, /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: Callable[[I], O], input: I, /, **options: Unpack[ActivityOptions]) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[ActivityContext], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: Callable[[ActivityContext], O], /, **options: Unpack[ActivityOptions]) -> O: ...
    @overload
    async def activity(
        self, activity: Callable[[], Coroutine[Any, Any, O]], /, **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: Callable[[], O], /, **options: Unpack[ActivityOptions]) -> O: ...
    @overload
    async def activity(
        self, activity: str, input: object = None, /, *, output: type[O], **options: Unpack[ActivityOptions]
    ) -> O: ...
    @overload
    async def activity(self, activity: str, input: object = None, /, **options: Unpack[ActivityOptions]) -> Any: ...
    async def activity(
        self,
        activity: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        output: Any = Any,
        **options: Unpack[ActivityOptions],
    ) -> Any:
        """`schedule_activity` as a coroutine, for `tg.create_task`: asked for when it first runs."""
        attempts = self._activity(activity, value, output, options)
        return await (attempts if isinstance(attempts, DurableFuture) else attempts.run())

    def _activity(
        self, activity: Callable[..., Any] | str, value: object, output: Any, options: ActivityOptions
    ) -> AskedFuture[Any] | Attempts[Any]:
        arguments.options(options, ActivityOptions.__annotations__, "an activity")
        if isinstance(activity, str):
            name = arguments.name(activity, "the name of an activity")
        else:
            definition = activity_definition(activity)
            name, output = definition.name, definition.output_type
            if value is not None and not definition.takes_input:
                raise UsageError(f"expected no input for activity {name}, which takes none, but it got {value!r}")
        action = CallActivity(
            name=name,
            input=self._converter.encode(value, f"input of activity {name}"),
            session_id=arguments.name(options["session_id"], "session_id") if "session_id" in options else None,
            tag=arguments.tag(options["tag"]) if "tag" in options else None,
        )

        return self._tried(f"activity {name}", action, output, options)

    def _tried(
        self, what: str, action: AnyAction, output: Any, options: TrialOptions
    ) -> AskedFuture[Any] | Attempts[Any]:
        """Ask once, or as often as the options say."""

        def call() -> AskedFuture[Any]:
            return self._asked(self._ask(action), output, f"output of {what}")

        retry = arguments.policy(options.get("retry"))
        timeout = arguments.duration(options.get("timeout"), "timeout")
        deadline = arguments.duration(options.get("deadline"), "deadline")
        if retry is None and timeout is None and deadline is None:
            return call()
        return Attempts(
            what,
            call=call,
            pause=self.schedule_timer,
            policy=retry or ONCE,
            timeout=timeout,
            deadline=deadline,
            chance=self._chance,
        )

    def _future_of(self, tried: AskedFuture[Any] | Attempts[Any]) -> DurableFuture[Any]:
        if isinstance(tried, DurableFuture):
            return tried
        return AttemptsFuture(self._loop, tried, lambda: self._ledger.last_event_id)

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
        With `retry` each attempt is another child.

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
        name = _orchestration_name(orchestration)
        if not isinstance(orchestration, str):
            output = orchestration_definition(orchestration).output_type
        action = StartSubOrchestration(
            name=name,
            input=self._converter.encode(value, f"input of orchestration {name}"),
            instance=arguments.instance_id(options.get("instance")),
            version=arguments.version(options.get("version"), "version"),
        )
        if action.instance is not None and "retry" in options:
            raise UsageError(
                f"expected no `instance` beside `retry`, for each attempt is an instance of its own, "
                f"but sub-orchestration {name} has {action.instance!r}"
            )
        return self._tried(f"orchestration {name}", action, output, options)

    @overload
    def start_detached(
        self,
        orchestration: "Callable[[OrchestrationContext, I], Coroutine[Any, Any, Any]]",
        input: I,
        /,
        *,
        instance: str,
        version: str | None = None,
    ) -> None: ...
    @overload
    def start_detached(
        self,
        orchestration: "Callable[[OrchestrationContext], Coroutine[Any, Any, Any]] | str",
        /,
        *,
        instance: str,
        version: str | None = None,
    ) -> None: ...
    @overload
    def start_detached(
        self, orchestration: str, input: object, /, *, instance: str, version: str | None = None
    ) -> None: ...
    def start_detached(
        self,
        orchestration: Callable[..., Any] | str,
        value: object = None,
        /,
        *,
        instance: str,
        version: str | None = None,
    ) -> None:
        """Start an orchestration that lives on its own. If `instance` exists already, nothing happens.

        Raises:
            ConversionError: The input has no payload.
            UsageError: The function is not decorated with `@orchestration`, `instance` cannot be an id, or `version` is
                none.
        """
        name = _orchestration_name(orchestration)
        payload = self._converter.encode(value, f"input of orchestration {name}")
        arguments.instance_id(instance)
        arguments.version(version, "version")
        self._ask(StartDetached(name=name, instance=instance, input=payload, version=version))

    # Waiting.

    def schedule_timer(self, delay: timedelta) -> DurableFuture[None]:
        """A future that is done `delay` from now, rounded up to milliseconds. `asyncio.sleep` is its coroutine.

        Raises:
            UsageError: `delay` is no timedelta, or ends after the year 9999.
        """
        self._loop.require_turn()
        event_id = self._ledger.create_timer(self._ledger.now_ms + arguments.milliseconds(delay))
        return self._asked(event_id, None, "a timer's nothing")

    @overload
    def wait_event(self, name: str, expected: type[O], /) -> DurableFuture[O]: ...
    @overload
    def wait_event(self, name: str, /) -> DurableFuture[Any]: ...
    def wait_event(self, name: str, expected: Any = Any, /) -> DurableFuture[Any]:
        """The next external event `name` that arrives from now on; what arrived before is lost.

        Several waits of one name get one event each, oldest wait first. The future raises ConversionError if the data
        is not of the type `expected`.

        Raises:
            UsageError: `name` cannot be a name.
        """
        asked = WaitExternal(name=arguments.name(name, "the name of an external event"))
        return self._asked(self._ask(asked), expected, f"external event {name}")

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

    # Keys: what the instance keeps over its executions, and queries can read.

    def set_key_value(self, key: str, value: object) -> None:
        """Keep `value` under `key`, from the end of this turn on for queries too; later executions find it.

        Raises:
            UsageError: The key is no string, has no UTF-8 form, or is longer than 1 KiB.
            ConversionError: The value has no payload. One that is too large, or a key too many, fails the instance.
        """
        name = arguments.key(key)
        self._ask(SetKeyValue(key=name, value=self._converter.encode(value, f"what is kept under {name!r}")))

    @overload
    def get_key_value(self, key: str) -> object: ...
    @overload
    def get_key_value(self, key: str, value: type[O]) -> O | None: ...
    def get_key_value(self, key: str, value: Any = object) -> Any:
        """What is kept under `key`, as a `value`; None if there is nothing.

        Raises:
            UsageError: The key is no string, has no UTF-8 form, or is longer than 1 KiB.
            ConversionError: What is kept is no `value`.
        """
        name = arguments.key(key)
        self._loop.require_turn()
        keys = self._ledger.keys
        if not keys.is_known(name):
            self._ask(ReadKeyValue(key=name))
        kept = keys.value(name)
        return None if kept is None else self._converter.decode(kept, value, f"what is kept under {name!r}")

    def get_keys(self) -> list[str]:
        """Keys under which something is kept, ascending."""
        return list(self._listed())

    def get_key_values(self) -> dict[str, object]:
        """All that is kept, by key, ascending."""
        return {key: self.get_key_value(key) for key in self._listed()}

    def clear_key_value(self, key: str) -> None:
        """Keep nothing under `key` any more; it need not be there.

        Raises:
            UsageError: The key is no string, has no UTF-8 form, or is longer than 1 KiB.
        """
        self._ask(ClearKeyValue(key=arguments.key(key)))

    def clear_key_values(self) -> None:
        """Keep nothing any more."""
        self._ask(ClearKeyValues())

    def prune_key_values(self, updated_before: datetime) -> int:
        """Clear the keys whose value was put there before `updated_before`, ascending, and return how many."""
        before_ms = arguments.instant_ms(updated_before)
        old = [key for key, updated_at_ms in self._listed().items() if updated_at_ms < before_ms]
        for key in old:
            self.clear_key_value(key)
        return len(old)

    def _listed(self) -> dict[str, int]:
        self._loop.require_turn()
        if not self._ledger.keys.are_listed:
            self._ask(ReadKeys())
        return self._ledger.keys.all()

    def utc_now(self) -> datetime:
        """Time of the event that woke the code; it stands still until the next."""
        self._loop.require_turn()
        return EPOCH + timedelta(milliseconds=self._ledger.now_ms)

    def new_guid(self) -> uuid.UUID:
        """An id nobody else has: the same on every replay, another for every call, execution and life."""
        self._loop.require_turn()
        self._guids += 1
        return uuid.UUID(bytes=self._derived(f"guid {self._guids}"), version=5)

    def _ask(self, action: AnyAction) -> int:
        self._loop.require_turn()
        return self._ledger.ask(action)

    def _asked(
        self, event_id: int, expected: Any, what: str, on_read: Callable[[int], None] | None = None
    ) -> AskedFuture[Any]:
        def decode(payload: Payload) -> Any:
            return self._converter.decode(payload, expected, what)

        future: AskedFuture[Any] = AskedFuture(
            self._loop, event_id, decode, on_cancel=self._ledger.cancel, on_read=on_read
        )
        self._ledger.futures[event_id] = future
        return future

    def _chance(self, failed_attempts: int) -> float:
        self._ledger.settle()  # recorded histories drew their share behind what the same callback took back
        derived = self._derived(f"jitter {self._ledger.last_event_id} {failed_attempts}")
        return int.from_bytes(derived[:6], "big") / 2**48

    def _derived(self, what: str) -> bytes:
        """16 bytes that depend on this execution of this life, and on `what`."""
        seed = f"{self._ledger.incarnation} {self.execution_id} {what}".encode()
        return hashlib.blake2b(seed, digest_size=16).digest()


def _orchestration_name(orchestration: Callable[..., Any] | str) -> str:
    if isinstance(orchestration, str):
        return arguments.name(orchestration, "the name of an orchestration")
    return orchestration_definition(orchestration).name
