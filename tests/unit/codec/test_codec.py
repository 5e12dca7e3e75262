"""Does every value come back as it was, and does no input do harm?"""

import contextlib
import functools
import io
import tracemalloc
from typing import Any, cast

import fastavro
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import schemas
from engine.model.events import OrchestrationFailed, TimerFired
from engine.model.failure import Category, Failure
from engine.model.messages import CancelInstance
from engine.model.payload import Payload
from engine.model.status import Status
from provider_log import codec
from provider_log.codec import Malformed, UnknownSchema
from provider_log.codec.reading import Broken, Readers
from provider_log.codec.shapes import NESTING_MAX, Misfit
from provider_log.records import Envelope, SchemasAdded, WorkItemAcked
from schemas import avro
from tests.unit.codec import golden
from tests.unit.codec.values import CODECS, values

TIMER_FIRED = TimerFired(event_id=7, timestamp_ms=1_767_225_600_000, source_event_id=5)
TIMER_FIRED_BYTES = bytes.fromhex("c301 b42f2331bbe35274 0e 80a0d5edee66 0a")
EXAMPLES = settings().max_examples // 4  # a kind: there are fifty
EVERY_KIND = pytest.mark.parametrize("kind", CODECS, ids=lambda kind: kind.__name__)
READ = pytest.mark.parametrize("decode", {decode for _, decode in CODECS.values()}, ids=lambda it: repr(it.__self__))


@EVERY_KIND
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_every_value_comes_back_as_it_was(kind: Any, data: st.DataObject) -> None:
    encode, decode = CODECS[kind]
    value = data.draw(values(kind))

    assert decode(encode(value)) == value


@EVERY_KIND
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_another_implementation_of_avro_reads_and_writes_the_same(kind: Any, data: st.DataObject) -> None:
    encode, _ = CODECS[kind]
    value = data.draw(values(kind))
    record = encode(value)
    schema = _theirs(record[2:10].hex())

    read = FASTAVRO.schemaless_reader(io.BytesIO(record[10:]), schema, None)
    written = io.BytesIO()
    FASTAVRO.schemaless_writer(written, schema, read)

    assert read == _plain(value)
    assert written.getvalue() == record[10:]


FASTAVRO: Any = fastavro  # its stubs leave the files' types open


@functools.cache
def _theirs(fingerprint: str) -> Any:
    return FASTAVRO.parse_schema(msgspec.json.decode(schemas.released_text(fingerprint)))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return getattr(value, "name", value)


def test_a_record_is_mark_fingerprint_and_body() -> None:
    assert codec.encode_event(TIMER_FIRED).hex(" ") == TIMER_FIRED_BYTES.hex(" ")
    assert codec.decode_event(TIMER_FIRED_BYTES) == TIMER_FIRED


@EVERY_KIND
def test_every_golden_record_is_read_as_it_was_meant_and_todays_are_written_the_same(kind: Any) -> None:
    encode, decode = CODECS[kind]
    released = [line for line in schemas.read_lock() if line.name.endswith(f".{kind.__name__}")]
    kept = golden.read(released[-1].name)

    assert {entry.fingerprint for entry in kept} == {line.fingerprint for line in released}, (
        "expected golden bytes of every released version; run python -m tests.unit.codec.golden"
    )
    for entry in kept:
        value = msgspec.convert(entry.value, kind)
        assert decode(bytes.fromhex(entry.hex)) == value
        if entry.fingerprint == released[-1].fingerprint:
            assert encode(value).hex() == entry.hex


@EVERY_KIND
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_mean_something_else_but_nothing_breaks(kind: Any, data: st.DataObject) -> None:
    encode, decode = CODECS[kind]
    record = encode(data.draw(values(kind)))
    place = data.draw(st.integers(0, len(record) - 1))
    damaged = data.draw(
        st.sampled_from([record[:place], record[:place] + record[place + 1 :]])
        | st.binary(min_size=1, max_size=12).map(lambda noise: record[:place] + noise + record[place + 1 :])
        | st.binary(max_size=200).map(lambda noise: record[:10] + noise)
    )

    with contextlib.suppress(Malformed, UnknownSchema):
        decode(damaged)


