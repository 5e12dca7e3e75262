"""What do people see? Tables for a terminal, from the same values that `--json` writes."""

import datetime
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from engine.model.events import AnyEvent, KeptKey
from engine.model.failure import Failure
from engine.model.key_values import KeyValue
from engine.model.payload import JSON, Payload
from engine.model.status import Status
from engine.model.views import InstanceInfo

PREVIEW_CHARS_MAX = 72
PIPE_COLUMNS = 200

STYLE_OF: dict[Status, str] = {
    Status.RUNNING: "blue",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "yellow",
    Status.HELD: "bold red",
    Status.SUSPENDED: "yellow",
}

STYLE_OF_EVENT: dict[str, str] = {"Completed": "green", "Failed": "red", "Cancel": "yellow"}
"""By a part of the event's name; others are plain."""


def console(*, stderr: bool = False) -> Console:
    """A console that shows text as it is: ids and payloads of users may hold what rich takes for markup."""
    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal and not made.legacy_windows:
        made.width = PIPE_COLUMNS  # a pipe has no edge to fold at
    return made


def progress() -> Progress:
    """Bars for work that is counted, on a terminal and gone when it is done; nothing elsewhere."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def instance(info: InstanceInfo, now_ms: int) -> Table:
    """All that is known about one instance, a line a fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(info, now_ms):
        table.add_row(name, value)
    return table


def _facts(info: InstanceInfo, now_ms: int) -> Iterator[tuple[str, RenderableType]]:
    yield "instance", info.instance
    yield "orchestration", f"{info.orchestration_name} {info.orchestration_version}"
    yield "status", status(info.status)
    if info.custom_status is not None:
        yield "custom status", info.custom_status
    yield "execution", f"{info.current_execution_id}, {info.history_events} events"
    if info.pinned_version is not None:
        yield "rules", f"of engine {info.pinned_version}"
    if info.parent_instance is not None:
        yield "parent", info.parent_instance
    yield "created", moment(info.created_at_ms, now_ms)
    yield "updated", moment(info.updated_at_ms, now_ms)
    if info.output is not None:
        yield "output", payload(info.output, indent=True)
    if info.failure is not None:
        yield "failure", failure(info.failure)
    if info.suspend_reason is not None:
        yield "suspended", info.suspend_reason
        yield "next", f"`turnlog resume {shlex.quote(info.instance)}`"
    if info.status is Status.HELD:
        yield "next", f"fix the code, start the node with it, then `turnlog resume {shlex.quote(info.instance)}`"


def instances(infos: Sequence[InstanceInfo], now_ms: int) -> Table:
    """A line an instance."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("instance", overflow="fold")
    table.add_column("orchestration", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("execution", justify="right")
    table.add_column("updated", no_wrap=True)
    table.add_column("", overflow="fold")
    for info in infos:
        remark = info.custom_status or (f"{info.failure.type}: {info.failure.message}" if info.failure else "")
        table.add_row(
            info.instance,
            f"{info.orchestration_name} {info.orchestration_version}",
            status(info.status),
            str(info.current_execution_id),
            ago(info.updated_at_ms, now_ms),
            shortened(remark),
        )
    return table


def history(events: Sequence[AnyEvent]) -> Table:
    """A line an event, with the time since the first one, and what it answers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("", overflow="fold")
    first_ms = events[0].timestamp_ms if events else 0
    by_id = {event.event_id: event for event in events}
    for event in events:
        kind = type(event).__name__
        style = next((style for part, style in STYLE_OF_EVENT.items() if part in kind), "")
        what = "  ".join(_what(event, by_id, first_ms))
        table.add_row(str(event.event_id), seconds(event.timestamp_ms - first_ms), Text(kind, style=style), what)
    return table


def _what(event: AnyEvent, by_id: dict[int, AnyEvent], first_ms: int) -> Iterator[str]:
    source: int | None = getattr(event, "source_event_id", None)
    if source is not None:
        name: str = getattr(by_id.get(source), "name", "")
        yield f"{name} #{source}".strip()
    for field, said in SAID.items():
        value: object = getattr(event, field, None)
        if value is not None:
            yield said(value)
    due_ms: int | None = getattr(event, "fire_at_ms", None)
    if due_ms is not None:
        yield f"due {seconds(due_ms - first_ms)}"


def _text(value: object) -> str:
    return shortened(str(value))


def _payload(value: object) -> str:
    return shortened(payload(value)) if isinstance(value, Payload) else ""


def _failure(value: object) -> str:
    return shortened(f"{value.type}: {value.message}") if isinstance(value, Failure) else ""


def _kept_keys(value: object) -> str:
    keys = cast("tuple[KeptKey, ...]", value)
    return shortened(", ".join(each.key for each in keys) or "none")


SAID: dict[str, Callable[[object], str]] = {
    "name": _text,
    "version": _text,
    "instance": _text,
    "key": _text,
    "value": _payload,
    "keys": _kept_keys,
    "input": _payload,
    "data": _payload,
    "result": _payload,
    "output": _payload,
    "failure": _failure,
    "reason": _text,
    "status": _text,
}
"""Which fields of an event are shown, in this order."""


def status(value: Status) -> Text:
    """A status in its colour."""
    return Text(value.value, style=STYLE_OF.get(value, ""))


def failure(value: Failure) -> str:
    """What the user's code raised, where, and from what."""
    lines = [f"{value.type}: {value.message}"]
    if value.stack:
        lines.append(value.stack.rstrip())
    if value.cause:
        lines.append("caused by " + failure(value.cause))
    lines += [f"and {failure(other)}" for other in value.others]
    return "\n".join(lines)


def key_values(kept: Mapping[str, KeyValue], now_ms: int) -> Table:
    """What an instance keeps, a line a key."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("key", "value", "updated"):
        table.add_column(heading, overflow="fold")
    for key, each in kept.items():
        table.add_row(Text(key), Text(shortened(payload(each.value))), moment(each.updated_at_ms, now_ms))
    return table


def payload(value: Payload, *, indent: bool = False) -> str:
    """JSON as text; of anything else, what it is."""
    if value.content_type == JSON and not value.codecs:
        try:
            return (msgspec.json.format(value.data, indent=2) if indent else value.data).decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return f"({len(value.data)} bytes of {'+'.join((value.content_type, *value.codecs))})"


def shortened(text: str) -> str:
    """The beginning of `text`, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW_CHARS_MAX else line[: PREVIEW_CHARS_MAX - 1] + "…"


def seconds(duration_ms: int) -> str:
    """A duration to the millisecond: `+1.250s`, `+1h02m03.250s`."""
    sign = "-" if duration_ms < 0 else "+"
    minutes, rest_ms = divmod(abs(duration_ms), 60_000)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes:02}m{rest_ms / 1000:06.3f}s"
    return f"{sign}{minutes}m{rest_ms / 1000:06.3f}s" if minutes else f"{sign}{rest_ms / 1000:.3f}s"


def ago(at_ms: int, now_ms: int) -> str:
    """How long since `at_ms`, in its largest unit."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if now_ms - at_ms >= unit_ms:
            return f"{(now_ms - at_ms) // unit_ms} {unit} ago"
    return "just now"


def moment(at_ms: int, now_ms: int) -> str:
    """A time in UTC, and how long ago that is."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC, {ago(at_ms, now_ms)}"
