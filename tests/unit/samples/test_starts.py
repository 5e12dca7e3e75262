"""How may a client start an orchestration: later, for so long, once more?"""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any, cast

import pytest

from engine import Category, EngineOptions, Handle, InstanceExists, OrchestrationContext, Status, orchestration
from engine.errors import InstanceNotFound, OrchestrationFailed, OrchestrationHeld, UsageError, WaitTimedOut
from tests.unit.engine.runtime.running import Bench, cycles, ends

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    return Bench()


@orchestration
async def gathers(ctx: OrchestrationContext) -> list[object]:
    return [await ctx.dequeue("q"), await ctx.wait_event("e")]


@orchestration
async def reaches_out(ctx: OrchestrationContext) -> None:
    asyncio.get_running_loop().stop()


@orchestration
async def waits_then_reaches_out(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("go")
    asyncio.get_running_loop().stop()


# Later


async def test_a_delayed_instance_does_not_exist_before_its_time_and_then_takes_what_was_sent(bench: Bench) -> None:
    async with bench.engine(orchestrations=[gathers]):
        handle = await bench.client.start(gathers, instance="a", delay=timedelta(seconds=10))
        await handle.enqueue_message("q", "kept")
        bench.clock.advance(9_999)
        await cycles()
        with pytest.raises(InstanceNotFound):
            await handle.status()
        await handle.cancel("not wanted after all")
        bench.clock.advance(1)
        assert (await handle.changed()).status is Status.CANCELLED


async def test_an_event_that_is_kept_may_come_before_the_start(bench: Bench) -> None:
    """One that is not kept is there too early, as it would be a moment after the start."""
    async with bench.engine(orchestrations=[gathers]):
        await bench.client.raise_event("a", "e", "lost")
        await bench.client.raise_event("a", "e", "early", keep=True)
        await cycles()
        handle = await bench.client.start(gathers, instance="a")
        await handle.enqueue_message("q", "sent")
        assert await ends(bench.clock, handle.wait()) == ["sent", "early"]


async def test_the_first_of_two_starts_to_come_begins_it(bench: Bench) -> None:
    async with bench.engine(orchestrations=[gathers]):
        await bench.client.start(gathers, instance="a", delay=timedelta(hours=1), message_id="late")
        handle = await bench.client.start(gathers, instance="a", message_id="now")
        started = (await handle.changed()).created_at_ms
        bench.clock.advance(3_600_000)
        await cycles()
        assert (await handle.status()).created_at_ms == started


# For so long


async def test_an_instance_that_takes_too_long_has_failed_and_a_held_one_stays_held(bench: Bench) -> None:
    async with bench.engine(orchestrations=[gathers, reaches_out]):
        handle = await bench.client.start(gathers, deadline=timedelta(seconds=10))
        held = await bench.client.start(reaches_out, deadline=timedelta(seconds=10))
        await handle.changed()
        with pytest.raises(OrchestrationHeld):
            await held.wait()
        bench.clock.advance(10_000)
        with pytest.raises(OrchestrationFailed, match=r"to end within its deadline of .*, but it was still running"):
            await handle.wait()
        assert (await held.status()).status is Status.HELD


async def test_the_time_counts_from_the_first_turn_on(bench: Bench) -> None:
    async with bench.engine(orchestrations=[gathers]):
        handle = await bench.client.start(gathers, delay=timedelta(seconds=60), deadline=timedelta(seconds=10))
        bench.clock.advance(60_000)
        begun = await handle.changed()
        bench.clock.advance(9_999)
        await cycles()
        assert (await handle.status()).revision == begun.revision
        bench.clock.advance(1)
        assert (await handle.changed(begun.revision)).status is Status.FAILED


# Where the instance exists


@orchestration
async def counts(ctx: OrchestrationContext, number: int) -> list[object]:
    before = ctx.get_key_value("count", int)
    ctx.set_key_value("count", number)
    ctx.set_custom_status(f"life {number}")
    return [before, await ctx.wait_event("go")]


async def test_whoever_begins_it_is_told_so_and_nobody_else(bench: Bench) -> None:
    async with bench.engine(orchestrations=[counts]):
        one = await bench.client.start(counts, 1, instance="a", if_exists="refuse", message_id="one")
        with pytest.raises(InstanceExists, match="expected this start to begin 'a', but it exists and is running"):
            await bench.client.start(counts, 2, instance="a", if_exists="refuse")
        again = await bench.client.start(counts, 1, instance="a", if_exists="refuse", message_id="one")
        await one.raise_event("go", "x")
        assert await one.wait() == await again.wait() == [None, "x"]
        assert (await one.status()).start_id == "one"
        with pytest.raises(InstanceExists, match="exists and is completed"):
            await bench.client.start(counts, 2, instance="a", if_exists="refuse")


async def test_two_that_race_get_one_instance(bench: Bench) -> None:
    both = [bench.client.start(counts, number, instance="a", if_exists="refuse") for number in (1, 2)]
    racing = asyncio.gather(*both, return_exceptions=True)
    await cycles()
    async with bench.engine(orchestrations=[counts]):
        won, lost = await racing
    assert isinstance(won, Handle)
    assert isinstance(lost, InstanceExists)


async def test_one_that_has_ended_begins_anew(bench: Bench) -> None:
    async with bench.engine(orchestrations=[counts]):
        first = await bench.client.start(counts, 1, instance="a", if_exists="restart_ended")
        with pytest.raises(InstanceExists, match="is running"):
            await bench.client.start(counts, 2, instance="a", if_exists="restart_ended")
        await first.raise_event("go", "x")
        assert await first.wait() == [None, "x"]
        second = await bench.client.start(counts, 2, instance="a", if_exists="restart_ended", message_id="second")
        waiting = asyncio.ensure_future(second.wait())
        info = await second.status()
        assert (info.status, info.current_execution_id, info.custom_status) == (Status.RUNNING, 2, "life 2")
        await second.raise_event("go", "y")
        assert await waiting == [None, "y"]
        assert [one.status for one in await bench.client.list_executions("a")] == [Status.COMPLETED] * 2
        assert await bench.client.get_key_value("a", "count", int) == 2
        again = await bench.client.start(counts, 2, instance="a", if_exists="restart_ended", message_id="second")
        assert await again.wait() == [None, "y"]


async def test_one_that_failed_or_was_cancelled_begins_anew_too(bench: Bench) -> None:
    async with bench.engine(orchestrations=[counts, gathers]):
        for number, end in enumerate(("cancelled", "out of time")):
            handle = await bench.client.start(
                gathers, instance="a", if_exists="restart_ended", deadline=timedelta(seconds=10)
            )
            assert (await handle.status()).current_execution_id == number + 1
            if end == "cancelled":
                await handle.cancel()
            with pytest.raises(OrchestrationFailed):
                await ends(bench.clock, handle.wait())
        await bench.client.start(counts, 1, instance="a", if_exists="restart_ended")
        info = await bench.client.status("a")
        assert (info.orchestration_name, info.failure, info.status) == ("counts", None, Status.RUNNING)


async def test_a_held_one_is_refused(bench: Bench) -> None:
    async with bench.engine(orchestrations=[waits_then_reaches_out, counts]):
        held = await bench.client.start(waits_then_reaches_out, instance="a")
        await held.changed()
        await held.raise_event("go")
        with pytest.raises(OrchestrationHeld):
            await held.wait()
        with pytest.raises(InstanceExists, match="expected this start to begin 'a', but it exists and is held"):
            await bench.client.start(counts, 1, instance="a", if_exists="restart_ended")


async def test_who_is_not_told_in_time_hears_that(bench: Bench) -> None:
    starting = bench.client.start(counts, 1, instance="a", if_exists="refuse")
    with pytest.raises(WaitTimedOut, match="expected 'a' to begin, or to refuse to, within 20000 ms, but there is no"):
        await ends(bench.clock, starting)


async def test_one_whose_next_life_cannot_begin_fails_as_poison(bench: Bench) -> None:
    options = EngineOptions(attempts_max=2, unregistered_delay_ms=1)
    async with bench.engine(orchestrations=[counts], options=options):
        first = await bench.client.start(counts, 1, instance="a")
        await first.raise_event("go")
        await first.wait()
        with contextlib.suppress(InstanceExists):
            await ends(bench.clock, bench.client.start("nobody", instance="a", if_exists="restart_ended"))
        info = await bench.client.status("a")
        assert (info.status, info.current_execution_id) == (Status.FAILED, 2)
        assert info.failure is not None
        assert info.failure.category is Category.POISON


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delay": timedelta.max}, "expected an orchestration that starts before the year 10000, but it would"),
        ({"delay": 5}, "expected a delay to be a timedelta, but it is 5"),
        ({"deadline": 5}, "expected deadline to be a timedelta, but it is 5"),
        ({"deadline": timedelta(0)}, "expected a deadline after the start, but it is 0:00:00"),
        (
            {"if_exists": "replace"},
            "expected if_exists to be one of ignore, refuse, restart_ended, but it is 'replace'",
        ),
        ({"if_exists": "refuse", "delay": timedelta(1)}, "expected no delay beside if_exists"),
        ({"later": 5}, "expected options of a start among .*delay.*, but got later"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_sent(bench: Bench, options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        await bench.client.start(cast("Any", gathers), **options)
    assert bench.provider.sent == []
