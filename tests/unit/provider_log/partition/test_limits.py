"""Does whatever a turn or an input brings go out in records that their topics take, or is refused before?

`Bench.commit` refuses a record that is larger than its topic takes; a broker would refuse the whole batch, again and
again, and take the partition with it.
"""

import pytest

from engine.errors import TurnTooLarge
from engine.model.events import OrchestrationCompleted, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.messages import CompleteActivity, EnqueueMessage, FireTimer, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.tags import TagFilter
from engine.model.turn import ActivityRef, Disposition, ExecutionMetadata, TimerRef, TurnResult
from engine.model.work import WorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.options import LogProviderOptions
from provider_log.partition.head import follow
from provider_log.store.apply import apply
from provider_log.store.memory import DictStore
from provider_log.store.tables import HeadRow
from tests.unit.provider_log.partition.live import TOKEN, Bench

NULL = Payload(b"null")
MIB = 1024 * 1024
EVERYTHING = TagFilter.everything()
START = StartOrchestration(instance="i", name="go", input=NULL)
STARTED = OrchestrationStarted(event_id=1, timestamp_ms=1, name="go", version="1", input=NULL, incarnation=7)

pytestmark = pytest.mark.anyio


def started(options: LogProviderOptions | None = None) -> tuple[Bench, str]:
    """A partition with one instance that is locked for its first turn, and the lock's token."""
    bench = Bench(options=options)
    bench.send(START, offset=0)
    item = bench.live.messages.take(60_000)
    assert item is not None
    return bench, item.lock_token


def turns(bench: Bench) -> list[r.TurnCommitted]:
    """Commit; the records of the turns, whose fold over nothing is the store."""
    before = dict(bench.store.rows)
    records, _ = bench.commit()
    folded = DictStore()
    folded.rows = before
    for record in records:
        folded.write(apply(folded, record, 0))
    head = {key: value for key, value in bench.store.rows.items() if key == b"\x01head"}
    assert folded.rows | head == bench.store.rows
    return [record for record in records if isinstance(record, r.TurnCommitted)]


def completed(size: int) -> TurnResult:
    output = Payload(b"x" * size)
    return TurnResult(
        execution_id=1,
        history_delta=(STARTED, OrchestrationCompleted(event_id=2, timestamp_ms=1, output=output)),
        metadata=ExecutionMetadata(status=Status.COMPLETED, output=output),
    )


@pytest.mark.parametrize("size", [0, 900_000, MIB, 2 * MIB, 2 * MIB + 500_000, 3 * MIB, 4 * MIB - 65_536 - 100])
async def test_an_output_that_one_record_holds_is_committed(size: int) -> None:
    bench, token = started()
    bench.live.ack_turn(token, completed(size))
    records = turns(bench)
    assert [record.part for record in records] == list(range(len(records)))
    assert {record.parts for record in records} == {len(records)}
    assert [record.status for record in records] == [None] * (len(records) - 1) + [Status.COMPLETED]
    assert records[-1].output == Payload(b"x" * size)


async def test_an_output_that_no_record_holds_is_refused_and_the_lock_stays() -> None:
    bench, token = started()
    with pytest.raises(TurnTooLarge):
        bench.live.ack_turn(token, completed(4 * MIB))
    assert len(bench.live.ledger.overlay) == 0
    bench.live.ack_turn(token, completed(10))
    assert len(turns(bench)) == 1


async def test_a_turn_over_its_bound_is_refused() -> None:
    bench, token = started(LogProviderOptions(turn_bytes_max=10_000))
    with pytest.raises(TurnTooLarge, match="at most 10000 bytes"):
        bench.live.ack_turn(token, completed(6_000))
    bench.live.ack_turn(token, completed(1_000))


async def test_a_custom_status_that_no_record_holds_is_refused() -> None:
    bench, token = started()
    status = ExecutionMetadata(set_custom_status=True, custom_status="x" * 5 * MIB)
    with pytest.raises(TurnTooLarge):
        bench.live.ack_turn(token, TurnResult(execution_id=1, history_delta=(STARTED,), metadata=status))


