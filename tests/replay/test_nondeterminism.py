"""Is code that leaves its recorded path found, at once and with both halves, whatever it does differently?"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from engine.model.events import AnyEvent, OrchestrationFailed, OrchestrationStarted
from engine.model.failure import Category
from engine.model.payload import Payload
from engine.model.status import Status
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.matching import PYTHON
from engine.replay.turn import Committed, Held, TurnOptions
from tests.replay.given import Instance, kinds
from tests.upstream import upstream

Code = Callable[[OrchestrationContext], Any]


async def wait(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("never")


async def asks_a(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 1)
    await wait(ctx)


async def asks_b(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("b", 1)


async def asks_a_otherwise(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 2)


async def asks_a_with_a_tag(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 1, tag="gpu")


async def asks_a_with_another_tag(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 1, tag="cpu")


async def asks_a_in_a_session(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 1, session_id="s")


async def asks_a_timer(ctx: OrchestrationContext) -> None:
    await ctx.schedule_timer(timedelta(seconds=1))


async def asks_a_timer_twice(ctx: OrchestrationContext) -> None:
    ctx.schedule_timer(timedelta(seconds=1))
    await ctx.schedule_timer(timedelta(seconds=1))


async def asks_a_longer_timer(ctx: OrchestrationContext) -> None:
    await ctx.schedule_timer(timedelta(hours=1))


async def sleeps(ctx: OrchestrationContext) -> None:
    await asyncio.sleep(1)


async def asks_a_in_time(ctx: OrchestrationContext) -> None:
    await ctx.activity("a", 1, timeout=timedelta(seconds=1))


async def asks_a_in_more_time(ctx: OrchestrationContext) -> None:
    await ctx.activity("a", 1, timeout=timedelta(seconds=2))


async def returns_early(ctx: OrchestrationContext) -> None:
    return None


async def asks_a_and_more(ctx: OrchestrationContext) -> None:
    first = ctx.schedule_activity("a", 1)
    ctx.schedule_activity("more", 1)
    await first


async def asks_a_twice(ctx: OrchestrationContext) -> None:
    first = ctx.schedule_activity("a", 1)
    ctx.schedule_activity("a", 1)
    await first


async def asks_a_and_shows_it(ctx: OrchestrationContext) -> None:
    first = ctx.schedule_activity("a", 1)
    ctx.set_custom_status("asked")
    await first


async def asks_a_then_shows_it(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 1)
    ctx.set_custom_status("asked")
    await wait(ctx)


async def asks_a_then_shows_other(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("a", 1)
    ctx.set_custom_status("other")
    await wait(ctx)


async def asks_a_then_cancels(ctx: OrchestrationContext) -> None:
    spare = ctx.schedule_activity("spare")
    await ctx.schedule_activity("a", 1)
    spare.cancel()
    await wait(ctx)


async def asks_a_then_keeps(ctx: OrchestrationContext) -> None:
    ctx.schedule_activity("spare")
    await ctx.schedule_activity("a", 1)
    await wait(ctx)


async def starts_a_child(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration("child", 1, instance="c1")


async def starts_a_child_elsewhere(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration("child", 1, instance="c2")


async def starts_a_child_of_a_version(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration("child", 1, instance="c1", version="2.0.0")


async def waits_for_x(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("x")


async def waits_for_x_twice(ctx: OrchestrationContext) -> None:
    ctx.wait_event("x")
    await ctx.wait_event("x")


async def waits_for_y(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("y")


async def reads_x(ctx: OrchestrationContext) -> None:
    await ctx.dequeue("x")


async def detaches(ctx: OrchestrationContext) -> None:
    ctx.start_detached("d", 1, instance="one")
    await wait(ctx)


async def detaches_another(ctx: OrchestrationContext) -> None:
    ctx.start_detached("e", 1, instance="one")
    await wait(ctx)


async def detaches_with_another_input(ctx: OrchestrationContext) -> None:
    ctx.start_detached("d", 2, instance="one")
    await wait(ctx)


async def detaches_otherwise(ctx: OrchestrationContext) -> None:
    ctx.start_detached("d", 1, instance="two")
    await wait(ctx)


def named(code: Code) -> Any:
    return orchestration(name="code")(code)


def recorded(code: Code, *answers: int) -> list[AnyEvent]:
    instance = Instance(named(code))
    instance.start()
    for activity_id in answers:
        instance.give(instance.completed(activity_id))
    instance.forget()
    return instance.history


def replayed(code: Code, history: list[AnyEvent], options: TurnOptions | None = None) -> Any:
    instance = Instance(named(code), history=history, options=options)
    return instance.turn(instance.raised("something"))


@pytest.mark.parametrize(
    ("before", "answers", "after", "expected", "found"),
    [
        (asks_a, [], asks_b, "event 2: expected ActivityScheduled(name='a'", "asks for ActivityScheduled(name='b'"),
        (asks_a, [], asks_a_otherwise, "input=1", "input=2"),
        (asks_a, [], asks_a_with_a_tag, "tag=None", "tag='gpu'"),
        (asks_a_with_a_tag, [], asks_a_with_another_tag, "tag='gpu'", "tag='cpu'"),
        (asks_a_with_a_tag, [], asks_a, "tag='gpu'", "tag=None"),
        (asks_a, [], asks_a_in_a_session, "session_id=None", "session_id='s'"),
        (asks_a, [], asks_a_timer, "event 2: expected ActivityScheduled", "asks for TimerCreated(delay=1.0s"),
        (asks_a_timer, [], asks_a, "event 2: expected TimerCreated(delay=1.0s", "ActivityScheduled(name='a'"),
        (asks_a_timer, [], asks_a_longer_timer, "TimerCreated(delay=1.0s", "TimerCreated(delay=3600.0s"),
        (asks_a_in_time, [], asks_a_in_more_time, "TimerCreated(delay=1.0s", "TimerCreated(delay=2.0s"),
        (asks_a, [], returns_early, "event 2: expected ActivityScheduled", "asks for OrchestrationCompleted"),
        (asks_a, [], asks_a_and_more, "event 3: expected nothing, for the history ends", "name='more'"),
        (asks_a, [], asks_a_and_shows_it, "event 3: expected nothing", "CustomStatusUpdated(status='asked')"),
        (asks_a_and_shows_it, [], asks_a, "event 3: expected CustomStatusUpdated", "the code asks for nothing there"),
        (asks_a_then_shows_it, [2], asks_a_then_shows_other, "status='asked'", "status='other'"),
        (asks_a_then_shows_it, [2], asks_a, "event 4: expected CustomStatusUpdated", "ExternalSubscribed"),
        (asks_a, [2], asks_a_then_shows_it, "event 4: expected ExternalSubscribed", "CustomStatusUpdated"),
        (asks_a_and_more, [], asks_a, "event 3: expected ActivityScheduled(name='more'", "asks for nothing there"),
        (asks_a_twice, [], asks_a, "event 3: expected ActivityScheduled(name='a'", "asks for nothing there"),
        (asks_a_timer_twice, [], asks_a_timer, "event 3: expected TimerCreated(delay=1.0s", "nothing there"),
        (waits_for_x_twice, [], waits_for_x, "event 3: expected ExternalSubscribed(name='x')", "nothing there"),
        (asks_a_then_cancels, [3], asks_a_then_keeps, "event 5: expected ActivityCancelRequested", "ExternalSubsc"),
        (asks_a_then_keeps, [3], asks_a_then_cancels, "event 5: expected ExternalSubscribed", "ActivityCancelReq"),
        (starts_a_child, [], starts_a_child_elsewhere, "instance='c1'", "instance='c2'"),
        (starts_a_child, [], starts_a_child_of_a_version, "version=None", "version='2.0.0'"),
        (waits_for_x, [], waits_for_y, "ExternalSubscribed(name='x')", "ExternalSubscribed(name='y')"),
        (waits_for_x, [], reads_x, "ExternalSubscribed(name='x')", "QueueSubscribed(name='x')"),
        (detaches, [], detaches_otherwise, "instance='one'", "instance='two'"),
        (detaches, [], detaches_another, "OrchestrationChained(name='d'", "OrchestrationChained(name='e'"),
        (detaches, [], detaches_with_another_input, "input=1", "input=2"),
        (detaches, [], wait, "event 2: expected OrchestrationChained", "asks for ExternalSubscribed"),
    ],
)
@upstream(
    "replay_engine/nondeterminism",
    "schedule_mismatch_activity_vs_timer",
    "schedule_mismatch_timer_vs_activity",
    "schedule_mismatch_wrong_activity_name",
    "schedule_mismatch_wrong_input",
    "schedule_mismatch_wrong_external_name",
    "orchestration_chained_no_matching_action",
    "orchestration_chained_name_mismatch",
    differs="The instance is held, not failed.",
)
@upstream(
    "replay_engine/nondeterminism",
    "history_schedule_no_emitted_action",
    differs="Code that ends earlier than recorded has left its path too, and is held.",
)
@upstream(
    "replay_engine/action_to_event",
    "schedule_activity_on_session_session_id_mismatch_causes_nondeterminism",
    "tag_mismatch_on_replay_causes_nondeterminism",
    "tag_value_change_on_replay_causes_nondeterminism",
    "tag_removal_on_replay_causes_nondeterminism",
    differs="The instance is held, not failed.",
)
@upstream(
    "replay_engine/history_corruption",
    "duplicate_activity_schedule_in_history",
    "duplicate_timer_schedule_in_history",
    "duplicate_external_subscription_in_history",
    differs="The instance is held, not failed.",
)
@upstream(
    "replay_engine/unobserved_futures",
    "replay_fails_when_cancellation_decisions_differ",
    "replay_fails_if_persisted_dropped_future_cancel_is_no_longer_emitted_by_code",
    differs="The instance is held, not failed.",
)
def test_a_difference_holds_the_instance_and_says_both_halves(
    before: Code, answers: list[int], after: Code, expected: str, found: str
) -> None:
    outcome = replayed(after, recorded(before, *answers))
    assert isinstance(outcome, Held)
    assert outcome.failure.category is Category.NONDETERMINISM
    first, _, second = outcome.failure.message.partition(", but ")
    assert expected in first
    assert found in second


@pytest.mark.parametrize(
    "code", [asks_a, asks_a_timer, asks_a_and_more, starts_a_child, waits_for_x, detaches, asks_a_and_shows_it]
)
def test_unchanged_code_goes_on(code: Code) -> None:
    assert isinstance(replayed(code, recorded(code)), Committed)


def test_another_way_to_ask_for_the_same_time_is_no_difference() -> None:
    instance = Instance(named(sleeps), history=recorded(asks_a_timer))
    instance.give(instance.fired(2))
    assert instance.status is Status.COMPLETED


def test_another_limit_of_the_run_is_no_difference() -> None:
    async def asks_a_for_a_minute(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a", 1, run_timeout=timedelta(minutes=1))
        await wait(ctx)

    assert isinstance(replayed(asks_a_for_a_minute, recorded(asks_a)), Committed)


def test_an_equal_input_with_other_bytes_is_no_difference() -> None:
    async def asks_with_a_dict(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a", {"b": 1, "a": 2})

    history = recorded(asks_with_a_dict)
    history[1] = msgspec.structs.replace(history[1], input=Payload(b'{ "b":1, "a":2 }'))
    assert isinstance(replayed(asks_with_a_dict, history), Committed)


def test_after_a_change_of_python_the_message_says_so() -> None:
    history = recorded(asks_a)
    started = history[0]
    assert isinstance(started, OrchestrationStarted)
    assert started.python == PYTHON
    history[0] = msgspec.structs.replace(started, python="3.9")
    outcome = replayed(asks_b, history)
    assert outcome.failure.message.endswith(f"(recorded on Python 3.9, replayed on {PYTHON})")


def test_with_the_option_the_instance_fails_instead_and_what_was_open_is_taken_back() -> None:
    outcome = replayed(asks_b, recorded(asks_a), TurnOptions(on_nondeterminism="fail"))
    assert isinstance(outcome, Committed)
    result = outcome.result
    assert kinds(result.history_delta) == ["ActivityCancelRequested", "OrchestrationFailed"]
    assert [ref.activity_id for ref in result.cancelled_activities] == [2]
    failed = result.history_delta[-1]
    assert isinstance(failed, OrchestrationFailed)
    assert failed.failure.category is Category.NONDETERMINISM
    assert result.metadata.status is Status.FAILED


def test_a_held_instance_goes_on_once_code_that_fits_is_there() -> None:
    history = recorded(asks_a)
    assert isinstance(replayed(asks_b, history), Held)
    fixed = Instance(named(asks_a), history=history)
    assert kinds(fixed.give(fixed.completed(2)).history_delta) == ["ActivityCompleted", "ExternalSubscribed"]
