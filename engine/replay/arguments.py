"""Which arguments of a call of the context can be recorded? The rest is refused where it is given.

What slips through here is an error of the turn, or of the provider when the turn is to be committed: the instance would
then fail as poison, minutes later and without the line.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from engine.errors import UsageError
from engine.model.ids import root_instance_id_problem
from engine.model.policies import OnParentEnd
from engine.model.tags import TAG_BYTES_MAX
from engine.registry import DEFAULT_VERSION, VERSION_FORM
from engine.replay.retry import RetryPolicy

T = TypeVar("T")

KEY_BYTES_MAX = 1024


def text(value: str, what: str) -> str:
    """`value`, which can be written into a record; it may be empty.

    Raises:
        UsageError: It is no string, or has no UTF-8 form.
    """
    if not _is(value, str):
        raise UsageError(f"expected {what} to be a str, but it is {value!r}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"expected {what} to have a UTF-8 form, but {value!r} has none") from None
    return value


def key(value: str) -> str:
    """`value`, under which an instance can keep something; it may be empty.

    Raises:
        UsageError: It is no string, has no UTF-8 form, or is longer than `KEY_BYTES_MAX`.
    """
    size = len(text(value, "a key").encode())
    if size > KEY_BYTES_MAX:
        raise UsageError(f"expected a key of at most {KEY_BYTES_MAX} bytes, but {value[:40]!r}… has {size}")
    return value


def instant_ms(value: datetime) -> int:
    """`value` in whole milliseconds since 1970, rounded down.

    Raises:
        UsageError: It is no instant, or does not say its zone.
    """
    if not _is(value, datetime) or value.tzinfo is None:
        raise UsageError(f"expected an instant with its time zone, like `ctx.utc_now()`, but it is {value!r}")
    return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def name(value: str, what: str) -> str:
    """`value`, which names something.

    Raises:
        UsageError: It is no string, is empty, or has no UTF-8 form.
    """
    if value == "":
        raise UsageError(f"expected {what}, but it is empty")
    return text(value, what)


def tag(value: str) -> str:
    """`value`, which is the tag of an activity.

    Raises:
        UsageError: It is no string, is empty, has no UTF-8 form, or is so long that no worker can serve it.
    """
    size = len(name(value, "tag").encode())
    if size > TAG_BYTES_MAX:
        raise UsageError(f"expected a tag of at most {TAG_BYTES_MAX} bytes, but {value[:40]!r}… has {size}")
    return value


def version(value: str | None, what: str) -> str | None:
    """`value`, which is a version, or None for the latest.

    Raises:
        UsageError: It is neither.
    """
    if value is not None and not VERSION_FORM.fullmatch(text(value, what)):
        raise UsageError(f"expected {what} like {DEFAULT_VERSION!r}, but it is {value!r}")
    return value


def instance_id(value: str | None) -> str | None:
    """`value`, which can be the id of an instance, or None.

    Raises:
        UsageError: It is neither.
    """
    if value is not None and (problem := root_instance_id_problem(text(value, "the id of an instance"))) is not None:
        raise UsageError(problem)
    return value


def duration(value: timedelta | None, what: str) -> timedelta | None:
    """`value`, which is a length of time, or None.

    Raises:
        UsageError: It is neither.
    """
    return _of_type(value, timedelta, what)


def limit_ms(value: timedelta | None, what: str) -> int | None:
    """`value`, which is a time that something may take, in whole milliseconds, rounded up; None for no limit.

    Raises:
        UsageError: It is no length of time, or nothing can be done within it.
    """
    value = duration(value, what)
    if value is None:
        return None
    if value <= timedelta(0):
        raise UsageError(f"expected {what} of more than 0, but it is {value}")
    return milliseconds(value)


def milliseconds(delay: timedelta) -> int:
    """`delay` in whole milliseconds, rounded up; 0 if it is negative.

    Raises:
        UsageError: It is no timedelta.
    """
    if not isinstance(delay, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]  # as above
        raise UsageError(f"expected a delay to be a timedelta, but it is {delay!r}")
    return max(0, -(delay // timedelta(milliseconds=-1)))


def on_parent_end(value: str | None) -> OnParentEnd | None:
    """What becomes of a child when its parent ends, as it is recorded: None is cancelling it.

    Raises:
        UsageError: It is neither `cancel` nor `abandon`.
    """
    if value in (None, OnParentEnd.CANCEL.value):
        return None
    if value == OnParentEnd.ABANDON.value:
        return OnParentEnd.ABANDON
    raise UsageError(f"expected on_parent_end to be 'cancel' or 'abandon', but it is {value!r}")


def policy(value: RetryPolicy | None) -> RetryPolicy | None:
    """`value`, which says how to try again, or None.

    Raises:
        UsageError: It is neither.
    """
    return _of_type(value, RetryPolicy, "retry")


def options(given: Mapping[str, object], known: Mapping[str, object], what: str) -> None:
    """Refuse options that `what` does not have.

    Raises:
        UsageError: Names one, and those there are.
    """
    if not given.keys() <= known.keys():
        unknown = sorted(given.keys() - known.keys())
        raise UsageError(f"expected options of {what} among {', '.join(known)}, but got {', '.join(unknown)}")


def _is(value: object, kind: type[object]) -> bool:
    """Whether `value` is what its annotation says: not everybody runs a type checker."""
    return isinstance(value, kind)


def _of_type(value: T, kind: type[object], what: str) -> T:
    if value is not None and not _is(value, kind):
        raise UsageError(f"expected {what} to be a {kind.__name__}, but it is {value!r}")
    return value
