"""What can be wrong with a history: each kind changes one thing, and says what the checker must call it.

`BROKEN` changes bytes or order and leaves the hash chain as it was. `FORGED` makes the chain fit afterwards, so that
the rule which the change breaks must see it alone. `INVISIBLE` is what no reader of one history can see, and why.
"""

from typing import NamedTuple

from msgspec.structs import replace

from engine.model import events as on
from engine.model.limits import WorkLimits
from engine.model.status import Status
from provider_log import records as r
from tests.unit.provider_log.audit import changes as make
from tests.unit.provider_log.audit.changes import Change
from tests.unit.provider_log.audit.recorded import changed


class Mutation(NamedTuple):
    """One kind of change, and the kinds of finding of which one at least must be there."""

    change: Change
    found_as: set[str]


BROKEN: dict[str, Mutation] = {
    "a record is removed": Mutation(make.removed, {"batch", "chain", "void"}),
    "two records are swapped": Mutation(make.swapped, {"batch", "chain", "void"}),
    "a record is there twice": Mutation(make.repeated, {"batch", "genesis", "chain"}),
    # Where the byte is one of the schema's fingerprint, the record is one that only a newer version might know.
    "a byte of a record is changed": Mutation(make.byte_changed, {"chain", "undecodable", "void", "newer"}),
    "a record is cut": Mutation(make.cut, {"undecodable"}),
    "a record says another chain": Mutation(make.chain_changed, {"chain"}),
    "the log ends in the middle of a batch": Mutation(make.log_ends_in_a_batch, {"batch"}),
    "a record of an old owner comes late": Mutation(make.of_an_old_owner, {"void"}),
    "a record of nobody's token": Mutation(make.of_a_stranger, {"void"}),
    "an offset goes back": Mutation(make.offset_back, {"batch"}),
    "a record lies under another key": Mutation(make.under_another_key, {"key"}),
}

