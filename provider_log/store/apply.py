"""How does a changelog record change the store? The one function that live processing and restore share.

`apply` is pure: rows in, rows out; it asks no clock, decodes no event and decides nothing. What a record says happened,
happened. A fix to anything here is a new apply version beside the old one, chosen by the record's envelope, because
the log is replayed for ever and its past must come out the same.

A record's body and its envelope are applied apart (`apply_body`, `apply_envelope`): an owner applies bodies as turns
are admitted and the envelope's positions and deliveries when the batch is sealed. They stand on the last record of a
batch only, so a restore that applies body and envelope of each record in turn meets them in the same order.
"""

from collections.abc import Callable, Iterator, Mapping

from msgspec.structs import replace

from engine.model.failure import Failure
from engine.model.status import EXECUTION_ENDS, TERMINAL, Status
from engine.model.version import EngineVersion
from provider_log import records as r
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.port import ReadView
from provider_log.store.tables import (
    FEATURE_LEVEL,
    GENESIS,
    ORDER,
    ElsewhereRow,
    ExecutionRow,
    GenesisRow,
    InboxRow,
    InstanceRow,
    KeyValueRow,
    PositionRow,
    SeenRow,
    TimerRow,
    WorkRow,
    pack,
    unpack,
    unpack_number,
)

VERSION = 1
SEEN_IDS_MAX = 1000  # per instance: a client's retries arrive within seconds, not a thousand calls later

_ORDER_KEY = keys.named(Table.META, ORDER)


class Rows:
    """The rows one record changes in `partition`, read through to the state before it."""

    def __init__(self, before: ReadView, partition: int) -> None:
        self._before = before
        self.partition = partition
        self.changed: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """The row as this record has left it so far."""
        return self.changed[key] if key in self.changed else self._before.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Set a row."""
        self.changed[key] = value

    def remove(self, key: bytes) -> None:
        """Remove a row, if it is there."""
        self.changed[key] = None

    def scan(self, prefix: bytes) -> Iterator[bytes]:
        """Keys with the prefix, as this record has left them so far."""
        for key, _ in self._before.scan(prefix):
            if self.changed.get(key, b"") is not None:
                yield key
        yield from [key for key, value in self.changed.items() if value is not None and key.startswith(prefix)]

    def next_order(self) -> int:
        """The next running number of this partition."""
        number = unpack_number(self.get(_ORDER_KEY)) + 1
        self.put(_ORDER_KEY, pack(number))
        return number

    def instance(self, instance: str) -> InstanceRow | None:
        """The instance's row."""
        data = self.get(keys.instance_prefix(Table.INSTANCE, instance))
        return None if data is None else unpack(InstanceRow, data)

    def put_instance(self, instance: str, row: InstanceRow) -> None:
        """Set the instance's row."""
        self.put(keys.instance_prefix(Table.INSTANCE, instance), pack(row))


def apply(before: ReadView, record: r.AnyRecord, partition: int) -> Mapping[bytes, bytes | None]:
    """The rows as `record` leaves them in this partition, given the state `before` it."""
    rows = Rows(before, partition)
    apply_body(rows, record)
    if not isinstance(record, r.Genesis | r.OwnershipAcquired):
        apply_envelope(rows, record.envelope)
    return rows.changed


def apply_body(rows: Rows, record: r.AnyRecord) -> None:
    """What the record says beyond its envelope's positions and deliveries.

    Raises:
        KeyError: No such apply version: this code is older than the log.
    """
    version = VERSION if isinstance(record, r.Genesis | r.OwnershipAcquired) else record.envelope.apply_version
    _VERSIONS[version][type(record)](rows, record)


def apply_envelope(rows: Rows, envelope: r.Envelope) -> None:
    """Positions and deliveries."""
    for position in envelope.positions:
        rows.put(keys.named(Table.POSITION, position.lane.value), pack(PositionRow(position.watermark, position.above)))
    for delivery in envelope.deliveries:
        _deliver(rows, delivery)


