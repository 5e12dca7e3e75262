"""What is written for a turn, and where does each part of it go?"""

from typing import Any

import pytest
from msgspec import structs

from engine.errors import TurnTooLarge
from engine.model.events import ActivityCompleted, OrchestrationStarted
from engine.model.key_values import KeyValueChange
from engine.model.messages import AnyMessage, CompleteActivity, FireTimer, RaiseEvent
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ActivityRef, Disposition, ExecutionMetadata, TimerRef, TurnResult
from engine.model.work import WorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.answer_token import TAG_HEADER, TOKEN_HEADER, Issuer
from provider_log.partition.inbox import Entry
from provider_log.partition.plan import Limits, Place, PlannedTurn, plan_turn, unsealed
from provider_log.routing import partition_of
from provider_log.store.tables import InstanceRow
from provider_log.topics import OWNER_HEADER, VISIBLE_HEADER, Topics

NULL = Payload(b"null")
TOPICS = Topics.of("app")
HOME = partition_of("i", 4)
PLACE = Place(TOPICS, HOME, 4)
ISSUER = Issuer(frozenset({"gpu"}), b"k" * 16)
LIMITS = Limits(turn_bytes_max=10_000, part_bytes_max=1_000, record_bytes_max=100_000)
ENVELOPE = unsealed(b"o" * 16, 3, 1_000, "n", 1)
STARTED = OrchestrationStarted(event_id=1, timestamp_ms=1, name="go", version="2", input=NULL, incarnation=7)
ROW = InstanceRow(
    name="go", version="2", execution_id=1, incarnation=7, status=Status.RUNNING, revision=1, created_at_ms=1,
    updated_at_ms=1, last_event_id=1, event_count=1,
)  # fmt: skip
ENTRY = Entry(instance="i", lane=r.Lane.ORCHESTRATOR, place=5, message=None, arrived_at_ms=1, message_id="m")
TIMER = FireTimer(instance="i", incarnation=7, execution_id=1, timer_id=3, fire_at_ms=5_000)


def planned(result: TurnResult, entries: tuple[Entry, ...] = (), row: InstanceRow | None = ROW) -> PlannedTurn:
    return plan_turn("i", result, entries, row, ENVELOPE, PLACE, LIMITS, ISSUER)


def turn(**fields: Any) -> TurnResult:
    return TurnResult(execution_id=1, **fields)


def elsewhere() -> str:
    return next(name for name in map(str, range(100)) if partition_of(name, 4) != HOME)


def event(instance: str) -> AnyMessage:
    return RaiseEvent(instance=instance, name="e", data=NULL)


def test_an_empty_turn_is_one_record() -> None:
    (record,) = planned(turn()).records
    assert record == r.TurnCommitted(envelope=ENVELOPE, instance="i", incarnation=7, execution_id=1)


def test_the_first_event_names_an_instance_that_has_no_name() -> None:
    (record,) = planned(turn(history_delta=(STARTED,)), row=None).records
    assert (record.orchestration_name, record.orchestration_version, record.incarnation) == ("go", "2", 7)
    (again,) = planned(turn(history_delta=(STARTED,))).records
    assert (again.orchestration_name, again.orchestration_version) == (None, None)


def test_a_message_to_the_own_partition_is_in_the_record_alone() -> None:
    plan = planned(turn(messages=(event("i"),)))
    assert plan.outgoing == ()
    assert plan.own_messages == (event("i"),)
    assert [(sent.partition, sent.instance) for sent in plan.records[0].sent] == [(HOME, "i")]


def test_a_message_to_another_partition_leaves_by_its_topic_and_is_copied_for_audit() -> None:
    away = elsewhere()
    plan = planned(turn(messages=(event(away),)))
    (record,) = plan.outgoing
    assert (record.topic, record.partition, record.key) == (TOPICS.messages, partition_of(away, 4), away.encode())
    assert dict(record.headers) == {OWNER_HEADER: b"%d" % HOME}
    assert codec.decode_message(record.value or b"") == event(away)
    assert [(sent.partition, sent.data) for sent in plan.records[0].sent] == [(partition_of(away, 4), record.value)]


