"""Is every attempt and every pause of a retried activity in the history, and does time run out where it should?"""

import asyncio
import math
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ActivityError, TimedOut, UsageError
from engine.model.events import OrchestrationFailed
from engine.model.failure import Category, Failure
from engine.model.messages import CancelInstance, StartOrchestration
from engine.model.turn import TimerRef, TurnResult
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from tests.replay.given import NOW_MS, Instance, boom, kinds
from tests.upstream import upstream

POLICY = RetryPolicy(attempts=3, backoff="fixed", delay=timedelta(seconds=2))


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@orchestration
async def persistent(ctx: OrchestrationContext) -> str:
    try:
        return str(await ctx.schedule_activity("flaky", retry=POLICY))
    except ActivityError as error:
        return f"gave up: {error}"


@upstream("schedule_with_retry_tests", "test_retry_with_fixed_backoff")
def test_each_attempt_and_each_pause_is_an_event(keep: bool) -> None:
    instance = Instance(persistent, keep=keep)
    instance.start()
    result = instance.give(instance.failed(2))
    assert result.messages == (instance.fired(4, NOW_MS + 2000),)
    result = instance.give(instance.fired(4))
    assert [item.activity_id for item in result.work_items] == [6]
    instance.give(instance.completed(6, "at last"))
    assert instance.output == "at last"
    assert kinds(instance.history) == [
        "OrchestrationStarted",
        "ActivityScheduled", "ActivityFailed",
        "TimerCreated", "TimerFired",
        "ActivityScheduled", "ActivityCompleted",
        "OrchestrationCompleted",
    ]  # fmt: skip


@upstream("schedule_with_retry_tests", "test_activity_exhausts_all_attempts")
def test_the_last_failure_is_raised_when_the_attempts_are_used_up(keep: bool) -> None:
    instance = Instance(persistent, keep=keep)
    instance.start()
    instance.give(instance.failed(2, boom("1")))
    instance.give(instance.fired(4))
    instance.give(instance.failed(6, boom("2")))
    instance.give(instance.fired(8))
    instance.give(instance.failed(10, boom("3")))
    assert instance.output == "gave up: ValueError: 3"


def test_a_failure_that_cannot_be_helped_is_not_tried_again(keep: bool) -> None:
    instance = Instance(persistent, keep=keep)
    instance.start()
    instance.give(instance.failed(2, msgspec.structs.replace(boom(), retryable=False)))
    assert instance.output == "gave up: ValueError: boom"


@pytest.mark.parametrize("final", [ValueError, "ValueError"], ids=["class", "name"])
def test_types_named_final_are_not_tried_again(final: type[BaseException] | str) -> None:
    @orchestration
    async def picky(ctx: OrchestrationContext) -> str:
        with pytest.raises(ActivityError):
            await ctx.schedule_activity("flaky", retry=RetryPolicy(attempts=5, non_retryable=(final,)))
        return "gave up"

    instance = Instance(picky)
    instance.start()
    instance.give(instance.failed(2))
    assert instance.output == "gave up"


def test_an_attempt_that_takes_too_long_is_cancelled_and_tried_again(keep: bool) -> None:
    @orchestration
    async def impatient(ctx: OrchestrationContext) -> str:
        policy = RetryPolicy(attempts=2, delay=timedelta(0))
        try:
            return await ctx.schedule_activity("slow", output=str, retry=policy, timeout=timedelta(seconds=5))
        except TimedOut as error:
            return error.failure.message

    instance = Instance(impatient, keep=keep)
    instance.start()
    first = instance.give(instance.fired(3))
    assert [ref.activity_id for ref in first.cancelled_activities] == [2]
    assert [item.activity_id for item in first.work_items] == [6]
    second = instance.give(instance.fired(7))
    assert [ref.activity_id for ref in second.cancelled_activities] == [6]
    assert instance.output == "expected activity slow within its timeout of 0:00:05, but it took longer"


