"""What does each kind of record do to the store, and to nothing else?"""

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from engine.model.failure import Category, Failure
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import Disposition
from engine.model.version import EngineVersion
from provider_log import records as r
from provider_log.store import keys
from provider_log.store.apply import _VERSIONS as VERSIONS  # pyright: ignore[reportPrivateUsage]
from provider_log.store.apply import SEEN_IDS_MAX, VERSION, apply
from provider_log.store.keys import Table
from provider_log.store.memory import DictStore
from provider_log.store.tables import (
    ElsewhereRow,
    ExecutionRow,
    GenesisRow,
    InboxRow,
    InstanceRow,
    PositionRow,
    Row,
    TimerRow,
    WorkRow,
    unpack,
    unpack_number,
)

ENVELOPE = r.Envelope(
    owner_token=b"o" * 16, batch=1, index=0, count=1, last=True, apply_version=1, chain=bytes(16), time_ms=1_000,
    node="n",
)  # fmt: skip
LATER = replace(ENVELOPE, time_ms=2_000)
OUTPUT, LOST = Payload(b"42"), Failure(Category.APPLICATION, "Lost", "the code left its path")


def turn(**fields: Any) -> r.TurnCommitted:
    given: dict[str, Any] = {"envelope": ENVELOPE, "instance": "i", "incarnation": 7, "execution_id": 1}
    return r.TurnCommitted(**(given | fields))


def store_after(*records: r.AnyRecord, partition: int = 0) -> DictStore:
    store = DictStore()
    for record in records:
        store.write(apply(store, record, partition))
    return store


def row(store: DictStore, kind: type[Row], key: bytes) -> Row:
    data = store.get(key)
    assert data is not None, (
        f"expected a row {keys.describe(key)}, but there are {list(map(keys.describe, store.rows))}"
    )
    return unpack(kind, data)


def instance(store: DictStore) -> InstanceRow:
    return row(store, InstanceRow, keys.instance_prefix(Table.INSTANCE, "i"))


def named(store: DictStore, table: Table) -> list[str]:
    return [keys.describe(key) for key, _ in store.scan(keys.table_prefix(table))]


def events(*ids: int) -> tuple[r.EventBlob, ...]:
    return tuple(r.EventBlob(number, b"event %d" % number) for number in ids)


def scheduled(number: int) -> r.Scheduled:
    return r.Scheduled(instance="i", execution_id=1, activity_id=number, data=b"work %d" % number)


def test_every_kind_of_record_has_a_rule_in_every_version() -> None:
    assert {version: set(rules) for version, rules in VERSIONS.items()} == {VERSION: set(get_args(r.AnyRecord))}


def test_a_record_of_an_apply_version_that_is_not_here_is_refused() -> None:
    with pytest.raises(KeyError):
        store_after(turn(envelope=replace(ENVELOPE, apply_version=99)))


def test_the_first_turn_makes_the_instance_its_execution_and_its_history() -> None:
    store = store_after(turn(events=events(1, 2), orchestration_name="go", orchestration_version="2"))
    assert instance(store) == InstanceRow(
        name="go", version="2", execution_id=1, incarnation=7, status=Status.RUNNING, revision=1,
        created_at_ms=1_000, updated_at_ms=1_000, last_event_id=2, event_count=2,
    )  # fmt: skip
    assert row(store, ExecutionRow, keys.execution("i", 1)) == ExecutionRow(Status.RUNNING, 1_000, None, 2, 2)
    assert dict(store.scan(keys.history_prefix("i", 1))) == {
        keys.in_execution(Table.HISTORY, "i", 1, 1): b"event 1",
        keys.in_execution(Table.HISTORY, "i", 1, 2): b"event 2",
    }


def test_a_later_turn_keeps_what_it_does_not_say() -> None:
    first = turn(
        events=events(1), orchestration_name="go", orchestration_version="2", parent_instance="p",
        set_custom_status=True, custom_status="half",
    )  # fmt: skip
    found = instance(store_after(first, turn(envelope=LATER, events=events(2))))
    assert (found.name, found.version, found.parent_instance, found.custom_status) == ("go", "2", "p", "half")
    assert (found.created_at_ms, found.updated_at_ms, found.revision, found.event_count) == (1_000, 2_000, 2, 2)


