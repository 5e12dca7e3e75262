"""Is each call of the context one event that says what was asked for, and one piece of work that names the event?"""

from datetime import timedelta

import pytest

from engine.model.events import OrchestrationChained
from engine.model.ids import ParentLink
from engine.model.messages import ContinueInstance, FireTimer, StartOrchestration
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.calls import CALLS, MINUTE, Call, asks
from tests.replay.given import LIFE, NOW_MS, Instance, kinds, payload
from tests.upstream import upstream


def asked(call: Call) -> TurnResult:
    return Instance(asks(call)).start()


@pytest.mark.parametrize("kind", CALLS)
@upstream(
    "replay_engine/action_to_event",
    "schedule_activity_creates_activity_scheduled_event",
    "schedule_activity_on_session_creates_activity_scheduled_event_with_session_id",
    "schedule_timer_creates_timer_created_event",
    "schedule_wait_creates_external_subscribed_event",
    "schedule_sub_orchestration_creates_sub_orchestration_scheduled_event",
    "schedule_orchestration_creates_orchestration_chained_event",
    "with_tag_sets_tag_on_emitted_event",
    "no_with_tag_leaves_none",
)
@upstream("replay_engine/fresh_execution", "schedule_external_pending")
@upstream("replay_engine/edge_cases", "empty_activity_input")
@upstream("replay_engine/sub_orchestration", "auto_instance_id", "explicit_instance_preserved")
def test_a_call_is_one_event_with_what_it_was_given(kind: str) -> None:
    call, event = CALLS[kind]
    started, found, waits = asked(call).history_delta
    assert found == event
    assert kinds([started, waits]) == ["OrchestrationStarted", "ExternalSubscribed"]


@upstream("replay_engine/fresh_execution", "schedule_activity_pending")
@upstream("replay_engine/event_allocation", "pending_actions_have_correct_event_id")
def test_an_activity_is_handed_out_under_the_id_of_its_event() -> None:
    result = asked(lambda ctx: ctx.schedule_activity("work", "in", tag="gpu"))
    (item,) = result.work_items
    assert (item.activity_id, item.name, item.input, item.tag) == (2, "work", payload("in"), "gpu")
    assert (item.instance, item.execution_id, item.incarnation) == ("i", 1, LIFE)
    assert result.messages == ()


@pytest.mark.parametrize("delay", [MINUTE, timedelta(0)])
@upstream("replay_engine/fresh_execution", "schedule_timer_pending")
@upstream("replay_engine/edge_cases", "zero_delay_timer")
def test_a_timer_is_a_message_to_oneself_for_later(delay: timedelta) -> None:
    result = asked(lambda ctx: ctx.schedule_timer(delay))
    fire_at_ms = NOW_MS + int(delay.total_seconds() * 1000)
    assert result.messages == (
        FireTimer(instance="i", incarnation=LIFE, execution_id=1, timer_id=2, fire_at_ms=fire_at_ms),
    )
    assert result.work_items == ()


@upstream("replay_engine/fresh_execution", "schedule_sub_orch_pending")
def test_a_child_is_a_start_with_a_link_back_and_a_detached_one_has_none() -> None:
    child = asked(lambda ctx: ctx.schedule_sub_orchestration("child", "in"))
    assert child.messages == (
        StartOrchestration(instance="i::sub::2", name="child", input=payload("in"), parent=ParentLink("i", LIFE, 1, 2)),
    )
    detached = asked(lambda ctx: ctx.start_detached("child", "in", instance="other"))
    assert detached.messages == (StartOrchestration(instance="other", name="child", input=payload("in")),)


@upstream("replay_engine/action_to_event", "multiple_action_types_create_corresponding_events")
@upstream("replay_engine/event_allocation", "sequential_allocation")
def test_calls_of_several_kinds_are_events_in_the_order_of_the_calls() -> None:
    @orchestration
    async def all_kinds(ctx: OrchestrationContext) -> None:
        for call, _ in CALLS.values():
            call(ctx)
        await ctx.wait_event("never")

    delta = Instance(all_kinds).start().history_delta
    assert kinds(delta[1:-1]) == [type(event).__name__ for _, event in CALLS.values()]
    assert [event.event_id for event in delta] == list(range(1, len(CALLS) + 3))


