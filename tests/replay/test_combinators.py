"""Does the order of completion decide, and nothing else, whatever waits for several things at once?"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from engine.errors import ActivityError, UsageError
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.futures import DurableFuture
from tests.replay.given import Instance, boom
from tests.upstream import upstream


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def asked(ctx: OrchestrationContext, count: int = 3) -> list[DurableFuture[str]]:
    return [ctx.schedule_activity(f"a{number}", output=str) for number in range(count)]


def test_select_takes_what_the_history_finished_first_even_if_all_are_done(keep: bool) -> None:
    @orchestration
    async def late(ctx: OrchestrationContext) -> list[object]:
        futures = asked(ctx)
        await ctx.wait_event("go")
        won = await ctx.select(*futures)
        return [won.index, won.value]

    instance = Instance(late, keep=keep)
    instance.start()
    instance.give(instance.completed(4, "c"), instance.completed(2, "a"), instance.completed(3, "b"))
    instance.give(instance.raised("go"))
    assert instance.output == [2, "c"]


def test_as_completed_yields_in_order_of_completion_before_and_after_the_call(keep: bool) -> None:
    @orchestration
    async def in_turn(ctx: OrchestrationContext) -> list[str]:
        futures = asked(ctx, 4)
        await ctx.wait_event("go")
        return [await future async for future in ctx.as_completed(*futures)]

    instance = Instance(in_turn, keep=keep)
    instance.start()
    instance.give_each([instance.completed(5, "d"), instance.completed(3, "b"), instance.raised("go")])
    instance.give_each([instance.completed(4, "c"), instance.completed(2, "a")])
    assert instance.output == ["d", "b", "c", "a"]


def test_a_failure_among_the_completed_is_raised_where_it_is_awaited(keep: bool) -> None:
    @orchestration
    async def looks(ctx: OrchestrationContext) -> list[str]:
        said: list[str] = []
        async for future in ctx.as_completed(*asked(ctx, 2)):
            try:
                said.append(await future)
            except ActivityError as error:
                said.append(str(error))
        return said

    instance = Instance(looks, keep=keep)
    instance.start()
    instance.give(instance.failed(3), instance.completed(2, "a"))
    assert instance.output == ["ValueError: boom", "a"]


@upstream(
    "replay_engine/composition",
    "join_one_fails",
    differs="The join raises with the first failure and cancels the others.",
)
def test_a_join_that_fails_raises_at_once_and_cancels_the_others(keep: bool) -> None:
    @orchestration
    async def joins(ctx: OrchestrationContext) -> str:
        said = "joined"
        try:
            await ctx.join(*asked(ctx))
        except ActivityError as error:
            said = str(error)
        await ctx.wait_event("go")
        return said

    instance = Instance(joins, keep=keep)
    instance.start()
    instance.give(instance.completed(2, "a"))
    result = instance.give(instance.failed(4, boom("third")))
    assert [ref.activity_id for ref in result.cancelled_activities] == [3]
    instance.give(instance.raised("go"))
    assert instance.output == "ValueError: third"


def test_the_failure_of_a_winner_is_raised_and_the_losers_are_cancelled(keep: bool) -> None:
    @orchestration
    async def selects(ctx: OrchestrationContext) -> str:
        with pytest.raises(ActivityError):
            await ctx.select(*asked(ctx))
        await ctx.wait_event("go")
        return "raised"

    instance = Instance(selects, keep=keep)
    instance.start()
    result = instance.give(instance.failed(3))
    assert [ref.activity_id for ref in result.cancelled_activities] == [2, 4]
    instance.give(instance.raised("go"))
    assert instance.output == "raised"


def test_they_nest(keep: bool) -> None:
    @orchestration
    async def nests(ctx: OrchestrationContext) -> list[object]:
        a, b, c = asked(ctx)
        joined, won = await ctx.join(
            ctx.join(a, ctx.schedule_timer(timedelta(seconds=1))),
            ctx.select(b, ctx.select(c, ctx.wait_event("e", str))),
        )
        return [joined[0], won.index]

    instance = Instance(nests, keep=keep)
    instance.start()
    instance.give(instance.completed(2, "a"))
    instance.give(instance.completed(4, "c"))
    assert instance.history[-1].event_id > 0
    timer = next(event.event_id for event in instance.history if type(event).__name__ == "TimerCreated")
    instance.give(instance.fired(timer))
    assert instance.output == ["a", 1]


def test_cancelling_a_scope_around_a_join_cancels_its_members(keep: bool) -> None:
    @orchestration
    async def scoped(ctx: OrchestrationContext) -> str:
        try:
            async with asyncio.timeout(5):
                await ctx.join(*asked(ctx, 2))
        except TimeoutError:
            await ctx.wait_event("go")
        return "gave up"

    instance = Instance(scoped, keep=keep)
    instance.start()
    timer = next(event.event_id for event in instance.history if type(event).__name__ == "TimerCreated")
    result = instance.give(instance.fired(timer))
    assert len(result.cancelled_activities) == 2
    instance.give(instance.raised("go"))
    assert instance.output == "gave up"


def test_a_select_of_nothing_is_refused_and_a_join_of_nothing_is_empty() -> None:
    @orchestration
    async def empty(ctx: OrchestrationContext) -> list[object]:
        nothing = asked(ctx, 0)
        assert await ctx.join(*nothing) == ()
        return [(await ctx.select(*nothing)).index]

    failure = Instance(empty).start().metadata.failure
    assert failure is not None
    assert failure.message == "expected something to select from, but there are no arguments"


def test_one_future_may_stand_among_the_arguments_twice(keep: bool) -> None:
    @orchestration
    async def twice(ctx: OrchestrationContext) -> list[str]:
        (work,) = asked(ctx, 1)
        return list(await ctx.join(work, work))

    instance = Instance(twice, keep=keep)
    instance.start()
    instance.give(instance.completed(2, "a"))
    assert instance.output == ["a", "a"]


def test_sets_of_futures_are_in_the_order_of_asking() -> None:
    @orchestration
    async def waits(ctx: OrchestrationContext) -> list[int]:
        futures = asked(ctx, 24)
        _done, left = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        return [future.event_id for future in left]

    instance = Instance(waits)
    instance.start()
    instance.give(instance.completed(2))
    assert instance.output == list(range(3, 26))


def test_asyncios_own_gather_and_shield_take_durable_futures(keep: bool) -> None:
    @orchestration
    async def gathers(ctx: OrchestrationContext) -> list[str]:
        futures = asked(ctx, 2)
        return [*await asyncio.gather(*futures), await asyncio.shield(futures[0])]

    instance = Instance(gathers, keep=keep)
    instance.start()
    instance.give(instance.completed(3, "b"), instance.completed(2, "a"))
    assert instance.output == ["a", "b", "a"]


def test_several_tasks_may_take_from_one_as_completed(keep: bool) -> None:
    @orchestration
    async def shares(ctx: OrchestrationContext) -> list[list[object]]:
        completions = ctx.as_completed(*asked(ctx, 3))

        async def takes() -> list[object]:
            return [await future async for future in completions]

        return list(await asyncio.gather(takes(), takes()))

    instance = Instance(shares, keep=keep)
    instance.start()
    for activity_id in (4, 2, 3):
        instance.give(instance.completed(activity_id, str(activity_id)))
    assert instance.output == [["4", "2", "3"], []]


@orchestration
async def activity_or_timer(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.schedule_activity("a", output=str), ctx.schedule_timer(timedelta(seconds=1)))
    return won.value or "timed out"


@upstream("replay_engine/composition", "select2_activity_wins", "select2_timer_wins", "select2_both_pending")
def test_a_select_waits_until_one_is_done(keep: bool) -> None:
    for_work, for_time = Instance(activity_or_timer, keep=keep), Instance(activity_or_timer, keep=keep)
    for instance in (for_work, for_time):
        instance.start()
        assert instance.give().history_delta == ()
    for_work.give(for_work.completed(2, "worked"))
    for_time.give(for_time.fired(3))
    assert (for_work.output, for_time.output) == ("worked", "timed out")


@upstream("replay_engine/composition", "join_large_completed_sub_orchestration_fan_in_reaches_terminal")
def test_a_join_of_1024_children_ends_with_the_last_of_them(keep: bool) -> None:
    @orchestration
    async def many(ctx: OrchestrationContext) -> int:
        return sum(await ctx.join(*(ctx.schedule_sub_orchestration("c", n, output=int) for n in range(1024))))

    instance = Instance(many, keep=keep)
    assert len(instance.start().messages) == 1024
    instance.give(*(instance.child_completed(2 + number, 1) for number in range(1023)))
    result = instance.give(instance.child_completed(1025, 1))
    assert (result.messages, result.work_items) == ((), ())
    assert instance.output == 1024


@pytest.mark.parametrize("with_a_timer", [False, True])
@upstream("futures_tests", "select2_two_externals_first_delivery_wins", "select3_mixed_branch_order_winner")
def test_of_two_events_in_one_batch_the_first_to_arrive_wins(with_a_timer: bool, keep: bool) -> None:
    @orchestration
    async def waits(ctx: OrchestrationContext) -> str:
        futures: list[DurableFuture[Any]] = [ctx.wait_event("a"), ctx.wait_event("b")]
        if with_a_timer:
            futures.insert(1, ctx.schedule_timer(timedelta(seconds=1)))
        won = await ctx.select(*futures)
        return f"{won.index} {won.value}"

    instance = Instance(waits, keep=keep)
    instance.start()
    instance.give(instance.raised("b", "vb"), instance.raised("a", "va"))
    assert instance.output == ("2 vb" if with_a_timer else "1 vb")


@pytest.mark.parametrize("name", ["join", "select", "as_completed"])
def test_a_list_of_what_is_waited_for_is_told_to_be_unpacked(name: str, keep: bool) -> None:
    @orchestration
    async def packs(ctx: OrchestrationContext) -> str:
        try:
            await getattr(ctx, name)(asked(ctx))
        except UsageError as error:
            return str(error)
        return "nothing was wrong"

    instance = Instance(packs, keep=keep)
    instance.start()
    told = "expected each argument to be something to await, as in `ctx.join(*futures)`, but one is a list"
    assert instance.output == told
