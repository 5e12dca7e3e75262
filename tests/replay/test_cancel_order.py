"""Is open work that one callback cancels taken back in one order, wherever in memory the tasks lie that awaited it?"""

import asyncio
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from engine.model.events import AnyEvent, ExternalSubscribed
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.testing import replay
from tests.replay.given import Instance
from tests.upstream import upstream

REPOSITORY = Path(__file__).parents[2]
REPLAYS = 30
MINUTE = timedelta(minutes=1)
TWICE = RetryPolicy(attempts=2)

Code = Callable[[OrchestrationContext], Coroutine[Any, Any, None]]


async def fails(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("fail")
    raise LookupError


async def waits(ctx: OrchestrationContext, number: int) -> None:
    """For something open, of another kind for each number; compensated with an activity."""
    try:
        match number % 8:
            case 0:
                await ctx.schedule_activity("a", number)
            case 1:
                await ctx.schedule_timer(MINUTE)
            case 2:
                await ctx.schedule_sub_orchestration("c", number)
            case 3:
                await ctx.wait_event("e")
            case 4:
                await ctx.dequeue("q")
            case 5:
                await ctx.schedule_activity("a", number, retry=TWICE, timeout=MINUTE)
            case 6:
                await asyncio.gather(ctx.schedule_activity("a", number), ctx.activity("a", number), asyncio.sleep(60))
            case _:
                await ctx.select(ctx.schedule_activity("a", number), ctx.schedule_timer(MINUTE))
    finally:
        ctx.schedule_activity("undo", number)


@orchestration
async def task_group(ctx: OrchestrationContext) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(waits(ctx, number))
        group.create_task(fails(ctx))


@orchestration
async def anyio_group(ctx: OrchestrationContext) -> None:
    async with anyio.create_task_group() as group:
        for number in range(16):
            group.start_soon(waits, ctx, number)
        group.start_soon(fails, ctx)


@orchestration
async def nested_anyio_groups(ctx: OrchestrationContext) -> None:
    async def branch(first: int) -> None:
        async with anyio.create_task_group() as group:
            for number in range(first, first + 4):
                group.start_soon(waits, ctx, number)

    async with anyio.create_task_group() as group:
        for first in range(0, 16, 4):
            group.start_soon(branch, first)
        group.start_soon(fails, ctx)


@orchestration
async def anyio_group_of_task_groups(ctx: OrchestrationContext) -> None:
    async def branch(first: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(first, first + 4):
                group.create_task(waits(ctx, number))

    async with anyio.create_task_group() as group:
        for first in range(0, 16, 4):
            group.start_soon(branch, first)
        group.start_soon(fails, ctx)


@orchestration
async def anyio_group_of_gathers(ctx: OrchestrationContext) -> None:
    async def branch(first: int) -> None:
        try:
            await asyncio.gather(*(ctx.schedule_activity("a", number) for number in range(first, first + 3)))
        finally:
            ctx.schedule_activity("undo", first)

    async with anyio.create_task_group() as group:
        for first in range(0, 36, 3):
            group.start_soon(branch, first)
        group.start_soon(fails, ctx)


@orchestration
async def anyio_group_watched_by_as_completed(ctx: OrchestrationContext) -> None:
    async def awaits(future: "asyncio.Future[Any]") -> None:
        await future

    async def watches() -> None:
        async for future in ctx.as_completed(*futures):
            ctx.set_custom_status(f"{names[future]}")

    futures = [ctx.schedule_activity("a", number) for number in range(12)]
    names: dict[asyncio.Future[Any], int] = {future: number for number, future in enumerate(futures)}
    watching = asyncio.create_task(watches())
    try:
        async with anyio.create_task_group() as group:
            for future in futures:
                group.start_soon(awaits, future)
            group.start_soon(fails, ctx)
    finally:
        await watching


@orchestration
async def anyio_group_of_queue_readers(ctx: OrchestrationContext) -> None:
    async def reads() -> None:
        async with asyncio.timeout(60):
            await ctx.dequeue("q")

    readers = [ctx.dequeue("q") for _ in range(4)]  # two of them hold a message that nobody has looked at
    last = ctx.dequeue("q")
    reader = asyncio.create_task(_records(ctx, last))

    async def gives_back(future: "asyncio.Future[Any]") -> None:
        try:
            await ctx.wait_event("never")
        finally:
            future.cancel()

    try:
        async with anyio.create_task_group() as group:
            for future in readers:
                group.start_soon(gives_back, future)
            for _ in range(6):
                group.start_soon(reads)
            group.start_soon(fails, ctx)
    finally:
        await reader


async def _records(ctx: OrchestrationContext, future: "asyncio.Future[Any]") -> None:
    ctx.set_custom_status(f"{await future}")


CASES: list[Code] = [
    task_group,
    anyio_group,
    nested_anyio_groups,
    anyio_group_of_task_groups,
    anyio_group_of_gathers,
    anyio_group_watched_by_as_completed,
    anyio_group_of_queue_readers,
]


def history_of(code: Code, *, keep: bool) -> list[AnyEvent]:
    """What is recorded when a sibling fails while everything else is open."""
    instance = Instance(code, keep=keep)
    instance.start()
    instance.give(instance.enqueued("q", "first"), instance.enqueued("q", "second"))
    assert any(isinstance(event, ExternalSubscribed) and event.name == "fail" for event in instance.history)
    instance.give(instance.raised("fail"))
    return instance.history


def orders(code: Code) -> set[str]:
    """The histories of thirty runs, each at other places of the memory."""
    chance = random.Random(7)
    ballast: list[Any] = []
    found: set[str] = set()
    for place in range(REPLAYS):
        ballast.append([bytearray(chance.randrange(1, 600)) for _ in range(chance.randrange(1, 200))])
        found.add(_without_stacks(history_of(code, keep=place % 2 == 0)))
    return found


def _without_stacks(history: list[AnyEvent]) -> str:
    shown = [msgspec.to_builtins(event) for event in history]
    for event in shown:
        event.pop("failure", None)
    return json.dumps(shown)


@pytest.mark.parametrize("code", CASES)
def test_thirty_replays_take_work_back_in_one_order(code: Code) -> None:
    found = orders(code)

    assert len(found) == 1, f"{len(found)} orders"


@pytest.mark.parametrize("code", CASES)
def test_what_a_kept_execution_recorded_replays_in_full(code: Code) -> None:
    history = history_of(code, keep=True)

    for _ in range(5):
        replay(code, history, instance="i")


def test_another_hash_seed_gives_the_same_order() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-m", "tests.replay.test_cancel_order"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip

    assert len(digests) == 1
    assert digests != {""}


@upstream(
    "cancellation_corner_cases",
    "ms16_cancellation_blocks_are_deterministic_by_type_and_id",
    differs="All that one callback takes back is recorded by event id, whatever its kind.",
)
def test_what_one_callback_takes_back_is_recorded_by_event_id_and_before_what_it_asks_for_next() -> None:
    @orchestration
    async def backwards(ctx: OrchestrationContext) -> None:
        first, second, third = (ctx.schedule_activity("a", number) for number in range(3))
        third.cancel()
        first.cancel()
        ctx.set_custom_status("between")
        second.cancel()
        await ctx.wait_event("never")

    instance = Instance(backwards)
    instance.start()

    taken_back = [getattr(event, "source_event_id", type(event).__name__) for event in instance.history[4:]]
    assert taken_back == [2, 4, "CustomStatusUpdated", 3, "ExternalSubscribed"]


def test_a_message_given_back_wakes_its_next_reader_in_the_same_step() -> None:
    @orchestration
    async def passes_on(ctx: OrchestrationContext) -> str:
        holder, waiting, last = (ctx.dequeue("q", str) for _ in range(3))
        await ctx.wait_event("go")
        waiting.cancel()
        holder.cancel()
        return await last

    instance = Instance(passes_on)
    instance.start()
    instance.give(instance.enqueued("q", "kept"))
    instance.give(instance.raised("go"))

    assert instance.output == "kept"


def test_a_cancel_that_meets_nobody_who_runs_is_recorded_in_its_own_step() -> None:
    @orchestration
    async def gathers(ctx: OrchestrationContext) -> None:
        second, first = ctx.schedule_activity("a"), ctx.schedule_activity("b")
        try:
            await asyncio.gather(first, second)
        except asyncio.CancelledError:
            raise Refused from None

    instance = Instance(gathers)
    instance.start()
    instance.give(instance.cancelled())

    assert [getattr(event, "source_event_id", None) for event in instance.history[3:]] == [None, 2, 3, None]


class Refused(Exception):
    """What the code makes of its cancellation."""


if __name__ == "__main__":
    for case in CASES:
        (history,) = orders(case)
        print(case.__name__, hashlib.sha256(history.encode()).hexdigest())
