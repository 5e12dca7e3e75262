"""Does an activity that waits, runs or is silent for too long fail in its time, whatever its code does?"""

import asyncio
import threading
from datetime import timedelta

import pytest
from msgspec import structs

from engine.activity_context import ActivityContext
from engine.errors import Retryable, TimedOut
from engine.model.failure import Category, Failure
from engine.model.limits import WorkLimits
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import Payload
from engine.model.tags import TagFilter
from engine.model.work import WorkItem
from engine.observe import recorded_marks
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, ends, nothing_left

pytestmark = pytest.mark.anyio

GRACE_MS = EngineOptions().cancel_grace_ms
LEASE_MS = EngineOptions().activity_lease_ms


def work_item(name: str, limits: WorkLimits | None = None, *, activity_id: int = 2, tag: str | None = None) -> WorkItem:
    return WorkItem(
        instance="order-1",
        incarnation=7,
        execution_id=1,
        activity_id=activity_id,
        name=name,
        input=Payload(b"null"),
        tag=tag,
        limits=limits,
    )


def runs_for(seconds: int) -> WorkLimits:
    return WorkLimits(run_timeout_ms=1_000 * seconds)


def beats_within(seconds: int) -> WorkLimits:
    return WorkLimits(heartbeat_timeout_ms=1_000 * seconds)


def begins_within(bench: Bench, seconds: int) -> WorkLimits:
    wait_ms = 1_000 * seconds
    return WorkLimits(queue_timeout_ms=wait_ms, start_by_ms=bench.clock.now_ms() + wait_ms)


async def acked(bench: Bench, count: int = 1) -> None:
    while len(bench.provider.completions) < count:
        await bench.provider.acked.wait()


async def happens(event: threading.Event) -> None:
    """Return once a thread has set it."""
    await cycles()
    assert event.wait(30)
    await cycles()


def failure_of(bench: Bench) -> Failure:
    [completion] = bench.provider.completions
    assert isinstance(completion, FailActivity)
    return completion.failure


async def passes(bench: Bench, seconds: float) -> None:
    """So much time, a quarter of a second at a time."""
    for _ in range(int(4 * seconds)):
        await cycles()
        bench.clock.advance(250)
    await cycles()


# Running


async def test_an_activity_that_runs_too_long_fails_at_once_and_is_interrupted_later(bench: Bench) -> None:
    said: list[str] = []

    @activity
    async def deaf(ctx: ActivityContext) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            said.append(f"interrupted, {ctx.is_cancelled()}")
        return "late"

    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(activities=[deaf]) as engine:
            await bench.provider.enqueue_for_worker(work_item("deaf", runs_for(60)))
            await passes(bench, 59.75)
            assert bench.provider.completions == []
            await passes(bench, 0.25)
            failure = failure_of(bench)
            assert said == []
            await passes(bench, GRACE_MS / 1_000)
            assert said == ["interrupted, True"]
    assert {"activity.timed_out", "activity.cancelled_after_grace", "activity.result_dropped"} <= reached
    assert failure == Failure(
        category=Category.APPLICATION,
        type="TimedOut",
        message="expected activity deaf to end within its run_timeout of 0:01:00, but it still runs",
    )
    assert failure.retryable
    assert (engine.counters.activities_failed, engine.counters.activities_cancelled) == (1, 0)
    assert len(bench.provider.completions) == 1


async def test_an_activity_that_listens_ends_itself_and_its_result_is_dropped(bench: Bench) -> None:
    ended = asyncio.Event()

    @activity
    async def listens(ctx: ActivityContext) -> str:
        ctx.heartbeat("half")
        await ctx.cancelled()
        ended.set()
        return "late"

    async with nothing_left(), bench.engine(activities=[listens]):
        await bench.provider.enqueue_for_worker(work_item("listens", runs_for(5)))
        await ends(bench.clock, ended.wait())
        await ends(bench.clock, acked(bench))
    [completion] = bench.provider.completions
    assert isinstance(completion, FailActivity)
    assert (completion.failure.type, completion.heartbeat) == ("TimedOut", Payload(b'"half"'))


async def test_a_thread_is_told_and_its_failure_does_not_wait_for_it(bench: Bench) -> None:
    running, go_on = threading.Event(), threading.Event()
    told: list[bool] = []

    @activity
    def blocks(ctx: ActivityContext) -> str:
        running.set()
        go_on.wait(30)
        told.append(ctx.is_cancelled())
        return "late"

    async with nothing_left(), bench.engine(activities=[blocks]) as engine:
        await bench.provider.enqueue_for_worker(work_item("blocks", runs_for(5)))
        await happens(running)
        await passes(bench, 5)
        assert failure_of(bench).message == (
            "expected activity blocks to end within its run_timeout of 0:00:05, but it still runs"
        )
        assert engine.gauges()["activities_running"] == 1  # its thread is taken
        await passes(bench, LEASE_MS / 500)
        assert "renew_work_item_lock" not in bench.provider.calls
        go_on.set()
    assert told == [True]
    assert len(bench.provider.completions) == 1


