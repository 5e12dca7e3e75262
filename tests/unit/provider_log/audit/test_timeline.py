"""Is the picture of an execution well-formed, in scale and honest?"""

import re
from itertools import pairwise
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.events import (
    ActivityCompleted,
    ActivityScheduled,
    AnyEvent,
    OrchestrationCancelRequested,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationStarted,
)
from engine.model.payload import Payload
from provider_log.audit.timeline import LEFT, RIGHT, TICKS_MAX, WIDTH, Mark, Scale, duration, timeline

SVG = "{http://www.w3.org/2000/svg}"
ADA = Payload(b'"Ada"')
T = 1_790_000_000_000

HISTORY: tuple[AnyEvent, ...] = (
    OrchestrationStarted(event_id=1, timestamp_ms=T, name="hello", version="1.0.0", input=ADA, incarnation=7),
    ActivityScheduled(event_id=2, timestamp_ms=T, name="greet", input=ADA),
    ActivityCompleted(event_id=3, timestamp_ms=T + 500, source_event_id=2, result=ADA),
    OrchestrationCompleted(event_id=4, timestamp_ms=T + 1_000, output=ADA),
)


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in Xml.fromstring(svg).iter(SVG + "text")]


def test_the_picture_says_which_instance_how_it_ended_and_how_long_it_took() -> None:
    shown = texts(timeline("hello-1", HISTORY))

    assert shown[:2] == [
        "hello-1",
        "hello, completed  ·  began 2026-09-21 14:13:20 UTC  ·  took 1 s  ·  4 events in 3 turns",
    ]


def test_bars_are_in_scale() -> None:
    bars = [
        node
        for node in Xml.fromstring(timeline("hello-1", HISTORY)).iter(SVG + "rect")
        if node.get("class") in {"bar orchestration done", "bar activity done"}
    ]

    assert [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in bars] == [
        (LEFT, RIGHT - LEFT),
        (LEFT, (RIGHT - LEFT) / 2),
    ]


def test_a_bar_says_what_was_asked_and_answered_when_one_points_at_it() -> None:
    tips = [node.text for node in Xml.fromstring(timeline("hello-1", HISTORY)).iter(SVG + "title")]

    assert tips[1] == 'event 2: ActivityScheduled greet ← "Ada"\nevent 3: ActivityCompleted → "Ada"\n500 ms'


def test_a_mark_is_a_line_where_it_began_and_a_shade_until_it_ended() -> None:
    svg = Xml.fromstring(timeline("hello-1", HISTORY, [Mark("SIGKILL", T + 250, T + 750)]))

    [line] = [node for node in svg.iter(SVG + "line") if node.get("class") == "mark"]
    [shade] = [node for node in svg.iter(SVG + "rect") if node.get("class") == "away"]
    assert float(line.attrib["x1"]) == LEFT + (RIGHT - LEFT) / 4
    assert float(shade.attrib["width"]) == (RIGHT - LEFT) / 2
    assert "SIGKILL, 500 ms" in texts(Xml.tostring(svg, encoding="unicode"))


def test_a_mark_before_the_history_stands_at_its_edge() -> None:
    svg = Xml.fromstring(timeline("hello-1", HISTORY, [Mark("deploy", T - 9_000, T - 9_000)]))

    assert [node.get("x1") for node in svg.iter(SVG + "line") if node.get("class") == "mark"] == [str(float(LEFT))]


def test_a_request_to_cancel_is_marked() -> None:
    asked = OrchestrationCancelRequested(event_id=4, timestamp_ms=T + 700, reason="enough")

    assert "cancel" in texts(timeline("hello-1", [*HISTORY[:3], asked]))


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (HISTORY[:2], "hello, running"),
        ((*HISTORY[:3], OrchestrationContinuedAsNew(event_id=4, timestamp_ms=T + 1, input=ADA)), "continued as new"),
    ],
)
def test_the_title_says_what_became_of_the_execution(events: tuple[AnyEvent, ...], said: str) -> None:
    assert said in texts(timeline("hello-1", events))[1]


def test_a_history_of_one_moment_can_be_drawn() -> None:
    assert texts(timeline("hello-1", HISTORY[:1]))[0] == "hello-1"


def test_without_events_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="expected a history of hello-1 to draw, but it has no events"):
        timeline("hello-1", [])


@given(name=st.text(min_size=1), data=st.binary(max_size=40))
def test_no_name_and_no_payload_breaks_the_picture(name: str, data: bytes) -> None:
    events = (*HISTORY, ActivityScheduled(event_id=5, timestamp_ms=T + 2_000, name=name, input=Payload(data)))

    assert texts(timeline(name, events, [Mark(name, T, T)]))


def test_nothing_is_fetched_and_nothing_runs() -> None:
    picture = timeline("hello-1", HISTORY)

    assert not re.findall(r"<script|href|@import|url\(|<foreignObject| on\w+=", picture)


def test_equal_histories_give_equal_pictures() -> None:
    assert timeline("hello-1", HISTORY) == timeline("hello-1", list(HISTORY))


@given(st.integers(min_value=1, max_value=10**13))
def test_the_axis_has_few_ticks_apart_from_each_other_whatever_it_spans(length_ms: int) -> None:
    ticks = list(Scale(T, T + length_ms).ticks())

    assert 1 <= len(ticks) <= TICKS_MAX + 1
    assert all(LEFT <= x <= RIGHT < WIDTH for x, _ in ticks)
    assert all(after[0] - before[0] >= (RIGHT - LEFT) / (TICKS_MAX * 3) for before, after in pairwise(ticks))


@pytest.mark.parametrize(
    ("length_ms", "said"),
    [
        (0, "0 ms"),
        (850, "850 ms"),
        (12_400, "12.4 s"),
        (59_999, "60 s"),
        (180_000, "3 min"),
        (5_400_000, "1.5 h"),
        (864_000_000, "10 d"),
        (86_400_000_000, "1000 d"),
    ],
)
def test_durations_read_as_people_say_them(length_ms: int, said: str) -> None:
    assert duration(length_ms) == said
