"""Do orchestrations run from start to end through dispatchers, activities, timers and events?"""

import asyncio
from datetime import timedelta

import pytest

from engine.activity_context import ActivityContext
from engine.errors import ActivityError, OrchestrationFailed
from engine.model.events import ActivityCompleted
from engine.model.failure import Category
from engine.model.status import Status
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@activity
def greet_from_a_thread(name: str) -> str:
    return f"hello {name}"


@orchestration
async def greet_three(ctx: OrchestrationContext) -> list[str]:
    return [await ctx.schedule_activity(greet, name) for name in ("one", "two", "three")]


@orchestration
async def greet_all(ctx: OrchestrationContext, names: list[str]) -> list[str]:
    return await asyncio.gather(*(ctx.schedule_activity(greet_from_a_thread, name) for name in names))


@orchestration
async def nap(ctx: OrchestrationContext, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "rested"


@upstream("scenarios/single_thread", "single_thread_basic_orchestration", "single_thread_sequential_activities")
async def test_three_activities_in_a_row(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=[greet_three], activities=[greet]) as engine:
        handle = await bench.client.start(greet_three, instance="hello-1")
        assert await handle.wait() == ["hello one", "hello two", "hello three"]
        assert (await handle.status()).status is Status.COMPLETED
    assert engine.counters.activities_completed == 3
    assert engine.counters.orchestrations_completed == 1
    assert engine.counters.turns_durable == engine.counters.turns_admitted == 4


async def test_a_suspended_orchestration_is_kept_between_turns(bench: Bench) -> None:
    async with bench.engine(orchestrations=[greet_three], activities=[greet]) as engine:
        await (await bench.client.start(greet_three)).wait()
    assert (engine.counters.live_hits, engine.counters.live_misses) == (3, 1)


@upstream("unit_tests", "deterministic_replay_activity_only")
async def test_without_a_cache_every_turn_replays_and_the_result_is_the_same(bench: Bench) -> None:
    options = EngineOptions(cache_bytes_max=0)
    async with bench.engine(orchestrations=[greet_three], activities=[greet], options=options) as engine:
        handle = await bench.client.start(greet_three)
        assert await handle.wait() == ["hello one", "hello two", "hello three"]
    assert (engine.counters.live_hits, engine.counters.live_misses) == (0, 4)


async def test_a_fan_out_over_threads(bench: Bench) -> None:
    names = [str(number) for number in range(100)]
    async with nothing_left(), bench.engine(orchestrations=[greet_all], activities=[greet_from_a_thread]):
        handle = await bench.client.start(greet_all, names)
        assert await handle.wait() == [f"hello {name}" for name in names]


@upstream("scenarios/single_thread", "single_thread_timer_handling")
async def test_a_timer_fires_when_the_clock_says_so(bench: Bench) -> None:
    async with bench.engine(orchestrations=[nap]):
        handle = await bench.client.start(nap, 60.0)
        waiting = asyncio.ensure_future(handle.wait())
        started_ms = bench.clock.now_ms()
        assert await ends(bench.clock, waiting) == "rested"
        assert 60_000 <= bench.clock.now_ms() - started_ms <= 61_000


@upstream("schedule_with_retry_tests", "test_activity_fails_then_succeeds")
async def test_an_activity_is_retried_by_its_policy(bench: Bench) -> None:
    attempts: list[int] = []

    @activity
    async def third_time_lucky(ctx: ActivityContext) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return len(attempts)

    @orchestration
    async def patient(ctx: OrchestrationContext) -> int:
        policy = RetryPolicy(attempts=5, delay=timedelta(seconds=1))
        return await ctx.schedule_activity(third_time_lucky, retry=policy)

    async with bench.engine(orchestrations=[patient], activities=[third_time_lucky]):
        handle = await bench.client.start(patient)
        assert await ends(bench.clock, handle.wait()) == 3
    assert attempts == [1, 1, 1]  # every retry by policy is a call of its own


async def test_an_exception_of_an_activity_reaches_the_orchestration_and_then_the_client(bench: Bench) -> None:
    @activity
    async def break_down(what: str) -> None:
        raise ValueError(what)

    @orchestration
    async def careless(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity(break_down, "the press")

    @orchestration
    async def careful(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(break_down, "the press")
        except ActivityError as error:
            return error.failure.message
        return "fine"

    async with bench.engine(orchestrations=[careless, careful], activities=[break_down]) as engine:
        assert await (await bench.client.start(careful)).wait() == "the press"
        with pytest.raises(OrchestrationFailed, match="the press") as caught:
            await (await bench.client.start(careless)).wait()
    cause = caught.value.failure.cause
    assert cause is not None
    assert (cause.category, cause.type, cause.message) == (Category.APPLICATION, "ValueError", "the press")
    assert "break_down" in (cause.stack or "")
    assert engine.counters.orchestrations_failed == 1


async def test_events_messages_and_a_child_reach_their_orchestration(bench: Bench) -> None:
    @orchestration
    async def add(ctx: OrchestrationContext, numbers: list[int]) -> int:
        return sum(numbers)

    @orchestration
    async def collect(ctx: OrchestrationContext) -> int:
        first = await ctx.wait_event("first", int)
        second = await ctx.dequeue("numbers", int)
        return await ctx.schedule_sub_orchestration(add, [first, second])

    async with bench.engine(orchestrations=[add, collect]):
        handle = await bench.client.start(collect, instance="collector")
        await bench.provider.changed("collector", 0)
        await handle.enqueue_message("numbers", 40)
        await handle.raise_event("first", 2)
        assert await handle.wait() == 42


@upstream("scenarios/single_thread", "single_thread_continue_as_new")
async def test_continue_as_new_starts_the_next_execution(bench: Bench) -> None:
    @orchestration
    async def count_down(ctx: OrchestrationContext, number: int) -> str:
        if number:
            return ctx.continue_as_new(number - 1)
        return "zero"

    async with bench.engine(orchestrations=[count_down]):
        handle = await bench.client.start(count_down, 3, instance="countdown")
        assert await handle.wait() == "zero"
        assert [execution.status for execution in await bench.client.list_executions("countdown")] == [
            Status.CONTINUED_AS_NEW,
            Status.CONTINUED_AS_NEW,
            Status.CONTINUED_AS_NEW,
            Status.COMPLETED,
        ]


@upstream(
    "orchestration_status_tests",
    "test_status_cancelled",
    differs="A cancelled instance has a status of its own, and does not count as failed.",
)
async def test_a_cancelled_orchestration_says_why_and_may_clean_up(bench: Bench) -> None:
    @orchestration
    async def wait_for_ever(ctx: OrchestrationContext) -> None:
        try:
            await ctx.wait_event("never")
        finally:
            ctx.set_custom_status("cleaned up")

    async with bench.engine(orchestrations=[wait_for_ever]) as engine:
        handle = await bench.client.start(wait_for_ever, instance="waiter")
        await bench.provider.changed("waiter", 0)
        await handle.cancel("no longer wanted")
        with pytest.raises(OrchestrationFailed, match="no longer wanted") as caught:
            await handle.wait()
        status = await handle.status()
    assert caught.value.failure.category is Category.CANCELLED
    assert (status.status, status.custom_status) == (Status.CANCELLED, "cleaned up")
    assert engine.counters.orchestrations_cancelled == 1


async def test_a_thousand_instances_all_end_and_no_wake_up_is_lost(bench: Bench) -> None:
    @orchestration
    async def two_at_once(ctx: OrchestrationContext, number: int) -> int:
        first, second = await asyncio.gather(
            ctx.schedule_activity(double, number), ctx.schedule_activity(double, number + 1)
        )
        return await ctx.schedule_activity(double, first + second)

    @activity
    async def double(number: int) -> int:
        return 2 * number

    options = EngineOptions(activities_max=7, work_items_max=11, turns_max=5, cache_bytes_max=2_000_000)
    async with nothing_left(), bench.engine(orchestrations=[two_at_once], activities=[double], options=options):
        handles = [await bench.client.start(two_at_once, number, instance=f"n-{number}") for number in range(1_000)]
        results = [await handle.wait() for handle in handles]
    assert results == [8 * number + 4 for number in range(1_000)]
    for number in range(0, 1_000, 100):
        history = await bench.client.history(f"n-{number}")
        sources = [event.source_event_id for event in history if isinstance(event, ActivityCompleted)]
        assert len(sources) == len(set(sources)) == 3
