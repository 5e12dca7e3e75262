"""Whom does a cancel reach: an instance, its children, its activities, and what of it is too late?"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from engine import ActivityContext, OrchestrationContext, OrchestrationFailed, Status, activity, orchestration
from engine.errors import SubOrchestrationError
from engine.model.events import (
    ActivityCompleted,
    OrchestrationCancelRequested,
    SubOrchestrationFailed,
)
from engine.model.failure import Category
from engine.model.tags import TagFilter
from engine.runtime.options import EngineOptions
from engine.testing import cancel, run
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.upstream import upstream

SECOND = timedelta(seconds=1)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@orchestration
async def waits(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("never")


@orchestration
async def has_children(ctx: OrchestrationContext, count: int) -> None:
    await ctx.join(*(ctx.schedule_sub_orchestration(waits) for _ in range(count)))


@pytest.mark.parametrize("count", [1, 5])
@upstream("cancellation_tests", "cancel_parent_down_propagates_to_child", "cancel_parent_with_multiple_children")
def test_a_cancelled_parent_takes_all_its_children_along(count: int) -> None:
    outcome = run(has_children, count, orchestrations=[waits], script=[cancel("by test", at=SECOND)])
    assert outcome.status is Status.CANCELLED
    children = [one for instance, one in outcome.instances.items() if instance != "test"]
    assert len(children) == count
    for child in children:
        assert child.status is Status.CANCELLED
        assert any(isinstance(event, OrchestrationCancelRequested) for event in child.history)


@orchestration
async def hears_of_its_child(ctx: OrchestrationContext) -> str:
    try:
        await ctx.schedule_sub_orchestration(waits)
    except SubOrchestrationError as error:
        return f"{error.failure.category.value}: {error.failure.message}"
    return "it completed"


@upstream("cancellation_tests", "cancel_child_directly_signals_parent")
def test_a_parent_hears_that_its_child_was_cancelled() -> None:
    script = [cancel("by test", at=SECOND, instance="test::sub::2")]
    outcome = run(hears_of_its_child, orchestrations=[waits], script=script)
    assert outcome.output == "cancelled: by test"
    (told,) = [event for event in outcome.history if isinstance(event, SubOrchestrationFailed)]
    assert told.source_event_id == 2


@orchestration
async def waits_the_second_time(ctx: OrchestrationContext, first: bool) -> None:
    if first:
        return ctx.continue_as_new(False)
    return await ctx.wait_event("never")


@upstream("cancellation_tests", "cancel_continue_as_new_second_exec")
def test_a_cancel_reaches_the_execution_that_runs() -> None:
    outcome = run(waits_the_second_time, True, script=[cancel("by test", at=SECOND)])
    assert outcome.status is Status.CANCELLED
    first, second = outcome.instances["test"].executions
    assert not any(isinstance(event, OrchestrationCancelRequested) for event in first)
    assert any(isinstance(event, OrchestrationCancelRequested) for event in second)


@orchestration
async def leaves_work_behind(ctx: OrchestrationContext, fails: bool) -> str:
    ctx.schedule_activity("slow")
    await ctx.schedule_timer(SECOND)
    if fails:
        raise ValueError("boom")
    return "done"


@pytest.mark.parametrize(("fails", "status"), [(False, Status.COMPLETED), (True, Status.FAILED)])
@upstream(
    "cancellation_tests",
    "orchestration_completes_before_activity_finishes",
    "orchestration_fails_before_activity_finishes",
)
def test_an_answer_behind_the_end_changes_nothing(fails: bool, status: Status) -> None:
    outcome = run(leaves_work_behind, fails, activities={"slow": lambda: "late"}, durations={"slow": 60 * SECOND})
    assert outcome.status is status
    assert outcome.elapsed == SECOND
    assert not any(isinstance(event, ActivityCompleted) for event in outcome.history)


@orchestration
async def races_a_child(ctx: OrchestrationContext) -> str:
    child = ctx.schedule_sub_orchestration(waits, instance="mine")
    won = await ctx.select(child, ctx.schedule_timer(SECOND))
    await ctx.schedule_timer(SECOND)
    return ["child", "timer"][won.index]


@orchestration
async def takes_its_child_back(ctx: OrchestrationContext) -> str:
    child = ctx.schedule_sub_orchestration(waits, instance="mine")
    await ctx.schedule_timer(SECOND)
    child.cancel()
    await ctx.schedule_timer(SECOND)
    return "timer"


@orchestration
async def forgets_its_child(ctx: OrchestrationContext) -> str:
    ctx.schedule_sub_orchestration(waits, instance="mine")
    await ctx.schedule_timer(2 * SECOND)
    return "timer"


@pytest.mark.parametrize("code", [races_a_child, takes_its_child_back])
@upstream(
    "cancellation_tests",
    "select2_loser_sub_orchestration_cancelled",
    "select2_loser_sub_orchestration_explicit_id_cancelled",
)
@upstream(
    "cancellation_tests",
    "explicit_drop_sub_orchestration_cancelled",
    differs="The future's cancel() cancels the child; losing the last reference does nothing.",
)
def test_a_child_that_nobody_wants_any_more_is_cancelled(code: Any) -> None:
    outcome = run(code, orchestrations=[waits])
    assert outcome.output == "timer"
    assert outcome.instances["mine"].status is Status.CANCELLED
    failure = outcome.instances["mine"].failure
    assert failure is not None
    assert failure.message == "test: the code cancelled it"


@upstream(
    "cancellation_tests",
    "sub_orchestration_out_of_scope_cancelled",
    differs="A child that is not awaited is cancelled when its parent ends, and not when its future is forgotten.",
)
def test_a_child_that_was_forgotten_lives_as_long_as_its_parent() -> None:
    outcome = run(forgets_its_child, orchestrations=[waits])
    failure = outcome.instances["mine"].failure
    assert failure is not None
    assert failure.message == "test: the orchestration ended"


@upstream("cancellation_tests", "user_cancel_instance_and_dropped_future_both_enqueue_cancelinstance_for_child")
def test_of_two_cancels_at_once_one_counts() -> None:
    outcome = run(
        takes_its_child_back, orchestrations=[waits], script=[cancel("by the user", at=SECOND, instance="mine")]
    )
    assert outcome.output == "timer"
    mine = outcome.instances["mine"]
    assert mine.status is Status.CANCELLED
    assert len([event for event in mine.history if isinstance(event, OrchestrationCancelRequested)]) == 1


# With a client and workers.


@activity
async def listens(ctx: ActivityContext) -> str:
    await ctx.cancelled()
    return "told"


@orchestration
async def calls(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity("listens")


@pytest.mark.anyio
@upstream("cancellation_tests", "cancel_after_completion_is_noop")
async def test_a_cancel_behind_the_end_changes_nothing(bench: Bench) -> None:
    @orchestration
    async def quick(ctx: OrchestrationContext) -> str:
        return "ok"

    async with bench.engine(orchestrations=[quick]):
        handle = await bench.client.start(quick)
        assert await handle.wait() == "ok"
        before = await handle.history()
        await handle.cancel("late")
        await cycles()
    assert await handle.history() == before
    assert (await handle.status()).status is Status.COMPLETED


@pytest.mark.anyio
@upstream("cancellation_tests", "cancel_nonexistent_instance_is_noop")
async def test_to_cancel_what_does_not_exist_is_no_error(bench: Bench) -> None:
    async with bench.engine(orchestrations=[waits]):
        await bench.client.cancel("nobody", "by test")
        await cycles()
    assert await bench.client.list_instances() == []


@pytest.mark.anyio
@upstream("cancellation_tests", "multiple_cancel_calls_are_idempotent")
async def test_of_many_cancels_the_first_counts(bench: Bench) -> None:
    async with bench.engine(orchestrations=[waits]):
        handle = await bench.client.start(waits)
        await cycles()
        for number in range(5):
            await handle.cancel(f"cancel {number}")
        with pytest.raises(OrchestrationFailed, match="cancel 0"):
            await handle.wait()
    asked = [event for event in await handle.history() if isinstance(event, OrchestrationCancelRequested)]
    assert [event.reason for event in asked] == ["cancel 0"]


@pytest.mark.anyio
@upstream(
    "cancellation_tests",
    "cancel_before_orchestration_starts",
    differs="The code begins, and sees the cancel where it first waits.",
)
async def test_a_cancel_before_the_first_turn_reaches_the_code_where_it_first_waits(bench: Bench) -> None:
    handle = await bench.client.start(waits)
    await handle.cancel("early")
    async with bench.engine(orchestrations=[waits]):
        with pytest.raises(OrchestrationFailed, match="early") as caught:
            await handle.wait()
    assert caught.value.failure.category is Category.CANCELLED


@pytest.mark.anyio
@upstream(
    "cancellation_tests",
    "activity_receives_cancellation_signal",
    "activity_result_dropped_when_orchestration_cancelled",
)
async def test_an_activity_of_a_cancelled_instance_is_told_and_its_result_dropped(bench: Bench) -> None:
    told = asyncio.Event()

    @activity(name="listens")
    async def says_so(ctx: ActivityContext) -> str:
        await ctx.cancelled()
        told.set()
        return "too late"

    async with bench.engine(orchestrations=[calls], activities=[says_so]):
        handle = await bench.client.start(calls)
        await cycles()
        await handle.cancel("by test")
        with pytest.raises(OrchestrationFailed, match="by test"):
            await handle.wait()
        await ends(bench.clock, told.wait())
        await cycles()
    assert bench.provider.completions == []
    assert not any(isinstance(event, ActivityCompleted) for event in await handle.history())


@pytest.mark.anyio
@upstream("cancellation_tests", "activity_skipped_when_orchestration_terminal_at_fetch")
async def test_an_activity_whose_instance_ended_before_anybody_took_it_never_runs(bench: Bench) -> None:
    ran: list[str] = []

    @activity(name="listens")
    async def runs() -> None:
        ran.append("ran")

    no_worker = EngineOptions(worker_tags=TagFilter.nothing())
    async with bench.engine(orchestrations=[calls], options=no_worker):
        handle = await bench.client.start(calls)
        await cycles()
        await handle.cancel("by test")
        with pytest.raises(OrchestrationFailed):
            await handle.wait()
    async with bench.engine(activities=[runs]):
        await cycles()
    assert ran == []
