"""What may a schema of a registry be, and what becomes of records that name one?"""

import io
import json
from typing import Any

import fastavro
import pytest

from engine.model.failure import Category, Failure
from engine.model.messages import AnyMessage, CancelInstance, FailActivity, RaiseEvent
from engine.model.payload import Payload
from provider_log import codec
from provider_log.codec import Malformed, NotLookedUp
from schemas import read_lock, released_text

FASTAVRO: Any = fastavro  # its stubs leave schemas partly unknown
PAID = RaiseEvent(instance="order-7", name="paid", data=Payload(b"1250"), message_id="m", traceparent="t")
FAILED = FailActivity(
    instance="a", incarnation=1, execution_id=1, activity_id=2,
    failure=Failure(Category.LIMIT, "T", "m", cause=Failure(Category.POISON, "U", "n")),
)  # fmt: skip
CANCEL: dict[str, Any] = {
    "type": "record",
    "name": "CancelInstance",
    "namespace": "turnlog.message",
    "fields": [{"name": "instance", "type": "string"}, {"name": "reason", "type": "string"}],
}


def text_of(name: str) -> str:
    return next(released_text(line.fingerprint) for line in reversed(read_lock()) if line.name == name)


def cancel_with(*fields: dict[str, Any]) -> str:
    return json.dumps(CANCEL | {"fields": [*CANCEL["fields"], *fields]})


def framed(number: int, body: bytes) -> bytes:
    return b"\x00" + number.to_bytes(4, "big") + body


def written(text: str, fields: dict[str, Any], number: int = 7) -> bytes:
    body = io.BytesIO()
    FASTAVRO.schemaless_writer(body, FASTAVRO.parse_schema(json.loads(text)), fields)
    return framed(number, body.getvalue())


@pytest.mark.parametrize("message", [PAID, FAILED])
def test_a_record_of_a_registered_schema_of_ours_is_read(message: AnyMessage) -> None:
    known = {7: codec.registered_as(text_of(f"turnlog.message.{type(message).__name__}"))}
    value = framed(7, codec.encode_message(message)[10:])

    assert codec.decode_input(value, [], known) == message
    assert codec.decode_input(value, [("content-type", b"avro/binary")], known) == message


def test_a_schema_with_more_and_with_fewer_fields_resolves_to_ours() -> None:
    text = cancel_with({"name": "by", "type": ["null", "string", "double"]}, {"name": "at", "type": "int"})
    value = written(text, {"instance": "a", "reason": "no", "by": "Ada", "at": 3})

    read = codec.decode_input(value, [("message_id", b"m")], {7: codec.registered_as(text)})

    assert read == CancelInstance(instance="a", reason="no", message_id="m")


def test_a_schema_that_lacks_what_must_be_there_is_refused_record_by_record() -> None:
    text = json.dumps(CANCEL | {"fields": [{"name": "instance", "type": "string"}]})
    known = {7: codec.registered_as(text)}

    with pytest.raises(Malformed, match=r"its schema differs: No default value for .*reason"):
        codec.decode_input(written(text, {"instance": "a"}), [], known)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Avro record like ours, but"),
        ("[]", "Avro record like ours, but"),
        ('"string"', "Avro record like ours, but"),
        ("nonsense", "Avro record like ours, but"),
        ('{"type": "record"}', "Avro record like ours, but"),
        ('{"type": "record", "name": "a", "fields": [{"name": "x", "type": "nope"}]}', "Avro record like ours, but"),
        (cancel_with({"name": "m", "type": {"type": "map", "values": "string"}}), "Avro record like ours, but"),
        ("[" * 50_000, "Avro record like ours, but"),
        ('{"type":"array","items":' * 2_000 + '"null"' + "}" * 2_000, "Avro record like ours, but"),
        (" " * 70_000, "at most 65536 characters, but it has 70000"),
        (json.dumps(CANCEL | {"namespace": "shop"}), "but it is of shop.CancelInstance"),
        (text_of("turnlog.history.Genesis"), "but it is of turnlog.history.Genesis"),
        (cancel_with({"name": "self", "type": ["null", "CancelInstance"]}), "safe to read, but .* hold itself"),
        (cancel_with({"name": "all", "type": {"type": "array", "items": "null"}}), "safe to read, but .* a byte"),
        (
            cancel_with(
                {"name": "nothing", "type": {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}},
                {"name": "all", "type": ["null", {"type": "array", "items": "E"}]},
            ),
            "safe to read, but .* a byte",
        ),
    ],
)
def test_a_schema_that_is_none_of_ours_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(Malformed, match=f"schema 7 of the registry: expected .*{says}"):
        codec.decode_input(framed(7, b""), [], {7: codec.registered_as(text)})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\x00", "four bytes after 00, but it is cut"),
        (b"\x00\x00\x00\x07", "four bytes after 00, but it is cut"),
        (framed(7, b"\x02"), "cut or damaged"),
        (framed(7, b"\xfe" * 20), "cut or damaged"),
        (framed(7, b"\x02a\x00\x00\x02b\x00 more"), "but there are"),
    ],
)
def test_a_framed_record_that_is_damaged_is_refused(value: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        codec.decode_input(value, [], {7: codec.registered_as(text_of("turnlog.message.CancelInstance"))})


def test_an_id_that_was_not_looked_up_is_not_called_malformed() -> None:
    with pytest.raises(NotLookedUp) as unknown:
        codec.decode_input(framed(2**32 - 1, b"body"), [], {})
    assert unknown.value.number == 2**32 - 1


def test_without_a_registry_the_sentence_says_how_to_configure_one() -> None:
    with pytest.raises(Malformed, match=r"none is configured; LogProviderOptions\.schema_registry is its URL"):
        codec.decode_input(framed(7, b"body"), [])
