"""Is an activity tried again as its policy says, within its time, in its session, and by each instance for itself?"""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from engine import OrchestrationContext, RetryPolicy, Status, orchestration
from engine.errors import ActivityError, TimedOut
from engine.model.events import (
    ActivityFailed,
    ActivityScheduled,
    AnyEvent,
    TimerCreated,
    TimerFired,
)
from engine.testing import ScenarioOutcome, run
from tests.upstream import upstream

MS = timedelta(milliseconds=1)
AT_ONCE = RetryPolicy(attempts=5, backoff="fixed", delay=timedelta(0))


def flaky(failures: int) -> Callable[[], str]:
    """An activity that fails so often and then succeeds."""
    attempts: list[int] = []

    def tried() -> str:
        attempts.append(1)
        if len(attempts) <= failures:
            raise ValueError(f"attempt {len(attempts)}")
        return f"attempt {len(attempts)}"

    return tried


def counted(outcome: ScenarioOutcome[str], kind: type[AnyEvent]) -> int:
    return len([event for event in outcome.history if isinstance(event, kind)])


@orchestration
async def tries(ctx: OrchestrationContext, attempts: int) -> str:
    policy = msgspec.structs.replace(AT_ONCE, attempts=attempts)
    return await ctx.schedule_activity("flaky", output=str, retry=policy)


@pytest.mark.parametrize(("failures", "attempts"), [(0, 3), (2, 5), (3, 5), (9, 20)])
@upstream(
    "schedule_with_retry_tests",
    "test_activity_succeeds_first_attempt",
    "test_retry_with_no_backoff",
    "test_history_contains_all_activity_scheduled_events",
    "test_large_max_attempts_integration",
    "test_replay_with_stale_events_in_history",
)
def test_each_attempt_is_a_call_and_a_pause_of_no_time_is_no_timer(failures: int, attempts: int) -> None:
    outcome = run(tries, attempts, activities={"flaky": flaky(failures)})
    assert outcome.output == f"attempt {failures + 1}"
    assert counted(outcome, ActivityScheduled) == failures + 1
    assert counted(outcome, ActivityFailed) == failures
    assert counted(outcome, TimerCreated) == 0


@upstream("schedule_with_retry_tests", "test_single_attempt_fails")
def test_one_attempt_is_one() -> None:
    outcome = run(tries, 1, activities={"flaky": flaky(1)})
    assert outcome.status is Status.FAILED
    assert counted(outcome, ActivityScheduled) == 1


@orchestration
async def tries_for_a_while(ctx: OrchestrationContext, deadline_ms: int) -> str:
    try:
        return await ctx.schedule_activity("flaky", output=str, retry=AT_ONCE, deadline=deadline_ms * MS)
    except TimedOut as error:
        return error.failure.message


@upstream(
    "schedule_with_retry_tests",
    "test_timeout_fires_before_success",
    "test_timeout_exits_immediately_without_retry",
    "test_timeout_history_replays_correctly",
    "test_retry_policy_builder_with_timeout",
    "test_retry_policy_builder_chained",
    "test_very_short_timeout",
    differs="What ends all attempts together is the deadline, beside the policy; a timeout is for each attempt.",
)
@pytest.mark.parametrize("deadline_ms", [1, 150])
def test_a_deadline_ends_it_whatever_attempts_are_left(deadline_ms: int) -> None:
    outcome = run(
        tries_for_a_while, deadline_ms, activities={"flaky": flaky(0)}, durations={"flaky": timedelta(seconds=10)}
    )
    assert "flaky within its deadline" in outcome.output
    assert outcome.elapsed == deadline_ms * MS
    kinds = (ActivityScheduled, TimerCreated, TimerFired)
    assert [counted(outcome, kind) for kind in kinds] == [1, 1, 1]


@upstream("schedule_with_retry_tests", "test_zero_duration_timeout")
def test_a_deadline_of_no_time_has_passed_at_once() -> None:
    outcome = run(tries_for_a_while, 0, activities={"flaky": flaky(0)}, durations={"flaky": timedelta(seconds=10)})
    assert "flaky within its deadline" in outcome.output
    assert outcome.elapsed == timedelta(0)


