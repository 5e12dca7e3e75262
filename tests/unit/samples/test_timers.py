"""Do timers fire when they are due and in their order, on an engine that stops and on the one after it?"""

from datetime import timedelta

import pytest

from engine import OrchestrationContext, activity, orchestration
from engine.model.events import TimerFired
from engine.testing import run
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.upstream import upstream

MS = timedelta(milliseconds=1)


@activity
async def echo(text: str) -> str:
    return text


@activity
async def slow(text: str) -> str:
    return text


@orchestration
async def one_after_another(ctx: OrchestrationContext) -> list[float]:
    start = ctx.utc_now()
    passed: list[float] = []
    for delay in (100, 50, 75):
        await ctx.schedule_timer(delay * MS)
        passed.append((ctx.utc_now() - start) / MS)
    return passed


@upstream("timer_tests", "single_timer_fires", "multiple_timers_fire_in_order")
@upstream("dispatcher_queues_fs", "dispatcher_enqueues_timer_schedule_then_completes")
def test_timers_that_follow_one_another_add_up() -> None:
    outcome = run(one_after_another)
    assert outcome.output == [100, 150, 225]
    assert outcome.elapsed == 225 * MS


@orchestration
async def at_once(ctx: OrchestrationContext) -> str:
    timer, work = ctx.schedule_timer(50 * MS), ctx.schedule_activity(echo, "worked")
    await timer
    return await work


@upstream("timer_tests", "timer_with_activity")
def test_a_timer_and_an_activity_at_once() -> None:
    outcome = run(at_once, activities=[echo])
    assert outcome.output == "worked"
    assert outcome.elapsed == 50 * MS


@orchestration
async def no_time(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(timedelta(0))
    return "fired"


@upstream("timer_tests", "zero_duration_timer")
def test_a_timer_of_no_time_fires() -> None:
    outcome = run(no_time)
    assert outcome.output == "fired"
    assert outcome.elapsed == timedelta(0)


@orchestration
async def counts_from_the_call(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(100 * MS)
    await ctx.schedule_activity(slow, "two seconds")
    won = await ctx.select(ctx.schedule_timer(1_000 * MS), ctx.schedule_activity(echo, "won"))
    return won.value or "the timer won"


@upstream("timer_tests", "timer_fires_at_correct_time_after_previous_timer")
@upstream("scenarios/toygres", "timer_fires_at_correct_time_regression")
def test_a_timer_counts_from_its_call_and_not_from_the_timer_before() -> None:
    durations = {"slow": 2_000 * MS, "echo": 100 * MS}
    assert run(counts_from_the_call, activities=[echo, slow], durations=durations).output == "won"


@orchestration
async def then_works(ctx: OrchestrationContext) -> str:
    timers = [ctx.schedule_timer(delay * MS) for delay in (1_000, 1_500, 2_000)]
    await ctx.join(*timers)
    return await ctx.schedule_activity(echo, "behind the timers")


@pytest.mark.anyio
@pytest.mark.parametrize("passed_ms", [500, 1_250, 5_000], ids=["before all", "between them", "after all"])
@upstream(
    "timer_tests",
    "timer_recovery_after_crash_before_fire",
    "timer_recovery_after_crash_after_fire",
    "multiple_timers_recovery_after_crash",
)
@upstream("sqlite_tests", "timer_recovery_after_crash_before_fire")
async def test_timers_of_an_engine_that_went_away_fire_for_the_next(passed_ms: int) -> None:
    bench = Bench()
    began_ms = bench.clock.now_ms()
    async with bench.engine(orchestrations=[then_works], activities=[echo]):
        handle = await bench.client.start(then_works, instance="timers")
        await cycles()
    bench.clock.advance(passed_ms)
    async with bench.engine(orchestrations=[then_works], activities=[echo]):
        assert await ends(bench.clock, handle.wait(), step_ms=100) == "behind the timers"
    fired_ms = [event.timestamp_ms for event in await handle.history() if isinstance(event, TimerFired)]
    due_ms = [began_ms + delay for delay in (1_000, 1_500, 2_000)]
    assert len(fired_ms) == 3
    assert all(fired >= due for fired, due in zip(fired_ms, due_ms, strict=True))
    assert max(fired_ms) <= began_ms + max(passed_ms, 2_000) + 200


@orchestration
async def gives_up_on_a_timer(ctx: OrchestrationContext) -> str:
    timer = ctx.schedule_timer(timedelta(days=1))
    await ctx.schedule_timer(100 * MS)
    timer.cancel()
    return "not a day later"


@upstream("timer_tests", "timer_cancellation")
def test_a_timer_that_is_cancelled_keeps_nobody() -> None:
    outcome = run(gives_up_on_a_timer)
    assert outcome.output == "not a day later"
    assert outcome.elapsed == 100 * MS
