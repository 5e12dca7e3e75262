"""What does a running partition hold, and how does each call change it? One owner token's life, in memory.

Everything uncommitted hangs on one `LivePartition`. Dropping the object drops it all, exactly; what was committed comes
back by restore. Methods are synchronous: they decide, write a changelog record into the open batch, apply it to the
overlay with the same function that restores, and return. Nothing leaves before the batch is committed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec
from msgspec import Struct

from engine.clock import Clock
from engine.errors import LeaseLost, Refused, TurnTooLarge
from engine.model.failure import Failure
from engine.model.messages import AnyMessage, ContinueInstance, FireTimer, StartOrchestration
from engine.model.status import Status
from engine.model.turn import Disposition, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.runtime.doors import Chance
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.options import LogProviderOptions
from provider_log.partition import batch as batches
from provider_log.partition.effects import Watchers, Wakeup
from provider_log.partition.inbox import Entry, Inbox, Standing
from provider_log.partition.look import StoredHistory, instance_row
from provider_log.partition.partition_time import PartitionTime
from provider_log.partition.plan import Limits, Place, consumed_of, plan_turn, send, unsealed
from provider_log.partition.positions import LanePosition
from provider_log.partition.restore import put_head
from provider_log.partition.work import Waiting, WorkQueue
from provider_log.store import apply as applying
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.overlay import Overlay
from provider_log.store.port import Store
from provider_log.store.tables import HeadRow, InboxRow, PositionRow, TimerRow, WorkRow, unpack
from provider_log.topics import HISTORY_FACTOR, INPUT_BYTES_MAX

TOPIC_LANES = (r.Lane.ORCHESTRATOR, r.Lane.MESSAGES, r.Lane.WORKER)
_RECORD_BYTES_MAX = INPUT_BYTES_MAX * HISTORY_FACTOR
_INBOX_BYTE = keys.table_prefix(Table.INBOX)[0]
UNKNOWN_VERSION = "unknown"


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a live partition shares with the node it lives in."""

    place: Place
    node: str
    clock: Clock
    chance: Chance
    options: LogProviderOptions
    wakeup: Wakeup


