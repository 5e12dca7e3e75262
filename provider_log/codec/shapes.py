"""Which Python type does an Avro schema stand for? The walk that readers and writers are built along.

A record is a msgspec Struct with fields of the same names, an enum a Python enum with members of the same names, an
array a tuple, a union with null an optional. A schema that fits its type in no such way is refused when the reader or
writer is built, never while a record is read.
"""

import enum
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from schemas import avro

NESTING_MAX = 32
"""How deep a type may hold itself (a failure its cause). Reading is recursive: a few bytes a level must not exhaust
the stack, and nothing may be written that cannot be read again."""

PRIMITIVES: Mapping[str, type] = {"boolean": bool, "long": int, "bytes": bytes, "string": str}


class Misfit(TypeError):
    """A schema and a type do not stand for the same values."""


def optional_branch(union: tuple[avro.Branch, ...]) -> avro.Branch:
    """T of [null, T], the only union there is."""
    if len(union) != 2 or union[0] != "null":
        raise Misfit(f"expected a union of null and one type, but here is {avro.canonical_form(union)}")
    return union[1]


def optional_type(hint: Any) -> Any:
    """T of `T | None`."""
    arguments = typing.get_args(hint)
    if (
        typing.get_origin(hint) not in (typing.Union, types.UnionType)
        or len(arguments) != 2
        or arguments[1] is not type(None)
    ):
        raise Misfit(f"expected an optional type for a union with null, but here is {hint}")
    return arguments[0]


def item_type(hint: Any) -> Any:
    """T of `tuple[T, ...]`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is not tuple or arguments[1:] != (...,):
        raise Misfit(f"expected a tuple of one type for an array, but here is {hint}")
    return arguments[0]


def field_types(record: avro.Record, hint: Any) -> dict[str, Any]:
    """The types of the fields of the Struct that `record` stands for, by name."""
    if not (isinstance(hint, type) and issubclass(hint, msgspec.Struct)) or hint.__name__ != record.name:
        raise Misfit(f"expected a Struct named {record.name}, but here is {hint}")
    return {field.name: field.type for field in msgspec.structs.fields(hint)}


def members(symbols: avro.Enum, hint: Any) -> Iterator[enum.Enum]:
    """The member for every symbol, in order; for one this version does not know, that of the default."""
    if not (isinstance(hint, type) and issubclass(hint, enum.Enum)) or hint.__name__ != symbols.name:
        raise Misfit(f"expected an enum named {symbols.name}, but here is {hint}")
    known = hint.__members__
    for symbol in symbols.symbols:
        yield known.get(symbol) or known["UNKNOWN"]
