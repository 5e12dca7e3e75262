"""Do branches that are coroutines of several steps wait, race and nest as single calls do?"""

import asyncio
from collections.abc import Awaitable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from engine import OrchestrationContext, Status, activity, orchestration
from engine.errors import ActivityError
from engine.model.events import ActivityScheduled, TimerCancelled, TimerCreated, TimerFired
from engine.testing import run
from tests.upstream import upstream

MS = timedelta(milliseconds=1)


@activity
async def fast(text: str) -> str:
    return f"fast {text}"


@activity
async def slow(text: str) -> str:
    return f"slow {text}"


ACTIVITIES = [fast, slow]
DURATIONS = {"fast": 10 * MS, "slow": 500 * MS}


async def two_steps(ctx: OrchestrationContext, name: str) -> str:
    first = await ctx.schedule_activity(name, "1", output=str)
    return f"{first}, {await ctx.schedule_activity(name, '2', output=str)}"


async def delayed(ctx: OrchestrationContext, delay: timedelta, text: str) -> str:
    await ctx.schedule_timer(delay)
    return await ctx.schedule_activity(fast, text)


@orchestration
async def joins_branches(ctx: OrchestrationContext) -> list[str]:
    async def branches(text: str) -> str:
        first = await ctx.schedule_activity(fast, text)
        return await ctx.schedule_activity(slow if "fast" in first else fast, first)

    async def loops() -> str:
        return ", ".join([await ctx.schedule_activity(fast, str(number)) for number in range(3)])

    return list(await ctx.join(branches("a"), loops(), delayed(ctx, 5 * MS, "c")))


@upstream("async_block_tests", "async_block_join_with_control_flow")
def test_branches_with_control_flow_are_joined() -> None:
    outcome = run(joins_branches, activities=ACTIVITIES, durations=DURATIONS)
    assert outcome.output == ["slow fast a", "fast 0, fast 1, fast 2", "fast c"]
    assert outcome.elapsed == 510 * MS


@orchestration
async def joins_many(ctx: OrchestrationContext) -> list[str]:
    async def branch(number: int) -> str:
        await ctx.schedule_timer((5 - number) * MS)
        return f"{number} {await ctx.schedule_activity(fast, str(number))}"

    return list(await ctx.join(*(branch(number) for number in range(5))))


@upstream("async_block_tests", "async_block_join_many")
def test_results_of_many_branches_are_in_the_order_of_the_branches() -> None:
    assert run(joins_many, activities=ACTIVITIES).output == [f"{number} fast {number}" for number in range(5)]


@orchestration
async def phases(ctx: OrchestrationContext, text: str) -> str:
    first = await two_steps(ctx, "fast")
    return await delayed(ctx, 5 * MS, f"{text} {first}")


@upstream("async_block_tests", "async_block_sequential")
def test_branches_follow_one_another() -> None:
    assert run(phases, "start", activities=ACTIVITIES).output == "fast start fast 1, fast 2"


async def winner(ctx: OrchestrationContext, *branches: Awaitable[str]) -> str:
    won = await ctx.select(*branches)
    return f"{won.index}: {won.value}"


@orchestration
async def races_branches(ctx: OrchestrationContext) -> str:
    return await winner(ctx, two_steps(ctx, "fast"), two_steps(ctx, "slow"))


@orchestration
async def races_a_branch_with_a_call(ctx: OrchestrationContext) -> str:
    return await winner(ctx, ctx.schedule_activity(fast, "alone"), two_steps(ctx, "fast"))


@orchestration
async def races_three_timers(ctx: OrchestrationContext) -> str:
    return await winner(ctx, delayed(ctx, 10 * MS, "a"), delayed(ctx, 500 * MS, "b"), delayed(ctx, 100 * MS, "c"))


@orchestration
async def races_a_join_with_a_timer(ctx: OrchestrationContext) -> str:
    async def joined() -> str:
        return ", ".join(await ctx.join(*(ctx.schedule_activity(fast, str(number)) for number in range(3))))

    return await winner(ctx, joined(), delayed(ctx, 2_000 * MS, "too late"))


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (races_branches, "0: fast 1, fast 2"),
        (races_a_branch_with_a_call, "0: fast alone"),
        (races_three_timers, "0: fast a"),
        (races_a_join_with_a_timer, "0: fast 0, fast 1, fast 2"),
    ],
)
@upstream(
    "async_block_tests",
    "async_block_select_racing",
    "async_block_vs_durable_future",
    "async_block_select3_with_timers",
    "async_block_nested_join_in_select",
)
def test_the_branch_that_ends_first_wins(code: Any, output: str) -> None:
    assert run(code, activities=ACTIVITIES, durations=DURATIONS).output == output


@orchestration
async def child(ctx: OrchestrationContext, name: str) -> str:
    return f"child {await two_steps(ctx, name)}"