FORGED: dict[str, Mutation] = {
    "the last record of a batch is removed": Mutation(make.end_of_batch_removed, {"batch"}),
    "the last-record flag is cleared": Mutation(make.envelope(last=False, of=lambda one: one.envelope.last), {"batch"}),
    "the last-record flag is set too soon": Mutation(
        make.envelope(last=True, of=lambda one: not one.envelope.last), {"batch"}
    ),
    "a batch number is left out": Mutation(make.envelope_of("batch", lambda batch: batch + 1), {"batch"}),
    "a batch says it has more records": Mutation(make.envelope_of("count", lambda count: count + 1), {"batch"}),
    "a record says another place in its batch": Mutation(make.envelope_of("index", lambda index: index + 1), {"batch"}),
    "time goes back": Mutation(make.envelope(time_ms=-1), {"time"}),
    "an apply version nobody knows": Mutation(make.envelope(apply_version=99), {"version"}),
    "there is no genesis": Mutation(make.without_genesis, {"genesis"}),
    "there are two": Mutation(make.with_two(r.Genesis), {"genesis"}),
    "a partition was created as another": Mutation(
        make.at_each(r.Genesis, make.always, lambda history, at: changed(history, at, partition=7)), {"genesis"}
    ),
    "an owner token is used again": Mutation(make.with_two(r.OwnershipAcquired), {"batch"}),
    "a part of a turn is left out": Mutation(
        make.at_each(r.TurnCommitted, make.always, make.parts_left_out), {"batch"}
    ),
    # Executions.
    "an activity is answered twice": Mutation(
        make.at_each_event(make.ACTIVITY_ANSWERS, make.answered_twice, of=make.always), {"answer"}
    ),
    "a timer fires twice": Mutation(
        make.at_each_event((on.TimerFired,), make.answered_twice, of=make.always), {"answer"}
    ),
    "a child is answered twice": Mutation(
        make.at_each_event(make.CHILD_ANSWERS, make.answered_twice, of=make.always), {"answer"}
    ),
    "an answer names what nobody asked": Mutation(
        make.at_each_event(
            make.ANSWERS, make.edited(lambda event: replace(event, source_event_id=999)), of=make.always
        ),
        {"answer"},
    ),
    "an answer names the start": Mutation(
        make.at_each_event(make.ANSWERS, make.edited(lambda event: replace(event, source_event_id=1)), of=make.always),
        {"answer"},
    ),
    "an answer is of another kind": Mutation(
        make.at_each_event(make.ANSWERS, make.edited(make.another_kind), of=make.always), {"answer"}
    ),
    "an answer says what nobody said": Mutation(
        make.at_each_event(
            (*make.ACTIVITY_ANSWERS, *make.CHILD_ANSWERS), make.edited(make.another_answer), of=make.hears_itself
        ),
        {"answer"},
    ),
    "an answer is left out": Mutation(
        make.at_each_event(make.ANSWERS, make.edited(make.as_status), of=make.hears_itself), {"answer"}
    ),
    "what is open at the end is not taken back": Mutation(
        make.at_each_event(make.TAKEN_BACK, make.edited(make.as_status), of=make.ends), {"left_open"}
    ),
    "a timer fires too soon": Mutation(
        make.at_each_event(
            (on.TimerCreated,),
            make.edited(lambda event: replace(event, fire_at_ms=event.fire_at_ms + 10**9)),
            of=make.keeps_open,
        ),
        {"timer"},
    ),
    "an event is left out": Mutation(
        make.at_each_event(
            make.EVENTS, lambda events, at: events[:at] + events[at + 1 :], of=lambda one: len(one.events) > 1
        ),
        {"execution"},
    ),
    "an event id is repeated": Mutation(
        make.at_each_event(make.EVENTS, lambda events, at: [events[at], *events[at:]], of=lambda one: bool(one.events)),
        {"execution"},
    ),
    "an execution starts twice": Mutation(
        make.at_each_event((on.OrchestrationStarted,), make.answered_twice, of=make.always), {"execution"}
    ),
    "an execution has no start": Mutation(
        make.at_each_event((on.OrchestrationStarted,), make.edited(make.as_status), of=make.always), {"execution"}
    ),
    "a deadline passes that nobody set": Mutation(
        make.at_each_event(
            (on.OrchestrationCancelRequested,),
            make.edited(lambda event: replace(event, is_deadline=True)),
            of=make.always,
        ),
        {"timer"},
    ),
    "a later execution has a deadline of its own": Mutation(
        make.at_each_event(
            (on.OrchestrationStarted,),
            make.edited(lambda event: replace(event, deadline_at_ms=2**60)),
            of=lambda one: one.execution_id > 1,
        ),
        {"execution"},
    ),
    "a life begins anew that has not ended": Mutation(
        make.at_each(
            r.TurnCommitted,
            lambda one: one.execution_id > 1 and one.events and one.events[0].event_id == 1,
            lambda history, at: changed(history, at, new_life=True, incarnation=history[at].record.incarnation + 1),
        ),
        {"execution"},
    ),
    "something happens after the end": Mutation(
        make.at_each_event(
            make.ENDS, lambda events, at: make.in_order([*events, make.as_status(events[at])]), of=make.always
        ),
        {"execution"},
    ),
    "an execution ends twice": Mutation(
        make.at_each_event(make.ENDS, make.answered_twice, of=make.always), {"execution"}
    ),
    "an execution ends in no event": Mutation(
        make.at_each_event(make.ENDS, make.edited(make.as_status), of=make.always), {"execution"}
    ),
    "an event cannot be decoded": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.events, make.event_undecodable), {"undecodable"}
    ),
    "an event is of the future": Mutation(
        make.at_each_event(
            make.EVENTS, make.edited(lambda event: replace(event, timestamp_ms=2**50)), of=lambda one: bool(one.events)
        ),
        {"time"},
    ),
    "the record says another end": Mutation(
        make.at_each(r.TurnCommitted, make.ends, lambda history, at: changed(history, at, status=Status.RUNNING)),
        {"execution"},
    ),
    "the record says another output": Mutation(
        make.at_each(
            r.TurnCommitted,
            lambda one: one.status is Status.COMPLETED,
            lambda history, at: changed(history, at, output=make.LIE),
        ),
        {"execution"},
    ),
    "an execution is skipped": Mutation(
        make.at_each(
            r.TurnCommitted,
            lambda one: one.events,
            lambda history, at: changed(history, at, execution_id=history[at].record.execution_id + 1),
        ),
        {"execution"},
    ),
    "a turn is of another life": Mutation(
        make.at_each(
            r.TurnCommitted,
            lambda one: one.events,
            lambda history, at: changed(history, at, incarnation=history[at].record.incarnation + 1),
        ),
        {"execution"},
    ),
    "a held instance takes a turn": Mutation(
        make.at_each(r.TurnCommitted, make.begins_batch, make.held_before), {"execution"}
    ),
    "a suspended instance takes a turn": Mutation(
        make.at_each(r.TurnCommitted, make.begins_batch, make.suspended_before), {"execution"}
    ),
    "an instance that has ended is suspended": Mutation(
        make.at_each(r.TurnCommitted, make.ends_instance, make.suspended_after), {"execution"}
    ),
    "an instance that is not held is resumed": Mutation(
        make.at_each(r.TurnCommitted, make.begins_batch, make.resumed_before), {"execution"}
    ),
    "an instance is deleted that is not there": Mutation(
        make.at_each(r.InstanceDeleted, make.begins_batch, make.deleted_twice), {"execution"}
    ),
    "another life is deleted": Mutation(
        make.at_each(
            r.InstanceDeleted,
            make.always,
            lambda history, at: changed(history, at, incarnation=history[at].record.incarnation + 1),
        ),
        {"execution"},
    ),
    "a child is deleted without its root": Mutation(
        make.at_each(r.TurnCommitted, make.is_of_a_child, make.child_deleted_before), {"execution"}
    ),
    "who was started again had not been deleted": Mutation(
        make.at_each(r.InstanceDeleted, lambda one: one.instance == "doomed", make.removal_left_out), {"execution"}
    ),
    "the current execution is pruned": Mutation(make.pruned(lambda ids: (*ids, ids[-1] + 1)), {"execution"}),
    "an execution is pruned twice": Mutation(make.pruned(lambda ids: (*ids, ids[-1])), {"execution"}),
    "an execution is pruned that never was": Mutation(make.pruned(lambda ids: (0, *ids)), {"execution"}),
    # What waits.
    "a message is consumed twice": Mutation(
        make.at_each(
            r.TurnCommitted, make.consumes(r.Lane.INBOX), make.with_consumed(r.Lane.INBOX, lambda one: (one, one))
        ),
        {"inbox"},
    ),
    "a timer is consumed twice": Mutation(
        make.at_each(
            r.TurnCommitted, make.consumes(r.Lane.TIMER), make.with_consumed(r.Lane.TIMER, lambda one: (one, one))
        ),
        {"timer"},
    ),
    "an input is consumed twice": Mutation(
        make.at_each(
            r.TurnCommitted,
            make.consumes(r.Lane.ORCHESTRATOR),
            make.with_consumed(r.Lane.ORCHESTRATOR, lambda one: (one, one)),
        ),
        {"position"},
    ),
    "a message is consumed that never came": Mutation(
        make.at_each(
            r.TurnCommitted,
            make.consumes(r.Lane.INBOX),
            make.with_consumed(r.Lane.INBOX, lambda one: (replace(one, place=one.place + 10**6),)),
        ),
        {"inbox"},
    ),
    "a timer is consumed that was never set": Mutation(
        make.at_each(
            r.TurnCommitted,
            make.consumes(r.Lane.TIMER),
            make.with_consumed(r.Lane.TIMER, lambda one: (replace(one, place=one.place + 10**6),)),
        ),
        {"timer"},
    ),
    "an answer comes from no message": Mutation(
        make.at_each(r.TurnCommitted, make.answers_from_inbox, make.nothing_from_inbox), {"answer"}
    ),
    "an activity is not handed out": Mutation(
        make.at_each(
            r.TurnCommitted, lambda one: one.scheduled, lambda history, at: changed(history, at, scheduled=())
        ),
        {"work"},
    ),
    "an activity is handed out under another name": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.scheduled, make.renamed_item), {"work"}
    ),
    "an activity is handed out twice": Mutation(
        make.at_each(
            r.TurnCommitted,
            lambda one: one.scheduled,
            lambda history, at: changed(history, at, scheduled=history[at].record.scheduled * 2),
        ),
        {"work"},
    ),
    "an activity that was taken back waits": Mutation(
        make.at_each(
            r.TurnCommitted, lambda one: one.cancelled, lambda history, at: changed(history, at, cancelled=())
        ),
        {"work"},
    ),
    "a timer is not set": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.timers, lambda history, at: changed(history, at, timers=())),
        {"timer"},
    ),
    "a timer is set for another time": Mutation(
        make.at_each(
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
        make.at_each(
            r.TurnCommitted,
            lambda one: one.timers_cancelled,
            lambda history, at: changed(history, at, timers_cancelled=()),
        ),
        {"timer"},
    ),
    "a child is not started": Mutation(
        make.at_each(r.TurnCommitted, make.starts_child, lambda history, at: changed(history, at, sent=())),
        {"execution"},
    ),
    "a work item waits where its session is not": Mutation(
        make.at_each(
            r.TurnCommitted, lambda one: one.scheduled and one.scheduled[0].partition is not None, make.item_elsewhere
        ),
        {"key"},
    ),
    "a work item is of another session than was asked for": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.scheduled, make.item_of_another_session), {"work"}
    ),
    "a work item has a limit that was not asked for": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.scheduled, make.item_with(limits=WorkLimits(run_timeout_ms=1))),
        {"work"},
    ),
    "a work item has details that no attempt left": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.scheduled, make.item_with(heartbeat=make.LIE)), {"work"}
    ),
    "a work item is late at another time than it says": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.scheduled, make.late_at_another_time), {"work"}
    ),
    "a heartbeat is of nothing that waits": Mutation(
        make.at_each(r.WorkItemHeartbeat, make.always, lambda history, at: changed(history, at, activity_id=999)),
        {"work"},
    ),
    "a failure has other details than were said": Mutation(
        make.at_each_event(
            (on.ActivityFailed,), make.edited(lambda event: replace(event, heartbeat=make.LIE)), of=make.hears_itself
        ),
        {"answer"},
    ),
    "a work item is taken in where its session is not": Mutation(
        make.at_each(r.WorkItemEnqueued, make.always, make.taken_in_of_another_session), {"key"}
    ),
    "a key is changed as no event says": Mutation(
        make.at_each(
            r.TurnCommitted, lambda one: one.key_values, lambda history, at: changed(history, at, key_values=())
        ),
        {"execution"},
    ),
    "a key is changed that no event says": Mutation(
        make.at_each(r.TurnCommitted, make.always, make.key_changed), {"execution"}
    ),
    "a message goes to another partition": Mutation(
        make.at_each(r.TurnCommitted, lambda one: one.sent, make.sent_elsewhere), {"key"}
    ),
    "an activity is acked twice": Mutation(make.acked_again, {"work"}),
    "an activity is acked that was never scheduled": Mutation(
        make.at_each(r.WorkItemAcked, make.always, lambda history, at: changed(history, at, activity_id=999)), {"work"}
    ),
    "an ack answers another activity": Mutation(
        make.at_each(r.WorkItemAcked, lambda one: one.sent is not None, make.acked_for_another), {"answer"}
    ),
    "an ack is left out": Mutation(make.ack_left_out(is_heard_here=True), {"inbox", "answer"}),
    "a delivery is of nothing that waits": Mutation(
        make.at_each(make.ENVELOPED, lambda one: one.envelope.last, make.delivery_of_nothing), {"work"}
    ),
    "a position goes back": Mutation(make.positions_back, {"position"}),
    "a position does not cover what was consumed": Mutation(
        make.envelope(positions=(), of=lambda one: any(p.lane is not r.Lane.WORKER for p in one.envelope.positions)),
        {"position"},
    ),
}


INVISIBLE: dict[str, tuple[Change, str]] = {
    "the log ends earlier, between two batches": (
        make.cut_at_the_end,
        "a history that ends earlier is a history; the store's head, the file of ends and the owner's digest know more",
    ),
    "the last record says another node": (
        make.last_record_of_another_node,
        "the chain in a record covers those before it; the head in the store, and the log's own checksums, cover it",
    ),
    "an ack of what an instance in another partition asked for is left out": (
        make.ack_left_out(is_heard_here=False),
        "what was sent is consumed there; here it is as if the activity was taken away",
    ),
    "every record after it is forged too": (
        make.envelope(node="a lie"),
        "who can rewrite a log to its end can write any history that could have happened; nothing is signed",
    ),
}
