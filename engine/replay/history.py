"""What is a well-formed history, and what does one leave open?

A history is a sequence of steps. A step is one event that came from outside (an *arrival*) followed by everything the
code asked for in answer to it (its *outcome*), before the next arrival is looked at. So a history does not depend on
how arrivals were batched into turns, and replay can compare the outcome of every step exactly.
"""

from collections.abc import Sequence

from engine.errors import HistoryCorrupted
from engine.model.events import (
    ActivityCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    AnyEvent,
    ExecutionEnd,
    ExternalEventReceived,
    ExternalSubscribed,
    ExternalSubscriptionCancelled,
    OrchestrationCancelRequested,
    OrchestrationFailed,
    OrchestrationStarted,
    QueueMessageReceived,
    QueueSubscribed,
    QueueSubscriptionCancelled,
    SubOrchestrationCancelRequested,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    SubOrchestrationScheduled,
    TimerCancelled,
    TimerCreated,
    TimerFired,
)
from engine.model.failure import Category
from engine.model.ids import FIRST_EVENT
from engine.model.policies import OnParentEnd
from engine.replay.bindings import Queues, Waits

ARRIVALS: frozenset[type] = frozenset(
    {
        OrchestrationStarted,
        OrchestrationCancelRequested,
        ActivityCompleted,
        ActivityFailed,
        TimerFired,
        ExternalEventReceived,
        QueueMessageReceived,
        SubOrchestrationCompleted,
        SubOrchestrationFailed,
    }
)
"""Events that came from outside and may wake the code. Every other kind is something the code asked for, or its end."""

ANSWERS: dict[type, type] = {
    ActivityCompleted: ActivityScheduled,
    ActivityFailed: ActivityScheduled,
    TimerFired: TimerCreated,
    SubOrchestrationCompleted: SubOrchestrationScheduled,
    SubOrchestrationFailed: SubOrchestrationScheduled,
}
"""Which kind of event each answer answers."""

CANCELS: dict[type, type] = {
    ActivityScheduled: ActivityCancelRequested,
    TimerCreated: TimerCancelled,
    ExternalSubscribed: ExternalSubscriptionCancelled,
    QueueSubscribed: QueueSubscriptionCancelled,
    SubOrchestrationScheduled: SubOrchestrationCancelRequested,
}
"""What is open after it was asked for, and the event that takes each kind back."""

CANCELLED_BY: dict[type, type] = {cancel: asked for asked, cancel in CANCELS.items()}

Asked = ActivityScheduled | TimerCreated | ExternalSubscribed | QueueSubscribed | SubOrchestrationScheduled
"""Work that stays open until it is answered or taken back."""

BY_CODE = frozenset({Category.APPLICATION, Category.CANCELLED})
"""Categories of a failure that code ended with; with any other the engine ended the execution."""


def goes_on(asked: Asked) -> bool:
    """Whether `asked` is left alone when the execution ends: a child that its parent abandons."""
    return isinstance(asked, SubOrchestrationScheduled) and asked.on_parent_end is OnParentEnd.ABANDON


def taken_back(asked: Asked, event_id: int, timestamp_ms: int, reason: str) -> AnyEvent:
    """The event that takes `asked` back; a timer's has no reason."""
    placed = {"event_id": event_id, "timestamp_ms": timestamp_ms, "source_event_id": asked.event_id}
    if isinstance(asked, TimerCreated):
        return TimerCancelled(**placed)
    return CANCELS[type(asked)](**placed, reason=reason)


def open_work(history: Sequence[AnyEvent]) -> list[Asked]:
    """What a history has asked for and neither got nor taken back, by event id."""
    asked: dict[int, Asked] = {}
    waits = Waits()
    for event in history:
        match event:
            case ActivityScheduled() | TimerCreated() | SubOrchestrationScheduled():
                asked[event.event_id] = event
            case ExternalSubscribed(event_id=event_id, name=name):
                asked[event_id] = event
                waits.open(name, event_id)
            case QueueSubscribed():
                asked[event.event_id] = event
            case ExternalEventReceived(event_id=event_id, name=name, kept=True):
                waits.keep(name, event_id)
            case ExternalEventReceived(name=name):
                if (taken := waits.arrive(name)) is not None:
                    del asked[taken]
            case ExternalSubscriptionCancelled(source_event_id=source):
                subscription = asked.pop(source, None)
                if isinstance(subscription, ExternalSubscribed):
                    waits.close(subscription.name, source)
            case _:
                if type(event) in ANSWERS or type(event) in CANCELLED_BY:
                    asked.pop(getattr(event, "source_event_id", 0), None)
    served = _served_readers(history) | waits.holders()
    return [work for event_id, work in asked.items() if event_id not in served]


