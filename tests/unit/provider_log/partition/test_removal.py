"""What becomes of what is under way when a tree is deleted? Between admission and commit, and when there is none."""

import pytest

from engine.errors import LeaseLost, Refused
from engine.model.events import AnyEvent, OrchestrationStarted
from engine.model.messages import AnyMessage, CompleteActivity, FireTimer, RaiseEvent, StartOrchestration
from engine.model.payload import NULL
from engine.model.removal import DeletedCounts, PrunedCounts, PruneOptions
from engine.model.status import Status
from engine.model.tags import DEFAULT_ONLY
from engine.model.turn import Disposition, ExecutionMetadata, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem
from provider_log import records as r
from tests.unit.provider_log.partition.live import TOPICS, Bench

pytestmark = pytest.mark.anyio
LOCK_MS = 60_000


def start(instance: str) -> StartOrchestration:
    return StartOrchestration(instance=instance, name="go", version="1", input=NULL)


def item_of(instance: str, incarnation: int) -> WorkItem:
    return WorkItem(instance=instance, incarnation=incarnation, execution_id=1, activity_id=2, name="act", input=NULL)


def taken(bench: Bench) -> OrchestrationItem:
    item = bench.live.messages.take(LOCK_MS)
    assert item is not None
    return item


def worked_on(bench: Bench) -> FetchedWorkItem:
    item = bench.live.work.take(LOCK_MS, DEFAULT_ONLY)
    assert item is not None
    return item


def begin(bench: Bench, instance: str, incarnation: int = 1, *, messages: tuple[AnyMessage, ...] = ()) -> None:
    """Admit a first turn that schedules activity 2. Its start has arrived."""
    item = taken(bench)
    assert item.instance == instance
    events: tuple[AnyEvent, ...] = (
        OrchestrationStarted(
            event_id=1, timestamp_ms=item.now_ms, name="go", version="1", input=NULL, incarnation=incarnation
        ),
    )
    named = ExecutionMetadata(orchestration_name="go", orchestration_version="1", incarnation=incarnation)
    result = TurnResult(
        execution_id=1,
        history_delta=events,
        metadata=named,
        work_items=(item_of(instance, incarnation),),
        messages=messages,
    )
    bench.live.ack_turn(item.lock_token, result)


def end(bench: Bench, instance: str, offset: int, status: Status = Status.COMPLETED, execution_id: int = 1) -> None:
    bench.send(RaiseEvent(instance=instance, name="end", data=NULL), offset=offset)
    ended = TurnResult(execution_id=execution_id, metadata=ExecutionMetadata(status=status))
    bench.live.ack_turn(taken(bench).lock_token, ended)


async def test_what_came_by_a_topic_is_settled_so_that_its_lane_goes_on() -> None:
    bench = Bench()
    bench.send(start("i"), offset=0)
    bench.send(start("other"), offset=1)
    begin(bench, "i", messages=(RaiseEvent(instance="i", name="own", data=NULL),))
    bench.send(start("i::sub::2"), offset=2, lane=r.Lane.MESSAGES)
    for offset in (2, 3):
        bench.send(RaiseEvent(instance="i", name="e", data=NULL, message_id=f"m{offset}"), offset=offset)
    taken(bench)
    bench.commit()
    assert bench.live.removal.delete("i") == DeletedCounts(instances=1, executions=1, events=1, queue_messages=5)
    records, _ = bench.commit()
    settled = [record for record in records if isinstance(record, r.InputsSettled)]
    places = {(record.instance, one.lane, one.place) for record in settled for one in record.consumed}
    assert places == {
        ("i", r.Lane.ORCHESTRATOR, 2),
        ("i", r.Lane.ORCHESTRATOR, 3),
        ("i::sub::2", r.Lane.MESSAGES, 2),
    }
    assert {one.disposition for record in settled for one in record.consumed} == {Disposition.OTHER_INCARNATION}
    assert isinstance(records[-1], r.InstanceDeleted)
    positions = {position.lane: position for position in records[-1].envelope.positions}
    assert positions[r.Lane.ORCHESTRATOR] == r.Position(r.Lane.ORCHESTRATOR, 1, (2, 3)), "`other` waits at 1"
    assert bench.live.depths == (0, 0, 0), "`other` is locked"
    assert not bench.live.messages.is_seen("i", "m2")
    assert bench.open().depths == (0, 0, 0), "a restore finds nothing of the tree in the rows either"


