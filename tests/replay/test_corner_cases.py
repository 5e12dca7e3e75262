"""Who gets what a wait had that was given up, when the code goes on in the same batch, ends, or continues as new?"""

from datetime import timedelta

import pytest
from msgspec import structs

from engine.model.events import (
    ActivityScheduled,
    AnyEvent,
    OrchestrationContinuedAsNew,
    QueueSubscriptionCancelled,
)
from engine.model.messages import AnyMessage, ContinueInstance
from engine.model.status import Status
from engine.model.turn import Disposition
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.turn import Held
from engine.testing import replay
from tests.replay.given import Instance, kinds
from tests.replay.test_races import outputs
from tests.upstream import upstream

SECOND = timedelta(seconds=1)


@orchestration
async def drops_an_answered_wait(ctx: OrchestrationContext) -> str:
    held = ctx.wait_event("s", str)
    await ctx.schedule_activity("work")
    held.cancel()
    await ctx.schedule_activity("work2")
    return await ctx.wait_event("s", str)


@upstream(
    "cancellation_corner_cases",
    "ms3_resolve_at_creation_discards_dropped_slots_old_value",
    differs="There is one rule, whatever an execution was begun by.",
)
def test_what_a_wait_had_got_before_it_was_given_up_is_nobodys() -> None:
    def work2_ends(instance: Instance) -> list[AnyMessage]:
        *_, asked = [event.event_id for event in instance.history if isinstance(event, ActivityScheduled)]
        return [instance.completed(asked)]

    def a_and_work_end(instance: Instance) -> list[AnyMessage]:
        return [instance.raised("s", "a"), instance.completed(3)]

    assert outputs(drops_an_answered_wait, a_and_work_end, work2_ends, lambda i: [i.raised("s", "b")]) == "b"


@orchestration
async def gives_up_a_reader_in_answer_to_a_message(ctx: OrchestrationContext) -> list[str]:
    held = ctx.dequeue("q2", str)
    first = await ctx.dequeue("q", str)
    held.cancel()
    return [first, await ctx.dequeue("q2", str)]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
@pytest.mark.parametrize("order", [["q", "q2"], ["q2", "q"]], ids="-".join)
@upstream(
    "cancellation_corner_cases",
    "ms7_quiescence_drop_is_recorded_and_policy_pinned",
    differs="There is one rule, whatever an execution was begun by.",
)
def test_a_reader_given_up_in_the_batch_that_starts_its_instance_leaves_its_message(
    order: list[str], keep: bool
) -> None:
    instance = Instance(gives_up_a_reader_in_answer_to_a_message, keep=keep)
    said = {"q": "first", "q2": "other"}
    instance.give(instance.start_message(), *(instance.enqueued(queue, said[queue]) for queue in order))
    assert instance.output == ["first", "other"]
    given_up = [event for event in instance.history if isinstance(event, QueueSubscriptionCancelled)]
    assert [event.source_event_id for event in given_up] == [2]
    replay(gives_up_a_reader_in_answer_to_a_message, instance.history, instance="i")


@orchestration
async def continues_after_a_race(ctx: OrchestrationContext) -> str:
    if ctx.execution_id == 2:
        return await ctx.wait_event("s", str)
    await ctx.select(ctx.wait_event("s", str), ctx.schedule_timer(SECOND))
    return ctx.continue_as_new()


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
@upstream(
    "cancellation_corner_cases",
    "positional_drop_before_continue_as_new_replays_for_both_policies",
    differs="The wait that lost is taken back, and the history says so; what comes behind the end is for the next.",
)
def test_an_event_behind_the_timer_that_ended_an_execution_is_sent_on_to_the_next(keep: bool) -> None:
    instance = Instance(continues_after_a_race, keep=keep)
    instance.start()
    result = instance.give(instance.fired(3), instance.raised("s", "behind"))
    assert kinds(instance.history)[3:] == [
        "TimerFired",
        "ExternalSubscriptionCancelled",
        "OrchestrationContinuedAsNew",
    ]
    assert result.dispositions == (Disposition.APPLIED, Disposition.FORWARDED)
    (behind, begin) = sorted(result.messages, key=lambda message: isinstance(message, ContinueInstance))
    assert isinstance(instance.history[-1], OrchestrationContinuedAsNew)
    replay(continues_after_a_race, instance.history, instance="i")
    instance.give(begin, behind)
    assert (instance.execution_id, instance.status, instance.output) == (2, Status.COMPLETED, "behind")


@orchestration
async def two_readers_lose_and_it_goes_on(ctx: OrchestrationContext) -> str:
    await ctx.select(ctx.dequeue("q", str), ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
    return await ctx.schedule_activity("next", output=str)


def swapped(history: list[AnyEvent]) -> list[AnyEvent]:
    """The same history with its two cancellations the other way round."""
    first, second = [place for place, event in enumerate(history) if isinstance(event, QueueSubscriptionCancelled)]
    assert second == first + 1
    one, other = history[first], history[second]
    turned = [structs.replace(other, event_id=one.event_id), structs.replace(one, event_id=other.event_id)]
    return [*history[:first], *turned, *history[second + 1 :]]


@upstream(
    "cancellation_corner_cases",
    "independent_cancellation_block_permutations_preserve_replay_and_next_turn_for_both_stamps",
    differs="One order is ever written, by event id; another is no history of this code.",
)
def test_what_was_given_up_at_once_is_recorded_in_one_order_and_read_in_no_other() -> None:
    instance = Instance(two_readers_lose_and_it_goes_on)
    instance.start()
    instance.give(instance.fired(4))
    given_up = [event for event in instance.history if isinstance(event, QueueSubscriptionCancelled)]
    assert [event.source_event_id for event in given_up] == [2, 3]
    asked = instance.history[-1].event_id
    outcomes: list[object] = []
    for history in (instance.history, swapped(instance.history)):
        again = Instance(two_readers_lose_and_it_goes_on, history=history)
        outcomes.append(again.turn(again.completed(asked, "on")))
        if again.status is Status.COMPLETED:
            assert (again.output, kinds(again.history)[-2:]) == ("on", ["ActivityCompleted", "OrchestrationCompleted"])
    assert not isinstance(outcomes[0], Held)
    assert isinstance(outcomes[1], Held)
