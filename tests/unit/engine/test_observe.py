"""Does a record say whose it is, does a counter count, and is a mark seen only by a test?"""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from engine.observe import Subject, SubjectLogger, known_marks, log_to, logger, mark, recorded_marks, subject
from tests.upstream import upstream

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


@pytest.mark.parametrize(
    ("options", "is_json"), [(dict[str, bool](), False), ({"json_lines": False}, False), ({"json_lines": True}, True)]
)
@upstream(
    "observability_tests",
    "test_log_format_variants",
    "test_observability_config_defaults",
    differs="There are two formats: lines of text, unless one asks for JSON. The service's name is no part of them.",
)
def test_both_formats_name_instance_and_execution(options: dict[str, bool], is_json: bool) -> None:
    stream = io.StringIO()
    handler = log_to(stream, **options)
    try:
        SubjectLogger(logger("turns"), Subject("order-3", 4)).info("held")
        SubjectLogger(logger("turns"), Subject("order-3", 4)).debug("below what is asked for")
    finally:
        logging.getLogger().removeHandler(handler)
    [line] = stream.getvalue().splitlines()
    assert line.startswith("{") is is_json
    if is_json:
        assert json.loads(line) | {"time_ms": 0} == {
            "time_ms": 0,
            "level": "INFO",
            "logger": "turnlog.turns",
            "instance": "order-3",
            "execution_id": 4,
            "message": "held",
        }
    else:
        assert "INFO    order-3#4 turnlog.turns: held" in line


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
