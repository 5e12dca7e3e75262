"""What happens when somebody stops waiting: a caller who cancels the instance, or code that cancels its own work?"""

import asyncio
from datetime import timedelta

import pytest

from engine.errors import SubOrchestrationError
from engine.model.events import OrchestrationCancelled, OrchestrationFailed
from engine.model.failure import Category
from engine.model.ids import ParentLink
from engine.model.messages import CancelInstance, FailSubOrchestration
from engine.model.status import Status
from engine.model.turn import ActivityRef, Disposition, TimerRef
from engine.registry import orchestration
from engine.replay.bounds import TurnOptions
from engine.replay.context import OrchestrationContext
from tests.replay.given import LIFE, Instance, kinds, payload
from tests.upstream import upstream


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@orchestration
async def lets_it_through(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("work")


@orchestration
async def compensates(ctx: OrchestrationContext) -> str:
    try:
        await ctx.schedule_activity("reserve")
        await ctx.wait_event("paid")
    finally:
        await ctx.schedule_activity("release")
    return "paid"


@orchestration
async def keeps_its_result(ctx: OrchestrationContext) -> str:
    try:
        await ctx.wait_event("paid")
    except asyncio.CancelledError:
        return "partly done"
    return "done"


@upstream("replay_engine/cancellation", "cancel_via_message", "cancel_with_pending_activity")
def test_a_cancel_that_is_let_through_ends_the_instance_and_takes_its_work_back(keep: bool) -> None:
    instance = Instance(lets_it_through, keep=keep)
    instance.start(parent=ParentLink("p", 5, 1, 9))
    result = instance.give(instance.cancelled("too late"))
    assert kinds(result.history_delta) == [
        "OrchestrationCancelRequested",
        "ActivityCancelRequested",
        "OrchestrationCancelled",
    ]
    end = result.history_delta[-1]
    assert isinstance(end, OrchestrationCancelled)
    assert end.reason == "too late"
    assert result.metadata.status is Status.CANCELLED
    assert [ref.activity_id for ref in result.cancelled_activities] == [2]
    (told,) = result.messages
    assert isinstance(told, FailSubOrchestration)
    assert (told.instance, told.incarnation, told.event_id) == ("p", 5, 9)
    assert (told.failure.category, told.failure.message) == (Category.CANCELLED, "too late")


@upstream(
    "replay_engine/cancellation",
    "cancel_in_history",
    differs="The code sees the cancel and may do work before it ends; then it ends as cancelled.",
)
def test_compensation_runs_and_may_call_activities(keep: bool) -> None:
    instance = Instance(compensates, keep=keep)
    instance.start()
    instance.give(instance.completed(2))
    result = instance.give(instance.cancelled())
    assert [item.name for item in result.work_items] == ["release"]
    assert result.metadata.status is None
    result = instance.give(instance.completed(result.work_items[0].activity_id))
    assert result.metadata.status is Status.CANCELLED


def test_code_that_catches_the_cancel_keeps_its_result(keep: bool) -> None:
    instance = Instance(keeps_its_result, keep=keep)
    instance.start()
    result = instance.give(instance.cancelled())
    assert result.metadata.status is Status.COMPLETED
    assert result.metadata.output == payload("partly done")


@upstream("replay_engine/cancellation", "cancel_duplicate_filtered")
def test_cancel_reaches_the_code_once(keep: bool) -> None:
    instance = Instance(compensates, keep=keep)
    instance.start()
    first = instance.give(instance.cancelled())
    second = instance.give(instance.cancelled("again"))
    assert first.dispositions == (Disposition.APPLIED,)
    assert second.dispositions == (Disposition.DUPLICATE,)
    assert second.history_delta == ()


def test_a_cancel_meant_for_another_life_is_dropped() -> None:
    instance = Instance(lets_it_through)
    instance.start()
    result = instance.give(instance.cancelled(incarnation=LIFE + 1))
    assert result.dispositions == (Disposition.OTHER_INCARNATION,)


def test_a_cancel_in_the_batch_of_the_start_is_seen_by_code_that_runs() -> None:
    instance = Instance(keeps_its_result)
    instance.give(instance.cancelled(), instance.start_message())
    assert instance.output == "partly done"


def test_a_completion_before_the_cancel_in_one_batch_counts(keep: bool) -> None:
    instance = Instance(lets_it_through, keep=keep)
    instance.start()
    result = instance.give(instance.completed(2), instance.cancelled())
    assert result.metadata.status is Status.COMPLETED
    assert result.dispositions == (Disposition.APPLIED, Disposition.STALE)


def test_what_is_still_open_at_the_end_is_taken_back(keep: bool) -> None:
    @orchestration
    async def leaves_everything(ctx: OrchestrationContext) -> str:
        ctx.schedule_activity("a")
        ctx.schedule_timer(timedelta(days=1))
        ctx.wait_event("e")
        ctx.dequeue("q")
        ctx.schedule_sub_orchestration("child", instance="c")
        await ctx.wait_event("go")
        return "left"

    instance = Instance(leaves_everything, keep=keep)
    instance.start()
    result = instance.give(instance.raised("go"))
    assert kinds(result.history_delta) == [
        "ExternalEventReceived",
        "ActivityCancelRequested",
        "TimerCancelled",
        "ExternalSubscriptionCancelled",
        "QueueSubscriptionCancelled",
        "SubOrchestrationCancelRequested",
        "OrchestrationCompleted",
    ]
    assert [ref.activity_id for ref in result.cancelled_activities] == [2]
    assert result.cancelled_timers == (TimerRef(1, 3),)
    assert result.messages == (CancelInstance(instance="c", reason="i: the orchestration ended"),)


@upstream(
    "replay_engine/unobserved_futures",
    "explicit_drop_activity_gets_cancelled",
    "explicit_drop_timer_no_cancel_needed",
    "explicit_drop_external_wait",
    "sub_orch_drop_after_schedule_cancelled",
    differs="A future is taken back by its cancel(); so is a timer, which then never fires.",
)
def test_work_asked_for_and_taken_back_in_one_turn_is_never_handed_out() -> None:
    @orchestration
    async def changes_its_mind(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("a").cancel()
        ctx.schedule_timer(timedelta(days=1)).cancel()
        ctx.schedule_sub_orchestration("child").cancel()
        await ctx.wait_event("never")

    result = Instance(changes_its_mind).start()
    assert (result.work_items, result.messages) == ((), ())
    assert (result.cancelled_activities, result.cancelled_timers) == ((), ())
    assert kinds(result.history_delta)[1:7] == [
        "ActivityScheduled", "ActivityCancelRequested",
        "TimerCreated", "TimerCancelled",
        "SubOrchestrationScheduled", "SubOrchestrationCancelRequested",
    ]  # fmt: skip


@upstream(
    "replay_engine/unobserved_futures",
    "select2_timer_wins_activity_cancelled",
    "replay_select_loser_same_cancellation",
    "cross_turn_activity_cancellation_emits_both_signals",
)
@upstream(
    "replay_engine/unobserved_futures",
    "replay_tolerates_completion_after_cancel_request",
    differs="The late answer is dropped as stale and never becomes an event.",
)
def test_the_losers_of_a_select_are_cancelled_and_a_late_answer_is_stale(keep: bool) -> None:
    @orchestration
    async def races(ctx: OrchestrationContext) -> int:
        won = await ctx.select(ctx.schedule_activity("slow"), ctx.schedule_timer(timedelta(seconds=5)))
        await ctx.wait_event("go")
        return won.index

    instance = Instance(races, keep=keep)
    instance.start()
    result = instance.give(instance.fired(3))
    assert [ref.activity_id for ref in result.cancelled_activities] == [2]
    late = instance.give(instance.completed(2))
    assert (late.dispositions, late.history_delta) == ((Disposition.STALE,), ())
    instance.give(instance.raised("go"))
    assert instance.output == 1


@upstream(
    "replay_engine/unobserved_futures",
    "explicit_drop_then_await_captures_cancellation",
    differs="Losing the last reference does nothing, for when garbage is collected is not deterministic.",
)
@upstream(
    "cancellation_tests",
    "activity_out_of_scope_triggers_cancellation",
    differs="Losing the last reference does nothing, for when garbage is collected is not deterministic.",
)
def test_losing_the_last_reference_cancels_nothing(keep: bool) -> None:
    @orchestration
    async def forgets(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("a")
        await ctx.wait_event("go")
        await ctx.wait_event("end")

    instance = Instance(forgets, keep=keep)
    instance.start()
    assert instance.give(instance.raised("go")).cancelled_activities == ()
    answered = instance.give(instance.completed(2))
    assert answered.dispositions == (Disposition.APPLIED,)


def test_a_timeout_that_was_not_needed_leaves_no_timer_behind(keep: bool) -> None:
    @orchestration
    async def in_time(ctx: OrchestrationContext) -> None:
        async with asyncio.timeout(86_400):
            await ctx.schedule_activity("a")
        await ctx.wait_event("never")

    instance = Instance(in_time, keep=keep)
    result = instance.start()
    timer, activity = instance.history[1].event_id, result.work_items[0].activity_id
    result = instance.give(instance.completed(activity))
    assert result.cancelled_timers == (TimerRef(1, timer),)


def test_a_timeout_cancels_the_work_inside(keep: bool) -> None:
    @orchestration
    async def too_slow(ctx: OrchestrationContext) -> str:
        try:
            async with asyncio.timeout(10):
                await ctx.schedule_activity("a")
        except TimeoutError:
            return "gave up"
        return "had it"

    instance = Instance(too_slow, keep=keep)
    instance.start()
    result = instance.give(instance.fired(2))
    assert [ref.activity_id for ref in result.cancelled_activities] == [3]
    assert instance.output == "gave up"


def test_cancelling_a_child_tells_it_and_its_future_is_cancelled(keep: bool) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        child = ctx.schedule_sub_orchestration("child")
        await ctx.wait_event("go")
        child.cancel()
        try:
            await child
        except asyncio.CancelledError:
            return "cancelled"
        except SubOrchestrationError:
            return "failed"
        return "completed"

    instance = Instance(parent, keep=keep)
    instance.start()
    result = instance.give(instance.raised("go"))
    assert result.messages == (CancelInstance(instance="i::sub::2", reason="i: the code cancelled it"),)
    assert instance.output == "cancelled"


def test_a_cancelled_error_of_its_own_making_is_a_failure() -> None:
    @orchestration
    async def cancels_itself(ctx: OrchestrationContext) -> None:
        work = ctx.schedule_activity("a")
        work.cancel()
        await work

    result = Instance(cancels_itself).start()
    assert result.metadata.status is Status.FAILED
    assert result.metadata.failure is not None
    assert result.metadata.failure.type == "CancelledError"


@pytest.mark.parametrize("cancel_first", [True, False], ids=["cancel first", "start first"])
@upstream(
    "replay_engine/cancellation",
    "cancel_precedence_over_completion",
    differs="Code that ends before it looks at the cancel keeps its result, and the cancel is too late.",
)
def test_code_that_waits_for_nothing_has_ended_before_a_cancel_of_the_same_batch(cancel_first: bool) -> None:
    @orchestration
    async def ends_at_once(ctx: OrchestrationContext) -> str:
        return "done"

    instance = Instance(ends_at_once)
    messages = [instance.cancelled(), instance.start_message()]
    result = instance.give(*(messages if cancel_first else reversed(messages)))
    assert set(result.dispositions) == {Disposition.APPLIED, Disposition.STALE}
    assert result.metadata.status is Status.COMPLETED
    assert instance.output == "done"


@orchestration
async def works_in_sessions(ctx: OrchestrationContext) -> None:
    first = ctx.schedule_activity("work", session_id="s1", tag="gpu")
    ctx.schedule_activity("work", tag="gpu")
    ctx.schedule_activity("work", session_id="s2")
    await ctx.wait_event("enough")
    first.cancel()
    await ctx.wait_event("more")
    ctx.set_custom_status("too long")


def test_what_is_taken_back_says_in_which_session_it_was_asked_for(keep: bool) -> None:
    """By the code, at the end, and by the engine; a tag is of use with a session alone."""
    instance = Instance(works_in_sessions, keep=keep)
    instance.start()
    by_code = instance.give(instance.raised("enough"))
    assert by_code.cancelled_activities == (ActivityRef("i", 1, 2, "s1", "gpu"),)
    at_the_end = instance.give(instance.cancelled("too late"))
    refs = [(ref.activity_id, ref.session_id) for ref in at_the_end.cancelled_activities]
    assert refs == [(3, None), (4, "s2")]


def test_so_does_what_the_engine_takes_back_that_ends_an_execution(keep: bool) -> None:
    instance = Instance(works_in_sessions, keep=keep, options=TurnOptions(custom_status_bytes_max=3))
    instance.start()
    instance.give(instance.raised("enough"))
    by_engine = instance.give(instance.raised("more"))
    assert isinstance(by_engine.history_delta[-1], OrchestrationFailed)
    refs = [(ref.activity_id, ref.session_id) for ref in by_engine.cancelled_activities]
    assert refs == [(3, None), (4, "s2")]
