"""Does nothing of the host reach an orchestration, and nothing of an orchestration the host?"""

import asyncio
import decimal
import itertools
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest
import uvloop

from engine.errors import UsageError
from engine.replay.loop import CallbacksBoundPassed, TurnAborted
from engine.replay.refusals import OutsideRefused
from tests.replay.driving import Execution, begin, never

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SPAN = ContextVar("SPAN", default="none")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_the_hosts_task_is_not_current_in_a_turn_and_is_after_it(run: Run) -> None:
    async def host() -> None:
        here, loop = asyncio.current_task(), asyncio.get_running_loop()

        async def orchestration(execution: Execution) -> None:
            execution.say(asyncio.current_task(loop))
            execution.say(asyncio.get_running_loop() is execution.loop)
            execution.say(asyncio.current_task() is execution.root)

        execution = Execution(orchestration)
        execution.to_end()

        assert execution.said == [None, True, True]
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is here
        await asyncio.sleep(0)

    run(host())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_the_host_is_put_back_after_an_aborted_turn(run: Run) -> None:
    async def host() -> None:
        here, loop, hooks = asyncio.current_task(), asyncio.get_running_loop(), sys.get_asyncgen_hooks()

        async def orchestration(_: Execution) -> None:
            raise SystemExit(3)

        assert isinstance(Execution(orchestration).aborted(), SystemExit)
        assert (asyncio.current_task(), asyncio.get_running_loop(), sys.get_asyncgen_hooks()) == (here, loop, hooks)

    run(host())


def test_the_context_variables_of_the_host_do_not_reach_the_root_task_or_its_children() -> None:
    async def orchestration(execution: Execution) -> None:
        async def child() -> str:
            return SPAN.get() + str(decimal.Decimal(1) / 7)

        SPAN.set("ours")
        execution.say(await asyncio.create_task(child()))
        loop = asyncio.get_running_loop()
        loop.call_later(1, lambda: execution.say(SPAN.get()))
        await asyncio.sleep(2)

    token = SPAN.set("the host's")
    try:
        with decimal.localcontext(prec=5):
            execution = Execution(orchestration)
            execution.to_end()
    finally:
        SPAN.reset(token)

    assert execution.said == ["ours0.1428571428571428571428571429", "ours"]
    assert SPAN.get() == "none"


def test_task_names_count_from_one_in_every_execution() -> None:
    async def orchestration(_: Execution) -> list[str]:
        tasks = [asyncio.current_task(), asyncio.create_task(never()), asyncio.create_task(never(), name="mine")]
        return [task.get_name() for task in tasks if task is not None]

    executions = [Execution(orchestration) for _ in range(2)]
    names = [execution.to_end() for execution in executions]
    for execution in executions:
        execution.loop.put_away()

    assert names == [["task-1", "task-2", "mine"]] * 2


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), Odd()], ids=repr)
@pytest.mark.parametrize("where", ["in the root task", "in a child", "in a callback"])
def test_a_base_exception_ends_the_turn_and_not_the_node(error: BaseException, where: str) -> None:
    async def raising() -> None:
        raise error

    def call() -> None:
        raise error

    async def orchestration(execution: Execution) -> None:
        match where:
            case "in the root task":
                raise error
            case "in a child":
                begin(raising())
            case _:
                asyncio.get_running_loop().call_soon(call)
        for _ in range(3):
            await asyncio.sleep(0)
        execution.say("went on")
        await never()

    execution = Execution(orchestration)

    assert execution.aborted() is error
    assert execution.said == [], "nothing runs after what ended the turn"
    with pytest.raises(TurnAborted):
        execution.run()
    execution.loop.put_away()


def test_an_exception_of_the_root_task_is_its_result() -> None:
    async def orchestration(_: Execution) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        Execution(orchestration).to_end()


def test_an_error_in_a_callback_ends_the_turn() -> None:
    async def orchestration(_: Execution) -> None:
        asyncio.get_running_loop().call_soon([].pop)
        await never()

    execution = Execution(orchestration)

    assert isinstance(execution.aborted(), IndexError)
    execution.loop.put_away()


