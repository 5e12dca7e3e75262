"""How long may one attempt of an activity take: to begin, to end, to say nothing?

Most activities have no such limit. So they stand together, and an activity without one carries a single empty field
through the history, its work item and the queue.
"""

from msgspec import Struct


class ActivityLimits(Struct, frozen=True, kw_only=True):
    """What an orchestration said of one attempt; None: no limit.

    Attributes:
        queue_timeout_ms: From when it was asked for until a worker begins it.
        run_timeout_ms: From when its code begins until it ends.
        heartbeat_timeout_ms: From when its code begins, or from one heartbeat, until the next.
    """

    queue_timeout_ms: int | None = None
    run_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None


class WorkLimits(ActivityLimits, frozen=True, kw_only=True):
    """The same of a work item, with the instant that its queue time-out comes to.

    Attributes:
        start_by_ms: Provider time; None without a queue time-out.
    """

    start_by_ms: int | None = None
