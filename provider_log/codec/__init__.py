"""How does a record become bytes, and bytes a record? Avro single-object encoding: framing and choice of schema.

    C3 01 | fingerprint of the writer's schema, 8 bytes | body

The fingerprint says both which kind of record it is and which version of its schema wrote it. Everything ever released
(`schemas/schemas.lock`) can be read, as today's types. Encoding raises ValueError, TypeError or AttributeError for a
value that its type does not allow, and nothing for any other; decoding raises `Malformed` or `UnknownSchema` and
nothing else, whatever the bytes. What is decoded is what was encoded, except that failures inside each other are cut
after 32, and the last one kept says so.
"""

from collections.abc import Mapping
from typing import get_args

from engine.model.events import AnyEvent
from engine.model.messages import AnyMessage
from engine.model.work import WorkItem
from provider_log.codec import registered
from provider_log.codec.edge import Edge
from provider_log.codec.framing import Family, Malformed, NotLookedUp, UnknownSchema
from provider_log.codec.registered import Registered, id_of, is_framed
from provider_log.records import AnyRecord, DeadLetter, Outcome, Owner, TakenBack
from schemas import released_text

_EVENTS: Family[AnyEvent] = Family("event", *get_args(AnyEvent))
_MESSAGES: Family[AnyMessage] = Family("message", *get_args(AnyMessage))
_RECORDS: Family[AnyRecord] = Family("history", *get_args(AnyRecord))
_WORK_ITEMS = Family("worker", WorkItem)
_TAKEN_BACK: Family[TakenBack] = Family("worker", *get_args(TakenBack))
_WORK: Family[WorkItem | TakenBack] = Family("worker", WorkItem, *get_args(TakenBack))
_OUTCOMES = Family("outcomes", Outcome)
_OWNERS = Family("owners", Owner)
_DEAD_LETTERS = Family("dead_letter", DeadLetter)
FAMILIES = (_EVENTS, _MESSAGES, _RECORDS, _WORK, _OUTCOMES, _OWNERS, _DEAD_LETTERS)

encode_event, decode_event = _EVENTS.encode, _EVENTS.decode
encode_message, decode_message = _MESSAGES.encode, _MESSAGES.decode
encode_record, decode_record = _RECORDS.encode, _RECORDS.decode
encode_work_item, decode_work_item = _WORK_ITEMS.encode, _WORK_ITEMS.decode
encode_taken_back, decode_taken_back = _TAKEN_BACK.encode, _TAKEN_BACK.decode
decode_work = _WORK.decode
encode_outcome, decode_outcome = _OUTCOMES.encode, _OUTCOMES.decode
encode_owner, decode_owner = _OWNERS.encode, _OWNERS.decode
encode_dead_letter, decode_dead_letter = _DEAD_LETTERS.encode, _DEAD_LETTERS.decode
decode_input = Edge(_MESSAGES).decode


def registered_as(text: str) -> Registered:
    """What a schema of a registry is good for: it decodes messages, or a sentence says why it never will."""
    return registered.registered_as(text, _MESSAGES)


def schema_texts() -> Mapping[str, str]:
    """Text of every schema this version writes, by fingerprint: what `SchemasAdded` puts into the log."""
    return {
        fingerprint: released_text(fingerprint) for family in FAMILIES for fingerprint in family.fingerprints.values()
    }


__all__ = [
    "Malformed",
    "NotLookedUp",
    "Registered",
    "UnknownSchema",
    "decode_dead_letter",
    "decode_event",
    "decode_input",
    "decode_message",
    "decode_outcome",
    "decode_owner",
    "decode_record",
    "decode_taken_back",
    "decode_work",
    "decode_work_item",
    "encode_dead_letter",
    "encode_event",
    "encode_message",
    "encode_outcome",
    "encode_owner",
    "encode_record",
    "encode_taken_back",
    "encode_work_item",
    "id_of",
    "is_framed",
    "registered_as",
    "schema_texts",
]
