"""What is handed to a worker? One scheduled activity."""

from msgspec import Struct

from engine.model.limits import WorkLimits
from engine.model.payload import Payload


class WorkItem(Struct, frozen=True, kw_only=True):
    """An activity to execute. (instance, incarnation, execution_id, activity_id) identifies it for ever.

    Attributes:
        activity_id: Event id of its `ActivityScheduled`.
        orchestration: Name of the orchestration that asked, for the activity's context.
        version: Its version.
        session_id: Items of one session go to one worker.
        tag: Only workers that serve the tag take it.
        limits: How long it may take to begin, to end, and between heartbeats; None without any.
        heartbeat: What the attempt before it left for it.
    """

    instance: str
    incarnation: int
    execution_id: int
    activity_id: int
    name: str
    input: Payload
    orchestration: str = ""
    version: str = ""
    session_id: str | None = None
    tag: str | None = None
    traceparent: str | None = None
    limits: WorkLimits | None = None
    heartbeat: Payload | None = None
