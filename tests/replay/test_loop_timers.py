"""Is a sleep a durable timer: asked for once, rounded up, cancelled with its handle, and nothing when it is zero?"""

import asyncio
import contextlib
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.replay.loop import CallbacksBoundPassed, DeterministicLoop
from tests.replay.driving import START_MS, Execution, ManualTimers, never


def test_a_sleep_asks_for_one_timer_at_its_instant() -> None:
    execution = Execution(lambda _: asyncio.sleep(0.1))
    execution.to_end()

    assert execution.timers.asked == [("create", START_MS + 100)]


def test_a_sleep_of_zero_or_less_asks_for_no_timer() -> None:
    async def orchestration(execution: Execution) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(-1)
        asyncio.get_running_loop().call_later(0, execution.say, "zero")
        asyncio.get_running_loop().call_later(-1, execution.say, "past")
        await asyncio.sleep(0)

    execution = Execution(orchestration)
    execution.to_end()

    assert execution.timers.asked == []
    assert execution.said == ["zero", "past"]


@given(
    st.integers(0, 4_000_000_000_000),
    st.floats(min_value=1e-9, max_value=1e8, allow_nan=False),
)
def test_a_deadline_is_rounded_up_and_time_is_not_below_it_when_it_fires(now_ms: int, delay: float) -> None:
    timers = ManualTimers()
    loop = DeterministicLoop(timers, callbacks_max=10)
    loop.advance_to(now_ms)
    timer = loop.call_later(delay, print)
    if not timers.open:
        assert timer.when() <= loop.time(), "ready at once only when the clock cannot tell the deadline from now"
        return
    fire_at_ms = timers.open[0]

    assert fire_at_ms / 1000 >= timer.when() - 1e-6
    assert fire_at_ms < timer.when() * 1000 + 1
    loop.advance_to(fire_at_ms)
    loop.fire_timer(0)
    assert loop.time() >= timer.when()


@given(st.integers(0, 100_000_000), st.integers(1, 100_000_000))
def test_whole_milliseconds_stay_what_they_are(passed_ms: int, delay_ms: int) -> None:
    timers = ManualTimers()
    loop = DeterministicLoop(timers, callbacks_max=10)
    loop.advance_to(START_MS + passed_ms)
    loop.call_later(delay_ms / 1000, print)

    assert timers.asked == [("create", START_MS + passed_ms + delay_ms)]


@pytest.mark.parametrize("delay", [0.0004, 0.1 + 0.2, 1 / 3, 2.0000001, 86_400.0005])
def test_anyio_does_not_arm_again_when_its_timer_fires(delay: float) -> None:
    async def orchestration(_: Execution) -> bool:
        with anyio.move_on_after(delay) as scope:
            await never()
        return scope.cancelled_caught

    execution = Execution(orchestration)

    assert execution.to_end() is True
    assert len(execution.timers.asked) == 1


def test_a_timer_that_is_not_needed_any_more_is_cancelled_once() -> None:
    async def orchestration(_: Execution) -> None:
        async with asyncio.timeout(86_400):
            await asyncio.sleep(1)

    execution = Execution(orchestration)
    execution.to_end()

    day, second = START_MS + 86_400_000, START_MS + 1_000
    assert execution.timers.asked == [("create", day), ("create", second), ("cancel", day)]


def test_a_timer_that_fired_is_not_cancelled_when_its_handle_is() -> None:
    async def orchestration(execution: Execution) -> None:
        timer = asyncio.get_running_loop().call_later(1, execution.say, "fired")
        await asyncio.sleep(2)
        timer.cancel()

    execution = Execution(orchestration)
    execution.to_end()

    assert execution.said == ["fired"]
    assert [verb for verb, _ in execution.timers.asked] == ["create", "create"]


