"""How may a client start an orchestration: later, for so long, once more?"""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from engine import OrchestrationContext, Status, orchestration
from engine.errors import InstanceNotFound, OrchestrationFailed, OrchestrationHeld, UsageError
from tests.unit.engine.runtime.running import Bench, cycles

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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delay": timedelta.max}, "expected an orchestration that starts before the year 10000, but it would"),
        ({"delay": 5}, "expected a delay to be a timedelta, but it is 5"),
        ({"deadline": 5}, "expected deadline to be a timedelta, but it is 5"),
        ({"deadline": timedelta(0)}, "expected a deadline after the start, but it is 0:00:00"),
        ({"later": 5}, "expected options of a start among .*delay.*, but got later"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_sent(bench: Bench, options: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        await bench.client.start(cast("Any", gathers), **options)
    assert bench.provider.sent == []
