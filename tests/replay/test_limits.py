"""Do the limits of an activity reach its work item, and the details of a failed attempt the next one, on replay too?"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from engine.errors import ActivityError, TimedOut
from engine.model.events import ActivityFailed, ActivityScheduled
from engine.model.failure import Failure
from engine.model.limits import ActivityLimits, WorkLimits
from engine.model.messages import FailActivity
from engine.model.payload import Payload
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.replay.time_outs import timed_out
from engine.replay.turn import Held
from tests.replay.given import NOW_MS, Instance, payload

AT_ONCE = RetryPolicy(attempts=4, delay=timedelta(0))


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def failed(
    instance: Instance, activity_id: int, details: object = None, failure: Failure | None = None
) -> FailActivity:
    heartbeat = None if details is None else payload(details)
    return msgspec.structs.replace(instance.failed(activity_id, failure), heartbeat=heartbeat)


def scheduled(instance: Instance) -> list[ActivityScheduled]:
    return [event for event in instance.history if isinstance(event, ActivityScheduled)]


def test_limits_are_recorded_and_given_to_the_worker(keep: bool) -> None:
    @orchestration
    async def asks(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(
            "draw",
            output=str,
            queue_timeout=timedelta(minutes=1),
            run_timeout=timedelta(seconds=2),
            heartbeat_timeout=timedelta(microseconds=1_500),
        )

    instance = Instance(asks, keep=keep)
    [item] = instance.start().work_items
    limits = ActivityLimits(queue_timeout_ms=60_000, run_timeout_ms=2_000, heartbeat_timeout_ms=2)
    assert scheduled(instance)[0].limits == limits
    assert item.limits == WorkLimits(**msgspec.structs.asdict(limits), start_by_ms=NOW_MS + 60_000)
    instance.give(instance.completed(2, "drawn"))
    assert instance.output == "drawn"


def test_without_a_queue_time_out_an_item_may_wait(keep: bool) -> None:
    @orchestration
    async def asks(ctx: OrchestrationContext) -> None:
        await ctx.join(ctx.schedule_activity("a", run_timeout=timedelta(seconds=1)), ctx.schedule_activity("b"))

    instance = Instance(asks, keep=keep)
    limited, free = instance.start().work_items
    assert (limited.limits, free.limits) == (WorkLimits(run_timeout_ms=1_000), None)


@orchestration
async def imports(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity("import", output=str, retry=AT_ONCE)


def test_the_next_attempt_has_the_details_of_the_last_one_that_had_any(keep: bool) -> None:
    instance = Instance(imports, keep=keep)
    [first] = instance.start().work_items
    [second] = instance.give(failed(instance, 2, {"at": 10})).work_items
    [third] = instance.give(failed(instance, 4)).work_items
    [fourth] = instance.give(failed(instance, 6, {"at": 30})).work_items
    assert [item.heartbeat for item in (first, second, third, fourth)] == [
        None,
        payload({"at": 10}),
        payload({"at": 10}),
        payload({"at": 30}),
    ]
    assert [event.heartbeat for event in scheduled(instance)] == [
        item.heartbeat for item in (first, second, third, fourth)
    ]
    assert [event.heartbeat for event in instance.history if isinstance(event, ActivityFailed)] == [
        payload({"at": 10}),
        None,
        payload({"at": 30}),
    ]
    instance.give(instance.completed(8, "all"))
    assert instance.output == "all"


def test_an_attempt_that_the_orchestration_ended_leaves_what_came_before(keep: bool) -> None:
    @orchestration
    async def impatient(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity("import", output=str, retry=AT_ONCE, timeout=timedelta(seconds=5))

    instance = Instance(impatient, keep=keep)
    instance.start()  # 2 the activity, 3 its timer
    instance.give(failed(instance, 2, "ten"))  # 4, then the timer is taken back, 6 the activity, 7 its timer
    instance.give(instance.fired(scheduled(instance)[-1].event_id + 1, NOW_MS + 5_000))
    assert [event.heartbeat for event in scheduled(instance)] == [None, payload("ten"), payload("ten")]


def test_a_time_out_that_a_worker_says_is_timed_out_for_the_code(keep: bool) -> None:
    @orchestration
    async def asks(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("draw", run_timeout=timedelta(seconds=1))
        except TimedOut as error:
            return error.failure.message
        except ActivityError:
            return "another error"
        return "no error"

    instance = Instance(asks, keep=keep)
    instance.start()
    instance.give(failed(instance, 2, failure=timed_out("it took too long")))
    assert instance.output == "it took too long"


def test_a_time_out_counts_as_an_attempt_unless_the_policy_says_it_is_final(keep: bool) -> None:
    @orchestration
    async def picky(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity("draw", retry=RetryPolicy(attempts=9, delay=timedelta(0)))
            policy = RetryPolicy(attempts=9, non_retryable=(TimedOut,))
            await ctx.schedule_activity("draw", retry=policy)
        except TimedOut as error:
            return error.failure.message
        return "no error"

    instance = Instance(picky, keep=keep)
    instance.start()
    instance.give(failed(instance, 2, failure=timed_out("once")))
    instance.give(instance.completed(4))
    instance.give(failed(instance, 6, failure=timed_out("for good")))
    assert instance.output == "for good"


# What replay compares


def test_other_limits_are_no_other_code() -> None:
    """As with timers: what is under way keeps what it began with."""

    def asks(seconds: int) -> Callable[[OrchestrationContext], Any]:
        @orchestration(name="asks")
        async def code(ctx: OrchestrationContext) -> str:
            return await ctx.schedule_activity("draw", output=str, run_timeout=timedelta(seconds=seconds))

        return code

    before = Instance(asks(1))
    before.start()
    after = Instance(asks(2), history=before.history)
    after.give(after.completed(2, "drawn"))
    assert after.output == "drawn"


def test_an_attempt_with_other_details_is_not_the_recorded_one() -> None:
    instance = Instance(imports)
    instance.start()
    instance.give(failed(instance, 2, "ten"))
    for other, shown in ((payload("eleven"), 'heartbeat="eleven"'), (None, "tag=None)")):
        changed = [
            msgspec.structs.replace(event, heartbeat=other) if event is scheduled(instance)[1] else event
            for event in instance.history
        ]
        outcome = Instance(imports, history=changed).turn(instance.completed(4, "all"))
        assert isinstance(outcome, Held)
        assert shown in outcome.failure.message
        asked = "ActivityScheduled(name='import', input=null, session_id=None, tag=None, heartbeat=\"ten\")"
        assert f"but the code asks for {asked}" in outcome.failure.message


def test_equal_details_may_be_written_otherwise() -> None:
    instance = Instance(imports)
    instance.start()
    instance.give(failed(instance, 2, {"a": 1, "b": 2}))
    changed = [
        msgspec.structs.replace(event, heartbeat=Payload(b'{ "b": 2, "a": 1 }'))
        if event is scheduled(instance)[1]
        else event
        for event in instance.history
    ]
    again = Instance(imports, history=changed)
    again.give(again.completed(4, "all"))
    assert again.output == "all"
