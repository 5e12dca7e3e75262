"""Does what an activity says of how far it is reach whoever does its work again, and cost no more than it must?"""

import asyncio
import threading
from datetime import timedelta

import pytest

from engine.activity_context import ActivityContext
from engine.clock import ManualClock
from engine.errors import LeaseLost, Refused, Retryable, TurnTooLarge
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import Payload
from engine.model.work import WorkItem
from engine.observe import recorded_marks
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, cycles, ends, nothing_left

pytestmark = pytest.mark.anyio

LEASE_MS = EngineOptions().activity_lease_ms
THIRD_MS = LEASE_MS // 3


def work_item(name: str, heartbeat: Payload | None = None) -> WorkItem:
    return WorkItem(
        instance="order-1",
        incarnation=7,
        execution_id=1,
        activity_id=2,
        name=name,
        input=Payload(b"null"),
        heartbeat=heartbeat,
    )


async def acked(bench: Bench) -> None:
    while not bench.provider.completions:
        await bench.provider.acked.wait()


async def beaten(bench: Bench, count: int) -> None:
    """Return when so many heartbeats are kept; a thread that gives one takes a moment of real time."""
    async with asyncio.timeout(30):
        while len(bench.provider.beats) < count:
            await bench.provider.beaten.wait()


# Sending


async def test_the_first_details_go_at_once_and_later_ones_with_the_lease(bench: Bench) -> None:
    told: asyncio.Queue[int] = asyncio.Queue()

    @activity
    async def counts(ctx: ActivityContext) -> None:
        while (number := await told.get()) < 9:
            ctx.heartbeat(number)

    async with nothing_left(), bench.engine(activities=[counts]) as engine:
        await bench.provider.enqueue_for_worker(work_item("counts"))
        await cycles()
        told.put_nowait(1)
        await cycles()
        assert bench.provider.beats == [b"1"]
        for number in (2, 3, 4):
            told.put_nowait(number)
        await cycles()
        bench.clock.advance(THIRD_MS - 1)
        await cycles()
        assert bench.provider.beats == [b"1"]
        bench.clock.advance(1)
        await cycles()
        assert bench.provider.beats == [b"1", b"4"]
        bench.clock.advance(THIRD_MS)
        await cycles()
        assert bench.provider.beats == [b"1", b"4"]  # it has nothing new to say, and the lease is renewed all the same
        assert (engine.counters.leases_renewed, bench.provider.calls["renew_work_item_lock"]) == (3, 3)
        told.put_nowait(9)
        await acked(bench)


async def test_a_thread_says_it_too(bench: Bench) -> None:
    go_on = threading.Event()

    @activity
    def digs(ctx: ActivityContext) -> object:
        assert ctx.heartbeat_details() is None
        ctx.heartbeat({"deep": 3})
        go_on.wait(30)
        return ctx.heartbeat_details()

    async with nothing_left(), bench.engine(activities=[digs]):
        await bench.provider.enqueue_for_worker(work_item("digs"))
        await beaten(bench, 1)
        go_on.set()
        await acked(bench)
    assert bench.provider.beats == [b'{"deep":3}']
    [completion] = bench.provider.completions
    assert isinstance(completion, CompleteActivity)
    assert completion.result == Payload(b'{"deep":3}')


async def test_a_sign_of_life_alone_sends_nothing_and_takes_nothing_away(bench: Bench) -> None:
    @activity
    async def breathes(ctx: ActivityContext) -> int | None:
        ctx.heartbeat()
        return ctx.heartbeat_details(int)

    async with nothing_left(), bench.engine(activities=[breathes]):
        await bench.provider.enqueue_for_worker(work_item("breathes", Payload(b"7")))
        await acked(bench)
    [completion] = bench.provider.completions
    assert isinstance(completion, CompleteActivity)
    assert (completion.result, bench.provider.beats) == (Payload(b"7"), [])
    assert "renew_work_item_lock" not in bench.provider.calls


