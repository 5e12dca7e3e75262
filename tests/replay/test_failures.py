"""What is kept of an exception, and what does code see of a failure?"""

import asyncio
import traceback
from typing import Any

import pytest

from engine.errors import ActivityError, SubOrchestrationError, TimedOut, UsageError
from engine.model.failure import Category, Failure
from engine.model.status import Status
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.failures import failure_of
from tests.replay.given import Instance, boom, kinds
from tests.upstream import upstream


class OutOfStock(Exception):
    retryable = False


@upstream("replay_engine/fresh_execution", "immediate_return_err")
def test_an_exception_that_leaves_the_code_fails_the_instance_with_the_users_own_frames() -> None:
    def deep() -> None:
        raise KeyError("item")

    @orchestration
    async def breaks(ctx: OrchestrationContext) -> None:
        try:
            deep()
        except KeyError as error:
            raise RuntimeError("no item") from error

    result = Instance(breaks).start()
    failure = result.metadata.failure
    assert result.metadata.status is Status.FAILED
    assert failure is not None
    assert (failure.category, failure.type, failure.message) == (Category.APPLICATION, "RuntimeError", "no item")
    assert failure.cause is not None
    assert (failure.cause.type, failure.cause.message) == ("KeyError", "'item'")
    assert failure.stack is not None
    assert "test_failures.py" in failure.stack
    assert 'raise RuntimeError("no item") from error' in failure.stack
    assert "engine" not in failure.stack
    assert failure.cause.stack is not None
    assert failure.cause.stack.splitlines()[-1].strip() == 'raise KeyError("item")'


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
@pytest.mark.parametrize(
    ("error", "message"), [(ValueError("oops"), "oops"), (ValueError(42), "42"), (AssertionError(), "")]
)
@upstream("replay_engine/panic_handling", "panic_string", "panic_other", "panic_during_await")
@upstream("errors_tests", "orchestration_panic_is_caught_and_fails_with_message")
def test_whatever_the_code_raises_behind_an_await_ends_the_instance_and_not_the_turn(
    error: Exception, message: str, keep: bool
) -> None:
    @orchestration
    async def breaks(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")
        raise error

    instance = Instance(breaks, keep=keep)
    instance.start()
    result = instance.give(instance.completed(2))
    assert kinds(result.history_delta) == ["ActivityCompleted", "OrchestrationFailed"]
    failure = result.metadata.failure
    assert failure is not None
    assert (failure.category, failure.type) == (Category.APPLICATION, type(error).__name__)
    assert failure.message == message


def test_names_and_retryability_come_from_the_class() -> None:
    assert failure_of(OutOfStock("x")).type == f"{__name__}.OutOfStock"
    assert failure_of(OutOfStock("x")).retryable is False
    assert failure_of(ValueError("x")).retryable is True


def test_groups_keep_their_members() -> None:
    failure = failure_of(ExceptionGroup("two", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])]))
    assert [member.type for member in failure.others] == ["ValueError", "ExceptionGroup"]
    assert failure.others[1].others[0].type == "KeyError"


def test_an_exception_that_cannot_say_its_text_is_still_a_failure() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert failure_of(Mute()).message == "(its text cannot be had: RuntimeError)"


def test_a_chain_without_end_is_cut() -> None:
    error = ValueError("0")
    for number in range(1, 100):
        try:
            raise ValueError(str(number)) from error
        except ValueError as raised:
            error = raised
    failure: Failure | None = failure_of(error)
    length = 0
    while failure is not None:
        failure, length = failure.cause, length + 1
    assert length == 9


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
@upstream("errors_tests", "orchestration_propagates_activity_failure_fs")
def test_an_activity_failure_that_nobody_catches_is_the_cause_of_the_end(keep: bool) -> None:
    @orchestration
    async def trusts(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a")

    instance = Instance(trusts, keep=keep)
    instance.start()
    failure = instance.give(instance.failed(2, boom("bad"))).metadata.failure
    assert failure is not None
    assert (failure.type, failure.message) == ("ActivityError", "ValueError: bad")
    assert failure.cause == boom("bad")


def test_every_await_gets_a_fresh_exception() -> None:
    seen: list[ActivityError] = []

    @orchestration
    async def awaits_often(ctx: OrchestrationContext) -> None:
        work = ctx.schedule_activity("a")
        for _ in range(5):
            try:
                await work
            except ActivityError as error:
                seen.append(error)

    instance = Instance(awaits_often)
    instance.start()
    instance.give(instance.failed(2))
    assert len({id(error) for error in seen}) == 5
    assert len({len(traceback.extract_tb(error.__traceback__)) for error in seen}) == 1


def test_groups_of_groups_stay_within_a_bound_all_together() -> None:
    def count(failure: Failure) -> int:
        return 1 + sum(map(count, failure.others))

    failure = failure_of(ExceptionGroup("all", [ExceptionGroup("some", [KeyError()] * 100) for _ in range(100)]))
    assert count(failure) == 65
    assert len(failure.others[0].others) == 32


def test_failures_of_a_task_group_arrive_as_a_group() -> None:
    @orchestration
    async def grouped(ctx: OrchestrationContext) -> list[str]:
        caught: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.activity("a"))
                group.create_task(ctx.activity("b"))
        except* ActivityError as failed:
            caught = [str(error) for error in failed.exceptions]
        return caught

    instance = Instance(grouped)
    instance.start()
    result = instance.give(instance.failed(2, boom("bad")))
    assert [ref.activity_id for ref in result.cancelled_activities] == [3]
    assert instance.output == ["ValueError: bad"]


