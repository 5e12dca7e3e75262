"""What did an execution do, and when? Its history as lanes of spans, one lane for everything that went on at once."""

import enum
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from engine.model import events as on
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.payload import JSON, Payload

PREVIEW_CHARS_MAX = 160


class Kind(enum.Enum):
    """What a lane shows."""

    ORCHESTRATION = "orchestration"
    STATUS = "status"
    ACTIVITY = "activity"
    TIMER = "timer"
    EVENT = "event"
    QUEUE = "queue"
    CHILD = "child"
    DETACHED = "detached"


class Outcome(enum.Enum):
    """How a span ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    OPEN = "open"  # it had not ended when the history did


class Span(NamedTuple):
    """Something that took time; with `until_ms` equal to `from_ms`, something that happened.

    Attributes:
        event_id: The event that opened it.
        until_ms: Of an open one, the time of the history's last event.
        said: What was asked for and what came of it, a line each.
    """

    event_id: int
    from_ms: int
    until_ms: int
    outcome: Outcome
    said: tuple[str, ...]


class Lane(NamedTuple):
    """Spans of one name that do not overlap, in order. `about` tells it from other lanes of its name."""

    kind: Kind
    name: str
    about: str
    spans: tuple[Span, ...]


OPENED_BY: dict[type[AnyEvent], Kind] = {
    on.ActivityScheduled: Kind.ACTIVITY,
    on.TimerCreated: Kind.TIMER,
    on.ExternalSubscribed: Kind.EVENT,
    on.QueueSubscribed: Kind.QUEUE,
    on.SubOrchestrationScheduled: Kind.CHILD,
    on.OrchestrationChained: Kind.DETACHED,
}

CLOSED_BY: dict[type[AnyEvent], Outcome] = {
    on.ActivityCompleted: Outcome.DONE,
    on.ActivityFailed: Outcome.FAILED,
    on.ActivityCancelRequested: Outcome.CANCELLED,
    on.TimerFired: Outcome.DONE,
    on.TimerCancelled: Outcome.CANCELLED,
    on.ExternalEventReceived: Outcome.DONE,
    on.ExternalSubscriptionCancelled: Outcome.CANCELLED,
    on.QueueMessageReceived: Outcome.DONE,
    on.QueueSubscriptionCancelled: Outcome.CANCELLED,
    on.SubOrchestrationCompleted: Outcome.DONE,
    on.SubOrchestrationFailed: Outcome.FAILED,
    on.SubOrchestrationCancelRequested: Outcome.CANCELLED,
    on.OrchestrationCompleted: Outcome.DONE,
    on.OrchestrationContinuedAsNew: Outcome.DONE,
    on.OrchestrationFailed: Outcome.FAILED,
    on.OrchestrationCancelled: Outcome.CANCELLED,
}


def lanes_of(events: Sequence[AnyEvent]) -> list[Lane]:
    """The lanes of one execution: its own first, then its status, then the others in the order they began.

    Args:
        events: A whole history or a beginning of one, in order of event id, from `OrchestrationStarted` on.
    """
    if not events:
        return []
    started, end_ms = events[0], events[-1].timestamp_ms
    closings = _closings(events)
    answers = {event.event_id for event in closings.values()}
    ending = next((event for event in events if isinstance(event, on.ExecutionEnd)), None)
    own = Lane(Kind.ORCHESTRATION, _name(started), "", (_span(started, ending, end_ms),))
    status = list(_status_spans(events, end_ms))
    lanes = [own, *([Lane(Kind.STATUS, "status", "", tuple(status))] if status else [])]

    packed: dict[tuple[Kind, str], list[list[Span]]] = defaultdict(list)
    for event in events:
        if kind := OPENED_BY.get(type(event)):
            _pack(packed[kind, _name(event)], _span(event, closings.get(event.event_id), end_ms))
        elif isinstance(event, on.ExternalEventReceived) and event.event_id not in answers:
            _pack(packed[Kind.EVENT, event.name], _unheard(event))
    others = [Lane(kind, name, _about(spans), tuple(spans)) for (kind, name), rows in packed.items() for spans in rows]
    return lanes + sorted(others, key=lambda lane: lane.spans[0].event_id)


def _closings(events: Sequence[AnyEvent]) -> dict[int, AnyEvent]:
    """By event id of what was asked for: the event that ended the wait."""
    closings: dict[int, AnyEvent] = {}
    for event in events:
        if (source := getattr(event, "source_event_id", None)) is not None:
            closings.setdefault(source, event)
    return closings | _heard(events) | _read(events)


def _heard(events: Sequence[AnyEvent]) -> dict[int, AnyEvent]:
    """External events name no wait: the oldest open one of their name gets them, and if there is none, nobody does."""
    heard: dict[int, AnyEvent] = {}
    waits: dict[str, deque[int]] = defaultdict(deque)
    for event in events:
        match event:
            case on.ExternalSubscribed():
                waits[event.name].append(event.event_id)
            case on.ExternalSubscriptionCancelled():
                _forget(waits.values(), event.source_event_id)
            case on.ExternalEventReceived() if waits[event.name]:
                heard[waits[event.name].popleft()] = event
            case _:
                pass
    return heard


def _read(events: Sequence[AnyEvent]) -> dict[int, AnyEvent]:
    """Queue messages stay until they are read, those of the execution before included."""
    read: dict[int, AnyEvent] = {}
    names: dict[int, str] = {}
    waits: dict[str, deque[int]] = defaultdict(deque)
    unread: dict[str, deque[AnyEvent]] = defaultdict(deque)
    for event in events:
        match event:
            case on.OrchestrationStarted():
                for message in event.carried:
                    unread[message.name].append(event)
            case on.QueueMessageReceived():
                unread[event.name].append(event)
            case on.QueueSubscribed():
                names[event.event_id] = event.name
                waits[event.name].append(event.event_id)
            case on.QueueSubscriptionCancelled(source_event_id=source):
                _forget(waits.values(), source)
                if source in read:  # it came, but nobody was left to read it
                    unread[names[source]].appendleft(read.pop(source))
            case _:
                continue
        for name, open_waits in waits.items():
            while open_waits and unread[name]:
                read[open_waits.popleft()] = unread[name].popleft()
    return read


def _forget(waits: Iterable[deque[int]], event_id: int) -> None:
    for wait in waits:
        if event_id in wait:
            wait.remove(event_id)


def _span(opening: AnyEvent, closing: AnyEvent | None, end_ms: int) -> Span:
    said = [f"event {opening.event_id}: {_says(opening)}"]
    if isinstance(opening, on.OrchestrationChained):  # nothing ever comes back from it
        return Span(opening.event_id, opening.timestamp_ms, opening.timestamp_ms, Outcome.DONE, tuple(said))
    if closing is None:
        return Span(opening.event_id, opening.timestamp_ms, end_ms, Outcome.OPEN, (*said, "still open"))
    said.append(f"event {closing.event_id}: {_says(closing)}")
    # A message that was there before it was asked for ends the wait at once.
    until_ms = max(opening.timestamp_ms, closing.timestamp_ms)
    outcome = CLOSED_BY.get(type(closing), Outcome.DONE)
    return Span(opening.event_id, opening.timestamp_ms, until_ms, outcome, tuple(said))


def _unheard(event: on.ExternalEventReceived) -> Span:
    said = (f"event {event.event_id}: {_says(event)}", "nobody waited for it")
    return Span(event.event_id, event.timestamp_ms, event.timestamp_ms, Outcome.CANCELLED, said)


def _status_spans(events: Sequence[AnyEvent], end_ms: int) -> Iterator[Span]:
    """A span for each status text that was shown, until the next one or the end."""
    changes = [
        (event.event_id, event.timestamp_ms, _status_of(event))
        for event in events
        if isinstance(event, on.OrchestrationStarted | on.CustomStatusUpdated)
    ]
    for (event_id, from_ms, text), (_, until_ms, _) in pairwise([*changes, (0, end_ms, None)]):
        if text is not None:
            yield Span(event_id, from_ms, until_ms, Outcome.DONE, (text,))


def _status_of(event: on.OrchestrationStarted | on.CustomStatusUpdated) -> str | None:
    return event.custom_status if isinstance(event, on.OrchestrationStarted) else event.status


def _pack(rows: list[list[Span]], span: Span) -> None:
    """Put `span` in the first row that is free by then, so that ten tries of one activity are one lane."""
    for row in rows:
        if row[-1].until_ms <= span.from_ms:
            row.append(span)
            return
    rows.append([span])


def _about(spans: Sequence[Span]) -> str:
    return f"× {len(spans)}" if len(spans) > 1 else spans[0].said[0].partition(" ← ")[2]


def _name(event: AnyEvent) -> str:
    match event:
        case on.SubOrchestrationScheduled(instance=instance):
            return instance
        case on.TimerCreated():
            return "timer"
        case _:
            return getattr(event, "name", type(event).__name__)


def _about_key(event: on.KeyValueSet | on.KeyValueRead | on.KeyValueCleared) -> list[str]:
    match event:
        case on.KeyValueSet():
            return [event.key, "←", _preview(event.value)]
        case on.KeyValueRead():
            return [event.key, "→", "nothing" if event.value is None else _preview(event.value)]
        case on.KeyValueCleared():
            return [event.key]


def _says(event: AnyEvent) -> str:
    """The event in one line: `ActivityScheduled greet ← "Ada"`, `ActivityCompleted → "Hello"`."""
    words = [type(event).__name__]
    match event:
        case on.SubOrchestrationScheduled() | on.OrchestrationChained():
            words += [event.name, event.instance, "←", _preview(event.input)]
        case on.OrchestrationStarted() | on.ActivityScheduled():
            words += [event.name, "←", _preview(event.input)]
        case on.ExternalEventReceived() | on.QueueMessageReceived():
            words += [event.name, "→", _preview(event.data)]
        case on.KeyValueSet() | on.KeyValueRead() | on.KeyValueCleared():
            words += _about_key(event)
        case on.ExternalSubscribed() | on.QueueSubscribed():
            words += [event.name]
        case on.ActivityCompleted() | on.SubOrchestrationCompleted():
            words += ["→", _preview(event.result)]
        case on.OrchestrationCompleted():
            words += ["→", _preview(event.output)]
        case on.OrchestrationContinuedAsNew():
            words += ["→", _preview(event.input)]
        case on.ActivityFailed() | on.SubOrchestrationFailed() | on.OrchestrationFailed():
            words += ["→", _failure(event.failure)]
        case on.TimerCreated():
            words += [f"for {event.fire_at_ms - event.timestamp_ms} ms"]
        case on.OrchestrationCancelled():
            words += ["→", event.reason]
        case _:
            pass
    return " ".join(words)


def _preview(payload: Payload) -> str:
    if payload.codecs or payload.content_type != JSON:
        return f"({len(payload.data)} bytes of {payload.content_type})"
    return _cut(payload.data.decode("utf-8", "replace"))


def _failure(failure: Failure) -> str:
    return _cut(f"{failure.type}: {failure.message}")


def _cut(text: str) -> str:
    return text if len(text) <= PREVIEW_CHARS_MAX else text[: PREVIEW_CHARS_MAX - 1] + "…"
