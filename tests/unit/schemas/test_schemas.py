"""Does the contract hold what it promised, and does it refuse every change that would break a log?"""

import enum
import json
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastavro import schema as fastavro_schema

import schemas
from engine.model.failure import Failure
from engine.model.payload import Payload
from provider_log.codec.framing import Family
from schemas import LOCK, avro, release
from tests.unit.codec.values import CODECS

FASTAVRO: Any = fastavro_schema  # its stubs leave the schemas' types open
PRIMITIVES: dict[Any, str] = {bool: "boolean", int: "long", bytes: "bytes", str: "string"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(release.ROOT, tmp_path / "schemas", ignore=shutil.ignore_patterns("__pycache__"))


def test_the_lock_fits_the_sources() -> None:
    assert release.broken(release.ROOT) == []


@pytest.mark.parametrize("line", schemas.read_lock(), ids=lambda line: f"{line.name}-{line.fingerprint}")
def test_another_implementation_of_avro_parses_every_released_text_to_the_same_fingerprint(
    line: schemas.Released,
) -> None:
    theirs = FASTAVRO.to_parsing_canonical_form(json.loads(schemas.released_text(line.fingerprint)))

    assert theirs == avro.canonical_form(avro.parse(schemas.released_text(line.fingerprint)))
    assert FASTAVRO.fingerprint(theirs, "CRC-64-AVRO") == line.fingerprint


def test_the_fingerprint_of_null_is_the_one_of_the_avro_specification() -> None:
    assert avro.fingerprint("null") == (0x63DD24E7CC258F8A).to_bytes(8, "little").hex()


def test_every_kind_that_travels_has_a_schema_and_every_schema_a_kind() -> None:
    kinds = {kind.__name__ for kind in CODECS}

    assert {name.rpartition(".")[2] for name in release.travelling(release.ROOT)} == kinds


@pytest.mark.parametrize("kind", CODECS, ids=lambda kind: kind.__name__)
def test_schema_and_type_agree_on_fields_and_defaults(kind: Any) -> None:
    schema = next(it for name, it in release.travelling(release.ROOT).items() if name.endswith(f".{kind.__name__}"))

    assert isinstance(schema, avro.Record)
    assert _shape_of_schema(schema, avro.definitions(schema)) == _shape_of_type(kind)
    defaults = {field.name: field.default for field in schema.fields if field.default not in (msgspec.UNSET, None, [])}
    assert defaults == {
        field.name: field.default
        for field in msgspec.structs.fields(kind)
        if field.default not in (msgspec.NODEFAULT, None, ())
    }


def _shape_of_schema(schema: avro.Schema, library: dict[str, avro.Named]) -> object:
    """What the codec makes of values of `schema`, as plain data to compare: a field or symbol more or less shows."""
    match schema:
        case str():
            return _shape_of_schema(library[schema], library) if schema in library else schema
        case avro.Array():
            return [_shape_of_schema(schema.items, library)]
        case avro.Enum():
            return schema.name, {symbol.lower() for symbol in schema.symbols}
        case avro.Record():
            return schema.name, {it.name: _shape_of_schema(it.type, library) for it in schema.fields}
        case _:
            return tuple(_shape_of_schema(branch, library) for branch in schema)


def _shape_of_type(hint: Any) -> object:
    if hint in PRIMITIVES:
        return PRIMITIVES[hint]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint.__name__, {member.value for member in hint}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        types_of = {it.name: it.type for it in msgspec.structs.fields(hint)}
        if hint is Failure:  # the one type that holds itself, and the contract has no such type
            flat = {name: _shape_of_type(it) for name, it in types_of.items() if name not in ("cause", "others")}
            return "Failure", {**flat, "inner": [("InnerFailure", {"outer": "long", "is_cause": "boolean", **flat})]}
        return hint.__name__, {name: _shape_of_type(it) for name, it in types_of.items()}
    inner = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        return [_shape_of_type(inner)]
    return "null", _shape_of_type(inner)


def test_a_parts_defaults_are_those_of_its_type() -> None:
    payload = avro.parse((release.ROOT / "value" / "Payload.avsc").read_text(encoding="utf-8"))
    assert isinstance(payload, avro.Record)

    assert {field.name: field.default for field in payload.fields} == {
        "data": msgspec.UNSET,
        "content_type": Payload(b"").content_type,
        "codecs": [],
        "key_id": None,
    }


# Changes of one source each. A change gets the parsed JSON and alters it.

Change = Callable[[dict[str, Any]], object]
NOTE = {"name": "note", "type": ["null", "string"], "default": None, "doc": "A note, for people."}


FOR_ONE = {
    "type": "record",
    "name": "ForOne",
    "namespace": "turnlog.value",
    "doc": "For one.",
    "fields": [{"name": "data", "type": ["null", "turnlog.value.Payload"], "default": None, "doc": "What it gets."}],
}


def _field(source: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in source["fields"] if field["name"] == name)


def _without(source: dict[str, Any], name: str) -> None:
    source["fields"].remove(_field(source, name))


ALLOWED: dict[str, tuple[str, Change]] = {
    "a new optional field": ("event/TimerFired", lambda it: it["fields"].append(NOTE)),
    "a new field with a default": (
        "event/TimerFired",
        lambda it: it["fields"].append({"name": "late_ms", "type": "long", "default": 0, "doc": "How late, ms."}),
    ),
    "a new array": (
        "event/TimerFired",
        lambda it: it["fields"].append(
            {"name": "notes", "type": {"type": "array", "items": "string"}, "default": [], "doc": "Notes."}
        ),
    ),
    "a new field of a part": ("value/Failure", lambda it: it["fields"].append(NOTE)),
    "a new symbol at the end": ("value/Category", lambda it: it["symbols"].append("QUOTA")),
    "another doc": ("event/TimerFired", lambda it: it.update(doc="The timer fired.")),
    "fields in another order": ("event/TimerFired", lambda it: it["fields"].reverse()),
}

FORBIDDEN: dict[str, tuple[str, Change, str]] = {
    "a field removed": (
        "event/TimerFired",
        lambda it: _without(it, "source_event_id"),
        "turnlog.event.TimerFired.source_event_id: expected a released field to stay",
    ),
    "an optional field removed": (
        "value/Payload",
        lambda it: _without(it, "key_id"),
        "turnlog.value.Payload.key_id: expected a released field to stay",
    ),
    "a field renamed": (
        "event/TimerFired",
        lambda it: _field(it, "source_event_id").update(name="timer_id"),
        "turnlog.event.TimerFired.source_event_id: expected a released field to stay",
    ),
    "a field of another type": (
        "event/TimerFired",
        lambda it: _field(it, "source_event_id").update(type="string"),
        "turnlog.event.TimerFired.source_event_id: expected a released field to keep its type",
    ),
    "a field that becomes optional": (
        "event/TimerFired",
        lambda it: _field(it, "source_event_id").update(type=["null", "long"], default=None),
        "turnlog.event.TimerFired.source_event_id: expected a released field to keep its type",
    ),
    "an array of another type": (
        "history/SchemasAdded",
        lambda it: _field(it, "schemas").update(type={"type": "array", "items": "bytes"}),
        "turnlog.history.SchemasAdded.schemas: expected a released field to keep its type",
    ),
    "a new field without a default": (
        "event/TimerFired",
        lambda it: it["fields"].append({"name": "late_ms", "type": "long", "doc": "How late, ms."}),
        "turnlog.event.TimerFired.late_ms: expected a new field to have a default",
    ),
    "a new optional field without a default": (
        "event/TimerFired",
        lambda it: it["fields"].append({"name": "note", "type": ["null", "string"], "doc": "A note."}),
        "turnlog.event.TimerFired.note: expected an optional field to default to null",
    ),
    "a new union of two types": (
        "event/TimerFired",
        lambda it: it["fields"].append({"name": "it", "type": ["long", "string"], "default": 0, "doc": "It."}),
        "turnlog.event.TimerFired.it: expected a union of null and one type",
    ),
    "a type that holds itself": (
        "value/Payload",
        lambda it: it["fields"].append(
            {"name": "whole", "type": ["null", "turnlog.value.Payload"], "default": None, "doc": "What it is of."}
        ),
        "turnlog.value.Payload: expected a type that does not hold itself",
    ),
    "a type that holds itself in another": (
        "value/Payload",
        lambda it: it["fields"].append(
            {"name": "for", "type": {"type": "array", "items": FOR_ONE}, "default": [], "doc": "Whom it is for."}
        ),
        "turnlog.value.Payload: expected a type that does not hold itself",
    ),
    "an array whose items take no byte": (
        "event/TimerFired",
        lambda it: it["fields"].append(
            {"name": "ticks", "type": {"type": "array", "items": "null"}, "default": [], "doc": "Ticks."}
        ),
        "turnlog.event.TimerFired.ticks: expected a type that takes at least a byte",
    ),
    "a default removed": (
        "value/Payload",
        lambda it: _field(it, "content_type").pop("default"),
        "turnlog.value.Payload.content_type: expected a released field to keep its default",
    ),
    "a default changed": (
        "value/Payload",
        lambda it: _field(it, "content_type").update(default="text/plain"),
        "turnlog.value.Payload.content_type: expected a released field to keep its default",
    ),
    "a symbol removed": (
        "value/Status",
        lambda it: it["symbols"].remove("HELD"),
        "turnlog.value.Status: expected new symbols at the end only",
    ),
    "symbols in another order": (
        "value/Status",
        lambda it: it["symbols"].reverse(),
        "turnlog.value.Status: expected new symbols at the end only",
    ),
    "a new symbol in the middle": (
        "value/Status",
        lambda it: it["symbols"].insert(1, "PAUSED"),
        "turnlog.value.Status: expected new symbols at the end only",
    ),
    "an enum's default removed": (
        "value/Status",
        lambda it: it.pop("default"),
        "turnlog.value.Status: expected to keep its default symbol",
    ),
    "another namespace": (
        "event/TimerFired",
        lambda it: it.update(namespace="turnlog.events"),
        "turnlog.event.TimerFired: expected a released record to stay for ever",
    ),
    "another namespace of a part": (
        "value/RowRepaired",
        lambda it: it.update(namespace="turnlog.part"),
        "turnlog.value.RowRepaired is not",
    ),
    "another name": (
        "event/TimerFired",
        lambda it: it.update(name="TimerRang"),
        "turnlog.event.TimerFired: expected a released record to stay for ever",
    ),
    "a doc removed": (
        "event/TimerFired",
        lambda it: it.pop("doc"),
        "turnlog.event.TimerFired: expected a doc, but it has none",
    ),
    "a word that Avro does not know": ("event/TimerFired", lambda it: it.update(docs="…"), "unknown field `docs`"),
    "a type that is not defined": (
        "event/TimerFired",
        lambda it: _field(it, "source_event_id").update(type="turnlog.value.Timer"),
        "turnlog.value.Timer is not",
    ),
}


def _change(root: Path, path: str, change: Change) -> None:
    file = root / f"{path}.avsc"
    source = json.loads(file.read_text(encoding="utf-8"))
    change(source)
    file.write_text(json.dumps(source), encoding="utf-8")


@pytest.mark.parametrize("name", ALLOWED)
def test_a_change_that_every_reader_survives_can_be_released(copy: Path, name: str) -> None:
    path, change = ALLOWED[name]
    _change(copy, path, change)
    before = schemas.read_lock(copy)

    added = release.release(copy)

    assert release.broken(copy) == []
    assert schemas.read_lock(copy) == (*before, *added)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_change_that_breaks_a_reader_is_refused_with_a_sentence(copy: Path, name: str) -> None:
    path, change, says = FORBIDDEN[name]
    _change(copy, path, change)
    before = _files(copy)

    with pytest.raises((release.Incompatible, LookupError, msgspec.ValidationError)) as refused:
        release.release(copy)

    assert says in str(refused.value)
    assert _files(copy) == before


def _files(root: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_a_new_record_can_be_released(copy: Path) -> None:
    record = {"type": "record", "name": "Moved", "namespace": "turnlog.event", "doc": "It moved.", "fields": [NOTE]}
    (copy / "event" / "Moved.avsc").write_text(json.dumps(record), encoding="utf-8")

    assert [line.name for line in release.release(copy)] == ["turnlog.event.Moved"]
    assert release.broken(copy) == []


def test_a_change_that_was_not_released_is_found(copy: Path) -> None:
    _change(copy, *ALLOWED["a new optional field"])

    assert release.broken(copy) == [
        "turnlog.event.TimerFired: expected its source to be released, but it is not; run python -m schemas.release"
    ]


def test_a_change_of_a_part_releases_all_that_hold_it(copy: Path) -> None:
    _change(copy, "value/Envelope", lambda it: it["fields"].append(NOTE))

    assert {line.name for line in release.release(copy)} >= {
        "turnlog.history.TurnCommitted",
        "turnlog.history.Parked",
        "turnlog.history.OwnershipReleased",
    }


def test_every_version_ever_released_counts_not_only_the_last(copy: Path) -> None:
    _change(copy, *ALLOWED["a new optional field"])
    release.release(copy)
    _change(copy, "event/TimerFired", lambda it: _without(it, "note"))

    with pytest.raises(release.Incompatible, match=r"TimerFired\.note: expected a released field to stay"):
        release.release(copy)


def _drop_source(root: Path) -> None:
    (root / "event" / "TimerFired.avsc").unlink()


def _drop_text(root: Path) -> None:
    (root / "released" / "b42f2331bbe35274.avsc").unlink()


def _change_text(root: Path) -> None:
    file = root / "released" / "b42f2331bbe35274.avsc"
    file.write_text(file.read_text(encoding="utf-8").replace("source_event_id", "timer_id"), encoding="utf-8")


def _drop_line(root: Path) -> None:
    lines = (root / LOCK).read_text(encoding="utf-8").splitlines(keepends=True)
    (root / LOCK).write_text("".join(line for line in lines if "TimerFired" not in line), encoding="utf-8")


def _repeat_line(root: Path) -> None:
    with (root / LOCK).open("a", encoding="utf-8") as lock:
        lock.write("b42f2331bbe35274 turnlog.event.TimerFired\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_drop_source, "turnlog.event.TimerFired: expected a released record to stay for ever, but its source is gone"),
        (_drop_text, "turnlog.event.TimerFired: expected the text of every version ever released"),
        (_change_text, "turnlog.event.TimerFired: expected a released text never to change"),
        (_drop_line, "expected a line of the lock for every released text, but b42f2331bbe35274 has none"),
        (_repeat_line, "expected every fingerprint once in the lock"),
    ],
)
def test_damage_to_the_contract_itself_is_found(copy: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(copy)

    assert any(says in finding for finding in release.broken(copy))


def test_what_an_older_version_wrote_is_read_after_a_field_was_added(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of an upgrade: version 1 writes, version 2 has one field more and reads it, and writes the new form."""
    version_1 = msgspec.defstruct("Owner", [("partition", int)], frozen=True)
    version_2 = msgspec.defstruct("Owner", [("partition", int), ("note", str | None, None)], frozen=True)
    for folder in ("owners", "released"):
        for file in (copy / folder).iterdir():
            file.unlink()
    for file in copy.glob("*/*.avsc"):
        file.unlink()
    (copy / LOCK).write_text("", encoding="utf-8")
    field = {"name": "partition", "type": "long", "doc": "Number."}
    owner = {"type": "record", "name": "Owner", "namespace": "turnlog.owners", "doc": "An owner.", "fields": [field]}
    (copy / "owners" / "Owner.avsc").write_text(json.dumps(owner), encoding="utf-8")
    release.release(copy)
    monkeypatch.setattr(schemas, "files", {"schemas": copy}.get)
    written: bytes = Family("owners", version_1).encode(version_1(7))

    _change(copy, "owners/Owner", lambda it: it["fields"].append(NOTE))
    release.release(copy)
    family = Family("owners", version_2)

    assert family.decode(written) == version_2(7, None)
    assert family.decode(family.encode(version_2(7, "moved"))) == version_2(7, "moved")
    assert family.encode(version_2(7, None))[:10] != written[:10]
