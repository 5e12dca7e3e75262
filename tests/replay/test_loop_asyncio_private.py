"""Do the private names of asyncio still mean on this Python what the loop takes them for?"""

import asyncio

import pytest

from engine.replay.asyncio_private import (
    WAIT_CODE,
    enter_task,
    failure_of,
    leave_task,
    mark_retrieved,
    retrieved,
    running_loop,
    set_running_loop,
    silence_pending,
    unregister_task,
)


def test_the_running_loop_can_be_read_set_and_put_back() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert running_loop() is None
        set_running_loop(loop)
        assert running_loop() is loop
        assert asyncio.get_running_loop() is loop
    finally:
        set_running_loop(None)
        loop.close()


def test_a_task_enters_and_leaves_its_loop() -> None:
    async def host() -> None:
        loop, here = asyncio.get_running_loop(), asyncio.current_task()
        assert here is not None
        leave_task(loop, here)
        assert asyncio.current_task() is None
        enter_task(loop, here)
        assert asyncio.current_task() is here

    asyncio.run(host())


def test_a_task_leaves_the_set_of_all_tasks() -> None:
    async def host() -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        unregister_task(task)
        assert task not in asyncio.all_tasks()
        await task

    asyncio.run(host())


def test_what_a_task_raised_can_be_seen_without_being_marked_as_seen(caplog: pytest.LogCaptureFixture) -> None:
    async def failing() -> None:
        raise LookupError

    async def host() -> None:
        task = asyncio.create_task(failing())
        assert failure_of(task) is None
        await asyncio.sleep(0)
        assert isinstance(failure_of(task), LookupError)
        assert not retrieved(task)
        mark_retrieved(task)
        assert retrieved(task)

    asyncio.run(host())
    assert caplog.records == []


def test_a_pending_task_can_be_dropped_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    coroutine = asyncio.sleep(1)
    task = loop.create_task(coroutine)
    silence_pending(task)
    unregister_task(task)
    loop.close()
    coroutine.close()
    del task

    assert caplog.records == []


def test_wait_makes_its_future_in_the_function_that_holds_the_set() -> None:
    assert "fs" in WAIT_CODE.co_varnames
    assert "create_future" in WAIT_CODE.co_names
