"""How does a record lie in the database? Keys that sort by topic, partition and offset; values that prove themselves.

    key    topic id (4 bytes) ‖ partition (4) ‖ offset (8), big-endian; topic id 0 is the log's own
    value  length of the body (4) ‖ CRC-32 of key and body (4) ‖ body: msgpack [append time, key, value, headers]

The CRC goes over the key too, so that a record found in another record's place is damage, not data.
"""

from struct import Struct as Layout
from typing import NamedTuple
from zlib import crc32

import msgspec

from provider_log.log.port import LogRecord, StoredRecord

OFFSET_MAX = 2**64 - 1
OWN_TOPIC_ID = 0
OWN_PREFIX = OWN_TOPIC_ID.to_bytes(4, "big")

_KEY = Layout(">IIQ")
_HEAD = Layout(">II")


class _Body(msgspec.Struct, frozen=True, array_like=True):
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


class Place(NamedTuple):
    """A partition as keys name it."""

    topic_id: int
    partition: int

    def key(self, offset: int) -> bytes:
        """The key of the record at `offset`."""
        return _KEY.pack(self.topic_id, self.partition, offset)


def offset_of(key: bytes) -> int:
    """The offset a record's key ends with."""
    return _KEY.unpack(key)[2]


def pack(key: bytes, record: LogRecord, timestamp_ms: int) -> bytes:
    """The value under `key` for `record`, appended at `timestamp_ms`."""
    body = _encoder.encode(_Body(timestamp_ms, record.key, record.value, record.headers))
    return _HEAD.pack(len(body), crc32(body, crc32(key))) + body


def unpack(topic: str, partition: int, key: bytes, value: bytes) -> StoredRecord:
    """The record under `key`.

    Raises:
        ValueError: It is not what was written; says what was expected and what is there.
    """
    if len(value) < _HEAD.size:
        raise ValueError(f"expected at least {_HEAD.size} bytes, but the record has {len(value)}")
    length, checksum = _HEAD.unpack_from(value)
    body = value[_HEAD.size :]
    if len(body) != length:
        raise ValueError(f"expected a body of {length} bytes, but it has {len(body)}")
    if (found := crc32(body, crc32(key))) != checksum:
        raise ValueError(f"expected checksum {checksum:08x}, but the record has {found:08x}")
    read = _decoder.decode(body)  # DecodeError is a ValueError
    return StoredRecord(
        topic=topic,
        partition=partition,
        offset=offset_of(key),
        timestamp_ms=read.timestamp_ms,
        key=read.key,
        value=read.value,
        headers=read.headers,
    )