def test_a_timer_of_another_instance_is_a_message_for_later() -> None:
    away = elsewhere()
    timer = FireTimer(instance=away, incarnation=7, execution_id=1, timer_id=3, fire_at_ms=5_000)
    (record,) = planned(turn(messages=(timer,))).outgoing
    assert dict(record.headers)[VISIBLE_HEADER] == b"5000"


def test_an_own_timer_is_a_row_and_no_message() -> None:
    plan = planned(turn(messages=(TIMER,), cancelled_timers=(TimerRef(1, 2),)))
    assert (plan.outgoing, plan.own_messages) == ((), ())
    assert plan.records[0].timers == (r.TimerSet(1, 3, 5_000),)
    assert plan.records[0].timers_cancelled == (r.TimerKey(1, 2),)


def test_keys_are_spread_over_parts_in_their_order() -> None:
    changes = (
        KeyValueChange(),
        *(KeyValueChange(f"k{n}", Payload(b"x" * 600)) for n in range(3)),
        KeyValueChange("k1"),
    )
    records = planned(turn(key_values=changes)).records
    assert len(records) > 1
    assert tuple(change for record in records for change in record.key_values) == changes
    assert [record.parts for record in records] == [len(records)] * len(records)


def item_of(session_id: str | None, tag: str | None = "t") -> WorkItem:
    item = WorkItem(instance="i", incarnation=7, execution_id=1, activity_id=2, name="act", input=NULL)
    return structs.replace(item, session_id=session_id, tag=tag)


@pytest.mark.parametrize(("session_id", "tag"), [(None, "t"), ("i", "t"), ("i::sub::5", None), (elsewhere(), "gpu")])
def test_an_activity_is_in_the_record_and_on_the_worker_topic(session_id: str | None, tag: str | None) -> None:
    """Whatever session it has that is here, or any if others serve its tag."""
    item = item_of(session_id, tag)
    plan = planned(turn(work_items=(item,)))
    (scheduled,) = plan.records[0].scheduled
    assert (scheduled.activity_id, scheduled.session_id, scheduled.tag) == (2, session_id, tag)
    assert (scheduled.partition, plan.work_items) == (None, (item,))
    (record,) = plan.outgoing
    assert (record.topic, record.partition, record.value) == (TOPICS.worker, HOME, scheduled.data)
    assert (record.key, dict(record.headers)[OWNER_HEADER]) == (b"i", b"%d" % HOME)


def test_an_activity_of_a_session_elsewhere_leaves_by_the_worker_topic() -> None:
    away, number = elsewhere(), partition_of(elsewhere(), 4)
    plan = planned(turn(work_items=(item_of(away),)))
    (scheduled,) = plan.records[0].scheduled
    assert (scheduled.partition, scheduled.session_id, plan.work_items) == (number, away, ())
    (record,) = plan.outgoing
    assert (record.topic, record.partition, record.key) == (TOPICS.worker, number, away.encode())
    assert (record.value, dict(record.headers)) == (scheduled.data, {OWNER_HEADER: b"%d" % HOME})


def test_what_is_taken_back_of_a_session_elsewhere_goes_there_behind_what_it_is_about() -> None:
    away, number = elsewhere(), partition_of(elsewhere(), 4)
    refs = (ActivityRef("i", 1, 2, away, "t"), ActivityRef("i", 1, 3), ActivityRef("i", 1, 4, away, "gpu"))
    plan = planned(turn(work_items=(item_of(away),), cancelled_activities=refs))
    assert [key.partition for key in plan.records[0].cancelled] == [number, None, None]
    item, taken_back = plan.outgoing
    assert codec.decode_work(item.value or b"") == item_of(away)
    assert codec.decode_work(taken_back.value or b"") == r.WorkItemTakenBack(
        instance="i", execution_id=1, activity_id=2
    )
    assert (taken_back.partition, taken_back.key, taken_back.headers) == (item.partition, item.key, item.headers)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_an_end_is_told_on_the_outcomes_topic(status: Status) -> None:
    (record,) = planned(turn(metadata=ExecutionMetadata(status=status, output=NULL))).outgoing
    assert (record.topic, record.partition, record.key) == (TOPICS.outcomes, HOME, b"i")
    assert codec.decode_outcome(record.value or b"") == r.Outcome(
        instance="i", incarnation=7, execution_id=1, status=status, ended_at_ms=1_000, output=NULL
    )