@READ
@given(noise=st.binary(max_size=300))
@example(noise=b"")
@example(noise=b"\xc3\x01")
def test_noise_is_refused(decode: Any, noise: bytes) -> None:
    with pytest.raises((Malformed, UnknownSchema)):
        decode(noise)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (TIMER_FIRED_BYTES[:-1], "index out of range"),
        (TIMER_FIRED_BYTES + b"\x00", "expected 18 bytes"),
        (b"\xc3\x02" + TIMER_FIRED_BYTES[2:], "begin with c301"),
        (b"{}", "begins with c301"),
        (TIMER_FIRED_BYTES[:10] + b"\xff" * 12, "at most 10 bytes"),
        (TIMER_FIRED_BYTES[:10] + b"\xff" * 9 + b"\x7f", "64 bits"),
        (codec.encode_message(CancelInstance(instance="a", reason="")), "this is turnlog.message.CancelInstance"),
    ],
)
def test_malformed_bytes_are_refused_with_a_sentence(data: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        codec.decode_event(data)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("02 00 02 ff", "utf-8"),  # category, type, message: not UTF-8
        ("20", "symbols of Category"),  # a seventeenth symbol
        ("01", "symbols of Category"),  # the symbol at -1
        ("00 01", "fits into"),  # a length of -1
        ("00 feffffffffffffff7f", "fits into"),  # a length of 2**62
        ("00 00 00 02", "0 or 1"),  # no boolean: retryable takes one byte, 0 or 1
        ("00 00 00 00 01", "null or a value"),  # the branch at -1
        ("00 00 00 00 00 00 00 feffffffffffffff7f", "a count that fits"),
        ("00 00 00 00 00 00 00 ffffffffffffffffff01 00", "a count that fits"),  # a block of -2**63 items
    ],
)
def test_a_failure_that_breaks_avros_rules_is_refused_with_a_sentence(body: str, says: str) -> None:
    header = codec.encode_event(OrchestrationFailed(event_id=1, timestamp_ms=1, failure=_chain(1)))[:12]
    tracemalloc.start()
    with pytest.raises(Malformed, match=says):
        codec.decode_event(header + bytes.fromhex(body))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 200_000


def _chain(length: int) -> Failure:
    failure = Failure(Category.APPLICATION, "ValueError", "first")
    for _ in range(length - 1):
        failure = Failure(Category.APPLICATION, "ValueError", "next", cause=failure)
    return failure


def test_failures_nest_as_deep_as_can_be_written_and_no_deeper() -> None:
    deepest = OrchestrationFailed(event_id=1, timestamp_ms=1, failure=_chain(NESTING_MAX))
    deeper = OrchestrationFailed(event_id=1, timestamp_ms=1, failure=_chain(NESTING_MAX + 1))

    assert codec.decode_event(codec.encode_event(deepest)) == deepest
    with pytest.raises(ValueError, match=f"at most {NESTING_MAX}"):
        codec.encode_event(deeper)


def test_a_hundred_thousand_nested_failures_do_not_end_the_process() -> None:
    header = codec.encode_event(OrchestrationFailed(event_id=1, timestamp_ms=1, failure=_chain(1)))[:12]

    with pytest.raises(Malformed, match=f"at most {NESTING_MAX}"):
        codec.decode_event(header + bytes.fromhex("00000000000002") * 100_000)


def test_a_schema_of_a_newer_version_is_told_from_damage() -> None:
    with pytest.raises(UnknownSchema, match="a newer version may know it") as raised:
        codec.decode_event(b"\xc3\x01" + b"newer..." + b"\x00")

    assert raised.value.fingerprint == b"newer...".hex()


@pytest.mark.parametrize(
    "value",
    [
        TimerFired(event_id=2**63, timestamp_ms=0, source_event_id=0),
        TimerFired(event_id=-(2**63) - 1, timestamp_ms=0, source_event_id=0),
        TimerFired(event_id=cast("int", None), timestamp_ms=0, source_event_id=0),
        TimerFired(event_id=cast("int", "1"), timestamp_ms=0, source_event_id=0),
    ],
    ids=repr,
)
def test_a_value_that_its_type_does_not_allow_is_not_written(value: TimerFired) -> None:
    with pytest.raises((TypeError, ValueError)):
        codec.encode_event(value)


