"""What does a stranger have? A Kafka client, an Avro library and the schemas that were released: no code of ours."""

import io
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastavro
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SCHEMAS = Path(__file__).parents[2] / "schemas"
MARK = b"\xc3\x01"
AVRO: Any = fastavro  # its stubs leave schemas and files partly unknown

Said = tuple[bytes, list[tuple[str, bytes]]]
"""A record's value and headers."""


def fingerprint_of(name: str) -> str:
    """Of the newest version of a full name: the last line that has it."""
    lines = (line.split() for line in (SCHEMAS / "schemas.lock").read_text().splitlines() if line[:1] != "#")
    return {full_name: fingerprint for fingerprint, full_name in lines}[name]


def released(fingerprint: str) -> Any:
    return AVRO.parse_schema(json.loads((SCHEMAS / "released" / f"{fingerprint}.avsc").read_text()))


def encoded(name: str, fields: dict[str, Any]) -> bytes:
    fingerprint = fingerprint_of(name)
    body = io.BytesIO()
    AVRO.schemaless_writer(body, released(fingerprint), fields)
    return MARK + bytes.fromhex(fingerprint) + body.getvalue()


def decoded(value: bytes | None) -> tuple[str, dict[str, Any]]:
    """The full name of a record, and its fields."""
    assert value is not None
    assert value[:2] == MARK
    schema = released(value[2:10].hex())
    return schema["name"], AVRO.schemaless_reader(io.BytesIO(value[10:]), schema)


def as_avro(kind: str, fields: dict[str, Any]) -> Said:
    """A message; `input` and `data` are what JSON says."""
    payloads = {name: {"data": json.dumps(fields[name]).encode()} for name in ("input", "data") if name in fields}
    return encoded(f"turnlog.message.{kind}", fields | payloads), []


def as_json(kind: str, fields: dict[str, Any]) -> Said:
    return json.dumps({"type": kind} | fields).encode(), [("content-type", b"application/json")]


@asynccontextmanager
async def producing(bootstrap: str) -> AsyncGenerator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def consuming(bootstrap: str, topic: str, group: str | None = None) -> AsyncGenerator[AIOKafkaConsumer]:
    """Reads what is committed of a topic from its beginning, or from where its group is."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
