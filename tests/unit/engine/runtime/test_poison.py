"""What does whoever waits hear when something was delivered too often: an instance, a child, an activity?"""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from engine.clock import ManualClock
from engine.errors import InstanceNotFound, OrchestrationFailed
from engine.model.events import OrchestrationFailed as Failed
from engine.model.events import OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import NULL
from engine.model.sessions import SessionClaim
from engine.model.status import Status
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.version import VersionRange
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from tests.replay.given import payload
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


class DeliversOften(ScriptedProvider):
    """Says of instances and activities of `attempts` that they were delivered so often."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.attempts: dict[str, int] = {}

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> Sequence[OrchestrationItem]:
        items = await super().fetch_orchestration_items(items_max, lock_timeout_ms, poll_timeout_ms, pins)
        return [structs.replace(i, attempt_count=self.attempts.get(i.instance, i.attempt_count)) for i in items]

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        fetched = await super().fetch_work_item(lock_timeout_ms, poll_timeout_ms, tags, session)
        if fetched is None:
            return None
        return structs.replace(fetched, attempt_count=self.attempts.get(fetched.item.name, fetched.attempt_count))


@pytest.fixture
def bench() -> Bench:
    return Bench(DeliversOften)


@activity
async def first() -> str:
    return "first"


@activity
async def second() -> str:
    return "second"


@activity
async def third() -> str:
    return "third"


@orchestration
async def one_by_one(ctx: OrchestrationContext, names: list[str]) -> list[str]:
    return [await ctx.schedule_activity(name, output=str) for name in names]


@orchestration
async def parent(ctx: OrchestrationContext, names: list[str]) -> None:
    await ctx.schedule_sub_orchestration(one_by_one, names)


SERVED: dict[str, Any] = {"orchestrations": [one_by_one, parent], "activities": [first, second, third]}


async def failure_of(
    bench: Bench, code: Any, names: list[str], attempts: dict[str, int], options: EngineOptions | None = None
) -> Failure:
    """What an instance `i` of `code` fails with."""
    assert isinstance(bench.provider, DeliversOften)
    bench.provider.attempts = attempts
    async with nothing_left(), bench.engine(**SERVED, options=options):
        handle = await bench.client.start(code, names, instance="i")
        with pytest.raises(OrchestrationFailed, match=r"^i ended with ") as caught:
            await ends(bench.clock, handle.wait())
    return caught.value.failure


# Instances


@pytest.mark.parametrize("attempts_max", [10, 3])
@upstream(
    "poison_message_tests",
    "e2e_orchestration_item_poison_fails_orchestration",
    "e2e_custom_max_attempts_respected",
    "e2e_poison_message_creates_instance_if_missing",
    "poison_message_type_orchestration",
    differs="The counts are in the text of the failure.",
)
@upstream("unregistered_backoff_tests", "delete_poisoned_orchestration")
async def test_an_instance_delivered_too_often_fails_at_its_start(bench: Bench, attempts_max: int) -> None:
    options = EngineOptions(attempts_max=attempts_max)
    failure = await failure_of(bench, one_by_one, ["first"], {"i": attempts_max + 1}, options)
    assert failure == Failure(
        category=Category.POISON,
        type="Poison",
        message=f"expected a turn within {attempts_max} deliveries, but this is number {attempts_max + 1}",
        retryable=False,
    )
    info = await bench.client.status("i")
    assert (info.status, info.orchestration_name, info.current_execution_id) == (Status.FAILED, "one_by_one", 1)
    started, failed = await bench.client.history("i")
    assert isinstance(started, OrchestrationStarted)
    assert (started.name, started.input) == ("one_by_one", payload(["first"]))
    assert isinstance(failed, Failed)
    assert bench.provider.completions == []
    assert (await bench.client.delete("i")).instances == 1
    with pytest.raises(InstanceNotFound):
        await bench.client.status("i")


async def test_an_instance_delivered_as_often_as_may_be_runs(bench: Bench) -> None:
    assert isinstance(bench.provider, DeliversOften)
    bench.provider.attempts = {"i": 3, "first": 3}
    async with bench.engine(**SERVED, options=EngineOptions(attempts_max=3)):
        handle = await bench.client.start(one_by_one, ["first"], instance="i")
        assert await handle.wait() == ["first"]


@upstream(
    "poison_message_tests",
    "e2e_sub_orchestration_poison_fails_parent",
    differs="The parent gets an exception, which it may catch.",
)
async def test_a_parent_fails_with_its_child(bench: Bench) -> None:
    failure = await failure_of(bench, parent, ["first"], {"i::sub::2": 11})
    assert failure.cause is not None
    assert (failure.cause.category, failure.cause.retryable) == (Category.POISON, False)
    assert failure.cause.message == "expected a turn within 10 deliveries, but this is number 11"
    child = await bench.client.status("i::sub::2")
    assert (child.status, child.current_execution_id) == (Status.FAILED, 1)


# Activities


@upstream(
    "poison_message_tests",
    "e2e_activity_item_poison_fails_orchestration",
    "e2e_one_poisoned_activity_among_many",
    "poison_message_type_activity",
    differs="The orchestration gets an exception, which it may catch.",
)
async def test_an_orchestration_fails_with_its_activity(bench: Bench) -> None:
    failure = await failure_of(bench, one_by_one, ["first", "second", "third"], {"second": 11})
    assert failure.cause is not None
    assert failure.cause == Failure(
        category=Category.POISON,
        type="Poison",
        message="expected activity second to end within 10 deliveries, but this is number 11",
        retryable=False,
    )
    assert [type(completion) for completion in bench.provider.completions] == [CompleteActivity, FailActivity]


@upstream(
    "poison_message_tests",
    "e2e_activity_poisons_suborchestration_poisons_parent",
    differs="Each of them gets an exception, which it may catch.",
)
async def test_so_does_the_parent_of_the_orchestration(bench: Bench) -> None:
    failure = await failure_of(bench, parent, ["first"], {"first": 11})
    assert failure.cause is not None
    assert failure.cause.cause is not None
    assert failure.cause.cause.category is Category.POISON
    assert failure.cause.cause.message == "expected activity first to end within 10 deliveries, but this is number 11"


# How deliveries are counted


@upstream("poison_message_tests", "orchestration_attempt_count_increments_on_abandon")
async def test_each_delivery_of_an_instance_counts() -> None:
    bench = Bench()
    await bench.client.start(one_by_one, ["first"], instance="i")
    for attempt in (1, 2, 3):
        (item,) = await bench.provider.fetch_orchestration_items(1, 5_000, 0)
        assert item.attempt_count == attempt
        await bench.provider.abandon_orchestration_item(item.lock_token)


@upstream("poison_message_tests", "worker_attempt_count_increments_on_lock_expiry")
async def test_each_delivery_of_an_activity_counts() -> None:
    bench = Bench()
    await bench.provider.enqueue_for_worker(
        WorkItem(instance="i", incarnation=7, execution_id=1, activity_id=2, name="first", input=NULL)
    )
    for attempt in (1, 2, 3):
        fetched = await bench.provider.fetch_work_item(1_000, 0)
        assert fetched is not None
        assert fetched.attempt_count == attempt
        bench.clock.advance(1_001)


@upstream("poison_message_tests", "runtime_options_default_max_attempts", "runtime_options_configurable_max_attempts")
def test_ten_deliveries_are_enough_unless_somebody_says_otherwise() -> None:
    assert EngineOptions().attempts_max == 10
    assert EngineOptions(attempts_max=5).attempts_max == 5