async def test_the_time_in_line_for_a_thread_is_not_counted(bench: Bench) -> None:
    running, go_on = threading.Event(), threading.Event()

    @activity
    def blocks() -> None:
        running.set()
        go_on.wait(30)

    @activity
    def follows() -> str:
        return "in time"

    options = EngineOptions(activity_threads_max=1)
    async with nothing_left(), bench.engine(activities=[blocks, follows], options=options):
        await bench.provider.enqueue_for_worker(work_item("blocks"))
        await happens(running)
        await bench.provider.enqueue_for_worker(work_item("follows", runs_for(5), activity_id=3))
        await passes(bench, 20)
        assert bench.provider.completions == []
        go_on.set()
        await ends(bench.clock, acked(bench, 2), step_ms=0)  # a slow thread must not meet its five seconds
    assert all(isinstance(one, CompleteActivity) for one in bench.provider.completions)


async def test_an_activity_that_ends_in_time_is_watched_no_more(bench: Bench) -> None:
    @activity
    async def quick() -> str:
        return "done"

    async with nothing_left(), bench.engine(activities=[quick]):
        limits = WorkLimits(run_timeout_ms=5_000, heartbeat_timeout_ms=1_000)
        await bench.provider.enqueue_for_worker(work_item("quick", limits))
        await cycles()
        await passes(bench, 20)
    [completion] = bench.provider.completions
    assert isinstance(completion, CompleteActivity)


async def test_the_lease_holds_until_the_failure_is_said(bench: Bench) -> None:
    runs: list[int] = []

    @activity
    async def listens(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)
        await ctx.cancelled()

    away = Retryable("ack_work_item", "away")
    bench.provider.fail("ack_work_item", *(away for _ in range(20)))  # longer than a lease, and than the grace
    async with nothing_left(), bench.engine(activities=[listens]) as engine:
        await bench.provider.enqueue_for_worker(work_item("listens", runs_for(5)))
        await ends(bench.clock, acked(bench))
    assert failure_of(bench).type == "TimedOut"
    assert runs == [1]
    assert engine.counters.leases_renewed > 3


async def test_a_lease_that_ends_first_is_not_told_of_the_time(bench: Bench) -> None:
    runs: list[int] = []

    @activity
    async def deaf(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)
        await asyncio.Event().wait()

    @orchestration
    async def gives_up(ctx: OrchestrationContext) -> str:
        await ctx.select(
            ctx.schedule_activity(deaf, run_timeout=timedelta(seconds=4)), ctx.schedule_timer(timedelta(seconds=2))
        )
        await ctx.schedule_timer(timedelta(minutes=1))
        return "gave up"

    async with nothing_left(), bench.engine(orchestrations=[gives_up], activities=[deaf]) as engine:
        handle = await bench.client.start(gives_up)
        assert await ends(bench.clock, handle.wait()) == "gave up"
    assert (runs, engine.counters.activities_cancelled, engine.counters.activities_failed) == ([1], 1, 0)
    assert bench.provider.completions == []


# Being silent


async def test_an_activity_that_is_silent_too_long_fails(bench: Bench) -> None:
    @activity
    async def quiet(ctx: ActivityContext) -> None:
        ctx.heartbeat()
        await asyncio.Event().wait()

    async with nothing_left(), bench.engine(activities=[quiet]):
        await bench.provider.enqueue_for_worker(work_item("quiet", beats_within(10)))
        await passes(bench, 9.75)
        assert bench.provider.completions == []
        await passes(bench, 0.25)
        assert failure_of(bench).message == (
            "expected activity quiet to call heartbeat() within each heartbeat_timeout of 0:00:10, "
            "but it was silent for longer"
        )
        await passes(bench, GRACE_MS / 1_000)


async def test_each_heartbeat_begins_the_time_anew(bench: Bench) -> None:
    ticks: asyncio.Queue[int] = asyncio.Queue()

    @activity
    async def talks(ctx: ActivityContext) -> str:
        while await ticks.get():
            ctx.heartbeat()
        await asyncio.Event().wait()
        return "never"

    async with nothing_left(), bench.engine(activities=[talks]):
        await bench.provider.enqueue_for_worker(work_item("talks", beats_within(10)))
        for tick in (1, 1, 1, 0):
            await passes(bench, 9)
            ticks.put_nowait(tick)
        await passes(bench, 0.75)
        assert bench.provider.completions == []
        await passes(bench, 0.25)
        assert failure_of(bench).type == "TimedOut"
        await passes(bench, GRACE_MS / 1_000)


async def test_a_thread_that_hangs_is_silent_too(bench: Bench) -> None:
    running, go_on = threading.Event(), threading.Event()

    @activity
    def hangs(ctx: ActivityContext) -> None:
        ctx.heartbeat("began")
        running.set()
        go_on.wait(30)

    async with nothing_left(), bench.engine(activities=[hangs]):
        await bench.provider.enqueue_for_worker(work_item("hangs", beats_within(2)))
        await happens(running)
        await passes(bench, 2)
        assert "was silent for longer" in failure_of(bench).message
        go_on.set()


