"""Which parts of asyncio and anyio work on the deterministic loop? These, by test, under every host."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import anyio
import pytest
import uvloop

from tests.replay.driving import START_MS, Execution

Orchestration = Callable[[Execution], Coroutine[Any, Any, Any]]


async def echo(value: int, seconds: float = 0.1) -> int:
    await asyncio.sleep(seconds)
    return value


async def gather(_: Execution) -> Any:
    return await asyncio.gather(echo(1, 0.3), echo(2, 0.1), echo(3, 0.2))


async def task_group(_: Execution) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(echo(number)) for number in range(3)]
    return [task.result() for task in tasks]


async def task_group_with_a_failure(execution: Execution) -> Any:
    async def worker(number: int) -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            execution.say(number)
            raise

    async def failing() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(worker(number))
            group.create_task(failing())
    except* LookupError as errors:
        execution.say([str(error) for error in errors.exceptions])
    return execution.said


async def timeout(_: Execution) -> Any:
    try:
        async with asyncio.timeout(2):
            await asyncio.sleep(3)
    except TimeoutError:
        return asyncio.get_running_loop().time() - START_MS / 1000


async def timeout_of_zero(_: Execution) -> Any:
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(3)
    except TimeoutError:
        return "timed out"


async def timeout_at(_: Execution) -> Any:
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + 2):
            await asyncio.sleep(3)
    except TimeoutError:
        return "timed out"


async def sleep(_: Execution) -> Any:
    return await asyncio.sleep(60, "slept")


async def wait_for(_: Execution) -> Any:
    try:
        return await asyncio.wait_for(echo(1, 5), 1)
    except TimeoutError:
        return await asyncio.wait_for(echo(2, 1), 5)


async def wait(_: Execution) -> Any:
    tasks = {asyncio.create_task(echo(number, number)) for number in (1, 2, 3)}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finished, _none = await asyncio.wait(pending)
    return [task.result() for task in done], [task.result() for task in finished]


async def shield(_: Execution) -> Any:
    inner = asyncio.create_task(echo(7, 2))
    try:
        async with asyncio.timeout(1):
            await asyncio.shield(inner)
    except TimeoutError:
        return await inner


async def event(_: Execution) -> Any:
    happened = asyncio.Event()
    waiting = asyncio.create_task(happened.wait())
    await asyncio.sleep(1)
    happened.set()
    return await waiting


async def lock(execution: Execution) -> Any:
    mutex = asyncio.Lock()

    async def enter(number: int) -> None:
        async with mutex:
            await asyncio.sleep(1)
            execution.say(number)

    await asyncio.gather(*map(enter, range(3)))
    return execution.said


async def queue(_: Execution) -> Any:
    box: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

    async def produce() -> None:
        for number in range(3):
            await box.put(number)

    producer = asyncio.create_task(produce())
    got = [await box.get() for _ in range(3)]
    await producer
    return got


async def semaphore(execution: Execution) -> Any:
    two = asyncio.Semaphore(2)

    async def enter(number: int) -> None:
        async with two:
            await asyncio.sleep(1)
            execution.say((number, round(asyncio.get_running_loop().time() - START_MS / 1000)))

    await asyncio.gather(*map(enter, range(3)))
    return execution.said


async def condition(execution: Execution) -> Any:
    changed = asyncio.Condition()

    async def wait_turn(number: int) -> None:
        async with changed:
            await changed.wait()
            execution.say(number)

    waiting = [asyncio.create_task(wait_turn(number)) for number in range(3)]
    await asyncio.sleep(1)
    async with changed:
        changed.notify_all()
    await asyncio.gather(*waiting)
    return execution.said


async def barrier(_: Execution) -> Any:
    three = asyncio.Barrier(3)

    async def arrive(seconds: int) -> int:
        await asyncio.sleep(seconds)
        return await three.wait()

    return await asyncio.gather(arrive(3), arrive(1), arrive(2))


async def anyio_task_group(execution: Execution) -> Any:
    async def worker(number: int) -> None:
        await anyio.sleep(number)
        execution.say(number)

    async with anyio.create_task_group() as group:
        for number in (3, 1, 2):
            group.start_soon(worker, number)
    return execution.said


async def anyio_task_group_start(execution: Execution) -> Any:
    async def serve(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        await anyio.sleep(1)
        task_status.started("ready")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        execution.say(await group.start(serve))
        group.cancel_scope.cancel()
    return execution.said


async def anyio_move_on_after(_: Execution) -> Any:
    with anyio.move_on_after(2) as scope:
        await anyio.sleep(3)
    return scope.cancelled_caught, anyio.current_time() - START_MS / 1000


async def anyio_fail_after(_: Execution) -> Any:
    try:
        with anyio.fail_after(1):
            await anyio.sleep_forever()
    except TimeoutError:
        return "timed out"


async def anyio_event(_: Execution) -> Any:
    happened = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(happened.wait)
        await anyio.sleep(1)
        happened.set()
    return happened.is_set()


async def anyio_shielded_scope(execution: Execution) -> Any:
    with anyio.move_on_after(1):
        try:
            await anyio.sleep(9)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(2)
                execution.say("compensated")
    return execution.said


async def asynchronous_generator(_: Execution) -> Any:
    async def numbers() -> AsyncGenerator[int]:
        for number in range(3):
            await asyncio.sleep(1)
            yield number

    return [number async for number in numbers()]


WORKS: list[tuple[Orchestration, Any]] = [
    (gather, [1, 2, 3]),
    (task_group, [0, 1, 2]),
    (task_group_with_a_failure, [0, 1, 2, ["gone"]]),
    (timeout, 2.0),
    (timeout_of_zero, "timed out"),
    (timeout_at, "timed out"),
    (sleep, "slept"),
    (wait_for, 2),
    (wait, ([1], [2, 3])),
    (shield, 7),
    (event, True),
    (lock, [0, 1, 2]),
    (queue, [0, 1, 2]),
    (semaphore, [(0, 1), (1, 1), (2, 2)]),
    (condition, [0, 1, 2]),
    (barrier, [2, 0, 1]),
    (anyio_task_group, [1, 2, 3]),
    (anyio_task_group_start, ["ready"]),
    (anyio_move_on_after, (True, 2.0)),
    (anyio_fail_after, "timed out"),
    (anyio_event, True),
    (anyio_shielded_scope, ["compensated"]),
    (asynchronous_generator, [0, 1, 2]),
]


@pytest.mark.parametrize(("orchestration", "expected"), WORKS, ids=[work[0].__name__ for work in WORKS])
def test_it_works_from_plain_code_and_inside_the_hosts_loop(orchestration: Orchestration, expected: Any) -> None:
    async def in_a_task_of_the_host() -> tuple[Any, list[tuple[str, int]]]:
        execution = Execution(orchestration)
        return execution.to_end(), execution.timers.asked

    plain = Execution(orchestration)

    assert plain.to_end() == expected
    assert asyncio.run(in_a_task_of_the_host()) == (expected, plain.timers.asked)
    assert uvloop.run(in_a_task_of_the_host()) == (expected, plain.timers.asked)
    assert plain.timers.open == {}, "every timer fired or was cancelled"
    assert plain.loop.put_away() == 0
