"""How do bytes become a value again? A reader is built once a writer's schema, of closures, for today's type.

Input is not trusted: no length is believed that the input cannot hold, no depth that the stack cannot, and every index
is checked. A reader of an older schema fills what that lacks with the type's defaults.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from provider_log.codec.shapes import (
    NESTING_MAX,
    PRIMITIVES,
    Misfit,
    field_types,
    item_type,
    members,
    optional_branch,
    optional_type,
)
from schemas import avro

Read = Callable[[bytes, int], tuple[Any, int]]
"""The value that begins at a position, and the position after it.

Raises Broken, IndexError (the input ends too early) or UnicodeDecodeError; `provider_log.codec` makes one of them.
"""

LONG_BYTES_MAX = 10


class Broken(Exception):
    """The bytes are not what the schema says."""


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift == 7 * LONG_BYTES_MAX:
            raise Broken(f"expected an integer of at most {LONG_BYTES_MAX} bytes, but it goes on at byte {at}")
    if value >> 64:
        raise Broken(f"expected an integer of 64 bits, but the one before byte {at} is larger")
    return (value >> 1) ^ -(value & 1), at


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _read_long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise Broken(f"expected a length that fits into {len(data)} bytes, but at byte {at} it is {size}")
    return data[at:end], end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    encoded, at = _read_bytes(data, at)
    return encoded.decode(), at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise Broken(f"expected 0 or 1 for a boolean, but byte {at} is {byte}")
    return byte == 1, at + 1


_READERS: dict[str, Read] = {
    "boolean": _read_boolean,
    "long": _read_long,
    "bytes": _read_bytes,
    "string": _read_string,
}


class Readers:
    """Builds the readers of one self-contained schema."""

    def __init__(self, schema: avro.Named) -> None:
        self._definitions = avro.definitions(schema)
        self._built: dict[tuple[str, int], Read] = {}
        self._open: dict[str, int] = {}

    def build(self, schema: avro.Schema, hint: Any) -> Read:
        """The reader that makes values of `hint` of what `schema` wrote. Raises Misfit if they cannot hold it."""
        match schema:
            case "boolean" | "long" | "bytes" | "string":
                if hint is not PRIMITIVES[schema]:
                    raise Misfit(f"expected {PRIMITIVES[schema].__name__} for {schema}, but here is {hint}")
                return _READERS[schema]
            case str():
                return self._named(self._definitions[schema], hint)
            case avro.Record() | avro.Enum():
                return self._named(schema, hint)
            case avro.Array():
                return _array(self.build(schema.items, item_type(hint)))
            case _:
                return _optional(self.build(optional_branch(schema), optional_type(hint)))

    def _named(self, named: avro.Named, hint: Any) -> Read:
        if isinstance(named, avro.Enum):
            return _enum(named, hint)
        name = avro.full_name(named)
        level = self._open.get(name, 0)
        if level == NESTING_MAX:
            return _too_deep
        if (name, level) not in self._built:
            self._open[name] = level + 1
            self._built[name, level] = self._record(named, hint)
            self._open[name] = level
        return self._built[name, level]

    def _record(self, record: avro.Record, hint: Any) -> Read:
        hints = field_types(record, hint)
        needed = {field.name for field in msgspec.structs.fields(hint) if field.required}
        names = {field.name for field in record.fields}
        if not needed <= names <= hints.keys():
            raise Misfit(f"expected fields of {hint}, those without a default included, but {record.name} has {names}")
        fields = [
            (field.name, _short_forms(field.type), self.build(field.type, hints[field.name])) for field in record.fields
        ]

        def read(data: bytes, at: int) -> tuple[Any, int]:
            values: dict[str, Any] = {}
            for name, short, read_field in fields:
                byte = data[at]
                if byte in short:
                    values[name] = short[byte]
                    at += 1
                else:
                    values[name], at = read_field(data, at)
            return hint(**values), at

        return read


def _short_forms(schema: avro.Schema) -> Mapping[int, Any]:
    """Values of one byte, by that byte: most fields of most records are absent, empty or small."""
    match schema:
        case "long":
            return {byte: (byte >> 1) ^ -(byte & 1) for byte in range(0x80)}
        case "boolean":
            return {0: False, 1: True}
        case "bytes":
            return {0: b""}
        case "string":
            return {0: ""}
        case avro.Array():
            return {0: ()}
        case tuple():
            return {0: None}
        case _:
            return {}


def _array(read_item: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        if not data[at]:
            return (), at + 1
        items: list[Any] = []
        while True:
            count, at = _read_long(data, at)
            if not count:
                return tuple(items), at
            if count < 0:  # Avro: the block's size in bytes follows, for readers that want to skip it
                count = -count
                _, at = _read_long(data, at)
            if count > len(data) - at:  # an item takes at least a byte
                raise Broken(f"expected a count that fits into {len(data)} bytes, but at byte {at} it is {count}")
            for _ in range(count):
                item, at = read_item(data, at)
                items.append(item)

    return read


def _optional(read_present: Read) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        branch = data[at]
        if branch == 0:
            return None, at + 1
        if branch == 2:
            return read_present(data, at + 1)
        raise Broken(f"expected null or a value, but byte {at} is {branch}")

    return read


def _enum(symbols: avro.Enum, hint: Any) -> Read:
    known = tuple(members(symbols, hint))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        place, at = _read_long(data, at)
        if not 0 <= place < len(known):
            raise Broken(f"expected one of {len(known)} symbols of {symbols.name}, but at byte {at} it is {place}")
        return known[place], at

    return read


def _too_deep(_data: bytes, at: int) -> tuple[Any, int]:
    raise Broken(f"expected at most {NESTING_MAX} values of a type inside each other, but at byte {at} are more")
