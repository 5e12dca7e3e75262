"""What is taken back of work that lost a race or was cancelled: exactly what is open, once, kept or replayed?"""

from datetime import timedelta

import pytest

from engine.model.events import ActivityCancelRequested, SubOrchestrationCancelRequested, TimerCancelled
from engine.model.messages import CancelInstance
from engine.model.turn import ActivityRef, TimerRef, TurnResult
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.given import Instance
from tests.upstream import upstream

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@orchestration
async def activity_or_timer(ctx: OrchestrationContext) -> int:
    won = await ctx.select(ctx.schedule_activity("work"), ctx.schedule_timer(MINUTE))
    await ctx.wait_event("go on")
    ctx.schedule_activity("extra").cancel()
    await ctx.wait_event("end")
    return won.index


@orchestration
async def child_or_timer(ctx: OrchestrationContext) -> int:
    won = await ctx.select(ctx.schedule_sub_orchestration("child"), ctx.schedule_timer(MINUTE))
    await ctx.wait_event("go on")
    await ctx.wait_event("end")
    return won.index


def takes_nothing_back(result: TurnResult) -> bool:
    """Neither of what runs nor in the history."""
    cancels = (ActivityCancelRequested, SubOrchestrationCancelRequested, TimerCancelled)
    return not (
        result.cancelled_activities
        or result.cancelled_timers
        or any(isinstance(message, CancelInstance) for message in result.messages)
        or any(isinstance(event, cancels) for event in result.history_delta)
    )


@upstream(
    "replay_engine/unobserved_futures",
    "select2_activity_wins_timer_not_cancelled",
    differs="A timer that lost is taken back like an activity, and never fires.",
)
def test_a_timer_that_lost_is_taken_back(keep: bool) -> None:
    instance = Instance(activity_or_timer, keep=keep)
    instance.start()
    result = instance.give(instance.completed(2))
    assert result.cancelled_timers == (TimerRef(1, 3),)
    assert result.cancelled_activities == ()


@upstream("replay_engine/unobserved_futures", "select3_two_activities_cancelled")
def test_all_that_lost_are_taken_back(keep: bool) -> None:
    @orchestration
    async def three(ctx: OrchestrationContext) -> int:
        won = await ctx.select(ctx.schedule_activity("a"), ctx.schedule_activity("b"), ctx.schedule_timer(MINUTE))
        await ctx.wait_event("end")
        return won.index

    instance = Instance(three, keep=keep)
    instance.start()
    result = instance.give(instance.fired(4))
    assert result.cancelled_activities == (ActivityRef("i", 1, 2), ActivityRef("i", 1, 3))
    assert takes_nothing_back(instance.give(instance.raised("end")))
    assert instance.output == 2


@upstream(
    "replay_engine/unobserved_futures",
    "sub_orch_select_loser_child_cancelled",
    "cross_turn_sub_orch_cancellation_emits_both_signals",
)
def test_a_child_that_lost_is_told_and_the_history_says_so(keep: bool) -> None:
    instance = Instance(child_or_timer, keep=keep)
    instance.start()
    result = instance.give(instance.fired(3))
    assert result.messages == (CancelInstance(instance="i::sub::2", reason="i: the code cancelled it"),)
    (told,) = [event for event in result.history_delta if isinstance(event, SubOrchestrationCancelRequested)]
    assert told.source_event_id == 2


@upstream(
    "replay_engine/unobserved_futures",
    "replay_does_not_reemit_activity_cancellation_side_channel_when_already_in_history",
    "replay_does_not_reemit_sub_orch_cancellation_side_channel_when_already_in_history",
)
@pytest.mark.parametrize("code", [activity_or_timer, child_or_timer])
def test_what_was_taken_back_once_is_not_taken_back_again(code: object, keep: bool) -> None:
    assert callable(code)
    instance = Instance(code, keep=keep)
    instance.start()
    assert not takes_nothing_back(instance.give(instance.fired(3)))
    assert takes_nothing_back(instance.give(instance.raised("other")))
    elsewhere = Instance(code, history=instance.history)
    assert elsewhere.give() == TurnResult(execution_id=1)


@upstream(
    "replay_engine/unobserved_futures",
    "replay_allows_new_cancellations_in_current_turn_even_when_prior_cancellations_exist",
)
def test_a_later_turn_takes_back_more_and_that_alone(keep: bool) -> None:
    instance = Instance(activity_or_timer, keep=keep)
    instance.start()
    assert instance.give(instance.fired(3)).cancelled_activities == (ActivityRef("i", 1, 2),)
    result = instance.give(instance.raised("go on"))
    cancels = [event.source_event_id for event in result.history_delta if isinstance(event, ActivityCancelRequested)]
    assert len(cancels) == 1
    assert cancels != [2]
    assert (result.work_items, result.cancelled_activities) == ((), ())


@upstream(
    "replay_engine/unobserved_futures", "completed_future_not_in_cancelled_list", "completed_sub_orch_not_cancelled"
)
def test_what_was_answered_is_not_taken_back_at_the_end(keep: bool) -> None:
    @orchestration
    async def both(ctx: OrchestrationContext) -> None:
        await ctx.join(ctx.schedule_activity("work"), ctx.schedule_sub_orchestration("child"))

    instance = Instance(both, keep=keep)
    instance.start()
    instance.give(instance.completed(2))
    assert takes_nothing_back(instance.give(instance.child_completed(3)))


@upstream(
    "cancellation_tests",
    "explicit_drop_activity_triggers_cancellation",
    differs="The future's cancel() takes the activity back; losing the last reference does nothing.",
)
def test_a_future_that_is_cancelled_while_others_wait_is_taken_back_in_that_turn(keep: bool) -> None:
    @orchestration
    async def changes_its_mind(ctx: OrchestrationContext) -> None:
        work = ctx.schedule_activity("work")
        await ctx.wait_event("go on")
        work.cancel()
        await ctx.schedule_timer(MINUTE)

    instance = Instance(changes_its_mind, keep=keep)
    instance.start()
    assert instance.give(instance.raised("go on")).cancelled_activities == (ActivityRef("i", 1, 2),)
