"""What waits in a partition, as its records say: inbox, timers, work items, lanes. Each comes once and goes once.

Deliberately not `store.apply`: this model keeps no rows, only what may still be taken. It counts places the way the
record format says (protocol, 4): what an owner sends to its own partition is numbered in the order of the records.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from msgspec import Struct

from engine.model.ids import is_in_tree
from provider_log import records as r
from provider_log.audit.findings import Kind
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import ORDER, InboxRow, TimerRow, WorkRow, unpack, unpack_number

Found = Callable[[Kind, str, str], None]
"""Reports a kind, a key and a sentence."""

K = TypeVar("K")
V = TypeVar("V")

INSTANCE_TABLES = frozenset(
    keys.table_prefix(table) for table in Table if table not in (Table.META, Table.POSITION, Table.SCHEMA)
)
TOPIC_LANES = (r.Lane.ORCHESTRATOR, r.Lane.MESSAGES, r.Lane.WORKER)
WorkKey = tuple[str, int, int]


class Timer(Struct, frozen=True):
    """A timer that may fire."""

    fire_at_ms: int


class LaneState(Struct):
    """How far a lane is consumed: below `watermark`, `above`, and `fresh` since the position was last written."""

    watermark: int = 0
    above: frozenset[int] = frozenset()
    fresh: set[int] = set()

    def has(self, offset: int) -> bool:
        """Whether the offset is consumed."""
        return offset < self.watermark or offset in self.above or offset in self.fresh


class Queues:
    """What waits in one partition.

    Args:
        found: Where broken rules are reported.
        partition: Whose queues these are.
    """

    def __init__(self, found: Found, partition: int) -> None:
        self._found = found
        self._partition = partition
        self._order = 0
        self.inbox: dict[tuple[str, int], bytes] = {}
        self.timers: dict[WorkKey, Timer] = {}
        self.work: dict[WorkKey, bytes] = {}
        self.lanes: dict[r.Lane, LaneState] = {lane: LaneState() for lane in TOPIC_LANES}

    # Arrivals, in the order the format numbers them.

    def _number(self) -> int:
        self._order += 1
        return self._order

    def schedule(self, work: r.Scheduled, *, from_outside: bool = False) -> None:
        """A work item waits, unless another partition has it.

        One from outside may be sent twice: the second takes the first one's place.
        """
        if work.partition is not None:
            return
        key = (work.instance, work.execution_id, work.activity_id)
        self._number()
        if key in self.work and not from_outside:
            self._found(
                Kind.WORK, work.instance, f"expected {_work(key)} to be scheduled once, but this is the second time"
            )
        self.work[key] = work.data

    def set_timer(self, instance: str, timer: r.TimerSet) -> None:
        """A timer waits."""
        key = (instance, timer.execution_id, timer.timer_id)
        self._number()
        if key in self.timers:
            self._found(Kind.TIMER, instance, f"expected {_timer(key)} to be set once, but this is the second time")
        self.timers[key] = Timer(timer.fire_at_ms)

    def receive(self, sent: r.Sent) -> None:
        """A message leaves; one to this partition waits in its inbox."""
        if sent.partition == self._partition:
            self.inbox[sent.instance, self._number()] = sent.data

    def park(self, record: r.Parked) -> None:
        """An input moves from its lane into the inbox."""
        self.consume(record.instance, record.consumed)
        self.inbox[record.instance, self._number()] = record.data

    # Departures.

    def cancel_work(self, activity: r.ActivityKey) -> None:
        """A work item is taken back, here or in another partition; it may have been answered already."""
        if activity.partition is not None:
            return
        self.work.pop((activity.instance, activity.execution_id, activity.activity_id), None)

    def cancel_timer(self, instance: str, timer: r.TimerKey) -> None:
        """A timer is taken back; it may have fired already."""
        self.timers.pop((instance, timer.execution_id, timer.timer_id), None)

    def ack(self, record: r.WorkItemAcked) -> bytes | None:
        """A work item is answered; its data, None if there was none to answer."""
        key = (record.instance, record.execution_id, record.activity_id)
        data = self.work.pop(key, None)
        if data is None:
            self._found(
                Kind.WORK,
                record.instance,
                f"expected {_work(key)} to wait for an answer, but it never came, or is answered or taken back",
            )
        return data

    def beat(self, record: r.WorkItemHeartbeat) -> None:
        """Whoever has a work item says how far it is: it must wait for an answer."""
        key = (record.instance, record.execution_id, record.activity_id)
        if key not in self.work:
            self._found(
                Kind.WORK,
                record.instance,
                f"expected {_work(key)} to wait for an answer when it gave a heartbeat, but it does not",
            )

    def consume(self, instance: str, consumed: r.Consumed) -> bytes | None:
        """A message is done with.

        Returns:
            Its bytes, if it waited in the inbox.
        """
        if consumed.lane is r.Lane.INBOX:
            data = self.inbox.pop((instance, consumed.place), None)
            if data is None:
                self._found(
                    Kind.INBOX,
                    instance,
                    f"expected message {consumed.place} to wait in the inbox, but it never came, or is consumed",
                )
            return data
        if consumed.lane in self.lanes:
            lane = self.lanes[consumed.lane]
            if lane.has(consumed.place):
                self._found(
                    Kind.POSITION,
                    instance,
                    f"expected offset {consumed.place} of lane {consumed.lane.value} to be consumed once, "
                    "but this is the second time",
                )
            lane.fresh.add(consumed.place)
        return None

    def fire(self, instance: str, consumed: r.Consumed, taken_back: frozenset[tuple[int, int]]) -> Timer | None:
        """A timer's message is done with; `taken_back` are timers that the same record cancels."""
        key = (instance, consumed.execution_id, consumed.place)
        timer = self.timers.pop(key, None)
        if timer is None and (consumed.execution_id, consumed.place) not in taken_back:
            self._found(
                Kind.TIMER,
                instance,
                f"expected {_timer(key)} to be set, but it never was, or has fired or was taken back",
            )
        return timer

    # What an envelope adds.

    def close_batch(self, envelope: r.Envelope) -> None:
        """The last record of a batch: positions must say what was consumed, deliveries name what waits."""
        moved: Mapping[r.Lane, r.Position] = {position.lane: position for position in envelope.positions}
        for name, lane in self.lanes.items():
            position = moved.get(name)
            if position is not None:
                self._move(name, lane, position)
            missing = [offset for offset in lane.fresh if not (offset < lane.watermark or offset in lane.above)]
            if missing:
                self._found(
                    Kind.POSITION,
                    "",
                    f"expected the position of lane {name.value} to cover consumed offset {min(missing)}, "
                    f"but it is {lane.watermark}",
                )
            lane.fresh.clear()
        for delivery in envelope.deliveries:
            key = (delivery.instance, delivery.execution_id, delivery.activity_id)
            if key not in self.work:
                self._found(
                    Kind.WORK, delivery.instance, f"expected {_work(key)} to wait when it was delivered, but it did not"
                )

    def _move(self, name: r.Lane, lane: LaneState, position: r.Position) -> None:
        above = frozenset(position.above)
        lost = [offset for offset in lane.above if offset >= position.watermark and offset not in above]
        if position.watermark < lane.watermark or lost:
            self._found(
                Kind.POSITION,
                "",
                f"expected the position of lane {name.value} to keep {min(lost) if lost else lane.watermark}, "
                f"but it goes back to {position.watermark}",
            )
        lane.watermark, lane.above = position.watermark, above

    def forget_fresh(self) -> None:
        """A batch was torn: nobody wrote down what it consumed."""
        for lane in self.lanes.values():
            lane.fresh.clear()

    def rows(self) -> set[bytes]:
        """Keys of the rows that a store must have for what waits."""
        return {
            *(keys.numbered(Table.INBOX, *key) for key in self.inbox),
            *(keys.in_execution(Table.TIMER, *key) for key in self.timers),
            *(keys.in_execution(Table.WORK, *key) for key in self.work),
        }

    # Removal and repair.

    def delete_tree(self, root: str) -> None:
        """Everything queued for a deleted instance and its automatic children is gone."""
        self.inbox = {key: data for key, data in self.inbox.items() if not is_in_tree(key[0], root)}
        self.timers = {key: timer for key, timer in self.timers.items() if not is_in_tree(key[0], root)}
        self.work = {key: data for key, data in self.work.items() if not is_in_tree(key[0], root)}

    def repair(self, row: r.RowRepaired) -> str | None:
        """An operator set a row of the store, and what waits is what he says. The instance it is of, if any."""
        if row.key == keys.named(Table.META, ORDER):
            self._order = unpack_number(row.value)
        if row.key[:1] not in INSTANCE_TABLES or keys.TERMINATOR not in row.key[1:]:
            return None
        instance = keys.instance_of(row.key)
        read = self.repaired_as.get(row.key[:1])
        if read is not None:
            read(self, (instance, *keys.numbers_of(row.key)), row.value)
        return instance

    def _repair_inbox(self, key: tuple[str, int], value: bytes | None) -> None:
        _put(self.inbox, key, None if value is None else unpack(InboxRow, value).data)

    def _repair_timer(self, key: WorkKey, value: bytes | None) -> None:
        _put(self.timers, key, None if value is None else Timer(unpack(TimerRow, value).fire_at_ms))

    def _repair_work(self, key: WorkKey, value: bytes | None) -> None:
        _put(self.work, key, None if value is None else unpack(WorkRow, value).data)

    repaired_as: ClassVar[dict[bytes, Callable[["Queues", Any, bytes | None], None]]] = {
        keys.table_prefix(Table.INBOX): _repair_inbox,
        keys.table_prefix(Table.TIMER): _repair_timer,
        keys.table_prefix(Table.WORK): _repair_work,
    }


def _put(rows: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value


def _work(key: WorkKey) -> str:
    return f"activity {key[2]} of execution {key[1]}"


def _timer(key: WorkKey) -> str:
    return f"timer {key[2]} of execution {key[1]}"