def test_a_handle_cancelled_between_firing_and_running_does_not_run() -> None:
    async def orchestration(execution: Execution) -> None:
        handles.append(asyncio.get_running_loop().call_later(1, execution.say, "ran"))
        handles.append(asyncio.get_running_loop().call_soon(execution.say, "ran"))
        handles[1].cancel()
        await never()

    handles: list[asyncio.Handle] = []
    execution = Execution(orchestration).run()
    execution.loop.fire_timer(0)
    handles[0].cancel()
    execution.run()

    assert execution.said == []
    assert handles[0].cancelled()
    assert handles[1].cancelled()
    execution.loop.put_away()


def test_firing_a_timer_that_does_not_wait_is_the_callers_error() -> None:
    execution = Execution(lambda _: asyncio.sleep(1)).run()
    execution.loop.fire_timer(0)

    with pytest.raises(KeyError):
        execution.loop.fire_timer(0)


def test_time_stands_still_in_a_turn_and_never_goes_back() -> None:
    async def orchestration(execution: Execution) -> None:
        for _ in range(2):
            execution.say(asyncio.get_running_loop().time() * 1000)
            await asyncio.sleep(0)

    execution = Execution(orchestration)
    execution.loop.advance_to(START_MS - 5)
    execution.to_end()

    assert execution.said == [START_MS, START_MS]


def test_an_infinite_deadline_asks_for_nothing_and_one_that_is_no_number_is_an_error() -> None:
    async def orchestration(_: Execution) -> Any:
        loop = asyncio.get_running_loop()
        loop.call_later(float("inf"), print).cancel()
        with pytest.raises(ValueError, match="NaN"):
            loop.call_later(float("nan"), print)

    execution = Execution(orchestration)
    execution.to_end()

    assert execution.timers.asked == []


class Uncancellable(asyncio.Future[str]):
    """Answers a cancellation later, as work does that is told to stop and has to finish first."""

    def cancel(self, msg: Any | None = None) -> bool:
        self.asked = msg
        return True


def test_a_scope_that_delivers_its_cancellation_over_and_over_counts_as_quiescent() -> None:
    async def orchestration(execution: Execution) -> bool:
        with anyio.move_on_after(1) as scope:
            work.append(Uncancellable(loop=execution.loop))
            execution.say(await work[0])
            await anyio.lowlevel.checkpoint()
        return scope.cancelled_caught

    work: list[Uncancellable] = []
    execution = Execution(orchestration, callbacks_max=5_000).run()
    execution.fire_next()
    execution.run()
    assert not execution.root.done()

    work[0].set_result("finished")

    assert execution.to_end() is True
    assert execution.said == ["finished"]


def test_a_callback_that_arms_itself_counts_down_to_its_end() -> None:
    async def orchestration(execution: Execution) -> str:
        left = list(range(200))
        done = execution.loop.create_future()

        def tick() -> None:
            left.pop()
            if left:
                execution.loop.call_soon(tick)
            else:
                done.set_result("counted")

        execution.loop.call_soon(tick)
        return await done

    assert Execution(orchestration).run().root.result() == "counted"


def test_a_callback_that_arms_itself_with_other_arguments_is_not_at_rest() -> None:
    async def orchestration(execution: Execution) -> str:
        done = execution.loop.create_future()

        def tick(left: int) -> None:
            if left:
                execution.loop.call_soon(tick, left - 1)
            else:
                done.set_result("counted")

        execution.loop.call_soon(tick, 2_000)
        return await done

    assert Execution(orchestration).run().root.result() == "counted"


def test_a_cancelled_scope_that_wakes_its_tasks_for_ever_passes_the_bound() -> None:
    async def compensating() -> None:
        try:
            await never()
        finally:
            await asyncio.shield(asyncio.ensure_future(never()))

    async def orchestration(_: Execution) -> None:
        with anyio.move_on_after(1):
            async with asyncio.TaskGroup() as group:
                group.create_task(compensating())
                await never()

    async def looping(_: Execution) -> None:
        with anyio.move_on_after(1):
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(asyncio.ensure_future(never()))

    for code in (looping, orchestration):
        execution = Execution(code, callbacks_max=3_000)
        assert isinstance(execution.aborted(), CallbacksBoundPassed), code
        execution.loop.put_away()
