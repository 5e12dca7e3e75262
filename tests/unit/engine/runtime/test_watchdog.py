"""Does a turn that never ends cost its own instance alone, and a turn that ends nothing?"""

import asyncio
import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from engine.model.failure import Category
from engine.model.status import Status
from engine.observe import recorded_marks
from engine.port import InstanceInfo
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.doors import this_thread
from engine.runtime.interrupt import Turn, TurnOverran, absorb, break_off
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ends, nothing_left

pytestmark = pytest.mark.anyio

SHORT = EngineOptions(turn_ms_max=50)


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def twice_doubled(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, await ctx.schedule_activity(double, number))


@orchestration
async def spins(ctx: OrchestrationContext) -> None:
    while True:
        pass


@orchestration
async def spins_later(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity(double, 1)
    while True:
        pass


@orchestration
async def spins_on_the_context(ctx: OrchestrationContext) -> None:
    while True:
        ctx.utc_now()


@orchestration
async def catches_exceptions(ctx: OrchestrationContext) -> None:
    while True:
        try:
            sum(range(100))
        except Exception:
            continue


@orchestration
async def catches_everything(ctx: OrchestrationContext) -> None:
    while True:
        try:
            for number in range(3):
                str(number)
        except BaseException:
            continue


@orchestration
async def catches_it_and_returns(ctx: OrchestrationContext) -> str:
    try:
        while True:
            pass
    except BaseException:
        return "done"


@orchestration
async def catches_it_and_waits(ctx: OrchestrationContext) -> str:
    try:
        while True:
            pass
    except BaseException:
        return await ctx.wait_event("go", str)


@orchestration
async def spins_again_while_it_cleans_up(ctx: OrchestrationContext) -> None:
    try:
        while True:
            pass
    finally:
        while True:
            pass


@orchestration
async def spins_in_a_task(ctx: OrchestrationContext) -> None:
    async def spin() -> None:
        while True:
            pass

    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))
        group.create_task(spin())


ENDLESS: list[Callable[..., Any]] = [
    spins,
    spins_later,
    spins_on_the_context,
    catches_exceptions,
    catches_everything,
    catches_it_and_returns,
    catches_it_and_waits,
    spins_again_while_it_cleans_up,
    spins_in_a_task,
]


async def held(bench: Bench, instance: str) -> InstanceInfo:
    info = await bench.client.changed(instance)
    while info.status is not Status.HELD:
        info = await bench.client.changed(instance, info.revision)
    return info


@pytest.mark.parametrize("endless", ENDLESS, ids=lambda each: each.__name__)
async def test_a_turn_that_never_ends_is_broken_off_and_its_instance_held(
    bench: Bench, endless: Callable[..., Any]
) -> None:
    with recorded_marks() as reached:
        async with (
            nothing_left(),
            bench.engine(orchestrations=[endless, twice_doubled], activities=[double], options=SHORT) as engine,
        ):
            handle = await bench.client.start(endless.__name__, instance="e1")
            info = await ends(bench.clock, held(bench, handle.instance))
            other = await bench.client.start(twice_doubled, 3)
            assert await ends(bench.clock, other.wait()) == 12  # the loop is whole
    assert info.failure is not None
    assert info.failure.category is Category.LIMIT
    assert info.failure.message.startswith(f"expected a turn to end within 0.05 s, but it was still in {__file__}:")
    assert info.failure.message.endswith("an orchestration must not loop or block: move it to an activity")
    assert reached >= {"turn.overran"}
    assert engine.counters.turns_held == 1
    assert engine.counters.orchestrations_completed == 1


async def test_it_is_told_where_it_was(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with bench.engine(orchestrations=[spins], options=SHORT):
        handle = await bench.client.start(spins)
        await ends(bench.clock, held(bench, handle.instance))
    (told,) = [record for record in caplog.records if record.name == "turnlog.watchdog"]
    assert told.levelno == logging.ERROR
    assert told.__dict__["instance"] == handle.instance
    assert "(spins)" in told.getMessage()
    (next_step,) = [record for record in caplog.records if record.name == "turnlog.turns"]
    assert next_step.getMessage().endswith(f"start the node with it, then `turnlog resume {handle.instance}`")


async def test_code_that_was_mended_goes_on(bench: Bench) -> None:
    mended = False

    @orchestration(name="either")
    async def either(ctx: OrchestrationContext) -> str:
        while not mended:
            pass
        return "mended"

    async with bench.engine(orchestrations=[either], options=SHORT):
        handle = await bench.client.start("either")
        await ends(bench.clock, held(bench, handle.instance))
        mended = True
        await bench.client.resume(handle.instance)
        assert await ends(bench.clock, handle.wait()) == "mended"


async def test_many_turns_are_no_long_turn(bench: Bench) -> None:
    @orchestration
    async def many(ctx: OrchestrationContext) -> int:
        total = 0
        for _ in range(100):
            total = await ctx.schedule_activity(double, total + 1) % 7
        return total

    with recorded_marks() as reached:
        async with bench.engine(
            orchestrations=[many], activities=[double], options=EngineOptions(turn_ms_max=20, cache_bytes_max=0)
        ):
            handle = await bench.client.start(many)
            await ends(bench.clock, handle.wait())
    assert "turn.overran" not in reached


def test_nothing_is_raised_in_a_turn_that_has_ended() -> None:
    turn = Turn("i1", 1, this_thread())
    turn.goes_on = False
    break_off(turn)
    sum(number for number in range(1_000))


def look_on(_frame: FrameType, _event: str, _argument: object) -> None:
    """A profile function that does nothing."""


def test_what_was_set_before_the_end_is_gone_after_it() -> None:
    turn = Turn("i1", 1, this_thread())
    raised = False
    try:
        break_off(turn)
    except TurnOverran:
        raised = True
    assert raised  # at the next call: the slot was set
    turn.goes_on = False
    with pytest.raises(TurnOverran):
        absorb(turn)
    sys.setprofile(look_on)  # Python 3.11 hung here when the slot was emptied instead
    try:
        this_thread()
    finally:
        sys.setprofile(None)
