"""How long does a record take each way? `python -m tests.unit.codec.speed` prints the table of decision 6."""

import io
import timeit
from collections.abc import Callable
from typing import Any

import fastavro
import msgspec

import schemas
from engine.model.events import ActivityCompleted
from engine.model.payload import Payload
from engine.model.turn import Disposition
from provider_log import codec
from provider_log.records import Consumed, Envelope, EventBlob, Lane, Position, Scheduled, TurnCommitted

FASTAVRO: Any = fastavro  # its stubs leave the files' types open

EVENT = ActivityCompleted(event_id=5, timestamp_ms=1_767_225_600_000, source_event_id=3, result=Payload(b"x" * 100))
TURN = TurnCommitted(
    envelope=Envelope(
        owner_token=b"o" * 16,
        batch=5,
        index=0,
        count=1,
        last=True,
        apply_version=1,
        chain=b"c" * 16,
        time_ms=1_767_225_600_000,
        node="node-1",
        positions=(Position(Lane.ORCHESTRATOR, 5, (7,)),),
    ),
    instance="order-1",
    incarnation=2**62,
    execution_id=1,
    events=(EventBlob(1, b"x" * 120), EventBlob(2, b"y" * 120)),
    scheduled=(Scheduled(instance="order-1", execution_id=1, activity_id=2, data=b"z" * 120),),
    consumed=(Consumed(lane=Lane.ORCHESTRATOR, place=5, disposition=Disposition.APPLIED),),
)


def best_us(call: Callable[[], object]) -> float:
    """Microseconds a call takes in the best of five rounds."""
    return min(timeit.repeat(call, number=4_000, repeat=5)) / 4_000 * 1e6


def main() -> None:
    turn, event = codec.encode_record(TURN), codec.encode_event(EVENT)
    schema = FASTAVRO.parse_schema(msgspec.json.decode(schemas.released_text(turn[2:10].hex())))
    theirs = FASTAVRO.schemaless_reader(io.BytesIO(turn[10:]), schema, None)
    plain = msgspec.to_builtins(TURN, builtin_types=(bytes,))
    rows: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        f"TurnCommitted, {len(turn)} bytes": (lambda: codec.encode_record(TURN), lambda: codec.decode_record(turn)),
        f"ActivityCompleted, {len(event)} bytes": (
            lambda: codec.encode_event(EVENT),
            lambda: codec.decode_event(event),
        ),
        "of the turn: fastavro, dicts": (
            lambda: FASTAVRO.schemaless_writer(io.BytesIO(), schema, theirs),
            lambda: FASTAVRO.schemaless_reader(io.BytesIO(turn[10:]), schema, None),
        ),
        "of the turn: msgspec, Structs to dicts": (
            lambda: msgspec.to_builtins(TURN, builtin_types=(bytes,)),
            lambda: msgspec.convert(plain, TurnCommitted, builtin_types=(bytes,)),
        ),
    }
    for name, (encode, decode) in rows.items():
        print(f"{name:40} {best_us(encode):6.1f} {best_us(decode):6.1f} µs")


if __name__ == "__main__":
    main()
