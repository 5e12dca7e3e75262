"""Does putting an execution away leave nothing behind: no action, no log line, no code for the collector to run?"""

import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.replay.loop import CLOSES_MAX, EVICTIONS_MAX, DeterministicLoop, Evicting, TurnAborted
from tests.replay.driving import Execution, begin, never

REPOSITORY = Path(__file__).parents[2]
SPAN = ContextVar("SPAN", default="none")


async def suspended(execution: Execution, number: int) -> None:
    try:
        await never()
    finally:
        execution.say(number)


async def three_deep(execution: Execution) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(suspended(execution, number))


def test_coroutines_are_closed_youngest_first() -> None:
    execution = Execution(three_deep).run()

    assert execution.loop.put_away() == 0
    assert execution.said == [2, 1, 0]


def test_cleanup_code_runs_up_to_its_first_call_of_the_loop_and_asks_for_nothing() -> None:
    async def orchestration(execution: Execution) -> None:
        try:
            async with asyncio.timeout(100):
                await asyncio.sleep(10)
        finally:
            execution.say("began")
            await asyncio.sleep(1)
            execution.say("ended")

    execution = Execution(orchestration).run()
    asked = list(execution.timers.asked)

    assert execution.loop.put_away() == 0
    assert execution.said == ["began"]
    assert execution.timers.asked == asked