def test_the_deadline_ends_attempts_and_pauses_together(keep: bool) -> None:
    @orchestration
    async def hurried(ctx: OrchestrationContext) -> str:
        with pytest.raises(TimedOut) as late:
            await ctx.activity("slow", retry=POLICY, deadline=timedelta(seconds=3))
        assert late.value.failure.cause is not None
        assert late.value.failure.cause.type == "ValueError"
        return late.value.failure.message

    instance = Instance(hurried, keep=keep)
    instance.start()
    instance.give(instance.failed(2))
    result = instance.give(instance.fired(3))
    assert result.cancelled_timers == (TimerRef(1, 5),)
    assert instance.output == (
        "expected activity slow within its deadline of 0:00:03, but it took longer; "
        "its last attempt failed with ValueError: boom"
    )


@upstream("schedule_with_retry_tests", "test_success_before_timeout")
def test_a_success_in_time_leaves_no_timer(keep: bool) -> None:
    @orchestration
    async def in_time(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a", timeout=timedelta(seconds=5), deadline=timedelta(hours=1))
        await ctx.wait_event("never")

    instance = Instance(in_time, keep=keep)
    instance.start()
    result = instance.give(instance.completed(2))
    assert sorted(ref.timer_id for ref in result.cancelled_timers) == [3, 4]


def test_cancelling_a_retried_activity_takes_its_attempt_back(keep: bool) -> None:
    @orchestration
    async def changes_its_mind(ctx: OrchestrationContext) -> None:
        at_once = ctx.schedule_activity("a", retry=POLICY)
        at_once.cancel()
        later = ctx.schedule_activity("b", retry=POLICY)
        await ctx.wait_event("go")
        later.cancel()
        await ctx.wait_event("never")

    instance = Instance(changes_its_mind, keep=keep)
    result = instance.start()
    assert [item.name for item in result.work_items] == ["b"]
    result = instance.give(instance.raised("go"))
    assert [ref.activity_id for ref in result.cancelled_activities] == [4]


@pytest.mark.parametrize(
    ("policy", "pauses"),
    [
        (RetryPolicy(backoff="fixed", delay=timedelta(seconds=2)), [2, 2, 2, 2]),
        (RetryPolicy(backoff="linear", delay=timedelta(seconds=2), delay_max=timedelta(seconds=5)), [2, 4, 5, 5]),
        (RetryPolicy(delay=timedelta(seconds=1), factor=3, delay_max=timedelta(seconds=10)), [1, 3, 9, 10]),
        (RetryPolicy(backoff="fixed", delay=timedelta(seconds=4), jitter=0.5), [3, 3, 3, 3]),
        (RetryPolicy(backoff="fixed", delay=timedelta(0)), [0, 0, 0, 0]),
        (RetryPolicy(backoff="linear", delay=timedelta(0)), [0, 0, 0, 0]),
        (RetryPolicy(delay=timedelta(0)), [0, 0, 0, 0]),
        (RetryPolicy(delay=timedelta(seconds=5), factor=1), [5, 5, 5, 5]),
        (RetryPolicy(delay=timedelta(milliseconds=100)), [0.1, 0.2, 0.4, 0.8]),
    ],
)
@upstream(
    "schedule_with_retry_tests",
    "test_backoff_fixed_same_delay",
    "test_backoff_fixed_zero_delay",
    "test_backoff_linear_multiplies_by_attempt",
    "test_backoff_linear_respects_max",
    "test_backoff_linear_zero_base",
    "test_backoff_exponential_doubles",
    "test_backoff_exponential_respects_max",
    "test_backoff_exponential_different_multiplier",
    "test_backoff_exponential_multiplier_one",
    "test_backoff_exponential_zero_base",
    "test_policy_delay_for_attempt_delegates",
)
@upstream(
    "schedule_with_retry_tests",
    "test_backoff_none_always_zero",
    differs="To try again at once is a pause of no time.",
)
def test_pauses_grow_as_the_policy_says(policy: RetryPolicy, pauses: list[int]) -> None:
    assert [policy.pause(number, 0.5).total_seconds() for number in range(1, 5)] == pauses


@pytest.mark.parametrize("factor", [1.001, 2.0, 1e6, 1e300])
@upstream("schedule_with_retry_tests", "test_backoff_exponential_large_attempt_no_overflow")
def test_a_pause_after_very_many_attempts_is_the_longest_and_no_overflow(factor: float) -> None:
    assert RetryPolicy(attempts=10_000, factor=factor).pause(9_999, 0.0) == timedelta(seconds=30)
    assert RetryPolicy(attempts=10_000, factor=factor, delay=timedelta(0)).pause(9_999, 0.0) == timedelta(0)


@given(st.floats(1, 1_000), st.integers(0, 60))
def test_an_exponential_pause_is_a_power(factor: float, exponent: int) -> None:
    policy = RetryPolicy(attempts=100, delay=timedelta(seconds=1), delay_max=timedelta(days=10_000), factor=factor)
    expected_s = min(factor**exponent, policy.delay_max.total_seconds())
    assert math.isclose(policy.pause(exponent + 1, 0.0).total_seconds(), expected_s, rel_tol=1e-12, abs_tol=1e-6)


def test_a_pause_is_the_same_on_every_processor() -> None:
    """With `pow` it was a millisecond longer on one without fused multiplication, and its instances would be held."""
    policy = RetryPolicy(
        attempts=17, delay=timedelta(microseconds=660_874), delay_max=timedelta(days=3_650), factor=3.132
    )
    assert policy.pause(16, 0.0) == timedelta(days=209, seconds=32_666, microseconds=594_000)


def test_jitter_is_the_same_on_replay() -> None:
    @orchestration
    async def jittery(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a", retry=RetryPolicy(delay=timedelta(seconds=10), jitter=1.0))

    instances = [Instance(jittery), Instance(jittery, keep=False)]
    for instance in instances:
        instance.start()
    first, second = (instance.give(instance.failed(2)).messages for instance in instances)
    assert first == second
    assert first != (instances[0].fired(4, NOW_MS + 10_000),)


@upstream(
    "schedule_with_retry_tests",
    "test_retry_policy_default",
    "test_retry_policy_new",
    "test_retry_policy_new_single_attempt",
    "test_retry_policy_builder_with_backoff",
    "test_large_max_attempts",
)
def test_a_policy_is_what_it_is_given_and_has_defaults() -> None:
    assert RetryPolicy() == RetryPolicy(
        attempts=3,
        backoff="exponential",
        delay=timedelta(milliseconds=100),
        delay_max=timedelta(seconds=30),
        factor=2.0,
        jitter=0.0,
        non_retryable=(),
    )
    assert RetryPolicy(attempts=1).attempts == 1
    assert RetryPolicy(attempts=1_000, backoff="fixed").backoff == "fixed"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"attempts": 0}, "expected at least 1 attempt, but a policy has 0"),
        ({"delay": timedelta(-1)}, "expected pauses of no less than 0"),
        ({"factor": 0.5}, "expected a factor of at least 1, but it is 0.5"),
        ({"factor": math.nan}, "expected a factor of at least 1, but it is nan"),
        ({"jitter": 2.0}, "expected a jitter from 0 to 1, but it is 2.0"),
        ({"backoff": "expo"}, "expected backoff to be one of fixed, linear, exponential, but it is 'expo'"),
        ({"backoff": ["fixed"]}, "expected backoff to be one of fixed, linear, exponential, but it is "),
        ({"attempts": "3"}, "expected attempts of a policy to be an int, but it is '3'"),
        ({"attempts": 2.5}, "expected attempts of a policy to be an int, but it is 2.5"),
        ({"delay": 5}, "expected delay of a policy to be a timedelta, but it is 5"),
        ({"delay_max": None}, "expected delay_max of a policy to be a timedelta, but it is None"),
        ({"factor": "2"}, "expected factor of a policy to be a number, but it is '2'"),
        ({"jitter": None}, "expected jitter of a policy to be a number, but it is None"),
        ({"non_retryable": ValueError}, "expected non_retryable to be a tuple of exception classes and names, but it"),
        ({"non_retryable": "ValueError"}, "expected non_retryable to be a tuple .*, but it is 'ValueError'"),
        ({"non_retryable": (int,)}, "expected exception classes and names in non_retryable, but it has <class 'int'>"),
    ],
)
@upstream("schedule_with_retry_tests", "test_retry_policy_new_zero_panics")
def test_a_policy_that_cannot_be_followed_is_refused(policy: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        msgspec.structs.replace(RetryPolicy(), **policy)


# Children


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> str:
    return str(number)


@orchestration
async def persistent_parent(ctx: OrchestrationContext) -> str:
    try:
        return await ctx.schedule_sub_orchestration(child, 1, retry=POLICY, timeout=timedelta(minutes=1))
    except ActivityError as error:
        return f"gave up: {error}"


def test_each_attempt_of_a_child_is_another_child(keep: bool) -> None:
    instance = Instance(persistent_parent, keep=keep)
    first = instance.start()
    assert [start.instance for start in started(first)] == ["i::sub::2"]
    instance.give(instance.child_failed(2))
    second = instance.give(instance.fired(6, NOW_MS + 2000))
    assert [start.instance for start in started(second)] == ["i::sub::8"]
    instance.give(instance.child_completed(8, "at last"))
    assert instance.output == "at last"


def started(result: TurnResult) -> list[StartOrchestration]:
    return [message for message in result.messages if isinstance(message, StartOrchestration)]


def test_a_child_that_was_cancelled_is_not_started_again(keep: bool) -> None:
    instance = Instance(persistent_parent, keep=keep)
    instance.start()
    instance.give(instance.child_failed(2, Failure(Category.CANCELLED, "Cancelled", "enough", retryable=False)))
    assert instance.output == "gave up: Cancelled: enough"


def test_a_child_that_takes_too_long_is_cancelled_and_started_again(keep: bool) -> None:
    instance = Instance(persistent_parent, keep=keep)
    instance.start()
    late = instance.give(instance.fired(3, NOW_MS + 60_000))
    (cancel,) = [message for message in late.messages if isinstance(message, CancelInstance)]
    assert cancel.instance == "i::sub::2"
    again = instance.give(instance.fired(6, NOW_MS + 62_000))
    assert [start.instance for start in started(again)] == ["i::sub::8"]


def test_the_coroutine_form_of_a_child_is_tried_again_too(keep: bool) -> None:
    @orchestration
    async def groups(ctx: OrchestrationContext) -> str:
        async with asyncio.TaskGroup() as group:
            one = group.create_task(ctx.sub_orchestration(child, 1, retry=POLICY))
            two = group.create_task(ctx.sub_orchestration("other", 2, output=str))
        return f"{one.result()} {two.result()}"

    instance = Instance(groups, keep=keep)
    assert [start.instance for start in started(instance.start())] == ["i::sub::2", "i::sub::3"]
    instance.give(instance.child_failed(2), instance.child_completed(3, "two"))
    instance.give(instance.fired(5, NOW_MS + 2000))
    instance.give(instance.child_completed(8, "one"))
    assert instance.output == "one two"


def test_an_id_of_its_own_and_several_attempts_do_not_go_together() -> None:
    @orchestration
    async def confused(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_sub_orchestration(child, 1, instance="one", retry=POLICY)

    instance = Instance(confused)
    instance.start()
    end = instance.history[-1]
    assert isinstance(end, OrchestrationFailed)
    assert "expected no `instance` beside `retry`" in end.failure.message
