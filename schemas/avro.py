"""What is an Avro schema, as data? Parsed, inlined, reduced to its canonical form and fingerprinted.

Pure, and the part of Avro that Turnlog uses: records, enums, arrays, optional values and five primitives. Every named
type and every reference carries its full name.
"""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Struct, UnsetType

PRIMITIVES = frozenset({"null", "boolean", "long", "bytes", "string"})


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """A field of a record; `default` is JSON, UNSET if an old writer cannot lack the field."""

    name: str
    type: "Schema"
    default: object | UnsetType = UNSET
    doc: str | UnsetType = UNSET


class Record(Struct, frozen=True, kw_only=True, tag_field="type", tag="record", forbid_unknown_fields=True):
    """A record."""

    name: str
    namespace: str | UnsetType = UNSET
    doc: str | UnsetType = UNSET
    fields: tuple[Field, ...]


class Enum(Struct, frozen=True, kw_only=True, tag_field="type", tag="enum", forbid_unknown_fields=True):
    """An enum; a reader takes `default` for a symbol it does not know."""

    name: str
    namespace: str | UnsetType = UNSET
    doc: str | UnsetType = UNSET
    symbols: tuple[str, ...]
    default: str | UnsetType = UNSET


class Array(Struct, frozen=True, tag_field="type", tag="array", forbid_unknown_fields=True):
    """An array of `items`."""

    items: "Schema"


Branch = str | Record | Enum | Array
"""A type that is no union; a string names a primitive or a type defined elsewhere."""
Schema = Branch | tuple[Branch, ...]
"""Any type; a tuple is a union."""
Named = Record | Enum


def parse(text: str) -> Named:
    """The named type that `text` defines. Raises msgspec.ValidationError or DecodeError if it is none."""
    return msgspec.json.decode(text, type=Named)


def render(schema: Schema) -> str:
    """Compact JSON of `schema`; `parse` of it is `schema` again."""
    return msgspec.json.encode(schema).decode()


def full_name(named: Named) -> str:
    """`turnlog.event.TimerFired`."""
    return f"{named.namespace}.{named.name}" if named.namespace else named.name


def inline(root: Named, library: Mapping[str, Named]) -> Named:
    """`root` self-contained: each type it needs is defined where it is first met, and named afterwards.

    Raises:
        LookupError: A type is neither a primitive nor in `library`.
    """
    met: set[str] = set()

    def resolve(schema: Schema) -> Schema:
        match schema:
            case str() if schema in PRIMITIVES or schema in met:
                return schema
            case str():
                if schema not in library:
                    raise LookupError(f"expected a type that is defined somewhere, but {schema} is not")
                return define(library[schema])
            case Record() | Enum():
                return define(schema)
            case Array():
                return Array(resolve(schema.items))
            case _:
                return tuple(resolve_branch(branch) for branch in schema)

    def resolve_branch(branch: Branch) -> Branch:
        resolved = resolve(branch)
        if isinstance(resolved, tuple):
            raise LookupError("expected no union inside a union, but here is one")
        return resolved

    def define(named: Named) -> Named:
        met.add(full_name(named))
        if isinstance(named, Enum):
            return named
        return msgspec.structs.replace(
            named, fields=tuple(msgspec.structs.replace(field, type=resolve(field.type)) for field in named.fields)
        )

    return define(root)


def definitions(schema: Schema) -> dict[str, Named]:
    """Every named type that a self-contained schema defines, by full name."""
    found: dict[str, Named] = {}

    def walk(schema: Schema) -> None:
        match schema:
            case str():
                pass
            case Array():
                walk(schema.items)
            case Enum():
                found[full_name(schema)] = schema
            case Record():
                found[full_name(schema)] = schema
                for field in schema.fields:
                    walk(field.type)
            case _:
                for branch in schema:
                    walk(branch)

    walk(schema)
    return found


def canonical_form(schema: Schema) -> str:
    """Avro's parsing canonical form: what decides how bytes are read, and nothing else."""
    match schema:
        case str():
            return f'"{schema}"'
        case Array():
            return f'{{"type":"array","items":{canonical_form(schema.items)}}}'
        case Enum():
            symbols = ",".join(f'"{symbol}"' for symbol in schema.symbols)
            return f'{{"name":"{full_name(schema)}","type":"enum","symbols":[{symbols}]}}'
        case Record():
            fields = ",".join(f'{{"name":"{it.name}","type":{canonical_form(it.type)}}}' for it in schema.fields)
            return f'{{"name":"{full_name(schema)}","type":"record","fields":[{fields}]}}'
        case _:
            return f"[{','.join(map(canonical_form, schema))}]"


_EMPTY = 0xC15D213AA4D7A795


def _table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        rest = byte
        for _ in range(8):
            rest = (rest >> 1) ^ (_EMPTY if rest & 1 else 0)
        table.append(rest)
    return tuple(table)


_TABLE = _table()


def fingerprint(schema: Schema) -> str:
    """CRC-64-AVRO of the canonical form of a self-contained schema: eight bytes in the order they travel, in hex."""
    crc = _EMPTY
    for byte in canonical_form(schema).encode():
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(8, "little").hex()