async def test_a_failure_as_large_as_a_record_has_one_of_its_own() -> None:
    bench, token = started()
    failure = Failure(Category.APPLICATION, "Boom", "x" * (3 * MIB))
    failed = ExecutionMetadata(status=Status.FAILED, failure=failure)
    bench.live.ack_turn(token, TurnResult(execution_id=1, history_delta=(STARTED,), metadata=failed))
    assert turns(bench)[-1].failure == failure


async def test_a_hundred_thousand_timers_are_set_and_each_one_fires() -> None:
    bench, token = started()
    at_ms = bench.clock.now_ms() + 10
    timers = tuple(
        FireTimer(instance="i", incarnation=7, execution_id=1, timer_id=number, fire_at_ms=at_ms)
        for number in range(2, 100_002)
    )
    bench.live.ack_turn(token, TurnResult(execution_id=1, history_delta=(STARTED,), messages=timers))
    assert sum(len(record.timers) for record in turns(bench)) == 100_000
    assert bench.live.messages.timers == 100_000
    bench.clock.advance(10)
    fired = 0
    while (item := bench.live.messages.take(60_000)) is not None:
        fired += len(item.messages)
        bench.live.ack_turn(item.lock_token, TurnResult(execution_id=1))
        turns(bench)
    assert fired == 100_000


async def test_activities_and_messages_of_many_parts_keep_their_order() -> None:
    bench, token = started()
    items = tuple(
        WorkItem(
            instance="i", incarnation=7, execution_id=1, activity_id=number, name="act", input=Payload(b"x" * 100_000)
        )
        for number in range(2, 52)
    )
    sent = tuple(RaiseEvent(instance="j", name=str(number), data=Payload(b"x" * 100_000)) for number in range(50))
    cancelled = (ActivityRef("i", 1, 51),)
    bench.live.ack_turn(
        token,
        TurnResult(
            execution_id=1, history_delta=(STARTED,), work_items=items, messages=sent, cancelled_activities=cancelled
        ),
    )
    assert len(turns(bench)) > 5
    handed_out = list[int]()
    while (fetched := bench.live.work.take(60_000, EVERYTHING)) is not None:
        handed_out.append(fetched.item.activity_id)
    assert handed_out == list(range(2, 51))
    bench.send(StartOrchestration(instance="j", name="go", input=NULL), offset=1)
    item = bench.live.messages.take(60_000)
    assert item is not None
    assert [message.name for message in item.messages if isinstance(message, RaiseEvent)] == [str(n) for n in range(50)]


async def test_a_timer_that_is_set_and_cancelled_in_one_turn_never_fires() -> None:
    bench, token = started()
    timer = FireTimer(instance="i", incarnation=7, execution_id=1, timer_id=2, fire_at_ms=bench.clock.now_ms())
    bench.live.ack_turn(
        token,
        TurnResult(execution_id=1, history_delta=(STARTED,), messages=(timer,), cancelled_timers=(TimerRef(1, 2),)),
    )
    turns(bench)
    assert bench.live.messages.take(60_000) is None


async def test_more_messages_than_a_record_can_name_are_consumed_in_several_turns() -> None:
    bench = Bench()
    bench.send(START, offset=0)
    for offset in range(1, 30_001):
        bench.send(RaiseEvent(instance="i", name="e", data=NULL, message_id=f"{offset:064}"), offset=offset)
    taken = list[int]()
    while (item := bench.live.messages.take(60_000)) is not None:
        taken.append(len(item.messages))
        events = (STARTED,) if len(taken) == 1 else ()
        bench.live.ack_turn(item.lock_token, TurnResult(execution_id=1, history_delta=events))
    bench.commit()
    assert sum(taken) == 30_001
    assert len(taken) > 1


