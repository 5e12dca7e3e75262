"""What can be seen of a running engine? Its log records, its counters, and the rare paths a test run has reached.

Loggers are the standard library's, named `turnlog.…`. Every record that passes `log_to` carries `instance` and
`execution_id`: from the record itself, else from the activity it was made in, whatever library made it, else "-".
"""

import contextlib
import contextvars
import logging
from collections.abc import Generator, MutableMapping
from typing import IO, Any

import msgspec
from msgspec import Struct

LOGGER_NAME = "turnlog"
NOBODY = "-"
TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(instance)s#%(execution_id)s %(name)s: %(message)s"


class Subject(Struct, frozen=True):
    """Which execution a log record is about."""

    instance: str
    execution_id: int

    def as_extra(self) -> dict[str, object]:
        """For the `extra` of a logging call."""
        return {"instance": self.instance, "execution_id": self.execution_id}


subject: contextvars.ContextVar[Subject | None] = contextvars.ContextVar("turnlog_subject", default=None)
"""Set while an activity runs, in its task or thread and in whatever they start."""


def logger(name: str) -> logging.Logger:
    """The logger `turnlog.name`."""
    return logging.getLogger(f"{LOGGER_NAME}.{name}")


class SubjectLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records are about one execution, and keep what the caller passes as `extra`."""

    def __init__(self, base: logging.Logger, about: Subject) -> None:
        super().__init__(base, about.as_extra())
        self._about = about

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **self._about.as_extra()}
        return msg, kwargs


class _Subjects(logging.Filter):
    """Gives every record its instance and execution; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        about = subject.get()
        for name, value in (about.as_extra() if about else {"instance": NOBODY, "execution_id": NOBODY}).items():
            record.__dict__.setdefault(name, value)
        return True


class _JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time_ms": int(record.created * 1000),
            "level": record.levelname,
            "logger": record.name,
            "instance": record.__dict__["instance"],
            "execution_id": record.__dict__["execution_id"],
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def log_to(stream: IO[str], *, level: int = logging.INFO, json_lines: bool = False) -> logging.Handler:
    """Write the records of the whole process to `stream`, as text or as one JSON object a line.

    Returns:
        The handler, installed on the root logger; `logging.getLogger().removeHandler(it)` ends it.
    """
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Subjects())
    handler.setFormatter(_JsonLines() if json_lines else logging.Formatter(TEXT_FORMAT))
    handler.setLevel(level)
    root = logging.getLogger()
    root.addHandler(handler)
    if root.getEffectiveLevel() > level:
        root.setLevel(level)
    return handler


class Counters:
    """What an engine has done since it was made. Plain numbers, each only ever grows."""

    __slots__ = (
        "activities_cancelled",
        "activities_completed",
        "activities_failed",
        "activities_poisoned",
        "activities_started",
        "activities_unregistered",
        "leases_lost",
        "leases_renewed",
        "live_hits",
        "live_misses",
        "live_put_away",
        "orchestrations_cancelled",
        "orchestrations_completed",
        "orchestrations_failed",
        "orchestrations_poisoned",
        "provider_errors",
        "turns_abandoned",
        "turns_admitted",
        "turns_durable",
        "turns_held",
        "turns_lost",
    )

    def __init__(self) -> None:
        self.activities_cancelled = 0  # the lease was taken back; the result was dropped
        self.activities_completed = 0
        self.activities_failed = 0  # the code raised, or its input or result did not fit
        self.activities_poisoned = 0  # delivered too often
        self.activities_started = 0
        self.activities_unregistered = 0  # given back because nobody registered the name here
        self.leases_lost = 0
        self.leases_renewed = 0
        self.live_hits = 0  # turns that went on with a kept coroutine
        self.live_misses = 0  # turns without one: the first of an execution, and those that replayed a history
        self.live_put_away = 0  # coroutines put away to stay within the bound
        self.orchestrations_cancelled = 0
        self.orchestrations_completed = 0
        self.orchestrations_failed = 0
        self.orchestrations_poisoned = 0  # of the failed: those delivered too often
        self.provider_errors = 0
        self.turns_abandoned = 0  # given back: unregistered, or waiting for another message
        self.turns_admitted = 0
        self.turns_durable = 0
        self.turns_held = 0
        self.turns_lost = 0  # admitted, but another owner has the partition

    def snapshot(self) -> dict[str, int]:
        """All numbers by name, as of now."""
        return {name: getattr(self, name) for name in self.__slots__}


_known_marks: set[str] = set()
_reached: set[str] | None = None


def known_marks(*names: str) -> None:
    """Declare, when a module is imported, the rare paths it marks. Each name has one declaration.

    Raises:
        ValueError: A name is declared already.
    """
    if twice := _known_marks.intersection(names):
        raise ValueError(f"expected new names of rare paths, but {sorted(twice)} are declared already")
    _known_marks.update(names)


def declared_marks() -> frozenset[str]:
    """Every rare path that a module imported so far marks."""
    return frozenset(_known_marks)


def mark(name: str) -> None:
    """This rare path was taken. Does nothing unless a test records."""
    if _reached is not None:
        if name not in _known_marks:
            raise ValueError(f"expected a declared rare path, but {name!r} is none: add it to known_marks(…)")
        _reached.add(name)


@contextlib.contextmanager
def recorded_marks() -> Generator[set[str]]:
    """For tests: the rare paths taken while the context is open."""
    global _reached  # noqa: PLW0603 - one process-wide switch, so that a mark costs one comparison when it is off
    before = _reached
    reached: set[str] = set()
    _reached = reached
    try:
        yield reached
    finally:
        _reached = before
