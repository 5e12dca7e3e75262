"""Does every value come back as it was, and does no input do harm?"""

import contextlib
import functools
import io
import json
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
from provider_log.codec.body import reader
from provider_log.codec.failures import CUT, NESTING_MAX
from provider_log.records import Envelope, Outcome, SchemasAdded
from schemas import avro
from tests.unit.codec import golden
from tests.unit.codec.values import CODECS, values

TIMER_FIRED = TimerFired(event_id=7, timestamp_ms=1_767_225_600_000, source_event_id=5)
TIMER_FIRED_BYTES = bytes.fromhex("c301 b42f2331bbe35274 0e 80a0d5edee66 0a")
EXAMPLES = settings().max_examples // 4  # a kind: there are fifty
EVERY_KIND = pytest.mark.parametrize("kind", CODECS, ids=lambda kind: kind.__name__)
DECODERS = list(dict.fromkeys(decode for _, decode in CODECS.values()))
READ = pytest.mark.parametrize("decode", DECODERS, ids=lambda it: min(it.__self__.names))


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
def test_who_has_the_schema_alone_reads_the_same_and_writes_the_same(kind: Any, data: st.DataObject) -> None:
    encode, _ = CODECS[kind]
    value = data.draw(values(kind))
    record = encode(value)
    schema = _theirs(record[2:10].hex())

    read = FASTAVRO.schemaless_reader(io.BytesIO(record[10:]), schema, None)

    assert read == _plain(value)
    assert _written(schema, read) == record[10:]


FASTAVRO: Any = fastavro  # its stubs leave the files' types open


@functools.cache
def _theirs(fingerprint: str) -> Any:
    return FASTAVRO.parse_schema(msgspec.json.decode(schemas.released_text(fingerprint)))


def _written(schema: Any, plain: Any) -> bytes:
    out = io.BytesIO()
    FASTAVRO.schemaless_writer(out, schema, plain)
    return out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Failure):
        return {**_alone(value), "inner": _inner(value)}
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return getattr(value, "name", value)


def _alone(failure: Failure) -> dict[str, Any]:
    names = ("category", "type", "message", "retryable", "details", "stack")
    return {name: _plain(getattr(failure, name)) for name in names}


def _inner(failure: Failure) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    numbered = [failure]
    for number, holder in enumerate(numbered):  # it grows on the way
        held = [(True, holder.cause)] if holder.cause else []
        for is_cause, it in [*held, *((False, other) for other in holder.others)]:
            found.append({"outer": number, "is_cause": is_cause, **_alone(it)})
            numbered.append(it)
    return found


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
        (TIMER_FIRED_BYTES[:-1], "ends too early"),
        (TIMER_FIRED_BYTES + b"\x00", "expected 18 bytes"),
        (b"\xc3\x02" + TIMER_FIRED_BYTES[2:], "begin with c301"),
        (b"{}", "begins with c301"),
        (TIMER_FIRED_BYTES[:10] + b"\xff" * 100_000, "index out of range"),  # an integer without an end
        (codec.encode_message(CancelInstance(instance="a", reason="")), "this is turnlog.message.CancelInstance"),
    ],
)
def test_malformed_bytes_are_refused_with_a_sentence(data: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        codec.decode_event(data)


# Bodies of an OrchestrationFailed from its failure on: category, type, message, retryable, details, stack, inner.
HEADER = codec.encode_event(
    OrchestrationFailed(event_id=1, timestamp_ms=1, failure=Failure(Category.APPLICATION, "T", ""))
)[:12]
ALONE = "00 00 00 01 00 00"
HUGE = "feffffffffffffff7f"  # 2**62 - 1 or so
LOWEST = "ffffffffffffffffff01"  # -2**63


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("02 00 02 ff", "utf-8"),
        ("20", "index out of range"),  # a seventeenth symbol
        ("0f", "index out of range"),  # the symbol at -8, of seven
        ("00 01", "ted -1 bytes"),
        (f"00 {HUGE}", "Expected [0-9]{19} bytes, read 0"),
        (f"00 {LOWEST} 00 01 00 00 00", "Expected -[0-9]{19} bytes"),
        ("00 00 00 01 04", "index out of range"),  # the branch at 2
        ("00 00 00 01 05", "index out of range"),  # the branch at -3
        (f"{ALONE} {HUGE}", "ends too early"),  # so many inner failures
        (f"{ALONE} {HUGE} {'00' * 100_000}", "ends too early|inside each other"),
        (f"{ALONE} {LOWEST} 00", "ends too early"),
        (f"{ALONE} {LOWEST} {HUGE} {HUGE}", "ends too early"),
    ],
)
def test_a_failure_that_breaks_avros_rules_is_refused_with_a_sentence(body: str, says: str) -> None:
    data = HEADER + bytes.fromhex(body)
    tracemalloc.start()
    with pytest.raises(Malformed, match=says):
        codec.decode_event(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 200_000 + 100 * len(data)


def _inside(*places: tuple[int, bool]) -> bytes:
    """A record of a failure with inner ones: the number of the one that holds it, and whether it is its cause."""
    inner = b"".join(bytes([outer << 1 if outer >= 0 else 1, is_cause]) + bytes(6) for outer, is_cause in places)
    return HEADER + bytes.fromhex(ALONE) + bytes([len(places) << 1]) + inner + b"\x00"


def test_inner_failures_are_put_where_they_say() -> None:
    read = codec.decode_event(_inside((0, False), (0, True), (2, False), (0, False), (3, True)))

    leaf = Failure(Category.APPLICATION, "", "", retryable=False)
    third = msgspec.structs.replace(leaf, cause=leaf)
    second = msgspec.structs.replace(leaf, others=(third,))
    assert isinstance(read, OrchestrationFailed)
    assert (read.failure.cause, read.failure.others) == (second, (leaf, leaf))


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ([(-1, True)], "expected failure 1 to be inside one before it, but it is inside -1"),
        ([(1, True)], "expected failure 1 to be inside one before it, but it is inside 1"),
        ([(0, False), (3, False), (0, False)], "expected failure 2 to be inside one before it, but it is inside 3"),
        ([(0, True), (0, True)], "expected at most one cause of failure 0, but here are two"),
        ([(number, True) for number in range(NESTING_MAX)], f"at most {NESTING_MAX} failures inside each other"),
        ([(number, False) for number in range(NESTING_MAX)], f"at most {NESTING_MAX} failures inside each other"),
    ],
)
def test_inner_failures_that_cannot_be_are_refused_with_a_sentence(places: list[tuple[int, bool]], says: str) -> None:
    with pytest.raises(Malformed, match=says):
        codec.decode_event(_inside(*places))


