"""What may somebody else put on the input topic, and what do they hear if it cannot be used?"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model.failure import Category, Failure
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    CompleteActivity,
    EnqueueMessage,
    FailActivity,
    FireTimer,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.payload import NULL, Payload
from engine.model.policies import ReusePolicy
from provider_log import codec
from provider_log.codec import Malformed, UnknownSchema

JSON = [("content-type", b"application/json")]
CANCEL = CancelInstance(instance="order-7", reason="asked to")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            '{"type": "StartOrchestration", "instance": "a", "name": "hello", "input": {"to": ["Ada"]}}',
            StartOrchestration(instance="a", name="hello", input=Payload(b'{"to": ["Ada"]}')),
        ),
        (
            '{"type": "StartOrchestration", "instance": "größe", "name": "n", "version": "2", "message_id": "m"}',
            StartOrchestration(instance="größe", name="n", input=NULL, version="2", message_id="m"),
        ),
        (
            '{"type": "StartOrchestration", "instance": "a", "name": "n", "start_at_ms": 1767225600, "deadline_ms": 5}',
            StartOrchestration(instance="a", name="n", input=NULL, start_at_ms=1_767_225_600, deadline_ms=5),
        ),
        (
            '{"type": "StartOrchestration", "instance": "a", "name": "n", "if_exists": "restart_ended"}',
            StartOrchestration(instance="a", name="n", input=NULL, if_exists=ReusePolicy.RESTART_ENDED),
        ),
        (
            '{"type": "StartOrchestration", "instance": "a", "name": "n", "if_exists": "ignore"}',
            StartOrchestration(instance="a", name="n", input=NULL),
        ),
        (
            '{"type": "RaiseEvent", "instance": "a", "name": "paid", "keep": true}',
            RaiseEvent(instance="a", name="paid", data=NULL, keep=True),
        ),
        (
            '{"type": "RaiseEvent", "instance": "a", "name": "paid", "data": 12.50, "traceparent": "00-1-2-01"}',
            RaiseEvent(instance="a", name="paid", data=Payload(b"12.50"), traceparent="00-1-2-01"),
        ),
        (
            ' {"data": "x", "name": "orders", "instance": "a", "type": "EnqueueMessage"}\n',
            EnqueueMessage(instance="a", name="orders", data=Payload(b'"x"')),
        ),
        (
            '{"type": "CancelInstance", "instance": "a", "reason": "no", "incarnation": 9223372036854775807}',
            CancelInstance(instance="a", reason="no", incarnation=2**63 - 1),
        ),
    ],
)
def test_json_that_a_person_typed_is_a_message(typed: str, message: AnyMessage) -> None:
    assert codec.decode_input(typed.encode(), JSON) == message
    assert codec.decode_message(codec.encode_message(message)) == message


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (b"", "Input data was truncated"),
        (b"hello", "malformed"),
        (b"[]", "Expected `object`"),
        (b"{}", "`type`"),
        (
            b'{"type": "Start"}',
            "expected a JSON message of type StartOrchestration, RaiseEvent.* Invalid value 'Start'",
        ),
        (b'{"type": "RaiseEvent", "instance": "a"}', "missing required field `name`"),
        (b'{"type": "RaiseEvent", "instance": "a", "name": "n", "date": 1}', "unknown field `date`"),
        (b'{"type": "RaiseEvent", "instance": 7, "name": "n"}', "Expected `str`, got `int`"),
        (b'{"type": "RaiseEvent", "instance": "a", "name": "n"} {}', "trailing"),
        (b'{"type": "RaiseEvent", "instance": "\xff", "name": "n"}', "JSON in UTF-8"),
        (b'{"type": "RaiseEvent", "instance": "\\ud800", "name": "n"}', "surrogate"),
        (b'{"type": "CancelInstance", "instance": "a", "reason": "", "incarnation": 9223372036854775808}', "`int` <="),
        (b'{"type": "CancelInstance", "instance": "a", "reason": "", "incarnation": 0}', "`int` >= 1"),
        (b'{"type": "FireTimer", "instance": "a"}', "Invalid value 'FireTimer'"),
        (b'{"type": "StartOrchestration", "instance": "a", "name": "n", "parent": null}', "unknown field `parent`"),
        (b'{"type": "RaiseEvent", "instance": "a", "name": "n", "data": ' + b"[" * 100_000, "nested too deep"),
    ],
)
def test_json_that_is_no_message_is_refused_with_a_sentence(typed: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        codec.decode_input(typed, JSON)


TOKEN = ("turnlog-token", b"9223372036854775807.3.12.c0ffee")
NUMBERS: dict[str, Any] = {"instance": "a", "incarnation": 2**63 - 1, "execution_id": 3, "activity_id": 12}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            b'{"type": "CompleteActivity", "instance": "a", "result": [1]}',
            CompleteActivity(**NUMBERS, result=Payload(b"[1]")),
        ),
        (b'{"type": "CompleteActivity", "instance": "a"}', CompleteActivity(**NUMBERS, result=NULL)),
        (
            b'{"type": "FailActivity", "instance": "a", "failure": {"type": "shop.NoLamp", "message": "none left"}}',
            FailActivity(**NUMBERS, failure=Failure(Category.APPLICATION, "shop.NoLamp", "none left")),
        ),
        (
            (
                b'{"type": "FailActivity", "instance": "a", "failure": {"type": "T", "message": "", '
                b'"retryable": false, "details": {"left": 0}}}'
            ),
            FailActivity(
                **NUMBERS,
                failure=Failure(Category.APPLICATION, "T", "", retryable=False, details=Payload(b'{"left": 0}')),
            ),
        ),
    ],
)
def test_an_answer_in_json_is_of_the_activity_its_token_names(typed: bytes, message: AnyMessage) -> None:
    assert codec.decode_input(typed, [*JSON, TOKEN]) == message
    assert codec.decode_message(codec.encode_message(message)) == message


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (None, "expected the header turnlog-token as its work item brought it, but there is none"),
        (b"", "turnlog-token: expected the token of a work item"),
        (b"1.2.3", "expected the token of a work item"),
        (b"1.-2.3.ff", "expected the token of a work item"),
        (b"1.2." + b"9" * 20 + b".ff", "expected the token of a work item"),
        (b"1.2.\xd9\xa3.ff", "expected the token of a work item"),
        (b"\xff", "turnlog-token in UTF-8"),
    ],
)
def test_an_answer_in_json_without_a_token_is_refused(token: bytes | None, says: str) -> None:
    headers = JSON if token is None else [*JSON, ("turnlog-token", token)]
    with pytest.raises(Malformed, match=says):
        codec.decode_input(b'{"type": "CompleteActivity", "instance": "a"}', headers)


@pytest.mark.parametrize(
    "headers", [[], [("content-type", b"avro/binary")], [("Content-Type", b"Avro/Binary; q=1")], [("hop", b"\xff")]]
)
def test_avro_is_what_there_is_when_no_header_says_otherwise(headers: list[tuple[str, bytes]]) -> None:
    assert codec.decode_input(codec.encode_message(CANCEL), headers) == CANCEL


def test_json_without_its_header_is_not_guessed() -> None:
    with pytest.raises(Malformed, match="begins with c301"):
        codec.decode_input(b'{"type": "CancelInstance", "instance": "a", "reason": ""}', [])


@pytest.mark.parametrize(
    "value", [codec.encode_message(CANCEL), b'{"type":"CancelInstance","instance":"order-7","reason":"asked to"}']
)
def test_headers_fill_the_fields_of_their_names(value: bytes) -> None:
    headers = [*(JSON if value.startswith(b"{") else []), ("message_id", b"m-1"), ("traceparent", b"00-1-2-01")]

    assert codec.decode_input(value, headers) == CancelInstance(
        instance="order-7", reason="asked to", message_id="m-1", traceparent="00-1-2-01"
    )


def test_a_header_may_repeat_its_field_and_not_contradict_it() -> None:
    value = codec.encode_message(CancelInstance(instance="a", reason="", message_id="m-1"))

    assert codec.decode_input(value, [("message_id", b"m-1")]) == codec.decode_message(value)
    with pytest.raises(Malformed, match="the two differ"):
        codec.decode_input(value, [("message_id", b"m-2")])


def test_a_message_that_has_no_such_field_ignores_the_trace_of_its_producer() -> None:
    timer = FireTimer(instance="a", incarnation=1, execution_id=1, timer_id=2, fire_at_ms=3)

    assert codec.decode_input(codec.encode_message(timer), [("traceparent", b"00-1-2-01")]) == timer


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([("content-type", b"text/plain")], "application/json or avro/binary, but it is 'text/plain'"),
        ([("content-type", b"application/json"), ("content-type", b"application/json")], "there twice"),
        ([("message_id", b"\xff")], "message_id in UTF-8"),
    ],
)
def test_headers_that_say_nothing_usable_are_refused_with_a_sentence(
    headers: list[tuple[str, bytes]], says: str
) -> None:
    with pytest.raises(Malformed, match=says):
        codec.decode_input(codec.encode_message(CANCEL), headers)


def test_a_newer_schema_is_not_called_malformed() -> None:
    with pytest.raises(UnknownSchema):
        codec.decode_input(b"\xc3\x01" + b"newer...", [])


@given(value=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
def test_noise_that_calls_itself_json_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed):
        codec.decode_input(value, JSON)
