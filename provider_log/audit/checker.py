"""Can this history have happened? An independent reading of one history partition, record by record.

It shares with the software it checks the record types and their decoding, and nothing else: neither `store.apply` nor
`partition.head` nor the engine's rules of a history; import-linter holds it to that. What these say in code that
decides, it says again in code that only looks. See docs/decisions/0008-independent-checker.md.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from msgspec import Struct

from engine.model import events as on
from engine.model import messages as m
from engine.model.ids import automatic_parent, is_in_tree
from engine.model.status import TERMINAL, Status
from engine.model.turn import Disposition
from engine.model.work import WorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.audit.executions import Life
from provider_log.audit.findings import Findings, Kind, Place
from provider_log.audit.queues import Queues
from provider_log.audit.sequence import Sequence
from provider_log.audit.turns import Answer, Turn, answer_of, answer_of_timer
from provider_log.routing import partition_of, partition_of_work

T = TypeVar("T")


class Counts(Struct, frozen=True, kw_only=True):
    """How much a history holds: valid records, instances, executions, activities asked for; owners; void records."""

    records: int
    instances: int
    executions: int
    activities: int
    owners: int
    void: int


class Ended(Struct, frozen=True):
    """How an instance ended, and the offset of the record that says so."""

    offset: int
    outcome: r.Outcome


_OF_WORK = (r.WorkItemEnqueued, r.WorkItemAcked, r.WorkItemHeartbeat)
"""Records of a work item are where it waits, which may be another place than its instance's."""

_SENT_AWAY = frozenset({Disposition.FORWARDED, Disposition.DEAD_LETTERED})
"""What strangers sent to the wrong partition, or under any key at all: noted here, it lives elsewhere."""


