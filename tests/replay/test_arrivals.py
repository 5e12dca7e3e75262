"""What becomes of a message for a running execution: an event, once, if somebody asked for it, and else nothing?"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engine.errors import ActivityError, SubOrchestrationError
from engine.model.events import (
    ActivityCompleted,
    ActivityFailed,
    AnyEvent,
    ExternalEventReceived,
    QueueMessageReceived,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    TimerFired,
)
from engine.model.failure import Category, Failure
from engine.model.messages import (
    AnyMessage,
    CompleteActivity,
    CompleteSubOrchestration,
    FailActivity,
    FailSubOrchestration,
    FireTimer,
)
from engine.model.status import Status
from engine.model.turn import Disposition
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.calls import CALLS, MINUTE, Call, asks
from tests.replay.given import LIFE, NOW_MS, Instance, boom, kinds, payload
from tests.upstream import upstream

TO: dict[str, Any] = {"instance": "i", "incarnation": LIFE, "execution_id": 1}
ARRIVED: dict[str, Any] = {"event_id": 4, "timestamp_ms": NOW_MS}


def complete(source: int) -> CompleteActivity:
    return CompleteActivity(**TO, activity_id=source, result=payload("out"))


def fail(source: int) -> FailActivity:
    return FailActivity(**TO, activity_id=source, failure=boom())


def fire(source: int) -> FireTimer:
    return FireTimer(**TO, timer_id=source, fire_at_ms=NOW_MS)


def complete_child(source: int) -> CompleteSubOrchestration:
    return CompleteSubOrchestration(**TO, event_id=source, result=payload("out"))


def fail_child(source: int) -> FailSubOrchestration:
    return FailSubOrchestration(**TO, event_id=source, failure=boom())


Answer = Callable[[int], AnyMessage]

# Each answer, what it answers, and the event it becomes.
ANSWERS: dict[Answer, tuple[str, AnyEvent]] = {
    complete: ("activity", ActivityCompleted(**ARRIVED, source_event_id=2, result=payload("out"))),
    fail: ("activity", ActivityFailed(**ARRIVED, source_event_id=2, failure=boom())),
    fire: ("timer", TimerFired(**ARRIVED, source_event_id=2)),
    complete_child: ("child", SubOrchestrationCompleted(**ARRIVED, source_event_id=2, result=payload("out"))),
    fail_child: ("child", SubOrchestrationFailed(**ARRIVED, source_event_id=2, failure=boom())),
}

of_another_kind = pytest.mark.parametrize(
    ("asked", "answer"),
    [(asked, answer) for asked in ("activity", "timer", "child") for answer, (of, _) in ANSWERS.items() if of != asked],
)


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def waits(asked: str, *, keep: bool) -> Instance:
    """An instance that asked for this, as event 2, and waits for something else, event 3."""
    instance = Instance(asks(CALLS[asked][0]), keep=keep)
    instance.start()
    return instance


@pytest.mark.parametrize("answer", ANSWERS)
@upstream(
    "replay_engine/completion_messages",
    "activity_completed_message",
    "timer_fired_message",
    "sub_orch_completed_message",
)
@upstream("replay_engine/edge_cases", "made_progress_after_completion", "final_history_combines_baseline_and_delta")
def test_an_answer_becomes_the_next_event_of_the_history(answer: Answer, keep: bool) -> None:
    asked, event = ANSWERS[answer]
    instance = waits(asked, keep=keep)
    before = list(instance.history)
    assert instance.give().history_delta == ()
    result = instance.give(answer(2))
    assert result.dispositions == (Disposition.APPLIED,)
    assert result.history_delta == (event,)
    assert instance.history == [*before, event]


@upstream("replay_engine/completion_messages", "external_raised_message")
def test_events_and_queue_messages_become_events_too(keep: bool) -> None:
    instance = waits("external event", keep=keep)
    result = instance.give(instance.raised("approval", "yes"), instance.enqueued("orders", 1, "m1"))
    assert result.history_delta == (
        ExternalEventReceived(event_id=4, timestamp_ms=NOW_MS, name="approval", data=payload("yes")),
        QueueMessageReceived(event_id=5, timestamp_ms=NOW_MS, name="orders", data=payload(1), message_id="m1"),
    )


@pytest.mark.parametrize("answer", ANSWERS)
@upstream("replay_engine/completion_messages", "duplicate_completion_filtered", "duplicate_in_same_batch")
@upstream("replay_engine/history_corruption", "multiple_completions_same_source_in_history")
@upstream(
    "reliability_tests",
    "activity_duplicate_completion_workitems_dedup",
    "timer_duplicate_workitems_dedup",
    "crash_after_append_before_ack_timer",
)
def test_the_first_answer_counts_and_a_second_is_a_duplicate(answer: Answer, keep: bool) -> None:
    asked, event = ANSWERS[answer]
    instance = waits(asked, keep=keep)
    result = instance.give(answer(2), answer(2))
    assert result.dispositions == (Disposition.APPLIED, Disposition.DUPLICATE)
    assert result.history_delta == (event,)
    for again, (answers, _) in ANSWERS.items():
        result = instance.give(again(2))
        assert result.dispositions == (Disposition.DUPLICATE,), answers
        assert result.history_delta == ()


@pytest.mark.parametrize("answer", ANSWERS)
@upstream("replay_engine/completion_messages", "wrong_execution_filtered")
@upstream("replay_engine/history_corruption", "completion_for_different_execution", "completion_wrong_execution")
@upstream("continue_as_new_tests", "future_execution_completions_are_ignored")
@upstream("nondeterminism_tests", "execution_id_filtering_without_continue_as_new_triggers_nondeterminism")
def test_an_answer_for_another_execution_or_another_life_is_dropped(answer: Answer, keep: bool) -> None:
    instance = waits(ANSWERS[answer][0], keep=keep)
    message: Any = answer(2)
    other_execution = msgspec.structs.replace(message, execution_id=999)
    other_life = msgspec.structs.replace(message, incarnation=LIFE + 1)
    result = instance.give(other_execution, other_life)
    assert result.dispositions == (Disposition.STALE, Disposition.OTHER_INCARNATION)
    assert result.history_delta == ()
    assert instance.give(answer(2)).dispositions == (Disposition.APPLIED,)


@upstream("replay_engine/completion_messages", "multiple_completions_batch")
def test_all_answers_of_a_batch_are_recorded_in_their_order(keep: bool) -> None:
    @orchestration
    async def two(ctx: OrchestrationContext) -> list[str]:
        first, second = ctx.schedule_activity("a", output=str), ctx.schedule_activity("b", output=str)
        return [await first, await second]

    instance = Instance(two, keep=keep)
    instance.start()
    result = instance.give(instance.completed(3, "b"), instance.completed(2, "a"))
    assert [getattr(event, "source_event_id", None) for event in result.history_delta] == [3, 2, None]
    assert instance.output == ["a", "b"]


@upstream(
    "replay_engine/completion_messages",
    "duplicate_external_events_in_batch_are_kept",
    "duplicate_external_event_in_history_is_kept",
)
@upstream("reliability_tests", "external_duplicate_workitems_dedup", "crash_after_dequeue_before_append_completion")
def test_equal_events_are_as_many_as_arrived(keep: bool) -> None:
    instance = waits("external event", keep=keep)
    batch = instance.give(instance.raised("approval", "same"), instance.raised("approval", "same"))
    assert kinds(batch.history_delta) == ["ExternalEventReceived", "ExternalEventReceived"]
    assert kinds(instance.give(instance.raised("approval", "same")).history_delta) == ["ExternalEventReceived"]


@pytest.mark.parametrize("answer", ANSWERS)
@upstream(
    "replay_engine/history_corruption",
    "completion_source_not_found",
    "orphan_completion_no_schedule",
    "orphan_timer_fired",
    "orphan_sub_orch_completed",
    differs="An answer that nobody asked for is dropped as stale, for the code has not left its path.",
)
@upstream(
    "replay_engine/nondeterminism",
    "completion_without_schedule",
    differs="An answer that nobody asked for is dropped as stale, for the code has not left its path.",
)
@upstream(
    "nondeterminism_tests",
    "unexpected_completion_id_triggers_nondeterminism",
    "unexpected_timer_completion_triggers_nondeterminism",
    "continue_as_new_with_unconsumed_completion_triggers_nondeterminism",
    differs="An answer that nobody asked for is dropped as stale, for the code has not left its path.",
)
def test_an_answer_that_nobody_asked_for_is_dropped(answer: Answer, keep: bool) -> None:
    instance = waits("external event", keep=keep)
    result = instance.give(answer(999), answer(2))
    assert result.dispositions == (Disposition.STALE, Disposition.STALE)
    assert result.history_delta == ()
    assert instance.status is Status.RUNNING


@of_another_kind
@upstream(
    "replay_engine/history_corruption",
    "completion_source_wrong_type",
    differs="It is dropped as stale, and what was asked for stays open.",
)
@upstream(
    "replay_engine/nondeterminism",
    "completion_kind_mismatch",
    "timer_completion_for_activity_schedule",
    "sub_orch_completion_for_activity_schedule",
    "sub_orch_completion_for_timer_schedule",
    "timer_completion_for_sub_orch_schedule",
    differs="It is dropped as stale, and what was asked for stays open.",
)
@upstream(
    "nondeterminism_tests",
    "completion_kind_mismatch_triggers_nondeterminism",
    differs="It is dropped as stale, and what was asked for stays open.",
)
def test_an_answer_of_another_kind_is_dropped_and_the_right_one_still_counts(
    asked: str, answer: Answer, keep: bool
) -> None:
    instance = waits(asked, keep=keep)
    result = instance.give(answer(2))
    assert (result.dispositions, result.history_delta) == ((Disposition.STALE,), ())
    right = next(answer for answer, (of, _) in ANSWERS.items() if of == asked)
    assert instance.give(right(2)).dispositions == (Disposition.APPLIED,)


@pytest.mark.parametrize("category", Category)
@upstream(
    "replay_engine/failure_handling",
    "infrastructure_error_aborts",
    "configuration_error_aborts",
    "sub_orch_infra_error_aborts_parent",
    differs="A failure of every category reaches the code, which may compensate; uncaught, it fails the instance.",
)
@upstream("replay_engine/failure_handling", "application_error_propagates", "sub_orch_app_error_propagates")
def test_a_failure_of_any_category_reaches_the_code(category: Category, keep: bool) -> None:
    @orchestration
    async def asks_both(ctx: OrchestrationContext) -> list[str]:
        seen: list[str] = []
        try:
            await ctx.schedule_activity("a")
        except ActivityError as error:
            seen.append(error.failure.category.value)
        try:
            await ctx.schedule_sub_orchestration("c")
        except SubOrchestrationError as error:
            seen.append(error.failure.category.value)
        await ctx.schedule_activity("uncaught")
        return seen

    failure = Failure(category=category, type="Lost", message="connection lost", retryable=False)
    instance = Instance(asks_both, keep=keep)
    instance.start()
    instance.give(instance.failed(2, failure))
    instance.give(FailSubOrchestration(**TO, event_id=4, failure=failure))
    assert kinds(instance.history)[-1] == "ActivityScheduled"
    result = instance.give(instance.failed(6, failure))
    assert result.metadata.status is Status.FAILED
    assert result.metadata.failure is not None
    assert result.metadata.failure.category is Category.APPLICATION
    assert result.metadata.failure.cause == failure


ANSWERED: list[tuple[Call, AnyMessage, object]] = [
    (lambda ctx: ctx.schedule_activity("work", "in"), complete(2), "out"),
    (lambda ctx: ctx.schedule_activity("work", "in"), fail(2), "ValueError: boom"),
    (lambda ctx: ctx.schedule_timer(MINUTE), fire(2), None),
    (lambda ctx: ctx.wait_event("approval"), Instance.raised("approval", "yes"), "yes"),
    (lambda ctx: ctx.wait_event("approval"), Instance.raised("approval", ""), ""),
    (lambda ctx: ctx.schedule_sub_orchestration("child", "in"), complete_child(2), "out"),
]


@pytest.mark.parametrize(
    ("asked", "message", "output"),
    ANSWERED,
    ids=["activity", "failed activity", "timer", "event", "empty event", "child"],
)
@upstream(
    "replay_engine/replay_with_completions",
    "activity_completed_in_history",
    "activity_failed_in_history",
    "timer_fired_in_history",
    "external_received_in_history",
    "sub_orch_completed_in_history",
)
@upstream("replay_engine/edge_cases", "empty_external_event_data", "handler_invoked_once_during_replay")
@upstream("replay_engine/sub_orchestration", "replay_uses_history_instance")
def test_an_answer_in_the_history_is_what_the_code_gets_again(asked: Any, message: AnyMessage, output: object) -> None:
    began: list[str] = []

    @orchestration
    async def code(ctx: OrchestrationContext) -> object:
        began.append("began")
        try:
            answer = await asked(ctx)
        except ActivityError as error:
            answer = str(error)
        await ctx.wait_event("end")
        return answer

    first = Instance(code)
    first.start()
    first.give(message)
    first.forget()
    began.clear()
    elsewhere = Instance(code, history=first.history)
    result = elsewhere.give(elsewhere.raised("end"))
    assert kinds(result.history_delta) == ["ExternalEventReceived", "OrchestrationCompleted"]
    assert (result.work_items, result.messages) == ((), ())
    assert (elsewhere.output, began) == (output, ["began"])