async def test_details_that_cannot_travel_are_refused_where_they_are_said(bench: Bench) -> None:
    refused: list[str] = []

    @activity
    async def rambles(ctx: ActivityContext) -> None:
        ctx.heartbeat("short")
        for details in (object(), "x" * 50):
            try:
                ctx.heartbeat(details)
            except Exception as error:
                refused.append(f"{type(error).__name__}: {error}")
        assert ctx.heartbeat_details(str) == "short"
        ctx.heartbeat_details(int)

    options = EngineOptions(heartbeat_bytes_max=50)
    async with nothing_left(), bench.engine(activities=[rambles], options=options):
        await bench.provider.enqueue_for_worker(work_item("rambles"))
        await acked(bench)
    what = "details of a heartbeat of activity rambles"
    assert refused[0].startswith(f"ConversionError: expected {what} to have a JSON form, but object has none")
    assert refused[1:] == [f"ConversionError: expected {what} to have at most 50 bytes, but they have 52"]
    [completion] = bench.provider.completions
    assert isinstance(completion, FailActivity)
    assert completion.failure.message.startswith(f"expected {what} of type int, but")
    assert completion.heartbeat == Payload(b'"short"')


async def test_details_that_come_while_a_renewal_is_under_way_go_right_after_it(bench: Bench) -> None:
    say = asyncio.Event()
    end = asyncio.Event()

    @activity
    async def waits(ctx: ActivityContext) -> None:
        await say.wait()
        ctx.heartbeat(5)
        await end.wait()

    async with nothing_left(), bench.engine(activities=[waits]):
        bench.provider.fail("renew_work_item_lock", Retryable("renew_work_item_lock", "away"))
        await bench.provider.enqueue_for_worker(work_item("waits"))
        await cycles()
        bench.clock.advance(THIRD_MS)
        await cycles()  # the renewal pauses now before it is repeated
        say.set()
        await cycles()
        assert bench.provider.beats == []
        bench.clock.advance(EngineOptions().error_delay_ms)
        await cycles()
        assert bench.provider.beats == [b"5"]
        end.set()
        await acked(bench)


