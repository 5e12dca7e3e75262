"""What can be seen of a running engine? Its log records, its counters, and the rare paths a test run has reached.

Loggers are the standard library's, named `turnlog.…`. Every record that passes `log_to` carries `instance` and
`execution_id`: from the record itself, else from the activity it was made in, whatever library made it, else "-".
"""

import contextlib
import contextvars
import logging
from collections.abc import Generator, MutableMapping
from typing import IO, Annotated, Any

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


def says(what: str) -> msgspec.Meta:
    """What a number says, for whoever reads a page of them."""
    return msgspec.Meta(description=what)


class Counters(Struct, kw_only=True):
    """What an engine has done since it was made. Plain numbers, each only ever grows."""

    activities_cancelled: Annotated[int, says("activities whose lease was taken back; the result was dropped")] = 0
    activities_completed: Annotated[int, says("activities that returned")] = 0
    activities_failed: Annotated[int, says("activities whose code raised, or whose input or result did not fit")] = 0
    activities_poisoned: Annotated[int, says("activities delivered too often")] = 0
    activities_refused: Annotated[
        int, says("activities whose completion the provider could not store; the orchestration is told so instead")
    ] = 0
    activities_started: Annotated[int, says("activities whose code was begun")] = 0
    activities_unregistered: Annotated[int, says("work items given back because nobody registered the name here")] = 0
    executions_started: Annotated[int, says("executions begun: of new instances, and after a continue-as-new")] = 0
    instances_fetched: Annotated[int, says("instances fetched with their messages")] = 0
    leases_lost: Annotated[int, says("leases of activities that another engine has, or nobody")] = 0
    leases_renewed: Annotated[int, says("renewals of leases")] = 0
    live_hits: Annotated[int, says("turns that went on with a kept coroutine")] = 0
    live_misses: Annotated[
        int, says("turns without one: the first of an execution, and those that replayed a history")
    ] = 0
    live_put_away: Annotated[int, says("coroutines put away to stay within the bound")] = 0
    orchestrations_cancelled: Annotated[int, says("instances that ended because somebody asked for it")] = 0
    orchestrations_completed: Annotated[int, says("instances that returned")] = 0
    orchestrations_continued_as_new: Annotated[int, says("executions that were followed by another")] = 0
    orchestrations_detached: Annotated[int, says("instances started by another that does not wait for them")] = 0
    orchestrations_failed: Annotated[int, says("instances that failed, for whatever reason")] = 0
    orchestrations_failed_application: Annotated[int, says("of the failed: their code raised")] = 0
    orchestrations_failed_infrastructure: Annotated[
        int, says("of the failed: the engine or its provider could not go on")
    ] = 0
    orchestrations_failed_limit: Annotated[int, says("of the failed: they passed a documented bound")] = 0
    orchestrations_failed_nondeterminism: Annotated[
        int, says("of the failed: their code left its path or reached outside")
    ] = 0
    orchestrations_poisoned: Annotated[int, says("of the failed: they were delivered too often")] = 0
    orchestrations_started: Annotated[int, says("instances begun")] = 0
    provider_errors: Annotated[
        int, says("calls to the provider that failed and are repeated, and turns that it refused")
    ] = 0
    sub_orchestrations_completed: Annotated[int, says("children whose result their parent was given")] = 0
    sub_orchestrations_failed: Annotated[int, says("children whose failure their parent was given")] = 0
    sub_orchestrations_started: Annotated[int, says("children asked for")] = 0
    turns_abandoned: Annotated[int, says("turns given back: unregistered, or waiting for another message")] = 0
    turns_admitted: Annotated[int, says("turns that the provider took")] = 0
    turns_durable: Annotated[int, says("turns that are committed")] = 0
    turns_held: Annotated[int, says("turns whose code did not fit the history; the instance is held")] = 0
    turns_lost: Annotated[int, says("turns that were taken, but another owner has the partition")] = 0
    work_items_fetched: Annotated[int, says("work items fetched")] = 0


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
