"""What becomes of a message that arrives for a running execution: an event, or a reason why not?"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.model.events import (
    ActivityCompleted,
    ActivityFailed,
    ActivityScheduled,
    AnyEvent,
    ExternalEventReceived,
    OrchestrationCancelRequested,
    QueueMessageReceived,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    SubOrchestrationScheduled,
    TimerCreated,
    TimerFired,
)
from engine.model.failure import Category, Failure
from engine.model.ids import FIRST_EVENT, ParentLink
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    CompleteActivity,
    CompleteSubOrchestration,
    ContinueInstance,
    EnqueueMessage,
    FailActivity,
    FailSubOrchestration,
    FireTimer,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.turn import Disposition
from engine.replay.live import LiveExecution

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Admitted = tuple[Disposition, AnyEvent | None]
AnswerEvent = ActivityCompleted | ActivityFailed | TimerFired | SubOrchestrationCompleted | SubOrchestrationFailed
Answer = CompleteActivity | FailActivity | FireTimer | CompleteSubOrchestration | FailSubOrchestration


def admit(message: AnyMessage, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    """The event that `message` becomes, with that id and time, and what to write down about the message.

    No event: the message changes nothing. An echo of a message that was applied changes nothing ever.
    """
    if isinstance(message, StartOrchestration):
        return Disposition.DUPLICATE, None
    if isinstance(message, ContinueInstance):
        other_life = message.incarnation != live.incarnation
        return (Disposition.OTHER_INCARNATION if other_life else Disposition.DUPLICATE), None
    return _ADMIT[type(message)](message, live, event_id, now_ms)


def collision(message: StartOrchestration, parent: ParentLink | None) -> FailSubOrchestration | None:
    """What to tell the caller of a start that met an existing instance, whose own caller is `parent`.

    The very same call delivered twice is answered by the instance itself; a caller who is no parent is told nothing.
    """
    caller = message.parent
    if caller is None or caller == parent:
        return None
    return FailSubOrchestration(
        instance=caller.instance,
        incarnation=caller.incarnation,
        execution_id=caller.execution_id,
        event_id=caller.event_id,
        failure=Failure(
            category=Category.APPLICATION,
            type="InstanceExists",
            message=f"expected no instance {message.instance!r}, but it already exists",
            retryable=False,
        ),
    )


def _if_awaited(message: Answer, live: LiveExecution, asked: type, event: AnswerEvent) -> Admitted:
    """APPLIED with `event` if the answer is awaited, else why not."""
    if message.incarnation != live.incarnation:
        return Disposition.OTHER_INCARNATION, None
    if message.execution_id != live.execution_id:
        return Disposition.STALE, None
    if type(live.ledger.open.get(event.source_event_id)) is asked:
        return Disposition.APPLIED, event
    return (Disposition.DUPLICATE if event.source_event_id in live.ledger.answered else Disposition.STALE), None


def _complete_activity(message: CompleteActivity, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    event = ActivityCompleted(
        event_id=event_id, timestamp_ms=now_ms, source_event_id=message.activity_id, result=message.result
    )
    return _if_awaited(message, live, ActivityScheduled, event)


def _fail_activity(message: FailActivity, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    event = ActivityFailed(
        event_id=event_id,
        timestamp_ms=now_ms,
        source_event_id=message.activity_id,
        failure=message.failure,
        heartbeat=message.heartbeat,
    )
    return _if_awaited(message, live, ActivityScheduled, event)


def _fire_timer(message: FireTimer, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    if message.timer_id == FIRST_EVENT:
        return _pass_deadline(message, live, event_id, now_ms)
    event = TimerFired(event_id=event_id, timestamp_ms=now_ms, source_event_id=message.timer_id)
    return _if_awaited(message, live, TimerCreated, event)


def _pass_deadline(message: FireTimer, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    """The timer of the instance's deadline: the code is asked to end, unless it was asked to already."""
    if message.incarnation != live.incarnation:
        return Disposition.OTHER_INCARNATION, None
    deadline_at_ms = live.started.deadline_at_ms
    if message.execution_id != live.execution_id or deadline_at_ms is None:
        return Disposition.STALE, None
    if live.cancel_requested:
        return Disposition.DUPLICATE, None
    deadline = EPOCH + timedelta(milliseconds=deadline_at_ms)
    reason = f"expected {live.instance} to end within its deadline of {deadline.isoformat()}, but it was still running"
    return Disposition.APPLIED, OrchestrationCancelRequested(
        event_id=event_id, timestamp_ms=now_ms, reason=reason, is_deadline=True
    )


def _complete_child(message: CompleteSubOrchestration, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    event = SubOrchestrationCompleted(
        event_id=event_id, timestamp_ms=now_ms, source_event_id=message.event_id, result=message.result
    )
    return _if_awaited(message, live, SubOrchestrationScheduled, event)


def _fail_child(message: FailSubOrchestration, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    event = SubOrchestrationFailed(
        event_id=event_id, timestamp_ms=now_ms, source_event_id=message.event_id, failure=message.failure
    )
    return _if_awaited(message, live, SubOrchestrationScheduled, event)


def _raise_event(message: RaiseEvent, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    is_for_somebody = message.keep or live.ledger.awaits_event(message.name)
    return Disposition.APPLIED if is_for_somebody else Disposition.EARLY, ExternalEventReceived(
        event_id=event_id, timestamp_ms=now_ms, name=message.name, data=message.data, kept=message.keep
    )


def _enqueue(message: EnqueueMessage, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    if message.message_id is not None and message.message_id in live.ledger.message_ids:
        return Disposition.DUPLICATE, None
    return Disposition.APPLIED, QueueMessageReceived(
        event_id=event_id, timestamp_ms=now_ms, name=message.name, data=message.data, message_id=message.message_id
    )


def _cancel(message: CancelInstance, live: LiveExecution, event_id: int, now_ms: int) -> Admitted:
    if message.incarnation is not None and message.incarnation != live.incarnation:
        return Disposition.OTHER_INCARNATION, None
    if live.cancel_requested:
        return Disposition.DUPLICATE, None
    return Disposition.APPLIED, OrchestrationCancelRequested(
        event_id=event_id, timestamp_ms=now_ms, reason=message.reason
    )


_ADMIT: dict[type, Callable[[Any, LiveExecution, int, int], Admitted]] = {
    CompleteActivity: _complete_activity,
    FailActivity: _fail_activity,
    FireTimer: _fire_timer,
    CompleteSubOrchestration: _complete_child,
    FailSubOrchestration: _fail_child,
    RaiseEvent: _raise_event,
    EnqueueMessage: _enqueue,
    CancelInstance: _cancel,
}