async def test_more_orphans_than_a_transaction_holds_are_settled_in_several() -> None:
    bench = Bench(options=LogProviderOptions(orphan_grace_ms=0))
    for offset in range(60_000):
        bench.send(EnqueueMessage(instance="nobody", name="q", data=NULL, message_id=f"{offset:064}"), offset=offset)
    letters = list[int]()
    while sum(letters) < 60_000:
        assert bench.live.messages.take(60_000) is None
        records, outgoing = bench.commit()
        letters.append(sum(record.topic.endswith(".dead-letter") for record in outgoing))
        assert sum(len(one.consumed) for one in records if isinstance(one, r.InputsSettled)) == letters[-1]
        assert sum(record.size_bytes for record in outgoing) < 5 * MIB
    assert len(letters) > 1
    assert bench.live.messages.position(r.Lane.ORCHESTRATOR).start == 60_000


async def test_a_queue_message_waits_for_the_start_of_its_instance_and_then_becomes_a_letter() -> None:
    bench = Bench(options=LogProviderOptions(orphan_grace_ms=1_000))
    early = EnqueueMessage(instance="i", name="q", data=NULL)
    bench.send(early, offset=0)
    bench.send(EnqueueMessage(instance="nobody", name="q", data=NULL), offset=1)
    bench.clock.advance(999)
    assert bench.live.messages.take(60_000) is None
    bench.send(START, offset=2)
    item = bench.live.messages.take(60_000)
    assert item is not None
    assert item.messages == (early, START)
    bench.live.ack_turn(item.lock_token, TurnResult(execution_id=1, history_delta=(STARTED,)))
    bench.clock.advance(1)
    assert bench.live.messages.take(60_000) is None
    records, outgoing = bench.commit()
    assert [one.consumed[0].disposition for one in records if isinstance(one, r.InputsSettled)] == [Disposition.ORPHAN]
    (letter,) = [codec.decode_dead_letter(one.value or b"") for one in outgoing if one.topic.endswith(".dead-letter")]
    assert (letter.offset, letter.key) == (1, b"nobody")
    assert "nobody started it in time" in letter.reason
    assert codec.decode_message(letter.value or b"") == EnqueueMessage(instance="nobody", name="q", data=NULL)


async def test_an_answer_that_a_turn_could_not_hold_is_refused_and_the_lease_stays() -> None:
    bench, token = started()
    item = WorkItem(instance="i", incarnation=7, execution_id=1, activity_id=2, name="act", input=NULL)
    bench.live.ack_turn(token, TurnResult(execution_id=1, history_delta=(STARTED,), work_items=(item,)))
    bench.commit()
    leased = bench.live.work.take(60_000, EVERYTHING)
    assert leased is not None

    def answer(size: int) -> CompleteActivity:
        result = Payload(b"x" * size)
        return CompleteActivity(instance="i", incarnation=7, execution_id=1, activity_id=2, result=result)

    with pytest.raises(TurnTooLarge):
        bench.live.work.ack(leased.lock_token, answer(2 * MIB))
    bench.live.work.ack(leased.lock_token, answer(2 * MIB - 1_000))
    bench.commit()


async def test_over_its_budget_a_partition_stops_reading_and_goes_on_when_there_is_room() -> None:
    bench = Bench(options=LogProviderOptions(inbox_bytes_max=1_000))
    for offset in range(10):
        bench.send(RaiseEvent(instance="i", name="e", data=Payload(b"x" * 100)), offset=offset)
    assert bench.live.messages.room(r.Lane.ORCHESTRATOR) == 0
    bench.send(START, offset=10)
    item = bench.live.messages.take(60_000)
    assert item is not None
    bench.live.ack_turn(item.lock_token, TurnResult(execution_id=1, history_delta=(STARTED,)))
    assert bench.live.messages.room(r.Lane.ORCHESTRATOR) > 0


async def test_every_record_of_a_batch_continues_the_one_before() -> None:
    bench, token = started()
    bench.live.ack_turn(token, completed(3 * MIB))
    sealed = bench.live.seal()
    records = sealed.log_records[: sealed.history_count]
    assert len(records) > 1
    head = HeadRow(token=TOKEN, epoch=1)
    for offset, record in enumerate(records):
        assert record.value is not None
        head = follow(head, offset, codec.decode_record(record.value), record.value).head
    assert head.chain == sealed.head.chain