def test_input_of_the_wrong_type_fails_with_both_halves() -> None:
    @orchestration
    async def wants_int(ctx: OrchestrationContext, number: int) -> int:
        return number

    failure = Instance(wants_int).start("one").metadata.failure
    assert failure is not None
    assert failure.message == "expected input of orchestration wants_int of type int, but Expected `int`, got `str`"


def test_an_input_for_code_that_takes_none_is_refused() -> None:
    @orchestration
    async def takes_none(ctx: OrchestrationContext) -> None:
        return None

    failure = Instance(takes_none).start(5).metadata.failure
    assert failure is not None
    assert "expected no input" in failure.message


def test_an_output_without_a_form_fails_the_instance() -> None:
    @orchestration
    async def returns_an_object(ctx: OrchestrationContext) -> object:
        return object()

    failure = Instance(returns_an_object).start().metadata.failure
    assert failure is not None
    assert failure.type == "ConversionError"


def test_sys_exit_in_the_code_fails_the_instance_alone() -> None:
    @orchestration
    async def leaves(ctx: OrchestrationContext) -> None:
        ctx.schedule_activity("a")
        raise SystemExit(3)

    result = Instance(leaves).start()
    assert kinds(result.history_delta) == [
        "OrchestrationStarted",
        "ActivityScheduled",
        "ActivityCancelRequested",
        "OrchestrationFailed",
    ]
    assert result.metadata.failure is not None
    assert result.metadata.failure.type == "SystemExit"


def test_ctrl_c_in_the_host_is_not_the_instances_failure() -> None:
    @orchestration
    async def interrupted(ctx: OrchestrationContext) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Instance(interrupted).start()


def test_a_text_that_no_record_can_hold_is_written_so_that_it_can() -> None:
    assert failure_of(FileNotFoundError("no file caf\udce9")).message == "no file caf\\udce9"


def test_a_long_text_and_a_deep_stack_are_cut() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("x" * 100_000)

    with pytest.raises(ValueError, match="xxx") as caught:
        deep(400)
    failure = failure_of(caught.value)
    assert failure.message == "x" * 8_192 + "… (cut from 100000 characters)"
    assert failure.stack is not None
    assert len(failure.stack) < 8_300
    assert failure.stack.endswith('raise ValueError("x" * 100_000)')


class Broken(ActivityError):
    def __init__(self, place: int) -> None:
        Exception.__init__(self, f"at {place}")


def test_code_may_raise_what_it_else_catches_and_its_text_is_kept() -> None:
    for error, kind, message in [
        (TimedOut("me"), "TimedOut", "me"),
        (ActivityError("no luck"), "ActivityError", "no luck"),
        (SubOrchestrationError(), "SubOrchestrationError", ""),
        (Broken(5), "tests.replay.test_failures.Broken", "at 5"),
    ]:
        failure = failure_of(error)
        assert (failure.type, failure.message, failure.cause, failure.retryable) == (kind, message, None, True)
        assert str(error) == message
    error = TimedOut("me")
    assert (error.failure.type, error.failure.message) == ("TimedOut", "me")
    chained = ActivityError("behind")
    chained.__cause__ = KeyError("item")
    cause = failure_of(chained).cause
    assert cause is not None
    assert cause.type == "KeyError"


def test_what_it_catches_is_made_of_a_text_or_a_failure() -> None:
    untyped: Any = 5
    with pytest.raises(UsageError, match="expected a text to make TimedOut of, but it is 5"):
        TimedOut(untyped)