class LivePartition:
    """A partition in phase RUNNING.

    Args:
        around: What it shares.
        owner_token: The token it was acquired with.
        head: Where the log stands; the store stands there too.
        store: Committed rows.
        work: The worker queue, leases of an earlier token included; refilled from the store.
        watchers: Queries that wait.
        want: Called when there is something to commit.
    """

    def __init__(
        self,
        around: Surroundings,
        owner_token: bytes,
        head: HeadRow,
        store: Store,
        work: WorkQueue,
        watchers: Watchers,
        want: Callable[[], None],
    ) -> None:
        self._around = around
        self._place = around.place
        self._token = owner_token
        self._head = head
        self._store = store
        self._overlay = Overlay(store)
        self._work = work
        self._watchers = watchers
        self._want = want
        self._time = PartitionTime(around.clock, head.time_ms)
        self._limits = Limits(
            turn_bytes_max=around.options.turn_bytes_max,
            part_bytes_max=min(around.options.batch_bytes_max // 2, _RECORD_BYTES_MAX // 2),
            record_bytes_max=_RECORD_BYTES_MAX,
        )
        self._ids: set[tuple[str, str]] = set()
        self._in_lane: dict[r.Lane, dict[int, Entry]] = {lane: {} for lane in TOPIC_LANES}
        self._inbox = Inbox(self._standing)
        self._positions = {lane: self._load_position(lane) for lane in TOPIC_LANES}
        self._batch = self._open_batch(1)
        self._in_flight: deque[batches.Batch] = deque()
        self._load_inbox()
        self._work.rebuild(self._load_work())

    # Filling from the store

    def _load_position(self, lane: r.Lane) -> LanePosition:
        data = self._store.get(keys.named(Table.POSITION, lane.value))
        row = PositionRow(0) if data is None else unpack(PositionRow, data)
        return LanePosition(lane, row.watermark, row.above)

    def _load_inbox(self) -> None:
        """Put the rows of both message tables in the inbox, in the order they were made."""
        entries: list[tuple[int, Entry]] = []
        for key, data in self._store.scan(keys.table_prefix(Table.INBOX)):
            row, (number,) = unpack(InboxRow, data), keys.numbers_of(key)
            entry = Entry(
                instance=keys.instance_of(key),
                lane=r.Lane.INBOX,
                place=number,
                message=_readable(row.data),
                raw=row.data,
                arrived_at_ms=row.arrived_at_ms,
                visible_at_ms=row.visible_at_ms,
                message_id=row.message_id,
            )
            entries.append((number, entry))
        for key, data in self._store.scan(keys.table_prefix(Table.TIMER)):
            row, (execution_id, timer_id) = unpack(TimerRow, data), keys.numbers_of(key)
            entries.append((row.order, self._timer_entry(keys.instance_of(key), execution_id, timer_id, row)))
        now_ms = self._time.now_ms()
        for _, entry in sorted(entries, key=lambda found: found[0]):
            self._add(entry, now_ms)

    def _timer_entry(self, instance: str, execution_id: int, timer_id: int, row: TimerRow) -> Entry:
        return Entry(
            instance=instance,
            lane=r.Lane.TIMER,
            place=timer_id,
            execution_id=execution_id,
            message=FireTimer(
                instance=instance,
                incarnation=row.incarnation,
                execution_id=execution_id,
                timer_id=timer_id,
                fire_at_ms=row.fire_at_ms,
            ),
            arrived_at_ms=row.fire_at_ms,
            visible_at_ms=row.fire_at_ms,
        )

    def _load_work(self) -> list[Waiting]:
        found: list[tuple[int, Waiting]] = []
        for key, data in self._store.scan(keys.table_prefix(Table.WORK)):
            row, (execution_id, activity_id) = unpack(WorkRow, data), keys.numbers_of(key)
            blob = row.data
            waiting = Waiting(
                key=(keys.instance_of(key), execution_id, activity_id),
                order=row.order,
                load=lambda blob=blob: codec.decode_work_item(blob),
                attempt=row.attempt,
            )
            found.append((row.order, waiting))
        return [waiting for _, waiting in sorted(found, key=lambda pair: pair[0])]

    # What is asked most

    @property
    def overlay(self) -> Overlay:
        """The state with everything admitted."""
        return self._overlay

    @property
    def open_batch(self) -> batches.Batch:
        """The batch that collects now."""
        return self._batch

    @property
    def is_full(self) -> bool:
        """Whether the open batch must be closed."""
        options = self._around.options
        return (
            len(self._batch.records) >= options.batch_records_max or self._batch.size_bytes >= options.batch_bytes_max
        )

    @property
    def has_room(self) -> bool:
        """Whether the input lanes may be read further."""
        return self._inbox.held_bytes < self._around.options.inbox_bytes_max

    @property
    def depths(self) -> tuple[int, int, int]:
        """Unlocked messages, unleased work items, timers."""
        return self._inbox.unlocked, self._work.unleased, self._inbox.timers

    def max_attempt_count(self, instance: str) -> int:
        """The largest number of fetches among the messages that wait for an instance."""
        return self._inbox.max_attempt_count(instance)

    def position(self, lane: r.Lane) -> LanePosition:
        """How far the lane is consumed, as admitted so far."""
        return self._positions[lane]

    def now_ms(self) -> int:
        """Partition time."""
        return self._time.now_ms()

    def next_due_ms(self) -> int | None:
        """In how many milliseconds something becomes visible or expires, or None."""
        due = [at for at in (self._inbox.next_due_ms(), self._work.next_due_ms()) if at is not None]
        return max(0, min(due) - self._time.now_ms()) if due else None

    def _standing(self, instance: str) -> Standing:
        row = instance_row(self._overlay, instance)
        if row is None:
            return Standing.ABSENT
        return Standing.HELD if row.status is Status.HELD else Standing.PRESENT

    # The orchestrator queue

    def take(self, lock_timeout_ms: int) -> OrchestrationItem | None:
        """Lock the instance with the oldest visible message."""
        while True:
            token = f"{self._place.partition}.{self._around.chance.token()}"
            now_ms = self._time.now_ms()
            taken = self._inbox.take(token, now_ms, lock_timeout_ms)
            if taken is None:
                return None
            if isinstance(taken, tuple):
                self._settle(taken, Disposition.ORPHAN)
                continue
            return self._item(token, taken.instance, taken.entries, now_ms)

    def _item(self, token: str, instance: str, entries: Sequence[Entry], now_ms: int) -> OrchestrationItem:
        row = instance_row(self._overlay, instance)
        messages = tuple(entry.message for entry in entries if entry.message is not None)
        name, version = (row.name, row.version) if row is not None else ("", "")
        if not name:
            start = next((m for m in messages if isinstance(m, StartOrchestration | ContinueInstance)), None)
            name, version = (start.name, start.version or "") if start is not None else ("", "")
        execution_id = row.execution_id if row is not None else 1
        return OrchestrationItem(
            instance=instance,
            orchestration_name=name,
            version=version or UNKNOWN_VERSION,
            execution_id=execution_id,
            incarnation=row.incarnation if row is not None else None,
            history=StoredHistory(self._overlay, instance, execution_id, row.last_event_id if row is not None else 0),
            messages=messages,
            lock_token=token,
            attempt_count=max(entry.attempt for entry in entries),
            lineage=int.from_bytes(self._token[:7]),
            now_ms=now_ms,
            status=row.status if row is not None else None,
        )

    def ack(self, token: str, result: TurnResult) -> Awaitable[None]:
        """Admit a turn."""
        now_ms = self._time.now_ms()
        lock = self._inbox.lock(token, now_ms)
        if lock is None:
            raise LeaseLost("ack_orchestration_item", f"expected a live lock, but invalid lock token {token}")
        instance = lock.instance
        row = instance_row(self._overlay, instance)
        self._refuse_known_events(instance, result)
        planned = plan_turn(instance, result, lock.entries, row, self._envelope(now_ms), self._place, self._limits)
        for entry in lock.entries:
            self._consumed(entry)
        last = planned.records[-1]
        self._set_timers(instance, last, now_ms)
        own = iter(planned.own_messages)  # of all parts, in order: each record takes those whose rows it makes
        for record in planned.records:
            self._admit(record, instance, own)
        self._batch.outgoing.extend(planned.outgoing)
        self._batch.effects.append(lambda: self._release_work(planned.work_items, last.cancelled))
        self._inbox.unlock(token)
        return self._durable()

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        previous = 0
        for event in result.history_delta:
            key = keys.in_execution(Table.HISTORY, instance, result.execution_id, event.event_id)
            if event.event_id <= previous or self._overlay.get(key) is not None:
                raise Refused(
                    "ack_orchestration_item",
                    f"expected new event ids in ascending order, but {instance} has event {event.event_id} already",
                )
            previous = event.event_id

    def _set_timers(self, instance: str, record: r.TurnCommitted, now_ms: int) -> None:
        cancelled = {(timer.execution_id, timer.timer_id) for timer in record.timers_cancelled}
        for timer in record.timers:
            if (timer.execution_id, timer.timer_id) not in cancelled:
                row = TimerRow(fire_at_ms=timer.fire_at_ms, order=0, incarnation=record.incarnation)
                self._add(self._timer_entry(instance, timer.execution_id, timer.timer_id, row), now_ms)
        for execution_id, timer_id in cancelled:
            self._inbox.remove((instance, r.Lane.TIMER, timer_id, execution_id))

    def _release_work(self, items: Sequence[WorkItem], cancelled: Sequence[r.ActivityKey]) -> None:
        """After the commit: hand out what was scheduled, tell the workers of what was taken back."""
        for item in items:
            key = keys.in_execution(Table.WORK, item.instance, item.execution_id, item.activity_id)
            data = self._store.get(key)
            if data is not None:
                row = unpack(WorkRow, data)
                self._work.add(
                    Waiting(
                        key=(item.instance, item.execution_id, item.activity_id),
                        order=row.order,
                        load=lambda item=item: item,
                    )
                )
        for activity in cancelled:
            self._work.remove((activity.instance, activity.execution_id, activity.activity_id))

    def abandon(self, token: str, delay_ms: int, *, ignore_attempt: bool) -> None:
        """Give a lock back."""
        now_ms = self._time.now_ms()
        if not self._inbox.abandon(token, now_ms + delay_ms, now_ms, ignore_attempt=ignore_attempt):
            raise LeaseLost("abandon_orchestration_item", f"expected a lock, but invalid lock token {token}")

    def renew(self, token: str, extend_for_ms: int) -> None:
        """Extend a lock."""
        if not self._inbox.renew(token, self._time.now_ms(), extend_for_ms):
            raise LeaseLost("renew_orchestration_item_lock", f"expected a live lock, but invalid lock token {token}")

    def hold(self, token: str, failure: Failure) -> Awaitable[None]:
        """Set an instance aside."""
        now_ms = self._time.now_ms()
        lock = self._inbox.lock(token, now_ms)
        if lock is None:
            raise LeaseLost("hold_orchestration_item", f"expected a live lock, but invalid lock token {token}")
        item = self._item(token, lock.instance, lock.entries, now_ms)
        self._admit(
            r.InstanceHeld(
                envelope=self._envelope(now_ms),
                instance=lock.instance,
                execution_id=item.execution_id,
                orchestration_name=item.orchestration_name,
                orchestration_version=item.version,
                failure=failure,
            ),
            lock.instance,
        )
        self._inbox.unlock(token)
        return self._durable()

    def resume(self, instance: str) -> Awaitable[None]:
        """Let a held instance go on."""
        row = instance_row(self._overlay, instance)
        if row is None or row.status is not Status.HELD:
            is_what = "does not exist" if row is None else f"is {row.status.value}"
            raise Refused("resume_instance", f"expected {instance} to be held, but it {is_what}")
        self._admit(r.InstanceResumed(envelope=self._envelope(self._time.now_ms()), instance=instance), instance)
        self._inbox.wake(instance)
        return self._durable()

    # The worker queue

    def take_work(self, lock_timeout_ms: int) -> FetchedWorkItem | None:
        """Lease the oldest visible work item."""
        token = f"{self._place.partition}.{self._around.chance.token()}"
        nonce = bytes.fromhex(token.partition(".")[2])[:8]
        leased = self._work.take(token, nonce, self._time.now_ms(), lock_timeout_ms, self._around.node)
        if leased is None:
            return None
        return FetchedWorkItem(
            item=leased.item, lock_token=token, attempt_count=leased.lease.attempt, revoked=leased.lease.revoked
        )

    def ack_work(self, token: str, completion: AnyMessage | None) -> Awaitable[None]:
        """Admit an activity's answer."""
        now_ms = self._time.now_ms()
        lease = self._work.lease(token, now_ms)
        if lease is None or self._overlay.get(keys.in_execution(Table.WORK, *lease.key)) is None:
            raise LeaseLost("ack_work_item", f"expected a live lease, but invalid lock token {token}")
        instance, execution_id, activity_id = lease.key
        sent, outgoing = (None, None) if completion is None else send(completion, self._place)
        if sent is not None and len(sent.data) > self._limits.record_bytes_max // 2:
            raise TurnTooLarge(instance, len(sent.data), self._limits.record_bytes_max // 2)
        self._work.settle(token)
        self._admit(
            r.WorkItemAcked(
                envelope=self._envelope(now_ms),
                instance=instance,
                execution_id=execution_id,
                activity_id=activity_id,
                attempt=lease.attempt,
                worker=self._around.node,
                sent=sent,
            ),
            instance,
            iter(() if completion is None else (completion,)),
        )
        if outgoing is not None:
            self._batch.outgoing.append(outgoing)
        return self._durable()

    def renew_work(self, token: str, extend_for_ms: int) -> None:
        """Extend a lease."""
        now_ms = self._time.now_ms()
        lease = self._work.lease(token, now_ms)
        gone = lease is None or self._overlay.get(keys.in_execution(Table.WORK, *lease.key)) is None
        if gone or not self._work.renew(token, now_ms, extend_for_ms, self._around.node):
            raise LeaseLost("renew_work_item_lock", f"expected a live lease, but invalid lock token {token}")

    def abandon_work(self, token: str, delay_ms: int, *, ignore_attempt: bool) -> None:
        """Give a lease back."""
        visible_at_ms = self._time.now_ms() + delay_ms if delay_ms > 0 else 0
        if not self._work.abandon(token, visible_at_ms, ignore_attempt=ignore_attempt):
            raise LeaseLost("abandon_work_item", f"expected a lease, but invalid lock token {token}")
        self._around.wakeup.signal()

    def leases(self) -> list[r.Delivery]:
        """Every lease that is out."""
        return self._work.leases(self._around.node)

    # The input lanes (see `provider_log.partition.lanes`, which decides what a record of a lane is)

    def is_seen(self, instance: str, message_id: str) -> bool:
        """Whether a message with this id waits or was consumed."""
        return (instance, message_id) in self._ids or self._overlay.get(keys.seen(instance, message_id)) is not None

    def take_in(self, entry: Entry) -> None:
        """A message of a topic lane waits from now on."""
        self._in_lane[entry.lane][entry.place] = entry
        self._add(entry, self._time.now_ms())

    def settle_input(
        self, lane: r.Lane, offset: int, instance: str, disposition: Disposition, outgoing: LogRecord | None
    ) -> None:
        """A record of a topic lane is done with, without a turn."""
        self._positions[lane].consume(offset)
        self._admit(
            r.InputsSettled(
                envelope=self._envelope(self._time.now_ms()),
                instance=instance,
                consumed=(r.Consumed(lane=lane, place=offset, disposition=disposition),),
            ),
            instance,
        )
        if outgoing is not None:
            self._batch.outgoing.append(outgoing)

    def enqueue_work(self, item: WorkItem, data: bytes, offset: int, after: Callable[[], None]) -> None:
        """A work item from outside becomes a row; `after` is called when that is committed."""
        self._positions[r.Lane.WORKER].consume(offset)
        scheduled = r.Scheduled(
            instance=item.instance,
            execution_id=item.execution_id,
            activity_id=item.activity_id,
            data=data,
            session_id=item.session_id,
            tag=item.tag,
        )
        self._admit(
            r.WorkItemEnqueued(
                envelope=self._envelope(self._time.now_ms()),
                instance=item.instance,
                scheduled=scheduled,
                consumed=r.Consumed(lane=r.Lane.WORKER, place=offset, disposition=Disposition.APPLIED),
            ),
            item.instance,
        )
        self._batch.effects.append(lambda: self._release_work((item,), ()))
        self._batch.effects.append(after)

    def park_overdue(self) -> None:
        """Move inputs that nobody consumed for long into the changelog, so that their lane's position can move on."""
        options, now_ms = self._around.options, self._time.now_ms()
        for lane in (r.Lane.ORCHESTRATOR, r.Lane.MESSAGES):
            position = self._positions[lane]
            while (offset := position.oldest) is not None:
                entry = self._in_lane[lane][offset]
                is_overdue = now_ms - entry.arrived_at_ms >= options.input_age_max_ms
                if not (is_overdue or position.waiting > options.input_window_max):
                    break
                if self._inbox.is_locked(entry.instance):
                    break  # a turn is under way that will consume it by its place in the lane
                self._park(entry)

    def _park(self, entry: Entry) -> None:
        self._inbox.remove(entry.key)
        self._forget_lane(entry)
        message = entry.message
        record = r.Parked(
            envelope=self._envelope(self._time.now_ms()),
            consumed=consumed_of(entry, Disposition.PARKED),
            instance=entry.instance,
            data=codec.encode_message(message) if message is not None else entry.raw,
            visible_at_ms=entry.visible_at_ms,
        )
        self._admit(record, entry.instance, iter((message,)), parked=entry)

    # Admission

    def _envelope(self, now_ms: int) -> r.Envelope:
        return unsealed(self._token, self._batch.number, now_ms, self._around.node, applying.VERSION)

    def admit_for_partition(self, record: r.SchemasAdded | r.OwnershipReleased) -> Awaitable[None]:
        """Admit a record of the partition itself."""
        self._admit(record, None)
        return self._durable()

    def envelope_now(self) -> r.Envelope:
        """An unsealed envelope for `admit_for_partition`."""
        return self._envelope(self._time.now_ms())

    def _admit(
        self,
        record: r.EnvelopedRecord,
        instance: str | None,
        own_messages: Iterator[AnyMessage | None] = iter(()),
        parked: Entry | None = None,
    ) -> None:
        """Apply a record to the overlay and put it in the open batch; new inbox rows become entries at once."""
        rows = applying.Rows(self._overlay, self._place.partition)
        applying.apply_body(rows, record)
        self._overlay.put(rows.changed, self._batch.number)
        self._batch.add(record, rows.changed)
        if instance is not None:
            self._batch.touched.add(instance)
        now_ms = record.envelope.time_ms
        for key, data in rows.changed.items():
            if key[0] == _INBOX_BYTE and data is not None:
                self._add(self._inbox_entry(key, data, next(own_messages), parked), now_ms)
        self._want()

    def _inbox_entry(self, key: bytes, data: bytes, message: AnyMessage | None, parked: Entry | None) -> Entry:
        row = unpack(InboxRow, data)
        return Entry(
            instance=keys.instance_of(key),
            lane=r.Lane.INBOX,
            place=keys.numbers_of(key)[0],
            message=message,
            raw=row.data,
            arrived_at_ms=row.arrived_at_ms,
            visible_at_ms=row.visible_at_ms,
            message_id=row.message_id,
            attempt=0 if parked is None else parked.attempt,
            order=0 if parked is None else parked.order,
        )

    def _add(self, entry: Entry, now_ms: int) -> None:
        if entry.message_id is not None:
            self._ids.add((entry.instance, entry.message_id))
        self._inbox.add(entry, now_ms)
        self._around.wakeup.signal()

    def _consumed(self, entry: Entry) -> None:
        """A turn is done with a message."""
        self._inbox.remove(entry.key)
        self._forget_lane(entry)

    def _forget_lane(self, entry: Entry) -> None:
        if entry.message_id is not None:
            self._ids.discard((entry.instance, entry.message_id))
        if entry.lane in self._in_lane:
            self._positions[entry.lane].consume(entry.place)
            del self._in_lane[entry.lane][entry.place]

    def _settle(self, entries: Sequence[Entry], disposition: Disposition) -> None:
        """Messages that no turn will consume."""
        for entry in entries:
            self._consumed(entry)
        self._admit(
            r.InputsSettled(
                envelope=self._envelope(self._time.now_ms()),
                instance=entries[0].instance,
                consumed=tuple(consumed_of(entry, disposition) for entry in entries),
            ),
            entries[0].instance,
        )

    def _durable(self) -> Awaitable[None]:
        # Shielded: the future belongs to everybody in the batch, and one impatient caller must not cancel it.
        return asyncio.shield(self._batch.durable)

    # Commit

    def _open_batch(self, number: int) -> batches.Batch:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A batch nobody waits for may fail too; its error is reported by the partition, not by the collector.
        durable.add_done_callback(lambda done: done.cancelled() or done.exception())
        return batches.Batch(number=number, durable=durable)

    def seal(self) -> batches.Sealed:
        """Close the open batch and start the next one."""
        batch = self._batch
        positions = [moved for lane in TOPIC_LANES if (moved := self._positions[lane].moved()) is not None]
        deliveries = self._work.drain_deliveries()
        envelope = msgspec.structs.replace(
            batch.records[-1].envelope, positions=tuple(positions), deliveries=tuple(deliveries)
        )
        rows = applying.Rows(self._overlay, self._place.partition)
        applying.apply_envelope(rows, envelope)
        self._overlay.put(rows.changed, batch.number)
        batch.mutations.update(rows.changed)
        sealed = batches.seal(
            batch, self._head, self._place.topics.history, self._place.partition, positions, deliveries
        )
        self._head = sealed.head
        self._in_flight.append(batch)
        self._batch = self._open_batch(batch.number + 1)
        return sealed

    def committed(self, sealed: batches.Sealed, offsets: Sequence[int]) -> None:
        """The batch is in the log: the store first, then everything that waited for it."""
        batch = self._in_flight.popleft()
        assert batch is sealed.batch, "batches are committed in order"
        self._store.write(batch.mutations | put_head(sealed.head_at(offsets)))
        self._overlay.commit(batch.mutations, batch.number)
        for effect in batch.effects:
            effect()
        batch.durable.set_result(None)
        for instance in batch.touched:
            self._watchers.touched(instance)
        self._around.wakeup.signal()

    def drop(self, error: Exception) -> None:
        """Tell everybody who waits for a batch that it did not happen, as far as this owner knows."""
        for batch in (*self._in_flight, self._batch):
            if not batch.durable.done():
                batch.durable.set_exception(error)


def _readable(data: bytes) -> AnyMessage | None:
    """The message, or None if only a newer version can read it: it waits for one."""
    try:
        return codec.decode_message(data)
    except codec.UnknownSchema:
        return None
