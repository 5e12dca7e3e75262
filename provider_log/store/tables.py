"""What is in a row? The row types of every table, and their bytes.

Rows are derived from the changelog alone and never leave this partition, so they are MessagePack arrays (0.2 µs) and
not Avro (5 µs). Their bytes are the same for equal rows, which the state digest relies on. A field is only ever added
at the end, with a default.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

from engine.model.failure import Failure
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.version import EngineVersion

Row = TypeVar("Row", bound=Struct)


class InstanceRow(Struct, frozen=True, array_like=True):
    """INSTANCE: what queries and fetch need to know without reading a history.

    `pinned_version` is the current execution's. Without `has_key_changes` the instance has no row in KEY_CHANGE.
    """

    name: str
    version: str
    execution_id: int
    incarnation: int
    status: Status
    revision: int
    created_at_ms: int
    updated_at_ms: int
    last_event_id: int
    event_count: int
    seen_count: int = 0
    output: Payload | None = None
    failure: Failure | None = None
    custom_status: str | None = None
    custom_status_version: int = 0
    parent_instance: str | None = None
    pinned_version: EngineVersion | None = None
    has_key_changes: bool = False
    suspend_reason: str | None = None
    start_id: str | None = None


class ExecutionRow(Struct, frozen=True, array_like=True):
    """EXECUTION."""

    status: Status
    started_at_ms: int
    completed_at_ms: int | None
    last_event_id: int
    event_count: int
    output: Payload | None = None
    failure: Failure | None = None


class InboxRow(Struct, frozen=True, array_like=True):
    """INBOX: a message the partition keeps itself. `data` is its encoding."""

    data: bytes
    visible_at_ms: int
    arrived_at_ms: int
    message_id: str | None = None


class TimerRow(Struct, frozen=True, array_like=True):
    """TIMER. `order` is its place among all messages of the partition."""

    fire_at_ms: int
    order: int
    incarnation: int


class WorkRow(Struct, frozen=True, array_like=True):
    """WORK: an activity that has not answered. `data` is its work item's encoding; `attempt` counts deliveries.

    `start_by_ms` is 0 if it may wait for ever; `heartbeat` is what a worker said last of how far it is.
    """

    data: bytes
    order: int
    attempt: int = 0
    session_id: str | None = None
    tag: str | None = None
    nonce: bytes = b""
    worker: str = ""
    lease_end_ms: int = 0
    start_by_ms: int = 0
    heartbeat: Payload | None = None


class ElsewhereRow(Struct, frozen=True, array_like=True):
    """ELSEWHERE: partitions that were ever given a work item of the instance, ascending: those of its sessions."""

    partitions: tuple[int, ...]


class SeenRow(Struct, frozen=True, array_like=True):
    """SEEN: a message id that was consumed, and its running number in SEEN_ORDER."""

    number: int
    at_ms: int


class KeyValueRow(Struct, frozen=True, array_like=True):
    """KEY_VALUE, and KEY_CHANGE, where a `value` of None says that the key was cleared."""

    value: Payload | None
    updated_at_ms: int


class PositionRow(Struct, frozen=True, array_like=True):
    """POSITION: how far a lane is consumed."""

    watermark: int
    above: tuple[int, ...] = ()


class HeadRow(Struct, frozen=True, array_like=True):
    """META `head`: the last record that was applied, and what a next record must continue.

    Attributes:
        offset: Its offset in the history topic.
        chain: Hash over all valid records up to and including it.
        token: Owner token of the nearest `OwnershipAcquired`.
        batch, index, count: Where in its owner's batches it stands.
        epoch: How many `OwnershipAcquired` there were.
        time_ms: Partition time of the last record.
        void: How many records were void.
    """

    offset: int = -1
    chain: bytes = bytes(16)
    token: bytes = b""
    batch: int = 0
    index: int = 0
    count: int = 1
    epoch: int = 0
    time_ms: int = 0
    void: int = 0


class GenesisRow(Struct, frozen=True, array_like=True):
    """META `genesis`: what the partition was created with."""

    application: str
    application_id: bytes
    cluster_id: str
    partition: int
    partitions: int
    routing: str
    slots: int


ORDER = "order"  # META: running number of messages, timers and work items
HEAD = "head"  # META
GENESIS = "genesis"  # META
FEATURE_LEVEL = "feature_level"  # META

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS: dict[type[Struct], msgspec.msgpack.Decoder[Struct]] = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        InstanceRow,
        ExecutionRow,
        InboxRow,
        TimerRow,
        WorkRow,
        ElsewhereRow,
        SeenRow,
        PositionRow,
        HeadRow,
        GenesisRow,
        KeyValueRow,
    )
}
_INT = msgspec.msgpack.Decoder(int)


def pack(row: Struct | int) -> bytes:
    """A row's bytes; equal rows have equal bytes."""
    return _ENCODER.encode(row)


def unpack(kind: type[Row], data: bytes) -> Row:
    """The row.

    Raises:
        msgspec.DecodeError: The bytes are not a row of this kind.
    """
    row = _DECODERS[kind].decode(data)
    assert isinstance(row, kind)
    return row


def unpack_number(data: bytes | None) -> int:
    """A counter; 0 where there is no row yet."""
    return 0 if data is None else _INT.decode(data)
