"""How does a value become Avro, and Avro a value? fastavro writes and reads dicts, msgspec makes them of Structs.

The bytes are not trusted. What keeps fastavro from being harmed by them is the shape of the contract, to which
`schemas.compatibility` holds every schema: no type holds itself, so nothing recurses deeper than the schema; and every
item of an array takes at least a byte, so an array that claims 2**62 items ends with the input. A length is believed
only as far as the input goes. What is left is leniency, no danger: a boolean that is neither 0 nor 1 is true, a place
below zero among symbols or in a union counts from the end, of an integer longer than 64 bits 64 are taken.
"""

import io
import json
from collections.abc import Callable
from typing import Any

import fastavro
import msgspec

from engine.model.failure import Failure
from provider_log.codec import failures

Write = Callable[[Any], bytes]
"""The record of a value. Raises ValueError or TypeError for a value that its type does not allow."""

Read = Callable[[bytes, int], tuple[Any, int]]
"""The value that begins at a position, and the position after it.

Raises EOFError (the input ends too early), IndexError (no such symbol or branch), ValueError (no UTF-8, no failure) or,
if the schema is not one of ours, Unresolved.
"""

FASTAVRO: Any = fastavro  # its stubs leave schemas and files partly unknown
Unresolved: type[Exception] = FASTAVRO.read.SchemaResolutionError
"""What was written has not the shape that is read."""

BUILTIN = (bytes,)  # msgspec would make base64 of them


def writer(header: bytes, text: str, kind: type[Any]) -> Write:
    """What writes values of `kind`: `header`, then the body that the schema `text` says."""
    schema = _parse(text)
    names = _failure_fields(kind)
    write_body = FASTAVRO.schemaless_writer

    def write(value: Any) -> bytes:
        plain = _plain_with_failures(value, names) if names else _plain(value)
        out = io.BytesIO()
        out.write(header)
        try:
            write_body(out, schema, plain)
        except OverflowError as why:
            raise ValueError(f"expected integers of 64 bits, but: {why}") from why
        return out.getvalue()

    return write


def reader(written: str, today: str, kind: type[Any]) -> Read:
    """What reads values of `kind`, written by the schema `written`, as `today`'s: new fields have their defaults."""
    writers_schema = _parse(written)
    readers_schema = None if written == today else _parse(today)
    names = _failure_fields(kind)
    read_body = FASTAVRO.schemaless_reader

    def read(data: bytes, at: int) -> tuple[Any, int]:
        source = io.BytesIO(data)
        source.seek(at)
        plain = read_body(source, writers_schema, readers_schema)
        for name in names:
            if plain[name] is not None:
                failures.nest(plain[name])
        value: Any = msgspec.convert(plain, kind, builtin_types=BUILTIN)
        return value, source.tell()

    return read


def _parse(text: str) -> Any:
    return FASTAVRO.parse_schema(json.loads(text, object_hook=_with_values_for_symbols))


def _with_values_for_symbols(node: dict[str, Any]) -> dict[str, Any]:
    """An enum's value in Python is its symbol in small letters, and msgspec deals in values; the bytes hold neither."""
    if node.get("type") != "enum":
        return node
    lower: dict[str, Any] = {"symbols": [symbol.lower() for symbol in node["symbols"]]}
    if "default" in node:  # a schema of somebody else's may have none
        lower["default"] = node["default"].lower()
    return node | lower


def _failure_fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(it.name for it in msgspec.structs.fields(kind) if it.type in (Failure, Failure | None))


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    """`value` as dicts and lists. Raises TypeError or msgspec.ValidationError, a ValueError, if a type is not kept."""
    plain = msgspec.to_builtins(value, builtin_types=BUILTIN)
    msgspec.convert(plain, type(value), builtin_types=BUILTIN)  # fastavro would write 2 for a boolean as true
    return plain


def _plain_with_failures(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    held: dict[str, Failure] = {name: failure for name in names if (failure := getattr(value, name)) is not None}
    if not held:
        return _plain(value)
    plain = _plain(msgspec.structs.replace(value, **{name: failures.alone(it) for name, it in held.items()}))
    for name, failure in held.items():
        plain[name]["inner"] = [
            {"outer": outer, "is_cause": is_cause, **_plain(inner)}
            for outer, is_cause, inner in failures.inner(failure)
        ]
    return plain
