"""What did somebody register under an id? A schema of anybody's, held to what an outsider may send, or a refusal.

    00 | id of the writer's schema in a registry, four bytes, big-endian | body

This framing is read on the input topic alone, and never written. The schema is trusted as little as the bytes: it is
used only if no type in it holds itself and an array's items take bytes, as `provider_log.codec.body` needs it.
"""

import json
from collections.abc import Callable, Mapping

from engine.model.messages import AnyMessage
from provider_log.codec.body import FASTAVRO
from provider_log.codec.framing import Family, Malformed, NotLookedUp
from schemas import avro, compatibility

MARK = b"\x00"
HEADER_BYTES = 5
SCHEMA_CHARACTERS_MAX = 64 * 1024

Registered = Callable[[bytes, int], AnyMessage] | str
"""What decodes records of a registered schema; or, a sentence, why nobody ever can."""

_UNPARSED = (ValueError, TypeError, KeyError, AttributeError, RecursionError, FASTAVRO.schema.SchemaParseException)


def registered_as(text: str, messages: Family[AnyMessage]) -> Registered:
    """What the schema `text` of a registry is good for."""
    if len(text) > SCHEMA_CHARACTERS_MAX:
        return f"expected a registered schema of at most {SCHEMA_CHARACTERS_MAX} characters, but it has {len(text)}"
    try:
        canonical: str = FASTAVRO.schema.to_parsing_canonical_form(json.loads(text))
        schema = avro.parse(canonical)
        dangers = compatibility.dangers(schema)
    except _UNPARSED as why:
        return f"expected a registered schema that is an Avro record like ours, but: {str(why)[:200]}"
    name = avro.full_name(schema)
    if name not in messages.names:
        known = ", ".join(sorted(messages.names))
        return f"expected a registered schema of one of {known}, but it is of {name[:200]}"
    if dangers:
        return f"expected a registered schema that is safe to read, but {dangers[0][:200]}"
    return messages.decoder_of(canonical, name)


def decode_registered(value: bytes, known: Mapping[int, Registered] | None) -> AnyMessage:
    """The message in a record that is framed for a registry.

    Raises:
        Malformed: It can never be used; the text is a sentence for whoever sent it.
        NotLookedUp: Nobody has asked the registry yet, or it did not know.
    """
    if known is None:
        raise Malformed(
            "expected Avro in the single-object encoding, but this is framed for a schema registry, and none is "
            "configured; LogProviderOptions.schema_registry is its URL"
        )
    if len(value) < HEADER_BYTES:
        raise Malformed(f"expected the id of a registered schema, four bytes after {MARK.hex()}, but it is cut")
    number = id_of(value)
    found = known.get(number)
    if found is None:
        raise NotLookedUp(number)
    if isinstance(found, str):
        raise Malformed(f"schema {number} of the registry: {found}")
    return found(value, HEADER_BYTES)


def id_of(value: bytes) -> int:
    """The id of the writer's schema in a record that `is_framed`."""
    return int.from_bytes(value[1:HEADER_BYTES], "big")


def is_framed(value: bytes) -> bool:
    """Whether a record names its schema by an id of a registry."""
    return value[:1] == MARK and len(value) >= HEADER_BYTES
