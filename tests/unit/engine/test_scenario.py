"""Can a user test an orchestration with one call, and is told what is wrong with it?"""

import asyncio
import itertools
import time
from datetime import timedelta
from typing import Any, cast

import pytest

from engine import (
    ActivityContext,
    OrchestrationContext,
    OrchestrationFailed,
    RetryPolicy,
    Status,
    UsageError,
    activity,
    orchestration,
)
from engine.errors import ActivityError, TimedOut
from engine.model.events import ActivityScheduled
from engine.testing import ScenarioFailed, cancel, enqueue, raise_event, replay, run, run_async


@activity
async def charge(amount: int) -> str:
    return f"receipt {amount}"


@activity
def where(ctx: ActivityContext) -> str:
    return f"{ctx.instance} {ctx.execution_id} {ctx.activity_id} {ctx.name} {ctx.attempt}"


@orchestration
async def order(ctx: OrchestrationContext, amount: int) -> str:
    receipt = await ctx.schedule_activity(charge, amount)
    await asyncio.sleep(3600)
    return receipt


@orchestration
async def approval(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.wait_event("approved", str), ctx.schedule_timer(timedelta(days=3)))
    return won.value or "timed out"


@orchestration
async def family(ctx: OrchestrationContext) -> list[str]:
    ctx.start_detached(order, 7, instance="detached")
    return list(await ctx.join(*(ctx.schedule_sub_orchestration(order, amount) for amount in (1, 2))))


def test_time_is_skipped_and_counted() -> None:
    outcome = run(order, 5, activities=[charge])
    assert outcome.output == "receipt 5"
    assert outcome.elapsed == timedelta(hours=1)
    assert outcome.status is Status.COMPLETED


async def test_it_runs_on_a_running_loop_too() -> None:
    outcome = await run_async(order, 5, activities=[charge])
    assert outcome.output == "receipt 5"


def test_functions_stand_in_for_activities_by_name() -> None:
    def declined(amount: int) -> str:
        raise ValueError(f"declined {amount}")

    outcome = run(order, 5, activities={"charge": declined})
    assert outcome.status is Status.FAILED
    with pytest.raises(OrchestrationFailed, match="ValueError: declined 5"):
        _ = outcome.output
    assert run(order, 5, activities={"charge": lambda: "free"}).output == "free"


@pytest.mark.parametrize(("days", "said"), [(2, "boss"), (4, "timed out")])
def test_events_arrive_when_the_script_says(days: int, said: str) -> None:
    outcome = run(approval, script=[raise_event("approved", "boss", at=timedelta(days=days))])
    assert outcome.output == said
    assert outcome.elapsed == timedelta(days=min(days, 3))


def test_children_and_detached_instances_run_too() -> None:
    outcome = run(family, activities=[charge], orchestrations=[order])
    assert outcome.output == ["receipt 1", "receipt 2"]
    assert sorted(outcome.instances) == ["detached", "test", "test::sub::3", "test::sub::4"]
    assert {one.status for one in outcome.instances.values()} == {Status.COMPLETED}


def test_cancellation_is_scripted_like_an_event() -> None:
    outcome = run(approval, script=[cancel("closed", at=timedelta(hours=1))])
    assert outcome.status is Status.CANCELLED
    assert outcome.failure is not None
    assert outcome.failure.message == "closed"


def test_executions_follow_one_another_and_each_history_is_kept() -> None:
    @orchestration
    async def sums(ctx: OrchestrationContext, total: int) -> int:
        number = await ctx.dequeue("n", int)
        ctx.set_custom_status(str(total))
        return total if number == 0 else ctx.continue_as_new(total + number)

    outcome = run(sums, 0, script=[enqueue("n", number) for number in (1, 2, 3, 0)])
    assert outcome.output == 6
    assert outcome.custom_status == "6"
    assert len(outcome.instances["test"].executions) == 4