def _deliver(rows: Rows, delivery: r.Delivery) -> None:
    key = keys.in_execution(Table.WORK, delivery.instance, delivery.execution_id, delivery.activity_id)
    data = rows.get(key)
    if data is None:
        return  # acked or taken back in the same batch
    row = replace(
        unpack(WorkRow, data),
        attempt=delivery.attempt,
        nonce=delivery.nonce,
        worker=delivery.worker,
        lease_end_ms=delivery.lease_end_ms,
    )
    rows.put(key, pack(row))


# Version 1 ----------------------------------------------------------------------------------------------------------


def _genesis(rows: Rows, record: r.Genesis) -> None:
    key = keys.named(Table.META, GENESIS)
    if rows.get(key) is None:  # the first one counts, for routing must never change
        row = GenesisRow(
            application=record.application,
            application_id=record.application_id,
            cluster_id=record.cluster_id,
            partition=rows.partition,
            partitions=record.partitions,
            routing=record.routing,
            slots=record.slots,
        )
        rows.put(key, pack(row))


def _ownership_acquired(_rows: Rows, _record: r.OwnershipAcquired) -> None:
    """The epoch it adds to is in the head row, which whoever folds the log keeps (`provider_log.partition.head`)."""


def _ownership_released(rows: Rows, record: r.OwnershipReleased) -> None:
    for lease in record.leases:
        _deliver(rows, lease)


def _schemas_added(rows: Rows, record: r.SchemasAdded) -> None:
    for text in record.schemas:
        rows.put(keys.schema(text), text.encode())


def _turn_committed(rows: Rows, record: r.TurnCommitted) -> None:
    instance, execution_id, now_ms = record.instance, record.execution_id, record.envelope.time_ms
    if record.new_life:
        _begin_life(rows, record)
    for event in record.events:
        rows.put(keys.in_execution(Table.HISTORY, instance, execution_id, event.event_id), event.data)
    for work in record.scheduled:
        if work.partition is None:
            _schedule(rows, work)
        else:
            _note_elsewhere(rows, instance, work.partition)
    for activity in record.cancelled:  # after the inserts: scheduled and cancelled in one turn leaves nothing
        if activity.partition is None:
            rows.remove(keys.in_execution(Table.WORK, activity.instance, activity.execution_id, activity.activity_id))
    for timer in record.timers:
        row = TimerRow(fire_at_ms=timer.fire_at_ms, order=rows.next_order(), incarnation=record.incarnation)
        rows.put(keys.in_execution(Table.TIMER, instance, timer.execution_id, timer.timer_id), pack(row))
    for timer in record.timers_cancelled:
        rows.remove(keys.in_execution(Table.TIMER, instance, timer.execution_id, timer.timer_id))
    for sent in record.sent:
        _receive(rows, sent, now_ms)
    row = _with_keys(rows, record, _instance_after(rows, record))
    for consumed in record.consumed:
        row = _consume(rows, instance, consumed, row, now_ms)
    rows.put_instance(instance, row)


def _begin_life(rows: Rows, record: r.TurnCommitted) -> None:
    """An instance that had ended begins anew: what it kept and showed was of the life before."""
    instance = record.instance
    for table in (Table.KEY_VALUE, Table.KEY_CHANGE):
        for key in list(rows.scan(keys.instance_prefix(table, instance))):
            rows.remove(key)
    row = rows.instance(instance)
    if row is not None:
        row = replace(row, output=None, failure=None, custom_status=None, start_id=None, has_key_changes=False)
        rows.put_instance(instance, replace(row, parent_instance=record.parent_instance))


def _schedule(rows: Rows, work: r.Scheduled) -> None:
    row = WorkRow(
        data=work.data,
        order=rows.next_order(),
        session_id=work.session_id,
        tag=work.tag,
        start_by_ms=work.start_by_ms,
    )
    rows.put(keys.in_execution(Table.WORK, work.instance, work.execution_id, work.activity_id), pack(row))