class SlowToKeep(ScriptedProvider):
    """Extends a lease at once and keeps a heartbeat when the test says so."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.keeps = asyncio.Event()

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        await super().renew_work_item_lock(lock_token, extend_for_ms, heartbeat)
        if heartbeat is not None:
            await self.keeps.wait()


async def test_a_lease_does_not_wait_for_details_to_be_kept() -> None:
    bench = Bench(SlowToKeep)
    assert isinstance(bench.provider, SlowToKeep)
    runs: list[int] = []
    end = asyncio.Event()

    @activity
    async def talks(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)
        for number in range(100):
            ctx.heartbeat(number)
        await end.wait()

    async with nothing_left(), bench.engine(activities=[talks]):
        await bench.provider.enqueue_for_worker(work_item("talks"))
        for _ in range(30):
            await cycles()
            bench.clock.advance(THIRD_MS)
        assert (runs, bench.provider.beats) == ([1], [b"99"])
        bench.provider.keeps.set()
        end.set()
        await acked(bench)


async def test_details_that_the_provider_refuses_cost_nobody_the_lease(bench: Bench) -> None:
    end = asyncio.Event()

    @activity
    async def talks(ctx: ActivityContext) -> str:
        ctx.heartbeat("too much")
        await end.wait()
        return "done"

    bench.provider.fail("renew_work_item_lock", Refused("renew_work_item_lock", "too large"))
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(activities=[talks]) as engine:
            await bench.provider.enqueue_for_worker(work_item("talks"))
            for _ in range(9):
                await cycles()
                bench.clock.advance(THIRD_MS)
            end.set()
            await acked(bench)
    assert "lease.details_refused" in reached
    assert (engine.counters.leases_lost, bench.provider.beats) == (0, [])
    assert isinstance(bench.provider.completions[0], CompleteActivity)


async def test_a_lease_that_was_lost_is_lost_with_details_too(bench: Bench) -> None:
    told: list[int] = []

    @activity
    async def talks(ctx: ActivityContext) -> None:
        if ctx.attempt == 1:
            ctx.heartbeat(1)
            await ctx.cancelled()
            told.append(ctx.attempt)

    bench.provider.fail("renew_work_item_lock", LeaseLost("renew_work_item_lock", "taken back"))
    async with nothing_left(), bench.engine(activities=[talks]) as engine:
        await bench.provider.enqueue_for_worker(work_item("talks"))
        await ends(bench.clock, acked(bench))
    assert (told, engine.counters.leases_lost) == ([1], 1)


# Reading


async def test_the_delivery_after_a_crash_goes_on_where_the_one_before_was(bench: Bench) -> None:
    seen: list[tuple[int, int | None]] = []

    @activity
    async def imports(ctx: ActivityContext) -> int:
        at = ctx.heartbeat_details(int)
        seen.append((ctx.attempt, at))
        if at is None:
            ctx.heartbeat(40)
            await asyncio.Event().wait()
        return ctx.attempt

    crashed = bench.engine(activities=[imports])
    running = asyncio.ensure_future(crashed.run())
    await bench.provider.enqueue_for_worker(work_item("imports"))
    await beaten(bench, 1)
    crashed.request_stop()
    crashed.request_stop()  # at once, and nothing is given back
    await ends(bench.clock, running)
    async with nothing_left(), bench.engine(activities=[imports]):
        await ends(bench.clock, acked(bench))
    assert seen == [(1, None), (2, 40)]


async def test_a_stop_keeps_what_was_said_last(bench: Bench) -> None:
    seen: list[int | None] = []

    @activity
    async def imports(ctx: ActivityContext) -> None:
        seen.append(ctx.heartbeat_details(int))
        if seen == [None]:
            for at in range(100):
                ctx.heartbeat(at)
                await asyncio.sleep(0)
            await asyncio.Event().wait()

    stopped = bench.engine(activities=[imports], options=EngineOptions(drain_ms=0))
    running = asyncio.ensure_future(stopped.run())
    await bench.provider.enqueue_for_worker(work_item("imports"))
    await cycles(200)
    assert bench.provider.beats != [b"99"]
    stopped.request_stop()
    await ends(bench.clock, running, step_ms=1)
    async with nothing_left(), bench.engine(activities=[imports]):
        await ends(bench.clock, acked(bench))
    assert seen == [None, 99]


async def test_each_attempt_by_policy_reads_what_those_before_it_said(bench: Bench) -> None:
    seen: list[int | None] = []

    @activity
    async def imports(ctx: ActivityContext, upto: int) -> int:
        at = ctx.heartbeat_details(int)
        seen.append(at)
        match len(seen):
            case 1:
                ctx.heartbeat(10)
                ctx.heartbeat(20)
                raise ConnectionError("gone")
            case 2:
                raise ConnectionError("gone before it said anything")
            case _:
                return upto - (at or 0)

    @orchestration
    async def load(ctx: OrchestrationContext) -> int:
        return await ctx.schedule_activity(imports, 100, retry=RetryPolicy(attempts=5, delay=timedelta(seconds=1)))

    async with nothing_left(), bench.engine(orchestrations=[load], activities=[imports]):
        handle = await bench.client.start(load)
        assert await ends(bench.clock, handle.wait()) == 80
    assert seen == [None, 20, 20]


@pytest.mark.parametrize("error", [TurnTooLarge("i", 8, 7), Refused("ack_work_item", "too large")])
async def test_a_failure_that_is_too_large_with_its_details_is_said_without_them(
    bench: Bench, error: Exception
) -> None:
    @activity
    async def fails(ctx: ActivityContext) -> None:
        ctx.heartbeat("much")
        raise ValueError("boom")

    bench.provider.fail("ack_work_item", error)
    async with nothing_left(), bench.engine(activities=[fails]):
        await bench.provider.enqueue_for_worker(work_item("fails"))
        await acked(bench)
    [completion] = bench.provider.completions
    assert isinstance(completion, FailActivity)
    assert (completion.failure.message, completion.heartbeat) == ("boom", None)