def test_a_custom_status_may_be_taken_away() -> None:
    first = turn(set_custom_status=True, custom_status="half")
    found = instance(store_after(first, turn(set_custom_status=True, custom_status=None)))
    assert (found.custom_status, found.custom_status_version) == (None, 2)


def test_a_pin_stays_until_another_is_said_or_the_next_execution_begins() -> None:
    pinned, other = turn(pinned_version=EngineVersion(1, 0, 0)), turn(pinned_version=EngineVersion(1, 1, 0))
    assert instance(store_after(pinned, turn())).pinned_version == EngineVersion(1, 0, 0)
    assert instance(store_after(pinned, other)).pinned_version == EngineVersion(1, 1, 0)
    assert instance(store_after(pinned, turn(execution_id=2))).pinned_version is None
    late = store_after(turn(execution_id=2), pinned)
    assert instance(late).pinned_version is None, "expected the current execution's, but got an earlier one's"


def test_an_end_sets_output_and_time() -> None:
    store = store_after(turn(), turn(envelope=LATER, status=Status.COMPLETED, output=OUTPUT))
    assert (instance(store).status, instance(store).output) == (Status.COMPLETED, OUTPUT)
    execution = row(store, ExecutionRow, keys.execution("i", 1))
    assert (execution.status, execution.completed_at_ms, execution.output) == (Status.COMPLETED, 2_000, OUTPUT)


def test_after_continue_as_new_the_instance_runs_and_only_the_execution_has_ended() -> None:
    store = store_after(
        turn(events=events(1, 2, 3), status=Status.CONTINUED_AS_NEW, output=OUTPUT),
        turn(envelope=LATER, execution_id=2, events=events(1)),
    )
    found = instance(store)
    assert (found.status, found.execution_id, found.last_event_id, found.output) == (Status.RUNNING, 2, 1, None)
    assert row(store, ExecutionRow, keys.execution("i", 1)).status is Status.CONTINUED_AS_NEW
    assert row(store, ExecutionRow, keys.execution("i", 2)).started_at_ms == 2_000


def test_a_turn_in_parts_is_one_revision() -> None:
    store = store_after(
        turn(events=events(1), part=0, parts=3),
        turn(events=events(2), part=1, parts=3),
        turn(events=events(3), part=2, parts=3, status=Status.COMPLETED, output=OUTPUT),
    )
    found = instance(store)
    assert (found.revision, found.last_event_id, found.event_count, found.status) == (1, 3, 3, Status.COMPLETED)


def test_work_timers_and_messages_are_numbered_in_one_order() -> None:
    store = store_after(
        turn(
            scheduled=(scheduled(2), scheduled(3)),
            timers=(r.TimerSet(1, 4, 5_000),),
            sent=(
                r.Sent(partition=0, instance="j", data=b"one", visible_at_ms=3),
                r.Sent(partition=1, instance="k", data=b"two"),
            ),
        )
    )
    assert row(store, WorkRow, keys.in_execution(Table.WORK, "i", 1, 2)) == WorkRow(b"work 2", 1)
    assert row(store, WorkRow, keys.in_execution(Table.WORK, "i", 1, 3)) == WorkRow(b"work 3", 2)
    assert row(store, TimerRow, keys.in_execution(Table.TIMER, "i", 1, 4)) == TimerRow(5_000, 3, 7)
    assert row(store, InboxRow, keys.numbered(Table.INBOX, "j", 4)) == InboxRow(b"one", 3, 1_000)
    assert named(store, Table.INBOX) == ["INBOX j 4"], "expected what went to another partition to be there alone"
    assert unpack_number(store.get(keys.named(Table.META, "order"))) == 4


def test_what_is_scheduled_and_taken_back_in_one_turn_leaves_nothing() -> None:
    store = store_after(
        turn(
            scheduled=(scheduled(2), scheduled(3)),
            cancelled=(r.ActivityKey("i", 1, 2), r.ActivityKey("i", 1, 99)),
            timers=(r.TimerSet(1, 4, 5_000), r.TimerSet(1, 5, 5_000)),
            timers_cancelled=(r.TimerKey(1, 4), r.TimerKey(1, 98)),
        )
    )
    assert named(store, Table.WORK) == ["WORK i 1 3"]
    assert named(store, Table.TIMER) == ["TIMER i 1 5"]


