"""What can be wrong with a history: each kind changes one thing, and says what the checker must call it.

`BROKEN` changes bytes or order and leaves the hash chain as it was. `FORGED` makes the chain fit afterwards, so that
the rule which the change breaks must see it alone. `INVISIBLE` is what no reader of one history can see, and why.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec.structs import replace

from engine.model import events as on
from engine.model import messages as m
from engine.model.failure import Category, Failure
from engine.model.payload import Payload
from engine.model.status import TERMINAL, Status
from engine.model.turn import Disposition
from provider_log import codec
from provider_log import records as r
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


class Mutation(NamedTuple):
    """One kind of change, and the kinds of finding of which one at least must be there."""

    change: Change
    found_as: set[str]


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


def _any(_record: Any) -> bool:
    return True


def _followed(history: History) -> Iterator[int]:
    """Records after which another enveloped one comes, whose chain covers them."""
    last = max(at for at, written in enumerate(history) if isinstance(written.record, ENVELOPED))
    yield from range(last)


# The log as a sequence.


def _removed(history: History) -> Iterator[tuple[int, History]]:
    for at in _followed(history):
        yield at, [*history[:at], *history[at + 1 :]]


def _swapped(history: History) -> Iterator[tuple[int, History]]:
    for at in range(len(history) - 1):
        one, two = history[at], history[at + 1]
        yield at, [*history[:at], two._replace(offset=one.offset), one._replace(offset=two.offset), *history[at + 2 :]]


def _repeated(history: History) -> Iterator[tuple[int, History]]:
    for at in range(len(history)):
        yield at, renumbered([*history[: at + 1], *history[at:]])


def _byte_changed(history: History) -> Iterator[tuple[int, History]]:
    for at in _followed(history):
        data = bytearray(history[at].data)
        data[at * 7919 % len(data)] ^= 1 << at % 8
        yield at, [*history[:at], history[at]._replace(data=bytes(data)), *history[at + 1 :]]


def _cut(history: History) -> Iterator[tuple[int, History]]:
    for at in _followed(history):
        data = history[at].data
        yield at, [*history[:at], history[at]._replace(data=data[: len(data) * 3 // 4]), *history[at + 1 :]]


def _chain_changed(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, _any):
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


def _end_of_batch_removed(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, lambda one: one.envelope.last and one.envelope.count > 1):
        yield at, forged([*history[:at], *history[at + 1 :]])


def _log_ends_in_a_batch(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, ENVELOPED, lambda one: one.envelope.last and one.envelope.count > 1):
        yield at, history[:at]


def _of_an_old_owner(history: History) -> Iterator[tuple[int, History]]:
    acquired = places(history, r.OwnershipAcquired, _any)
    old = next(one for one in history if isinstance(one.record, r.TurnCommitted))
    for at in range(acquired[1] + 1, len(history) + 1):
        yield at, renumbered([*history[:at], old, *history[at:]])


def _of_a_stranger(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, r.TurnCommitted, _any):
        record = history[at].record
        envelope = replace(record.envelope, owner_token=b"stranger stranger"[:16])
        stranger = history[at].saying(replace(record, envelope=envelope))
        yield at, renumbered([*history[: at + 1], stranger, *history[at + 1 :]])


def _without_genesis(history: History) -> Iterator[tuple[int, History]]:
    (at,) = places(history, r.Genesis, _any)
    yield at, forged([*history[:at], *history[at + 1 :]])


def _with_two(kind: Any) -> Change:
    def changes(history: History) -> Iterator[tuple[int, History]]:
        at = places(history, kind, _any)[0]
        yield at, forged(renumbered([*history, history[at]]))

    return changes


def _offset_back(history: History) -> Iterator[tuple[int, History]]:
    for at in range(1, len(history)):
        yield at, [*history[:at], history[at]._replace(offset=history[at].offset - 1), *history[at + 1 :]]


def _under_another_key(history: History) -> Iterator[tuple[int, History]]:
    for at in range(len(history)):
        yield at, [*history[:at], history[at]._replace(key=b"somebody else"), *history[at + 1 :]]


def _envelope(*, of: Callable[[Any], object] = _any, **fields: Any) -> Change:
    return at_each(ENVELOPED, of, lambda history, at: enveloped(history, at, **fields))


def _envelope_of(field: str, new: Callable[[Any], Any], *, of: Callable[[Any], object] = _any) -> Change:
    def change(history: History, at: int) -> History:
        return enveloped(history, at, **{field: new(getattr(history[at].record.envelope, field))})

    return at_each(ENVELOPED, of, change)


# Events.


def _answered_twice(events: list[on.AnyEvent], at: int) -> list[on.AnyEvent]:
    return _renumbered([*events[: at + 1], events[at], *events[at + 1 :]])


def _renumbered(events: Sequence[on.AnyEvent]) -> list[on.AnyEvent]:
    first = events[0].event_id
    return [replace(event, event_id=first + place) for place, event in enumerate(events)]


def _edited(new: Callable[[Any], Any]) -> Callable[[list[on.AnyEvent], int], list[on.AnyEvent]]:
    return lambda events, at: [*events[:at], new(events[at]), *events[at + 1 :]]


def _as_status(event: on.AnyEvent) -> on.AnyEvent:
    return on.CustomStatusUpdated(event_id=event.event_id, timestamp_ms=event.timestamp_ms, status="a lie")


def _another_kind(event: Any) -> on.AnyEvent:
    of_child = isinstance(event, ACTIVITY_ANSWERS)
    kind = on.SubOrchestrationCompleted if of_child else on.ActivityCompleted
    return kind(
        event_id=event.event_id, timestamp_ms=event.timestamp_ms, source_event_id=event.source_event_id, result=LIE
    )


def _another_answer(event: Any) -> on.AnyEvent:
    return replace(event, result=LIE) if hasattr(event, "result") else replace(event, failure=FAILURE)


def _ends(record: r.TurnCommitted) -> bool:
    return record.status in TERMINAL or record.status is Status.CONTINUED_AS_NEW


def _keeps_open(record: r.TurnCommitted) -> bool:
    return not _ends(record)


def _event_undecodable(history: History, at: int) -> History:
    record = history[at].record
    first = record.events[0]
    return changed(history, at, events=(msgspec.structs.replace(first, data=first.data[:-1]), *record.events[1:]))


# What is consumed, handed out and sent.


def _consumes(*lanes: r.Lane, disposition: Disposition | None = None) -> Callable[[Any], object]:
    return lambda record: any(
        one.lane in lanes and disposition in (None, one.disposition) for one in getattr(record, "consumed", ())
    )


def _with_consumed(
    lane: r.Lane, edit: Callable[[r.Consumed], Iterable[r.Consumed]]
) -> Callable[[History, int], History]:
    """The first consumed message of `lane` becomes these."""

    def change(history: History, at: int) -> History:
        consumed = list(history[at].record.consumed)
        place = next(place for place, one in enumerate(consumed) if one.lane is lane)
        return changed(history, at, consumed=(*consumed[:place], *edit(consumed[place]), *consumed[place + 1 :]))

    return change


def _answers_from_inbox(record: r.TurnCommitted) -> bool:
    wanted = (*ACTIVITY_ANSWERS, *CHILD_ANSWERS)
    return any(isinstance(event, wanted) for event in events_of(record)) and not _consumes(
        r.Lane.ORCHESTRATOR, r.Lane.MESSAGES, disposition=Disposition.APPLIED
    )(record)


def _nothing_from_inbox(history: History, at: int) -> History:
    kept = tuple(one for one in history[at].record.consumed if one.lane is not r.Lane.INBOX)
    return changed(history, at, consumed=kept)


def _renamed_item(history: History, at: int) -> History:
    first, *rest = history[at].record.scheduled
    item = replace(codec.decode_work_item(first.data), name="a lie")
    return changed(history, at, scheduled=(replace(first, data=codec.encode_work_item(item)), *rest))


def _sent_elsewhere(history: History, at: int) -> History:
    first, *rest = history[at].record.sent
    return changed(history, at, sent=(replace(first, partition=1 - first.partition), *rest))


def _starts_child(record: r.TurnCommitted) -> bool:
    messages = [codec.decode_message(sent.data) for sent in record.sent]
    return any(isinstance(one, m.StartOrchestration) and one.parent is not None for one in messages)


def _acked_for_another(history: History, at: int) -> History:
    record = history[at].record
    message: Any = codec.decode_message(record.sent.data)
    other = codec.encode_message(replace(message, activity_id=message.activity_id + 1))
    return changed(history, at, sent=replace(record.sent, data=other))


def _acked_again(history: History) -> Iterator[tuple[int, History]]:
    for at in places(history, r.WorkItemAcked, _any):
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


def _held_before(history: History, at: int) -> History:
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


def _resumed_before(history: History, at: int) -> History:
    record = history[at].record
    return inserted(history, at, r.InstanceResumed(envelope=record.envelope, instance=record.instance))


def _parts_left_out(history: History, at: int) -> History:
    return changed(history, at, parts=2)


def _begins_batch(record: Any) -> bool:
    return record.envelope.index == 0


def _delivery_of_nothing(history: History, at: int) -> History:
    instance = "nobody"
    delivery = r.Delivery(
        instance=instance, execution_id=1, activity_id=2, attempt=1, nonce=b"n", worker="w", lease_end_ms=1
    )
    return enveloped(history, at, deliveries=(delivery,))


def _moves(record: Any) -> bool:
    return any(position.watermark > 0 for position in record.envelope.positions)


def _positions_back(history: History) -> Iterator[tuple[int, History]]:
    moves = places(history, ENVELOPED, _moves)
    for at in moves[1:]:
        back = tuple(replace(one, watermark=0, above=()) for one in history[at].record.envelope.positions)
        yield at, enveloped(history, at, positions=back)


BROKEN: dict[str, Mutation] = {
    "a record is removed": Mutation(_removed, {"batch", "chain", "void"}),
    "two records are swapped": Mutation(_swapped, {"batch", "chain", "void"}),
    "a record is there twice": Mutation(_repeated, {"batch", "genesis", "chain"}),
    "a byte of a record is changed": Mutation(_byte_changed, {"chain", "undecodable", "void"}),
    "a record is cut": Mutation(_cut, {"undecodable"}),
    "a record says another chain": Mutation(_chain_changed, {"chain"}),
    "the log ends in the middle of a batch": Mutation(_log_ends_in_a_batch, {"batch"}),
    "a record of an old owner comes late": Mutation(_of_an_old_owner, {"void"}),
    "a record of nobody's token": Mutation(_of_a_stranger, {"void"}),
    "an offset goes back": Mutation(_offset_back, {"batch"}),
    "a record lies under another key": Mutation(_under_another_key, {"key"}),
}

FORGED: dict[str, Mutation] = {
    "the last record of a batch is removed": Mutation(_end_of_batch_removed, {"batch"}),
    "the last-record flag is cleared": Mutation(_envelope(last=False, of=lambda one: one.envelope.last), {"batch"}),
    "the last-record flag is set too soon": Mutation(
        _envelope(last=True, of=lambda one: not one.envelope.last), {"batch"}
    ),
    "a batch number is left out": Mutation(_envelope_of("batch", lambda batch: batch + 1), {"batch"}),
    "a batch says it has more records": Mutation(_envelope_of("count", lambda count: count + 1), {"batch"}),
    "a record says another place in its batch": Mutation(_envelope_of("index", lambda index: index + 1), {"batch"}),
    "time goes back": Mutation(_envelope(time_ms=-1), {"time"}),
    "an apply version nobody knows": Mutation(_envelope(apply_version=99), {"version"}),
    "there is no genesis": Mutation(_without_genesis, {"genesis"}),
    "there are two": Mutation(_with_two(r.Genesis), {"genesis"}),
    "a partition was created as another": Mutation(
        at_each(r.Genesis, _any, lambda history, at: changed(history, at, partition=7)), {"genesis"}
    ),
    "an owner token is used again": Mutation(_with_two(r.OwnershipAcquired), {"batch"}),
    "a part of a turn is left out": Mutation(at_each(r.TurnCommitted, _any, _parts_left_out), {"batch"}),
    # Executions.
    "an activity is answered twice": Mutation(at_each_event(ACTIVITY_ANSWERS, _answered_twice, of=_any), {"answer"}),
    "a timer fires twice": Mutation(at_each_event((on.TimerFired,), _answered_twice, of=_any), {"answer"}),
    "a child is answered twice": Mutation(at_each_event(CHILD_ANSWERS, _answered_twice, of=_any), {"answer"}),
    "an answer names what nobody asked": Mutation(
        at_each_event(ANSWERS, _edited(lambda event: replace(event, source_event_id=999)), of=_any), {"answer"}
    ),
    "an answer names the start": Mutation(
        at_each_event(ANSWERS, _edited(lambda event: replace(event, source_event_id=1)), of=_any), {"answer"}
    ),
    "an answer is of another kind": Mutation(at_each_event(ANSWERS, _edited(_another_kind), of=_any), {"answer"}),
    "an answer says what nobody said": Mutation(
        at_each_event((*ACTIVITY_ANSWERS, *CHILD_ANSWERS), _edited(_another_answer), of=_any), {"answer"}
    ),
    "an answer is left out": Mutation(at_each_event(ANSWERS, _edited(_as_status), of=_any), {"answer"}),
    "what is open at the end is not taken back": Mutation(
        at_each_event(TAKEN_BACK, _edited(_as_status), of=_ends), {"left_open"}
    ),
    "a timer fires too soon": Mutation(
        at_each_event(
            (on.TimerCreated,),
            _edited(lambda event: replace(event, fire_at_ms=event.fire_at_ms + 10**9)),
            of=_keeps_open,
        ),
        {"timer"},
    ),
    "an event is left out": Mutation(
        at_each_event(EVENTS, lambda events, at: events[:at] + events[at + 1 :], of=lambda one: len(one.events) > 1),
        {"execution"},
    ),
    "an event id is repeated": Mutation(
        at_each_event(EVENTS, lambda events, at: [events[at], *events[at:]], of=lambda one: bool(one.events)),
        {"execution"},
    ),
    "an execution starts twice": Mutation(
        at_each_event((on.OrchestrationStarted,), _answered_twice, of=_any), {"execution"}
    ),
    "an execution has no start": Mutation(
        at_each_event((on.OrchestrationStarted,), _edited(_as_status), of=_any), {"execution"}
    ),
    "something happens after the end": Mutation(
        at_each_event(ENDS, lambda events, at: _renumbered([*events, _as_status(events[at])]), of=_any),
        {"execution"},
    ),
    "an execution ends twice": Mutation(at_each_event(ENDS, _answered_twice, of=_any), {"execution"}),
    "an execution ends in no event": Mutation(at_each_event(ENDS, _edited(_as_status), of=_any), {"execution"}),
    "an event cannot be decoded": Mutation(
        at_each(r.TurnCommitted, lambda one: one.events, _event_undecodable), {"undecodable"}
    ),
    "an event is of the future": Mutation(
        at_each_event(
            EVENTS, _edited(lambda event: replace(event, timestamp_ms=2**50)), of=lambda one: bool(one.events)
        ),
        {"time"},
    ),
    "the record says another end": Mutation(
        at_each(r.TurnCommitted, _ends, lambda history, at: changed(history, at, status=Status.RUNNING)), {"execution"}
    ),
    "the record says another output": Mutation(
        at_each(
            r.TurnCommitted,
            lambda one: one.status is Status.COMPLETED,
            lambda history, at: changed(history, at, output=LIE),
        ),
        {"execution"},
    ),
    "an execution is skipped": Mutation(
        at_each(
            r.TurnCommitted,
            lambda one: one.events,
            lambda history, at: changed(history, at, execution_id=history[at].record.execution_id + 1),
        ),
        {"execution"},
    ),
    "a turn is of another life": Mutation(
        at_each(
            r.TurnCommitted,
            lambda one: one.events,
            lambda history, at: changed(history, at, incarnation=history[at].record.incarnation + 1),
        ),
        {"execution"},
    ),
    "a held instance takes a turn": Mutation(at_each(r.TurnCommitted, _begins_batch, _held_before), {"execution"}),
    "an instance that is not held is resumed": Mutation(
        at_each(r.TurnCommitted, _begins_batch, _resumed_before), {"execution"}
    ),
    # What waits.
    "a message is consumed twice": Mutation(
        at_each(r.TurnCommitted, _consumes(r.Lane.INBOX), _with_consumed(r.Lane.INBOX, lambda one: (one, one))),
        {"inbox"},
    ),
    "a timer is consumed twice": Mutation(
        at_each(r.TurnCommitted, _consumes(r.Lane.TIMER), _with_consumed(r.Lane.TIMER, lambda one: (one, one))),
        {"timer"},
    ),
    "an input is consumed twice": Mutation(
        at_each(
            r.TurnCommitted,
            _consumes(r.Lane.ORCHESTRATOR),
            _with_consumed(r.Lane.ORCHESTRATOR, lambda one: (one, one)),
        ),
        {"position"},
    ),
    "a message is consumed that never came": Mutation(
        at_each(
            r.TurnCommitted,
            _consumes(r.Lane.INBOX),
            _with_consumed(r.Lane.INBOX, lambda one: (replace(one, place=one.place + 10**6),)),
        ),
        {"inbox"},
    ),
    "a timer is consumed that was never set": Mutation(
        at_each(
            r.TurnCommitted,
            _consumes(r.Lane.TIMER),
            _with_consumed(r.Lane.TIMER, lambda one: (replace(one, place=one.place + 10**6),)),
        ),
        {"timer"},
    ),
    "an answer comes from no message": Mutation(
        at_each(r.TurnCommitted, _answers_from_inbox, _nothing_from_inbox), {"answer"}
    ),
    "an activity is not handed out": Mutation(
        at_each(r.TurnCommitted, lambda one: one.scheduled, lambda history, at: changed(history, at, scheduled=())),
        {"work"},
    ),
    "an activity is handed out under another name": Mutation(
        at_each(r.TurnCommitted, lambda one: one.scheduled, _renamed_item), {"work"}
    ),
    "an activity is handed out twice": Mutation(
        at_each(
            r.TurnCommitted,
            lambda one: one.scheduled,
            lambda history, at: changed(history, at, scheduled=history[at].record.scheduled * 2),
        ),
        {"work"},
    ),
    "an activity that was taken back waits": Mutation(
        at_each(r.TurnCommitted, lambda one: one.cancelled, lambda history, at: changed(history, at, cancelled=())),
        {"work"},
    ),
    "a timer is not set": Mutation(
        at_each(r.TurnCommitted, lambda one: one.timers, lambda history, at: changed(history, at, timers=())), {"timer"}
    ),
    "a timer is set for another time": Mutation(
        at_each(
            r.TurnCommitted,
            lambda one: one.timers,
            lambda history, at: changed(
                history,
                at,
                timers=tuple(replace(one, fire_at_ms=one.fire_at_ms + 1) for one in history[at].record.timers),
            ),
        ),
        {"timer"},
    ),
    "a timer that was taken back waits": Mutation(
        at_each(
            r.TurnCommitted,
            lambda one: one.timers_cancelled,
            lambda history, at: changed(history, at, timers_cancelled=()),
        ),
        {"timer"},
    ),
    "a child is not started": Mutation(
        at_each(r.TurnCommitted, _starts_child, lambda history, at: changed(history, at, sent=())), {"execution"}
    ),
    "a message goes to another partition": Mutation(
        at_each(r.TurnCommitted, lambda one: one.sent, _sent_elsewhere), {"key"}
    ),
    "an activity is acked twice": Mutation(_acked_again, {"work"}),
    "an activity is acked that was never scheduled": Mutation(
        at_each(r.WorkItemAcked, _any, lambda history, at: changed(history, at, activity_id=999)), {"work"}
    ),
    "an ack answers another activity": Mutation(
        at_each(r.WorkItemAcked, lambda one: one.sent is not None, _acked_for_another), {"answer"}
    ),
    "an ack is left out": Mutation(
        at_each(r.WorkItemAcked, lambda one: one.sent is not None, lambda history, at: changed(history, at, sent=None)),
        {"inbox", "answer"},
    ),
    "a delivery is of nothing that waits": Mutation(
        at_each(ENVELOPED, lambda one: one.envelope.last, _delivery_of_nothing), {"work"}
    ),
    "a position goes back": Mutation(_positions_back, {"position"}),
    "a position does not cover what was consumed": Mutation(
        _envelope(positions=(), of=lambda one: any(p.lane is not r.Lane.WORKER for p in one.envelope.positions)),
        {"position"},
    ),
}


def _cut_at_the_end(history: History) -> Iterator[tuple[int, History]]:
    ends = places(history, ENVELOPED, lambda one: one.envelope.last)
    for at in ends[-3:]:
        yield at, history[: at + 1]


def _last_record_of_another_node(history: History) -> Iterator[tuple[int, History]]:
    record = history[-1].record
    last: Written = history[-1].saying(replace(record, envelope=replace(record.envelope, node="a lie")))
    yield len(history) - 1, [*history[:-1], last]


INVISIBLE: dict[str, tuple[Change, str]] = {
    "the log ends earlier, between two batches": (
        _cut_at_the_end,
        "a history that ends earlier is a history; the store's head, the file of ends and the owner's digest know more",
    ),
    "the last record says another node": (
        _last_record_of_another_node,
        "the chain in a record covers those before it; the head in the store, and the log's own checksums, cover it",
    ),
    "every record after it is forged too": (
        _envelope(node="a lie"),
        "who can rewrite a log to its end can write any history that could have happened; nothing is signed",
    ),
}
