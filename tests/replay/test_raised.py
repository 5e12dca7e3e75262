"""Do failures arrive as the exceptions they were, where that was declared, and as ActivityError where it was not?"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import pytest

from engine import (
    ActivityError,
    OrchestrationContext,
    RetryPolicy,
    SubOrchestrationError,
    TimedOut,
    UsageError,
    activity,
    orchestration,
)
from engine.model.failure import Category, Failure
from engine.replay.raised import declared
from engine.testing import run


class OutOfStock(Exception):
    """What a shop raises; its constructor wants more than a message."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(item, left)
        self.item = item

    def __str__(self) -> str:
        return f"no {self.item} left"


class Closed(Exception):
    retryable = False


class ClosedForGood(Closed):
    pass


def failure_in(error: Exception, also: type[ActivityError]) -> Failure:
    """What is in an exception that is of ours besides."""
    assert isinstance(error, also)
    return error.failure


KINDS: dict[str, Callable[[], Exception]] = {
    "out": lambda: OutOfStock("lamp", 0),
    "closed": Closed,
    "for good": ClosedForGood,
    "late": lambda: TimeoutError("slow"),
    "other": lambda: LookupError("x"),
}


@activity(raises=(OutOfStock, Closed, TimeoutError))
async def reserve(what: str) -> str:
    raise KINDS[what]()


@orchestration
async def orders(ctx: OrchestrationContext, what: str) -> list[str]:
    try:
        await ctx.schedule_activity(reserve, what)
    except OutOfStock as error:
        return ["out of stock", str(error), failure_in(error, ActivityError).message, type(error).__name__]
    except Closed as error:
        return ["closed", str(error)]
    except TimeoutError as error:
        return ["late", str(error)]
    except ActivityError as error:
        return ["activity", str(error), type(error).__name__]
    return []


@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("out", ["out of stock", f"{__name__}.OutOfStock: no lamp left", "no lamp left", "OutOfStock"]),
        ("closed", ["closed", f"{__name__}.Closed: "]),
        ("for good", ["activity", f"{__name__}.ClosedForGood: ", "ActivityError"]),  # a subclass is another name
        ("late", ["late", "TimeoutError: slow"]),
        ("other", ["activity", "LookupError: x", "ActivityError"]),
    ],
)
def test_a_declared_exception_is_caught_by_its_class(what: str, seen: list[str]) -> None:
    assert run(orders, what, activities=[reserve]).output == seen


@orchestration
async def insists(ctx: OrchestrationContext, what: str) -> str:
    policy = RetryPolicy(attempts=3, delay=timedelta(seconds=1))
    try:
        await ctx.schedule_activity(reserve, what, retry=policy, timeout=timedelta(hours=1), deadline=timedelta(days=1))
    except TimedOut:
        return "timed out"
    except (OutOfStock, Closed, TimeoutError) as error:
        return str(error)
    return ""


def test_after_retries_it_is_the_last_one_and_no_time_out_of_ours() -> None:
    late = run(insists, "late", activities=[reserve])
    assert (late.output, late.elapsed) == ("TimeoutError: slow", timedelta(seconds=3))
    final = run(insists, "closed", activities=[reserve])  # a policy reads the failure, so it is not tried again
    assert (final.output, final.elapsed) == (f"{__name__}.Closed: ", timedelta(0))


@orchestration(raises=OutOfStock)
async def shop(ctx: OrchestrationContext, what: str) -> str:
    return await ctx.schedule_activity(reserve, what)  # what it lets through, it fails with, under the same name


@orchestration
async def mall(ctx: OrchestrationContext, what: str) -> list[str]:
    try:
        await ctx.schedule_sub_orchestration(shop, what)
    except OutOfStock as error:
        failure = failure_in(error, SubOrchestrationError)
        return ["out", failure.type, "" if failure.cause is None else failure.cause.type]
    except SubOrchestrationError as error:
        return ["child", error.failure.type]
    return []


def test_it_goes_up_through_children_that_declare_it() -> None:
    name = f"{__name__}.OutOfStock"
    assert run(mall, "out", activities=[reserve], orchestrations=[shop]).output == ["out", name, name]
    assert run(mall, "closed", activities=[reserve], orchestrations=[shop]).output == ["child", f"{__name__}.Closed"]


@orchestration
async def by_name(ctx: OrchestrationContext) -> str:
    try:
        await ctx.schedule_activity("reserve", "out", raises=OutOfStock)
    except OutOfStock:
        return "out"
    return ""


def test_a_call_by_name_declares_what_it_knows() -> None:
    assert run(by_name, activities=[reserve]).output == "out"


@orchestration
async def awaits_twice(ctx: OrchestrationContext) -> bool:
    future = ctx.schedule_activity(reserve, "out")
    seen: list[Exception] = []
    for _ in range(2):
        try:
            await future
        except OutOfStock as error:
            seen.append(error)
    return seen[0] is not seen[1]


def test_each_await_raises_one_of_its_own() -> None:
    assert run(awaits_twice, activities=[reserve]).output is True


class Strange(Exception):
    def __new__(cls, one: int, two: int) -> Self:
        return super().__new__(cls, one, two)

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


@pytest.mark.parametrize(
    ("raises", "said"),
    [
        (KeyboardInterrupt, "expected exception classes in `raises` of pack, but got"),
        ((ValueError, "LookupError"), "but got 'LookupError'"),
        (ValueError("x"), "but got ValueError"),
        (StopIteration, "that a future carries, but got StopIteration"),
        (ExceptionGroup, "without arguments of their own, but ExceptionGroup cannot"),
        (Strange, "without arguments of their own, but .*Strange cannot"),
    ],
)
def test_what_cannot_arrive_is_refused_where_it_is_declared(raises: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        declared(raises, "pack")
    with pytest.raises(UsageError, match=r"expected .* in `raises` of reserve"):
        activity(name="reserve", raises=raises)(reserve)


def test_uncaught_it_fails_the_instance_under_its_own_name() -> None:
    failure = run(shop, "out", activities=[reserve]).failure
    assert failure is not None
    assert (failure.type, failure.category) == (f"{__name__}.OutOfStock", Category.APPLICATION)
