"""How does an execution look? Its lanes drawn as SVG: one file, no script, nothing to fetch, light or dark.

Pure: equal histories give equal text, byte for byte, so a picture can be compared and kept. The time axis is linear:
a day of waiting looks like a day of waiting.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from engine.model import events as on
from engine.model.events import AnyEvent
from provider_log.audit.lanes import Kind, Lane, Outcome, Span, lanes_of

# Pixels, all of them.
WIDTH = 1200
LEFT = 330  # the names stand left of here
RIGHT = 1116  # the last event; what is beyond is room for its label
TOP = 112
ROW = 26
BAR = 14
FOOT = 56
CHAR = 7.2  # a character of the names, to cut them where they would run into the lanes
SMALL_CHAR = 6.0

TICKS_MAX = 10
# Steps of the axis in milliseconds: 1, 2 and 5 of each power of ten up to half a minute, then what clocks count in.
STEPS_MS = (
    *(digit * 10**power for power in range(4) for digit in (1, 2, 5)),
    *(1_000 * second for second in (10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400)),
)
UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))

STYLE = """
svg { --page: #ffffff; --band: #f6f7f9; --ink: #1b1f24; --dim: #68707c; --rule: #e3e6eb; --mark: #d1242f;
  --orchestration: #57606a; --status: #8c959f; --activity: #1f6feb; --timer: #bf8700; --event: #8250df;
  --queue: #a475f9; --child: #0f8a7e; --detached: #0f8a7e; --failed: #d1242f; --cancelled: #8c959f; }
@media (prefers-color-scheme: dark) { svg { --page: #0d1117; --band: #151b23; --ink: #e6edf3; --dim: #9198a1;
  --rule: #2a313c; --mark: #ff6a61; --orchestration: #9198a1; --status: #6e7681; --activity: #4493f8;
  --timer: #d29922; --event: #ab7df8; --queue: #c297ff; --child: #2bb3a3; --detached: #2bb3a3; --failed: #ff6a61;
  --cancelled: #6e7681; } }
text { font: 12px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; fill: var(--ink); }
.title { font: 600 19px system-ui, "DejaVu Sans", sans-serif; } .dim { fill: var(--dim); } .small { font-size: 10px; }
.rule { stroke: var(--rule); } .on { fill: var(--page); stroke: none; }
.turn { stroke: var(--page); stroke-width: 1.5; } .mark { stroke: var(--mark); stroke-width: 1.5; }
.away { fill: var(--mark); opacity: 0.10; } .pill { fill: var(--mark); }
.pill-text { fill: var(--page); font-weight: 600; }
.bar { stroke-width: 1.5; } .failed { fill: var(--failed) !important; stroke: var(--failed) !important; }
.cancelled { fill: var(--page) !important; stroke: var(--cancelled) !important; stroke-dasharray: 3 2; }
.open { fill-opacity: 0.25; stroke-dasharray: 3 2; }
"""
KIND_STYLE = "\n".join(f".{kind.value} {{ fill: var(--{kind.value}); stroke: var(--{kind.value}); }}" for kind in Kind)


class Mark(NamedTuple):
    """Something from outside the history, drawn over all lanes: a node was killed, and was away until another time.

    Attributes:
        from_ms: Milliseconds since 1970.
        until_ms: Equal to `from_ms` for an instant.
    """

    label: str
    from_ms: int
    until_ms: int


class Scale(NamedTuple):
    """Milliseconds to pixels."""

    from_ms: int
    until_ms: int

    def x(self, at_ms: int) -> float:
        """Where `at_ms` is; what is outside the picture is at its edge."""
        share = (at_ms - self.from_ms) / (self.until_ms - self.from_ms)
        return round(LEFT + min(1.0, max(0.0, share)) * (RIGHT - LEFT), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Place and text of each tick."""
        length_ms = self.until_ms - self.from_ms
        step_ms = next((step for step in STEPS_MS if length_ms <= step * TICKS_MAX), STEPS_MS[-1])
        while length_ms > step_ms * TICKS_MAX:
            step_ms *= 2
        for at_ms in range(0, length_ms + 1, step_ms):
            yield self.x(self.from_ms + at_ms), duration(at_ms) if at_ms else "0"


def timeline(instance: str, events: Sequence[AnyEvent], marks: Sequence[Mark] = ()) -> str:
    """One execution of `instance` as the text of an SVG file.

    Args:
        instance: What to call it in the title.
        events: Its history, whole or a beginning of it, in order of event id.
        marks: What else to show. The picture reaches from the first to the last event; marks outside it stand at
            its edge.

    Raises:
        ValueError: There are no events.
    """
    if not events:
        raise ValueError(f"expected a history of {instance} to draw, but it has no events")
    lanes = lanes_of(events)
    scale = Scale(events[0].timestamp_ms, max(events[-1].timestamp_ms, events[0].timestamp_ms + 1))
    bottom = TOP + ROW * len(lanes)
    asked = [
        Mark("cancel", e.timestamp_ms, e.timestamp_ms) for e in events if isinstance(e, on.OrchestrationCancelRequested)
    ]
    shapes = [
        *_page(instance, events, lanes, bottom + FOOT),
        *_axis(scale, bottom),
        *(shape for row, lane in enumerate(lanes) for shape in _lane(lane, TOP + ROW * row, row, scale)),
        *_turns(events, scale),
        *(shape for mark in (*asked, *marks) for shape in _mark(mark, scale, bottom)),
        *_legend(lanes, bottom + 34),
        "</svg>",
    ]
    return "\n".join(shapes) + "\n"


def duration(length_ms: int) -> str:
    """`850 ms`, `12.4 s`, `3 min`: as much as one looks at."""
    unit, unit_ms = next(((name, size) for name, size in UNITS_MS if length_ms >= size), ("ms", 1))
    return f"{length_ms / unit_ms:.3g} {unit}" if length_ms < 100 * unit_ms else f"{length_ms / unit_ms:.0f} {unit}"


def _page(instance: str, events: Sequence[AnyEvent], lanes: Sequence[Lane], height: int) -> Iterator[str]:
    own = lanes[0].spans[0]
    began = datetime.fromtimestamp(own.from_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    turns = len({event.timestamp_ms for event in events})
    ended = {Outcome.DONE: "completed", Outcome.OPEN: "running"}.get(own.outcome, own.outcome.value)
    if isinstance(events[-1], on.OrchestrationContinuedAsNew):
        ended = "continued as new"
    facts = [f"{lanes[0].name}, {ended}", f"began {began}", f"took {duration(own.until_ms - own.from_ms)}"]
    facts += [f"{len(events)} events in {turns} turns"]
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' role="img" aria-label="Timeline of {_text(instance)}">'
    )
    yield f"<style>{STYLE}{KIND_STYLE}</style>"
    yield f'<rect class="on" width="{WIDTH}" height="{height}"/>'
    yield f'<text class="title" x="24" y="38">{_text(instance)}</text>'
    yield f'<text class="dim" x="24" y="60">{_text("  ·  ".join(facts))}</text>'


def _axis(scale: Scale, bottom: int) -> Iterator[str]:
    for x, label in scale.ticks():
        yield f'<line class="rule" x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{bottom}"/>'
        yield f'<text class="dim small" x="{x}" y="{bottom + 14}" text-anchor="middle">{label}</text>'


def _lane(lane: Lane, y: int, row: int, scale: Scale) -> Iterator[str]:
    if row % 2 == 0:
        yield f'<rect x="16" y="{y}" width="{WIDTH - 32}" height="{ROW}" rx="4" style="fill:var(--band);opacity:0.6"/>'
    middle = y + ROW / 2
    yield f'<circle class="{lane.kind.value}" cx="30" cy="{middle}" r="3.5"/>'
    room = int((LEFT - 12 - 42) / CHAR)
    name = _cut(lane.name, room)
    about = _cut(lane.about, int((room - len(name) - 1) * CHAR / SMALL_CHAR)) if room - len(name) > 6 else ""
    label = f'{_text(name)}<tspan class="dim small" dx="8">{_text(about)}</tspan>' if about else _text(name)
    yield f'<text x="42" y="{middle + 4}">{label}</text>'
    for span, following in zip(lane.spans, (*lane.spans[1:], None), strict=True):
        yield from _span(lane, span, following, middle, scale)


def _span(lane: Lane, span: Span, following: Span | None, middle: float, scale: Scale) -> Iterator[str]:
    x, end = scale.x(span.from_ms), scale.x(span.until_ms)
    looks = f"bar {lane.kind.value} {span.outcome.value}"
    length = duration(span.until_ms - span.from_ms)
    tip = f"<title>{_text(chr(10).join((*span.said, length)))}</title>"
    edge = scale.x(following.from_ms) if following else WIDTH - 16
    if lane.kind is Kind.STATUS:
        yield f'<line class="bar status" x1="{x}" y1="{middle - 6}" x2="{x}" y2="{middle + 6}">{tip}</line>'
        yield from _beside(x + 5, middle, span.said[0], edge)
    elif span.from_ms == span.until_ms:
        yield f'<path class="{looks}" d="M{x} {middle - 5}l5 5l-5 5l-5 -5z">{tip}</path>'
    else:
        width = max(2.0, round(end - x, 1))
        yield f'<rect class="{looks}" x="{x}" y="{middle - BAR / 2}" width="{width}" height="{BAR}" rx="3">{tip}</rect>'
        if len(length) * SMALL_CHAR < edge - end - 12:
            yield from _beside(end + 6, middle, length, edge)


def _beside(x: float, middle: float, text: str, edge: float) -> Iterator[str]:
    """Small text from `x` on, cut before it reaches `edge`; none if it would be a mere beginning."""
    shown = _cut(text, int((edge - x - 6) / SMALL_CHAR))
    if len(shown) > 4 or shown == text:
        yield f'<text class="dim small" x="{round(x, 1)}" y="{middle + 3.5}">{_text(shown)}</text>'


def _turns(events: Sequence[AnyEvent], scale: Scale) -> Iterator[str]:
    """A notch in the orchestration's own lane for each turn: the moments at which it ran at all."""
    middle = TOP + ROW / 2
    for x in sorted({scale.x(event.timestamp_ms) for event in events}):
        yield f'<line class="turn" x1="{x}" y1="{middle - 3}" x2="{x}" y2="{middle + 3}"/>'


def _mark(mark: Mark, scale: Scale, bottom: int) -> Iterator[str]:
    x, end = scale.x(mark.from_ms), scale.x(mark.until_ms)
    label = mark.label if mark.from_ms == mark.until_ms else f"{mark.label}, {duration(mark.until_ms - mark.from_ms)}"
    width = len(label) * SMALL_CHAR + 14
    left = min(x, WIDTH - 16 - width)
    yield f'<rect class="away" x="{x}" y="{TOP - 8}" width="{round(end - x, 1)}" height="{bottom - TOP + 8}"/>'
    yield f'<line class="mark" x1="{x}" y1="{TOP - 24}" x2="{x}" y2="{bottom}"/>'
    yield f'<rect class="pill" x="{left}" y="{TOP - 34}" width="{width}" height="18" rx="3"/>'
    yield f'<text class="pill-text small" x="{left + 7}" y="{TOP - 21.5}">{_text(label)}</text>'


def _legend(lanes: Sequence[Lane], y: int) -> Iterator[str]:
    """Only what the picture has."""
    x = 30
    for kind in (kind for kind in Kind if any(lane.kind is kind for lane in lanes)):
        yield f'<circle class="{kind.value}" cx="{x}" cy="{y}" r="3.5"/>'
        yield f'<text class="dim small" x="{x + 8}" y="{y + 3.5}">{kind.value}</text>'
        x += 8 + int(len(kind.value) * SMALL_CHAR) + 18
    shown = {span.outcome for lane in lanes for span in lane.spans} - {Outcome.DONE}
    for outcome in (outcome for outcome in Outcome if outcome in shown):
        yield f'<rect class="bar activity {outcome.value}" x="{x}" y="{y - 5}" width="18" height="10" rx="3"/>'
        yield f'<text class="dim small" x="{x + 24}" y="{y + 3.5}">{outcome.value}</text>'
        x += 24 + int(len(outcome.value) * SMALL_CHAR) + 18
    x += 4
    yield f'<line class="status" x1="{x}" y1="{y - 4}" x2="{x}" y2="{y + 4}"/>'
    yield f'<text class="dim small" x="{x + 8}" y="{y + 3.5}">a notch in the first lane: a turn</text>'


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: max(0, chars - 1)] + "…"


def _text(text: str) -> str:
    """`text` as XML: five characters escaped, and those that XML 1.0 has no way to write replaced."""
    return escape(
        "".join(char if char in "\n\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    )