@upstream(
    "schedule_with_retry_tests",
    "test_error_retries_but_timeout_exits",
    differs="One deadline is for all attempts together, so there is one timer.",
)
def test_an_error_is_tried_again_until_the_deadline() -> None:
    outcome = run(
        tries_for_a_while, 500, activities={"flaky": flaky(1)}, durations={"flaky": timedelta(milliseconds=400)}
    )
    assert "its last attempt failed with ValueError: attempt 1" in outcome.output
    kinds = (ActivityScheduled, ActivityFailed, TimerCreated)
    assert [counted(outcome, kind) for kind in kinds] == [2, 1, 1]


class Query(msgspec.Struct):
    sql: str


class Rows(msgspec.Struct):
    count: int


@orchestration
async def asks(ctx: OrchestrationContext) -> Rows:
    session = str(ctx.new_guid())
    return await ctx.schedule_activity("ask", Query("SELECT 1"), output=Rows, retry=AT_ONCE, session_id=session)


@pytest.mark.parametrize(("failures", "status"), [(1, Status.COMPLETED), (5, Status.FAILED)])
@upstream(
    "schedule_with_retry_tests",
    "test_typed_activity_retry_success",
    "retry_on_session_basic_success",
    "retry_on_session_all_attempts_fail",
    "retry_on_session_typed_round_trip",
)
def test_all_attempts_are_in_one_session_and_of_ones_own_types(failures: int, status: Status) -> None:
    tried = flaky(failures)

    def ask(query: Query) -> Rows:
        tried()
        return Rows(len(query.sql))

    outcome = run(asks, activities={"ask": ask})
    assert outcome.status is status
    if status is Status.COMPLETED:
        assert outcome.output == Rows(8)
    calls = [event for event in outcome.history if isinstance(event, ActivityScheduled)]
    assert len(calls) == min(failures + 1, 5)
    assert len({call.session_id for call in calls}) == 1


@orchestration
async def goes_on_when_it_fails(ctx: OrchestrationContext, execution: int) -> str:
    try:
        return await ctx.schedule_activity("fails_first", execution, output=str, retry=RetryPolicy(attempts=2))
    except ActivityError:
        return ctx.continue_as_new(execution + 1)


@upstream("schedule_with_retry_tests", "test_retry_timeout_with_continue_as_new")
def test_the_next_execution_begins_with_its_first_attempt() -> None:
    def fails_first(execution: int) -> str:
        if execution == 0:
            raise ValueError("the first execution")
        return f"execution {execution}"

    outcome = run(goes_on_when_it_fails, 0, activities={"fails_first": fails_first})
    assert outcome.output == "execution 1"
    first, second = outcome.instances["test"].executions
    assert [len([one for one in events if isinstance(one, ActivityScheduled)]) for events in (first, second)] == [2, 1]


@orchestration
async def goes_on(ctx: OrchestrationContext, number: int) -> str:
    ctx.schedule_activity("slow", number)
    result = await ctx.schedule_activity("quick", number, output=str)
    return result if number == 2 else ctx.continue_as_new(number + 1)


@upstream("schedule_with_retry_tests", "test_activity_completes_after_continue_as_new")
def test_an_answer_for_an_earlier_execution_does_not_reach_a_later_one() -> None:
    def quick(number: int) -> str:
        return f"quick {number}"

    stand_ins = {"slow": lambda: "late", "quick": quick}
    outcome = run(goes_on, 0, activities=stand_ins, durations={"slow": 5 * MS, "quick": 3 * MS})
    assert outcome.output == "quick 2"
    assert len(outcome.instances["test"].executions) == 3


@orchestration
async def both(ctx: OrchestrationContext) -> list[str]:
    return list(await ctx.join(*(ctx.schedule_sub_orchestration(tries_named, name) for name in ("one", "two"))))


@orchestration
async def tries_named(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(name, output=str, retry=AT_ONCE)


@upstream("schedule_with_retry_tests", "test_multiple_orchestrations_retrying")
def test_instances_that_try_at_once_count_for_themselves() -> None:
    outcome = run(both, activities={"one": flaky(1), "two": flaky(2)}, orchestrations=[tries_named])
    assert outcome.output == ["attempt 2", "attempt 3"]