def test_an_activity_takes_as_long_as_the_test_says() -> None:
    @orchestration
    async def impatient(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_activity(charge, 1, timeout=timedelta(seconds=5))
        except ActivityError as error:
            return error.failure.type

    assert run(impatient, activities=[charge], durations={"charge": timedelta(seconds=4)}).output == "receipt 1"
    late = run(impatient, activities=[charge], durations={"charge": timedelta(seconds=6)})
    assert (late.output, late.elapsed) == ("TimedOut", timedelta(seconds=5))


def test_an_activity_that_takes_longer_than_it_may_fails_in_its_time() -> None:
    @activity
    async def lives(ctx: ActivityContext, amount: int) -> str:
        ctx.heartbeat()
        return f"{amount}"

    @orchestration
    async def asks(ctx: OrchestrationContext, name: str) -> str:
        hour, minute = timedelta(hours=1), timedelta(minutes=1)
        try:
            return await ctx.schedule_activity(name, 1, output=str, run_timeout=hour, heartbeat_timeout=minute)
        except TimedOut as error:
            return error.failure.message

    def takes(name: str, duration: timedelta) -> tuple[object, timedelta]:
        done = run(asks, name, activities=[charge, lives], durations={name: duration})
        return done.output, done.elapsed

    assert takes("charge", timedelta(seconds=59)) == ("receipt 1", timedelta(seconds=59))
    silent = (
        "expected activity charge to call heartbeat() within each heartbeat_timeout of 0:01:00, "
        "but it was silent for longer"
    )
    assert takes("charge", timedelta(hours=5)) == (silent, timedelta(minutes=1))
    assert takes("lives", timedelta(minutes=5)) == ("1", timedelta(minutes=5))
    slow = "expected activity lives to end within its run_timeout of 1:00:00, but it still runs"
    assert takes("lives", timedelta(hours=2)) == (slow, timedelta(hours=1))


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError("no more"), ValueError("no")], ids=type)
@pytest.mark.parametrize("is_async", [True, False])
def test_whatever_an_activity_raises_is_its_failure_as_on_a_node(raised: BaseException, is_async: bool) -> None:
    def leaves(amount: int) -> str:
        raise raised

    async def leaves_later(amount: int) -> str:
        await asyncio.sleep(0)
        raise raised

    @orchestration
    async def catches(ctx: OrchestrationContext) -> str:
        try:
            return await ctx.schedule_activity("leaves", 1, output=str)
        except ActivityError as error:
            return f"{error.failure.type}: {error.failure.message}"

    outcome = run(catches, activities={"leaves": leaves_later if is_async else leaves})
    assert outcome.output == f"{type(raised).__name__}: {raised}"


def test_what_cannot_travel_is_not_tried_again_as_on_a_node() -> None:
    calls: list[str] = []

    def opaque(amount: int) -> object:
        calls.append("opaque")
        return object()

    def picky(amount: str) -> None:
        calls.append("picky")

    @orchestration
    async def insists(ctx: OrchestrationContext, name: str) -> bool:
        try:
            await ctx.schedule_activity(name, 1, retry=RetryPolicy(attempts=3))
        except ActivityError as error:
            return error.failure.type == "ConversionError" and not error.failure.retryable
        return False

    for name in ("opaque", "picky"):
        outcome = run(insists, name, activities={"opaque": opaque, "picky": picky})
        assert (outcome.output, len(outcome.history)) == (True, 4)
    assert calls == ["opaque"]


async def test_a_test_that_is_cancelled_in_an_activity_ends() -> None:
    begun = asyncio.Event()

    async def hangs(amount: int) -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    playing = asyncio.ensure_future(run_async(order, 5, activities={"charge": hangs}))
    await begun.wait()
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing


def test_the_next_attempt_reads_what_the_one_before_said() -> None:
    seen: list[object] = []

    @activity
    async def climbs(ctx: ActivityContext) -> int:
        seen.append(ctx.heartbeat_details())
        step = ctx.heartbeat_details(int) or 0
        ctx.heartbeat(step + 1)
        if step < 2:
            raise ConnectionError("slipped")
        return step

    @orchestration
    async def insists(ctx: OrchestrationContext) -> int:
        return await ctx.schedule_activity(climbs, retry=RetryPolicy(attempts=5))

    assert run(insists, activities=[climbs]).output == 2
    assert seen == [None, 1, 2]