def test_what_reaches_the_exception_handler_ends_the_turn() -> None:
    async def orchestration(_: Execution) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "asyncio would log this"})
        await never()

    execution = Execution(orchestration)

    assert str(execution.aborted()) == "asyncio would log this"
    execution.loop.put_away()


def test_a_failed_task_nobody_looked_at_is_named_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> None:
        raise LookupError("gone")

    async def orchestration(execution: Execution) -> None:
        looked_at = asyncio.create_task(failing())
        begin(failing(), name="nobody looks")
        await asyncio.sleep(0)
        await asyncio.gather(looked_at, return_exceptions=True)

    execution = Execution(orchestration)
    execution.to_end()

    assert [task.get_name() for task in execution.loop.unretrieved()] == ["nobody looks"]
    execution.loop.put_away()
    del execution
    assert caplog.records == []


def test_code_that_never_comes_to_rest_passes_the_bound() -> None:
    async def orchestration(__: Execution) -> None:
        for _ in itertools.repeat(None):
            await asyncio.sleep(0)

    execution = Execution(orchestration, callbacks_max=500)

    cause = execution.aborted()
    assert isinstance(cause, CallbacksBoundPassed)
    assert str(cause).startswith("expected an orchestration that comes to rest within 500 callbacks, but")
    execution.loop.put_away()


def test_the_bound_is_a_runs_and_not_an_executions() -> None:
    async def orchestration(__: Execution) -> str:
        for _ in range(20):
            await asyncio.sleep(1)
        return "done"

    assert Execution(orchestration, callbacks_max=5).to_end() == "done"


def test_a_loop_has_one_root_task() -> None:
    execution = Execution(lambda _: never()).run()
    second = never()

    with pytest.raises(UsageError, match="expected one root task"):
        execution.loop.start(second)
    second.close()
    execution.loop.put_away()


async def numbers(execution: Execution) -> AsyncGenerator[int]:
    try:
        for number in range(9):
            yield number
    finally:
        await asyncio.sleep(0)
        execution.say((asyncio.get_running_loop() is execution.loop, "closed"))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_async_generators_are_closed_on_their_own_loop_at_the_end_and_not_before(run: Run) -> None:
    async def orchestration(execution: Execution) -> None:
        async for number in numbers(execution):
            if number == 2:
                break
        await asyncio.sleep(1)
        execution.say("the end")

    async def host() -> None:
        execution = Execution(orchestration)
        execution.to_end()
        await asyncio.sleep(0)
        assert execution.said == ["the end", (True, "closed")]

    run(host())


def test_a_generator_that_a_task_is_inside_of_is_left_to_that_task() -> None:
    async def waiting(execution: Execution) -> AsyncGenerator[int]:
        try:
            await never()
            yield 1
        finally:
            execution.say("closed")

    async def iterate(execution: Execution) -> None:
        async for _ in waiting(execution):
            pass

    async def orchestration(execution: Execution) -> None:
        begin(iterate(execution))
        await asyncio.sleep(1)

    execution = Execution(orchestration)
    execution.to_end()

    assert execution.said == []
    assert execution.loop.unretrieved() == []
    assert execution.loop.put_away() == 0
    assert execution.said == ["closed"]


def test_generators_that_are_used_up_are_not_kept() -> None:
    async def orchestration(execution: Execution) -> int:
        for _ in range(500):
            async for _number in numbers(execution):
                pass
        return len(execution.loop._asyncgens)  # pyright: ignore[reportPrivateUsage]

    assert Execution(orchestration).to_end() < 100


def test_eager_start_is_refused() -> None:
    async def orchestration(execution: Execution) -> None:
        execution.loop.create_task(never(), eager_start=True)

    assert isinstance(Execution(orchestration).aborted(), OutsideRefused)


def test_options_of_create_task_that_the_loop_does_not_know_are_an_error() -> None:
    async def orchestration(execution: Execution) -> None:
        coroutine = never()
        create_task: Any = execution.loop.create_task
        try:
            create_task(coroutine, priority=1)
        finally:
            coroutine.close()

    with pytest.raises(TypeError, match="priority"):
        Execution(orchestration).to_end()
