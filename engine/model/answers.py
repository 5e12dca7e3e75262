"""How does an activity's end become a message? It goes back to the life and execution that its work item names."""

from engine.model.failure import Failure
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import Payload
from engine.model.work import WorkItem


def completed(item: WorkItem, result: Payload) -> CompleteActivity:
    """It returned `result`."""
    return CompleteActivity(
        instance=item.instance,
        incarnation=item.incarnation,
        execution_id=item.execution_id,
        activity_id=item.activity_id,
        result=result,
    )


def failed(item: WorkItem, failure: Failure, heartbeat: Payload | None) -> FailActivity:
    """It ended with `failure`; `heartbeat` is what the next attempt reads."""
    return FailActivity(
        instance=item.instance,
        incarnation=item.incarnation,
        execution_id=item.execution_id,
        activity_id=item.activity_id,
        failure=failure,
        heartbeat=heartbeat,
    )
