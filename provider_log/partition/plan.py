"""What will be written for a turn? Pure: from what the engine asks to changelog records and records for other topics.

Nothing here changes state; `provider_log.store.apply` does, from the records alone.
"""

import itertools
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.errors import TurnTooLarge
from engine.model.events import OrchestrationStarted
from engine.model.key_values import KeyValueChange
from engine.model.messages import AnyMessage, FireTimer, due_at_ms
from engine.model.status import TERMINAL
from engine.model.turn import ActivityRef, Disposition, TurnResult
from engine.model.work import WorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.answer_token import Issuer
from provider_log.log.port import LogRecord
from provider_log.partition.inbox import CONSUMED_BYTES, Entry
from provider_log.routing import partition_of, partition_of_work
from provider_log.store.tables import InstanceRow
from provider_log.topics import (
    HISTORY_FACTOR,
    INPUT_BYTES_MAX,
    LETTER_HEADER,
    OWNER_HEADER,
    VISIBLE_HEADER,
    Topics,
)

RECORD_OVERHEAD_BYTES = 64 * 1024  # envelope, names and positions of a record beside its blobs
ITEM_BYTES = CONSUMED_BYTES  # a timer or a cancelled activity takes no more, its instance apart
RECORD_BYTES_MAX = INPUT_BYTES_MAX * HISTORY_FACTOR
BLOB_BYTES_MAX = RECORD_BYTES_MAX - RECORD_OVERHEAD_BYTES
ANSWER_BYTES_MAX = RECORD_BYTES_MAX // 2  # an activity's answer, and again as much in the turn that consumes it
DETAILS_BYTES_MAX = ANSWER_BYTES_MAX // 2  # a heartbeat's, which go with a failure, and beside an input, later
MESSAGE_ID = "message_id"
LETTER_ID = f"{LETTER_HEADER} "
"""What the message id of a dead letter that was sent again begins with."""

UNSEALED_CHAIN = r.NO_CHAIN


class Place(Struct, frozen=True):
    """Where a partition's records go."""

    topics: Topics
    partition: int
    partitions: int


def shelf_of(place: Place) -> str:
    """Where input of this partition waits that nobody can read yet and whose key is no instance's."""
    return next(name for number in itertools.count() if is_here(name := f"unread-{number}", place))


def is_here(instance: str, place: Place) -> bool:
    """Whether an instance lives in the partition."""
    return partition_of(instance, place.partitions) == place.partition


class Limits(Struct, frozen=True):
    """Sizes in bytes: of a whole turn, of a part of one, and of what a record takes at most."""

    turn_bytes_max: int
    part_bytes_max: int
    record_bytes_max: int


class PlannedTurn(Struct, frozen=True):
    """Changelog records of one turn, in order, and what goes to other topics with it.

    `own_messages` and `work_items` are those that stay in the partition.
    """

    records: tuple[r.TurnCommitted, ...]
    outgoing: tuple[LogRecord, ...]
    own_messages: tuple[AnyMessage, ...]
    work_items: tuple[WorkItem, ...]


class Part(Struct):
    """A part of a turn: some of what it changes, so much that a record holds it."""

    events: list[r.EventBlob] = []
    scheduled: list[r.Scheduled] = []
    cancelled: list[r.ActivityKey] = []
    timers: list[r.TimerSet] = []
    key_values: list[KeyValueChange] = []
    sent: list[r.Sent] = []
    size: int = 0


def unsealed(token: bytes, batch: int, time_ms: int, node: str, apply_version: int) -> r.Envelope:
    """An envelope for a record whose place in its batch is not known yet."""
    return r.Envelope(
        owner_token=token,
        batch=batch,
        index=0,
        count=1,
        last=True,
        apply_version=apply_version,
        chain=UNSEALED_CHAIN,
        time_ms=time_ms,
        node=node,
    )


def consumed_of(entry: Entry, disposition: Disposition) -> r.Consumed:
    """How the changelog says that a message is done with."""
    return r.Consumed(
        lane=entry.lane,
        place=entry.place,
        disposition=disposition,
        execution_id=entry.execution_id,
        message_id=entry.message_id,
    )


