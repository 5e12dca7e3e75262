"""Which records make up the changelog? The typed form of everything protocol.md 2 lists.

A record of `{app}.history` is one of `AnyRecord`. All but `Genesis` and `OwnershipAcquired` begin with an `Envelope`.
Blobs named `data` are Avro single-object encodings of an event, a message or a work item: apply stores them and never
looks inside, so that a damaged event is one instance's trouble and not the partition's.
"""

import enum

from msgspec import Struct

from engine.model.failure import Failure
from engine.model.key_values import KeyValueChange
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import Disposition
from engine.model.version import EngineVersion

TOKEN_BYTES = 16
CHAIN_BYTES = 16
NO_CHAIN = bytes(CHAIN_BYTES)


class Lane(enum.Enum):
    """Where a consumed message came from.

    The first three are topics, and a place in them is an offset. `INBOX` is the store's own table (what the owner sent
    to its own partition, and parked messages), a place in it is a sequence number. `TIMER` is the timer table.
    """

    ORCHESTRATOR = "orchestrator"
    MESSAGES = "messages"
    WORKER = "worker"
    INBOX = "inbox"
    TIMER = "timer"
    UNKNOWN = "unknown"  # written by a newer version than this one


class Position(Struct, frozen=True):
    """How far a lane's topic is consumed: everything below `watermark`, and the offsets in `above`, ascending."""

    lane: Lane
    watermark: int
    above: tuple[int, ...] = ()


class Delivery(Struct, frozen=True, kw_only=True):
    """A work item was handed out. Written lazily, with the next batch."""

    instance: str
    execution_id: int
    activity_id: int
    attempt: int
    nonce: bytes
    worker: str
    lease_end_ms: int


class Envelope(Struct, frozen=True, kw_only=True):
    """What every record of an owner begins with.

    Attributes:
        owner_token: That of the nearest `OwnershipAcquired` before it, else the record is void for every reader.
        batch: Number of the transaction within this owner token, from 1, without a gap.
        index: Position of the record in its batch, from 0.
        count: Records in the batch.
        last: True on the last one; a batch without it is torn.
        apply_version: The version of `apply` that turns it into mutations, for ever.
        chain: Hash over all valid records before it in offset order.
        time_ms: Partition time, never less than in the record before.
        node: Who wrote it, for people.
        positions: Lanes whose position moved with this record.
        deliveries: Work items handed out since the last batch.
    """

    owner_token: bytes
    batch: int
    index: int
    count: int
    last: bool
    apply_version: int
    chain: bytes
    time_ms: int
    node: str
    positions: tuple[Position, ...] = ()
    deliveries: tuple[Delivery, ...] = ()


class EventBlob(Struct, frozen=True):
    """An event of a history, encoded."""

    event_id: int
    data: bytes


class Scheduled(Struct, frozen=True, kw_only=True):
    """A work item that a turn puts in the worker queue, encoded.

    Attributes:
        partition: Whose worker queue takes it, that of its session; None is the record's own.
        start_by_ms: When it is for anybody to fail, unless it was delivered before; 0: never.
    """

    instance: str
    execution_id: int
    activity_id: int
    data: bytes
    session_id: str | None = None
    tag: str | None = None
    partition: int | None = None
    start_by_ms: int = 0


class ActivityKey(Struct, frozen=True):
    """Names a work item that a turn takes back, in the record's own `partition` unless it says another."""

    instance: str
    execution_id: int
    activity_id: int
    partition: int | None = None


class TimerSet(Struct, frozen=True):
    """A timer of the record's instance."""

    execution_id: int
    timer_id: int
    fire_at_ms: int


class TimerKey(Struct, frozen=True):
    """Names a timer of the record's instance that must not fire."""

    execution_id: int
    timer_id: int


