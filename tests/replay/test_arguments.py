"""Is a call of the context that cannot be recorded refused where it is made, and not when the turn is committed?"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from engine.model.status import Status
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from tests.replay.given import Instance, kinds
from tests.upstream import upstream

UNTYPED: Any = 5
SURROGATE = "\ud800"


@activity
async def greet(name: str) -> str:
    return name


Call = Callable[[OrchestrationContext], object]

REFUSED: list[tuple[Call, str]] = [
    (lambda ctx: ctx.set_custom_status(UNTYPED), "expected a custom status to be a str, but it is 5"),
    (lambda ctx: ctx.set_custom_status(SURROGATE), "expected a custom status to have a UTF-8 form"),
    (lambda ctx: ctx.wait_event(UNTYPED), "expected the name of an external event to be a str, but it is 5"),
    (lambda ctx: ctx.wait_event(""), "expected the name of an external event, but it is empty"),
    (lambda ctx: ctx.dequeue(SURROGATE), "expected the name of a queue to have a UTF-8 form"),
    (lambda ctx: ctx.schedule_activity(""), "expected the name of an activity, but it is empty"),
    (lambda ctx: ctx.schedule_activity("a", tag=UNTYPED), "expected tag to be a str, but it is 5"),
    (lambda ctx: ctx.schedule_activity("a", tag=""), "expected tag, but it is empty"),
    (lambda ctx: ctx.schedule_activity("a", tag="ü" * 129), "expected a tag of at most 256 bytes, but 'üüü"),
    (lambda ctx: ctx.schedule_activity("a", session_id=""), "expected session_id, but it is empty"),
    (lambda ctx: ctx.schedule_activity("a", timeout=UNTYPED), "expected timeout to be a timedelta, but it is 5"),
    (lambda ctx: ctx.schedule_activity("a", deadline=UNTYPED), "expected deadline to be a timedelta, but it is 5"),
    (lambda ctx: ctx.schedule_activity("a", retry=UNTYPED), "expected retry to be a RetryPolicy, but it is 5"),
    (
        lambda ctx: cast("Any", ctx).schedule_activity("a", retries=5),
        "deadline, raises, session_id, tag, queue_timeout, run_timeout, heartbeat_timeout, but got retries",
    ),
    (lambda ctx: ctx.schedule_activity("a", queue_timeout=UNTYPED), "expected queue_timeout to be a timedelta, but"),
    (lambda ctx: ctx.schedule_activity("a", run_timeout=UNTYPED), "expected run_timeout to be a timedelta, but"),
    (lambda ctx: ctx.schedule_activity("a", heartbeat_timeout=UNTYPED), "expected heartbeat_timeout to be a timedelta"),
    (
        lambda ctx: ctx.schedule_activity("a", run_timeout=timedelta(0)),
        "expected run_timeout of more than 0, but it is 0:00:00",
    ),
    (
        lambda ctx: cast("Any", ctx).schedule_sub_orchestration("c", run_timeout=timedelta(1)),
        "among retry, timeout, deadline, raises, instance, version, on_parent_end, but got run_timeout",
    ),
    (
        lambda ctx: cast("Any", ctx).schedule_sub_orchestration("c", tag="gpu"),
        "among retry, timeout, deadline, raises, instance, version, on_parent_end, but got tag",
    ),
    (
        lambda ctx: ctx.schedule_sub_orchestration("c", on_parent_end=UNTYPED),
        "expected on_parent_end to be 'cancel' or 'abandon', but it is 5",
    ),
    (lambda ctx: ctx.schedule_sub_orchestration("c", version="new"), "expected version like '1.0.0', but it is 'new'"),
    (lambda ctx: ctx.schedule_sub_orchestration("c", instance=UNTYPED), "expected the id of an instance to be a str"),
    (lambda ctx: ctx.start_detached("c", instance=""), "expected a non-empty instance id"),
    (lambda ctx: ctx.start_detached("c", instance="i", version="v1"), "expected version like '1.0.0', but it is 'v1'"),
    (lambda ctx: ctx.continue_as_new(version="latest"), "expected version like '1.0.0', but it is 'latest'"),
    (lambda ctx: ctx.schedule_timer(UNTYPED), "expected a delay to be a timedelta, but it is 5"),
    (lambda ctx: ctx.schedule_timer(timedelta.max), "expected a timer that fires before the year 10000"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
@upstream(
    "replay_engine/history_corruption",
    "empty_activity_name",
    differs="An empty name is refused where it is given.",
)
@upstream("tag_serde_tests", "e2e_oversized_tag_fails_orchestration")
def test_it_is_refused_with_both_halves_and_nothing_is_asked_for(call: Call, message: str) -> None:
    @orchestration
    async def calls(ctx: OrchestrationContext) -> None:
        call(ctx)

    instance = Instance(calls)
    result = instance.start()

    assert kinds(result.history_delta) == ["OrchestrationStarted", "OrchestrationFailed"]
    assert result.metadata.failure is not None
    assert result.metadata.failure.type == "UsageError"
    assert message in result.metadata.failure.message


def test_a_sleep_longer_than_time_is_refused_too() -> None:
    @orchestration
    async def sleeps(ctx: OrchestrationContext) -> None:
        await asyncio.sleep(1e300)

    result = Instance(sleeps).start()
    assert result.metadata.status is Status.FAILED
    assert result.metadata.failure is not None
    assert "before the year 10000" in result.metadata.failure.message


@upstream("tag_serde_tests", "e2e_tag_at_boundary_succeeds")
def test_what_is_right_is_asked_for() -> None:
    @orchestration
    async def calls(ctx: OrchestrationContext) -> None:
        ctx.set_custom_status("")
        ctx.set_custom_status("größer")
        ctx.schedule_activity(greet, "Ann", tag="gpu", session_id="s", retry=RetryPolicy())
        ctx.schedule_activity(greet, "Ann", tag="ü" * 128)
        ctx.schedule_sub_orchestration("c", instance="c", version="1.2")
        ctx.schedule_timer(timedelta(microseconds=1))
        ctx.schedule_timer(timedelta(days=-1))
        await ctx.wait_event("never")

    instance = Instance(calls)
    instance.start()
    assert instance.status is Status.RUNNING
    timers = [event for event in instance.history if type(event).__name__ == "TimerCreated"]
    assert [getattr(event, "fire_at_ms") - instance.now_ms for event in timers] == [1, 0]  # noqa: B009  # of timers


@pytest.mark.parametrize("inside", [False, True], ids=["as the output", "as an input"])
def test_a_forgotten_await_is_named(inside: bool) -> None:
    @orchestration
    async def forgets(ctx: OrchestrationContext) -> object:
        asked = ctx.schedule_activity(greet, "Ann")
        return await ctx.schedule_activity("greet", asked) if inside else asked

    result = Instance(forgets).start()
    assert result.metadata.failure is not None
    assert "to be a value, but it is AskedFuture: await it first" in result.metadata.failure.message


def test_a_future_is_neither_true_nor_false() -> None:
    @orchestration
    async def forgets(ctx: OrchestrationContext) -> str:
        approved: Any = ctx.wait_event("approved")  # Any, because a type checker refuses it too
        return "approved" if approved else "not yet"

    result = Instance(forgets).start()
    assert result.metadata.failure is not None
    assert "expected a result, but this is the future of one: await it" in result.metadata.failure.message