@pytest.mark.parametrize("text", ["\ud800", None, b"text"], ids=repr)
def test_a_text_that_is_none_is_not_written(text: Any) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError)):
        codec.encode_message(CancelInstance(instance="a", reason=text))


@pytest.mark.parametrize(
    ("field", "value"),
    [("retryable", 2), ("retryable", None), ("category", "application"), ("others", None), ("category", Status.HELD)],
)
def test_a_failure_of_wrong_types_is_not_written(field: str, value: Any) -> None:
    failure = msgspec.structs.replace(_chain(1), **{field: value})

    with pytest.raises(TypeError):
        codec.encode_event(OrchestrationFailed(event_id=1, timestamp_ms=1, failure=failure))


def test_a_kind_of_another_family_is_not_written() -> None:
    with pytest.raises(TypeError, match=r"expected one of turnlog\.event\..* but CancelInstance is none"):
        codec.encode_event(cast("Any", CancelInstance(instance="a", reason="")))


def test_the_log_explains_itself_with_the_texts_of_all_that_is_written() -> None:
    texts = codec.schema_texts()
    envelope = Envelope(
        owner_token=b"", batch=1, index=0, count=1, last=True, apply_version=1, chain=b"", time_ms=0, node=""
    )
    added = SchemasAdded(envelope=envelope, schemas=tuple(texts.values()))

    assert len(texts) == len(CODECS)
    assert all(avro.fingerprint(avro.parse(text)) == fingerprint for fingerprint, text in texts.items())
    assert codec.decode_record(codec.encode_record(added)) == added


# What an older version wrote: schemas that were never released, read by readers made of them.


def _reader(text: str, hint: Any) -> Any:
    schema = avro.parse(text)
    return Readers(schema).build(schema, hint)


def test_a_field_that_an_older_version_lacked_has_its_default() -> None:
    text = '{"type":"record","name":"Payload","fields":[{"name":"data","type":"bytes"}]}'

    assert _reader(text, Payload)(b"\x02x", 0) == (Payload(b"x"), 2)


def test_fields_in_another_order_are_found_by_name() -> None:
    text = """{"type":"record","name":"Payload","fields":[
        {"name":"content_type","type":"string"},{"name":"data","type":"bytes"}]}"""

    assert _reader(text, Payload)(b"\x02t\x02x", 0) == (Payload(b"x", "t"), 4)


def test_a_symbol_that_this_version_does_not_know_is_unknown() -> None:
    text = '{"type":"enum","name":"Status","symbols":["RUNNING","MOVED"],"default":"RUNNING"}'

    assert _reader(text, Status)(b"\x00", 0) == (Status.RUNNING, 1)
    assert _reader(text, Status)(b"\x02", 0) == (Status.UNKNOWN, 1)


def test_an_array_in_blocks_with_their_size_is_read() -> None:
    text = """{"type":"record","name":"Payload","fields":[
        {"name":"data","type":"bytes"},{"name":"codecs","type":{"type":"array","items":"string"}}]}"""
    read = _reader(text, Payload)

    assert read(bytes.fromhex("00 01 04 0261 02 0262 00"), 0) == (Payload(b"", codecs=("a", "b")), 9)
    with pytest.raises(Broken):
        read(bytes.fromhex("00 01 04 0261 7e"), 0)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('{"type":"record","name":"Payload","fields":[{"name":"data","type":"string"}]}', Payload),
        ('{"type":"record","name":"Payload","fields":[{"name":"content_type","type":"string"}]}', Payload),
        ('{"type":"record","name":"Other","fields":[{"name":"data","type":"bytes"}]}', Payload),
        ('{"type":"record","name":"WorkItemAcked","fields":[]}', WorkItemAcked),
    ],
)
def test_a_schema_that_does_not_fit_its_type_is_refused_before_anything_is_read(text: str, hint: Any) -> None:
    with pytest.raises(Misfit):
        _reader(text, hint)