def _note_elsewhere(rows: Rows, instance: str, partition: int) -> None:
    """Another partition has a work item of the instance: its owner is told when the instance is deleted."""
    key = keys.instance_prefix(Table.ELSEWHERE, instance)
    data = rows.get(key)
    known = () if data is None else unpack(ElsewhereRow, data).partitions
    if partition not in known:
        rows.put(key, pack(ElsewhereRow(tuple(sorted((*known, partition))))))


def _instance_after(rows: Rows, record: r.TurnCommitted) -> InstanceRow:
    """The instance's row after the turn; its execution's row is put on the way."""
    now_ms, events = record.envelope.time_ms, record.events
    last_event_id = events[-1].event_id if events else 0
    key = keys.execution(record.instance, record.execution_id)
    data = rows.get(key)
    execution = (
        ExecutionRow(status=Status.RUNNING, started_at_ms=now_ms, completed_at_ms=None, last_event_id=0, event_count=0)
        if data is None
        else unpack(ExecutionRow, data)
    )
    ended = record.status in EXECUTION_ENDS
    execution = replace(
        execution,
        status=record.status or execution.status,
        completed_at_ms=now_ms if ended else execution.completed_at_ms,
        last_event_id=max(execution.last_event_id, last_event_id),
        event_count=execution.event_count + len(events),
        output=record.output if record.status is not None else execution.output,
        failure=record.failure if record.status is not None else execution.failure,
    )
    rows.put(key, pack(execution))
    row = rows.instance(record.instance) or InstanceRow(
        name="",
        version="",
        execution_id=record.execution_id,
        incarnation=record.incarnation,
        status=Status.RUNNING,
        revision=0,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        last_event_id=0,
        event_count=0,
        parent_instance=record.parent_instance,
    )
    is_current = record.execution_id >= row.execution_id
    # Between two executions the instance goes on running; only the execution has ended.
    status = Status.RUNNING if record.status is Status.CONTINUED_AS_NEW else record.status
    terminal = status in TERMINAL
    return replace(
        row,
        name=record.orchestration_name or row.name,
        version=record.orchestration_version or row.version,
        execution_id=max(row.execution_id, record.execution_id),
        incarnation=record.incarnation,
        status=status or row.status,
        revision=row.revision + (1 if record.part + 1 == record.parts else 0),
        updated_at_ms=now_ms,
        last_event_id=execution.last_event_id if is_current else row.last_event_id,
        event_count=execution.event_count if is_current else row.event_count,
        output=record.output if terminal else row.output,
        failure=record.failure if terminal else row.failure,
        custom_status=record.custom_status if record.set_custom_status else row.custom_status,
        custom_status_version=row.custom_status_version + record.set_custom_status,
        pinned_version=_pin_after(row, record),
        start_id=record.start_id or row.start_id,
    )


def _pin_after(row: InstanceRow, record: r.TurnCommitted) -> EngineVersion | None:
    """The current execution's pin: its own record says it, and a new execution begins without one."""
    if record.execution_id < row.execution_id:
        return row.pinned_version
    kept = row.pinned_version if record.execution_id == row.execution_id else None
    return record.pinned_version or kept


def _with_keys(rows: Rows, record: r.TurnCommitted, row: InstanceRow) -> InstanceRow:
    """The instance's row after its keys were changed; an end makes them what the next execution begins with."""
    instance, has_changes = record.instance, row.has_key_changes
    for change in record.key_values:
        has_changes = True
        if change.key is None:
            for key in _kept_keys(rows, instance):
                _clear_key(rows, instance, key)
        elif change.value is None:
            _clear_key(rows, instance, change.key)
        else:
            kept = KeyValueRow(change.value, record.envelope.time_ms)
            rows.put(keys.kept(Table.KEY_CHANGE, instance, change.key), pack(kept))
    if has_changes and record.status in EXECUTION_ENDS:
        has_changes = False
        for change_key in set(rows.scan(keys.instance_prefix(Table.KEY_CHANGE, instance))):
            data = rows.get(change_key)
            key = keys.kept(Table.KEY_VALUE, instance, keys.kept_key(change_key))
            if data is None or unpack(KeyValueRow, data).value is None:
                rows.remove(key)
            else:
                rows.put(key, data)
            rows.remove(change_key)
    return replace(row, has_key_changes=has_changes) if has_changes != row.has_key_changes else row