@pytest.mark.parametrize("status", [None, Status.RUNNING, Status.CONTINUED_AS_NEW])
def test_what_is_no_end_is_not_told(status: Status | None) -> None:
    assert planned(turn(metadata=ExecutionMetadata(status=status))).outgoing == ()


def test_what_was_consumed_is_named_with_what_became_of_it() -> None:
    (record,) = planned(turn(dispositions=(Disposition.STALE,)), entries=(ENTRY,)).records
    assert record.consumed == (
        r.Consumed(lane=r.Lane.ORCHESTRATOR, place=5, disposition=Disposition.STALE, message_id="m"),
    )
    (applied,) = planned(turn(), entries=(ENTRY,)).records
    assert applied.consumed[0].disposition is Disposition.APPLIED


def test_too_few_dispositions_are_a_defect() -> None:
    with pytest.raises(ValueError, match="zip"):
        planned(turn(dispositions=(Disposition.STALE,)), entries=(ENTRY, ENTRY))


def test_a_large_turn_is_parts_that_hold_everything_once_and_in_order() -> None:
    history = tuple(
        ActivityCompleted(event_id=number, timestamp_ms=1, source_event_id=1, result=Payload(b"x" * 400))
        for number in range(2, 12)
    )
    records = planned(
        turn(history_delta=history, metadata=ExecutionMetadata(status=Status.COMPLETED, output=NULL))
    ).records
    assert len(records) > 3
    assert [(record.part, record.parts) for record in records] == [(n, len(records)) for n in range(len(records))]
    assert [blob.event_id for record in records for blob in record.events] == list(range(2, 12))
    assert [record.status for record in records[:-1]] == [None] * (len(records) - 1)
    assert records[-1].status is Status.COMPLETED
    assert all(sum(len(blob.data) for blob in record.events) <= LIMITS.part_bytes_max for record in records)


def test_a_value_larger_than_a_part_has_one_to_itself() -> None:
    history = (
        STARTED,
        ActivityCompleted(event_id=2, timestamp_ms=1, source_event_id=1, result=Payload(b"x" * 5_000)),
    )
    assert [len(record.events) for record in planned(turn(history_delta=history)).records] == [1, 1]


@pytest.mark.parametrize("size", [9_000, 11_000])
def test_the_bound_of_a_turn_is_its_bytes(size: int) -> None:
    history = (ActivityCompleted(event_id=2, timestamp_ms=1, source_event_id=1, result=Payload(b"x" * size)),)
    if size < LIMITS.turn_bytes_max:
        planned(turn(history_delta=history))
    else:
        with pytest.raises(TurnTooLarge):
            planned(turn(history_delta=history))


def test_a_work_item_is_published_with_a_token_if_others_serve_its_tag() -> None:
    def published(tag: str | None) -> dict[str, bytes]:
        item = WorkItem(instance="i", incarnation=7, execution_id=1, activity_id=2, name="a", input=NULL, tag=tag)
        (record,) = planned(turn(work_items=(item,))).outgoing
        return dict(record.headers)

    assert published(None) == published("cpu") == {OWNER_HEADER: b"%d" % HOME}
    headers = published("gpu")
    assert headers[TAG_HEADER] == b"gpu"
    answer = CompleteActivity(instance="i", incarnation=7, execution_id=1, activity_id=2, result=NULL)
    assert ISSUER.has_issued(headers[TOKEN_HEADER], answer)
    assert not Issuer(ISSUER.tags, b"l" * 16).has_issued(headers[TOKEN_HEADER], answer)
    for other in ({"instance": "j"}, {"incarnation": 8}, {"execution_id": 2}, {"activity_id": 3}):
        assert not ISSUER.has_issued(headers[TOKEN_HEADER], structs.replace(answer, **other))
