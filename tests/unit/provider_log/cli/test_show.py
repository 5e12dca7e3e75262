"""Is what people see right to the last unit?"""

import pytest

from engine.model.events import (
    ActivityFailed,
    ActivityScheduled,
    AnyEvent,
    KeptKey,
    KeysRead,
    KeyValueCleared,
    KeyValueRead,
    KeyValuesCleared,
    KeyValueSet,
    OrchestrationStarted,
    SubOrchestrationScheduled,
    TimerCreated,
    TimerFired,
)
from engine.model.failure import Category, Failure
from engine.model.payload import NULL, Payload
from provider_log.cli import show

START_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(0, "+0.000s"), (59_999, "+59.999s"), (60_000, "+1m00.000s"), (3_723_004, "+1h02m03.004s"), (-5, "-0.005s")],
)
def test_a_duration_is_to_the_millisecond(duration_ms: int, text: str) -> None:
    assert show.seconds(duration_ms) == text


@pytest.mark.parametrize(
    ("age_ms", "text"),
    [
        (-1, "just now"),
        (999, "just now"),
        (1_000, "1 s ago"),
        (119_999, "1 min ago"),
        (7_200_000, "2 h ago"),
        (2**40, "12725 d ago"),
    ],
)
def test_an_age_is_in_its_largest_unit(age_ms: int, text: str) -> None:
    assert show.ago(START_MS, START_MS + age_ms) == text


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (NULL, "null"),
        (Payload(b'{"a":"\xc3\xa4"}'), '{"a":"ä"}'),
        (Payload(b"\x00\x01", codecs=("zstd", "aes")), "(2 bytes of application/json+zstd+aes)"),
        (Payload(b"<x/>", content_type="text/xml"), "(4 bytes of text/xml)"),
        (Payload(b'"\xff"'), "(3 bytes of application/json)"),
    ],
)
def test_a_payload_is_its_json_or_what_it_is(payload: Payload, text: str) -> None:
    assert show.payload(payload) == text


def test_long_text_is_shortened_on_one_line() -> None:
    assert show.shortened("a\n  b") == "a b"
    assert show.shortened("x" * 100) == "x" * 71 + "…"


def test_a_failure_tells_all_it_came_from() -> None:
    inner = Failure(Category.APPLICATION, "KeyError", "'x'", stack='File "shop.py", line 3, in pay\n  x\n')
    outer = Failure(Category.APPLICATION, "ValueError", "no", cause=inner, others=(inner,))
    assert show.failure(outer).splitlines() == [
        "ValueError: no",
        "caused by KeyError: 'x'",
        'File "shop.py", line 3, in pay',
        "  x",
        "and KeyError: 'x'",
        'File "shop.py", line 3, in pay',
        "  x",
    ]


def test_a_history_says_what_was_asked_for_and_what_answers_it() -> None:
    events: list[AnyEvent] = [
        OrchestrationStarted(event_id=1, timestamp_ms=START_MS, name="ship", version="1.0", input=NULL, incarnation=1),
        TimerCreated(event_id=2, timestamp_ms=START_MS, fire_at_ms=START_MS + 90_000),
        SubOrchestrationScheduled(event_id=3, timestamp_ms=START_MS, name="pack", instance="a::sub::3", input=NULL),
        ActivityScheduled(event_id=4, timestamp_ms=START_MS, name="weigh", input=Payload(b"[1]")),
        ActivityFailed(
            event_id=5,
            timestamp_ms=START_MS + 1_250,
            source_event_id=4,
            failure=Failure(Category.APPLICATION, "E", "no"),
        ),
        TimerFired(event_id=6, timestamp_ms=START_MS + 90_001, source_event_id=2),
    ]
    console = show.console()
    with console.capture() as printed:
        console.print(show.history(events))
    rows = [line.split() for line in printed.get().splitlines() if line.strip()[:1].isdigit()]
    assert rows == [
        ["1", "+0.000s", "OrchestrationStarted", "ship", "1.0", "null"],
        ["2", "+0.000s", "TimerCreated", "due", "+1m30.000s"],
        ["3", "+0.000s", "SubOrchestrationScheduled", "pack", "a::sub::3", "null"],
        ["4", "+0.000s", "ActivityScheduled", "weigh", "[1]"],
        ["5", "+1.250s", "ActivityFailed", "weigh", "#4", "E:", "no"],
        ["6", "+1m30.001s", "TimerFired", "#2"],
    ]


def test_a_history_says_what_is_kept_under_which_key() -> None:
    events: list[AnyEvent] = [
        KeyValueSet(event_id=1, timestamp_ms=START_MS, key="last seen", value=Payload(b"[1,2]")),
        KeyValueCleared(event_id=2, timestamp_ms=START_MS, key="old"),
        KeyValuesCleared(event_id=3, timestamp_ms=START_MS),
        KeyValueRead(event_id=4, timestamp_ms=START_MS, key="count", value=Payload(b"7")),
        KeyValueRead(event_id=5, timestamp_ms=START_MS, key="nothing"),
        KeysRead(event_id=6, timestamp_ms=START_MS, keys=(KeptKey("a", 1), KeptKey("b", 2))),
        KeysRead(event_id=7, timestamp_ms=START_MS),
    ]
    console = show.console()
    with console.capture() as printed:
        console.print(show.history(events))
    rows = [line.split()[2:] for line in printed.get().splitlines() if line.strip()[:1].isdigit()]
    assert rows == [
        ["KeyValueSet", "last", "seen", "[1,2]"],
        ["KeyValueCleared", "old"],
        ["KeyValuesCleared"],
        ["KeyValueRead", "count", "7"],
        ["KeyValueRead", "nothing"],
        ["KeysRead", "a,", "b"],
        ["KeysRead", "none"],
    ]