async def test_timers_and_parked_messages_go_too() -> None:
    bench = Bench()
    bench.send(start("i"), offset=0)
    later = bench.live.ledger.now_ms() + 5_000
    timer = FireTimer(instance="i", incarnation=1, execution_id=1, timer_id=3, fire_at_ms=later)
    begin(bench, "i", messages=(timer,))
    bench.send(RaiseEvent(instance="i", name="e", data=NULL), offset=1)
    bench.commit()
    bench.clock.advance(bench.around.options.input_age_max_ms + 1)
    bench.live.messages.park_overdue()
    bench.commit()
    assert bench.live.removal.delete("i").queue_messages == 3
    bench.commit()
    assert bench.live.depths == bench.open().depths == (0, 0, 0)


async def test_an_activity_of_the_last_life_cannot_answer_the_next_ones_before_the_commit_either() -> None:
    bench = Bench()
    bench.send(start("i"), offset=0)
    begin(bench, "i")
    bench.commit()
    old = worked_on(bench)
    bench.live.removal.delete("i")
    bench.send(start("i"), offset=1)
    begin(bench, "i", incarnation=2)
    answer = CompleteActivity(instance="i", incarnation=1, execution_id=1, activity_id=2, result=NULL)
    for _ in range(2):
        with pytest.raises(LeaseLost):
            bench.live.work.ack(old.lock_token, answer)
        with pytest.raises(LeaseLost):
            bench.live.work.renew(old.lock_token, LOCK_MS)
        if not old.revoked.is_set():
            bench.commit()
    assert old.revoked.is_set()
    assert worked_on(bench).item == item_of("i", 2)
    assert bench.live.work.take(LOCK_MS, DEFAULT_ONLY) is None


async def test_work_that_was_scheduled_and_deleted_in_one_batch_is_never_handed_out() -> None:
    bench = Bench()
    bench.send(start("i"), offset=0)
    begin(bench, "i")
    bench.live.removal.delete("i")
    bench.commit()
    assert bench.live.work.take(LOCK_MS, DEFAULT_ONLY) is None


async def test_a_deletion_that_was_not_committed_did_not_happen() -> None:
    bench = Bench()
    bench.send(start("i"), offset=0)
    begin(bench, "i", messages=(RaiseEvent(instance="i", name="own", data=NULL),))
    bench.commit()
    old = worked_on(bench)
    bench.live.removal.delete("i")
    bench.live = bench.open()
    assert not old.revoked.is_set()
    bench.live.work.renew(old.lock_token, LOCK_MS)
    assert taken(bench).messages == (RaiseEvent(instance="i", name="own", data=NULL),)


async def test_the_outcomes_of_those_who_ended_are_taken_back() -> None:
    bench = Bench()
    for offset, instance in enumerate(("i", "i::sub::2", "i::sub::3")):
        lane = r.Lane.ORCHESTRATOR if instance == "i" else r.Lane.MESSAGES
        bench.send(start(instance), offset=offset, lane=lane)
        begin(bench, instance)
    end(bench, "i::sub::2", 3)
    end(bench, "i", 4)
    bench.commit()
    with pytest.raises(Refused, match="expected an instance that has ended, or force, but i::sub::3 is running"):
        bench.live.removal.check("delete_instance", "i", force=False)
    bench.live.removal.delete("i")
    _, outgoing = bench.commit()
    assert [(one.topic, one.key, one.value) for one in outgoing] == [
        (TOPICS.outcomes, b"i", None),
        (TOPICS.outcomes, b"i::sub::2", None),
    ]


async def test_an_answer_for_who_is_gone_is_recorded_as_another_lifes() -> None:
    bench = Bench()
    answer = CompleteActivity(instance="i", incarnation=1, execution_id=1, activity_id=2, result=NULL)
    bench.send(answer, offset=0, lane=r.Lane.MESSAGES)
    assert bench.live.messages.take(LOCK_MS) is None
    (settled,), _ = bench.commit()
    assert isinstance(settled, r.InputsSettled)
    assert [one.disposition for one in settled.consumed] == [Disposition.OTHER_INCARNATION]


async def test_pruning_nothing_writes_nothing() -> None:
    bench = Bench()
    bench.send(start("i"), offset=0)
    begin(bench, "i")
    bench.commit()
    assert bench.live.removal.prune("i", PruneOptions()) == PrunedCounts()
    assert bench.live.ledger.open_batch.records == []
    with pytest.raises(Refused, match="expected an instance nobody, but there is none"):
        bench.live.removal.prune("nobody", PruneOptions())