def plan_turn(
    instance: str,
    result: TurnResult,
    entries: Sequence[Entry],
    row: InstanceRow | None,
    envelope: r.Envelope,
    place: Place,
    limits: Limits,
    issuer: Issuer,
) -> PlannedTurn:
    """The records of a turn.

    Args:
        instance: Whose turn it is.
        result: What the engine asks for.
        entries: The messages it consumed.
        row: The instance as it is before.
        envelope: For every record of the turn, unsealed.
        place: Where they go.
        limits: Sizes.
        issuer: Of tokens for work items that others serve.

    Raises:
        TurnTooLarge: The turn, or one value in it, is larger than the limits allow.
    """
    own_messages: list[AnyMessage] = []
    own_work: list[WorkItem] = []
    outgoing: list[LogRecord] = []
    parts = [Part()]

    def part_for(size: int) -> Part:
        if size > limits.record_bytes_max - RECORD_OVERHEAD_BYTES:
            raise TurnTooLarge(instance, size, limits.record_bytes_max - RECORD_OVERHEAD_BYTES)
        if size and parts[-1].size and parts[-1].size + size > limits.part_bytes_max:
            parts.append(Part())
        parts[-1].size += size
        return parts[-1]

    for event in result.history_delta:
        data = codec.encode_event(event)
        part_for(len(data)).events.append(r.EventBlob(event.event_id, data))
    for item in result.work_items:
        scheduled, record = _hand_out(item, place, issuer)
        part_for(len(scheduled.data)).scheduled.append(scheduled)
        outgoing.append(record)
        if scheduled.partition is None:
            own_work.append(item)
    for message in result.messages:
        if isinstance(message, FireTimer) and message.instance == instance:
            timer = r.TimerSet(message.execution_id, message.timer_id, message.fire_at_ms)
            part_for(ITEM_BYTES).timers.append(timer)
            continue
        sent, record = send(message, place)
        part_for(len(sent.data)).sent.append(sent)
        if record is None:
            own_messages.append(message)
        else:
            outgoing.append(record)
    for change in result.key_values:
        part_for(_size_of_change(change)).key_values.append(change)
    # What is taken back comes after all that is asked for, in the worker topic of another partition too: scheduled and
    # cancelled in one turn leaves nothing.
    for ref in result.cancelled_activities:
        key, record = _take_back(ref, place, issuer)
        part_for(ITEM_BYTES + len(ref.instance.encode())).cancelled.append(key)
        if record is not None:
            outgoing.append(record)
    last = _last_record(instance, result, entries, row, envelope)
    part_for(_size_of_last(last) + sum(entry.consumed_bytes for entry in entries))
    total = sum(part.size for part in parts)
    if total > limits.turn_bytes_max:
        raise TurnTooLarge(instance, total, limits.turn_bytes_max)
    records = tuple(_in_parts(last, parts))
    outgoing += _outcomes(last, place)
    return PlannedTurn(records, tuple(outgoing), tuple(own_messages), tuple(own_work))


def _hand_out(item: WorkItem, place: Place, issuer: Issuer) -> tuple[r.Scheduled, LogRecord]:
    """How a work item gets to its queue: by the changelog, and the topic shows it; elsewhere, by the topic."""
    data = codec.encode_work_item(item)
    away = _away(item, place, issuer)
    scheduled = scheduled_of(item, data, away)
    if away is None:
        return scheduled, worker_record(item, data, place, issuer)
    return scheduled, _away_record(away, item.session_id, data, place)


def _take_back(ref: ActivityRef, place: Place, issuer: Issuer) -> tuple[r.ActivityKey, LogRecord | None]:
    """How a work item is taken back: by the changelog alone, or by a record behind it, if it is elsewhere."""
    away = _away(ref, place, issuer)
    key = r.ActivityKey(ref.instance, ref.execution_id, ref.activity_id, away)
    if away is None:
        return key, None
    taken_back = r.WorkItemTakenBack(instance=ref.instance, execution_id=ref.execution_id, activity_id=ref.activity_id)
    return key, _away_record(away, ref.session_id, codec.encode_taken_back(taken_back), place)


def send(message: AnyMessage, place: Place) -> tuple[r.Sent, LogRecord | None]:
    """How a message leaves: in the changelog alone if it stays in the partition, else by the messages topic too."""
    data = codec.encode_message(message)
    visible_at_ms = due_at_ms(message)
    target = partition_of(message.instance, place.partitions)
    sent = r.Sent(partition=target, instance=message.instance, data=data, visible_at_ms=visible_at_ms)
    return sent, None if target == place.partition else message_record(message.instance, data, visible_at_ms, place)


