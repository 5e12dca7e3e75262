"""Where do the minors of Python run the same code in another order? All that docs/determinism.md says.

Elsewhere they agree: the golden histories of `test_golden.py` are replayed by each of them.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from engine.model.events import TimerCreated
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.testing import run

MINOR = sys.version_info[1]


@activity
async def work() -> None:
    """Nothing."""


@orchestration
async def gathers_what_is_done(ctx: OrchestrationContext) -> None:
    first = ctx.schedule_activity(work)
    await first

    async def one() -> None:
        await asyncio.gather(first)
        await asyncio.sleep(1)

    async def two() -> None:
        await asyncio.sleep(2)

    await asyncio.gather(one(), two())


@orchestration
async def waits_for_an_event(_: OrchestrationContext) -> None:
    done = asyncio.Event()

    async def one() -> None:
        await asyncio.wait_for(done.wait(), 60)
        await asyncio.sleep(1)

    async def two() -> None:
        await done.wait()
        await asyncio.sleep(2)

    both = asyncio.gather(one(), two())
    await asyncio.sleep(5)
    done.set()
    await both


@orchestration
async def begins_under_wait_for(_: OrchestrationContext) -> None:
    async def one() -> None:
        await asyncio.wait_for(asyncio.sleep(5), 10)

    await asyncio.gather(one(), one())


@orchestration
async def cancels_who_waits_for_a_condition(_: OrchestrationContext) -> None:
    condition = asyncio.Condition()

    async def waits(seconds: int) -> None:
        async with condition:
            await condition.wait()
        await asyncio.sleep(seconds)

    cancelled, other = asyncio.create_task(waits(1)), asyncio.create_task(waits(2))
    await asyncio.sleep(3)
    cancelled.cancel()
    for _round in range(9):
        await asyncio.sleep(0)
    async with condition:
        condition.notify_all()
    await asyncio.sleep(5)
    await other


@pytest.mark.parametrize(
    ("code", "since", "before_s", "after_s"),
    [
        (gathers_what_is_done, 12, [2, 1], [1, 2]),
        (waits_for_an_event, 12, [5, 60, 2, 1], [5, 60, 1, 2]),
        (begins_under_wait_for, 12, [10, 10, 5, 5], [10, 5, 10, 5]),
        (cancels_who_waits_for_a_condition, 13, [3, 5, 2], [3, 2, 5]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_order_is_another_from_a_minor_on(
    code: Callable[..., Any], since: int, before_s: list[int], after_s: list[int]
) -> None:
    history = run(code, activities=[work]).history
    timers = [event for event in history if isinstance(event, TimerCreated)]
    asked_s = [timedelta(milliseconds=timer.fire_at_ms - timer.timestamp_ms).total_seconds() for timer in timers]
    assert asked_s == (after_s if since <= MINOR else before_s)