CALLS: dict[str, Callable[[Execution], Any]] = {
    "time": lambda execution: execution.loop.time(),
    "call_soon": lambda execution: execution.loop.call_soon(print),
    "call_later": lambda execution: execution.loop.call_later(1, print),
    "call_at": lambda execution: execution.loop.call_at(1, print),
    "create_future": lambda execution: execution.loop.create_future(),
    "create_task": lambda execution: asyncio.create_task(suspended(execution, 0)),
    "a refused method": lambda execution: execution.loop.run_in_executor(None, print),
    "anyio.current_time": lambda _: anyio.current_time(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.filterwarnings("ignore:coroutine 'suspended' was never awaited")
def test_every_call_of_the_loop_raises_evicting(call: Callable[[Execution], Any]) -> None:
    async def orchestration(execution: Execution) -> None:
        try:
            await never()
        finally:
            try:
                call(execution)
            except BaseException as error:
                execution.say(type(error))
                raise

    execution = Execution(orchestration).run()

    assert execution.loop.put_away() == 0
    assert execution.said == [Evicting]
    assert execution.timers.asked == []


def test_the_loop_runs_and_the_task_is_current_while_it_is_closed() -> None:
    async def orchestration(execution: Execution) -> None:
        with anyio.CancelScope():  # refuses to be left from another task than it was entered in
            try:
                await never()
            finally:
                execution.say(asyncio.current_task() is execution.root)
                execution.say(asyncio.get_running_loop() is execution.loop)

    execution = Execution(orchestration).run()

    assert execution.loop.put_away() == 0
    assert execution.said == [True, True]


def test_cleanup_code_runs_in_the_context_of_its_task() -> None:
    async def orchestration(execution: Execution) -> None:
        token = SPAN.set("ours")
        try:
            await never()
        finally:
            execution.say(SPAN.get())
            SPAN.reset(token)
            execution.say(SPAN.get())

    execution = Execution(orchestration).run()

    assert execution.loop.put_away() == 0
    assert execution.said == ["ours", "none"]


async def catches_everything_around_a_loop_call() -> None:
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(1)


async def catches_everything_around_a_task() -> None:
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.create_task(never())


async def catches_everything_around_a_bare_yield() -> None:
    while True:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "stubborn",
    [
        catches_everything_around_a_loop_call,
        catches_everything_around_a_task,
        catches_everything_around_a_bare_yield,
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'never' was never awaited")
def test_code_that_catches_everything_is_leaked_within_a_bound_and_counted(
    stubborn: Callable[[], Awaitable[None]],
) -> None:
    async def orchestration(_: Execution) -> None:
        await stubborn()

    execution = Execution(orchestration, callbacks_max=100)
    with contextlib.suppress(TurnAborted):
        execution.run()
    asked = list(execution.timers.asked)

    assert execution.loop.put_away() == 1
    assert execution.timers.asked == asked
    gone = weakref.ref(execution.root)
    del execution
    gc.collect()
    assert gone() is not None, "freed, it would be closed again, and never end"


def test_cleanup_that_yields_within_the_bound_is_closed_and_not_leaked() -> None:
    async def orchestration(execution: Execution) -> None:
        for number in range(CLOSES_MAX - 1):
            try:
                await asyncio.sleep(0)
            except Evicting:
                execution.say(number)

    execution = Execution(orchestration, callbacks_max=1)  # comes as far as its first yield
    execution.aborted()

    assert execution.loop.put_away() == 0
    assert execution.said == list(range(CLOSES_MAX - 1))


def test_evicting_is_raised_at_most_so_often_in_a_task() -> None:
    async def orchestration(execution: Execution) -> None:
        try:
            await never()
        finally:
            for _ in range(EVICTIONS_MAX + 1):
                try:
                    execution.loop.raise_if_evicting()
                    execution.say("went on")
                except Evicting:
                    execution.say("evicting")

    execution = Execution(orchestration).run()
    execution.loop.put_away()

    assert execution.said == [*["evicting"] * EVICTIONS_MAX, "went on"]


def test_the_collector_has_nothing_to_report_of_an_execution_that_was_put_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing() -> None:
        raise LookupError

    async def orchestration(execution: Execution) -> None:
        begin(failing())
        begin(suspended(execution, 0))
        await asyncio.sleep(10)

    reports: list[object] = []

    def report(_: DeterministicLoop, context: object) -> None:
        reports.append(context)

    monkeypatch.setattr(DeterministicLoop, "call_exception_handler", report)
    caplog.set_level(logging.DEBUG)
    execution = Execution(orchestration).run()
    execution.loop.put_away()
    gone = weakref.ref(execution.loop)
    del execution
    gc.collect()

    assert gone() is None
    assert reports == []
    assert caplog.records == []


def test_a_task_that_only_its_own_future_refers_to_is_not_collected() -> None:
    async def orchestration(execution: Execution) -> None:
        begin(suspended(execution, 1))
        await asyncio.sleep(0)
        gc.collect()
        execution.say("still whole")
        await never()

    execution = Execution(orchestration).run()
    assert execution.said == ["still whole"]
    execution.loop.put_away()


def test_a_finished_task_is_let_go_while_the_execution_goes_on() -> None:
    async def orchestration(_: Execution) -> bool:
        task = begin(asyncio.sleep(0))
        await task
        gone = weakref.ref(task)
        del task
        await asyncio.sleep(1)  # the next run: what ran in this one is held until it ends
        gc.collect()
        return gone() is None

    assert Execution(orchestration).to_end() is True


def test_no_cleanup_of_an_execution_put_away_runs_in_another_ones_turn() -> None:
    async def generate(execution: Execution) -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            execution.say(("generator", asyncio.get_running_loop() is execution.loop))

    async def first(execution: Execution) -> None:
        generator = generate(execution)
        await anext(generator)
        async with asyncio.TaskGroup() as group:
            group.create_task(suspended(execution, 0))
            await suspended(execution, 1)

    async def second(execution: Execution) -> None:
        gc.collect()
        execution.say("collected")

    away = Execution(first).run()
    said = away.said
    away.loop.put_away()
    said_before = list(said)
    del away
    other = Execution(second)
    other.to_end()

    assert said_before == [0, 1]
    assert said == said_before, "what the collector freed in the second turn ran no code of the first"


def test_finalizers_that_the_collector_calls_do_not_end_a_turn() -> None:
    async def orchestration(execution: Execution) -> str:
        future = execution.loop.create_future()
        future.set_exception(LookupError("nobody looks"))
        ring: list[Any] = [future]
        ring.append(ring)
        del future, ring
        gc.collect()
        await asyncio.sleep(0)
        return "went on"

    assert Execution(orchestration).to_end() == "went on"


def test_an_aborted_execution_can_be_put_away() -> None:
    async def orchestration(execution: Execution) -> None:
        begin(suspended(execution, 0))
        await asyncio.sleep(0)
        sys.exit(1)

    execution = Execution(orchestration)
    execution.aborted()

    assert execution.loop.put_away() == 0
    assert execution.said == [0]


def test_putting_away_before_the_first_run_closes_the_root() -> None:
    execution = Execution(three_deep)

    assert execution.loop.put_away() == 0
    assert execution.loop.is_closed()


def test_a_process_that_leaked_a_coroutine_ends() -> None:
    code = """
from tests.replay.driving import Execution
from tests.replay.test_loop_put_away import catches_everything_around_a_loop_call
execution = Execution(lambda _: catches_everything_around_a_loop_call()).run()
print(execution.loop.put_away())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )

    assert (ended.stdout, ended.stderr) == ("1\n", "")