async def test_of_two_limits_the_first_that_passes_counts(bench: Bench) -> None:
    @activity
    async def waits() -> None:
        await asyncio.Event().wait()

    async with nothing_left(), bench.engine(activities=[waits]):
        limits = WorkLimits(run_timeout_ms=5_000, heartbeat_timeout_ms=3_000)
        await bench.provider.enqueue_for_worker(work_item("waits", limits))
        await ends(bench.clock, acked(bench))
    assert "heartbeat_timeout" in failure_of(bench).message


# Waiting in the queue


@activity
async def never_to_run() -> None:
    raise AssertionError("expected nobody to begin this")


async def test_an_activity_that_nobody_serves_fails_in_its_time(bench: Bench) -> None:
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine() as engine:
            await bench.provider.enqueue_for_worker(work_item("draw", begins_within(bench, 30), tag="gpu"))
            await passes(bench, 29.75)
            assert bench.provider.completions == []
            await passes(bench, 0.25)
            failure = failure_of(bench)
    assert "activity.not_begun_in_time" in reached
    assert (failure.type, failure.retryable) == ("TimedOut", True)
    assert failure.message == (
        "expected activity draw to begin within its queue_timeout of 0:00:30, "
        "but no worker that serves the tag 'gpu' has begun it"
    )
    assert (engine.counters.activities_started, engine.counters.activities_failed) == (0, 1)


async def test_a_worker_that_comes_too_late_does_not_begin_it(bench: Bench) -> None:
    await bench.provider.enqueue_for_worker(work_item("never_to_run", begins_within(bench, 5)))
    bench.clock.advance(5_000)
    async with nothing_left(), bench.engine(activities=[never_to_run]):
        await ends(bench.clock, acked(bench))
    assert failure_of(bench).message == (
        "expected activity never_to_run to begin within its queue_timeout of 0:00:05, but no worker has begun it"
    )


async def test_an_activity_that_nobody_has_registered_fails_in_its_time_too(bench: Bench) -> None:
    async with nothing_left(), bench.engine() as engine:
        await bench.provider.enqueue_for_worker(work_item("unheard_of", begins_within(bench, 30)))
        await passes(bench, 29.75)
        assert bench.provider.completions == []
        await passes(bench, 0.25)
    assert "has begun it" in failure_of(bench).message
    assert engine.counters.activities_unregistered > 20


@pytest.mark.parametrize("stops", [1, 2], ids=["drained", "stopped at once"])
async def test_what_was_begun_in_time_is_done_again_however_late(bench: Bench, stops: int) -> None:
    runs: list[int] = []

    @activity
    async def begins(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            await asyncio.Event().wait()

    first = bench.engine(activities=[begins], options=EngineOptions(drain_ms=0))
    running = asyncio.ensure_future(first.run())
    await bench.provider.enqueue_for_worker(work_item("begins", begins_within(bench, 5)))
    await cycles()
    for _ in range(stops):
        first.request_stop()
    await ends(bench.clock, running, step_ms=1)
    bench.clock.advance(LEASE_MS)
    async with nothing_left(), bench.engine(activities=[begins]):
        await ends(bench.clock, acked(bench))
    assert isinstance(bench.provider.completions[0], CompleteActivity)
    assert runs == [1, 2]


# What the orchestration sees


async def test_a_time_out_is_a_failed_attempt(bench: Bench) -> None:
    @activity
    async def hangs_once(ctx: ActivityContext) -> str:
        if ctx.heartbeat_details(str) is None:
            ctx.heartbeat("tried")
            await ctx.cancelled()
        return f"done after {ctx.heartbeat_details(str)}"

    @orchestration
    async def insists(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(
            hangs_once,
            retry=RetryPolicy(attempts=2),
            run_timeout=timedelta(seconds=10),
            queue_timeout=timedelta(hours=1),
        )

    async with nothing_left(), bench.engine(orchestrations=[insists], activities=[hangs_once]):
        handle = await bench.client.start(insists)
        assert await ends(bench.clock, handle.wait()) == "done after tried"


async def test_the_code_gets_it_as_timed_out(bench: Bench) -> None:
    @orchestration
    async def asks(ctx: OrchestrationContext) -> str:
        try:
            await ctx.activity("draw", tag="gpu", queue_timeout=timedelta(seconds=30))
        except TimedOut as error:
            return error.failure.message
        return "drawn"

    async with nothing_left(), bench.engine(orchestrations=[asks]):
        handle = await bench.client.start(asks)
        message = await ends(bench.clock, handle.wait())
    assert message == (
        "expected activity draw to begin within its queue_timeout of 0:00:30, "
        "but no worker that serves the tag 'gpu' has begun it"
    )


async def test_a_worker_in_time_begins_it(bench: Bench) -> None:
    @activity
    async def draws() -> str:
        return "drawn"

    options = EngineOptions(worker_tags=TagFilter.only(["gpu"]))
    item = work_item("draws", begins_within(bench, 30), tag="gpu")
    async with nothing_left(), bench.engine(activities=[draws], options=options):
        await bench.provider.enqueue_for_worker(structs.replace(item))
        await ends(bench.clock, acked(bench))
    assert isinstance(bench.provider.completions[0], CompleteActivity)
