"""How does the engine end an execution that its code did not end?"""

from collections.abc import Sequence

from engine.model.events import AnyEvent, OrchestrationFailed
from engine.model.failure import Failure
from engine.replay.history import open_work, taken_back

REASON = "the engine ended the orchestration"


def closing(history: Sequence[AnyEvent], failure: Failure, timestamp_ms: int) -> list[AnyEvent]:
    """What follows `history`: everything that is open is taken back, and it ends with `failure`."""
    first_id = history[-1].event_id + 1
    events = [
        taken_back(work, event_id, timestamp_ms, REASON) for event_id, work in enumerate(open_work(history), first_id)
    ]
    events.append(OrchestrationFailed(event_id=first_id + len(events), timestamp_ms=timestamp_ms, failure=failure))
    return events