class Sent(Struct, frozen=True, kw_only=True):
    """A message that leaves with the record.

    One for the record's own partition exists nowhere else: apply puts it in the inbox. Others are copies of what
    went to the messages topic, kept for audit.
    """

    partition: int
    instance: str
    data: bytes
    visible_at_ms: int = 0


class Consumed(Struct, frozen=True, kw_only=True):
    """A message that is done with.

    Attributes:
        place: Offset, inbox sequence number, or timer id, by lane.
        execution_id: Of the timer; 0 in other lanes.
        message_id: The sender's id, remembered to recognise a repetition.
    """

    lane: Lane
    place: int
    disposition: Disposition
    execution_id: int = 0
    message_id: str | None = None


class Genesis(Struct, frozen=True, kw_only=True):
    """First record of a history partition: what routing and fencing use for ever."""

    application: str
    application_id: bytes
    cluster_id: str
    partition: int
    partitions: int
    routing: str
    slots: int
    created_at_ms: int


class OwnershipAcquired(Struct, frozen=True, kw_only=True):
    """Somebody took the partition. Written before its writer has read the log, so it has no chain and no batch."""

    owner_token: bytes
    node: str
    address: str
    generation: int
    slots: int


class OwnershipReleased(Struct, frozen=True, kw_only=True):
    """The owner stopped cleanly; `leases` is every lease that is still out."""

    envelope: Envelope
    clean: bool
    leases: tuple[Delivery, ...] = ()


class SchemasAdded(Struct, frozen=True, kw_only=True):
    """Texts of schemas this owner writes that the log had not yet, so that the log explains itself."""

    envelope: Envelope
    schemas: tuple[str, ...]


class TurnCommitted(Struct, frozen=True, kw_only=True):
    """A turn, or part `part` of `parts` of one.

    Events, work items, taken back or scheduled, timers, keys and messages are spread over the parts; all else is on the
    last.

    Attributes:
        status, output, failure, pinned_version, start_id: As in `ExecutionMetadata`; None leaves what is stored.
        new_life: Likewise; on the first part, for it comes before all else.
        sent: All messages that leave, those to the own partition included.
    """

    envelope: Envelope
    instance: str
    incarnation: int
    execution_id: int
    part: int = 0
    parts: int = 1
    orchestration_name: str | None = None
    orchestration_version: str | None = None
    parent_instance: str | None = None
    events: tuple[EventBlob, ...] = ()
    status: Status | None = None
    output: Payload | None = None
    failure: Failure | None = None
    set_custom_status: bool = False
    custom_status: str | None = None
    scheduled: tuple[Scheduled, ...] = ()
    cancelled: tuple[ActivityKey, ...] = ()
    timers: tuple[TimerSet, ...] = ()
    timers_cancelled: tuple[TimerKey, ...] = ()
    sent: tuple[Sent, ...] = ()
    consumed: tuple[Consumed, ...] = ()
    pinned_version: EngineVersion | None = None
    key_values: tuple[KeyValueChange, ...] = ()
    start_id: str | None = None
    new_life: bool = False


class WorkItemEnqueued(Struct, frozen=True, kw_only=True):
    """A work item from outside was taken over from the worker topic."""

    envelope: Envelope
    instance: str
    scheduled: Scheduled
    consumed: Consumed


class WorkItemAcked(Struct, frozen=True, kw_only=True):
    """An activity answered; `sent` is its completion, None if it was only taken away."""

    envelope: Envelope
    instance: str
    execution_id: int
    activity_id: int
    attempt: int
    worker: str
    sent: Sent | None = None


class WorkItemHeartbeat(Struct, frozen=True, kw_only=True):
    """Whoever runs a work item said how far it is: the next delivery of the item has that."""

    envelope: Envelope
    instance: str
    execution_id: int
    activity_id: int
    heartbeat: Payload


class Parked(Struct, frozen=True, kw_only=True):
    """An input that could not be consumed soon enough moves into the changelog, so that its lane can go on."""

    envelope: Envelope
    consumed: Consumed
    instance: str
    data: bytes
    visible_at_ms: int = 0


