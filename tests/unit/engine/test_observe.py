"""Does a record say whose it is, does a counter count, and is a mark seen only by a test?"""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from engine.observe import Counters, Subject, SubjectLogger, known_marks, log_to, logger, mark, recorded_marks, subject

known_marks("test_observe.reached", "test_observe.never")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the root logger writes as JSON lines while the test runs."""
    stream = io.StringIO()
    root = logging.getLogger()
    level = root.level
    handler = log_to(stream, level=logging.DEBUG, json_lines=True)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_subject_logger_says_whose_the_record_is_and_keeps_the_extra_of_the_caller(stream: io.StringIO) -> None:
    SubjectLogger(logger("turns"), Subject("order-1", 2)).info("paid %d", 7, extra={"amount": 7})
    [line] = lines(stream)
    assert (line["instance"], line["execution_id"], line["message"]) == ("order-1", 2, "paid 7")
    assert (line["logger"], line["level"]) == ("turnlog.turns", "INFO")


def test_a_record_of_any_library_carries_the_activity_it_was_made_in(stream: io.StringIO) -> None:
    token = subject.set(Subject("order-2", 1))
    logging.getLogger("some.library").warning("slow")
    subject.reset(token)
    logging.getLogger("some.library").warning("slow")
    assert [line["instance"] for line in lines(stream)] == ["order-2", "-"]


def test_an_exception_is_part_of_its_json_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        logger("turns").exception("failed")
    [line] = lines(stream)
    assert "ValueError: boom" in str(line["error"])


def test_a_text_line_names_instance_and_execution() -> None:
    stream = io.StringIO()
    handler = log_to(stream)
    try:
        SubjectLogger(logger("turns"), Subject("order-3", 4)).warning("held")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "order-3#4 turnlog.turns: held" in stream.getvalue()


def test_a_snapshot_has_every_counter_and_does_not_move() -> None:
    counters = Counters()
    before = counters.snapshot()
    counters.turns_admitted += 2
    assert (before["turns_admitted"], counters.snapshot()["turns_admitted"]) == (0, 2)
    assert set(before) == set(Counters.__slots__)


def test_a_mark_is_recorded_only_while_a_test_records() -> None:
    mark("test_observe.never")
    with recorded_marks() as reached:
        mark("test_observe.reached")
    mark("test_observe.never")
    assert reached == {"test_observe.reached"}


def test_a_mark_nobody_declared_is_refused_while_a_test_records() -> None:
    with recorded_marks(), pytest.raises(ValueError, match="expected a declared rare path, but 'unheard of'"):
        mark("unheard of")


def test_a_rare_path_is_declared_once() -> None:
    with pytest.raises(ValueError, match=r"expected new names of rare paths, but \['test_observe.never'\]"):
        known_marks("test_observe.never")
