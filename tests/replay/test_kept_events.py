"""What becomes of an external event that is to be kept, before anybody waits, while somebody does, and after that?"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from engine.model.events import ExternalEventReceived
from engine.model.turn import Disposition
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.futures import DurableFuture
from engine.replay.history import open_work
from engine.testing import raise_event, replay, run
from tests.replay.given import Instance, kinds


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@orchestration
async def later(ctx: OrchestrationContext, count: int) -> list[object]:
    await ctx.wait_event("go")
    return [await ctx.wait_event("n") for _ in range(count)]


@pytest.mark.parametrize("together", [True, False])
def test_what_came_before_the_code_waited_is_there_at_once_oldest_first(together: bool, keep: bool) -> None:
    instance = Instance(later, keep=keep)
    events = [instance.raised("n", number, keep=number != 2) for number in (1, 2, 3)]
    messages = [instance.start_message(2), *events, instance.raised("other", keep=True), instance.raised("go")]
    results = [instance.give(*messages)] if together else instance.give_each(messages)
    dispositions = [one for result in results for one in result.dispositions]
    assert dispositions == [Disposition.APPLIED] * 2 + [Disposition.EARLY] + [Disposition.APPLIED] * 3
    assert instance.output == [1, 3]
    kept = [event.kept for event in instance.history if isinstance(event, ExternalEventReceived)]
    assert kept == [True, False, True, True, False]
    replay(later, instance.history)


def test_it_is_taken_before_waiting_without_another_arrival(keep: bool) -> None:
    @orchestration
    async def looks(ctx: OrchestrationContext) -> object:
        won = await ctx.select(ctx.wait_event("go"), ctx.schedule_timer(timedelta(hours=1)))
        del won
        taken = ctx.wait_event("n")
        return [taken.done(), await taken]

    instance = Instance(looks, keep=keep)
    instance.give(instance.start_message(), instance.raised("n", 1, keep=True))
    instance.give(instance.raised("go"))
    assert instance.output == [True, 1]


def test_whoever_waits_gets_it_like_any_other(keep: bool) -> None:
    instance = Instance(later, keep=keep)
    instance.start(2)
    instance.give(instance.raised("go", keep=True))
    instance.give(instance.raised("n", 1, keep=True))
    instance.give(instance.raised("n", 2))
    assert instance.output == [1, 2]
    replay(later, instance.history)


def test_a_wait_that_is_cancelled_before_it_looked_gives_it_back(keep: bool) -> None:
    @orchestration
    async def gives_back(ctx: OrchestrationContext) -> list[object]:
        first, second, other = ctx.wait_event("n"), ctx.wait_event("n"), ctx.wait_event("m")
        await ctx.wait_event("go")
        first.cancel()
        other.cancel()
        return [await second, await ctx.wait_event("n"), await ctx.wait_event("m")]

    instance = Instance(gives_back, keep=keep)
    instance.start()
    for name, value in (("n", 1), ("n", 2), ("m", 3)):
        instance.give(instance.raised(name, value, keep=True))
    result = instance.give(instance.raised("go"))
    assert kinds(result.history_delta)[1:3] == ["ExternalSubscriptionCancelled"] * 2
    assert instance.output == [2, 1, 3]
    replay(gives_back, instance.history)


def test_a_loser_of_a_race_and_a_cancelled_task_lose_none(keep: bool) -> None:
    @orchestration
    async def races(ctx: OrchestrationContext) -> list[object]:
        won = await ctx.select(ctx.wait_event("n"), ctx.wait_event("m"))
        task = asyncio.ensure_future(ctx.join(ctx.wait_event("n"), ctx.wait_event("never")))
        await ctx.wait_event("go")
        task.cancel()
        await asyncio.wait([task])
        return [won.value, await ctx.wait_event("n"), await ctx.wait_event("m")]

    instance = Instance(races, keep=keep)
    messages = [instance.raised(name, name * 2, keep=True) for name in ("m", "n", "m", "go")]
    instance.give(instance.start_message(), *messages)
    assert instance.output == ["mm", "nn", "mm"]
    replay(races, instance.history)


def test_one_that_nobody_read_goes_with_the_execution(keep: bool) -> None:
    @orchestration
    async def again(ctx: OrchestrationContext, left: int) -> object:
        await ctx.wait_event("go")
        return ctx.continue_as_new(left - 1) if left else await ctx.wait_event("n")

    instance = Instance(again, keep=keep)
    instance.start(1)
    instance.give(instance.raised("n", "lost", keep=True))
    (message,) = instance.give(instance.raised("go")).messages
    instance.give(message)
    instance.give(instance.raised("go"))
    instance.give(instance.raised("n", "found"))
    assert instance.output == "found"


def test_what_it_leaves_open_is_known_from_the_history() -> None:
    @orchestration
    async def holds(ctx: OrchestrationContext) -> None:
        held, waiting = ctx.wait_event("n"), ctx.wait_event("n")
        await ctx.wait_event("go")
        del held, waiting

    instance = Instance(holds)
    instance.give(instance.start_message(), instance.raised("n", keep=True))
    assert [work.event_id for work in open_work(instance.history)] == [3, 4]


def test_a_live_execution_counts_what_it_keeps() -> None:
    instance = Instance(later)
    instance.start(1)
    assert instance.live is not None
    before = instance.live.bytes_estimate
    instance.give(instance.raised("n", "x" * 10_000, keep=True))
    assert instance.live is not None
    assert instance.live.bytes_estimate >= before + 10_000


@orchestration
async def collects(ctx: OrchestrationContext, waits: list[int]) -> list[object]:
    """Opens waits in steps, cancels every third of them, and takes what is left."""
    futures = list[DurableFuture[Any]]()
    for number, count in enumerate(waits):
        await ctx.wait_event("step")
        opened = [ctx.wait_event("n") for _ in range(count)]
        if number % 3 == 2:
            opened.pop().cancel() if opened else None
        futures += opened
    return [await future for future in futures]


@pytest.mark.parametrize("order", sorted(set(itertools.permutations("nnnsss"))))
def test_no_order_of_arrivals_and_waits_loses_or_doubles_one(order: Sequence[str]) -> None:
    instance, numbers = Instance(collects, keep=False), itertools.count(1)
    instance.start([1, 1, 2])
    for what in order:
        instance.give(instance.raised("n", next(numbers), keep=True) if what == "n" else instance.raised("step"))
    assert instance.output == [1, 2, 3]
    replay(collects, instance.history)


def test_in_a_scenario() -> None:
    outcome = run(later, 1, script=[raise_event("n", 5, keep=True), raise_event("go", at=timedelta(hours=1))])
    assert outcome.output == [5]
