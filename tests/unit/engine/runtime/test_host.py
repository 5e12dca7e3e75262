"""Does an engine start once, drain, stop at once when asked twice, and leave nothing behind?"""

import asyncio
import threading
from typing import Any

import anyio
import pytest

from engine.activity_context import ActivityContext
from engine.clock import ManualClock
from engine.errors import Fatal, Retryable, UsageError
from engine.model.payload import NULL
from engine.model.work import WorkItem
from engine.observe import recorded_marks
from engine.registry import Registry, activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.host import Engine, Stage
from engine.runtime.options import EngineOptions, back_off_ms
from tests.unit.engine.runtime.running import Bench, cycles, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

ITEM = WorkItem(instance="order-1", incarnation=7, execution_id=1, activity_id=2, name="hold", input=NULL)


class Held:
    """An activity that waits until it is released, and tells what became of it."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.told: list[str] = []

        @activity
        async def hold(ctx: ActivityContext) -> None:
            self.told.append(f"attempt {ctx.attempt}")
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.told.append(f"interrupted, cancelled: {ctx.is_cancelled()}")
                raise

        self.hold = hold


@orchestration
async def wait_for_go(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


async def running_activity(
    bench: Bench, held: Held, options: EngineOptions | None = None
) -> tuple[Engine, asyncio.Task[None]]:
    """An engine in a task of its own, inside one call of `held`."""
    engine = bench.engine(orchestrations=[wait_for_go], activities=[held.hold], options=options)
    serving = asyncio.ensure_future(engine.run())
    await bench.provider.enqueue_for_worker(ITEM)
    await cycles()
    assert held.told == ["attempt 1"]
    return engine, serving


async def test_the_first_request_lets_a_running_activity_end_and_begins_nothing_new(bench: Bench) -> None:
    held = Held()
    async with nothing_left():
        engine, serving = await running_activity(bench, held)
        engine.request_stop()
        await bench.client.start(wait_for_go, instance="too-late")
        await cycles()
        assert (engine.stage, serving.done(), bench.provider.completions) == (Stage.DRAINING, False, [])
        held.release.set()
        await serving
    assert engine.stage is Stage.STOPPED
    assert len(bench.provider.completions) == 1
    assert await bench.provider.get_instance_info("too-late") is None


async def test_a_drain_keeps_leases_renewed_while_it_waits(bench: Bench) -> None:
    held = Held()
    options = EngineOptions(drain_ms=200_000)
    engine, serving = await running_activity(bench, held, options)
    engine.request_stop()
    for _ in range(10):
        await cycles()
        bench.clock.advance(options.activity_lease_ms // 3)
    await cycles()
    held.release.set()
    await serving
    assert engine.counters.leases_renewed == 10
    assert len(bench.provider.completions) == 1


@pytest.mark.parametrize("drain_ms", [0, 3_000])
@upstream(
    "shutdown_tests",
    "shutdown_deadline_stops_activity_and_allows_redelivery",
    "shutdown_zero_stops_activity_and_renewal_before_returning",
)
async def test_a_drain_that_takes_too_long_interrupts_and_gives_the_work_back(bench: Bench, drain_ms: int) -> None:
    held = Held()
    with recorded_marks() as reached:
        async with nothing_left():
            engine, serving = await running_activity(bench, held, EngineOptions(drain_ms=drain_ms))
            engine.request_stop()
            if drain_ms:
                await cycles()
                bench.clock.advance(drain_ms - 1)
                await cycles()
                assert not serving.done()
                bench.clock.advance(1)
            await serving
    assert held.told == ["attempt 1", "interrupted, cancelled: True"]
    assert "activity.given_back" in reached
    assert bench.provider.completions == []
    # Given back, so the next engine has it at once, and as the first attempt: the activity did nothing wrong.
    again = Held()
    again.release.set()
    async with bench.engine(activities=[again.hold]):
        await cycles()
    assert again.told == ["attempt 1"]
    assert len(bench.provider.completions) == 1


@upstream("shutdown_tests", "concurrent_immediate_shutdown_can_end_an_existing_grace_period")
async def test_the_second_request_stops_at_once(bench: Bench) -> None:
    held = Held()
    async with nothing_left():
        engine, serving = await running_activity(bench, held)
        engine.request_stop()
        await cycles()
        engine.request_stop()
        await serving
    assert held.told == ["attempt 1", "interrupted, cancelled: True"]
    assert bench.provider.completions == []
    assert bench.provider.calls.get("abandon_work_item") is None
    engine.request_stop()
    assert engine.stage is Stage.STOPPED


async def test_a_drain_waits_until_admitted_turns_are_durable(bench: Bench) -> None:
    bench.provider.not_durable = []
    async with nothing_left():
        engine = bench.engine(orchestrations=[wait_for_go])
        serving = asyncio.ensure_future(engine.run())
        await bench.client.start(wait_for_go)
        await cycles()
        engine.request_stop()
        await cycles(100)
        assert not serving.done()
        bench.provider.not_durable[0].set_result(None)
        await serving
    assert engine.counters.turns_durable == 1


@upstream(
    "shutdown_tests",
    "shutdown_waits_for_non_yielding_activity_to_exit",
    differs="It is left behind and named, for no thread can be ended from outside.",
)
async def test_a_thread_that_never_looks_up_is_left_behind_and_named(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    entered = threading.Event()

    @activity
    def hold() -> None:
        entered.set()
        release.wait(10)

    options = EngineOptions(drain_ms=0)
    async with bench.engine(activities=[hold], options=options) as engine:
        await bench.provider.enqueue_for_worker(ITEM)
        await cycles()
        assert entered.wait(5)
    assert engine.stage is Stage.STOPPED
    assert "left behind: 1 threads inside synchronous activities" in caplog.text
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("turnlog-activity"):
            thread.join(5)


async def test_an_error_in_the_block_is_what_leaves_it_and_the_engine_drains(bench: Bench) -> None:
    held = Held()

    async def serve() -> None:
        async with bench.engine(activities=[held.hold]):
            await bench.provider.enqueue_for_worker(ITEM)
            await cycles()
            held.release.set()
            raise ValueError("mine")

    async with nothing_left():
        with pytest.raises(ValueError, match="mine"):
            await serve()
    assert len(bench.provider.completions) == 1


@upstream("shutdown_tests", "shutdown_can_resume_after_its_caller_is_cancelled")
async def test_cancelling_the_block_drains_and_cancelling_again_stops_at_once(bench: Bench) -> None:
    held = Held()
    async with nothing_left():
        engine, serving = await running_activity(bench, held)
        serving.cancel()
        await cycles()
        assert (engine.stage, serving.done()) == (Stage.DRAINING, False)
        serving.cancel()
        await asyncio.wait({serving})
    assert serving.cancelled()
    assert held.told == ["attempt 1", "interrupted, cancelled: True"]


async def test_a_cancelled_scope_around_the_block_stops_at_once(bench: Bench) -> None:
    held = Held()
    engine = bench.engine(activities=[held.hold])
    async with nothing_left():
        with anyio.CancelScope() as scope:
            async with engine:
                await bench.provider.enqueue_for_worker(ITEM)
                await cycles()
                scope.cancel()
                await asyncio.Event().wait()
    assert engine.stage is Stage.STOPPED
    assert held.told == ["attempt 1", "interrupted, cancelled: True"]


async def test_the_first_error_that_ends_the_engine_is_the_one_its_user_sees(bench: Bench) -> None:
    bench.provider.fail("fetch_orchestration_items", Fatal("fetch_orchestration_items", "first"))
    bench.provider.fail("fetch_work_item", Fatal("fetch_work_item", "second"))
    async with nothing_left():
        with pytest.raises(Fatal, match="first"):
            await bench.engine().run()


async def test_the_gauges_say_what_is_in_hand_and_fall_to_zero(bench: Bench) -> None:
    held = Held()
    bench.provider.not_durable = []
    engine, serving = await running_activity(bench, held)
    await bench.client.start(wait_for_go)
    await cycles()
    gauges = engine.gauges()
    assert gauges.pop("live_bytes_estimate") > 0
    assert gauges == {
        "activities_running": 1,
        "live_executions": 1,
        "sessions_under_way": 0,
        "turns_in_flight": 1,
        "work_items_leased": 1,
    }
    held.release.set()
    bench.provider.not_durable[0].set_result(None)
    engine.request_stop()
    await serving
    assert set(engine.gauges().values()) == {0}


async def test_an_engine_is_started_once(bench: Bench) -> None:
    engine = bench.engine()
    async with engine:
        pass
    with pytest.raises(UsageError, match="expected an engine that was never started, but this one is stopped"):
        await engine.run()


async def test_two_engines_share_the_work_of_one_provider(bench: Bench) -> None:
    ran: list[int] = []

    def counted(engine: int) -> Registry:
        @activity(name="count")
        async def count() -> None:
            ran.append(engine)

        return Registry(activities=[count])

    options = EngineOptions(activities_max=1, work_items_max=1)
    async with (
        nothing_left(),
        Engine(bench.provider, counted(1), options, clock=bench.clock),
        Engine(bench.provider, counted(2), options, clock=bench.clock),
    ):
        for number in range(50):
            item = WorkItem(instance="o", incarnation=7, execution_id=1, activity_id=number, name="count", input=NULL)
            await bench.provider.enqueue_for_worker(item)
        while len(bench.provider.completions) < 50:
            await bench.provider.acked.wait()
    assert len(ran) == 50
    assert set(ran) == {1, 2}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"turns_max": 0}, "expected turns_max of at least 1, but it is 0"),
        (
            {"activity_lease_ms": 2},
            "expected activity_lease_ms of at least 3, so that a renewal at a third comes before the end, but it is 2",
        ),
        ({"drain_ms": -1}, "expected drain_ms of at least 0, but it is -1"),
        ({"work_items_max": 10}, "expected work_items_max of at least activities_max, but they are 10 and 256"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        EngineOptions(**changes)


@upstream("unregistered_backoff_tests", "test_backoff_calculation", "test_backoff_custom_config")
def test_the_back_off_doubles_up_to_its_bound() -> None:
    waits = [back_off_ms(1_000, 60_000, attempt) for attempt in (1, 2, 3, 6, 7, 1_000)]
    assert waits == [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]


async def test_an_engine_waits_by_the_clock_it_is_given(bench: Bench) -> None:
    other = ManualClock()
    bench.provider.fail("fetch_work_item", Retryable("fetch_work_item", "away"))
    async with nothing_left(), Engine(bench.provider, Registry(), clock=other):
        await cycles()
        bench.clock.advance(60_000)
        await cycles()
        assert bench.provider.calls["fetch_work_item"] == 1
        other.advance(20)
        await cycles()
        assert bench.provider.calls["fetch_work_item"] == 2
