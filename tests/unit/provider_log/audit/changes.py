"""How is a history changed, one thing at a time, at every place where that can be done?"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, get_args

import msgspec
from msgspec.structs import replace

from engine.model import events as on
from engine.model import messages as m
from engine.model.failure import Category, Failure
from engine.model.key_values import KeyValueChange
from engine.model.payload import Payload
from engine.model.status import EXECUTION_ENDS, Status
from engine.model.turn import Disposition
from provider_log import codec
from provider_log import records as r
from provider_log.routing import partition_of
from tests.unit.provider_log.audit.recorded import (
    History,
    Written,
    changed,
    enveloped,
    events_of,
    forged,
    inserted,
    places,
    renumbered,
    with_events,
)

Change = Callable[[History], Iterator[tuple[int, History]]]
"""Every place where the change can be made, and the history with it."""


LIE = Payload(b'"a lie"')
FAILURE = Failure(category=Category.APPLICATION, type="Lie", message="a lie")
ENVELOPED: tuple[type, ...] = get_args(r.EnvelopedRecord)
ACTIVITY_ANSWERS = (on.ActivityCompleted, on.ActivityFailed)
CHILD_ANSWERS = (on.SubOrchestrationCompleted, on.SubOrchestrationFailed)
ANSWERS = (*ACTIVITY_ANSWERS, *CHILD_ANSWERS, on.TimerFired)
EVENTS: tuple[type, ...] = get_args(on.AnyEvent)
ENDS: tuple[type, ...] = get_args(on.ExecutionEnd)
TAKEN_BACK = (on.ActivityCancelRequested, on.TimerCancelled)


# How a change is made at every place.


def at_each(kind: Any, wanted: Callable[[Any], object], change: Callable[[History, int], History]) -> Change:
    """At each record of `kind` that is `wanted`."""

    def changes(history: History) -> Iterator[tuple[int, History]]:
        for at in places(history, kind, wanted):
            yield at, change(history, at)

    return changes


def at_each_event(
    kinds: tuple[type, ...], edit: Callable[[list[on.AnyEvent], int], list[on.AnyEvent]], *, of: Callable[[Any], object]
) -> Change:
    """At the first event of `kinds` in each turn that is `of` the right sort."""

    def changes(history: History) -> Iterator[tuple[int, History]]:
        for at in places(history, r.TurnCommitted, of):
            events = events_of(history[at].record)
            found = next((place for place, event in enumerate(events) if isinstance(event, kinds)), None)
            if found is not None:
                yield at, with_events(history, at, edit(list(events), found))

    return changes


def always(_record: Any) -> bool:
    return True


def followed(history: History) -> Iterator[int]:
    """Records after which another enveloped one comes, whose chain covers them."""
    last = max(at for at, written in enumerate(history) if isinstance(written.record, ENVELOPED))
    yield from range(last)


# The log as a sequence.


def removed(history: History) -> Iterator[tuple[int, History]]:
    for at in followed(history):
        yield at, [*history[:at], *history[at + 1 :]]


def swapped(history: History) -> Iterator[tuple[int, History]]:
    for at in range(len(history) - 1):
        one, two = history[at], history[at + 1]
        yield at, [*history[:at], two._replace(offset=one.offset), one._replace(offset=two.offset), *history[at + 2 :]]


def repeated(history: History) -> Iterator[tuple[int, History]]:
    for at in range(len(history)):
        yield at, renumbered([*history[: at + 1], *history[at:]])


def byte_changed(history: History) -> Iterator[tuple[int, History]]:
    for at in followed(history):
        data = bytearray(history[at].data)
        data[at * 7919 % len(data)] ^= 1 << at % 8
        yield at, [*history[:at], history[at]._replace(data=bytes(data)), *history[at + 1 :]]


def cut(history: History) -> Iterator[tuple[int, History]]:
    for at in followed(history):
        data = history[at].data
        yield at, [*history[:at], history[at]._replace(data=data[: len(data) * 3 // 4]), *history[at + 1 :]]


def chain_changed(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, always):
        record = history[at].record
        chain = bytes(16) if record.envelope.chain != bytes(16) else b"x" * 16
        yield (
            at,
            [
                *history[:at],
                history[at].saying(replace(record, envelope=replace(record.envelope, chain=chain))),
                *history[at + 1 :],
            ],
        )


def end_of_batch_removed(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, lambda one: one.envelope.last and one.envelope.count > 1):
        yield at, forged([*history[:at], *history[at + 1 :]])


def log_ends_in_a_batch(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, lambda one: one.envelope.last and one.envelope.count > 1):
        yield at, history[:at]


def of_an_old_owner(history: History) -> Iterator[tuple[int, History]]:
    acquired = places(history, r.OwnershipAcquired, always)
    old = next(one for one in history if isinstance(one.record, r.TurnCommitted))
    for at in range(acquired[1] + 1, len(history) + 1):
        yield at, renumbered([*history[:at], old, *history[at:]])


def of_a_stranger(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, r.TurnCommitted, always):
        record = history[at].record
        envelope = replace(record.envelope, owner_token=b"stranger stranger"[:16])
        stranger = history[at].saying(replace(record, envelope=envelope))
        yield at, renumbered([*history[: at + 1], stranger, *history[at + 1 :]])


def without_genesis(history: History) -> Iterator[tuple[int, History]]:
    (at,) = places(history, r.Genesis, always)
    yield at, forged([*history[:at], *history[at + 1 :]])


def with_two(kind: Any) -> Change:
    def changes(history: History) -> Iterator[tuple[int, History]]:
        at = places(history, kind, always)[0]
        yield at, forged(renumbered([*history, history[at]]))

    return changes


def offset_back(history: History) -> Iterator[tuple[int, History]]:
    for at in range(1, len(history)):
        yield at, [*history[:at], history[at]._replace(offset=history[at].offset - 1), *history[at + 1 :]]


def under_another_key(history: History) -> Iterator[tuple[int, History]]:
    for at in range(len(history)):
        yield at, [*history[:at], history[at]._replace(key=b"somebody else"), *history[at + 1 :]]


def envelope(*, of: Callable[[Any], object] = always, **fields: Any) -> Change:
    return at_each(ENVELOPED, of, lambda history, at: enveloped(history, at, **fields))


def envelope_of(field: str, new: Callable[[Any], Any], *, of: Callable[[Any], object] = always) -> Change:
    def change(history: History, at: int) -> History:
        return enveloped(history, at, **{field: new(getattr(history[at].record.envelope, field))})

    return at_each(ENVELOPED, of, change)


# Events.


def answered_twice(events: list[on.AnyEvent], at: int) -> list[on.AnyEvent]:
    return in_order([*events[: at + 1], events[at], *events[at + 1 :]])


def in_order(events: Sequence[on.AnyEvent]) -> list[on.AnyEvent]:
    first = events[0].event_id
    return [replace(event, event_id=first + place) for place, event in enumerate(events)]


def edited(new: Callable[[Any], Any]) -> Callable[[list[on.AnyEvent], int], list[on.AnyEvent]]:
    return lambda events, at: [*events[:at], new(events[at]), *events[at + 1 :]]


def as_status(event: on.AnyEvent) -> on.AnyEvent:
    return on.CustomStatusUpdated(event_id=event.event_id, timestamp_ms=event.timestamp_ms, status="a lie")


def key_changed(history: History, at: int) -> History:
    return changed(history, at, key_values=(*history[at].record.key_values, KeyValueChange("k", LIE)))


def another_kind(event: Any) -> on.AnyEvent:
    of_child = isinstance(event, ACTIVITY_ANSWERS)
    kind = on.SubOrchestrationCompleted if of_child else on.ActivityCompleted
    return kind(
        event_id=event.event_id, timestamp_ms=event.timestamp_ms, source_event_id=event.source_event_id, result=LIE
    )


def another_answer(event: Any) -> on.AnyEvent:
    return replace(event, result=LIE) if hasattr(event, "result") else replace(event, failure=FAILURE)


def ends(record: r.TurnCommitted) -> bool:
    return record.status in EXECUTION_ENDS


def keeps_open(record: r.TurnCommitted) -> bool:
    return not ends(record)


def event_undecodable(history: History, at: int) -> History:
    record = history[at].record
    first = record.events[0]
    return changed(history, at, events=(msgspec.structs.replace(first, data=first.data[:-1]), *record.events[1:]))


# What is consumed, handed out and sent.


def consumes(*lanes: r.Lane, disposition: Disposition | None = None) -> Callable[[Any], object]:
    return lambda record: any(
        one.lane in lanes and disposition in (None, one.disposition) for one in getattr(record, "consumed", ())
    )


def with_consumed(
    lane: r.Lane, edit: Callable[[r.Consumed], Iterable[r.Consumed]]
) -> Callable[[History, int], History]:
    """The first consumed message of `lane` becomes these."""

    def change(history: History, at: int) -> History:
        consumed = list(history[at].record.consumed)
        place = next(place for place, one in enumerate(consumed) if one.lane is lane)
        return changed(history, at, consumed=(*consumed[:place], *edit(consumed[place]), *consumed[place + 1 :]))

    return change


def hears_itself(record: r.TurnCommitted) -> bool:
    """Whether no answer came from another partition: its bytes would not be in the history."""
    return not consumes(r.Lane.MESSAGES, disposition=Disposition.APPLIED)(record)


def ack_left_out(*, is_heard_here: bool) -> Change:
    """Of activities that an instance of this partition asked for, or one of another."""

    def changes(history: History) -> Iterator[tuple[int, History]]:
        (genesis,) = (one.record for one in history if isinstance(one.record, r.Genesis))
        for at in places(history, r.WorkItemAcked, lambda one: one.sent is not None):
            if (history[at].record.sent.partition == genesis.partition) == is_heard_here:
                yield at, changed(history, at, sent=None)

    return changes


def answers_from_inbox(record: r.TurnCommitted) -> bool:
    wanted = (*ACTIVITY_ANSWERS, *CHILD_ANSWERS)
    return any(isinstance(event, wanted) for event in events_of(record)) and not consumes(
        r.Lane.ORCHESTRATOR, r.Lane.MESSAGES, disposition=Disposition.APPLIED
    )(record)


def nothing_from_inbox(history: History, at: int) -> History:
    kept = tuple(one for one in history[at].record.consumed if one.lane is not r.Lane.INBOX)
    return changed(history, at, consumed=kept)


def renamed_item(history: History, at: int) -> History:
    first, *rest = history[at].record.scheduled
    item = replace(codec.decode_work_item(first.data), name="a lie")
    return changed(history, at, scheduled=(replace(first, data=codec.encode_work_item(item)), *rest))


def item_with(**fields: Any) -> Callable[[History, int], History]:
    """The first work item says something else than its turn asked for."""

    def change(history: History, at: int) -> History:
        first, *rest = history[at].record.scheduled
        item = replace(codec.decode_work_item(first.data), **fields)
        return changed(history, at, scheduled=(replace(first, data=codec.encode_work_item(item)), *rest))

    return change


def late_at_another_time(history: History, at: int) -> History:
    first, *rest = history[at].record.scheduled
    return changed(history, at, scheduled=(replace(first, start_by_ms=first.start_by_ms + 7), *rest))


def item_elsewhere(history: History, at: int) -> History:
    """Of a session elsewhere it is here, of any other it is elsewhere."""
    first, *rest = history[at].record.scheduled
    partition = 0 if first.partition is None else None
    return changed(history, at, scheduled=(replace(first, partition=partition), *rest))


def item_of_another_session(history: History, at: int) -> History:
    first, *rest = history[at].record.scheduled
    item = replace(codec.decode_work_item(first.data), session_id="a lie")
    return changed(history, at, scheduled=(replace(first, data=codec.encode_work_item(item)), *rest))


def taken_in_of_another_session(history: History, at: int) -> History:
    """One that lives in the other of two partitions."""
    scheduled = history[at].record.scheduled
    item = codec.decode_work_item(scheduled.data)
    home = partition_of(item.session_id or item.instance, 2)
    other = next(name for name in map(str, range(100)) if partition_of(name, 2) != home)
    data = codec.encode_work_item(replace(item, session_id=other))
    return changed(history, at, scheduled=replace(scheduled, data=data))


def sent_elsewhere(history: History, at: int) -> History:
    first, *rest = history[at].record.sent
    return changed(history, at, sent=(replace(first, partition=1 - first.partition), *rest))


def starts_child(record: r.TurnCommitted) -> bool:
    messages = [codec.decode_message(sent.data) for sent in record.sent]
    return any(isinstance(one, m.StartOrchestration) and one.parent is not None for one in messages)


def acked_for_another(history: History, at: int) -> History:
    record = history[at].record
    message: Any = codec.decode_message(record.sent.data)
    other = codec.encode_message(replace(message, activity_id=message.activity_id + 1))
    return changed(history, at, sent=replace(record.sent, data=other))


def acked_again(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, r.WorkItemAcked, always):
        after = next(
            (
                place
                for place in range(at + 1, len(history))
                if isinstance(history[place].record, ENVELOPED) and history[place].record.envelope.index == 0
            ),
            None,
        )
        if after is not None:
            yield at, inserted(history, after, history[at].record)


def held_before(history: History, at: int) -> History:
    record = history[at].record
    held = r.InstanceHeld(
        envelope=record.envelope,
        instance=record.instance,
        execution_id=record.execution_id,
        orchestration_name="x",
        orchestration_version="1",
        failure=FAILURE,
    )
    return inserted(history, at, held)


def suspended_before(history: History, at: int) -> History:
    return inserted(history, at, _suspended(history, at))


def suspended_after(history: History, at: int) -> History:
    return inserted(history, at + 1, _suspended(history, at))


def _suspended(history: History, at: int) -> r.InstanceSuspended:
    record = history[at].record
    return r.InstanceSuspended(envelope=record.envelope, instance=record.instance, reason="a rest")


def ends_instance(record: r.TurnCommitted) -> bool:
    return record.status is Status.COMPLETED and record.envelope.index + 1 == record.envelope.count


def resumed_before(history: History, at: int) -> History:
    record = history[at].record
    return inserted(history, at, r.InstanceResumed(envelope=record.envelope, instance=record.instance))


def deleted_twice(history: History, at: int) -> History:
    return inserted(history, at, history[at].record)


def is_of_a_child(record: r.TurnCommitted) -> bool:
    return "::sub::" in record.instance and begins_batch(record)


def child_deleted_before(history: History, at: int) -> History:
    record = history[at].record
    deleted = r.InstanceDeleted(envelope=record.envelope, instance=record.instance, incarnation=record.incarnation)
    return inserted(history, at, deleted)


def removal_left_out(history: History, at: int) -> History:
    """As if nobody had deleted it: a schema is noted in its place."""
    return forged(
        [
            *history[:at],
            history[at]._replace(
                key=None, data=codec.encode_record(r.SchemasAdded(envelope=history[at].record.envelope, schemas=()))
            ),
            *history[at + 1 :],
        ]
    )


def pruned(execution_ids: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Change:
    return at_each(
        r.ExecutionsPruned,
        always,
        lambda history, at: changed(history, at, execution_ids=execution_ids(history[at].record.execution_ids)),
    )


def parts_left_out(history: History, at: int) -> History:
    return changed(history, at, parts=2)


def begins_batch(record: Any) -> bool:
    return record.envelope.index == 0


def delivery_of_nothing(history: History, at: int) -> History:
    instance = "nobody"
    delivery = r.Delivery(
        instance=instance, execution_id=1, activity_id=2, attempt=1, nonce=b"n", worker="w", lease_end_ms=1
    )
    return enveloped(history, at, deliveries=(delivery,))


def moves(record: Any) -> bool:
    return any(position.watermark > 0 for position in record.envelope.positions)


def positions_back(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, moves)[1:]:
        back = tuple(replace(one, watermark=0, above=()) for one in history[at].record.envelope.positions)
        yield at, enveloped(history, at, positions=back)


# What nobody can see.


def cut_at_the_end(history: History) -> Iterator[tuple[int, History]]:
    ends = places(history, ENVELOPED, lambda one: one.envelope.last)
    for at in ends[-3:]:
        yield at, history[: at + 1]


def last_record_of_another_node(history: History) -> Iterator[tuple[int, History]]:
    record = history[-1].record
    last: Written = history[-1].saying(replace(record, envelope=replace(record.envelope, node="a lie")))
    yield len(history) - 1, [*history[:-1], last]