def test_what_another_partition_has_makes_no_work_here_and_is_remembered_by_where() -> None:
    away = [replace(scheduled(number), partition=partition) for number, partition in ((2, 3), (4, 1), (5, 3))]
    store = store_after(turn(scheduled=(away[0], scheduled(3), away[1])), turn(scheduled=(away[2],)))
    assert named(store, Table.WORK) == ["WORK i 1 3"]
    assert row(store, ElsewhereRow, keys.instance_prefix(Table.ELSEWHERE, "i")) == ElsewhereRow((1, 3))
    taken_back = turn(cancelled=(r.ActivityKey("i", 1, 3, 1), r.ActivityKey("i", 1, 2, 3)))
    assert named(store_after(turn(scheduled=(scheduled(3),)), taken_back), Table.WORK) == ["WORK i 1 3"]


def test_what_is_consumed_is_gone_and_its_id_is_remembered() -> None:
    store = store_after(
        turn(timers=(r.TimerSet(1, 2, 5),), sent=(r.Sent(partition=0, instance="i", data=b"m"),)),
        turn(
            consumed=(
                r.Consumed(lane=r.Lane.TIMER, place=2, disposition=Disposition.APPLIED, execution_id=1),
                r.Consumed(lane=r.Lane.INBOX, place=2, disposition=Disposition.APPLIED),
                r.Consumed(lane=r.Lane.ORCHESTRATOR, place=9, disposition=Disposition.APPLIED, message_id="m-1"),
            )
        ),
    )
    assert named(store, Table.TIMER) == named(store, Table.INBOX) == []
    assert named(store, Table.SEEN) == ["SEEN i m-1"]
    assert instance(store).seen_count == 1


def test_of_an_instances_ids_the_last_thousand_are_remembered() -> None:
    store = DictStore()
    for number in range(SEEN_IDS_MAX + 3):
        consumed = r.Consumed(
            lane=r.Lane.ORCHESTRATOR, place=number, disposition=Disposition.APPLIED, message_id=f"m{number}"
        )
        store.write(apply(store, turn(consumed=(consumed,)), 0))
    assert store.get(keys.seen("i", "m2")) is None
    assert store.get(keys.seen("i", "m3")) is not None
    for table in (Table.SEEN, Table.SEEN_ORDER):
        assert len(named(store, table)) == SEEN_IDS_MAX


def test_positions_and_deliveries_of_the_envelope_are_kept() -> None:
    delivery = r.Delivery(
        instance="i", execution_id=1, activity_id=2, attempt=3, nonce=b"n", worker="w", lease_end_ms=9_000
    )
    unknown = replace(delivery, activity_id=98)
    envelope = replace(
        ENVELOPE, positions=(r.Position(r.Lane.ORCHESTRATOR, 5, (7, 9)),), deliveries=(delivery, unknown)
    )
    store = store_after(turn(scheduled=(scheduled(2),)), turn(envelope=envelope))
    assert row(store, PositionRow, keys.named(Table.POSITION, "orchestrator")) == PositionRow(5, (7, 9))
    work = row(store, WorkRow, keys.in_execution(Table.WORK, "i", 1, 2))
    assert (work.attempt, work.nonce, work.worker, work.lease_end_ms) == (3, b"n", "w", 9_000)
    assert named(store, Table.WORK) == ["WORK i 1 2"]