def _chain(length: int) -> Failure:
    failure = Failure(Category.APPLICATION, "ValueError", "first")
    for _ in range(length - 1):
        failure = Failure(Category.APPLICATION, "ValueError", "next", cause=failure)
    return failure


def test_failures_come_back_as_deep_as_the_bound() -> None:
    deepest = OrchestrationFailed(event_id=1, timestamp_ms=1, failure=_chain(NESTING_MAX))

    assert codec.decode_event(codec.encode_event(deepest)) == deepest


@pytest.mark.parametrize("length", [NESTING_MAX + 1, 100_000])
def test_failures_deeper_than_the_bound_are_cut_and_the_last_one_says_so(length: int) -> None:
    failed = OrchestrationFailed(event_id=1, timestamp_ms=1, failure=_chain(length))

    read = codec.decode_event(codec.encode_event(failed))

    assert isinstance(read, OrchestrationFailed)
    kept, said = 1, read.failure
    while said.cause:
        kept, said = kept + 1, said.cause
    assert (kept, said.message) == (NESTING_MAX, "next" + CUT)
    assert codec.decode_event(codec.encode_event(read)) == read


def test_members_of_a_group_deeper_than_the_bound_are_cut_each_for_itself() -> None:
    leaf = Failure(Category.LIMIT, "L", "leaf")
    failure = Failure(Category.LIMIT, "G", "group", others=(leaf, leaf))
    for _ in range(NESTING_MAX - 2):
        failure = Failure(Category.LIMIT, "G", "around", others=(failure, leaf))
    deeper = Failure(Category.LIMIT, "G", "outermost", others=(failure,))

    fits, cut = (
        str(codec.decode_event(codec.encode_event(OrchestrationFailed(event_id=1, timestamp_ms=1, failure=it))))
        for it in (failure, deeper)
    )

    assert (fits.count("leaf"), fits.count(CUT)) == (NESTING_MAX, 0)
    assert (cut.count("leaf"), cut.count(CUT)) == (NESTING_MAX - 2, 1)


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


@pytest.mark.parametrize("around", [None, _chain(1)], ids=["outermost", "inner"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("retryable", 2), ("retryable", None), ("category", "any"), ("others", None), ("category", Status.HELD)],
)
def test_a_failure_of_wrong_types_is_not_written(field: str, value: Any, around: Failure | None) -> None:
    wrong = msgspec.structs.replace(_chain(1), **{field: value})
    failure = wrong if around is None else msgspec.structs.replace(around, cause=wrong)

    with pytest.raises((TypeError, ValueError)):
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


