"""Does a failure keep what the exception said, in bounds?"""

import pytest

from engine.errors import ActivityError
from engine.failures import CAUSES_MAX, MESSAGE_CHARS_MAX, STACK_CHARS_MAX, failure_of
from engine.model.failure import Category, Failure


class OutOfStock(Exception):
    retryable = False


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_class_text_and_the_line_of_the_user_are_kept() -> None:
    failure = failure_of(raised(ValueError("seven")))
    assert (failure.category, failure.type, failure.message) == (Category.APPLICATION, "ValueError", "seven")
    assert failure.retryable
    assert failure.stack is not None
    assert "raise error" in failure.stack
    assert "test_failures.py" in failure.stack


def test_frames_of_the_engine_are_left_out() -> None:
    namespace: dict[str, object] = {"__name__": "engine.runtime.somewhere"}
    exec("def call(f):\n    f()", namespace)

    def fail() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom") as caught:
        namespace["call"](fail)  # pyright: ignore[reportCallIssue] - what exec defined has no type
    stack = failure_of(caught.value).stack or ""
    assert "in fail" in stack
    assert "in call" not in stack


def test_a_class_of_a_module_is_named_with_it_and_may_refuse_retries() -> None:
    failure = failure_of(OutOfStock("none left"))
    assert failure.type == f"{__name__}.OutOfStock"
    assert not failure.retryable


def test_explicit_and_implicit_causes_are_kept_and_suppressed_ones_are_not() -> None:
    explicit, implicit, suppressed = (ValueError(name) for name in ("explicit", "implicit", "suppressed"))
    explicit.__cause__ = KeyError("cause")
    implicit.__context__ = KeyError("context")
    suppressed.__context__ = KeyError("context")
    suppressed.__suppress_context__ = True
    causes = [failure_of(error).cause for error in (explicit, implicit, suppressed)]
    assert [cause and cause.message for cause in causes] == ["'cause'", "'context'", None]


def test_a_ring_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    failure: Failure | None = failure_of(first)
    depth = 0
    while failure is not None:
        failure, depth = failure.cause, depth + 1
    assert depth == CAUSES_MAX + 1


def test_the_members_of_a_group_are_its_others() -> None:
    group = ExceptionGroup("two", [ValueError("one"), ExceptionGroup("inner", [KeyError("deep")])])
    failure = failure_of(group)
    assert [other.type for other in failure.others] == ["ValueError", "ExceptionGroup"]
    assert failure.others[1].others[0].message == "'deep'"


def test_the_failure_of_an_activity_is_the_cause_of_the_error_it_raised() -> None:
    inner = Failure(category=Category.APPLICATION, type="shop.OutOfStock", message="none left")
    assert failure_of(ActivityError(inner)).cause == inner


def test_a_long_message_and_a_deep_stack_are_cut() -> None:
    def deep(levels: int) -> None:
        if levels:
            # Two calls by turns, or the traceback module folds the repetition.
            (deep if levels % 2 else shallow)(levels - 1)
        raise ValueError("x" * 100_000)

    def shallow(levels: int) -> None:
        deep(levels)

    with pytest.raises(ValueError, match="xxx") as caught:
        deep(400)
    failure = failure_of(caught.value)
    assert len(failure.message) < MESSAGE_CHARS_MAX + 100
    assert failure.message.endswith("… (cut from 100000 characters)")
    assert failure.stack is not None
    assert len(failure.stack) < STACK_CHARS_MAX + 100
    assert failure.stack.endswith('raise ValueError("x" * 100_000)\n')


def test_text_that_cannot_be_made_or_written_does_not_lose_the_failure() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert "raised RuntimeError" in failure_of(Mute()).message
    assert failure_of(ValueError("\ud800")).message == "\\ud800"
