"""What becomes of an abandoned child when its parent ends, and when its future is cancelled?"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from engine.errors import SubOrchestrationError, TimedOut
from engine.model.events import SubOrchestrationCompleted, SubOrchestrationScheduled
from engine.model.failure import Category
from engine.model.messages import AnyMessage, CancelInstance
from engine.model.policies import OnParentEnd
from engine.model.status import Status
from engine.model.turn import Disposition, TurnResult
from engine.port import OrchestrationItem
from engine.registry import orchestration
from engine.replay.call_options import ChildOptions
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.replay.turn import Committed, TurnOptions, end_turn
from engine.testing import ScenarioFailed, replay, run
from tests.replay.given import LIFE, NOW_MS, Instance, StoredHistory, boom, kinds, payload

ABANDONED: ChildOptions = {"on_parent_end": "abandon"}
RETRIED: ChildOptions = {"on_parent_end": "abandon", "retry": RetryPolicy(attempts=3)}


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def told_to_end(result: TurnResult) -> list[str]:
    return [message.instance for message in result.messages if isinstance(message, CancelInstance)]


@orchestration
async def leaves(ctx: OrchestrationContext, how: str) -> object:
    ctx.schedule_sub_orchestration("c", "abandoned", **ABANDONED)
    ctx.schedule_sub_orchestration("c", "retried", **RETRIED)
    ctx.schedule_sub_orchestration("c", "cancelled", on_parent_end="cancel")
    ctx.schedule_sub_orchestration("c", "cancelled as ever")
    await ctx.wait_event("end")
    if how == "fails":
        raise ValueError("as told")
    return ctx.continue_as_new("again") if how == "continues" else how


ENDS = {
    "completed": ("returns", Instance.raised("end"), Status.COMPLETED),
    "failed": ("fails", Instance.raised("end"), Status.FAILED),
    "cancelled": ("returns", Instance.cancelled(), Status.CANCELLED),
    "continued as new": ("continues", Instance.raised("end"), Status.CONTINUED_AS_NEW),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_open_child_goes_on_and_those_that_are_not_abandoned_are_cancelled(end: str, keep: bool) -> None:
    how, message, status = ENDS[end]
    instance = Instance(leaves, keep=keep)
    instance.start(how)
    result = instance.give(message)
    assert result.metadata.status is status
    assert told_to_end(result) == ["i::sub::4", "i::sub::5"]
    replay(leaves, instance.history, instance="i")


def test_the_policy_is_recorded_and_nothing_where_it_is_as_ever() -> None:
    instance = Instance(leaves)
    instance.start("returns")
    recorded = [event.on_parent_end for event in instance.history if isinstance(event, SubOrchestrationScheduled)]
    assert recorded == [OnParentEnd.ABANDON, OnParentEnd.ABANDON, None, None]


async def _awaits(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    return await ctx.schedule_sub_orchestration("c", **options)


async def _as_coroutine(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    return await ctx.sub_orchestration("c", **options)


async def _in_a_group(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sub_orchestration("c", **options))


async def _gathers(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    return await asyncio.gather(ctx.schedule_sub_orchestration("c", **options), ctx.wait_event("never"))


async def _joins(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    return await ctx.join(ctx.schedule_sub_orchestration("c", **options), ctx.wait_event("never"))


async def _selects(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    return await ctx.select(ctx.sub_orchestration("c", **options), ctx.wait_event("never"))


async def _cleans_up_first(ctx: OrchestrationContext, options: ChildOptions) -> Any:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.sub_orchestration("c", **options))
        try:
            await ctx.wait_event("never")
        finally:
            await ctx.schedule_timer(timedelta(seconds=1))


WAITS: list[Callable[[OrchestrationContext, ChildOptions], Any]] = [
    _awaits, _as_coroutine, _in_a_group, _gathers, _joins, _selects, _cleans_up_first,
]  # fmt: skip


@pytest.mark.parametrize("options", [ABANDONED, RETRIED], ids=["once", "retried"])
@pytest.mark.parametrize("waits", WAITS)
def test_a_parent_that_is_cancelled_while_it_waits_gives_up_the_wait_alone(
    waits: Callable[[OrchestrationContext, ChildOptions], Any], options: ChildOptions, keep: bool
) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        await waits(ctx, options)

    instance = Instance(parent, keep=keep)
    instance.start()
    sent = told_to_end(instance.give(Instance.cancelled()))
    if instance.status is Status.RUNNING:
        timer = next(event.event_id for event in instance.history if type(event).__name__ == "TimerCreated")
        sent += told_to_end(instance.give(instance.fired(timer)))
    assert (instance.status, sent) == (Status.CANCELLED, [])
    replay(parent, instance.history, instance="i")


@pytest.mark.parametrize("options", [ABANDONED, RETRIED], ids=["once", "retried"])
@pytest.mark.parametrize("asked_to_end", [False, True])
def test_cancelling_the_future_cancels_the_child(options: ChildOptions, asked_to_end: bool, keep: bool) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        child = ctx.schedule_sub_orchestration("c", **options)
        try:
            await ctx.wait_event("go")
        finally:
            child.cancel()

    instance = Instance(parent, keep=keep)
    instance.start()
    message: AnyMessage = Instance.cancelled() if asked_to_end else Instance.raised("go")
    assert told_to_end(instance.give(message)) == ["i::sub::2"]
    replay(parent, instance.history, instance="i")


def test_a_timeout_and_a_lost_race_cancel_the_child(keep: bool) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.select(ctx.schedule_sub_orchestration("c", on_parent_end="abandon"), ctx.wait_event("go"))
        try:
            await ctx.schedule_sub_orchestration("c", on_parent_end="abandon", timeout=timedelta(seconds=1))
        except TimedOut:
            return

    instance = Instance(parent, keep=keep)
    instance.start()
    assert told_to_end(instance.give(Instance.raised("go"))) == ["i::sub::2"]
    timer = instance.history[-1].event_id
    assert told_to_end(instance.give(instance.fired(timer))) == [f"i::sub::{timer - 1}"]
    assert instance.status is Status.COMPLETED


def test_code_that_goes_on_after_its_cancellation_can_still_hear_other_children(keep: bool) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> list[object]:
        left = ctx.schedule_sub_orchestration("c", on_parent_end="abandon")
        try:
            await left
        except asyncio.CancelledError:
            return [left.cancelled(), await ctx.schedule_sub_orchestration("d", on_parent_end="abandon")]
        return []

    instance = Instance(parent, keep=keep)
    instance.start()
    instance.give(Instance.cancelled())
    assert instance.give(instance.child_completed(2, "late")).dispositions == (Disposition.APPLIED,)
    instance.give(instance.child_completed(4, "heard"))
    assert instance.output == [True, "heard"]
    assert isinstance(instance.history[-3], SubOrchestrationCompleted)
    replay(parent, instance.history, instance="i")


@pytest.mark.parametrize("end", ENDS)
def test_its_answer_to_a_parent_that_has_ended_is_stale(end: str, keep: bool) -> None:
    how, message, _ = ENDS[end]
    for together in (True, False):
        instance = Instance(leaves, keep=keep)
        instance.start(how)
        answer = instance.child_completed(2, "late")
        results = [instance.give(message, answer)] if together else [instance.give(one) for one in (message,)]
        if not together and end == "continued as new":
            (again,) = (one for one in results[0].messages if type(one).__name__ == "ContinueInstance")
            results.append(instance.give(again, answer))
        elif not together:
            results.append(instance.give(answer))
        assert results[-1].dispositions[-1] is Disposition.STALE


def test_a_child_that_ends_before_its_parent_is_heard_like_any_other(keep: bool) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_sub_orchestration("c", on_parent_end="abandon", output=str)
        except SubOrchestrationError as error:
            return error.failure.message

    heard, failed = Instance(parent, keep=keep), Instance(parent, keep=keep)
    for instance in (heard, failed):
        instance.start()
    heard.give(heard.child_completed(2, "done"))
    failed.give(failed.child_failed(2, boom("broken")))
    assert (heard.output, failed.output) == ("done", "broken")


def test_the_engine_ends_a_parent_and_leaves_the_child_alone() -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        ctx.schedule_sub_orchestration("c", on_parent_end="abandon")
        ctx.schedule_sub_orchestration("c")
        await ctx.wait_event("go")
        ctx.set_custom_status("x" * 100)

    instance = Instance(parent, options=TurnOptions(custom_status_bytes_max=10))
    instance.start()
    result = instance.give(Instance.raised("go"))
    assert result.metadata.failure is not None
    assert result.metadata.failure.category is Category.LIMIT
    assert told_to_end(result) == ["i::sub::3"]
    assert kinds(result.history_delta) == [
        "ExternalEventReceived", "SubOrchestrationCancelRequested", "OrchestrationFailed",
    ]  # fmt: skip
    replay(parent, instance.history, instance="i")


def test_a_poisonous_message_ends_a_parent_likewise() -> None:
    instance = Instance(leaves)
    instance.start("returns")
    item = OrchestrationItem(
        instance="i",
        orchestration_name="leaves",
        version="1.0.0",
        execution_id=1,
        incarnation=LIFE,
        history=StoredHistory(instance.history),
        messages=(),
        lock_token="lock",
        attempt_count=1,
        lineage=1,
        now_ms=NOW_MS,
    )
    ended = end_turn(item, boom())
    assert isinstance(ended, Committed)
    assert told_to_end(ended.result) == ["i::sub::4", "i::sub::5"]


@pytest.mark.parametrize("before", ["cancel", "abandon"])
def test_code_that_asks_for_the_other_policy_is_refused(before: str) -> None:
    def with_policy(policy: Any) -> Any:
        @orchestration(name="parent")
        async def parent(ctx: OrchestrationContext) -> None:
            ctx.schedule_sub_orchestration("c", on_parent_end=policy)
            await ctx.wait_event("go")

        return parent

    instance = Instance(with_policy(before))
    instance.start()
    after = "abandon" if before == "cancel" else "cancel"
    with pytest.raises(
        ScenarioFailed, match=r"event 2: expected SubOrchestrationScheduled\(.*on_parent_end=.* recorded"
    ):
        replay(with_policy(after), instance.history, instance="i")


def test_in_a_scenario_the_child_ends_by_itself() -> None:
    @orchestration
    async def child(ctx: OrchestrationContext) -> str:
        await ctx.schedule_timer(timedelta(seconds=5))
        return "done"

    @orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        ctx.schedule_sub_orchestration(child, on_parent_end="abandon")
        other = ctx.schedule_sub_orchestration(child, instance="other")
        await ctx.schedule_timer(timedelta(seconds=1))
        del other

    outcome = run(parent, orchestrations=[child])
    assert outcome.instances["test::sub::2"].status is Status.RUNNING
    assert outcome.instances["other"].status is Status.CANCELLED
    assert payload(None) == outcome.instances["test"].output