def test_a_heartbeat_stays_with_its_work_and_with_no_other() -> None:
    def said(activity_id: int, text: bytes) -> r.WorkItemHeartbeat:
        return r.WorkItemHeartbeat(
            envelope=LATER, instance="i", execution_id=1, activity_id=activity_id, heartbeat=Payload(text)
        )

    delivery = r.Delivery(
        instance="i", execution_id=1, activity_id=2, attempt=3, nonce=b"n", worker="w", lease_end_ms=9_000
    )
    items = (scheduled(2), replace(scheduled(3), start_by_ms=5_000))
    delivered = replace(said(2, b"2"), envelope=replace(LATER, deliveries=(delivery,)))
    store = store_after(turn(scheduled=items), said(2, b"1"), delivered, said(98, b"nobody's"))
    first = row(store, WorkRow, keys.in_execution(Table.WORK, "i", 1, 2))
    other = row(store, WorkRow, keys.in_execution(Table.WORK, "i", 1, 3))
    assert (first.heartbeat, first.attempt, first.start_by_ms) == (Payload(b"2"), 3, 0)
    assert (other.heartbeat, other.attempt, other.start_by_ms) == (None, 0, 5_000)
    assert named(store, Table.WORK) == ["WORK i 1 2", "WORK i 1 3"]


def test_an_answer_takes_the_work_and_leaves_a_message() -> None:
    acked = r.WorkItemAcked(
        envelope=LATER, instance="i", execution_id=1, activity_id=2, attempt=1, worker="w",
        sent=r.Sent(partition=0, instance="i", data=b"answer"),
    )  # fmt: skip
    store = store_after(turn(scheduled=(scheduled(2),)), acked)
    assert named(store, Table.WORK) == []
    assert row(store, InboxRow, keys.numbered(Table.INBOX, "i", 2)) == InboxRow(b"answer", 0, 2_000)


def test_work_from_outside_needs_no_instance() -> None:
    consumed = r.Consumed(lane=r.Lane.WORKER, place=1, disposition=Disposition.APPLIED)
    enqueued = r.WorkItemEnqueued(envelope=ENVELOPE, instance="i", scheduled=scheduled(2), consumed=consumed)
    store = store_after(enqueued)
    assert named(store, Table.WORK) == ["WORK i 1 2"]
    assert named(store, Table.INSTANCE) == []


def test_a_parked_message_waits_with_its_id_until_it_is_settled() -> None:
    consumed = r.Consumed(lane=r.Lane.ORCHESTRATOR, place=5, disposition=Disposition.PARKED, message_id="m")
    parked = r.Parked(envelope=ENVELOPE, consumed=consumed, instance="i", data=b"data", visible_at_ms=9)
    store = store_after(parked)
    assert row(store, InboxRow, keys.numbered(Table.INBOX, "i", 1)) == InboxRow(b"data", 9, 1_000, "m")
    assert named(store, Table.SEEN) == [], "expected the id to be remembered only once the message is consumed"
    settled = r.InputsSettled(
        envelope=ENVELOPE, instance="i",
        consumed=(r.Consumed(lane=r.Lane.INBOX, place=1, disposition=Disposition.ORPHAN, message_id="m"),),
    )  # fmt: skip
    store.write(apply(store, settled, 0))
    assert named(store, Table.INBOX) == named(store, Table.INSTANCE) == []


def held(**fields: Any) -> r.InstanceHeld:
    return r.InstanceHeld(
        envelope=LATER, instance="i", execution_id=1, orchestration_name="go", orchestration_version="1", failure=LOST,
        **fields,
    )  # fmt: skip


def test_a_held_instance_says_why_until_it_is_resumed() -> None:
    store = store_after(turn(orchestration_name="go"), held())
    assert (instance(store).status, instance(store).failure, instance(store).revision) == (Status.HELD, LOST, 2)
    store.write(apply(store, r.InstanceResumed(envelope=LATER, instance="i"), 0))
    assert (instance(store).status, instance(store).failure, instance(store).revision) == (Status.RUNNING, None, 3)


def test_an_instance_can_be_held_before_its_first_turn() -> None:
    found = instance(store_after(held()))
    assert (found.name, found.version, found.status, found.event_count) == ("go", "1", Status.HELD, 0)