class InputsSettled(Struct, frozen=True, kw_only=True):
    """Inputs that no turn consumes: forwarded, dead-lettered, duplicate or orphan.

    Without any it is there for its envelope: deliveries that had to be written down before they began.
    """

    envelope: Envelope
    instance: str
    consumed: tuple[Consumed, ...]


class InstanceHeld(Struct, frozen=True, kw_only=True):
    """The instance is set aside until somebody resumes it."""

    envelope: Envelope
    instance: str
    execution_id: int
    orchestration_name: str
    orchestration_version: str
    failure: Failure


class InstanceSuspended(Struct, frozen=True, kw_only=True):
    """An operator lets the instance take no turn until somebody resumes it."""

    envelope: Envelope
    instance: str
    reason: str


class InstanceResumed(Struct, frozen=True, kw_only=True):
    """A held or suspended instance may run again."""

    envelope: Envelope
    instance: str


class InstanceDeleted(Struct, frozen=True, kw_only=True):
    """The instance and its automatic children are gone, with everything queued for them.

    Attributes:
        incarnation: Of the instance: this life of it ended here.
    """

    envelope: Envelope
    instance: str
    incarnation: int


class ExecutionsPruned(Struct, frozen=True, kw_only=True):
    """Histories of these earlier executions are gone."""

    envelope: Envelope
    instance: str
    execution_ids: tuple[int, ...]


class RowRepaired(Struct, frozen=True):
    """One row of a store table as it shall be; None removes it."""

    key: bytes
    value: bytes | None


class StateRepaired(Struct, frozen=True, kw_only=True):
    """An operator's repair, written down: the past stays as it was written."""

    envelope: Envelope
    reason: str
    rows: tuple[RowRepaired, ...]


class FeatureLevelRaised(Struct, frozen=True, kw_only=True):
    """From here on owners may write formats of this level."""

    envelope: Envelope
    level: int


EnvelopedRecord = (
    OwnershipReleased
    | SchemasAdded
    | TurnCommitted
    | WorkItemEnqueued
    | WorkItemAcked
    | WorkItemHeartbeat
    | Parked
    | InputsSettled
    | InstanceHeld
    | InstanceSuspended
    | InstanceResumed
    | InstanceDeleted
    | ExecutionsPruned
    | StateRepaired
    | FeatureLevelRaised
)
AnyRecord = Genesis | OwnershipAcquired | EnvelopedRecord


class Outcome(Struct, frozen=True, kw_only=True):
    """A record of `{app}.outcomes`: how an instance ended."""

    instance: str
    incarnation: int
    execution_id: int
    status: Status
    ended_at_ms: int
    output: Payload | None = None
    failure: Failure | None = None


class Owner(Struct, frozen=True, kw_only=True):
    """A record of `{app}.owners`: who has the partition now."""

    partition: int
    owner_token: bytes
    node: str
    address: str
    generation: int


class WorkItemTakenBack(Struct, frozen=True, kw_only=True):
    """A record of `{app}.worker`, behind the work item it is about: nobody waits for that any more.

    Written by the owner of the instance for the owner of the partition in which the item is.
    """

    instance: str
    execution_id: int
    activity_id: int


class TreeTakenBack(Struct, frozen=True, kw_only=True):
    """A record of `{app}.worker`: all work items before it of `instance` and its automatic children are void.

    The instance was deleted in its own partition. Written as `WorkItemTakenBack` is.
    """

    instance: str


TakenBack = WorkItemTakenBack | TreeTakenBack


class Header(Struct, frozen=True):
    """A header of a record of a topic."""

    name: str
    value: bytes


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record of `{app}.dead-letter`: input that cannot be used, as it was, and why.

    Attributes:
        headers: In their order; what the value is depends on them.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    at_ms: int
    headers: tuple[Header, ...] = ()
