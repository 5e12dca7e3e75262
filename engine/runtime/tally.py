"""What does a turn or an activity count in? Tables from events and endings to counters, and the counts by name.

Only what is registered here has counts of its own, so a client that makes names up makes no new ones.
"""

from bisect import bisect_left

from msgspec import Struct, structs

from engine.metrics import DURATION_BOUNDS_MS, ActivityMetrics, OrchestrationMetrics
from engine.model.events import (
    OrchestrationChained,
    OrchestrationContinuedAsNew,
    OrchestrationStarted,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    SubOrchestrationScheduled,
)
from engine.model.failure import Category
from engine.model.ids import FIRST_EXECUTION
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.observe import Counters
from engine.port import OrchestrationItem
from engine.registry import Registry

EVENTS: dict[type, str] = {
    OrchestrationStarted: "executions_started",
    OrchestrationContinuedAsNew: "orchestrations_continued_as_new",
    OrchestrationChained: "orchestrations_detached",
    SubOrchestrationScheduled: "sub_orchestrations_started",
    SubOrchestrationCompleted: "sub_orchestrations_completed",
    SubOrchestrationFailed: "sub_orchestrations_failed",
}
"""Which counter an event counts in."""

ENDINGS = {
    Status.COMPLETED: "orchestrations_completed",
    Status.FAILED: "orchestrations_failed",
    Status.CANCELLED: "orchestrations_cancelled",
}
"""Which counter a status counts in."""

FAILURES = {
    Category.APPLICATION: "orchestrations_failed_application",
    Category.INFRASTRUCTURE: "orchestrations_failed_infrastructure",
    Category.LIMIT: "orchestrations_failed_limit",
    Category.NONDETERMINISM: "orchestrations_failed_nondeterminism",
    Category.POISON: "orchestrations_poisoned",
}
"""Which further counter a failure counts in, by who has to act on it."""

BY_NAME = {
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.CONTINUED_AS_NEW: "continued_as_new",
}
"""Which count of its version a status counts in."""


class _Orchestration(Struct):
    """One version of an orchestration."""

    started: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    continued_as_new: int = 0


class _Activity:
    """One activity; `took[i]` counts executions as long as the bounds `i - 1` and `i` say."""

    __slots__ = ("completed", "failed", "took", "took_ms")

    def __init__(self) -> None:
        self.completed = self.failed = self.took_ms = 0
        self.took = [0] * (len(DURATION_BOUNDS_MS) + 1)


class Tally:
    """Counts what the dispatchers of one engine tell it."""

    def __init__(self, counters: Counters, registry: Registry) -> None:
        self._counters = counters
        self._orchestrations = {(each.name, each.version): _Orchestration() for each in registry.orchestrations()}
        self._activities = {each.name: _Activity() for each in registry.activities()}

    def turn(self, item: OrchestrationItem, result: TurnResult) -> None:
        """A turn of `item` was admitted."""
        counters = self._counters
        counters.turns_admitted += 1
        for event in result.history_delta:
            if name := EVENTS.get(type(event)):
                _count(counters, name)
        status, failure = result.metadata.status, result.metadata.failure
        if name := ENDINGS.get(status) if status else None:
            _count(counters, name)
        if status is Status.FAILED and failure and (name := FAILURES.get(failure.category)):
            _count(counters, name)
        self._by_version(item, result)

    def activity(self, name: str, took_ms: int, *, completed: bool) -> None:
        """An activity ended by itself, and its completion is to be acked."""
        count = self._activities[name]
        if completed:
            self._counters.activities_completed += 1
            count.completed += 1
        else:
            self._counters.activities_failed += 1
            count.failed += 1
        count.took_ms += took_ms
        count.took[bisect_left(DURATION_BOUNDS_MS, took_ms)] += 1

    def orchestrations(self) -> tuple[OrchestrationMetrics, ...]:
        """By name and version."""
        return tuple(
            OrchestrationMetrics(name=name, version=version, **structs.asdict(count))
            for (name, version), count in self._orchestrations.items()
        )

    def activities(self) -> tuple[ActivityMetrics, ...]:
        """By name."""
        return tuple(_frozen(name, count) for name, count in self._activities.items())

    def _by_version(self, item: OrchestrationItem, result: TurnResult) -> None:
        started = result.history_delta[0] if result.history_delta else None
        if isinstance(started, OrchestrationStarted):
            count = self._orchestrations.get((started.name, started.version))
            if result.execution_id == FIRST_EXECUTION:
                self._counters.orchestrations_started += 1
                if count:
                    count.started += 1
        else:
            count = self._orchestrations.get((item.orchestration_name, item.version))
        if count and result.metadata.status and (name := BY_NAME.get(result.metadata.status)):
            _count(count, name)


def _count(counts: Struct, name: str) -> None:
    setattr(counts, name, getattr(counts, name) + 1)


def _frozen(name: str, count: _Activity) -> ActivityMetrics:
    within = tuple(sum(count.took[: upto + 1]) for upto in range(len(DURATION_BOUNDS_MS)))
    return ActivityMetrics(
        name=name, completed=count.completed, failed=count.failed, took_ms=count.took_ms, within=within
    )
