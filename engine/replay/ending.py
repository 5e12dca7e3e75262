"""How does the engine end an execution that its code did not end?"""

from collections.abc import Callable, Sequence
from typing import Any

from engine.model.events import (
    ActivityCancelRequested,
    ActivityScheduled,
    AnyEvent,
    ExternalSubscribed,
    ExternalSubscriptionCancelled,
    OrchestrationFailed,
    QueueSubscribed,
    QueueSubscriptionCancelled,
    SubOrchestrationCancelRequested,
    SubOrchestrationScheduled,
    TimerCancelled,
    TimerCreated,
)
from engine.model.failure import Failure
from engine.replay.history import open_work

_CANCEL: dict[type, Callable[..., Any]] = {
    ActivityScheduled: ActivityCancelRequested,
    TimerCreated: TimerCancelled,
    ExternalSubscribed: ExternalSubscriptionCancelled,
    QueueSubscribed: QueueSubscriptionCancelled,
    SubOrchestrationScheduled: SubOrchestrationCancelRequested,
}
REASON = "the engine ended the orchestration"


def closing(history: Sequence[AnyEvent], failure: Failure, timestamp_ms: int) -> list[AnyEvent]:
    """What follows `history`: everything that is open is taken back, and it ends with `failure`."""
    events: list[AnyEvent] = []
    next_id = history[-1].event_id + 1
    for work in open_work(history):
        reason = {} if isinstance(work, TimerCreated) else {"reason": REASON}
        cancel = _CANCEL[type(work)]
        events.append(cancel(event_id=next_id, timestamp_ms=timestamp_ms, source_event_id=work.event_id, **reason))
        next_id += 1
    events.append(OrchestrationFailed(event_id=next_id, timestamp_ms=timestamp_ms, failure=failure))
    return events
