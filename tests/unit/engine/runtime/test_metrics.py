"""Does the snapshot of an engine say what it has done, what it has in hand, and what waits?"""

from datetime import timedelta
from typing import Any

import pytest

from engine.activity_context import ActivityContext
from engine.errors import Fatal, OrchestrationFailed, Refused, Retryable
from engine.metrics import DURATION_BOUNDS_MS, Metrics
from engine.model.views import QueueDepths
from engine.registry import activity, orchestration
from engine.replay.bounds import TurnOptions
from engine.replay.context import OrchestrationContext
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

NAP = timedelta(seconds=10)
FRESH = EngineOptions(gauge_age_ms_max=0)


@activity
async def double(number: int) -> int:
    return 2 * number


@activity
async def raises() -> None:
    raise ValueError("boom")


@orchestration
async def doubles(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, number)


@orchestration
async def lets_it_fail(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity(raises)


@orchestration
async def asks_for_what_nobody_has(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("nobody_has_it")


@orchestration
async def says_too_much(ctx: OrchestrationContext) -> None:
    ctx.set_custom_status("x" * 100)


@orchestration
async def waits(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


@orchestration
async def naps_twice(ctx: OrchestrationContext, more: int) -> str:
    await ctx.schedule_timer(NAP)
    return ctx.continue_as_new(more - 1) if more else "done"


@orchestration
async def has_children(ctx: OrchestrationContext) -> int:
    ctx.start_detached(doubles, 5, instance="detached")
    first = await ctx.schedule_sub_orchestration(doubles, 1)
    try:
        await ctx.schedule_sub_orchestration(lets_it_fail)
    except Exception:
        return first + await ctx.schedule_sub_orchestration(doubles, 2)
    return 0


SERVED: dict[str, Any] = {
    "orchestrations": [
        doubles,
        lets_it_fail,
        asks_for_what_nobody_has,
        says_too_much,
        waits,
        naps_twice,
        has_children,
    ],
    "activities": [double, raises],
}


async def fails(bench: Bench, code: Any) -> None:
    handle = await bench.client.start(code)
    with pytest.raises(OrchestrationFailed):
        await ends(bench.clock, handle.wait())


# What was done


@upstream(
    "observability_tests",
    "metrics_capture_activity_and_orchestration_outcomes",
    "test_error_classification_metrics",
    "test_separate_error_counters_exported",
    differs="An orchestration whose activity is poisoned fails by its own code, which may catch that.",
)
async def test_every_outcome_is_counted_by_who_has_to_act(bench: Bench) -> None:
    options = EngineOptions(attempts_max=3, turn=TurnOptions(custom_status_bytes_max=10))
    async with nothing_left(), bench.engine(**SERVED, options=options) as engine:
        assert await (await bench.client.start(doubles, 1)).wait() == 2
        # A call whose answer is lost is repeated and ends well all the same.
        bench.provider.fail("ack_work_item", Retryable("ack_work_item", "away"))
        assert await ends(bench.clock, (await bench.client.start(doubles, 2)).wait()) == 4
        await fails(bench, lets_it_fail)
        await fails(bench, asks_for_what_nobody_has)
        await fails(bench, says_too_much)
        bench.provider.fail("ack_orchestration_item", *[Refused("ack_orchestration_item", "no")] * 3)
        await fails(bench, waits)
        bench.provider.fail("ack_work_item", Refused("ack_work_item", "no"))
        handle = await bench.client.start(doubles, 3)
        with pytest.raises(OrchestrationFailed, match="no"):
            await ends(bench.clock, handle.wait())
        metrics = await engine.metrics()
    assert metrics.orchestrations_started == metrics.executions_started == 7
    assert metrics.orchestrations_completed == 2
    assert metrics.orchestrations_failed == 5
    assert metrics.orchestrations_failed_application == 3
    assert metrics.orchestrations_failed_limit == 1
    assert metrics.orchestrations_poisoned == 1
    assert metrics.orchestrations_failed_nondeterminism == metrics.orchestrations_failed_infrastructure == 0
    assert (metrics.activities_started, metrics.activities_completed, metrics.activities_failed) == (4, 3, 1)
    assert (metrics.activities_poisoned, metrics.activities_unregistered, metrics.activities_refused) == (1, 3, 1)
    assert metrics.provider_errors == 4


@upstream("observability_tests", "test_metrics_poison_messages", "test_poison_message_metrics")
async def test_what_was_delivered_too_often_is_counted_once(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED, options=EngineOptions(attempts_max=1)) as engine:
        for _ in range(2):
            bench.provider.fail("ack_orchestration_item", Refused("ack_orchestration_item", "no"))
            await fails(bench, waits)
        await fails(bench, asks_for_what_nobody_has)
        metrics = await engine.metrics()
    assert (metrics.orchestrations_poisoned, metrics.activities_poisoned) == (2, 1)


@upstream("observability_tests", "test_sub_orchestration_metrics", "test_metrics_suborchestration")
async def test_children_are_counted_as_they_are_asked_for_and_as_they_answer(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED) as engine:
        assert await (await bench.client.start(has_children)).wait() == 6
        assert await bench.client.wait("detached") == 10
        metrics = await engine.metrics()
    assert (metrics.orchestrations_started, metrics.orchestrations_completed) == (5, 4)
    assert metrics.sub_orchestrations_started == 3
    assert (metrics.sub_orchestrations_completed, metrics.sub_orchestrations_failed) == (2, 1)
    assert metrics.orchestrations_detached == 1


@upstream("observability_tests", "test_continue_as_new_metrics")
async def test_an_instance_that_goes_on_is_started_once_and_counted_at_each_end(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED) as engine:
        assert await ends(bench.clock, (await bench.client.start(naps_twice, 2)).wait()) == "done"
        metrics = await engine.metrics()
    assert (metrics.orchestrations_started, metrics.executions_started) == (1, 3)
    assert (metrics.orchestrations_continued_as_new, metrics.orchestrations_completed) == (2, 1)
    (of_it,) = [each for each in metrics.orchestrations if each.name == "naps_twice"]
    assert (of_it.started, of_it.continued_as_new, of_it.completed) == (1, 2, 1)


@orchestration(name="doubles", version="2.0.0")
async def doubles_twice(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, await ctx.schedule_activity(double, number))


@upstream("observability_tests", "test_labeled_metrics_recording", "test_versioned_orchestration_metrics")
async def test_each_version_and_each_activity_is_counted_by_name(bench: Bench) -> None:
    async with (
        nothing_left(),
        bench.engine(orchestrations=[doubles, doubles_twice, waits], activities=[double]) as engine,
    ):
        for version in ("1.0.0", "2.0.0", "2.0.0"):
            await (await bench.client.start(doubles, 1, version=version)).wait()
        metrics = await engine.metrics()
    by_version = {(each.name, each.version): each for each in metrics.orchestrations}
    assert set(by_version) == {("doubles", "1.0.0"), ("doubles", "2.0.0"), ("waits", "1.0.0")}
    assert [each.completed for each in by_version.values()] == [each.started for each in by_version.values()]
    assert by_version["doubles", "2.0.0"].completed == 2
    assert by_version["waits", "1.0.0"].started == 0
    (of_double,) = metrics.activities
    assert (of_double.name, of_double.completed, of_double.failed) == ("double", 5, 0)


@upstream("observability_tests", "test_activity_duration_tracking")
async def test_the_time_that_an_activity_takes_is_added_up_and_sorted(bench: Bench) -> None:
    @activity
    async def slow(ctx: ActivityContext) -> None:
        bench.clock.advance(50)

    @activity
    async def fast() -> None:
        return

    @orchestration
    async def both(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity(slow)
        await ctx.schedule_activity(fast)
        await ctx.schedule_activity(slow)

    async with nothing_left(), bench.engine(orchestrations=[both], activities=[slow, fast]) as engine:
        await (await bench.client.start(both)).wait()
        metrics = await engine.metrics()
    of_fast, of_slow = metrics.activities
    assert (of_fast.took_ms, of_slow.took_ms) == (0, 100)
    assert dict(zip(DURATION_BOUNDS_MS, of_slow.within, strict=True)) == dict.fromkeys(DURATION_BOUNDS_MS, 2) | {10: 0}


@upstream(
    "observability_tests",
    "test_provider_error_metrics",
    "test_metrics_provider_errors",
    "test_fetch_orchestration_item_fault_injection",
)
async def test_errors_of_the_provider_are_counted_and_the_calls_repeated(bench: Bench) -> None:
    away = Retryable("fetch_orchestration_items", "simulated")
    bench.provider.fail("fetch_orchestration_items", away)
    await bench.client.start(waits, instance="i")
    with pytest.raises(Retryable, match="simulated"):
        await bench.provider.fetch_orchestration_item(1_000, 0)
    bench.provider.fail("fetch_orchestration_items", away, away)
    bench.provider.fail("fetch_work_item", away)
    bench.provider.fail("ack_orchestration_item", Refused("ack_orchestration_item", "no"))
    async with nothing_left(), bench.engine(**SERVED) as engine:
        await ends(bench.clock, bench.provider.changed("i", 0))
        metrics = await engine.metrics()
    assert metrics.provider_errors == 4
    assert metrics.turns_admitted == 1


@upstream(
    "observability_tests",
    "test_provider_metrics_recorded",
    "test_metrics_dispatcher",
    differs="What was fetched and what was taken is counted; how long the calls took is not.",
)
async def test_what_is_fetched_from_the_provider_and_given_to_it_is_counted(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED) as engine:
        assert await (await bench.client.start(doubles, 1)).wait() == 2
        await cycles()
        metrics = await engine.metrics()
    assert (metrics.instances_fetched, metrics.work_items_fetched) == (2, 1)
    assert metrics.turns_admitted == metrics.turns_durable == 2


# What is in hand, and what waits


async def waiting(engine: Engine) -> tuple[int | None, int | None, int | None]:
    metrics = await engine.metrics()
    return metrics.messages_waiting, metrics.work_items_waiting, metrics.timers_waiting


@upstream(
    "observability_tests",
    "test_queue_depth_gauges_initialization",
    "test_metrics_queue_depths",
    "test_queue_depth_gauges_tracking",
)
async def test_the_depths_of_the_queues_are_those_of_the_provider(bench: Bench) -> None:
    for i in range(2):
        await bench.client.start(doubles, i)
    without = bench.engine(orchestrations=[doubles, naps_twice])
    assert await waiting(without) == (2, 0, 0)  # before the start, too
    await bench.client.start(naps_twice, 1)
    async with nothing_left(), without:
        await cycles()
        assert without.gauges()["turns_in_flight"] == 0
        # Nobody registered `double`: both were fetched, and given back for later.
        assert await waiting(without) == (0, 2, 1)
    async with nothing_left(), bench.engine(**SERVED) as engine:
        for info in await bench.client.list_instances():
            await ends(bench.clock, bench.client.wait(info.instance))
        assert await waiting(engine) == (0, 0, 0)


@upstream(
    "observability_tests",
    "test_active_orchestrations_gauge",
    "test_active_orchestrations_gauge_comprehensive",
    "test_metrics_active_orchestrations",
    "test_gauge_poller_updates_active_orchestrations_on_completion",
)
async def test_instances_are_active_until_they_end_and_not_only_while_an_execution_lasts(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED, options=FRESH) as engine:
        assert (await engine.metrics()).instances_active == 0
        handles = [await bench.client.start(code) for code in (waits, waits)]
        handles.append(await bench.client.start(naps_twice, 1))
        await cycles()
        assert (await engine.metrics()).instances_active == 3
        bench.clock.advance(10_000)  # the second execution naps
        await cycles()
        assert (await engine.metrics()).instances_active == 3
        for active, handle in ((2, handles[0]), (1, handles[1]), (0, handles[2])):
            await handle.raise_event("go", "x")
            await ends(bench.clock, handle.wait())
            assert (await engine.metrics()).instances_active == active


@upstream(
    "observability_tests",
    "test_all_gauges_initialized_together",
    "test_gauge_poller_refreshes_queue_depths",
    differs="Nothing polls: depths are read for every snapshot, and instances once a minute at most.",
)
async def test_a_new_engine_knows_of_what_was_begun_and_looks_again_after_a_while(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED):
        for i in range(3):
            await bench.client.start(waits, instance=f"i{i}")
        await cycles()
    engine = bench.engine(**SERVED)
    async with nothing_left(), engine:
        metrics = await engine.metrics()
        assert (metrics.instances_active, metrics.instances_held, metrics.messages_waiting) == (3, 0, 0)
        await bench.client.raise_event("i0", "go", "x")
        await bench.client.wait("i0")
        bench.clock.advance(59_999)
        assert (await engine.metrics()).instances_active == 3
        bench.clock.advance(1)
        assert (await engine.metrics()).instances_active == 2


async def test_a_held_instance_is_active_and_counted_as_held(bench: Bench) -> None:
    @orchestration(name="waits")
    async def does_something_else(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity(double, 1)

    async with nothing_left(), bench.engine(**SERVED):
        await bench.client.start(waits, instance="i")
        await cycles()
    async with nothing_left(), bench.engine(orchestrations=[does_something_else], options=FRESH) as engine:
        await bench.client.raise_event("i", "go", "x")
        await cycles()
        metrics = await engine.metrics()
    assert (metrics.instances_active, metrics.instances_held, metrics.turns_held) == (1, 1, 1)


class DoesNotCount(ScriptedProvider):
    """Cannot say what waits."""

    async def get_queue_depths(self) -> QueueDepths:
        raise Fatal("get_queue_depths", "away")


async def test_a_provider_that_does_not_answer_costs_its_gauges_alone() -> None:
    bench = Bench(DoesNotCount)
    metrics = await bench.engine(**SERVED).metrics()
    assert metrics.messages_waiting is metrics.instances_active is None
    assert metrics.turns_admitted == 0


@upstream("observability_tests", "test_observability_handle_lifecycle")
async def test_there_is_a_snapshot_before_the_start_and_after_the_end_and_it_does_not_move(bench: Bench) -> None:
    engine = bench.engine(**SERVED)
    before = await engine.metrics()
    async with nothing_left(), engine:
        await (await bench.client.start(doubles, 1)).wait()
    after = await engine.metrics()
    assert (before.orchestrations_completed, after.orchestrations_completed) == (0, 1)
    assert isinstance(after, Metrics)
    with pytest.raises(AttributeError):
        after.turns_admitted = 0