@upstream(
    "replay_engine/fresh_execution",
    "multiple_schedules_no_await",
    differs="What is taken back in the turn that asked for it is not handed out at all.",
)
@upstream("replay_engine/unobserved_futures", "multiple_dropped_activities_all_cancelled")
def test_what_is_asked_for_and_not_awaited_is_recorded_and_taken_back_at_the_end() -> None:
    @orchestration
    async def does_not_wait(ctx: OrchestrationContext) -> str:
        for name in "abc":
            ctx.schedule_activity(name)
        return "done"

    result = Instance(does_not_wait).start()
    asked_for = ["ActivityScheduled"] * 3
    taken_back = ["ActivityCancelRequested"] * 3
    assert kinds(result.history_delta)[1:] == [*asked_for, *taken_back, "OrchestrationCompleted"]
    assert [event.event_id for event in result.history_delta] == list(range(1, 9))
    assert (result.work_items, result.cancelled_activities) == ((), ())
    assert result.metadata.status is Status.COMPLETED


@upstream(
    "replay_engine/fresh_execution",
    "sub_orch_then_continue_as_new",
    differs="A child asked for in the last step of an execution is taken back and never starts.",
)
@upstream(
    "cancellation_corner_cases",
    "continue_as_new_writes_no_drop_cancellations_or_child_side_effects",
    differs="What is open when an execution continues as new is taken back, and the history says so.",
)
def test_a_child_asked_for_in_the_step_that_continues_as_new_never_starts() -> None:
    @orchestration
    async def goes_on(ctx: OrchestrationContext) -> None:
        ctx.schedule_sub_orchestration("child", "in")
        return ctx.continue_as_new()

    result = Instance(goes_on).start()
    assert kinds(result.history_delta) == [
        "OrchestrationStarted",
        "SubOrchestrationScheduled",
        "SubOrchestrationCancelRequested",
        "OrchestrationContinuedAsNew",
    ]
    assert [type(message) for message in result.messages] == [ContinueInstance]


@upstream("replay_engine/sub_orchestration", "multiple_sub_orchs_unique_ids")
def test_two_children_have_ids_of_their_own() -> None:
    @orchestration
    async def two_children(ctx: OrchestrationContext) -> None:
        await ctx.join(ctx.schedule_sub_orchestration("child", "in"), ctx.schedule_sub_orchestration("child", "in"))

    started = Instance(two_children).start().messages
    assert [message.instance for message in started] == ["i::sub::2", "i::sub::3"]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
@upstream("replay_engine/action_to_event", "detached_orchestration_then_activity_replays_correctly")
def test_an_activity_behind_a_detached_start_is_answered(keep: bool) -> None:
    @orchestration
    async def detaches(ctx: OrchestrationContext) -> str:
        ctx.start_detached("other", instance="other")
        return await ctx.schedule_activity("work", output=str)

    instance = Instance(detaches, keep=keep)
    instance.start()
    result = instance.give(instance.completed(3, "done"))
    assert instance.output == "done"
    assert result.messages == ()


@pytest.mark.parametrize("kind", CALLS)
@upstream(
    "replay_engine/partial_completion",
    "activity_scheduled_no_completion",
    "timer_created_no_fire",
    "external_subscribed_no_event",
    "sub_orch_scheduled_no_completion",
)
def test_what_is_recorded_is_not_asked_for_again(kind: str) -> None:
    code = asks(CALLS[kind][0])
    first = Instance(code)
    first.start()
    again = Instance(code, history=first.history)
    assert again.give() == TurnResult(execution_id=1)
    assert again.live is not None
    assert [event.event_id for event in again.live.ledger.open.values()] == [
        event.event_id for event in first.history[1:] if not isinstance(event, OrchestrationChained)
    ]