def test_an_activity_sees_its_context() -> None:
    @orchestration
    async def asks(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(where)

    assert run(asks, activities=[where], instance="me").output == "me 1 2 where 1"


def test_code_that_is_not_deterministic_is_found() -> None:
    numbers = itertools.count()

    @orchestration
    async def counts(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity(charge, next(numbers))

    with pytest.raises(ScenarioFailed, match=r"event 2: expected ActivityScheduled\(.*input=0.*input=1"):
        run(counts, activities=[charge])


def test_code_that_asks_the_host_for_the_time_is_refused() -> None:
    @orchestration
    async def looks_at_the_clock(ctx: OrchestrationContext) -> bool:
        return time.time() > 0

    with pytest.raises(ScenarioFailed, match=r"it used time\.time; use ctx\.utc_now\(\)"):
        run(looks_at_the_clock)
    assert run(looks_at_the_clock, replay_always=False).status is Status.COMPLETED


def test_code_that_waits_for_what_never_comes_is_said_to() -> None:
    @orchestration
    async def hangs(ctx: OrchestrationContext) -> None:
        await ctx.wait_event("godot")

    with pytest.raises(ScenarioFailed, match=r"it waits for ever: ExternalSubscribed\(name='godot'\)"):
        run(hangs)


def test_a_scenario_that_failed_leaves_no_code_to_the_collector() -> None:
    """It would end that in the middle of somebody else's turn, with the loop of that one."""
    ended: list[str] = []

    @orchestration
    async def hangs(ctx: OrchestrationContext) -> None:
        try:
            await ctx.wait_event("godot")
        finally:
            ended.append("here")

    with pytest.raises(ScenarioFailed, match="it waits for ever") as caught:
        run(hangs, replay_always=False)
    assert ended == ["here"], f"expected the code to be put away before {caught}"


def test_a_history_of_a_later_execution_replays_as_what_it_is() -> None:
    """What the context draws is another in each execution."""

    @orchestration
    async def draws(ctx: OrchestrationContext, left: int) -> None:
        if left:
            return ctx.continue_as_new(left - 1)
        ctx.set_custom_status(ctx.new_guid().hex)
        return None

    outcome = run(draws, 2)
    assert outcome.execution_id == 3
    replay(draws, outcome.history, execution_id=outcome.execution_id)
    with pytest.raises(ScenarioFailed, match="CustomStatusUpdated"):
        replay(draws, outcome.history)


@pytest.mark.parametrize("missing", ["activity 'charge'", "orchestration 'order'"])
def test_what_was_not_given_is_named(missing: str) -> None:
    with pytest.raises(ScenarioFailed, match=f"expected {missing} among those given, but it is not"):
        run(order, 1) if "charge" in missing else run(family, activities=[charge])


def test_a_version_that_was_not_given_is_named_with_those_that_were() -> None:
    @orchestration
    async def asks(ctx: OrchestrationContext, name: str) -> str:
        if name == "asks":
            return ctx.continue_as_new(name, version="9.0.0")
        return await ctx.schedule_sub_orchestration(name, 1, output=str, version="9.9.9")

    with pytest.raises(ScenarioFailed, match=r"expected version 9.0.0 of orchestration 'asks' .*, but they have 1.0.0"):
        run(asks, "asks")
    with pytest.raises(ScenarioFailed, match=r"version 9.9.9 of orchestration 'order' among those given, but they hav"):
        run(asks, "order", orchestrations=[order])
    with pytest.raises(ScenarioFailed, match=r"expected orchestration 'nobody' among those given, but it is not"):
        run(asks, "nobody")


@pytest.mark.parametrize(
    ("scenario", "complaint"),
    [
        ({"durations": {"charge": 5}}, "expected the duration of activity charge to be a timedelta, but it is 5"),
        ({"durations": {"chrage": timedelta(1)}}, r"among those given \(charge\), but got 'chrage'"),
        ({"durations": 5}, "expected durations by the name of the activity, but they are 5"),
        ({"script": ["x"]}, r"expected a script of raise_event\(…\), .*, but it has 'x'"),
        ({"script": cancel()}, r"expected script to be a list of what happens, but it is Scripted\("),
        ({"script": [raise_event("a", at=cast("Any", 5))]}, "expected `at` of a step .* a timedelta, but it is 5"),
    ],
    ids=["duration", "name", "durations", "step", "script", "at"],
)
def test_a_scenario_that_cannot_be_played_is_refused(scenario: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        run(order, 5, activities=[charge], **scenario)


def test_a_stored_history_replays_and_a_difference_is_reported() -> None:
    history = run(order, 5, activities=[charge]).history
    replay(order, history)
    scheduled = history[1]
    assert isinstance(scheduled, ActivityScheduled)
    with pytest.raises(ScenarioFailed, match=r"event 2: expected ActivityScheduled\(name='charge'"):
        replay(approval, history)


def test_without_replay_the_outcome_is_the_same() -> None:
    kept = run(family, activities=[charge], orchestrations=[order], replay_always=False)
    assert kept.history == run(family, activities=[charge], orchestrations=[order]).history
