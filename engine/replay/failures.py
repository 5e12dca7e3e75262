"""What does a failure value say about an exception of user code?"""

import linecache
from collections.abc import Iterator
from types import TracebackType
from typing import cast

from msgspec.structs import replace

from engine.errors import ActivityError, ConversionError
from engine.model.failure import Category, Failure

OTHERS_MAX = 32  # an exception group of a wide fan-out can hold thousands of the same
MEMBERS_MAX = 64  # of groups within groups, all together: a fan-out of fan-outs multiplies
CAUSES_MAX = 8  # chains are for readers
MESSAGE_CHARS_MAX = 8_192  # a failure stays in a history and has to fit a record, whatever an exception drags along
STACK_CHARS_MAX = 8_192
_GROUP: type[BaseException] = BaseExceptionGroup
OWN_PACKAGES = ("engine", "asyncio", "anyio", "msgspec")


def failure_of(error: BaseException, category: Category = Category.APPLICATION) -> Failure:
    """`error` as data.

    An exception with an attribute `retryable` that is False says that trying again cannot help. The failure inside an
    ActivityError or SubOrchestrationError becomes the cause.
    """
    return _failure_of(error, category, CAUSES_MAX, iter(range(MEMBERS_MAX)))


def type_of(kind: type[BaseException]) -> str:
    """Qualified name of an exception class as its user knows it: `ValueError`, `shop.OutOfStock`, `TimedOut`."""
    if kind.__module__ in {"builtins", "__main__"} or _package(kind.__module__) in OWN_PACKAGES:
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _failure_of(error: BaseException, category: Category, causes_left: int, members_left: Iterator[int]) -> Failure:
    others: tuple[Failure, ...] = ()
    cause: Failure | None = None
    retryable = getattr(error, "retryable", True) is not False
    if causes_left > 0:
        members = cast("tuple[BaseException, ...]", getattr(error, "exceptions", ()))
        if isinstance(error, _GROUP):
            others = tuple(
                _failure_of(member, category, causes_left - 1, members_left)
                for member, _ in zip(members[:OTHERS_MAX], members_left, strict=False)
            )
        if isinstance(error, ActivityError) and (delivered := _delivered(error)) is not None:
            cause, retryable = delivered, delivered.retryable
        elif error.__cause__ is not None:
            cause = _failure_of(error.__cause__, category, causes_left - 1, members_left)
    return Failure(
        category=category,
        type=type_of(type(error)),
        message=_text(error),
        retryable=retryable,
        stack=_stack(error.__traceback__),
        cause=cause,
        others=others,
    )


def not_convertible(error: ConversionError) -> Failure:
    """Of an input or a result that cannot travel: another attempt would meet the same."""
    return replace(failure_of(error), retryable=False)


def _delivered(error: ActivityError) -> Failure | None:
    """The failure that `error` brought to the code; None if the code made it of a text, or in a way of its own."""
    failure: Failure | None = getattr(error, "failure", None)
    return None if failure is None or error.args == (failure.message,) else failure


def _text(error: BaseException) -> str:
    try:
        return _cut(_writable(str(error)))
    except Exception as broken:  # a __str__ of the user's that raises must not hide the failure it was to describe
        return f"(its text cannot be had: {type(broken).__qualname__})"


def _writable(text: str) -> str:
    """A lone surrogate, as in the name of a file that is no UTF-8, is legal in a string and in no record."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS_MAX else f"{text[:MESSAGE_CHARS_MAX]}… (cut from {len(text)} characters)"


def _stack(traceback: TracebackType | None) -> str | None:
    text = _writable("\n".join(_user_frames(traceback)))
    if len(text) > STACK_CHARS_MAX:  # the most recent frames are last and say the most
        return f"(cut from {len(text)} characters) …{text[-STACK_CHARS_MAX:]}"
    return text or None


def _user_frames(traceback: TracebackType | None) -> Iterator[str]:
    """One entry a frame of the user's own code, most recent last, as Python prints them."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if _package(traceback.tb_frame.f_globals.get("__name__", "")) not in OWN_PACKAGES:
            line = linecache.getline(code.co_filename, traceback.tb_lineno).strip()
            text = f'File "{code.co_filename}", line {traceback.tb_lineno}, in {code.co_name}'
            yield f"{text}\n  {line}" if line else text
        traceback = traceback.tb_next


def _package(module: str) -> str:
    return module.partition(".")[0]