def message_record(instance: str, data: bytes, visible_at_ms: int, place: Place) -> LogRecord:
    """A record for the messages topic."""
    headers: tuple[tuple[str, bytes], ...] = ((OWNER_HEADER, b"%d" % place.partition),)
    if visible_at_ms:
        headers += ((VISIBLE_HEADER, b"%d" % visible_at_ms),)
    return LogRecord(
        topic=place.topics.messages,
        partition=partition_of(instance, place.partitions),
        key=instance.encode(),
        value=data,
        headers=headers,
    )


def input_record(entry: Entry, place: Place) -> LogRecord:
    """An input that waited unread, for its topic once more: what came with it, as far as it was kept."""
    headers: tuple[tuple[str, bytes], ...] = ()
    if entry.visible_at_ms:
        headers += ((VISIBLE_HEADER, b"%d" % entry.visible_at_ms),)
    if entry.message_id is not None:
        letter = entry.message_id.removeprefix(LETTER_ID)
        is_letter = letter != entry.message_id
        headers += ((LETTER_HEADER, letter.encode()) if is_letter else (MESSAGE_ID, entry.message_id.encode()),)
    return LogRecord(
        topic=place.topics.orchestrator,
        partition=place.partition,
        key=None if entry.instance == shelf_of(place) else entry.instance.encode(),
        value=entry.raw,
        headers=headers,
    )


def orphan_record(entry: Entry, place: Place, now_ms: int) -> LogRecord:
    """A message whose instance was not started in time, for the dead-letter topic. Sent again, it comes in anew."""
    assert entry.message is not None, "only what can be read is an orphan"
    is_parked = entry.lane is r.Lane.INBOX
    letter = r.DeadLetter(
        topic=place.topics.orchestrator,
        partition=place.partition,
        offset=-1 if is_parked else entry.place,
        reason=f"expected an instance {entry.instance}, but there is none, and nobody started it in time",
        key=entry.instance.encode(),
        value=codec.encode_message(entry.message),
        at_ms=now_ms,
    )
    return letter_record(letter, place)


def letter_record(letter: r.DeadLetter, place: Place) -> LogRecord:
    """A dead letter, for its topic."""
    return LogRecord(
        topic=place.topics.dead_letter,
        partition=place.partition,
        key=letter.key,
        value=codec.encode_dead_letter(letter),
    )


def owner_record(place: Place, value: bytes | None) -> LogRecord:
    """Who owns the partition, for the owners topic; None: nobody, its owner has left."""
    return LogRecord(topic=place.topics.owners, partition=place.partition, key=b"%d" % place.partition, value=value)


def scheduled_of(item: WorkItem, data: bytes, away: int | None = None) -> r.Scheduled:
    """How the changelog says that a work item waits, here or in the queue of the partition `away`."""
    return r.Scheduled(
        instance=item.instance,
        execution_id=item.execution_id,
        activity_id=item.activity_id,
        data=data,
        session_id=item.session_id,
        tag=item.tag,
        partition=away,
        start_by_ms=0 if item.limits is None else item.limits.start_by_ms or 0,
    )


def _away(item: WorkItem | ActivityRef, place: Place, issuer: Issuer) -> int | None:
    """The partition that has a work item of this one's turn; None if it stays."""
    if item.session_id is None:
        return None
    home = partition_of_work(item, place.partitions, issuer.tags)
    return None if home == place.partition else home


def _away_record(away: int, session_id: str | None, value: bytes, place: Place) -> LogRecord:
    """A record for the worker topic of another partition: for its owner to take in."""
    return LogRecord(
        topic=place.topics.worker,
        partition=away,
        key=None if session_id is None else session_id.encode(),
        value=value,
        headers=((OWNER_HEADER, b"%d" % place.partition),),
    )


def tree_taken_back_record(root: str, away: int, place: Place) -> LogRecord:
    """That a tree is deleted, for the worker topic of another partition that may have work items of it."""
    return LogRecord(
        topic=place.topics.worker,
        partition=away,
        key=root.encode(),
        value=codec.encode_taken_back(r.TreeTakenBack(instance=root)),
        headers=((OWNER_HEADER, b"%d" % place.partition),),
    )


