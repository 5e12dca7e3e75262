"""How does a value become Avro? A writer is built once a type, of closures, along its schema."""

import operator
from collections.abc import Callable
from typing import Any

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

Write = Callable[[bytearray, Any], None]
"""Appends the Avro form of a value. Raises ValueError, TypeError or AttributeError for a value of another shape."""


def _write_long(out: bytearray, value: int) -> None:
    if 0 <= value < 64:
        out.append(value << 1)
        return
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"expected an integer of 64 bits, but {value} is larger")
    rest = value << 1 if value >= 0 else ~(value << 1)
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)


def _write_bytes(out: bytearray, value: bytes) -> None:
    _write_long(out, len(value))
    out += value


def _write_string(out: bytearray, value: str) -> None:
    _write_bytes(out, value.encode())


def _write_boolean(out: bytearray, value: bool) -> None:
    if value is not True and value is not False:
        raise TypeError(f"expected a boolean, but here is {value!r}")
    out.append(value)


_WRITERS: dict[str, Write] = {
    "boolean": _write_boolean,
    "long": _write_long,
    "bytes": _write_bytes,
    "string": _write_string,
}


class Writers:
    """Builds the writers of one self-contained schema."""

    def __init__(self, schema: avro.Named) -> None:
        self._definitions = avro.definitions(schema)
        self._built: dict[tuple[str, int], Write] = {}
        self._open: dict[str, int] = {}

    def build(self, schema: avro.Schema, hint: Any) -> Write:
        """The writer of `hint`'s values. Raises Misfit if they do not fit `schema`."""
        match schema:
            case "boolean" | "long" | "bytes" | "string":
                if hint is not PRIMITIVES[schema]:
                    raise Misfit(f"expected {PRIMITIVES[schema].__name__} for {schema}, but here is {hint}")
                return _WRITERS[schema]
            case str():
                return self._named(self._definitions[schema], hint)
            case avro.Record() | avro.Enum():
                return self._named(schema, hint)
            case avro.Array():
                return _array(self.build(schema.items, item_type(hint)))
            case _:
                return _optional(self.build(optional_branch(schema), optional_type(hint)))

    def _named(self, named: avro.Named, hint: Any) -> Write:
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

    def _record(self, record: avro.Record, hint: Any) -> Write:
        hints = field_types(record, hint)
        names = [field.name for field in record.fields]
        if set(names) != set(hints):
            raise Misfit(f"expected the fields of {hint}, but {record.name} has others: {set(names) ^ set(hints)}")
        writers = [self.build(field.type, hints[field.name]) for field in record.fields]
        if len(writers) == 1:
            return _single(operator.attrgetter(names[0]), writers[0])
        get = operator.attrgetter(*names)

        empties = [_empty(field.type) for field in record.fields]

        def write(out: bytearray, value: Any) -> None:
            for write_field, empty, item in zip(writers, empties, get(value), strict=True):
                if item is empty:
                    out.append(0)
                else:
                    write_field(out, item)

        return write


def _empty(schema: avro.Schema) -> object:
    """The value that is the single byte 0: most fields of most records are absent or empty."""
    match schema:
        case "string":
            return ""
        case avro.Array():
            return ()
        case tuple():
            return None
        case _:
            return _NOTHING


_NOTHING = object()


def _single(get: Callable[[Any], Any], write_field: Write) -> Write:
    def write(out: bytearray, value: Any) -> None:
        write_field(out, get(value))

    return write


def _array(write_item: Write) -> Write:
    def write(out: bytearray, value: tuple[Any, ...]) -> None:
        if count := len(value):
            _write_long(out, count)
            for item in value:
                write_item(out, item)
        out.append(0)

    return write


def _optional(write_present: Write) -> Write:
    def write(out: bytearray, value: Any) -> None:
        if value is None:
            out.append(0)
        else:
            out.append(2)
            write_present(out, value)

    return write


def _enum(symbols: avro.Enum, hint: Any) -> Write:
    places = {member: place << 1 for place, member in enumerate(members(symbols, hint))}
    if len(places) != len(symbols.symbols) or set(places) != set(hint) or len(places) > 64:
        raise Misfit(f"expected the members of {hint}, but {symbols.name} has other symbols")

    def write(out: bytearray, value: Any) -> None:
        place = places.get(value)
        if place is None:
            raise TypeError(f"expected a member of {hint}, but here is {value!r}")
        out.append(place)

    return write


def _too_deep(_out: bytearray, _value: object) -> None:
    raise ValueError(f"expected at most {NESTING_MAX} values of a type inside each other, but here are more")
