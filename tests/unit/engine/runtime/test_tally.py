"""Does each event, ending and execution count where it belongs, and nowhere else?"""

import pytest
from msgspec import structs

from engine.metrics import DURATION_BOUNDS_MS
from engine.model.events import (
    AnyEvent,
    OrchestrationChained,
    OrchestrationContinuedAsNew,
    OrchestrationStarted,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    SubOrchestrationScheduled,
)
from engine.model.failure import Category, Failure
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.observe import Counters
from engine.port import OrchestrationItem
from engine.registry import Registry, activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.tally import Tally
from tests.replay.given import StoredHistory
from tests.upstream import upstream


@orchestration
async def ship(ctx: OrchestrationContext) -> None:
    return


@orchestration(name="ship", version="2.0.0")
async def ship_otherwise(ctx: OrchestrationContext) -> None:
    return


@activity
async def pack() -> None:
    return


@activity
async def weigh() -> None:
    return


REGISTRY = Registry(orchestrations=[ship, ship_otherwise], activities=[pack, weigh])


def started(version: str = "1.0.0", name: str = "ship") -> OrchestrationStarted:
    return OrchestrationStarted(event_id=1, timestamp_ms=0, name=name, version=version, input=NULL, incarnation=1)


def of_ship(version: str = "1.0.0") -> OrchestrationItem:
    return OrchestrationItem(
        instance="i",
        orchestration_name="ship",
        version=version,
        execution_id=1,
        incarnation=1,
        history=StoredHistory([]),
        messages=(),
        lock_token="",
        attempt_count=1,
        lineage=0,
        now_ms=0,
    )


def counted(*results: TurnResult) -> dict[str, int]:
    """The counters that are not zero after these turns, but for the turns themselves."""
    counters = Counters()
    tally = Tally(counters, REGISTRY)
    for result in results:
        tally.turn(of_ship(), result)
    assert counters.turns_admitted == len(results)
    return {name: n for name, n in structs.asdict(counters).items() if n and name != "turns_admitted"}


def turn(*events: AnyEvent, status: Status | None = None, category: Category | None = None, at: int = 1) -> TurnResult:
    failure = Failure(category=category, type="T", message="no") if category else None
    return TurnResult(execution_id=at, history_delta=events, metadata=ExecutionMetadata(status=status, failure=failure))


CHILD = SubOrchestrationScheduled(event_id=2, timestamp_ms=0, name="c", instance="i::sub::2", input=NULL)
NO = Failure(category=Category.APPLICATION, type="T", message="no")


@pytest.mark.parametrize(
    ("event", "counter"),
    [
        (CHILD, "sub_orchestrations_started"),
        (
            SubOrchestrationCompleted(event_id=3, timestamp_ms=0, source_event_id=2, result=NULL),
            "sub_orchestrations_completed",
        ),
        (
            SubOrchestrationFailed(event_id=3, timestamp_ms=0, source_event_id=2, failure=NO),
            "sub_orchestrations_failed",
        ),
        (
            OrchestrationChained(event_id=2, timestamp_ms=0, name="d", instance="other", input=NULL),
            "orchestrations_detached",
        ),
        (OrchestrationContinuedAsNew(event_id=2, timestamp_ms=0, input=NULL), "orchestrations_continued_as_new"),
    ],
)
@upstream("observability_tests", "test_metrics_suborchestration")
def test_an_event_counts_once(event: AnyEvent, counter: str) -> None:
    assert counted(turn(event), turn(event, event)) == {counter: 3}


@upstream("observability_tests", "test_metrics_outcome_matrix")
def test_an_instance_is_started_once_however_many_executions_it_has() -> None:
    assert counted(turn(started()), turn(started(), at=2)) == {"orchestrations_started": 1, "executions_started": 2}


@pytest.mark.parametrize(
    ("status", "category", "counters"),
    [
        (Status.COMPLETED, None, {"orchestrations_completed"}),
        (Status.CANCELLED, Category.CANCELLED, {"orchestrations_cancelled"}),
        (Status.FAILED, Category.APPLICATION, {"orchestrations_failed", "orchestrations_failed_application"}),
        (Status.FAILED, Category.INFRASTRUCTURE, {"orchestrations_failed", "orchestrations_failed_infrastructure"}),
        (Status.FAILED, Category.LIMIT, {"orchestrations_failed", "orchestrations_failed_limit"}),
        (Status.FAILED, Category.NONDETERMINISM, {"orchestrations_failed", "orchestrations_failed_nondeterminism"}),
        (Status.FAILED, Category.POISON, {"orchestrations_failed", "orchestrations_poisoned"}),
        (Status.FAILED, Category.UNKNOWN, {"orchestrations_failed"}),
        (None, None, set[str]()),
    ],
)
@upstream(
    "observability_tests",
    "test_metrics_outcome_matrix",
    "test_metrics_error_shortcuts",
    "test_separate_error_counters_exported",
    differs="What upstream calls a configuration error is nondeterminism or a limit here.",
)
def test_an_ending_counts_by_who_has_to_act(
    status: Status | None, category: Category | None, counters: set[str]
) -> None:
    assert counted(turn(status=status, category=category)) == dict.fromkeys(counters, 1)


@upstream(
    "observability_tests",
    "test_labeled_metrics_recording",
    "test_versioned_orchestration_metrics",
)
def test_each_registered_version_has_counts_of_its_own_and_no_other_name_has_any() -> None:
    tally = Tally(Counters(), REGISTRY)
    tally.turn(of_ship(), turn(started()))
    tally.turn(of_ship(), turn(status=Status.COMPLETED))
    tally.turn(of_ship(), turn(started("2.0.0"), status=Status.FAILED, category=Category.APPLICATION))
    tally.turn(of_ship("2.0.0"), turn(status=Status.CANCELLED))
    tally.turn(of_ship("2.0.0"), turn(status=Status.CONTINUED_AS_NEW))
    tally.turn(of_ship(), turn(started(name="made up"), status=Status.FAILED, category=Category.POISON))
    first, second = tally.orchestrations()
    assert (first.name, first.version, second.version) == ("ship", "1.0.0", "2.0.0")
    assert (first.started, first.completed, first.failed, first.cancelled, first.continued_as_new) == (1, 1, 0, 0, 0)
    assert (second.started, second.completed, second.failed) == (1, 0, 1)
    assert (second.cancelled, second.continued_as_new) == (1, 1)


@upstream("observability_tests", "test_metrics_activity_outcomes", "test_activity_duration_tracking")
def test_an_execution_of_an_activity_counts_by_its_ending_and_its_duration() -> None:
    counters = Counters()
    tally = Tally(counters, REGISTRY)
    for took_ms in (0, 10, 11, 700_000):
        tally.activity("weigh", took_ms, completed=took_ms != 11)
    assert (counters.activities_completed, counters.activities_failed) == (3, 1)
    packed, weighed = tally.activities()
    assert (packed.name, packed.completed, packed.failed, packed.took_ms) == ("pack", 0, 0, 0)
    assert (weighed.name, weighed.completed, weighed.failed, weighed.took_ms) == ("weigh", 3, 1, 700_021)
    assert dict(zip(DURATION_BOUNDS_MS, weighed.within, strict=True)) == {
        10: 2,
        100: 3,
        1_000: 3,
        10_000: 3,
        60_000: 3,
        600_000: 3,
    }
