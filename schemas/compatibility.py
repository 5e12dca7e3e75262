"""May a schema change like this? Pure: two schemas in, sentences out.

A log is kept for ever and is read by older and newer versions during an upgrade. So a released type only grows: fields
with a default, symbols at the end of an enum. Everything else is a new kind under a new name.
"""

from collections.abc import Iterator, Mapping

from msgspec import UNSET

from schemas import Released, avro

UNKNOWN = "UNKNOWN"
"""The symbol that an old reader takes for one it does not know."""


def changes_forbidden(older: avro.Named, newer: avro.Named) -> list[str]:
    """Why records of `older` and `newer`, both self-contained, could not live in one log; empty if they can."""
    return list(_Comparison(older, newer).named(older, newer))


def shapes_forbidden(schema: avro.Named) -> list[str]:
    """What keeps a self-contained schema from growing, being understood or being read safely; empty if nothing does."""
    findings = [finding for named in avro.definitions(schema).values() for finding in _shape(named)]
    return [*findings, *_recursion(schema, ())]


def dangers(schema: avro.Named) -> list[str]:
    """What would harm whoever reads records of a self-contained schema of anybody's; empty if nothing does."""
    return list(_recursion(schema, ())) or list(_weightless_items(schema, avro.definitions(schema)))


def lock_broken(lock: tuple[Released, ...], texts: Mapping[str, str], today: Mapping[str, avro.Named]) -> list[str]:
    """What does not fit between the lock, the texts it names, and today's schemas; empty if all does.

    Args:
        lock: Its lines.
        texts: Every released text by the fingerprint it is filed under.
        today: Every travelling record as the sources say, self-contained, by full name.
    """
    return [*_texts(lock, texts), *_growth(lock, texts, today)]


def _texts(lock: tuple[Released, ...], texts: Mapping[str, str]) -> Iterator[str]:
    lines = {line.fingerprint: line.name for line in lock}
    if len(lines) != len(lock):
        yield "expected every fingerprint once in the lock, but one is there twice"
    for fingerprint in texts.keys() - lines.keys():
        yield f"expected a line of the lock for every released text, but {fingerprint} has none"
    for fingerprint, name in lines.items():
        if fingerprint not in texts:
            yield f"{name}: expected the text of every version ever released, but that of {fingerprint} is gone"
            continue
        schema = avro.parse(texts[fingerprint])
        if (avro.fingerprint(schema), avro.full_name(schema)) != (fingerprint, name):
            yield f"{name}: expected a released text never to change, but that of {fingerprint} did"


def _growth(lock: tuple[Released, ...], texts: Mapping[str, str], today: Mapping[str, avro.Named]) -> Iterator[str]:
    newest = {line.name: line.fingerprint for line in lock}
    for name in newest.keys() - today.keys():
        yield f"{name}: expected a released record to stay for ever, but its source is gone"
    for name, schema in today.items():
        yield from shapes_forbidden(schema)
        if newest.get(name) != avro.fingerprint(schema):
            yield f"{name}: expected its source to be released, but it is not; run python -m schemas.release"
    for line in lock:
        if line.name in today and line.fingerprint in texts:
            yield from changes_forbidden(avro.parse(texts[line.fingerprint]), today[line.name])


class _Comparison:
    """Walks two schemas side by side, each pair of named types once."""

    def __init__(self, older: avro.Named, newer: avro.Named) -> None:
        self._older = avro.definitions(older)
        self._newer = avro.definitions(newer)
        self._compared: set[tuple[str, str]] = set()

    def named(self, older: avro.Named, newer: avro.Named) -> Iterator[str]:
        names = avro.full_name(older), avro.full_name(newer)
        if names in self._compared:
            return
        self._compared.add(names)
        if names[0] != names[1]:
            yield f"{names[0]}: expected to keep its name and namespace, but it became {names[1]}"
        elif isinstance(older, avro.Record) and isinstance(newer, avro.Record):
            yield from self._records(names[0], older, newer)
        elif isinstance(older, avro.Enum) and isinstance(newer, avro.Enum):
            yield from _enums(names[0], older, newer)
        else:
            yield f"{names[0]}: expected to stay a record or an enum, but it became the other"

    def _records(self, name: str, older: avro.Record, newer: avro.Record) -> Iterator[str]:
        now = {field.name: field for field in newer.fields}
        for field in older.fields:
            where = f"{name}.{field.name}"
            if field.name not in now:
                yield f"{where}: expected a released field to stay, but it was removed or renamed"
                continue
            if now[field.name].default != field.default:
                yield f"{where}: expected a released field to keep its default, but it was removed or changed"
            yield from self._types(where, field.type, now[field.name].type)
        for field in now.keys() - {field.name for field in older.fields}:
            if now[field].default is UNSET:
                yield f"{name}.{field}: expected a new field to have a default, for records without it, but it has none"

    def _types(self, where: str, older: avro.Schema, newer: avro.Schema) -> Iterator[str]:
        older = self._older.get(older, older) if isinstance(older, str) else older
        newer = self._newer.get(newer, newer) if isinstance(newer, str) else newer
        match older, newer:
            case (avro.Record() | avro.Enum(), avro.Record() | avro.Enum()):
                yield from self.named(older, newer)
            case (avro.Array(), avro.Array()):
                yield from self._types(where, older.items, newer.items)
            case (tuple(), tuple()) if len(older) == len(newer):
                for branch, branch_now in zip(older, newer, strict=True):
                    yield from self._types(where, branch, branch_now)
            case _:
                if older != newer:
                    yield f"{where}: expected a released field to keep its type, but it changed"


