"""What happens when the deadline of an instance passes, and what if it ends before?"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from engine.model.events import AnyEvent, OrchestrationCancelRequested, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.ids import INSTANT_MS_MAX, ParentLink
from engine.model.messages import ContinueInstance, FailSubOrchestration, FireTimer
from engine.model.status import Status
from engine.model.turn import Disposition, TimerRef, TurnResult
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.turn import TurnOptions
from engine.testing import cancel, replay, run
from tests.replay.given import LIFE, NOW_MS, Instance, kinds

SAYS = "expected i to end within its deadline of 2023-11-14T22:13:25+00:00, but it was still running"
PASSED = ("OrchestrationCancelRequested", "ExternalSubscriptionCancelled")


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@orchestration
async def waits(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


@orchestration
async def refuses_to_end(ctx: OrchestrationContext) -> str:
    try:
        await ctx.wait_event("never")
    except asyncio.CancelledError:
        return await ctx.wait_event("go", str)
    return ""


@orchestration
async def breaks(ctx: OrchestrationContext) -> None:
    try:
        await ctx.wait_event("never")
    finally:
        raise ValueError("meanwhile")


@orchestration
async def again(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("go")
    return ctx.continue_as_new()


def begin(code: Callable[..., Any], *, keep: bool = True, deadline_ms: int = 5_000, **given: Any) -> Instance:
    instance = Instance(code, keep=keep, **given)
    begun(instance, deadline_ms)
    return instance


def begun(instance: Instance, deadline_ms: int, **fields: Any) -> TurnResult:
    return instance.give(structs.replace(instance.start_message(), deadline_ms=deadline_ms, **fields))


def timers(result: TurnResult) -> list[FireTimer]:
    return [message for message in result.messages if isinstance(message, FireTimer)]


def test_the_first_turn_records_the_deadline_and_sets_its_timer() -> None:
    instance = Instance(waits)
    result = begun(instance, 5_000)
    assert isinstance(started := instance.history[0], OrchestrationStarted)
    assert started.deadline_at_ms == NOW_MS + 5_000
    assert timers(result) == [
        FireTimer(instance="i", incarnation=LIFE, execution_id=1, timer_id=1, fire_at_ms=NOW_MS + 5_000)
    ]


def test_a_deadline_after_the_end_of_time_is_that() -> None:
    (timer,) = timers(begun(Instance(waits), 2**62))
    assert timer.fire_at_ms == INSTANT_MS_MAX


def test_code_that_lets_it_through_has_failed_and_the_parent_hears_so(keep: bool) -> None:
    instance = Instance(waits, keep=keep)
    begun(instance, 5_000, parent=ParentLink("p", 9, 3, 7))
    result = instance.give(instance.fired(1))
    failure = Failure(Category.APPLICATION, "TimedOut", SAYS)
    assert kinds(result.history_delta) == [*PASSED, "OrchestrationFailed"]
    assert (result.metadata.status, result.metadata.failure) == (Status.FAILED, failure)
    assert result.messages == (
        FailSubOrchestration(instance="p", incarnation=9, execution_id=3, event_id=7, failure=failure),
    )
    assert result.cancelled_timers == ()
    assert result.dispositions == (Disposition.APPLIED,)
    replay(waits, instance.history, instance="i")


def test_code_may_end_otherwise(keep: bool) -> None:
    instance = begin(refuses_to_end, keep=keep)
    assert kinds(instance.give(instance.fired(1)).history_delta) == [*PASSED, "ExternalSubscribed"]
    instance.give(instance.raised("go", "late"))
    assert (instance.status, instance.output) == (Status.COMPLETED, "late")
    instance = begin(breaks, keep=keep)
    failure = instance.give(instance.fired(1)).metadata.failure
    assert failure is not None
    assert failure.type == "ValueError"


@pytest.mark.parametrize("asked_first", [True, False])
def test_the_code_is_asked_to_end_once(asked_first: bool, keep: bool) -> None:
    instance = begin(refuses_to_end, keep=keep)
    messages = [instance.cancelled(), instance.fired(1)]
    results = instance.give_each(messages if asked_first else messages[::-1])
    assert [result.dispositions for result in results] == [(Disposition.APPLIED,), (Disposition.DUPLICATE,)]
    assert results[1].history_delta == ()


def test_a_cancellation_before_the_deadline_is_one(keep: bool) -> None:
    instance = begin(waits, keep=keep)
    result = instance.give(instance.cancelled())
    assert (instance.status, result.cancelled_timers) == (Status.CANCELLED, (TimerRef(1, 1),))


@pytest.mark.parametrize("later", [True, False])
def test_whoever_ends_before_takes_the_timer_back(later: bool) -> None:
    instance = Instance(waits)
    start = structs.replace(instance.start_message(), deadline_ms=5_000)
    if later:
        instance.give(start)
        result = instance.give(instance.raised("go", "x"))
        assert result.cancelled_timers == (TimerRef(1, 1),)
    else:
        result = instance.give(start, instance.raised("go", "x"))
        assert (timers(result), result.cancelled_timers) == ([], ())
    assert instance.give(instance.fired(1)).dispositions == (Disposition.STALE,)


def test_the_engine_takes_it_back_too() -> None:
    @orchestration
    async def shows(ctx: OrchestrationContext) -> None:
        await ctx.wait_event("go")
        ctx.set_custom_status("x" * 100)

    instance = begin(shows, options=TurnOptions(custom_status_bytes_max=10))
    result = instance.give(instance.raised("go"))
    assert (instance.status, result.cancelled_timers) == (Status.FAILED, (TimerRef(1, 1),))


def test_the_deadline_is_the_same_over_continue_as_new(keep: bool) -> None:
    instance = begin(again, keep=keep)
    instance.now_ms += 1_000
    result = instance.give(instance.raised("go"))
    assert result.cancelled_timers == (TimerRef(1, 1),)
    (message,) = result.messages
    assert isinstance(message, ContinueInstance)
    assert message.deadline_at_ms == NOW_MS + 5_000
    (timer,) = timers(instance.give(message))
    assert (timer.execution_id, timer.timer_id, timer.fire_at_ms) == (2, 1, NOW_MS + 5_000)
    late = structs.replace(timer, execution_id=1)
    assert instance.give(late).dispositions == (Disposition.STALE,)
    instance.give(timer)
    assert instance.status is Status.FAILED


def test_a_timer_that_is_no_deadline_of_this_life_changes_nothing() -> None:
    instance = Instance(waits)
    instance.start()
    strangers = structs.replace(instance.fired(1), incarnation=LIFE + 1)
    result = instance.give(instance.fired(1), strangers)
    assert result.dispositions == (Disposition.STALE, Disposition.OTHER_INCARNATION)
    assert result.history_delta == ()


def test_it_is_in_the_history_that_the_deadline_asked(keep: bool) -> None:
    instance = begin(refuses_to_end, keep=keep)
    instance.give(instance.fired(1))
    asked: list[AnyEvent] = [event for event in instance.history if isinstance(event, OrchestrationCancelRequested)]
    assert asked == [OrchestrationCancelRequested(event_id=3, timestamp_ms=NOW_MS, reason=SAYS, is_deadline=True)]


def test_in_a_scenario() -> None:
    late = run(waits, deadline=timedelta(minutes=1))
    assert (late.status, late.elapsed) == (Status.FAILED, timedelta(minutes=1))
    ended = run(waits, deadline=timedelta(minutes=1), script=[cancel(at=timedelta(seconds=59))])
    assert ended.status is Status.CANCELLED