def _served_readers(history: Sequence[AnyEvent]) -> set[int]:
    """Queue subscriptions that got a message and kept it."""
    queues = Queues()
    names: dict[int, str] = {}
    for event in history:
        match event:
            case OrchestrationStarted(carried=carried):
                for place, message in enumerate(carried):
                    queues.arrive(message.name, carried_number(place, len(carried)))
            case QueueMessageReceived(event_id=event_id, name=name):
                queues.arrive(name, event_id)
            case QueueSubscribed(event_id=event_id, name=name):
                names[event_id] = name
                queues.open(name, event_id)
            case QueueSubscriptionCancelled(source_event_id=source):
                queues.close(names[source], source)
            case _:
                pass
    return queues.holders()


def carried_number(place: int, count: int) -> int:
    """Number of a carried queue message: before those of this execution, which are numbered by their event."""
    return place - count


def ended_by_engine(history: Sequence[AnyEvent]) -> bool:
    """Whether the engine, not the code, ended the execution: a bound, a poisonous message, an operator's option."""
    last = history[-1]
    return isinstance(last, OrchestrationFailed) and last.failure.category not in BY_CODE


def require_well_formed(history: Sequence[AnyEvent]) -> None:
    """Check what must hold whatever the code is.

    Raises:
        HistoryCorrupted: The history is empty, does not begin with its start (and that alone), has a gap or a
            repetition in its event ids, goes on after its end, or answers what was never asked.
    """
    if not history:
        raise HistoryCorrupted("expected a history to begin with OrchestrationStarted, but it is empty")
    if not isinstance(history[0], OrchestrationStarted):
        raise HistoryCorrupted(
            f"expected a history to begin with OrchestrationStarted, but it begins with {_kind(history[0])}"
        )
    asked: dict[int, type] = {}
    answered: set[int] = set()
    cancels = 0
    for expected_id, event in enumerate(history, start=FIRST_EVENT):
        if event.event_id != expected_id:
            raise HistoryCorrupted(f"expected event {expected_id}, but {_kind(event)} has event id {event.event_id}")
        kind = type(event)
        if kind is OrchestrationStarted and expected_id != FIRST_EVENT:
            raise HistoryCorrupted(f"expected one OrchestrationStarted, but event {expected_id} is another")
        if isinstance(event, ExecutionEnd) and expected_id != len(history):
            raise HistoryCorrupted(
                f"expected {_kind(event)} (event {expected_id}) to be last, but it is followed by "
                f"{len(history) - expected_id} more"
            )
        cancels += kind is OrchestrationCancelRequested
        if cancels > 1:
            raise HistoryCorrupted(f"expected one OrchestrationCancelRequested, but event {expected_id} is another")
        if kind in CANCELS:
            asked[expected_id] = kind
        elif kind in ANSWERS or kind in CANCELLED_BY:
            _require_asked(event, asked, answered)


def _require_asked(event: AnyEvent, asked: dict[int, type], answered: set[int]) -> None:
    kind = type(event)
    source: int = getattr(event, "source_event_id", 0)
    wanted = ANSWERS.get(kind) or CANCELLED_BY[kind]
    found = asked.get(source)
    if found is not wanted:
        other = f"event {source} is {found.__name__}" if found else f"no event {source} before it asked for one"
        raise HistoryCorrupted(
            f"expected {_kind(event)} (event {event.event_id}) to answer {wanted.__name__}, but {other}"
        )
    if source in answered:
        raise HistoryCorrupted(
            f"expected one answer to {wanted.__name__} (event {source}), "
            f"but {_kind(event)} (event {event.event_id}) is another"
        )
    answered.add(source)


def _kind(event: AnyEvent) -> str:
    return type(event).__name__
