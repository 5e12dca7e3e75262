"""How does an instance get its turn? The orchestrator queue of one owner: messages in, locks, admitted turns out."""

from collections.abc import Awaitable, Mapping, Sequence

from engine.errors import LeaseLost, Refused
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.ids import is_in_tree
from engine.model.messages import AnyMessage, Completion, ContinueInstance, FireTimer, StartOrchestration
from engine.model.status import PAUSED, Status
from engine.model.turn import Disposition, TurnResult
from engine.model.version import VersionRange
from engine.model.work import WorkItem
from engine.observe import known_marks, mark
from engine.port import OrchestrationItem
from provider_log import codec
from provider_log import records as r
from provider_log.answer_token import Issuer
from provider_log.log.port import LogRecord
from provider_log.partition.inbox import ABSENT, Entry, EntryKey, Inbox, Lock, Standing, as_many_as_fit
from provider_log.partition.ledger import Ledger, Surroundings
from provider_log.partition.look import StoredHistory, instance_row
from provider_log.partition.plan import RECORD_BYTES_MAX, Limits, consumed_of, input_record, orphan_record, plan_turn
from provider_log.partition.positions import LanePosition
from provider_log.partition.suspicion import Suspicion
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import InboxRow, InstanceRow, PositionRow, TimerRow, unpack

TOPIC_LANES = (r.Lane.ORCHESTRATOR, r.Lane.MESSAGES, r.Lane.WORKER)
UNKNOWN_VERSION = "unknown"
_LETTERS_BYTES_MAX = 4 * 1024 * 1024  # what one look at the queue may add to a transaction
_INBOX_BYTE = keys.table_prefix(Table.INBOX)[0]

known_marks("lane.orphan", "lane.parked")


