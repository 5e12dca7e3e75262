"""What did an exception of user code say? It becomes a `Failure`: class, text, traceback in the user's frames, causes.

An exception class may carry `retryable = False` to say that trying again cannot help.
"""

import traceback
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import cast

from engine.errors import ActivityError
from engine.model.failure import Category, Failure

# A failure travels in a record and stays in a history: whatever an exception drags along is cut to these.
MESSAGE_CHARS_MAX = 8_192
STACK_CHARS_MAX = 8_192
CAUSES_MAX = 8
OTHERS_MAX = 16


def failure_of(error: BaseException, category: Category = Category.APPLICATION) -> Failure:
    """`error` as data, with its causes, and for an exception group with its members in `others`."""
    return _failure(error, category, CAUSES_MAX)


def type_name(kind: type[BaseException]) -> str:
    """An exception class as its users write it: `ValueError`, `shop.OutOfStock`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _failure(error: BaseException, category: Category, causes_left: int) -> Failure:
    return Failure(
        category=category,
        type=type_name(type(error)),
        message=_cut(_text(error), MESSAGE_CHARS_MAX),
        retryable=getattr(error, "retryable", True) is not False,
        stack=_stack(error.__traceback__),
        cause=_cause(error, category, causes_left),
        others=tuple(_failure(member, category, causes_left - 1) for member in _members(error) if causes_left),
    )


def _members(error: BaseException) -> Sequence[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions[:OTHERS_MAX]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # a user's __str__ may raise; what is known of the error must not be lost with it
        return f"({type_name(type(error))}.__str__ raised {type_name(type(broken))})"


def _cause(error: BaseException, category: Category, causes_left: int) -> Failure | None:
    if isinstance(error, ActivityError):
        return error.failure
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    # The depth is bounded, so a ring of causes ends too.
    return _failure(cause, category, causes_left - 1) if cause is not None and causes_left else None


def _stack(trace: TracebackType | None) -> str | None:
    frames = list(_user_frames(trace))
    if not frames:
        return None
    lines = traceback.StackSummary.extract(iter(frames)).format()
    # The most recent frames are last and say the most.
    return _cut_head("".join(lines), STACK_CHARS_MAX)


def _user_frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    for frame, line in traceback.walk_tb(trace):
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] != "engine":
            yield frame, line


def _cut(text: str, chars_max: int) -> str:
    # A lone surrogate is legal in a Python string and in no record.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= chars_max else f"{text[:chars_max]}… (cut from {len(text)} characters)"


def _cut_head(text: str, chars_max: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= chars_max else f"(cut from {len(text)} characters) …{text[-chars_max:]}"