def _enums(name: str, older: avro.Enum, newer: avro.Enum) -> Iterator[str]:
    if newer.symbols[: len(older.symbols)] != older.symbols:
        yield f"{name}: expected new symbols at the end only, but released ones were removed or moved"
    if newer.default != older.default:
        yield f"{name}: expected to keep its default symbol, but it was removed or changed"


def _shape(named: avro.Named) -> Iterator[str]:
    name = avro.full_name(named)
    if not named.doc:
        yield f"{name}: expected a doc, but it has none"
    if isinstance(named, avro.Enum):
        if named.default != UNKNOWN or UNKNOWN not in named.symbols:
            yield f"{name}: expected an enum with the default symbol {UNKNOWN}, but it has another or none"
        return
    if not named.fields:
        yield f"{name}: expected a record that takes at least a byte, but it has no field"
    for field in named.fields:
        if not field.doc:
            yield f"{name}.{field.name}: expected a doc, but it has none"
        if _innermost(field.type) == "null":
            yield f"{name}.{field.name}: expected a type that takes at least a byte, but it is null"
        if isinstance(field.type, tuple) and (len(field.type) != 2 or field.type[0] != "null"):
            yield f"{name}.{field.name}: expected a union of null and one type, but it is another"
        elif isinstance(field.type, tuple) and field.default is not None:
            yield f"{name}.{field.name}: expected an optional field to default to null, but it does not"
        elif isinstance(field.type, avro.Array) and field.default != []:
            yield f"{name}.{field.name}: expected an array to default to [], but it does not"


def _innermost(schema: avro.Schema) -> avro.Schema:
    """What an array holds, or an array of arrays: of items that take no byte there are as many as a count says."""
    while isinstance(schema, avro.Array):
        schema = schema.items
    return schema


def _weightless_items(schema: avro.Schema, known: Mapping[str, avro.Named]) -> Iterator[str]:
    """Arrays of which a few bytes can hold as many items as a count says."""
    match schema:
        case str() | avro.Enum():
            pass
        case avro.Array():
            if _is_weightless(schema.items, known):
                yield "expected an array's items to take at least a byte, but there is one whose take none"
            yield from _weightless_items(schema.items, known)
        case avro.Record():
            for field in schema.fields:
                yield from _weightless_items(field.type, known)
        case _:
            for branch in schema:
                yield from _weightless_items(branch, known)


def _is_weightless(schema: avro.Schema, known: Mapping[str, avro.Named]) -> bool:
    named = known.get(schema, schema) if isinstance(schema, str) else schema
    if isinstance(named, avro.Record):
        return all(_is_weightless(field.type, known) for field in named.fields)
    return named == "null"


def _recursion(schema: avro.Schema, around: tuple[str, ...]) -> Iterator[str]:
    """Types that hold themselves: their readers recurse as deep as the input says, and few stacks are that deep."""
    match schema:
        case str():
            if schema in around:
                yield f"{schema}: expected a type that does not hold itself, but it does"
        case avro.Array():
            yield from _recursion(schema.items, around)
        case avro.Enum():
            pass
        case avro.Record():
            for field in schema.fields:
                yield from _recursion(field.type, (*around, avro.full_name(schema)))
        case _:
            for branch in schema:
                yield from _recursion(branch, around)