# What an older version wrote, by schemas that were never released.


@EVERY_KIND
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_what_an_older_version_wrote_is_read_with_todays_defaults(kind: Any, data: st.DataObject) -> None:
    """A version that lacked some of the fields which have a default, and perhaps had them in another order."""
    encode, decode = CODECS[kind]
    record = encode(data.draw(values(kind)))
    today = schemas.released_text(record[2:10].hex())
    schema, theirs = avro.parse(today), _theirs(record[2:10].hex())
    lacking = data.draw(st.sets(st.sampled_from(_with_default(schema)))) if _with_default(schema) else set[str]()
    older = avro.render(_older(schema, lacking, data.draw(st.booleans())))
    plain = FASTAVRO.schemaless_reader(io.BytesIO(record[10:]), theirs, None)
    written = _written(FASTAVRO.parse_schema(json.loads(older)), plain)

    read, end = reader(older, today, kind)(written, 0)

    assert end == len(written)
    assert read == decode(record[:10] + _written(theirs, _resolved(plain, schema, avro.definitions(schema), lacking)))


def _with_default(schema: avro.Named) -> list[str]:
    """Full names of the fields that an older version can have lacked."""
    records = [it for it in avro.definitions(schema).values() if isinstance(it, avro.Record)]
    return [
        f"{avro.full_name(record)}.{field.name}"
        for record in records
        for field in record.fields
        if field.default is not msgspec.UNSET
    ]


def _older(schema: avro.Named, lacking: set[str], reverse: bool) -> avro.Named:
    def older(named: avro.Named) -> avro.Named:
        if isinstance(named, avro.Enum):
            return named
        kept = [it for it in named.fields if f"{avro.full_name(named)}.{it.name}" not in lacking]
        fields = [msgspec.structs.replace(it, type=_by_name(it.type)) for it in (reversed(kept) if reverse else kept)]
        return msgspec.structs.replace(named, fields=tuple(fields))

    library = {name: older(named) for name, named in avro.definitions(schema).items()}
    return avro.inline(library[avro.full_name(schema)], library)


def _by_name(schema: avro.Schema) -> avro.Schema:
    match schema:
        case avro.Array():
            return avro.Array(_by_name(schema.items))
        case avro.Record() | avro.Enum():
            return avro.full_name(schema)
        case str():
            return schema
        case _:
            return tuple(cast("avro.Branch", _by_name(branch)) for branch in schema)


def _resolved(plain: Any, schema: avro.Schema, library: dict[str, avro.Named], lacking: set[str]) -> Any:
    """What Avro says a reader of `schema` gets of `plain`, written without the fields `lacking`."""
    match schema:
        case str() if schema in library:
            return _resolved(plain, library[schema], library, lacking)
        case avro.Record():
            return {
                it.name: it.default
                if f"{avro.full_name(schema)}.{it.name}" in lacking
                else _resolved(plain[it.name], it.type, library, lacking)
                for it in schema.fields
            }
        case avro.Array():
            return [_resolved(item, schema.items, library, lacking) for item in plain]
        case tuple():
            return None if plain is None else _resolved(plain, schema[1], library, lacking)
        case _:
            return plain


PAYLOAD = """{"type":"record","name":"Payload","fields":[
    {"name":"data","type":"bytes"},{"name":"codecs","type":{"type":"array","items":"string"}}]}"""


def test_an_array_in_blocks_with_their_size_is_read() -> None:
    read = reader(PAYLOAD, PAYLOAD, Payload)

    assert read(bytes.fromhex("00 01 04 0261 02 0262 00"), 0) == (Payload(b"", codecs=("a", "b")), 9)
    with pytest.raises(EOFError):
        read(bytes.fromhex("00 01 04 0261 7e"), 0)


def test_a_symbol_that_this_version_does_not_know_is_unknown() -> None:
    outcome = Outcome(instance="a", incarnation=1, execution_id=1, status=Status.UNKNOWN, ended_at_ms=1)
    record = codec.encode_outcome(outcome)
    today = schemas.released_text(record[2:10].hex())
    newer = today.replace('"SUSPENDED","UNKNOWN"', '"SUSPENDED","UNKNOWN","MOVED"')
    moved = record.replace(bytes([2, 2, 2 * 7]), bytes([2, 2, 2 * 8]))

    assert (newer != today, moved != record) == (True, True)
    assert reader(newer, today, Outcome)(moved, 10) == (outcome, len(moved))
