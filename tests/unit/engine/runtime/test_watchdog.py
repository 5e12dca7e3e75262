"""Is a turn that does not end told, by its instance and its line, and a turn that ends not?"""

import logging
import threading
from collections.abc import Callable

import pytest

from engine.observe import recorded_marks
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, ends

pytestmark = pytest.mark.anyio

SHORT = EngineOptions(turn_ms_max=20)


@activity
async def double(number: int) -> int:
    return 2 * number


def spinning_until(told: Callable[[], bool]) -> int:
    """Code that goes on without a pause until somebody has noticed."""
    rounds = 0
    while not told():
        rounds += 1
    return rounds


async def test_a_turn_that_does_not_end_is_told_by_its_instance_and_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "turnlog.watchdog")

    @orchestration
    async def spins(ctx: OrchestrationContext) -> str:
        spinning_until(lambda: bool(caplog.records))
        return "told"

    with recorded_marks() as reached:
        async with bench.engine(orchestrations=[spins], options=SHORT):
            handle = await bench.client.start(spins, instance="endless-1")
            assert await ends(bench.clock, handle.wait()) == "told"
    (record,) = caplog.records
    message = record.getMessage()
    assert "expected a turn of endless-1 to end within 0.02 s, but it is still in " in message
    assert f"{__file__}:" in message
    assert "(spins)" in message
    assert getattr(record, "instance") == "endless-1"  # noqa: B009  # of the record's extra
    assert "turn.overran" in reached


async def test_it_is_told_once_a_turn(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "turnlog.watchdog")

    @orchestration
    async def spins(ctx: OrchestrationContext) -> None:
        before = len(caplog.records)
        spinning_until(lambda: len(caplog.records) > before)
        sum(range(5_000_000))  # several looks long

    async with bench.engine(orchestrations=[spins], options=SHORT):
        for instance in ("a", "b"):
            handle = await bench.client.start(spins, instance=instance)
            await ends(bench.clock, handle.wait())
    assert len(caplog.records) == 2


async def test_many_turns_are_no_long_turn(bench: Bench) -> None:
    @orchestration
    async def many(ctx: OrchestrationContext) -> int:
        total = 0
        for _ in range(100):
            total = await ctx.schedule_activity(double, total + 1) % 7
        return total

    options = EngineOptions(turn_ms_max=1_000, cache_bytes_max=0)
    with recorded_marks() as reached:
        async with bench.engine(orchestrations=[many], activities=[double], options=options):
            handle = await bench.client.start(many)
            await ends(bench.clock, handle.wait())
    assert "turn.overran" not in reached


async def test_the_watchdog_ends_with_its_engine(bench: Bench) -> None:
    async with bench.engine(activities=[double], options=SHORT):
        await cycles()
        assert "turnlog-watchdog" in {thread.name for thread in threading.enumerate()}
    assert "turnlog-watchdog" not in {thread.name for thread in threading.enumerate()}
