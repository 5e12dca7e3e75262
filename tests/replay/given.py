"""How do the tests of the core speak? One instance, its history, the messages it is given, and what came of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from engine.converter import JsonConverter
from engine.model.events import AnyEvent
from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.key_values import KeyValue, changed, merged
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    CompleteActivity,
    CompleteSubOrchestration,
    EnqueueMessage,
    FailActivity,
    FailSubOrchestration,
    FireTimer,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.payload import Payload
from engine.model.status import EXECUTION_ENDS, Status
from engine.model.turn import TurnResult
from engine.port import OrchestrationItem
from engine.registry import Registry, orchestration_definition
from engine.replay.live import LiveExecution
from engine.replay.turn import Committed, TurnOptions, TurnOutcome, run_turn

NOW_MS = 1_700_000_000_000
LIFE = 77
CONVERTER = JsonConverter()


def payload(value: object) -> Payload:
    return CONVERTER.encode(value, "a value of the test")


def boom(message: str = "boom") -> Failure:
    return Failure(category=Category.APPLICATION, type="ValueError", message=message)


class StoredHistory:
    def __init__(self, events: Sequence[AnyEvent], began_with: Mapping[str, KeyValue] | None = None) -> None:
        self._events = tuple(events)
        self._began_with = began_with or {}

    @property
    def last_event_id(self) -> int:
        return self._events[-1].event_id if self._events else 0

    def load(self) -> Sequence[AnyEvent]:
        return self._events

    def key_values(self) -> Mapping[str, KeyValue]:
        return self._began_with


class Instance:
    """One instance under test. Executions are kept between turns if `keep`, else every turn replays."""

    made: ClassVar[list["Instance"]] = []

    def __init__(
        self,
        *orchestrations: Callable[..., Any],
        history: Sequence[AnyEvent] = (),
        keep: bool = True,
        options: TurnOptions | None = None,
        execution_id: int = 1,
    ) -> None:
        self.registry = Registry(orchestrations=orchestrations)
        self.name = orchestration_definition(orchestrations[0]).name
        self.history: list[AnyEvent] = list(history)
        self.past: list[list[AnyEvent]] = []
        self.keep = keep
        self.options = options or TurnOptions()
        self.execution_id = execution_id
        self.exists = bool(history)
        self.status: Status | None = Status.RUNNING if history else None
        self.live: LiveExecution | None = None
        self.now_ms = NOW_MS
        self.began_with: dict[str, KeyValue] = {}
        self.changed: dict[str, KeyValue | None] = {}
        Instance.made.append(self)

    # What arrives.

    def start(self, value: object = None, *, parent: ParentLink | None = None) -> TurnResult:
        return self.give(self.start_message(value, parent=parent))

    def start_message(self, value: object = None, *, parent: ParentLink | None = None) -> StartOrchestration:
        return StartOrchestration(instance="i", name=self.name, input=payload(value), parent=parent)

    def completed(self, activity_id: int, value: object = None) -> CompleteActivity:
        return CompleteActivity(
            instance="i",
            incarnation=LIFE,
            execution_id=self.execution_id,
            activity_id=activity_id,
            result=payload(value),
        )

    def failed(self, activity_id: int, failure: Failure | None = None) -> FailActivity:
        return FailActivity(
            instance="i",
            incarnation=LIFE,
            execution_id=self.execution_id,
            activity_id=activity_id,
            failure=failure or boom(),
        )

    def fired(self, timer_id: int, fire_at_ms: int = NOW_MS) -> FireTimer:
        return FireTimer(
            instance="i", incarnation=LIFE, execution_id=self.execution_id, timer_id=timer_id, fire_at_ms=fire_at_ms
        )

    def child_completed(self, event_id: int, value: object = None) -> CompleteSubOrchestration:
        return CompleteSubOrchestration(
            instance="i", incarnation=LIFE, execution_id=self.execution_id, event_id=event_id, result=payload(value)
        )

    def child_failed(self, event_id: int, failure: Failure | None = None) -> FailSubOrchestration:
        return FailSubOrchestration(
            instance="i",
            incarnation=LIFE,
            execution_id=self.execution_id,
            event_id=event_id,
            failure=failure or boom(),
        )

    @staticmethod
    def raised(name: str, value: object = None, *, keep: bool = False) -> RaiseEvent:
        return RaiseEvent(instance="i", name=name, data=payload(value), keep=keep)

    @staticmethod
    def enqueued(queue: str, value: object = None, message_id: str | None = None) -> EnqueueMessage:
        return EnqueueMessage(instance="i", name=queue, data=payload(value), message_id=message_id)

    @staticmethod
    def cancelled(reason: str = "enough", incarnation: int | None = None) -> CancelInstance:
        return CancelInstance(instance="i", reason=reason, incarnation=incarnation)

    # What comes of it.

    def turn(self, *messages: AnyMessage) -> TurnOutcome:
        """One turn; what it commits is committed."""
        item = OrchestrationItem(
            instance="i",
            orchestration_name=self.name,
            version="1.0.0",
            execution_id=self.execution_id,
            incarnation=LIFE if self.exists else None,
            history=StoredHistory(self.history, self.began_with),
            messages=messages,
            lock_token="lock",
            attempt_count=1,
            lineage=1,
            now_ms=self.now_ms,
            status=self.status,
        )
        live, self.live = self.live, None
        outcome = run_turn(item, self.registry, CONVERTER, self.options, live=live, new_incarnation=LIFE)
        if isinstance(outcome, Committed):
            self._commit(outcome)
        return outcome

    def give(self, *messages: AnyMessage) -> TurnResult:
        """One turn that is expected to be committed."""
        outcome = self.turn(*messages)
        assert isinstance(outcome, Committed), outcome
        return outcome.result

    def give_each(self, messages: Iterable[AnyMessage]) -> list[TurnResult]:
        """A turn each."""
        return [self.give(message) for message in messages]

    def forget(self) -> None:
        """The execution is put away, as when the instance moves to another node."""
        if self.live is not None:
            self.live.put_away()
            self.live = None

    def _commit(self, outcome: Committed) -> None:
        result = outcome.result
        if result.execution_id != self.execution_id:
            self.past.append(self.history)
            self.history, self.execution_id = [], result.execution_id
        self.exists = True
        self.history.extend(result.history_delta)
        self.status = result.metadata.status or self.status
        self.changed = changed(self.began_with, self.changed, result.key_values, self.now_ms)
        if self.status in EXECUTION_ENDS:
            self.began_with, self.changed = merged(self.began_with, self.changed), {}
        self.live = outcome.live
        if not self.keep:
            self.forget()

    @property
    def output(self) -> object:
        event = self.history[-1]
        return CONVERTER.decode(getattr(event, "output"), object, "output")  # noqa: B009  # of whichever end it is


def kinds(events: Iterable[AnyEvent]) -> list[str]:
    return [type(event).__name__ for event in events]
