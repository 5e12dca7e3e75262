"""How does a program start orchestrations, talk to them and wait for them? One client over any transport.

A client needs the two views of the port, `Mailbox` and `InstanceView`: the provider itself in process, or a remote
that speaks HTTP. There are no branches over transports here.
"""

import math
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar, Unpack, cast, overload

from msgspec import Struct

from engine.admin_calls import AdminCalls
from engine.begun import begun
from engine.clock import Clock, SystemClock
from engine.converter import Converter, JsonConverter
from engine.errors import (
    InstanceNotFound,
    OrchestrationFailed,
    OrchestrationHeld,
    UsageError,
    WaitTimedOut,
)
from engine.model.events import AnyEvent
from engine.model.failure import Category, Failure
from engine.model.ids import instant_problem, root_instance_id_problem
from engine.model.key_values import KeyValue
from engine.model.messages import CancelInstance, EnqueueMessage, External, RaiseEvent, StartOrchestration
from engine.model.payload import NULL, Payload
from engine.model.status import Status
from engine.model.views import InstanceInfo
from engine.port import InstanceView, Mailbox, ProviderAdmin
from engine.registry import orchestration_definition
from engine.replay import arguments
from engine.replay.context import OrchestrationContext
from engine.runtime.doors import Chance, within
from engine.start_options import StartOptions, reuse_policy

I = TypeVar("I")  # noqa: E741  # input, beside O for output
O = TypeVar("O")  # noqa: E741  # output, beside I for input
T = TypeVar("T")

REASON = "cancelled by a client"


class MailboxAndView(Mailbox, InstanceView, Protocol):
    """What a client needs of a provider."""


class ClientOptions(Struct, frozen=True, kw_only=True):
    """What may be set of a client.

    Attributes:
        tries_max: Calls in all, the first included, while the provider answers `Retryable` or `InDoubt`.
        delay_ms: Wait before the second; doubles.
        delay_max_ms: Bound of that wait. With the defaults a call gives up after some six seconds.
        start_ms_max: So long a start with `if_exists` waits to hear whether it began the instance.
    """

    tries_max: int = 8
    delay_ms: int = 50
    delay_max_ms: int = 2_000
    start_ms_max: int = 20_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if (value := getattr(self, name)) < 1:
                raise UsageError(f"expected {name} of at least 1, but it is {value}")


class Handle(Generic[O]):
    """One instance, and what its orchestration returns.

    Attributes:
        instance: Its id.
    """

    def __init__(self, client: "Client", instance: str, output: Any) -> None:
        self.instance = instance
        self._client = client
        self._output = output

    async def wait(self, timeout: float | timedelta | None = None) -> O:
        """As `Client.wait`."""
        return cast("O", await self._client.wait(self.instance, timeout, output=self._output))

    async def status(self) -> InstanceInfo:
        """As `Client.status`."""
        return await self._client.status(self.instance)

    async def changed(self, seen: int = 0) -> InstanceInfo:
        """As `Client.changed`."""
        return await self._client.changed(self.instance, seen)

    async def raise_event(self, name: str, data: object = None, *, keep: bool = False) -> None:
        """As `Client.raise_event`."""
        await self._client.raise_event(self.instance, name, data, keep=keep)

    async def enqueue_message(self, queue: str, data: object = None) -> None:
        """As `Client.enqueue_message`."""
        await self._client.enqueue_message(self.instance, queue, data)

    async def cancel(self, reason: str = REASON) -> None:
        """As `Client.cancel`."""
        await self._client.cancel(self.instance, reason)

    async def history(self, execution_id: int | None = None) -> Sequence[AnyEvent]:
        """As `Client.history`."""
        return await self._client.history(self.instance, execution_id)


