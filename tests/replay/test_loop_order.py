"""Does every replay wake the same tasks in the same order, wherever in memory they lie?"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.replay.handles import SALT_MASK, SALT_SHIFT
from tests.replay.driving import Execution, never

Orchestration = Callable[[Execution], Coroutine[Any, Any, Any]]
REPLAYS = 30


async def compensating(execution: Execution, number: int) -> None:
    try:
        await never()
    finally:
        execution.say(number)


async def failing() -> None:
    await asyncio.sleep(1)
    raise LookupError


async def task_group(execution: Execution) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(compensating(execution, number))
        group.create_task(failing())


async def anyio_task_group(execution: Execution) -> None:
    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(compensating, execution, number)
        group.start_soon(failing)


async def nested_anyio_task_groups(execution: Execution) -> None:
    async def branch(first: int) -> None:
        async with anyio.create_task_group() as group:
            for number in range(first, first + 4):
                group.start_soon(compensating, execution, number)

    async with anyio.create_task_group() as group:
        for first in range(0, 12, 4):
            group.start_soon(branch, first)
        group.start_soon(failing)


async def wait(execution: Execution) -> None:
    tasks = [asyncio.create_task(asyncio.sleep(1 if number % 3 else 2, number)) for number in range(24)]
    done, pending = await asyncio.wait(tasks, timeout=1.5)
    execution.say([task.result() for task in done])
    for task in pending:
        task.cancel()
        execution.say(task.get_name())


async def wait_over_shields(execution: Execution) -> None:
    shields = [asyncio.shield(asyncio.sleep(1, number)) for number in range(24)]
    done, _ = await asyncio.wait(shields)
    execution.say([shield.result() for shield in done])


async def gather(execution: Execution) -> None:
    await asyncio.gather(*(compensating(execution, number) for number in range(12)), failing())


@pytest.mark.parametrize(
    "orchestration", [task_group, anyio_task_group, nested_anyio_task_groups, wait, wait_over_shields, gather]
)
def test_thirty_replays_say_the_same_in_the_same_order(orchestration: Orchestration) -> None:
    chance = random.Random(7)
    ballast: list[Any] = []
    said: set[str] = set()
    for _ in range(REPLAYS):
        execution = Execution(orchestration)
        ballast.append(execution)  # kept, so that no replay gets the memory of the one before
        ballast.append([bytearray(chance.randrange(1, 600)) for _ in range(chance.randrange(1, 200))])
        try:
            execution.to_end()
        except* LookupError:
            pass
        execution.loop.put_away()
        said.add(repr(execution.said))

    assert len(said) == 1, sorted(said)


def test_wake_ups_of_one_callback_are_sorted_in_their_own_places() -> None:
    async def orchestration(execution: Execution) -> None:
        loop = asyncio.get_running_loop()

        async def waiting(number: int) -> None:
            await gates[number]
            execution.say(number)

        gates = [loop.create_future() for _ in range(3)]
        tasks = [asyncio.create_task(waiting(number)) for number in range(3)]
        await asyncio.sleep(0)
        gates[2].set_result(None)
        loop.call_soon(execution.say, "between")
        gates[0].set_result(None)
        loop.call_soon(execution.say, "after")
        gates[1].set_result(None)
        await asyncio.gather(*tasks)

    execution = Execution(orchestration)
    execution.to_end()

    assert execution.said == [0, "between", 1, "after", 2]


def test_a_task_that_yields_lets_the_tasks_it_made_begin_first() -> None:
    async def orchestration(execution: Execution) -> None:
        async def child(number: int) -> None:
            execution.say(number)

        tasks = [asyncio.create_task(child(number)) for number in range(3)]
        await asyncio.sleep(0)
        execution.say("parent")
        await asyncio.gather(*tasks)

    execution = Execution(orchestration)
    execution.to_end()

    assert execution.said == [0, 1, 2, "parent"]


def test_what_two_events_woke_keeps_the_order_of_the_events() -> None:
    async def orchestration(execution: Execution) -> None:
        async def waiting(number: int) -> None:
            await gates[number]
            execution.say(number)

        gates.extend(asyncio.get_running_loop().create_future() for _ in range(2))
        await asyncio.gather(waiting(0), waiting(1))

    gates: list[asyncio.Future[None]] = []
    execution = Execution(orchestration).run()
    gates[1].set_result(None)
    gates[0].set_result(None)
    execution.run()

    assert execution.said == [1, 0]


@given(st.sets(st.integers(1, 4_000), max_size=200), st.integers(1, SALT_MASK), st.integers(1, SALT_MASK))
def test_a_set_of_tasks_has_one_order_in_whatever_instance(numbers: set[int], salt: int, other: int) -> None:
    def order(salt: int) -> list[int]:
        return [number.of for number in {Numbered(number, salt) for number in sorted(numbers)}]

    assert order(salt) == order(other)


class Numbered:
    """Hashes as a task does."""

    def __init__(self, of: int, salt: int) -> None:
        self.of = of
        self.salted = salt << SALT_SHIFT | of

    def __hash__(self) -> int:
        return self.salted


def test_the_hash_of_a_task_is_its_number_below_the_salt_of_its_loop() -> None:
    async def orchestration(execution: Execution) -> None:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        execution.say([hash(task) & (1 << SALT_SHIFT) - 1 for task in tasks])
        execution.say(hash(tasks[0]) >> SALT_SHIFT)
        await asyncio.wait(tasks)

    first, second = Execution(orchestration), Execution(orchestration)
    first.to_end()
    second.to_end()

    assert first.said[0] == second.said[0] == [2, 3, 4]
    assert first.said[1] != second.said[1], "the tasks of two instances collide in weak maps of the whole process"


def test_no_task_stays_in_the_processes_own_set_of_tasks() -> None:
    executions = [Execution(lambda _: never()).run() for _ in range(50)]

    # With one task of every suspended instance there, making the next one costs more with every instance.
    assert asyncio.all_tasks(executions[0].loop) == set()


def test_as_completed_over_coroutines_is_refused_with_the_name_of_what_to_use() -> None:
    coroutines = [asyncio.sleep(1, number) for number in range(2)]

    async def orchestration(_: Execution) -> None:
        for future in asyncio.as_completed(coroutines):
            await future

    cause = Execution(orchestration).aborted()
    for coroutine in coroutines:
        coroutine.close()

    assert "use `ctx.as_completed`" in str(cause)


def test_as_completed_over_tasks_works() -> None:
    async def orchestration(_: Execution) -> list[int]:
        tasks = [asyncio.create_task(asyncio.sleep(3 - number, number)) for number in range(3)]
        return [await future for future in asyncio.as_completed(tasks)]

    assert Execution(orchestration).to_end() == [2, 1, 0]


def test_wait_over_what_gather_returns_is_refused_for_its_set_has_no_order() -> None:
    async def orchestration(_: Execution) -> None:
        await asyncio.wait([asyncio.gather(asyncio.sleep(1)), asyncio.gather(asyncio.sleep(2))])

    execution = Execution(orchestration)
    assert "use `asyncio.wait` over tasks" in str(execution.aborted())
    execution.loop.put_away()