class OrchestratorQueue:
    """Messages of one partition, by instance.

    Args:
        around: What the partition shares.
        ledger: Where turns are admitted.
        suspicion: Which turns the log may not take.
        issuer: Of tokens for work items that others serve.
    """

    def __init__(self, around: Surroundings, ledger: Ledger, suspicion: Suspicion, issuer: Issuer) -> None:
        self._around = around
        self._ledger = ledger
        self._suspicion = suspicion
        self._issuer = issuer
        self._inbox = Inbox(self._standing, around.options.orphan_grace_ms)
        self._ids: set[tuple[str, str]] = set()  # message ids of what waits; those of what is consumed are rows
        self._unread: dict[EntryKey, Entry] = {}  # framed for a registry that has not told their schema yet
        self._in_lane: dict[r.Lane, dict[int, Entry]] = {lane: {} for lane in TOPIC_LANES}
        self._positions = {lane: self._stored_position(lane) for lane in TOPIC_LANES}
        options = around.options
        self._limits = Limits(
            turn_bytes_max=options.turn_bytes_max,
            part_bytes_max=min(options.batch_bytes_max, RECORD_BYTES_MAX) // 2,
            record_bytes_max=RECORD_BYTES_MAX,
        )
        now_ms = ledger.now_ms()
        for entry in self._stored_entries():
            self._add(entry, now_ms)

    def _stored_position(self, lane: r.Lane) -> LanePosition:
        data = self._ledger.store.get(keys.named(Table.POSITION, lane.value))
        row = PositionRow(0) if data is None else unpack(PositionRow, data)
        return LanePosition(lane, row.watermark, row.above)

    def _stored_entries(self) -> list[Entry]:
        """The rows of both message tables, in the order they were made."""
        found: list[tuple[int, Entry]] = []
        store = self._ledger.store
        for key, data in store.scan(keys.table_prefix(Table.INBOX)):
            row = unpack(InboxRow, data)
            found.append((keys.numbers_of(key)[0], _inbox_entry(key, row, _readable(row.data))))
        for key, data in store.scan(keys.table_prefix(Table.TIMER)):
            row, (execution_id, timer_id) = unpack(TimerRow, data), keys.numbers_of(key)
            timer = r.TimerSet(execution_id, timer_id, row.fire_at_ms)
            found.append((row.order, _timer_entry(keys.instance_of(key), row.incarnation, timer)))
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]

    def _standing(self, instance: str) -> Standing:
        row = instance_row(self._ledger.overlay, instance)
        return ABSENT if row is None else Standing(is_paused=row.status in PAUSED, pin=row.pinned_version)

    # Turns

    def take(self, lock_timeout_ms: int, pins: VersionRange | None = None) -> OrchestrationItem | None:
        """Lock the instance with the oldest visible message, of those whose pin is one of `pins`."""
        letters_bytes = 0
        while letters_bytes < _LETTERS_BYTES_MAX:
            token, now_ms = self._ledger.lock_token(), self._ledger.now_ms()
            if self._is_batch_full(now_ms):
                return None
            taken = self._inbox.take(token, now_ms, lock_timeout_ms, pins)
            if taken is None:
                return None
            if isinstance(taken, Lock):
                return self._item(token, taken, now_ms)
            letters_bytes += self._give_up(taken)
        return None  # the commit of so much wakes who polls

    def _give_up(self, orphans: Sequence[Entry]) -> int:
        """Settle messages whose instance does not exist, as many as go in one transaction.

        Returns:
            How large the letters are that tell of them. Answers need none: they are of a life that was deleted.
        """
        answers = [entry for entry in orphans if isinstance(entry.message, Completion)]
        if answers:
            self._settle(answers, Disposition.OTHER_INCARNATION)
        told: list[Entry] = []
        letters_bytes = 0
        for entry in orphans:
            if isinstance(entry.message, Completion) or letters_bytes >= _LETTERS_BYTES_MAX:
                continue
            letter = orphan_record(entry, self._ledger.place, self._ledger.now_ms())
            self._ledger.send(letter)
            letters_bytes += letter.size_bytes
            told.append(entry)
        if told:
            mark("lane.orphan")
            self._settle(told, Disposition.ORPHAN)
        return letters_bytes

    def _is_batch_full(self, now_ms: int) -> bool:
        """Whether another turn would be one too many while some are suspected; the batch's commit wakes who polls."""
        turns_max = self._suspicion.turns_max
        return turns_max is not None and self._inbox.locked(now_ms) + len(self._ledger.open_batch.turns) >= turns_max

    def _item(self, token: str, lock: Lock, now_ms: int) -> OrchestrationItem:
        instance = lock.instance
        row = instance_row(self._ledger.overlay, instance)
        messages = tuple(entry.message for entry in lock.entries if entry.message is not None)
        name, version = (row.name, row.version) if row is not None else ("", "")
        if not name:
            start = next((m for m in messages if isinstance(m, StartOrchestration | ContinueInstance)), None)
            name, version = (start.name, start.version or "") if start is not None else ("", "")
        execution_id = row.execution_id if row is not None else 1
        last_event_id = row.last_event_id if row is not None else 0
        return OrchestrationItem(
            instance=instance,
            orchestration_name=name,
            version=version or UNKNOWN_VERSION,
            execution_id=execution_id,
            incarnation=row.incarnation if row is not None else None,
            history=StoredHistory(self._ledger.overlay, instance, execution_id, last_event_id),
            messages=messages,
            lock_token=token,
            attempt_count=max(entry.attempt for entry in lock.entries) + self._suspicion.attempts(instance),
            lineage=self._ledger.lineage,
            now_ms=now_ms,
            status=row.status if row is not None else None,
        )

    def _locked(self, operation: str, token: str) -> Lock:
        lock = self._inbox.lock(token, self._ledger.now_ms())
        if lock is None:
            raise LeaseLost(operation, f"expected a live lock, but invalid lock token {token}")
        return lock

    def admit_turn(self, token: str, result: TurnResult) -> tuple[Sequence[WorkItem], Sequence[r.ActivityKey]]:
        """Admit a turn and free its instance.

        Returns:
            The work items it schedules in this partition, and those that it takes back here: to be made true with the
            open batch.

        Raises:
            LeaseLost: The token is unknown or its lock has expired.
            Refused, TurnTooLarge: See the port; the lock stays.
        """
        lock = self._locked("ack_orchestration_item", token)
        instance, ledger = lock.instance, self._ledger
        row = instance_row(ledger.overlay, instance)
        self._refuse_known_events(instance, row, result)
        planned = plan_turn(
            instance, result, lock.entries, row, ledger.envelope(), ledger.place, self._limits, self._issuer
        )
        for entry in lock.entries:
            self._forget(entry)
        self._set_timers(instance, planned.records)
        messages = iter(planned.own_messages)
        for record in planned.records:
            rows = ledger.admit(record, about=instance)
            staying = sum(sent.partition == ledger.place.partition for sent in record.sent)
            self.receive(rows, [next(messages) for _ in range(staying)])
        ledger.open_batch.turns.append(instance)
        ledger.send(*planned.outgoing)
        self._inbox.unlock(token)
        cancelled = [key for record in planned.records for key in record.cancelled if key.partition is None]
        return planned.work_items, cancelled

    def _refuse_known_events(self, instance: str, row: InstanceRow | None, result: TurnResult) -> None:
        is_current = row is not None and row.execution_id == result.execution_id
        is_newer = row is None or row.execution_id < result.execution_id
        last = row.last_event_id if row is not None and is_current else 0
        previous = 0
        for event in result.history_delta:
            may_be_known = not is_newer and not (is_current and event.event_id > last)
            if event.event_id <= previous or (may_be_known and self._is_known(instance, result, event)):
                raise Refused(
                    "ack_orchestration_item",
                    f"expected new event ids in ascending order, but {instance} has event {event.event_id} already",
                )
            previous = event.event_id

    def _is_known(self, instance: str, result: TurnResult, event: AnyEvent) -> bool:
        key = keys.in_execution(Table.HISTORY, instance, result.execution_id, event.event_id)
        return self._ledger.overlay.get(key) is not None

    def _set_timers(self, instance: str, records: Sequence[r.TurnCommitted]) -> None:
        last = records[-1]
        cancelled = {(timer.execution_id, timer.timer_id) for timer in last.timers_cancelled}
        for timer in (timer for record in records for timer in record.timers):
            if (timer.execution_id, timer.timer_id) not in cancelled:
                self._add(_timer_entry(instance, last.incarnation, timer), last.envelope.time_ms)
        for execution_id, timer_id in cancelled:
            self._inbox.remove((instance, r.Lane.TIMER, timer_id, execution_id))

    def abandon(self, token: str, delay_ms: int, *, ignore_attempt: bool) -> None:
        """Give a lock back.

        Raises:
            LeaseLost: The token is unknown.
        """
        now_ms = self._ledger.now_ms()
        if not self._inbox.abandon(token, now_ms + delay_ms, now_ms, ignore_attempt=ignore_attempt):
            raise LeaseLost("abandon_orchestration_item", f"expected a lock, but invalid lock token {token}")
        self._around.wakeup.signal()

    def renew(self, token: str, extend_for_ms: int) -> None:
        """Extend a lock.

        Raises:
            LeaseLost: The token is unknown or its lock has expired.
        """
        if not self._inbox.renew(token, self._ledger.now_ms(), extend_for_ms):
            raise LeaseLost("renew_orchestration_item_lock", f"expected a live lock, but invalid lock token {token}")

    def hold(self, token: str, failure: Failure) -> Awaitable[None]:
        """Set an instance aside.

        Raises:
            LeaseLost: (at once) The token is unknown or its lock has expired.
        """
        item = self._item(token, self._locked("hold_orchestration_item", token), self._ledger.now_ms())
        held = r.InstanceHeld(
            envelope=self._ledger.envelope(),
            instance=item.instance,
            execution_id=item.execution_id,
            orchestration_name=item.orchestration_name,
            orchestration_version=item.version,
            failure=failure,
        )
        self._ledger.admit(held, about=item.instance)
        self._inbox.unlock(token)
        return self._ledger.durable()

    def suspend(self, instance: str, reason: str) -> Awaitable[None]:
        """Let an instance take no turn; whoever has its lock loses it.

        Raises:
            Refused: (at once) There is no such instance, it has ended, or it is held.
        """
        row = instance_row(self._ledger.overlay, instance)
        if row is None or row.status not in (Status.RUNNING, Status.SUSPENDED):
            is_what = "does not exist" if row is None else f"is {row.status.value}"
            raise Refused("suspend_instance", f"expected {instance} to be running, but it {is_what}")
        if row.status is Status.SUSPENDED:
            return self._ledger.durable_so_far()
        suspended = r.InstanceSuspended(envelope=self._ledger.envelope(), instance=instance, reason=reason)
        self._ledger.admit(suspended, about=instance)
        self._inbox.break_lock(instance)
        return self._ledger.durable()

    def resume(self, instance: str) -> Awaitable[None]:
        """Let a held or suspended instance go on.

        Raises:
            Refused: (at once) There is no such instance, or it is neither.
        """
        row = instance_row(self._ledger.overlay, instance)
        if row is None or row.status not in PAUSED:
            is_what = "does not exist" if row is None else f"is {row.status.value}"
            raise Refused("resume_instance", f"expected {instance} to be held or suspended, but it {is_what}")
        self._ledger.admit(r.InstanceResumed(envelope=self._ledger.envelope(), instance=instance), about=instance)
        self._inbox.wake(instance)
        self._around.wakeup.signal()
        return self._ledger.durable()

    # Messages

    def receive(self, rows: Mapping[bytes, bytes | None], messages: Sequence[AnyMessage | None]) -> None:
        """New rows of the inbox table wait from now on, committed or not; `messages` are theirs, in order."""
        arriving = iter(messages)
        for key, data in rows.items():
            if key[0] == _INBOX_BYTE and data is not None:
                entry = _inbox_entry(key, unpack(InboxRow, data), next(arriving))
                self._add(entry, entry.arrived_at_ms)

    def is_seen(self, instance: str, message_id: str) -> bool:
        """Whether a message with this id waits or was consumed."""
        waits = (instance, message_id) in self._ids
        return waits or self._ledger.overlay.get(keys.seen(instance, message_id)) is not None

    def take_in(self, entry: Entry) -> None:
        """A message of a topic lane waits from now on."""
        self._in_lane[entry.lane][entry.place] = entry
        self._add(entry, entry.arrived_at_ms)

    def _add(self, entry: Entry, now_ms: int) -> None:
        if entry.message is None and codec.is_framed(entry.raw):
            self._unread[entry.key] = entry
        if entry.message_id is not None:
            self._ids.add((entry.instance, entry.message_id))
        self._inbox.add(entry, now_ms)
        self._around.wakeup.signal()

    def _forget(self, entry: Entry) -> None:
        """A message is done with; its lane's position may move."""
        self._inbox.remove(entry.key)
        self._unread.pop(entry.key, None)
        if entry.message_id is not None:
            self._ids.discard((entry.instance, entry.message_id))
        if entry.lane in self._in_lane:
            self._positions[entry.lane].consume(entry.place)
            del self._in_lane[entry.lane][entry.place]

    def _settle(self, entries: Sequence[Entry], disposition: Disposition) -> None:
        for entry in entries:
            self._forget(entry)
        self._admit_settled(entries[0].instance, [consumed_of(entry, disposition) for entry in entries])

    def drop_tree(self, root: str) -> int:
        """Take out everything that waits for a tree that is being deleted, and its locks.

        What came by a topic is settled, so that its lane goes on; rows go with the record of the deletion.

        Returns:
            How many messages and timers there were.
        """
        entries = self._entries_of_tree(root)
        from_topics: dict[str, list[Entry]] = {}
        for entry in entries:
            if entry.lane in self._in_lane:
                from_topics.setdefault(entry.instance, []).append(entry)
            else:
                self._forget(entry)
        for waiting in from_topics.values():
            left = waiting
            while left:
                settled = as_many_as_fit(left)
                left = left[len(settled) :]
                self._settle(settled, Disposition.OTHER_INCARNATION)
        for instance in {entry.instance for entry in entries}:
            self._inbox.break_lock(instance)
        return len(entries)

    def _entries_of_tree(self, root: str) -> list[Entry]:
        overlay = self._ledger.overlay
        inbox_keys = [key for prefix in keys.tree_prefixes(Table.INBOX, root) for key, _ in overlay.scan(prefix)]
        timer_keys = [key for prefix in keys.tree_prefixes(Table.TIMER, root) for key, _ in overlay.scan(prefix)]
        names: list[EntryKey] = [
            (keys.instance_of(key), r.Lane.INBOX, keys.numbers_of(key)[0], 0) for key in inbox_keys
        ]
        for key in timer_keys:
            execution_id, timer_id = keys.numbers_of(key)
            names.append((keys.instance_of(key), r.Lane.TIMER, timer_id, execution_id))
        found = [self._inbox.entry(name) for name in names]
        in_lanes = [
            entry for lane in self._in_lane.values() for entry in lane.values() if is_in_tree(entry.instance, root)
        ]
        return [entry for entry in found if entry is not None] + in_lanes

    def settle_input(
        self, lane: r.Lane, offset: int, instance: str, disposition: Disposition, outgoing: LogRecord | None
    ) -> None:
        """A record of a topic lane is done with, without ever waiting; `outgoing` is what became of it."""
        self._positions[lane].consume(offset)
        self._admit_settled(instance, [r.Consumed(lane=lane, place=offset, disposition=disposition)])
        if outgoing is not None:
            self._ledger.send(outgoing)

    def _admit_settled(self, instance: str, consumed: Sequence[r.Consumed]) -> None:
        settled = r.InputsSettled(envelope=self._ledger.envelope(), instance=instance, consumed=tuple(consumed))
        self._ledger.admit(settled, about=None)

    def park_overdue(self) -> None:
        """Move inputs that nobody consumed for long into the changelog, so that their lane's position can move on."""
        options, now_ms = self._around.options, self._ledger.now_ms()
        for lane in (r.Lane.ORCHESTRATOR, r.Lane.MESSAGES):
            position = self._positions[lane]
            while (offset := position.oldest) is not None:
                entry = self._in_lane[lane][offset]
                is_overdue = now_ms - entry.arrived_at_ms >= options.input_age_max_ms
                # Only one that others overtake: before a backlog the lane waits, see `room`.
                if not (is_overdue or position.passed >= (options.input_window_max + 1) // 2):
                    break
                if self._inbox.is_locked(entry.instance):
                    break  # a turn is under way that will consume it by its place in the lane
                self._park(entry)

    def _park(self, entry: Entry) -> None:
        mark("lane.parked")
        self._forget(entry)
        parked = r.Parked(
            envelope=self._ledger.envelope(),
            consumed=consumed_of(entry, Disposition.PARKED),
            instance=entry.instance,
            data=entry.raw if entry.message is None else codec.encode_message(entry.message),
            visible_at_ms=entry.visible_at_ms,
        )
        for key, data in self._ledger.admit(parked, about=None).items():
            if key[0] == _INBOX_BYTE and data is not None:
                moved = _inbox_entry(key, unpack(InboxRow, data), entry.message)
                moved.attempt, moved.order = entry.attempt, entry.order
                self._add(moved, parked.envelope.time_ms)

    def unread(self) -> Mapping[int, Sequence[Entry]]:
        """What waits for a registry to tell a schema, by the schema's id."""
        waiting: dict[int, list[Entry]] = {}
        for entry in self._unread.values():
            waiting.setdefault(codec.id_of(entry.raw), []).append(entry)
        return waiting

    def send_again(self, entry: Entry) -> None:
        """Let what waited unread come in by its topic once more, to be looked at as if it came now."""
        self._forget(entry)
        self._admit_settled(entry.instance, [consumed_of(entry, Disposition.FORWARDED)])
        self._ledger.send(input_record(entry, self._ledger.place))

    # For the owner

    def tick(self) -> None:
        """Let messages become visible, timers due and locks expire."""
        self._inbox.tick(self._ledger.now_ms())

    @property
    def unlocked(self) -> int:
        """Messages that nobody was handed."""
        return self._inbox.unlocked

    @property
    def timers(self) -> int:
        """Timers that are not due."""
        return self._inbox.timers

    def room(self, lane: r.Lane) -> int:
        """How many records of a lane may be taken in now."""
        options, position = self._around.options, self._positions[lane]
        if self._inbox.held_bytes >= options.inbox_bytes_max:
            return 0
        return max(0, options.input_window_max - position.waiting - position.passed)

    def max_attempt_count(self, instance: str) -> int:
        """The largest number of fetches among the messages that wait for an instance."""
        return self._inbox.max_attempt_count(instance)

    def position(self, lane: r.Lane) -> LanePosition:
        """How far the lane is consumed, as admitted so far."""
        return self._positions[lane]

    def next_due_ms(self) -> int | None:
        """When a message becomes visible or a lock may expire."""
        return self._inbox.next_due_ms()

    def moved_positions(self) -> list[r.Position]:
        """Positions to write with the next batch."""
        return [moved for lane in TOPIC_LANES if (moved := self._positions[lane].moved()) is not None]


def _inbox_entry(key: bytes, row: InboxRow, message: AnyMessage | None) -> Entry:
    return Entry(
        instance=keys.instance_of(key),
        lane=r.Lane.INBOX,
        place=keys.numbers_of(key)[0],
        message=message,
        raw=row.data,
        arrived_at_ms=row.arrived_at_ms,
        visible_at_ms=row.visible_at_ms,
        message_id=row.message_id,
    )


def _timer_entry(instance: str, incarnation: int, timer: r.TimerSet) -> Entry:
    return Entry(
        instance=instance,
        lane=r.Lane.TIMER,
        place=timer.timer_id,
        execution_id=timer.execution_id,
        message=FireTimer(
            instance=instance,
            incarnation=incarnation,
            execution_id=timer.execution_id,
            timer_id=timer.timer_id,
            fire_at_ms=timer.fire_at_ms,
        ),
        arrived_at_ms=timer.fire_at_ms,
        visible_at_ms=timer.fire_at_ms,
    )


def _readable(data: bytes) -> AnyMessage | None:
    """The message, or None if only a newer version or who asks a registry can read it: it waits for them."""
    if codec.is_framed(data):
        return None
    try:
        return codec.decode_message(data)
    except codec.UnknownSchema:
        return None