def _kept_keys(rows: Rows, instance: str) -> set[str]:
    tables = (Table.KEY_VALUE, Table.KEY_CHANGE)
    return {keys.kept_key(key) for table in tables for key in rows.scan(keys.instance_prefix(table, instance))}


def _clear_key(rows: Rows, instance: str, key: str) -> None:
    """A key that the execution began with needs a mark; of one that it set itself nothing is left."""
    change = keys.kept(Table.KEY_CHANGE, instance, key)
    old = rows.get(keys.kept(Table.KEY_VALUE, instance, key))
    if old is None:
        rows.remove(change)
    else:
        rows.put(change, pack(KeyValueRow(None, 0)))


def _receive(rows: Rows, sent: r.Sent, now_ms: int) -> None:
    """Put a message to the own partition in the inbox; others have left by the messages topic."""
    if sent.partition == rows.partition:
        row = InboxRow(data=sent.data, visible_at_ms=sent.visible_at_ms, arrived_at_ms=now_ms)
        rows.put(keys.numbered(Table.INBOX, sent.instance, rows.next_order()), pack(row))


def _consume(rows: Rows, instance: str, consumed: r.Consumed, row: InstanceRow, now_ms: int) -> InstanceRow:
    if consumed.lane is r.Lane.INBOX:
        rows.remove(keys.numbered(Table.INBOX, instance, consumed.place))
    elif consumed.lane is r.Lane.TIMER:
        rows.remove(keys.in_execution(Table.TIMER, instance, consumed.execution_id, consumed.place))
    if consumed.message_id is None:
        return row
    return _remember(rows, instance, consumed.message_id, row, now_ms)


def _remember(rows: Rows, instance: str, message_id: str, row: InstanceRow, now_ms: int) -> InstanceRow:
    """Note the id of a consumed message, forgetting the one `SEEN_IDS_MAX` before it."""
    number = row.seen_count + 1
    rows.put(keys.seen(instance, message_id), pack(SeenRow(number, now_ms)))
    rows.put(keys.numbered(Table.SEEN_ORDER, instance, number), message_id.encode())
    forgotten = keys.numbered(Table.SEEN_ORDER, instance, number - SEEN_IDS_MAX) if number > SEEN_IDS_MAX else None
    if forgotten is not None and (old := rows.get(forgotten)) is not None:
        rows.remove(keys.seen(instance, old.decode()))
        rows.remove(forgotten)
    return replace(row, seen_count=number)


def _work_item_enqueued(rows: Rows, record: r.WorkItemEnqueued) -> None:
    _schedule(rows, record.scheduled)


def _work_item_acked(rows: Rows, record: r.WorkItemAcked) -> None:
    rows.remove(keys.in_execution(Table.WORK, record.instance, record.execution_id, record.activity_id))
    if record.sent is not None:
        _receive(rows, record.sent, record.envelope.time_ms)


def _work_item_heartbeat(rows: Rows, record: r.WorkItemHeartbeat) -> None:
    key = keys.in_execution(Table.WORK, record.instance, record.execution_id, record.activity_id)
    data = rows.get(key)
    if data is not None:
        rows.put(key, pack(replace(unpack(WorkRow, data), heartbeat=record.heartbeat)))


def _parked(rows: Rows, record: r.Parked) -> None:
    row = InboxRow(
        data=record.data,
        visible_at_ms=record.visible_at_ms,
        arrived_at_ms=record.envelope.time_ms,
        message_id=record.consumed.message_id,
    )
    rows.put(keys.numbered(Table.INBOX, record.instance, rows.next_order()), pack(row))


def _inputs_settled(rows: Rows, record: r.InputsSettled) -> None:
    for consumed in record.consumed:
        if consumed.lane is r.Lane.INBOX:
            rows.remove(keys.numbered(Table.INBOX, record.instance, consumed.place))


