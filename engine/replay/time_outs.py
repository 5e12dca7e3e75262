"""What does an attempt of an activity fail with that took too long? The same, whoever noticed."""

from datetime import timedelta

from engine.errors import TimedOut
from engine.model.failure import Category, Failure
from engine.model.limits import WorkLimits
from engine.model.work import WorkItem

TIMED_OUT = TimedOut.__qualname__


def timed_out(message: str, cause: Failure | None = None) -> Failure:
    """A failure that the code gets as `TimedOut`. Trying again may help."""
    return Failure(category=Category.APPLICATION, type=TIMED_OUT, message=message, cause=cause)


def is_late(item: WorkItem, attempt: int, now_ms: int) -> bool:
    """Whether the time to begin has passed without anybody having begun."""
    limits = item.limits
    return attempt == 1 and limits is not None and limits.start_by_ms is not None and limits.start_by_ms <= now_ms


def never_begun(item: WorkItem) -> Failure:
    """Of an item that `is_late`."""
    within = _shown(_limits(item).queue_timeout_ms)
    whose = "worker" if item.tag is None else f"worker that serves the tag {item.tag!r}"
    return timed_out(
        f"expected activity {item.name} to begin within its queue_timeout{within}, but no {whose} has begun it"
    )


def ran_too_long(item: WorkItem) -> Failure:
    """Of code that passed its run time-out."""
    within = _shown(_limits(item).run_timeout_ms)
    return timed_out(f"expected activity {item.name} to end within its run_timeout{within}, but it still runs")


def silent_too_long(item: WorkItem) -> Failure:
    """Of code that passed its heartbeat time-out."""
    within = _shown(_limits(item).heartbeat_timeout_ms)
    return timed_out(
        f"expected activity {item.name} to call heartbeat() within each heartbeat_timeout{within}, "
        "but it was silent for longer"
    )


def _limits(item: WorkItem) -> WorkLimits:
    return item.limits or WorkLimits()


def _shown(limit_ms: int | None) -> str:
    return "" if limit_ms is None else f" of {timedelta(milliseconds=limit_ms)}"