def worker_record(item: WorkItem, data: bytes, place: Place, issuer: Issuer) -> LogRecord:
    """A record for the worker topic: for others to serve if its tag says so, else to look at."""
    return LogRecord(
        topic=place.topics.worker,
        partition=place.partition,
        key=item.instance.encode(),
        value=data,
        headers=((OWNER_HEADER, b"%d" % place.partition), *issuer.headers_of(item)),
    )


def _last_record(
    instance: str,
    result: TurnResult,
    entries: Sequence[Entry],
    row: InstanceRow | None,
    envelope: r.Envelope,
) -> r.TurnCommitted:
    """Everything of the turn but what is spread over its parts."""
    metadata = result.metadata
    dispositions = result.dispositions or (Disposition.APPLIED,) * len(entries)
    started = next((event for event in result.history_delta if isinstance(event, OrchestrationStarted)), None)
    incarnation = metadata.incarnation
    if incarnation is None:
        incarnation = started.incarnation if started else row.incarnation if row else 0
    return r.TurnCommitted(
        envelope=envelope,
        instance=instance,
        incarnation=incarnation,
        execution_id=result.execution_id,
        # An instance that no turn has named yet takes its name from its first event (nine upstream tests need it).
        orchestration_name=metadata.orchestration_name
        or (started.name if started and not (row and row.name) else None),
        orchestration_version=metadata.orchestration_version
        or (started.version if started and not (row and row.version) else None),
        parent_instance=metadata.parent_instance,
        status=metadata.status,
        output=metadata.output,
        failure=metadata.failure,
        set_custom_status=metadata.set_custom_status,
        custom_status=metadata.custom_status,
        pinned_version=metadata.pinned_version,
        start_id=metadata.start_id,
        new_life=metadata.new_life,
        timers_cancelled=tuple(r.TimerKey(ref.execution_id, ref.timer_id) for ref in result.cancelled_timers),
        consumed=tuple(consumed_of(entry, how) for entry, how in zip(entries, dispositions, strict=True)),
    )


def _size_of_change(change: KeyValueChange) -> int:
    return ITEM_BYTES + len((change.key or "").encode()) + (0 if change.value is None else len(change.value.data))


def _size_of_last(last: r.TurnCommitted) -> int:
    """Bytes of what only the last part carries; small fields are in `RECORD_OVERHEAD_BYTES`."""
    texts = [last.orchestration_name, last.orchestration_version, last.custom_status, last.start_id]
    size = sum(len(text.encode()) for text in texts if text is not None)
    if last.output is not None:
        size += len(last.output.data)
    if last.failure is not None:
        size += len(msgspec.msgpack.encode(last.failure))
    return size + ITEM_BYTES * len(last.timers_cancelled)


def _in_parts(last: r.TurnCommitted, parts: Sequence[Part]) -> Iterator[r.TurnCommitted]:
    """The turn's records: the parts, and on the last one all else."""
    for number, part in enumerate(parts):
        is_last = number + 1 == len(parts)
        record = (
            last
            if is_last
            else r.TurnCommitted(
                envelope=last.envelope,
                instance=last.instance,
                incarnation=last.incarnation,
                execution_id=last.execution_id,
                parent_instance=last.parent_instance,
            )
        )
        yield replace(
            record,
            part=number,
            parts=len(parts),
            events=tuple(part.events),
            scheduled=tuple(part.scheduled),
            cancelled=tuple(part.cancelled),
            timers=tuple(part.timers),
            key_values=tuple(part.key_values),
            sent=tuple(part.sent),
            new_life=last.new_life and number == 0,
        )


def no_outcome_record(instance: str, place: Place) -> LogRecord:
    """That an instance is deleted or begins anew, for the outcomes topic: what it said of its end is said no more."""
    return LogRecord(topic=place.topics.outcomes, partition=place.partition, key=instance.encode(), value=None)


def _outcomes(last: r.TurnCommitted, place: Place) -> Iterator[LogRecord]:
    if last.new_life:
        yield no_outcome_record(last.instance, place)
    if last.status not in TERMINAL:
        return
    outcome = r.Outcome(
        instance=last.instance,
        incarnation=last.incarnation,
        execution_id=last.execution_id,
        status=last.status,
        ended_at_ms=last.envelope.time_ms,
        output=last.output,
        failure=last.failure,
    )
    yield LogRecord(
        topic=place.topics.outcomes,
        partition=place.partition,
        key=last.instance.encode(),
        value=codec.encode_outcome(outcome),
    )
