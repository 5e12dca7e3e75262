"""How does the engine end an execution that its code did not end?"""

from collections.abc import Sequence

from engine.model.events import AnyEvent, OrchestrationFailed
from engine.model.failure import Failure
from engine.replay.history import goes_on, open_work, taken_back

REASON = "the engine ended the orchestration"


def closing(history: Sequence[AnyEvent], failure: Failure, timestamp_ms: int) -> list[AnyEvent]:
    """What follows `history`: everything that is open is taken back, but for children that go on; then `failure`."""
    first_id = history[-1].event_id + 1
    left = (work for work in open_work(history) if not goes_on(work))
    events = [taken_back(work, event_id, timestamp_ms, REASON) for event_id, work in enumerate(left, first_id)]
    events.append(OrchestrationFailed(event_id=first_id + len(events), timestamp_ms=timestamp_ms, failure=failure))
    return events