class Checker:
    """Reads one history partition from its first record on.

    Args:
        topic, partition: What it reads, for findings.
        findings: Where they go.

    Attributes:
        gave_up: A record is of a schema that only a newer version knows. It and what follows was not judged.
        ended: How instances ended, by id.
        deleted: Instances that were deleted and not started again.
    """

    def __init__(self, topic: str, partition: int, findings: Findings) -> None:
        self._place = Place(findings, topic, partition)
        self._sequence = Sequence(self._place)
        self._queues = Queues(self._found_in_queues, partition)
        self._lives: dict[str, Life] = {}
        self._paused: dict[str, Status] = {}
        self._turn: Turn | None = None
        self._is_whole = True
        self._is_released = False
        self.gave_up = False
        self._records = self._instances = self._executions = self._activities = 0
        self.ended: dict[str, Ended] = {}
        self.deleted: set[str] = set()

    @property
    def is_whole(self) -> bool:
        """Whether every record could be read."""
        return self._is_whole

    @property
    def is_sound(self) -> bool:
        """Whether every record was there and no rule was broken."""
        return self._is_whole and self._place.total == 0

    @property
    def lives(self) -> Mapping[str, Life]:
        """Every instance that was not deleted."""
        return self._lives

    @property
    def paused(self) -> Mapping[str, Status]:
        """Instances that are held or suspended, and which of both."""
        return self._paused

    @property
    def waiting_rows(self) -> set[bytes]:
        """Keys of the rows that a store must have for what waits: inbox, timers, work items."""
        return self._queues.rows()

    @property
    def genesis(self) -> r.Genesis | None:
        """The first record of the partition, as soon as it has been read."""
        return self._sequence.genesis

    @property
    def owner_token(self) -> bytes | None:
        """Of the newest owner; None if it has left."""
        return None if self._is_released else self._sequence.token

    @property
    def watermarks(self) -> Mapping[r.Lane, int]:
        """How far each lane is consumed, according to the last position written."""
        return {name: lane.watermark for name, lane in self._queues.lanes.items()}

    @property
    def counts(self) -> Counts:
        """Of what was read so far."""
        return Counts(
            records=self._records,
            instances=self._instances,
            executions=self._executions,
            activities=self._activities,
            owners=self._sequence.owners,
            void=self._sequence.void,
        )

    def gap(self, offset: int) -> None:
        """The log cannot give the record at `offset`, which was reported.

        What waits is not judged from here on, and of each instance only the first thing that does not fit is said.
        """
        if self.gave_up:
            return
        self._is_whole = False
        self._sequence.gap(offset)
        self._lose_context()

    def feed(self, offset: int, data: bytes | None, key: bytes | None) -> None:
        """The next record, as the log gives it."""
        if self.gave_up:
            return
        self._place.offset = offset
        try:
            record = codec.decode_record(data or b"")
        except codec.UnknownSchema as error:
            self._place.found(Kind.NEWER, _text(key), f"{error}; what comes after is not judged")
            self.gave_up = True
            return
        except codec.Malformed as error:
            self._place.found(Kind.UNDECODABLE, _text(key), str(error))
            self._is_whole = False
            self._sequence.undecodable(offset, data or b"")
            self._lose_context()
            return
        if not self._sequence.follow(offset, record, data or b""):
            return
        self._records += 1
        self._check_key(record, key)
        if self._turn is not None and not isinstance(record, r.TurnCommitted):
            self._drop_turn(f"but {type(record).__name__} follows")
        read = self._read_as.get(type(record))
        if read is not None:
            read(self, record)
        if not isinstance(record, r.Genesis | r.OwnershipAcquired) and not self._sequence.in_batch:
            if self._turn is not None:
                self._drop_turn("but its batch ends")
            self._queues.close_batch(record.envelope)

    def finish(self) -> Counts:
        """The log ends here."""
        if self.gave_up:
            return self.counts
        if self._turn is not None:
            self._drop_turn("but the log ends")
        self._sequence.finish()
        return self.counts

    # What every rule needs.

    def _found_at(self, instance: str) -> Callable[[Kind, str], None]:
        def found(kind: Kind, sentence: str) -> None:
            life = self._lives.get(instance)
            if self._is_whole or life is None:
                self._place.found(kind, instance, sentence)
            elif not life.unjudged:
                self._place.found(kind, instance, f"{sentence}; a record before it is lost")
                life.unjudged = True  # the rest would follow from the first

        return found

    def _found_in_queues(self, kind: Kind, key: str, sentence: str) -> None:
        if self._is_whole:  # else messages are numbered otherwise than anybody can tell
            self._place.found(kind, key, sentence)

    def _decoded(self, decode: Callable[[bytes], T], data: bytes, instance: str, what: str) -> T | None:
        try:
            return decode(data)
        except (codec.Malformed, codec.UnknownSchema) as error:
            self._place.found(Kind.UNDECODABLE, instance, f"{what}: {error}")
            return None

    def _lose_context(self) -> None:
        self._turn = None
        self._queues.forget_fresh()

    def _drop_turn(self, instead: str) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        self._place.found(
            Kind.BATCH, turn.instance, f"expected part {turn.next_part} of a turn of {turn.parts} parts, {instead}"
        )

    def _check_key(self, record: r.AnyRecord, key: bytes | None) -> None:
        instance: str | None = getattr(record, "instance", None)
        expected = None if instance is None else instance.encode()
        if key != expected:
            self._place.found(
                Kind.KEY,
                instance or "",
                f"expected the record under key {_shown(expected)}, but it is under {_shown(key)}",
            )
        is_strangers = isinstance(record, r.InputsSettled) and all(
            one.disposition in _SENT_AWAY or one.lane is r.Lane.WORKER for one in record.consumed
        )
        if instance is not None and not is_strangers and not isinstance(record, _OF_WORK):
            self._check_home(instance, self._place.partition, "a record of")

    def _check_home(self, instance: str, partition: int, what: str) -> None:
        genesis = self._sequence.genesis
        if genesis is not None and (home := partition_of(instance, genesis.partitions)) != partition:
            self._place.found(
                Kind.KEY, instance, f"expected {what} {instance} in its partition {home}, but it is in {partition}"
            )

    def _check_home_of_work(self, item: WorkItem, partition: int) -> None:
        """A work item waits where its session is. One with a tag may be for others to serve: with its instance then."""
        genesis = self._sequence.genesis
        if genesis is None:
            return
        homes = {partition_of_work(item, genesis.partitions, ())}
        if item.tag is not None:
            homes.add(partition_of_work(item, genesis.partitions, (item.tag,)))
        if partition not in homes:
            self._place.found(
                Kind.KEY,
                item.instance,
                f"expected activity {item.activity_id} in partition {min(homes)}, where its session is, "
                f"but it is in {partition}",
            )

    # Records, kind by kind.

    def _acquired(self, _record: r.OwnershipAcquired) -> None:
        self._is_released = False
        self._lose_context()

    def _released(self, _record: r.OwnershipReleased) -> None:
        self._is_released = True

    def _turn_committed(self, record: r.TurnCommitted) -> None:
        found = self._found_at(record.instance)
        if (paused := self._paused.get(record.instance)) is not None:
            found(Kind.EXECUTION, f"expected no turn while the instance is {paused.value}, but here is one")
        life = self._life_of(record, found)
        turn = self._turn
        if turn is not None and not turn.fits(record):
            self._drop_turn(f"but part {record.part} of a turn of {record.instance} follows")
            turn = None
        if turn is None:
            turn = Turn(record, life)
            if record.part:
                found(Kind.BATCH, f"expected part 0 of a turn, but it begins with part {record.part}")
        turn.next_part = record.part + 1
        self._turn = turn
        self._read_events(record, turn, life)
        self._read_effects(record, turn)
        if record.part + 1 >= record.parts:
            self._turn = None
            self._finish_turn(record, turn, life)

    def _life_of(self, record: r.TurnCommitted, found: Callable[[Kind, str], None]) -> Life:
        life = self._lives.get(record.instance)
        if life is None:
            life = self._lives[record.instance] = Life(record.incarnation)
            self.deleted.discard(record.instance)
            self._instances += 1
        elif record.new_life:
            life.renew(record.incarnation, found)
            self.ended.pop(record.instance, None)
        elif life.incarnation != record.incarnation:
            found(
                Kind.EXECUTION,
                f"expected incarnation {life.incarnation} until the instance is deleted, but the record is of "
                f"{record.incarnation}",
            )
            life.incarnation = record.incarnation
        return life

    def _read_events(self, record: r.TurnCommitted, turn: Turn, life: Life) -> None:
        found = self._found_at(record.instance)
        if life.unjudged:
            return
        if record.execution_id != life.execution_id:
            life.begin(record.execution_id, found)
            self._executions += 1
        for blob in record.events:
            event = self._decoded(codec.decode_event, blob.data, record.instance, f"event {blob.event_id}")
            if event is None:
                continue
            if event.event_id != blob.event_id:
                found(Kind.EXECUTION, f"expected event {blob.event_id} in its place, but it is event {event.event_id}")
            life.add(event, record.envelope.time_ms, found)
            turn.add(event)
            self._activities += isinstance(event, on.ActivityScheduled)

    def _read_effects(self, record: r.TurnCommitted, turn: Turn) -> None:
        """What the record hands out and takes back, in the order in which the format numbers it."""
        found = self._found_at(record.instance)
        for scheduled in record.scheduled:
            item = self._decoded(codec.decode_work_item, scheduled.data, record.instance, "work item")
            if item is not None and self._is_whole:
                turn.hand_out(scheduled, item, found)
            if item is not None:
                here = self._place.partition
                self._check_home_of_work(item, here if scheduled.partition is None else scheduled.partition)
            self._queues.schedule(scheduled)
        for activity in record.cancelled:
            self._queues.cancel_work(activity)
        for timer in record.timers:
            self._queues.set_timer(record.instance, timer)
        for timer in record.timers_cancelled:
            self._queues.cancel_timer(record.instance, timer)
        turn.change_keys(record.key_values)
        for sent in record.sent:
            message = self._sent(sent, record.instance)
            if message is not None:
                turn.start_child(message)

    def _sent(self, sent: r.Sent, instance: str) -> m.AnyMessage | None:
        message = self._decoded(codec.decode_message, sent.data, instance, "message")
        if message is not None and message.instance != sent.instance:
            self._place.found(
                Kind.KEY, instance, f"expected a message for {sent.instance}, but it is for {message.instance}"
            )
        self._check_home(sent.instance, sent.partition, "a message for")
        self._queues.receive(sent)
        return message

    def _finish_turn(self, record: r.TurnCommitted, turn: Turn, life: Life) -> None:
        given: Counter[Answer] = Counter()
        from_lanes = 0
        taken_back = frozenset((timer.execution_id, timer.timer_id) for timer in record.timers_cancelled)
        for consumed in record.consumed:
            answer: Answer | None = None
            if consumed.lane is r.Lane.TIMER:
                timer = self._queues.fire(record.instance, consumed, taken_back)
                answer = answer_of_timer(consumed, timer)
            else:
                data = self._queues.consume(record.instance, consumed)
                if consumed.disposition is Disposition.APPLIED:
                    from_lanes += data is None
                    message = data and self._decoded(codec.decode_message, data, record.instance, "message")
                    answer = answer_of(message, record) if message else None
                    self._check_due(message, record)
            if answer is not None:
                given[answer] += 1
        if self._is_whole and not life.unjudged:
            turn.finish(record, given, from_lanes, self._queues, self._found_at(record.instance))
        if record.status in TERMINAL:
            self._end(record)

    def _check_due(self, message: m.AnyMessage | bytes | None, record: r.TurnCommitted) -> None:
        """A start says itself when it is for; when a timer is due is known from its row."""
        at_ms = message.start_at_ms if isinstance(message, m.StartOrchestration) else None
        if at_ms is not None and at_ms > record.envelope.time_ms:
            self._place.found(
                Kind.TIMER,
                record.instance,
                f"expected the instance to begin at {at_ms} or later, but it began at {record.envelope.time_ms}",
            )

    def _end(self, record: r.TurnCommitted) -> None:
        assert record.status is not None
        assert self._place.offset is not None
        outcome = r.Outcome(
            instance=record.instance,
            incarnation=record.incarnation,
            execution_id=record.execution_id,
            status=record.status,
            ended_at_ms=record.envelope.time_ms,
            output=record.output,
            failure=record.failure,
        )
        self.ended[record.instance] = Ended(self._place.offset, outcome)

    def _work_item_enqueued(self, record: r.WorkItemEnqueued) -> None:
        item = self._decoded(codec.decode_work_item, record.scheduled.data, record.instance, "work item")
        if item is not None:
            self._check_home_of_work(item, self._place.partition)
        self._queues.schedule(record.scheduled, from_outside=True)
        self._queues.consume(record.instance, record.consumed)

    def _work_item_acked(self, record: r.WorkItemAcked) -> None:
        data = self._queues.ack(record)
        message = None if record.sent is None else self._sent(record.sent, record.instance)
        item = None if data is None else self._decoded(codec.decode_work_item, data, record.instance, "work item")
        if message is None or item is None:
            return
        answers = (
            isinstance(message, m.CompleteActivity | m.FailActivity)
            and (message.instance, message.incarnation) == (item.instance, item.incarnation)
            and (message.execution_id, message.activity_id) == (record.execution_id, record.activity_id)
        )
        if not answers:
            self._found_in_queues(
                Kind.ANSWER,
                record.instance,
                f"expected the answer of activity {record.activity_id}, execution {record.execution_id}, "
                f"but it sends another {type(message).__name__}",
            )

    def _work_item_heartbeat(self, record: r.WorkItemHeartbeat) -> None:
        self._queues.beat(record)

    def _parked(self, record: r.Parked) -> None:
        self._queues.park(record)

    def _inputs_settled(self, record: r.InputsSettled) -> None:
        for consumed in record.consumed:
            self._queues.consume(record.instance, consumed)

    def _instance_held(self, record: r.InstanceHeld) -> None:
        self._paused[record.instance] = Status.HELD

    def _instance_suspended(self, record: r.InstanceSuspended) -> None:
        life = self._lives.get(record.instance)
        if record.instance in self._paused or (life.is_over if life else self._is_whole):
            self._place.found(
                Kind.EXECUTION, record.instance, "expected a running instance to be suspended, but it is not"
            )
        self._paused[record.instance] = Status.SUSPENDED

    def _instance_resumed(self, record: r.InstanceResumed) -> None:
        if self._paused.pop(record.instance, None) is None:
            self._place.found(
                Kind.EXECUTION, record.instance, "expected a paused instance to be resumed, but it is not"
            )

    def _instance_deleted(self, record: r.InstanceDeleted) -> None:
        root, life = record.instance, self._lives.get(record.instance)
        found = self._found_at(root)
        if automatic_parent(root) is not None:
            found(Kind.EXECUTION, "expected a root to be deleted with its children, but the record is of a child")
        if life is None and root not in self._paused and self._is_whole:
            found(Kind.EXECUTION, "expected an instance that is there to be deleted, but it is not")
        if life is not None and life.incarnation != record.incarnation:
            found(
                Kind.EXECUTION,
                f"expected incarnation {life.incarnation} to be deleted, but the record is of {record.incarnation}",
            )
        members = {name for name in (*self._lives, *self._paused) if is_in_tree(name, root)} | {root}
        for name in members:
            self._lives.pop(name, None)
            self._paused.pop(name, None)
            self.ended.pop(name, None)
        self.deleted |= members
        self._queues.delete_tree(root)

    def _executions_pruned(self, record: r.ExecutionsPruned) -> None:
        life, found = self._lives.get(record.instance), self._found_at(record.instance)
        if life is not None and not life.unjudged:
            life.prune(record.execution_ids, found)
        elif life is None and self._is_whole:
            found(Kind.EXECUTION, "expected an instance that is there to be pruned, but it is not")

    def _state_repaired(self, record: r.StateRepaired) -> None:
        for row in record.rows:
            touched = self._queues.repair(row)
            if touched is not None and (life := self._lives.get(touched)) is not None:
                life.unjudged = True

    _read_as: ClassVar[dict[type, Callable[["Checker", Any], None]]] = {
        r.OwnershipAcquired: _acquired,
        r.OwnershipReleased: _released,
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
    }


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(_text(key))
