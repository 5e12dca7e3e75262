"""What has the code asked for in this execution, under which event ids, and what of it is still open?

The ledger is where the code's asks become events: at once, in order, with the next event id. Nothing else may stand
between two of them, so the id is known when the code asks, in a live turn and in replay alike. What the code takes back
waits for the end of the callback, or for its next ask, and is recorded by event id: anyio cancels in order of address.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from engine.errors import UsageError
from engine.model.actions import (
    AnyAction,
    CallActivity,
    CancelAsked,
    ClearKeyValue,
    ClearKeyValues,
    CreateTimer,
    DequeueMessage,
    ReadKeys,
    ReadKeyValue,
    SetKeyValue,
    StartDetached,
    StartSubOrchestration,
    UpdateCustomStatus,
    WaitExternal,
)
from engine.model.events import (
    ActivityScheduled,
    AnyEvent,
    CarriedMessage,
    CustomStatusUpdated,
    ExecutionEnd,
    ExternalEventReceived,
    ExternalSubscribed,
    KeysRead,
    KeyValueCleared,
    KeyValueRead,
    KeyValuesCleared,
    KeyValueSet,
    OrchestrationChained,
    QueueSubscribed,
    SubOrchestrationScheduled,
    TimerCreated,
)
from engine.model.ids import child_instance, instant_problem
from engine.model.payload import Payload
from engine.replay.bindings import Queues, Waits
from engine.replay.futures import AskedFuture
from engine.replay.history import Asked, carried_number, goes_on, taken_back
from engine.replay.keys import Keys

REASON_CANCELLED = "the code cancelled it"
REASON_ENDED = "the orchestration ended"


class Ledger:
    """The books of one execution.

    Attributes:
        now_ms: Time of the arrival applied last.
        last_event_id: Of the last event, asked for or applied.
        outcome: Events asked for since `take_outcome`.
        open: Work asked for and neither answered nor taken back, by event id, oldest first.
        answered: Event ids of work that was answered.
        custom_status: As the code set it last.
        keys: As the code sees them.
        is_ending: Set when the code was asked to end.
        shut: Set when the execution has ended or is put away: what is asked then is dropped.
        cancelled_children: Ids of children that were taken back, by the event id of their call.
        cancelled_sessions: Session and tag of activities with a session that were taken back, likewise.
        message_ids: Of all queue messages so far, to know a repetition.
    """

    def __init__(
        self, instance: str, incarnation: int, execution_id: int, *, raise_if_evicting: Callable[[], None]
    ) -> None:
        self.instance = instance
        self.incarnation = incarnation
        self.execution_id = execution_id
        self.now_ms = 0
        self.last_event_id = 0
        self.outcome: list[AnyEvent] = []
        self.open: dict[int, Asked] = {}
        self.answered: set[int] = set()
        self.futures: dict[int, AskedFuture[object]] = {}
        self.custom_status: str | None = None
        self.keys = Keys()
        self.cancelled_children: dict[int, str] = {}
        self.cancelled_sessions: dict[int, tuple[str | None, str | None]] = {}
        self.message_ids: set[str] = set()
        self.is_ending = False
        self.shut = False
        self.raise_if_evicting = raise_if_evicting
        self._taken_back: list[int] = []
        self._waits = Waits()
        self._queues = Queues()
        self._messages: dict[int, CarriedMessage] = {}
        self._kept: dict[int, Payload] = {}

    def ask(self, action: AnyAction) -> int:
        """Record `action` as the next event and return its id; 0, and nothing is recorded, once the books are shut.

        Raises:
            Evicting: The execution is being put away.
        """
        if self.shut:
            self.raise_if_evicting()
            return 0
        if self._taken_back:
            self.settle()
        self.last_event_id += 1
        event = self._record_as[type(action)](self, action)
        self.outcome.append(event)
        return self.last_event_id

    def take_outcome(self) -> list[AnyEvent]:
        """What was asked for since the last call, in order."""
        self.settle()
        taken, self.outcome = self.outcome, []
        return taken

    def cancel(self, event_id: int) -> None:
        """The code takes back what `event_id` asked for, which is open; recorded by `settle`.

        Raises:
            Evicting: The execution is being put away.
        """
        if self.shut:
            self.raise_if_evicting()
        else:
            self._taken_back.append(event_id)

    def leave(self, event_id: int) -> None:
        """The code waits no more for the child that `event_id` asked for, and the child goes on.

        Raises:
            Evicting: The execution is being put away.
        """
        if self.shut:
            self.raise_if_evicting()
        else:
            self.futures.pop(event_id, None)

    def settle(self) -> None:
        """A callback has ended: record what it took back, by event id."""
        if self._taken_back:
            taken_back, self._taken_back = self._taken_back, []
            for event_id in sorted(taken_back):
                self.ask(CancelAsked(source_event_id=event_id, reason=REASON_CANCELLED))

    def close_all(self) -> None:
        """The execution ends: take back everything that is open, oldest first, but for children that go on."""
        self.settle()
        for event_id, asked in list(self.open.items()):
            if not goes_on(asked):
                self.ask(CancelAsked(source_event_id=event_id, reason=REASON_ENDED))

    def finish(self, end: ExecutionEnd) -> ExecutionEnd:
        """Record `end`, in its place, as the last event."""
        self.last_event_id += 1
        placed = msgspec.structs.replace(end, event_id=self.last_event_id, timestamp_ms=self.now_ms)
        self.outcome.append(placed)
        return placed

    def answer(self, event_id: int) -> AskedFuture[object] | None:
        """Work `event_id` is answered: it is open no more. The future to tell, if there is one."""
        del self.open[event_id]
        self.answered.add(event_id)
        return self.futures.pop(event_id, None)

    # Timers: the loop's view of this ledger.

    def create_timer(self, fire_at_ms: int) -> int:
        """A durable timer; its event id is its token.

        Raises:
            UsageError: It would fire after the year 9999.
        """
        if problem := instant_problem(fire_at_ms, "a timer that fires"):
            raise UsageError(problem)
        return self.ask(CreateTimer(fire_at_ms=fire_at_ms))

    def cancel_timer(self, token: int) -> None:
        """Take a timer back that has not fired."""
        self.cancel(token)

    # External events and queues.

    def awaits_event(self, name: str) -> bool:
        """Whether some wait for external event `name` is open."""
        return self._waits.is_open(name)

    def event_arrived(self, event: ExternalEventReceived) -> None:
        """An external event: it goes to the oldest open wait, else it stays if it is to be kept."""
        if event.kept:
            self._kept[event.event_id] = event.data
            self._lend(self._waits.keep(event.name, event.event_id))
            return
        waiting = self._waits.arrive(event.name)
        future = None if waiting is None else self.answer(waiting)
        if future is not None:
            future.deliver(event.data, event.event_id)

    def open_wait(self, event_id: int, name: str) -> None:
        """Wait `event_id` is for the next event `name`, and gets one that was kept at once."""
        number = self._waits.open(name, event_id) if event_id else None
        self._lend(None if number is None else (event_id, number))

    def _event_read(self, event_id: int) -> None:
        """The code looked at the kept event that wait `event_id` holds."""
        del self._kept[self._waits.read(event_id)]
        self.answer(event_id)

    def _lend(self, handed: tuple[int, int] | None) -> None:
        if handed is not None:
            waiting, number = handed
            future = self.futures[waiting]
            if not future.cancelled():  # else its own cancel, still to be recorded, passes the event on
                future.lend(self._kept[number], self.last_event_id, self._event_read)

    def carry(self, carried: tuple[CarriedMessage, ...]) -> None:
        """Queue messages that the execution before left unread."""
        for place, message in enumerate(carried):
            self._keep(carried_number(place, len(carried)), message)

    def message_arrived(self, event_id: int, message: CarriedMessage) -> None:
        """A queue message: it goes to the oldest open reader, else it stays."""
        self._keep(event_id, message)

    def read_queue(self, event_id: int, name: str) -> None:
        """Reader `event_id` wants the next message of `name`, and gets it at once if there is one."""
        number = self._queues.open(name, event_id) if event_id else None
        if number is not None:
            self.futures[event_id].deliver(self._messages[number].data, self.last_event_id)

    def message_read(self, event_id: int) -> None:
        """The code looked at the message that reader `event_id` holds."""
        del self._messages[self._queues.read(event_id)]
        self.answer(event_id)

    def unread(self) -> tuple[CarriedMessage, ...]:
        """Queue messages that nobody holds, in order of arrival."""
        return tuple(self._messages[number] for number in self._queues.unread())

    def unread_bytes(self) -> int:
        """Size of the payloads of all messages and kept events that are not read."""
        kept = sum(len(data.data) for data in self._kept.values())
        return kept + sum(len(message.data.data) for message in self._messages.values())

    def _keep(self, number: int, message: CarriedMessage) -> None:
        self._messages[number] = message
        if message.message_id is not None:
            self.message_ids.add(message.message_id)
        self._hand_over(self._queues.arrive(message.name, number))

    def _hand_over(self, handed: tuple[int, int] | None) -> None:
        if handed is not None:
            reader, number = handed
            future = self.futures[reader]
            if not future.cancelled():  # else its own cancel, still to be recorded, passes the message on
                future.deliver(self._messages[number].data, self.last_event_id)

    # How each action becomes its event. Both fields that every event has come from the ledger.

    def _opened(self, event: Asked) -> AnyEvent:
        self.open[event.event_id] = event
        return event

    def _call_activity(self, action: CallActivity) -> AnyEvent:
        return self._opened(
            ActivityScheduled(
                event_id=self.last_event_id,
                timestamp_ms=self.now_ms,
                name=action.name,
                input=action.input,
                session_id=action.session_id,
                tag=action.tag,
                limits=action.limits,
                heartbeat=action.heartbeat,
            )
        )

    def _create_timer(self, action: CreateTimer) -> AnyEvent:
        return self._opened(
            TimerCreated(event_id=self.last_event_id, timestamp_ms=self.now_ms, fire_at_ms=action.fire_at_ms)
        )

    def _wait_external(self, action: WaitExternal) -> AnyEvent:
        return self._opened(ExternalSubscribed(event_id=self.last_event_id, timestamp_ms=self.now_ms, name=action.name))

    def _dequeue(self, action: DequeueMessage) -> AnyEvent:
        return self._opened(QueueSubscribed(event_id=self.last_event_id, timestamp_ms=self.now_ms, name=action.name))

    def _start_child(self, action: StartSubOrchestration) -> AnyEvent:
        instance = action.instance or child_instance(self.instance, self.execution_id, self.last_event_id)
        return self._opened(
            SubOrchestrationScheduled(
                event_id=self.last_event_id,
                timestamp_ms=self.now_ms,
                name=action.name,
                instance=instance,
                input=action.input,
                version=action.version,
                on_parent_end=action.on_parent_end,
            )
        )

    def _start_detached(self, action: StartDetached) -> AnyEvent:
        return OrchestrationChained(
            event_id=self.last_event_id,
            timestamp_ms=self.now_ms,
            name=action.name,
            instance=action.instance,
            input=action.input,
            version=action.version,
            delay_ms=action.delay_ms,
        )

    def _set_status(self, action: UpdateCustomStatus) -> AnyEvent:
        self.custom_status = action.status
        return CustomStatusUpdated(event_id=self.last_event_id, timestamp_ms=self.now_ms, status=action.status)

    def _set_key(self, action: SetKeyValue) -> AnyEvent:
        self.keys.set(action.key, action.value, self.now_ms)
        return KeyValueSet(event_id=self.last_event_id, timestamp_ms=self.now_ms, key=action.key, value=action.value)

    def _clear_key(self, action: ClearKeyValue) -> AnyEvent:
        self.keys.clear(action.key)
        return KeyValueCleared(event_id=self.last_event_id, timestamp_ms=self.now_ms, key=action.key)

    def _clear_keys(self, _action: ClearKeyValues) -> AnyEvent:
        self.keys.clear_all()
        return KeyValuesCleared(event_id=self.last_event_id, timestamp_ms=self.now_ms)

    def _read_key(self, action: ReadKeyValue) -> AnyEvent:
        found = self.keys.read(self.last_event_id, action.key)
        return KeyValueRead(event_id=self.last_event_id, timestamp_ms=self.now_ms, key=action.key, value=found)

    def _read_keys(self, _action: ReadKeys) -> AnyEvent:
        found = self.keys.list(self.last_event_id)
        return KeysRead(event_id=self.last_event_id, timestamp_ms=self.now_ms, keys=found)

    def _cancel_asked(self, action: CancelAsked) -> AnyEvent:
        source = action.source_event_id
        asked = self.open.pop(source)
        self.futures.pop(source, None)
        match asked:
            case SubOrchestrationScheduled():
                self.cancelled_children[source] = asked.instance
            case ExternalSubscribed():
                self._lend(self._waits.close(asked.name, source))
            case QueueSubscribed():
                self._hand_over(self._queues.close(asked.name, source))
            case ActivityScheduled(session_id=session_id) if session_id is not None:
                self.cancelled_sessions[source] = session_id, asked.tag
            case ActivityScheduled() | TimerCreated():
                pass
        return taken_back(asked, self.last_event_id, self.now_ms, action.reason)

    _record_as: ClassVar[dict[type, Callable[["Ledger", Any], AnyEvent]]] = {
        CallActivity: _call_activity,
        CreateTimer: _create_timer,
        WaitExternal: _wait_external,
        DequeueMessage: _dequeue,
        StartSubOrchestration: _start_child,
        StartDetached: _start_detached,
        UpdateCustomStatus: _set_status,
        SetKeyValue: _set_key,
        ClearKeyValue: _clear_key,
        ClearKeyValues: _clear_keys,
        ReadKeyValue: _read_key,
        ReadKeys: _read_keys,
        CancelAsked: _cancel_asked,
    }