async def child_and_step(ctx: OrchestrationContext, name: str) -> str:
    answer = await ctx.schedule_sub_orchestration(child, name)
    return f"{answer}; {await ctx.schedule_activity(fast, 'after')}"


@orchestration
async def races_a_child(ctx: OrchestrationContext, name: str) -> str:
    return await winner(ctx, child_and_step(ctx, name), delayed(ctx, 300 * MS, "late"))


@pytest.mark.parametrize(
    ("name", "output", "of_child"),
    [("fast", "0: child fast 1, fast 2; fast after", Status.COMPLETED), ("slow", "1: fast late", Status.CANCELLED)],
)
@upstream(
    "async_block_tests",
    "async_block_suborchestration_wins_race",
    "async_block_suborchestration_loses_race",
    "async_block_suborchestration_racing_timeout",
)
def test_a_branch_with_a_child_wins_or_its_child_is_cancelled(name: str, output: str, of_child: Status) -> None:
    outcome = run(races_a_child, name, activities=ACTIVITIES, orchestrations=[child], durations=DURATIONS)
    assert outcome.output == output
    (id_of_child,) = outcome.instances.keys() - {"test"}
    assert outcome.instances[id_of_child].status is of_child


@orchestration
async def family(ctx: OrchestrationContext, depth: int) -> str:
    if depth == 0:
        return await ctx.schedule_activity(fast, "leaf")
    below: list[Coroutine[Any, Any, str]] = [one_below(ctx, depth, 0 * MS), one_below(ctx, depth, 5 * MS)]
    both = await ctx.join(*below)
    return f"{depth}[{', '.join(both)}]"


async def one_below(ctx: OrchestrationContext, depth: int, delay: timedelta) -> str:
    await ctx.schedule_timer(delay)
    return await ctx.schedule_sub_orchestration(family, depth - 1)


@upstream(
    "async_block_tests",
    "async_block_multiple_suborchestrations_joined",
    "async_block_nested_suborchestration_chain",
)
def test_children_of_children_are_joined() -> None:
    outcome = run(family, 2, activities=ACTIVITIES)
    assert outcome.output == "2[1[fast leaf, fast leaf], 1[fast leaf, fast leaf]]"
    assert len(outcome.instances) == 7


@orchestration
async def joins_slow_first(ctx: OrchestrationContext) -> list[str]:
    return list(await ctx.join(ctx.schedule_activity(slow, "a"), ctx.schedule_activity(fast, "b")))


@upstream("futures_tests", "join_returns_schedule_order")
def test_a_join_returns_the_results_in_the_order_of_asking() -> None:
    assert run(joins_slow_first, activities=ACTIVITIES, durations=DURATIONS).output == ["slow a", "fast b"]


@orchestration
async def goes_on_after_a_race(ctx: OrchestrationContext) -> list[str]:
    said: list[str] = []
    for _ in range(2):
        try:
            won = await ctx.select(ctx.schedule_timer(1_000 * MS), ctx.schedule_activity("fails"))
            said.append(f"won: {won.index}")
        except ActivityError as error:
            said.append(str(error))
    said.append(await ctx.schedule_activity(fast, "at last"))
    return said


@upstream(
    "futures_tests",
    "test_select2_loser_event_consumed_during_replay",
    "test_select2_schedule_after_winner_returns",
    differs="The timer that lost is taken back and does not fire.",
)
def test_code_goes_on_behind_a_race_and_the_timer_that_lost_stays_away() -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise ValueError("at once")

    outcome = run(goes_on_after_a_race, activities={"fails": fails, "fast": fast})
    assert outcome.output == ["ValueError: at once", "ValueError: at once", "fast at last"]
    assert len(calls) == 2
    of_timers = [event for event in outcome.history if isinstance(event, TimerCreated | TimerCancelled | TimerFired)]
    assert [type(event) for event in of_timers] == [TimerCreated, TimerCancelled] * 2


@orchestration
async def awaits_the_second_first(ctx: OrchestrationContext) -> list[str]:
    first = ctx.schedule_activity(fast, "first")
    second = await ctx.schedule_activity(slow, "second")
    return [second, await first]


@upstream("futures_tests", "simplified_futures_unawaited_completion_does_not_block")
def test_an_answer_that_nobody_awaits_yet_keeps_nobody_from_going_on() -> None:
    outcome = run(awaits_the_second_first, activities=ACTIVITIES, durations=DURATIONS)
    assert outcome.output == ["slow second", "fast first"]
    asked = [event.name for event in outcome.history if isinstance(event, ActivityScheduled)]
    assert asked == ["fast", "slow"]


@orchestration
async def gathers(ctx: OrchestrationContext) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(two_steps(ctx, name)) for name in ("slow", "fast")]
    return [task.result() for task in tasks]


def test_a_task_group_does_the_same_with_pythons_own_means() -> None:
    outcome = run(gathers, activities=ACTIVITIES, durations=DURATIONS)
    assert outcome.output == ["slow 1, slow 2", "fast 1, fast 2"]
