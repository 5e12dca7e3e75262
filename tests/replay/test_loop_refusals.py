"""Is every method of asyncio's loop either done or refused with what to use instead?"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.to_thread
import pytest

from engine.replay.loop import DeterministicLoop
from engine.replay.refusals import INSTEAD, OutsideRefused
from tests.replay.driving import Execution, never

DONE = {
    "call_at", "call_exception_handler", "call_later", "call_soon", "create_future", "create_task", "get_debug",
    "get_task_factory", "is_closed", "is_running", "time",
}  # fmt: skip
METHODS = [name for name, value in vars(asyncio.AbstractEventLoop).items() if callable(value) and name[0] != "_"]


def test_what_is_not_done_is_refused_and_has_a_sentence() -> None:
    assert set(METHODS) - DONE <= set(INSTEAD)


@pytest.mark.parametrize("name", sorted(set(METHODS) - DONE))
def test_a_refused_method_ends_the_turn_even_if_the_code_catches_it(name: str) -> None:
    async def orchestration(execution: Execution) -> None:
        try:
            getattr(asyncio.get_running_loop(), name)(1, unknown=2)
        except OutsideRefused:
            execution.say("caught")
        await asyncio.sleep(0)
        execution.say("went on")

    execution = Execution(orchestration)
    cause = execution.aborted()
    execution.loop.put_away()

    assert isinstance(cause, OutsideRefused)
    assert str(cause).startswith("expected an orchestration that touches only its history, but it used " + name)
    assert str(cause).endswith("; use " + INSTEAD[name])
    assert execution.said == ["caught"]


def test_a_method_of_a_later_python_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.replay.refusals import refusing_the_rest

    def teleport(_: Any) -> None: ...

    monkeypatch.setattr(asyncio.AbstractEventLoop, "teleport", teleport, raising=False)

    class Loop(DeterministicLoop):
        pass

    later: Any = refusing_the_rest(Loop)

    with pytest.raises(OutsideRefused, match="it used teleport; use an activity"):
        later(None, callbacks_max=1).teleport()


async def asyncio_to_thread() -> None:
    await asyncio.to_thread(print, "from a thread")


async def anyio_to_thread_run_sync() -> None:
    await anyio.to_thread.run_sync(print, "from a thread")


async def anyio_to_thread_twice() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio_to_thread_run_sync)
        group.start_soon(anyio_to_thread_run_sync)


async def open_connection() -> None:
    await asyncio.open_connection("localhost", 1)


async def subprocess() -> None:
    await asyncio.create_subprocess_exec("true")


OUTSIDE = [asyncio_to_thread, anyio_to_thread_run_sync, anyio_to_thread_twice, open_connection, subprocess]


@pytest.mark.parametrize("code", OUTSIDE, ids=[code.__name__ for code in OUTSIDE])
def test_the_outside_is_refused_does_not_hang_and_leaves_no_thread(
    code: Callable[[], Coroutine[Any, Any, None]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(threading.enumerate())
    execution = Execution(lambda _: code())

    assert isinstance(execution.aborted(), OutsideRefused)
    execution.loop.put_away()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
    assert capsys.readouterr().out == ""


def test_a_call_from_another_thread_is_refused_there_and_does_not_touch_the_turn() -> None:
    execution = Execution(lambda _: never()).run()
    refused: list[Exception] = []

    def elsewhere() -> None:
        try:
            execution.loop.call_soon_threadsafe(print)
        except OutsideRefused as error:
            refused.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(10)

    assert "client.raise_event" in str(refused[0])
    execution.run()
    execution.loop.put_away()


def test_waiting_for_bare_coroutines_is_pythons_own_error() -> None:
    async def orchestration(_: Execution) -> None:
        coroutine: Any = never()
        try:
            await asyncio.wait([coroutine])
        finally:
            coroutine.close()

    with pytest.raises(TypeError, match="coroutines is forbidden"):
        Execution(orchestration).to_end()
