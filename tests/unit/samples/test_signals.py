"""Do external events go to who waits, and queue messages to who reads, however they come?"""

from datetime import timedelta

import msgspec
import pytest

from engine import OrchestrationContext, activity, orchestration
from engine.model.events import (
    ExternalSubscriptionCancelled,
    QueueMessageReceived,
    QueueSubscriptionCancelled,
)
from engine.testing import Scripted, enqueue, raise_event, run
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.upstream import upstream

SECOND = timedelta(seconds=1)


@activity
async def echo(text: str) -> str:
    return text


@orchestration
async def waits_late(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(SECOND)
    won = await ctx.select(ctx.wait_event("e", str), ctx.schedule_timer(SECOND))
    return won.value or "timed out"


@pytest.mark.parametrize(("at", "said"), [(0, "timed out"), (1.5, "heard")])
@upstream("cancellation_tests", "positional_arrival_before_sub_outstanding")
@upstream("errors_tests", "event_before_subscription_after_start_is_ignored")
def test_an_event_before_its_wait_is_lost(at: float, said: str) -> None:
    outcome = run(waits_late, script=[raise_event("e", "heard", at=at * SECOND)])
    assert outcome.output == said
    lost = [event for event in outcome.history if isinstance(event, ExternalSubscriptionCancelled)]
    assert len(lost) == (said == "timed out")


@orchestration
async def waits_twice(ctx: OrchestrationContext) -> list[str]:
    return [await ctx.wait_event("e", str), await ctx.wait_event("e", str)]


@pytest.mark.parametrize("data", [("first", "second"), ("same", "same")])
@upstream(
    "cancellation_tests", "positional_matching_fifo_without_cancellation", "duplicate_external_events_not_deduplicated"
)
@upstream("cancellation_corner_cases", "s5_two_signal_arrivals_match_active_waits_consistently")
def test_each_event_serves_one_wait_in_order(data: tuple[str, str]) -> None:
    script = [raise_event("e", one, at=at * SECOND) for at, one in enumerate(data)]
    assert run(waits_twice, script=script).output == list(data)


@orchestration
async def waits_again(ctx: OrchestrationContext, rounds: int) -> str:
    for _ in range(rounds):
        won = await ctx.select(ctx.wait_event("s", str), ctx.schedule_timer(SECOND))
        assert won.index == 1
    return await ctx.wait_event("s", str)


@upstream("cancellation_tests", "cancelled_subscription_does_not_steal_future_event")
def test_a_wait_that_lost_takes_no_event_from_a_later_one() -> None:
    assert run(waits_again, 2, script=[raise_event("s", "got", at=5 * SECOND)]).output == "got"


# Queues.


@orchestration
async def reads(ctx: OrchestrationContext, after_seconds: float) -> list[str]:
    await ctx.schedule_timer(after_seconds * SECOND)
    return [await ctx.dequeue("q", str), await ctx.dequeue("q", str)]


@pytest.mark.parametrize("after", [0, 5], ids=["reader first", "messages first"])
@upstream(
    "queue_event_tests",
    "persistent_event_basic_delivery",
    "persistent_event_arrives_before_subscription",
    "persistent_event_fifo_ordering",
)
def test_messages_are_read_in_order_whoever_comes_first(after: int) -> None:
    script = [enqueue("q", "first", at=SECOND), enqueue("q", "second", at=2 * SECOND)]
    assert run(reads, after, script=script).output == ["first", "second"]


@orchestration
async def reads_again(ctx: OrchestrationContext, rounds: int) -> str:
    for _ in range(rounds):
        won = await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
        assert won.index == 1
    return await ctx.dequeue("q", str)


@pytest.mark.parametrize("rounds", [1, 2])
@upstream(
    "queue_event_tests",
    "persistent_cancelled_subscription_emits_breadcrumb",
    "persistent_multiple_cancelled_subscriptions_only_active_receives",
)
@upstream(
    "queue_event_tests",
    "persistent_event_survives_select_cancellation_same_batch",
    "persistent_event_survives_select_cancellation_late_extra_discarded",
    differs="What arrives behind the end of the code is recorded nowhere, whether in the same batch or later.",
)
def test_readers_that_lost_leave_the_message_to_the_one_that_waits(rounds: int) -> None:
    script = [enqueue("q", text, at=5 * SECOND) for text in ("survived", "extra")]
    outcome = run(reads_again, rounds, script=script)
    assert outcome.output == "survived"
    lost = [event for event in outcome.history if isinstance(event, QueueSubscriptionCancelled)]
    arrived = [event for event in outcome.history if isinstance(event, QueueMessageReceived)]
    assert (len(lost), len(arrived)) == (rounds, 1)


@orchestration
async def leaves_a_reader(ctx: OrchestrationContext) -> str:
    ctx.dequeue("q")
    await ctx.schedule_timer(SECOND)
    return "done"


@upstream("queue_event_tests", "persistent_outstanding_subscription_cancelled_on_completion")
def test_a_reader_that_is_left_is_cancelled_at_the_end() -> None:
    outcome = run(leaves_a_reader)
    assert outcome.output == "done"
    assert isinstance(outcome.history[-2], QueueSubscriptionCancelled)


@orchestration
async def waits_and_reads(ctx: OrchestrationContext) -> list[str]:
    return list(await ctx.join(ctx.wait_event("same", str), ctx.dequeue("same", str)))


@orchestration
async def races_then_joins(ctx: OrchestrationContext) -> list[str]:
    won = await ctx.select(ctx.wait_event("race", str), ctx.dequeue("race", str))
    return [won.value, *await ctx.join(ctx.wait_event("join", str), ctx.dequeue("join", str))]


@upstream(
    "queue_event_tests", "persistent_and_positional_are_independent", "select_then_join_persistent_and_positional"
)
def test_an_event_and_a_message_of_one_name_do_not_meet() -> None:
    both: list[Scripted] = [raise_event("same", "event"), enqueue("same", "message")]
    assert run(waits_and_reads, script=both).output == ["event", "message"]
    assert run(waits_and_reads, script=both[::-1]).output == ["event", "message"]
    later: list[Scripted] = [raise_event("join", "left", at=SECOND), enqueue("join", "right", at=SECOND)]
    outcome = run(races_then_joins, script=[enqueue("race", "fast"), *later])
    assert outcome.output == ["fast", "left", "right"]
    assert len([event for event in outcome.history if isinstance(event, ExternalSubscriptionCancelled)]) == 1
    assert not any(isinstance(event, QueueSubscriptionCancelled) for event in outcome.history)


@orchestration
async def does_it_all(ctx: OrchestrationContext) -> list[str | None]:
    said: list[str | None] = [await ctx.wait_event("first", str), await ctx.schedule_activity(echo, "one")]
    said += [await ctx.dequeue("a", str), await ctx.schedule_activity(echo, "two")]
    said.append((await ctx.select(ctx.wait_event("doomed", str), ctx.schedule_timer(SECOND))).value)
    said += [await ctx.dequeue("b", str), await ctx.schedule_activity(echo, "three"), await ctx.dequeue("c", str)]
    return said


@upstream("queue_event_tests", "complex_multi_turn_persistent_and_positional_with_activities")
def test_events_messages_and_activities_take_turns() -> None:
    script = [
        raise_event("first", "alpha", at=SECOND),
        enqueue("a", "beta", at=2 * SECOND),
        enqueue("b", "gamma", at=4 * SECOND),
        enqueue("c", "delta", at=4 * SECOND),
    ]
    outcome = run(does_it_all, activities=[echo], script=script)
    assert outcome.output == ["alpha", "one", "beta", "two", None, "gamma", "three", "delta"]
    assert not any(isinstance(event, QueueSubscriptionCancelled) for event in outcome.history)


class Command(msgspec.Struct):
    action: str
    value: int


@orchestration
async def takes_commands(ctx: OrchestrationContext) -> list[Command]:
    return [await ctx.wait_event("c", Command), await ctx.dequeue("c", Command)]


@upstream("queue_event_tests", "raise_event_typed_round_trip", "enqueue_event_typed_round_trip")
def test_events_and_messages_of_ones_own_types() -> None:
    script = [raise_event("c", Command("add", 1)), enqueue("c", Command("take", 2))]
    assert run(takes_commands, script=script).output == [Command("add", 1), Command("take", 2)]


@orchestration
async def reads_three_queues(ctx: OrchestrationContext) -> list[str]:
    said = [await ctx.dequeue("orders", str), await ctx.dequeue("orders", str)]
    await ctx.schedule_activity(echo, "in between")
    said += [await ctx.dequeue("payments", str), await ctx.dequeue("payments", str)]
    return [*said, await ctx.dequeue("notes", str)]


@pytest.mark.parametrize("late", [0, 5])
@upstream("queue_event_tests", "multi_queue_isolation_and_independent_fifo", "multi_queue_staggered_delivery")
def test_each_queue_keeps_its_own_order(late: int) -> None:
    at = late * SECOND
    script = [
        enqueue("payments", "p1"),
        enqueue("orders", "o1"),
        enqueue("notes", "n1"),
        enqueue("orders", "o2", at=at),
        enqueue("payments", "p2", at=at),
    ]
    assert run(reads_three_queues, activities=[echo], script=script).output == ["o1", "o2", "p1", "p2", "n1"]


@orchestration
async def reads_in_time(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
    return won.value or "timed out"


@pytest.mark.anyio
@upstream("queue_event_tests", "events_enqueued_before_start_orchestration_are_dropped")
async def test_a_message_for_nobody_is_dropped() -> None:
    bench = Bench()
    async with bench.engine(orchestrations=[reads_in_time]):
        await bench.client.enqueue_message("late", "q", "too early")
        await cycles()
        handle = await bench.client.start(reads_in_time, instance="late")
        assert await ends(bench.clock, handle.wait()) == "timed out"