def _instance_held(rows: Rows, record: r.InstanceHeld) -> None:
    row = rows.instance(record.instance) or InstanceRow(  # it may be held before its first turn
        name=record.orchestration_name,
        version=record.orchestration_version,
        execution_id=record.execution_id,
        incarnation=0,
        status=Status.HELD,
        revision=0,
        created_at_ms=record.envelope.time_ms,
        updated_at_ms=record.envelope.time_ms,
        last_event_id=0,
        event_count=0,
    )
    _put_standing(rows, record, row, Status.HELD, failure=record.failure)


def _instance_suspended(rows: Rows, record: r.InstanceSuspended) -> None:
    if (row := rows.instance(record.instance)) is not None:
        _put_standing(rows, record, row, Status.SUSPENDED, suspend_reason=record.reason)


def _instance_resumed(rows: Rows, record: r.InstanceResumed) -> None:
    if (row := rows.instance(record.instance)) is not None:
        _put_standing(rows, record, row, Status.RUNNING)


def _put_standing(
    rows: Rows,
    record: r.InstanceHeld | r.InstanceSuspended | r.InstanceResumed,
    row: InstanceRow,
    status: Status,
    *,
    failure: Failure | None = None,
    suspend_reason: str | None = None,
) -> None:
    changed = replace(
        row,
        status=status,
        failure=failure,
        suspend_reason=suspend_reason,
        revision=row.revision + 1,
        updated_at_ms=record.envelope.time_ms,
    )
    rows.put_instance(record.instance, changed)


_TREE_TABLES = (
    Table.INSTANCE,
    Table.EXECUTION,
    Table.HISTORY,
    Table.INBOX,
    Table.TIMER,
    Table.WORK,
    Table.ELSEWHERE,
    Table.SEEN,
    Table.SEEN_ORDER,
    Table.KEY_VALUE,
    Table.KEY_CHANGE,
)


def _instance_deleted(rows: Rows, record: r.InstanceDeleted) -> None:
    for table in _TREE_TABLES:
        for prefix in keys.tree_prefixes(table, record.instance):
            for key in list(rows.scan(prefix)):
                rows.remove(key)


def _executions_pruned(rows: Rows, record: r.ExecutionsPruned) -> None:
    for execution_id in record.execution_ids:
        rows.remove(keys.execution(record.instance, execution_id))
        for key in list(rows.scan(keys.history_prefix(record.instance, execution_id))):
            rows.remove(key)


def _state_repaired(rows: Rows, record: r.StateRepaired) -> None:
    for repaired in record.rows:
        if repaired.value is None:
            rows.remove(repaired.key)
        else:
            rows.put(repaired.key, repaired.value)


def _feature_level_raised(rows: Rows, record: r.FeatureLevelRaised) -> None:
    rows.put(keys.named(Table.META, FEATURE_LEVEL), pack(record.level))


_V1: Mapping[type, Callable[..., None]] = {
    r.Genesis: _genesis,
    r.OwnershipAcquired: _ownership_acquired,
    r.OwnershipReleased: _ownership_released,
    r.SchemasAdded: _schemas_added,
    r.TurnCommitted: _turn_committed,
    r.WorkItemEnqueued: _work_item_enqueued,
    r.WorkItemAcked: _work_item_acked,
    r.WorkItemHeartbeat: _work_item_heartbeat,
    r.Parked: _parked,
    r.InputsSettled: _inputs_settled,
    r.InstanceHeld: _instance_held,
    r.InstanceSuspended: _instance_suspended,
    r.InstanceResumed: _instance_resumed,
    r.InstanceDeleted: _instance_deleted,
    r.ExecutionsPruned: _executions_pruned,
    r.StateRepaired: _state_repaired,
    r.FeatureLevelRaised: _feature_level_raised,
}

_VERSIONS: Mapping[int, Mapping[type, Callable[..., None]]] = {1: _V1}
