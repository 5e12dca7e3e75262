"""Does the code ask for what its history says it asked for? Replay, and the refusal to go on when it does not.

Every step's outcome is compared with what is recorded, one event with one event: nothing may be missing, nothing may be
too many, at the end of the history neither. What differs is said with both halves, by event id.
"""

import sys
from collections.abc import Callable, Sequence

from engine.converter import Converter
from engine.errors import ConversionError
from engine.model.events import (
    ActivityCancelRequested,
    ActivityScheduled,
    AnyEvent,
    CustomStatusUpdated,
    ExternalSubscribed,
    ExternalSubscriptionCancelled,
    KeysRead,
    KeyValueCleared,
    KeyValueRead,
    KeyValuesCleared,
    KeyValueSet,
    OrchestrationCancelled,
    OrchestrationChained,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
    OrchestrationStarted,
    QueueSubscribed,
    QueueSubscriptionCancelled,
    SubOrchestrationCancelRequested,
    SubOrchestrationScheduled,
    TimerCancelled,
    TimerCreated,
)
from engine.model.failure import Failure
from engine.model.payload import Payload
from engine.replay.history import ARRIVALS, CANCELLED_BY, ended_by_engine
from engine.replay.live import BoundPassed, LiveExecution
from engine.replay.refusals import OutsideRefused

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SHOWN_CHARS_MAX = 200

COMPARED: dict[type, tuple[str, ...]] = {
    ActivityScheduled: ("name", "input", "session_id", "tag", "heartbeat"),  # the recorded limits win (decision 0018)
    ActivityCancelRequested: ("source_event_id",),
    TimerCreated: ("fire_at_ms",),
    TimerCancelled: ("source_event_id",),
    ExternalSubscribed: ("name",),
    ExternalSubscriptionCancelled: ("source_event_id",),
    QueueSubscribed: ("name",),
    QueueSubscriptionCancelled: ("source_event_id",),
    SubOrchestrationScheduled: ("name", "instance", "input", "version", "on_parent_end"),
    SubOrchestrationCancelRequested: ("source_event_id",),
    OrchestrationChained: ("name", "instance", "input", "version", "delay_ms"),
    CustomStatusUpdated: ("status",),
    KeyValueSet: ("key", "value"),
    KeyValueCleared: ("key",),
    KeyValuesCleared: (),
    KeyValueRead: ("key",),  # the recorded value wins
    KeysRead: (),  # likewise
    OrchestrationCompleted: ("output",),
    OrchestrationFailed: ("failure",),
    OrchestrationCancelled: ("reason",),
    OrchestrationContinuedAsNew: ("input", "version"),
}
"""What is compared of each kind of event; kind and place are always."""


class Nondeterminism(Exception):
    """The code left the recorded path.

    Attributes:
        event_id: Where.
    """

    def __init__(self, event_id: int, expected: str, found: str, python: str) -> None:
        where = "" if python in {"", PYTHON} else f" (recorded on Python {python}, replayed on {PYTHON})"
        super().__init__(f"event {event_id}: expected {expected}, but {found}{where}")
        self.event_id = event_id


def replay(live: LiveExecution, history: Sequence[AnyEvent], converter: Converter) -> None:
    """Take a new `live` through `history`, which is well-formed.

    Raises:
        Nondeterminism: The code does not ask for what is recorded. Put `live` away.
        OutsideRefused: The code reached outside. Put `live` away.
    """
    python = live.started.python
    closing = _closing_start(history)
    live.replaying(True)
    live.ledger.keys.replays({event.event_id: event for event in history if isinstance(event, KeyValueRead | KeysRead)})
    position = 0
    while position < min(closing, len(history)):
        arrival = history[position]
        if type(arrival) not in ARRIVALS:
            found = "the code asks for nothing there" if live.end is None else "the code has ended before it"
            raise Nondeterminism(arrival.event_id, f"{shown(arrival)} as recorded", found, python)
        if live.end is not None:
            raise Nondeterminism(
                arrival.event_id, f"the code to wait for {shown(arrival)}", f"it ended with {shown(live.end)}", python
            )
        position += 1
        try:
            outcome = live.apply(arrival)
        except OutsideRefused:
            if position == closing:
                break
            raise
        except BoundPassed as passed:
            if position == closing:
                break
            raise Nondeterminism(arrival.event_id + 1, "the code to come to rest", str(passed), python) from passed
        for asked in outcome:
            if position >= closing:
                break  # the engine dropped what the code asked for in its last step, and ended it
            recorded = history[position] if position < len(history) else None
            _require_same(recorded, asked, converter, python)
            position += 1
    live.ledger.keys.replays(None)
    live.replaying(False)


def _closing_start(history: Sequence[AnyEvent]) -> int:
    """Where the events begin with which the engine ended the execution; past the end if the code ended it itself."""
    if not ended_by_engine(history):
        return len(history) + 1
    start = len(history) - 1
    while type(history[start - 1]) in CANCELLED_BY:
        start -= 1
    return start


def _require_same(recorded: AnyEvent | None, asked: AnyEvent, converter: Converter, python: str) -> None:
    if recorded is None:
        raise Nondeterminism(
            asked.event_id, "nothing, for the history ends", f"the code asks for {shown(asked)}", python
        )
    same = type(recorded) is type(asked) and all(
        _same(getattr(recorded, field), getattr(asked, field), converter) for field in COMPARED[type(asked)]
    )
    if not same:
        raise Nondeterminism(
            recorded.event_id, f"{shown(recorded)} as recorded", f"the code asks for {shown(asked)}", python
        )


def _same(recorded: object, asked: object, converter: Converter) -> bool:
    if recorded == asked:
        return True
    if isinstance(recorded, Payload) and isinstance(asked, Payload):
        try:
            return converter.canonical(recorded) == converter.canonical(asked)
        except ConversionError:
            return False
    if isinstance(recorded, Failure) and isinstance(asked, Failure):
        # Not the stack: a deploy that moves a line has not changed what happened.
        return (recorded.category, recorded.type, recorded.message) == (asked.category, asked.type, asked.message)
    return False


def shown(event: AnyEvent) -> str:
    """An event as an operator reads it: its kind and what is compared of it."""
    if isinstance(event, OrchestrationStarted):
        return f"OrchestrationStarted({event.name} {event.version})"
    if isinstance(event, TimerCreated):
        delay_s = (event.fire_at_ms - event.timestamp_ms) / 1_000  # for its author; compared is the instant
        return f"TimerCreated(delay={delay_s}s, fire_at_ms={event.fire_at_ms})"
    fields = COMPARED.get(type(event), ())
    if isinstance(event, ActivityScheduled) and event.heartbeat is None:
        fields = fields[:-1]  # most have none
    return f"{type(event).__name__}({', '.join(_shown_field(event, field) for field in fields)})"


def _shown_field(event: AnyEvent, field: str) -> str:
    value: object = getattr(event, field)
    show: Callable[[object], str] = repr
    if isinstance(value, Payload):
        text = value.data[:SHOWN_CHARS_MAX].decode("utf-8", "replace")
    elif isinstance(value, Failure):
        text = f"{value.type}: {value.message}"[:SHOWN_CHARS_MAX]
    else:
        text = show(value)
    return f"{field}={text}"