class Client(AdminCalls):
    """Starts orchestrations, sends them events and messages, waits for them.

    What a call sends is durable when it returns. A call that is repeated after `Retryable` or `InDoubt` keeps its
    message id, so that it counts once. After the last try the error is raised, and any other error at once.

    Args:
        provider: Both views of the port: a provider in this process, or a remote one.
        admin: For what operators ask and order, `list_instances` and below; the provider itself if it is one and none
            is given.
        converter: The one the engine has.
        options: Numbers.
        clock: Of time-outs and pauses.
        chance: Of message ids, and of instance ids that the caller does not choose.
    """

    def __init__(
        self,
        provider: MailboxAndView,
        *,
        admin: ProviderAdmin | None = None,
        converter: Converter | None = None,
        options: ClientOptions | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        admin = admin or (provider if isinstance(provider, ProviderAdmin) else None)
        super().__init__(admin, options or ClientOptions(), clock or SystemClock())
        self._provider = provider
        self._converter = converter or JsonConverter()
        self._options = options or ClientOptions()
        self._chance = chance or Chance()

    # To an instance

    @overload
    async def start(
        self,
        orchestration: Callable[[OrchestrationContext, I], Coroutine[Any, Any, O]],
        input: I,
        /,
        **options: Unpack[StartOptions],
    ) -> Handle[O]: ...
    @overload
    async def start(
        self,
        orchestration: Callable[[OrchestrationContext], Coroutine[Any, Any, O]],
        /,
        **options: Unpack[StartOptions],
    ) -> Handle[O]: ...
    @overload
    async def start(
        self,
        orchestration: str,
        input: object = None,  # its name in every signature above; positional all the same
        /,
        **options: Unpack[StartOptions],
    ) -> Handle[Any]: ...
    async def start(
        self,
        orchestration: str | Callable[..., Any],
        input: object = None,  # noqa: A002  # its name in every signature above; positional all the same
        /,
        **options: Unpack[StartOptions],
    ) -> Handle[Any]:
        """Ask for an orchestration to start. Durable when it returns.

        If the instance exists already, the start counts as a duplicate and changes nothing, unless `if_exists` says so.

        Args:
            orchestration: A function decorated with `@orchestration`, which gives its name alone, or a name.
            input: Its input.
            options: See `StartOptions`.

        Raises:
            UsageError: The id cannot be one, the input cannot travel, the function is not decorated, an option is
                unknown, it would begin after the year 9999, or would have no time at all.
            InstanceExists: With `if_exists`: another start began it. One that is repeated with the `message_id` which
                began it succeeds.
            WaitTimedOut: With `if_exists`: nobody knows yet. A repeated call with the same `message_id` asks again.
        """
        arguments.options(options, StartOptions.__annotations__, "a start")
        output: Any = Any
        if isinstance(orchestration, str):
            name = arguments.name(orchestration, "the name of an orchestration")
        else:
            definition = orchestration_definition(orchestration)
            name, output = definition.name, definition.output_type
            if input is not None and not definition.takes_input:
                raise UsageError(f"expected no input for {name}, which takes none, but it got {input!r}")
        chosen = options.get("instance")
        delay_ms = self._delay_ms(options.get("delay"))
        message = StartOrchestration(
            instance=_checked(self._chance.token() if chosen is None else chosen),
            name=name,
            input=self._payload(input, f"the input of {name}"),
            version=arguments.version(options.get("version"), "version"),
            deadline_ms=_deadline_ms(options.get("deadline")),
            if_exists=reuse_policy(options.get("if_exists")),
            message_id=self._message_id(options.get("message_id")),
        )
        if message.if_exists is not None and delay_ms:
            raise UsageError("expected no delay beside if_exists, for who is there by then is not known before")
        await self._send(message, delay_ms)
        if message.if_exists is not None:
            await self._begun(message)
        return Handle(self, message.instance, output)

    async def _begun(self, start: StartOrchestration) -> None:
        instance, message_id = start.instance, start.message_id or ""
        deciding = self._repeated(lambda: begun(self._provider, instance, message_id))
        try:
            await within(self._clock, deciding, self._options.start_ms_max)
        except TimeoutError:
            raise WaitTimedOut(
                f"expected {instance!r} to begin, or to refuse to, within {self._options.start_ms_max} ms, but "
                f"{await self._last_seen(instance)}; the start is in its queue"
            ) from None

    def _delay_ms(self, delay: timedelta | None) -> int:
        delay_ms = 0 if delay is None else arguments.milliseconds(delay)
        if problem := instant_problem(self._clock.now_ms() + delay_ms, "an orchestration that starts"):
            raise UsageError(problem)
        return delay_ms

    @overload
    def handle(self, instance: str) -> Handle[Any]: ...
    @overload
    def handle(self, instance: str, output: type[O]) -> Handle[O]: ...
    def handle(self, instance: str, output: Any = Any) -> Handle[Any]:
        """A handle of an instance that somebody else started; no call is made, it need not exist."""
        return Handle(self, instance, output)

    async def raise_event(
        self, instance: str, name: str, data: object = None, *, keep: bool = False, message_id: str | None = None
    ) -> None:
        """Send external event `name`. It wakes the oldest wait of that name; if there is none it is lost.

        With `keep` it is not lost: the execution keeps it until its code waits for that name.

        Raises:
            UsageError: The id or the name cannot be one, or `data` cannot travel.
        """
        payload = self._payload(data, f"the data of event {arguments.name(name, 'the name of an external event')}")
        message_id = self._message_id(message_id)
        await self._send(
            RaiseEvent(instance=_present(instance), name=name, data=payload, keep=keep, message_id=message_id)
        )

    async def enqueue_message(
        self, instance: str, queue: str, data: object = None, *, message_id: str | None = None
    ) -> None:
        """Put a message in a queue of the instance; it stays until it is read. Lost if there is no such instance.

        Raises:
            UsageError: The id or the name cannot be one, or `data` cannot travel.
        """
        payload = self._payload(data, f"the data of a message for queue {arguments.name(queue, 'the name of a queue')}")
        message_id = self._message_id(message_id)
        await self._send(EnqueueMessage(instance=_present(instance), name=queue, data=payload, message_id=message_id))

    async def cancel(self, instance: str, reason: str = REASON, *, message_id: str | None = None) -> None:
        """Ask the instance to end: its code sees `CancelledError`. Nothing happens if it has ended or is unknown.

        Raises:
            UsageError: The id cannot be one, or the reason is no text.
        """
        reason = arguments.text(reason, "the reason of a cancel")
        message_id = self._message_id(message_id)
        await self._send(CancelInstance(instance=_present(instance), reason=reason, message_id=message_id))

    # From an instance

    async def status(self, instance: str) -> InstanceInfo:
        """State of the instance, as committed.

        Raises:
            UsageError: The id is no text.
            InstanceNotFound: It does not exist; after `start` that is so until its first turn.
        """
        info = await self._repeated(lambda: self._provider.get_instance_info(_text(instance)))
        if info is None:
            raise InstanceNotFound(f"expected an instance {instance!r}, but there is none")
        return info

    async def changed(self, instance: str, seen: int = 0) -> InstanceInfo:
        """Wait until the instance exists with a revision above `seen`, and return its state. Waits for ever.

        With the revision of the state seen last, no change is missed: each call returns at once if there was one.
        """
        return await self._repeated(lambda: self._provider.changed(instance, seen))

    @overload
    async def wait(self, instance: str, timeout: float | timedelta | None = None) -> Any: ...
    @overload
    async def wait(self, instance: str, timeout: float | timedelta | None = None, *, output: type[O]) -> O: ...
    async def wait(self, instance: str, timeout: float | timedelta | None = None, *, output: Any = Any) -> Any:
        """What the orchestration returned, once the instance has completed; it need not exist yet.

        Args:
            instance: Its id.
            timeout: Seconds, or a timedelta; None waits for ever.
            output: What it returned, as which type.

        Raises:
            UsageError: `timeout` is neither, or the id is no text.
            OrchestrationFailed: It failed or was cancelled.
            OrchestrationHeld: It is held, or became so meanwhile. After `resume` it may be waited for again.
            WaitTimedOut: It has not ended in time. It goes on.
            ConversionError: It returned something else than `output`.
        """
        seconds = _seconds(timeout)
        ending = self._repeated(lambda: self._provider.ended(_text(instance)))
        try:
            info = await (ending if seconds is None else within(self._clock, ending, math.ceil(seconds * 1000)))
        except TimeoutError:
            raise WaitTimedOut(
                f"expected {instance!r} to end within {seconds:g} s, but {await self._last_seen(instance)}"
            ) from None
        require_completed(info)
        return self._converter.decode(info.output or NULL, output, f"the output of {instance}")

    async def history(self, instance: str, execution_id: int | None = None) -> Sequence[AnyEvent]:
        """Events of the latest execution, or of `execution_id`; empty if there is none."""
        provider = self._provider
        if execution_id is None:
            return await self._repeated(lambda: provider.read(instance))
        return await self._repeated(lambda: provider.read_with_execution(instance, execution_id))

    @overload
    async def get_key_value(self, instance: str, key: str) -> object: ...
    @overload
    async def get_key_value(self, instance: str, key: str, value: type[T]) -> T | None: ...
    async def get_key_value(self, instance: str, key: str, value: Any = object) -> Any:
        """What the instance keeps under `key`, as committed; None if it keeps nothing there or does not exist.

        Args:
            instance: Its id.
            key: As its code named it.
            value: Type to convert to.

        Raises:
            ConversionError: What is kept has another type.
        """
        kept = await self._repeated(lambda: self._provider.get_key_value(instance, key))
        return None if kept is None else self._decoded(kept, instance, key, value)

    @overload
    async def wait_for_key_value(
        self, instance: str, key: str, *, timeout: float | timedelta | None = None
    ) -> object: ...
    @overload
    async def wait_for_key_value(
        self, instance: str, key: str, value: type[T], *, timeout: float | timedelta | None = None
    ) -> T: ...
    async def wait_for_key_value(
        self, instance: str, key: str, value: Any = object, *, timeout: float | timedelta | None = None
    ) -> Any:
        """What the instance keeps under `key`, once it keeps something there; the instance need not exist yet.

        Args:
            instance: Its id.
            key: As its code names it.
            value: Type to convert to.
            timeout: Seconds, or a timedelta; None waits for ever, whether or not the instance has ended.

        Raises:
            UsageError: `timeout` is neither.
            WaitTimedOut: There was nothing in time.
            ConversionError: What is kept has another type.
        """
        seconds = _seconds(timeout)
        keeping = self._kept_at_last(instance, key)
        try:
            kept = await (keeping if seconds is None else within(self._clock, keeping, math.ceil(seconds * 1000)))
        except TimeoutError:
            raise WaitTimedOut(
                f"expected {instance!r} to keep something under {key!r} within {seconds:g} s, "
                f"but {await self._last_seen(instance)}"
            ) from None
        return self._decoded(kept, instance, key, value)

    async def _kept_at_last(self, instance: str, key: str) -> KeyValue:
        seen = 0
        while True:
            # The look comes after the revision: what is put between both is seen, and what comes later is a change.
            info = await self.changed(instance, seen)
            kept = await self._repeated(lambda: self._provider.get_key_value(instance, key))
            if kept is not None:
                return kept
            seen = info.revision

    async def get_key_values(self, instance: str) -> dict[str, object]:
        """All that the instance keeps, as committed, by key, ascending; empty if it does not exist."""
        kept = await self._repeated(lambda: self._provider.get_key_values(instance))
        return {key: self._decoded(each, instance, key, object) for key, each in kept.items()}

    def _decoded(self, kept: KeyValue, instance: str, key: str, value: Any) -> Any:
        return self._converter.decode(kept.value, value, f"key {key!r} of {instance}")

    async def _send(self, message: External, delay_ms: int = 0) -> None:
        # Every kind of External is one of the messages the port takes; the union of them has no name of its own.
        sent = cast("StartOrchestration | RaiseEvent | EnqueueMessage | CancelInstance", message)
        await self._repeated(lambda: self._provider.enqueue_for_orchestrator(sent, delay_ms))

    async def _last_seen(self, instance: str) -> str:
        info = await self._provider.get_instance_info(instance)
        if info is None:
            return "there is no such instance"
        why = f": {info.failure.message}" if info.failure else ""
        return f"it is {info.status.value}{why}"

    def _message_id(self, chosen: str | None) -> str:
        return arguments.text(chosen, "message_id") if chosen else self._chance.token()

    def _payload(self, value: object, what: str) -> Payload:
        return self._converter.encode(value, what)


def require_completed(info: InstanceInfo) -> None:
    """Check an instance that goes no further by itself.

    Raises:
        OrchestrationHeld: It is held.
        OrchestrationFailed: It failed or was cancelled.
    """
    if info.status is not Status.COMPLETED:
        error = OrchestrationHeld if info.status is Status.HELD else OrchestrationFailed
        raise error(info.instance, info.failure or _unexplained(info))


def _seconds(timeout: object) -> float | None:
    """A time-out in seconds.

    Raises:
        UsageError: It is none.
    """
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if not isinstance(timeout, (int, float)) or not math.isfinite(timeout):
        raise UsageError(
            f"expected timeout to be seconds, a timedelta, or None to wait for ever, but it is {timeout!r}"
        )
    return timeout


def _text(instance: str) -> str:
    return arguments.text(instance, "the id of an instance")


def _checked(instance: str) -> str:
    if problem := root_instance_id_problem(_text(instance)):
        raise UsageError(problem)
    return instance


def _present(instance: str) -> str:
    # Automatic children may be spoken to, though a client cannot start one.
    if not _text(instance):
        raise UsageError("expected a non-empty instance id, but it is empty")
    return instance


def _deadline_ms(deadline: timedelta | None) -> int | None:
    length = arguments.duration(deadline, "deadline")
    deadline_ms = None if length is None else arguments.milliseconds(length)
    if deadline_ms == 0:
        raise UsageError(f"expected a deadline after the start, but it is {deadline}")
    return deadline_ms


def _unexplained(info: InstanceInfo) -> Failure:
    category = Category.CANCELLED if info.status is Status.CANCELLED else Category.UNKNOWN
    return Failure(category=category, type=info.status.value, message="no failure is recorded")
