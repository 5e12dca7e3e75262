"""Who gets an arrival that comes together with others, and does a replay say the same?

A batch is looked at one message at a time, and the code runs in between. So whoever the code made wait in answer to one
message gets the next one, and it makes no difference whether they came in one batch.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from engine.model.messages import AnyMessage
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.testing import replay
from tests.replay.given import Instance
from tests.upstream import upstream

Messages = Callable[[Instance], list[AnyMessage]]
SECOND = timedelta(seconds=1)


def outputs(code: Any, *batches: Messages) -> object:
    """What the code returns: always the same, kept or replayed, in these batches or with a turn for each message."""
    seen: list[tuple[object, object]] = []
    for keep in (True, False):
        for together in (True, False):
            instance = Instance(code, keep=keep)
            instance.start()
            for batch in batches:
                if together:
                    instance.give(*batch(instance))
                else:
                    instance.give_each(batch(instance))
            replay(code, instance.history, instance="i")
            seen.append((instance.output, instance.history))
    assert seen == [seen[0]] * 4
    return seen[0][0]


@orchestration
async def replaces_its_wait(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(SECOND)
    ctx.wait_event("s").cancel()
    return await ctx.wait_event("s", str)


@pytest.mark.parametrize(("timer_at", "got"), [(0, "a"), (1, "b")], ids=["behind the timer", "before the timer"])
@upstream(
    "replay_engine/positional_unbound_races",
    "ms17a_unbound_replacement_requires_a_fresh_signal_after_binding",
    differs="Messages are looked at one by one: what was asked for in answer to one is open when the next comes.",
)
@upstream(
    "cancellation_corner_cases",
    "ms14_unbound_replacement_drops_same_batch_signal_as_early",
    differs="Messages are looked at one by one: what was asked for in answer to one is open when the next comes.",
)
def test_a_wait_that_replaces_another_gets_what_arrives_after_it_was_asked_for(timer_at: int, got: str) -> None:
    def batch(instance: Instance) -> list[AnyMessage]:
        messages: list[AnyMessage] = [instance.raised("s", "a"), instance.raised("s", "b")]
        messages.insert(timer_at, instance.fired(2))
        return messages

    assert outputs(replaces_its_wait, batch) == got


@orchestration
async def votes_until_a_deadline(ctx: OrchestrationContext) -> str:
    votes: list[str] = []
    deadline = ctx.schedule_timer(SECOND)
    while True:
        vote = ctx.wait_event("s", str)
        if not deadline.done():
            await _first(vote, deadline)
        if deadline.done():
            vote.cancel()
            break
        votes.append(await vote)
    return f"{','.join(votes)}|{await ctx.wait_event('s', str)}"


async def _first(*futures: "asyncio.Future[Any]") -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


@pytest.mark.parametrize(
    ("early", "got"), [(["x"], "x|fresh"), (["x", "late"], "x,late|fresh")], ids=["one vote", "two votes"]
)
@upstream(
    "replay_engine/positional_unbound_races",
    "ms17b_dropped_unbound_holder_does_not_refuse_fresh_signal",
    "ms17b_deadline_drop_before_arrival_preserves_fresh_ack",
    differs="Messages are looked at one by one: what was asked for in answer to one is open when the next comes.",
)
def test_a_wait_that_a_deadline_cancelled_takes_nothing_from_the_next(early: list[str], got: str) -> None:
    def batch(instance: Instance) -> list[AnyMessage]:
        votes = [instance.raised("s", vote) for vote in early]
        return [*votes, instance.fired(2), instance.raised("s", "fresh")]

    assert outputs(votes_until_a_deadline, batch) == got


@orchestration
async def ticks_and_waits_again(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.wait_event("s", str), ctx.schedule_timer(SECOND))
    if won.index == 1:
        await ctx.schedule_activity("tick")
    ctx.wait_event("s").cancel()
    return await ctx.wait_event("s", str)


@upstream(
    "replay_engine/positional_unbound_races",
    "ms1_wait_dropped_before_bind_keeps_each_policy_outcome",
    differs="There is one policy.",
)
@upstream("cancellation_corner_cases", "ms1_positional_barrier_delivers_fresh_signal_and_replays")
def test_what_arrives_while_nobody_waits_is_lost_and_the_next_wait_gets_the_next_event() -> None:
    def tick(instance: Instance) -> list[AnyMessage]:
        (asked,) = [event.event_id for event in instance.history if type(event).__name__ == "ActivityScheduled"]
        return [instance.completed(asked)]

    assert (
        outputs(
            ticks_and_waits_again,
            lambda instance: [instance.fired(3), instance.raised("s", "a")],
            tick,
            lambda instance: [instance.raised("s", "b")],
        )
        == "b"
    )


Ask = Callable[[OrchestrationContext, str], "asyncio.Future[str]"]


def lazily(ask: Ask) -> Any:
    @orchestration
    async def asks_when_prepared(ctx: OrchestrationContext) -> str:
        async def branch(first: "asyncio.Future[Any]", name: str) -> str:
            await first
            return await ask(ctx, name)

        branches: list[Coroutine[Any, Any, str]] = [
            branch(ctx.schedule_activity("validate"), "approve"),
            branch(ctx.schedule_activity("prepare"), "reject"),
        ]
        won = await ctx.select(*branches)
        await ctx.schedule_timer(SECOND)
        return won.value

    return asks_when_prepared


@pytest.mark.parametrize("kind", ["events", "queues"])
@upstream(
    "replay_engine/positional_unbound_races",
    "ms18_lazy_positional_bind_order_preserves_live_winner_on_replay",
    differs="Messages are looked at one by one: what was asked for in answer to one is open when the next comes.",
)
@upstream(
    "replay_engine/positional_unbound_races",
    "ms18_lazy_queue_variant_pins_known_d2_replay_ordering_defect",
    differs="The defect that is pinned there is not here: the winner is the same in a replay.",
)
def test_of_branches_that_ask_late_the_one_wins_whose_arrival_comes_first(kind: str) -> None:
    def ask(ctx: OrchestrationContext, name: str) -> "asyncio.Future[str]":
        return ctx.wait_event(name, str) if kind == "events" else ctx.dequeue(name, str)

    def batch(instance: Instance) -> list[AnyMessage]:
        send = instance.raised if kind == "events" else instance.enqueued
        return [instance.completed(3), send("reject", "R"), instance.completed(2), send("approve", "A")]

    def timer(instance: Instance) -> list[AnyMessage]:
        (asked,) = [event.event_id for event in instance.history if type(event).__name__ == "TimerCreated"]
        return [instance.fired(asked)]

    assert outputs(lazily(ask), batch, timer) == "R"


def queue_race(*, drain: bool, lazy: bool) -> Any:
    @orchestration
    async def races(ctx: OrchestrationContext) -> str:
        async def message() -> str | None:
            return await ctx.dequeue("q", str)

        async def second() -> None:
            await ctx.schedule_timer(SECOND)

        messages: list[str] = []
        timers = 0
        while len(messages) < 2:
            if lazy:
                won = await ctx.select(message(), second())
            else:
                won = await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
            if won.value is not None:
                messages.append(won.value)
                continue
            timers += 1
            if drain:
                messages.append(await ctx.dequeue("q", str))
        return f"{timers}:{','.join(messages)}"

    return races


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
@upstream("replay_engine/queue_races", "queue_timer_race_replays_timer_then_message_same_batch")
@upstream("queue_event_tests", "immediate_0131_queue_race_replays_same_batch_after_restart")
def test_a_reader_that_lost_to_a_timer_leaves_the_message_behind_it_to_the_next(drain: bool, lazy: bool) -> None:
    code = queue_race(drain=drain, lazy=lazy)
    assert (
        outputs(
            code,
            lambda instance: [instance.fired(3), instance.enqueued("q", "first")],
            lambda instance: [instance.enqueued("q", "second")],
        )
        == "1:first,second"
    )


@upstream("replay_engine/queue_races", "dropped_unbound_queue_does_not_reserve_an_arrival")
@upstream("cancellation_corner_cases", "q9_unbound_drop_followed_by_message")
def test_a_reader_that_is_cancelled_at_once_keeps_no_message_for_itself() -> None:
    @orchestration
    async def reads(ctx: OrchestrationContext) -> list[str]:
        await ctx.schedule_activity("first")
        ctx.dequeue("q").cancel()
        return [await ctx.dequeue("q", str), await ctx.dequeue("q", str)]

    def batch(instance: Instance) -> list[AnyMessage]:
        return [instance.enqueued("q", "a"), instance.enqueued("q", "b"), instance.completed(2)]

    assert outputs(reads, batch) == ["a", "b"]


def messages(*texts: str) -> Messages:
    return lambda instance: [instance.enqueued("q", text) for text in texts]


def timer(event_id: int) -> Messages:
    return lambda instance: [instance.fired(event_id)]


@orchestration
async def two_readers_lose(ctx: OrchestrationContext) -> list[str]:
    won = await ctx.select(ctx.dequeue("q", str), ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
    said = [] if won.value is None else [won.value]
    return [*said, await ctx.dequeue("q", str), await ctx.dequeue("q", str)]


@orchestration
async def nested_readers_lose(ctx: OrchestrationContext) -> list[str]:
    async def inner() -> str | None:
        return (await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(5 * SECOND))).value

    won = await ctx.select(inner(), ctx.schedule_timer(SECOND))
    said = [] if won.value is None else [won.value]
    return [*said, await ctx.dequeue("q", str), await ctx.dequeue("q", str)]


@pytest.mark.parametrize(("code", "timer_id"), [(two_readers_lose, 4), (nested_readers_lose, 2)])
@upstream(
    "cancellation_corner_cases",
    "queue_q1_select3_two_losers_preserves_fifo_and_legacy_outcome",
    "sqlite_q1_two_dequeue_losers_restart",
    "sqlite_q2_first_dequeue_wins_restart",
    "q6_nested_select_queue_and_two_timers",
    "sqlite_q6_nested_select_restart",
)
def test_readers_that_lost_leave_all_messages_in_their_order(code: Any, timer_id: int) -> None:
    assert outputs(code, timer(timer_id), messages("a", "b")) == ["a", "b"]
    assert outputs(code, messages("a", "b", "c")) == ["a", "b", "c"]


@orchestration
async def joins_in_time(ctx: OrchestrationContext) -> list[str]:
    async def both() -> None:
        await ctx.join(ctx.dequeue("q", str), ctx.wait_event("never"))

    await ctx.select(both(), ctx.schedule_timer(SECOND))
    return [await ctx.dequeue("q", str), await ctx.dequeue("q", str)]


@upstream("cancellation_corner_cases", "q5_partial_join_resolved_child_drop_does_not_duplicate")
def test_a_message_of_a_join_that_lost_is_read_once_by_the_next() -> None:
    def fires(instance: Instance) -> list[AnyMessage]:
        (asked,) = [event.event_id for event in instance.history if type(event).__name__ == "TimerCreated"]
        return [instance.fired(asked)]

    assert outputs(joins_in_time, messages("a"), fires, messages("b")) == ["a", "b"]


@orchestration
async def reads_fifty(ctx: OrchestrationContext) -> list[str]:
    said: list[str] = []
    while len(said) < 50:
        won = await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
        if won.value is not None:
            said.append(won.value)
    return said


@upstream("cancellation_corner_cases", "q11_catch_up_batch_fifty_arrivals")
def test_fifty_messages_in_a_batch_are_fifty() -> None:
    texts = [str(number) for number in range(50)]
    assert outputs(reads_fifty, messages(*texts)) == texts
