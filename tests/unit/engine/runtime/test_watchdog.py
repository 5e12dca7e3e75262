"""Is a turn that does not end told and broken off, and a turn that ends not?"""

import logging
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from engine.errors import OrchestrationHeld
from engine.model.failure import Category, Failure
from engine.observe import recorded_marks
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime import orchestrations
from engine.runtime.options import EngineOptions
from engine.runtime.watchdog import Watchdog
from tests.unit.engine.runtime.running import Bench, cycles, ends

pytestmark = pytest.mark.anyio

Code = Callable[[OrchestrationContext], Any]
SHORT = EngineOptions(turn_ms_max=20)


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def many(ctx: OrchestrationContext) -> int:
    total = 0
    for _ in range(100):
        total = await ctx.schedule_activity(double, total + 1) % 7
    return total


async def held(bench: Bench, code: Code, instance: str = "i") -> Failure:
    """What the instance is held for."""
    handle = await bench.client.start(code, instance=instance)
    with pytest.raises(OrchestrationHeld) as caught:
        await ends(bench.clock, handle.wait())
    return caught.value.failure


@orchestration
async def spins(_: OrchestrationContext) -> None:
    rounds = 0
    while True:
        rounds += 1


@orchestration
async def sleeps(_: OrchestrationContext) -> None:
    select.select([], [], [], 60)  # as `time.sleep`, which the audit net refuses at once from Python 3.13 on


@orchestration
async def spins_on(_: OrchestrationContext) -> str:
    caught = 0
    while caught < 3:
        try:
            spinning()
        except Exception:
            caught += 1
    return "nothing has happened"


@orchestration
async def spins_elsewhere(ctx: OrchestrationContext) -> None:
    while True:
        ctx.utc_now()


@orchestration
async def spins_at_the_end(ctx: OrchestrationContext) -> None:
    try:
        await ctx.wait_event("never")
    finally:
        spinning()


def spinning() -> None:
    rounds = 0
    while True:
        rounds += 1


@pytest.mark.parametrize("code", [spins, sleeps, spins_on, spins_elsewhere], ids=lambda code: code.__name__)
async def test_a_turn_that_does_not_end_is_broken_off_and_all_others_go_on(bench: Bench, code: Code) -> None:
    """Whether it loops, blocks, catches what it is told, or is in the engine's code half of the time."""
    async with bench.engine(orchestrations=[code, many], activities=[double], options=SHORT):
        failure = await held(bench, code)
        handle = await bench.client.start(many)
        assert isinstance(await ends(bench.clock, handle.wait()), int)
    assert (failure.category, failure.type) == (Category.NONDETERMINISM, "OutsideRefused")
    assert failure.message == (
        "expected an orchestration that touches only its history, but it used 0.02 s after one event without coming "
        "to rest; use an activity for what takes long"
    )


async def test_code_that_does_not_end_when_it_is_put_away_is_broken_off_too(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.engine(orchestrations=[spins_at_the_end], options=SHORT):
        await bench.client.start(spins_at_the_end, instance="i")
        await cycles()  # leaving the engine puts it away
    assert "expected code that is put away to end within 0.02 s" in caplog.text


async def test_a_turn_that_does_not_end_is_told_by_its_instance_and_line_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "turnlog.watchdog")
    with recorded_marks() as reached:
        async with bench.engine(orchestrations=[spins, spins_on], options=SHORT):
            await held(bench, spins, "endless-1")
            await held(bench, spins_on, "endless-2")
    first, second = caplog.records
    message = first.getMessage()
    assert "expected a turn of endless-1 to end within 0.02 s, but it is still in " in message
    assert f"{__file__}:" in message
    assert "(spins); it is broken off and held" in message
    assert getattr(first, "instance") == "endless-1"  # noqa: B009  # of the record's extra
    assert "(spinning)" in second.getMessage()
    assert "turn.overran" in reached


async def test_a_signal_that_is_somebody_elses_stays_so_and_the_turn_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "turnlog.watchdog")
    heard: list[int] = []

    @orchestration
    async def waits_until_it_is_told(_: OrchestrationContext) -> str:
        while not caplog.records:
            pass
        return "told"

    before = signal.signal(signal.SIGURG, lambda number, _: heard.append(number))
    try:
        async with bench.engine(orchestrations=[waits_until_it_is_told], options=SHORT):
            handle = await bench.client.start(waits_until_it_is_told)
            assert await ends(bench.clock, handle.wait()) == "told"
    finally:
        signal.signal(signal.SIGURG, before)
    (record,) = caplog.records
    assert "nothing can break it off" in record.getMessage()
    assert heard == []


async def test_a_signal_that_nobody_asked_for_disturbs_nothing(bench: Bench) -> None:
    @orchestration
    async def interrupted(_: OrchestrationContext) -> str:
        signal.raise_signal(signal.SIGURG)
        return "undisturbed"

    async with bench.engine(orchestrations=[interrupted]):
        handle = await bench.client.start(interrupted)
        assert await ends(bench.clock, handle.wait()) == "undisturbed"


async def test_a_turn_of_many_steps_is_looked_at_and_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long history, or many messages at once, may take longer than one step may."""
    looks: list[bool] = []

    class Looking(Watchdog):
        def overran(self, frame: FrameType | None) -> bool:
            looks.append(super().overran(frame))
            return looks[-1]

    @orchestration
    async def slow(ctx: OrchestrationContext) -> None:
        for _ in range(60):
            await ctx.dequeue("q")
            sum(range(300_000))

    monkeypatch.setattr(orchestrations, "Watchdog", Looking)
    handle = await bench.client.start(slow)
    for number in range(60):
        await handle.enqueue_message("q", number)
    with recorded_marks() as reached:
        async with bench.engine(orchestrations=[slow], options=EngineOptions(turn_ms_max=200)) as engine:
            await ends(bench.clock, handle.wait())
    assert engine.counters.turns_admitted == 1
    assert looks
    assert "turn.overran" not in reached


async def test_many_turns_are_no_long_turn(bench: Bench) -> None:
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