def test_a_deleted_instance_leaves_nothing_of_its_tree_and_takes_nobody_else_with_it() -> None:
    def all_of(name: str) -> r.TurnCommitted:
        consumed = r.Consumed(lane=r.Lane.ORCHESTRATOR, place=1, disposition=Disposition.APPLIED, message_id="m")
        return turn(
            instance=name,
            events=events(1),
            consumed=(consumed,),
            timers=(r.TimerSet(1, 2, 5),),
            scheduled=(replace(scheduled(3), instance=name), replace(scheduled(4), instance=name, partition=1)),
            sent=(r.Sent(partition=0, instance=name, data=b"m"),),
        )

    alone = store_after(all_of("ia")).rows
    tree = [all_of(name) for name in ("i", "i::sub::2", "i::sub::2::sub::3")]
    both = store_after(all_of("ia"), *tree, r.InstanceDeleted(envelope=LATER, instance="i", incarnation=7)).rows
    order = keys.named(Table.META, "order")
    assert without(both, order) == without(alone, order)


def without(rows: Mapping[bytes, bytes], key: bytes) -> dict[bytes, bytes]:
    return {other: value for other, value in rows.items() if other != key}


def test_pruned_executions_are_gone_with_their_histories() -> None:
    store = store_after(
        turn(events=events(1), status=Status.CONTINUED_AS_NEW),
        turn(execution_id=2, events=events(1)),
        r.ExecutionsPruned(envelope=LATER, instance="i", execution_ids=(1,)),
    )
    assert named(store, Table.EXECUTION) == ["EXECUTION i 2"]
    assert named(store, Table.HISTORY) == ["HISTORY i 2 1"]


def test_a_pause_is_in_the_row_and_gone_when_it_is_over() -> None:
    suspended = (turn(events=events(1)), r.InstanceSuspended(envelope=LATER, instance="i", reason="a rest"))
    row = instance(store_after(*suspended))
    assert (row.status, row.suspend_reason, row.revision) == (Status.SUSPENDED, "a rest", 2)
    resumed = instance(store_after(*suspended, r.InstanceResumed(envelope=LATER, instance="i")))
    assert (resumed.status, resumed.suspend_reason, resumed.revision) == (Status.RUNNING, None, 3)
    nobody = store_after(r.InstanceSuspended(envelope=LATER, instance="i", reason="a rest"))
    assert named(nobody, Table.INSTANCE) == []


def test_a_repair_sets_and_removes_rows_as_it_says() -> None:
    repaired = r.StateRepaired(
        envelope=LATER, reason="why", rows=(r.RowRepaired(b"\x01a", b"1"), r.RowRepaired(b"\x01order", None))
    )
    store = store_after(turn(timers=(r.TimerSet(1, 2, 5),)), repaired)
    assert store.get(b"\x01a") == b"1"
    assert store.get(keys.named(Table.META, "order")) is None


def test_the_first_genesis_counts() -> None:
    genesis = r.Genesis(
        application="app", application_id=b"1" * 16, cluster_id="c", partition=3, partitions=4, routing="r", slots=4,
        created_at_ms=1,
    )  # fmt: skip
    store = store_after(genesis, replace(genesis, partitions=8), partition=3)
    assert row(store, GenesisRow, keys.named(Table.META, "genesis")).partitions == 4


def test_schemas_levels_and_owners_are_facts_of_the_partition() -> None:
    store = store_after(
        r.OwnershipAcquired(owner_token=b"o" * 16, node="n", address="", generation=0, slots=4),
        r.SchemasAdded(envelope=ENVELOPE, schemas=("one", "two")),
        r.FeatureLevelRaised(envelope=ENVELOPE, level=3),
        r.OwnershipReleased(envelope=ENVELOPE, clean=True),
    )
    assert set(store.rows) == {keys.schema("one"), keys.schema("two"), keys.named(Table.META, "feature_level")}


def test_a_release_writes_down_who_has_what() -> None:
    lease = r.Delivery(
        instance="i", execution_id=1, activity_id=2, attempt=2, nonce=b"n", worker="w", lease_end_ms=9_000
    )
    store = store_after(
        turn(scheduled=(scheduled(2),)), r.OwnershipReleased(envelope=LATER, clean=True, leases=(lease,))
    )
    assert row(store, WorkRow, keys.in_execution(Table.WORK, "i", 1, 2)).lease_end_ms == 9_000


def test_apply_changes_nothing_by_itself() -> None:
    store = store_after(turn(events=events(1)))
    before = dict(store.rows)
    apply(store, turn(events=events(2), status=Status.COMPLETED), 0)
    assert store.rows == before
