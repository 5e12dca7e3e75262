"""What becomes of a record of an input lane, whatever somebody put there?"""

import pytest
from msgspec import structs

from engine.model.events import OrchestrationStarted
from engine.model.messages import AnyMessage, CompleteActivity, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import Disposition, TurnResult
from engine.model.work import WorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.answer_token import TAG_HEADER, TOKEN_HEADER
from provider_log.log.port import LogRecord
from provider_log.options import LogProviderOptions
from provider_log.routing import partition_of
from provider_log.topics import HOP_HEADER, OWNER_HEADER, VISIBLE_HEADER
from tests.unit.provider_log.partition.live import TOPICS, Bench

NULL = Payload(b"null")
START = StartOrchestration(instance="i", name="go", input=NULL, message_id="one")
ANSWER = CompleteActivity(instance="i", incarnation=1, execution_id=1, activity_id=2, result=NULL)
ITEM = WorkItem(instance="i", incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL)
MIB = 1024 * 1024
EVERYTHING = TagFilter.everything()

pytestmark = pytest.mark.anyio


def dead_letter(records: list[LogRecord] | tuple[LogRecord, ...]) -> r.DeadLetter:
    (record,) = records
    assert record.topic == TOPICS.dead_letter
    return codec.decode_dead_letter(record.value or b"")


async def refused(bench: Bench, **record: object) -> r.DeadLetter:
    """Let the record in; it is settled with a dead letter in one batch, and the partition goes on."""
    fields = {"value": codec.encode_message(START), "offset": 5} | record
    bench.arrive(**fields)  # pyright: ignore[reportArgumentType]  # any mixture of fields, as a stranger would
    (settled,), outgoing = bench.commit()
    assert isinstance(settled, r.InputsSettled)
    assert [one.disposition for one in settled.consumed] == [Disposition.DEAD_LETTERED]
    assert settled.envelope.positions[0].watermark == 6
    assert bench.live.messages.take(1_000) is None
    bench.send(START, offset=6)
    assert bench.live.messages.take(1_000) is not None
    return dead_letter(tuple(outgoing))


async def test_a_start_waits_for_its_turn() -> None:
    bench = Bench()
    bench.send(START, offset=0)
    item = bench.live.messages.take(1_000)
    assert item is not None
    assert item.messages == (START,)


async def test_what_is_no_message_is_dead_lettered_as_it_was() -> None:
    letter = await refused(Bench(), value=b"{not avro", key=b"k", offset=5)
    assert (letter.topic, letter.offset, letter.key, letter.value) == (TOPICS.orchestrator, 5, b"k", b"{not avro")


async def test_a_record_without_a_value_is_dead_lettered() -> None:
    assert "no value" in (await refused(Bench(), value=None)).reason


async def test_a_completion_from_outside_is_dead_lettered() -> None:
    letter = await refused(Bench(), value=codec.encode_message(ANSWER))
    assert "expected the header turnlog-token" in letter.reason


async def test_a_completion_from_another_partition_waits() -> None:
    bench = Bench()
    bench.send(START, offset=0)
    bench.send(ANSWER, offset=0, lane=r.Lane.MESSAGES)
    item = bench.live.messages.take(1_000)
    assert item is not None
    assert item.messages == (START, ANSWER)


@pytest.mark.parametrize("instance", ["a\x00b", ""])
@pytest.mark.parametrize("lane", [r.Lane.ORCHESTRATOR, r.Lane.MESSAGES])
async def test_an_id_that_no_key_can_hold_is_dead_lettered(instance: str, lane: r.Lane) -> None:
    event = RaiseEvent(instance=instance, name="e", data=NULL)
    await refused(Bench(), value=codec.encode_message(event), lane=lane)


async def test_a_start_after_the_end_of_time_is_dead_lettered() -> None:
    letter = await refused(Bench(), value=codec.encode_message(structs.replace(START, start_at_ms=2**62)))
    assert letter.reason.startswith("expected a start before the year 10000, but it would")


@pytest.mark.parametrize("instance", ["a\x00b", ""])
async def test_a_work_item_whose_id_no_key_can_hold_is_dead_lettered(instance: str) -> None:
    item = WorkItem(instance=instance, incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL)
    await refused(Bench(), value=codec.encode_work_item(item), lane=r.Lane.WORKER)


@pytest.mark.parametrize(("execution_id", "activity_id"), [(-1, 2), (1, -2)])
async def test_a_work_item_with_a_negative_number_is_dead_lettered(execution_id: int, activity_id: int) -> None:
    item = WorkItem(
        instance="i", incarnation=1, execution_id=execution_id, activity_id=activity_id, name="act", input=NULL
    )
    await refused(Bench(), value=codec.encode_work_item(item), lane=r.Lane.WORKER)


async def test_a_work_item_of_an_unknown_schema_is_dead_lettered_with_its_bytes() -> None:
    value = b"\xc3\x01" + b"\xee" * 8 + b"body"
    assert (await refused(Bench(), value=value, lane=r.Lane.WORKER)).value == value


async def test_a_start_of_a_childs_id_is_dead_lettered() -> None:
    start = StartOrchestration(instance="a::sub::1", name="go", input=NULL)
    assert "::sub::" in (await refused(Bench(), value=codec.encode_message(start))).reason


@pytest.mark.parametrize("text", [b"soon", b"-5", b"", b"9" * 16, b"9" * 5_000], ids=["word", "-5", "", "16", "5000"])
async def test_a_visible_at_that_is_no_instant_is_dead_lettered(text: bytes) -> None:
    letter = await refused(Bench(), headers=((VISIBLE_HEADER, text),))
    assert VISIBLE_HEADER in letter.reason


async def test_a_reason_quotes_little_of_what_was_sent() -> None:
    letter = await refused(Bench(), headers=(("content-type", b"\xf0\x9f\x92\xa5" * 200_000),))
    assert "content-type" in letter.reason
    assert len(letter.reason) <= 2_000


async def test_a_lone_surrogate_in_json_is_dead_lettered() -> None:
    value = b'{"type":"RaiseEvent","instance":"a\\ud800b","name":"e"}'
    await refused(Bench(), value=value, headers=(("content-type", b"application/json"),))


async def test_a_message_id_that_nobody_can_keep_a_thousand_of_is_dead_lettered() -> None:
    event = RaiseEvent(instance="i", name="e", data=NULL, message_id="x" * 1_025)
    assert "message id" in (await refused(Bench(), value=codec.encode_message(event))).reason


async def test_an_id_as_long_as_a_record_is_dead_lettered() -> None:
    event = RaiseEvent(instance="x" * 900_000, name="e", data=NULL)
    await refused(Bench(), value=codec.encode_message(event), key=b"x" * 100_000)


@pytest.mark.parametrize("lane", [r.Lane.MESSAGES, r.Lane.WORKER])
async def test_what_fits_its_topic_and_no_changelog_record_is_dead_lettered_without_its_bytes(lane: r.Lane) -> None:
    letter = await refused(Bench(), value=b"x" * (4 * MIB - 10), key=b"i", lane=lane)
    assert letter.value is None
    assert "left out" in letter.reason


async def test_a_valid_work_item_that_fits_no_changelog_record_is_dead_lettered() -> None:
    item = WorkItem(
        instance="i", incarnation=1, execution_id=1, activity_id=2, name="act", input=Payload(b"x" * (4 * MIB - 200))
    )
    await refused(Bench(), value=codec.encode_work_item(item), lane=r.Lane.WORKER)


async def test_a_key_as_large_as_its_topic_allows_is_dead_lettered() -> None:
    await refused(Bench(), value=b"no", key=b"\xff" * (4 * MIB - 10), lane=r.Lane.WORKER)


async def test_the_second_message_with_an_id_is_dropped_while_the_first_waits() -> None:
    bench = Bench()
    bench.send(START, offset=0)
    bench.send(RaiseEvent(instance="i", name="e", data=NULL, message_id="one"), offset=1)
    (settled,), _ = bench.commit()
    assert isinstance(settled, r.InputsSettled)
    assert [(one.place, one.disposition) for one in settled.consumed] == [(1, Disposition.DUPLICATE)]


async def test_messages_with_one_id_for_two_instances_both_wait() -> None:
    bench = Bench()
    bench.send(START, offset=0)
    bench.send(StartOrchestration(instance="j", name="go", input=NULL, message_id="one"), offset=1)
    assert [bench.live.messages.take(1_000) is not None for _ in range(3)] == [True, True, False]


async def test_a_schema_nobody_here_knows_is_kept_and_keeps_queue_messages_of_its_instance() -> None:
    bench = Bench()
    bench.arrive(b"\xc3\x01" + b"\xee" * 8 + b"body", offset=0, key=b"i")
    bench.send(EnqueueMessage(instance="i", name="q", data=NULL), offset=1)
    assert bench.live.messages.take(1_000) is None
    assert bench.live.messages.unlocked == 2


async def test_an_unknown_schema_is_parked_and_waits_again_after_a_restore() -> None:
    bench = Bench()
    bench.arrive(b"\xc3\x01" + b"\xee" * 8 + b"body", offset=0, key=b"i")
    bench.clock.advance(60_000)
    bench.live.messages.park_overdue()
    (parked,), _ = bench.commit()
    assert isinstance(parked, r.Parked)
    assert parked.data == b"\xc3\x01" + b"\xee" * 8 + b"body"
    bench.live = bench.open()
    assert bench.live.messages.unlocked == 1
    assert bench.live.messages.take(1_000) is None


async def test_a_position_never_names_more_than_the_window_and_an_input_that_others_overtake_is_parked() -> None:
    bench = Bench(options=LogProviderOptions(input_window_max=10))
    bench.send(RaiseEvent(instance="nobody", name="e", data=NULL), offset=0)
    records = list[r.AnyRecord]()
    for offset in range(1, 30):
        bench.send(structs.replace(START, instance=f"i{offset}"), offset=offset)
        item = bench.live.messages.take(60_000)
        assert item is not None
        bench.live.ack_turn(item.lock_token, TurnResult(execution_id=1))
        records += bench.commit()[0]
    named = [
        position
        for record in records
        if not isinstance(record, r.Genesis | r.OwnershipAcquired)
        for position in record.envelope.positions
    ]
    assert max(len(position.above) for position in named) == 4
    assert named[-1] == r.Position(r.Lane.ORCHESTRATOR, 30)
    assert [record.consumed.place for record in records if isinstance(record, r.Parked)] == [0]


async def test_before_a_backlog_a_lane_waits_and_parks_nothing() -> None:
    bench = Bench(options=LogProviderOptions(input_window_max=10))
    for offset in range(10):
        bench.send(structs.replace(START, instance=f"i{offset}"), offset=offset)
    assert bench.live.messages.room(r.Lane.ORCHESTRATOR) == 0
    assert bench.live.messages.room(r.Lane.MESSAGES) == 10, "expected a lane of its own for other owners"
    bench.live.messages.park_overdue()
    assert bench.live.messages.room(r.Lane.ORCHESTRATOR) == 0
    item = bench.live.messages.take(60_000)
    assert item is not None
    bench.live.ack_turn(item.lock_token, TurnResult(execution_id=1))
    assert bench.live.messages.room(r.Lane.ORCHESTRATOR) == 1


def misrouted(partitions: int, away_from: int) -> str:
    return next(name for name in map(str, range(100)) if partition_of(name, partitions) != away_from)


@pytest.mark.parametrize("lane", [r.Lane.ORCHESTRATOR, r.Lane.MESSAGES])
async def test_a_misrouted_message_is_sent_on_once(lane: r.Lane) -> None:
    bench = Bench(partition=1, partitions=4)
    event = RaiseEvent(instance=misrouted(4, 1), name="e", data=NULL)
    bench.send(event, offset=0, lane=lane)
    (settled,), (record,) = bench.commit()
    assert isinstance(settled, r.InputsSettled)
    assert settled.consumed[0].disposition is Disposition.FORWARDED
    assert record.topic == (TOPICS.orchestrator if lane is r.Lane.ORCHESTRATOR else TOPICS.messages)
    assert record.partition == partition_of(event.instance, 4)
    assert record.headers == ((HOP_HEADER, b"1"),)
    assert codec.decode_message(record.value or b"") == event


async def test_a_second_hop_is_dead_lettered() -> None:
    bench = Bench(partition=1, partitions=4)
    event = RaiseEvent(instance=misrouted(4, 1), name="e", data=NULL)
    bench.arrive(codec.encode_message(event), offset=0, headers=((HOP_HEADER, b"3"),))
    _, outgoing = bench.commit()
    assert "hopped" in dead_letter(tuple(outgoing)).reason


async def test_a_misrouted_message_that_leaves_no_room_for_the_hop_header_is_dead_lettered() -> None:
    bench = Bench(partition=1, partitions=4)
    instance = misrouted(4, 1)
    probe: AnyMessage = RaiseEvent(instance=instance, name="e", data=Payload(b""))
    room = MIB - len(codec.encode_message(probe)) - len(instance) - 4
    value = codec.encode_message(RaiseEvent(instance=instance, name="e", data=Payload(b"x" * room)))
    bench.arrive(value, offset=0, key=instance.encode())
    _, outgoing = bench.commit()
    assert "too many to forward" in dead_letter(tuple(outgoing)).reason


async def test_an_owners_own_work_item_is_passed_over() -> None:
    bench = Bench()
    bench.arrive(codec.encode_work_item(ITEM), offset=0, lane=r.Lane.WORKER, headers=((OWNER_HEADER, b"0"),))
    assert not bench.wanted.is_set()
    assert bench.live.work.take(1_000, EVERYTHING) is None


async def test_a_work_item_from_outside_is_handed_out_once_it_is_committed() -> None:
    bench = Bench()
    bench.arrive(codec.encode_work_item(ITEM), offset=0, lane=r.Lane.WORKER)
    assert bench.live.work.take(1_000, EVERYTHING) is None
    bench.commit()
    fetched = bench.live.work.take(1_000, EVERYTHING)
    assert fetched is not None
    assert fetched.item == ITEM


async def test_a_work_item_that_is_sent_twice_is_one() -> None:
    bench = Bench()
    bench.arrive(codec.encode_work_item(ITEM), offset=0, lane=r.Lane.WORKER)
    bench.commit()
    leased = bench.live.work.take(1_000, EVERYTHING)
    assert leased is not None
    bench.arrive(codec.encode_work_item(ITEM), offset=1, lane=r.Lane.WORKER)
    (settled,), _ = bench.commit()
    assert isinstance(settled, r.InputsSettled)
    assert settled.consumed[0].disposition is Disposition.DUPLICATE
    assert bench.live.work.take(1_000, EVERYTHING) is None
    bench.live.work.ack(leased.lock_token, None)
    bench.commit()
    assert bench.live.work.take(1_000, EVERYTHING) is None


async def test_a_misrouted_work_item_is_dead_lettered() -> None:
    bench = Bench(partition=1, partitions=4)
    item = WorkItem(instance=misrouted(4, 1), incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL)
    bench.arrive(codec.encode_work_item(item), offset=0, lane=r.Lane.WORKER)
    _, outgoing = bench.commit()
    assert "work items of partition 1" in dead_letter(tuple(outgoing)).reason


async def test_a_message_for_later_waits_for_its_time() -> None:
    bench = Bench()
    at_ms = bench.clock.now_ms() + 500
    bench.arrive(codec.encode_message(START), offset=0, headers=((VISIBLE_HEADER, b"%d" % at_ms),))
    assert bench.live.messages.take(1_000) is None
    bench.clock.advance(499)
    assert bench.live.messages.take(1_000) is None
    bench.clock.advance(1)
    assert bench.live.messages.take(1_000) is not None


async def test_a_message_for_the_very_instant_of_a_timer_is_no_trouble() -> None:
    bench = Bench()
    at_ms = bench.clock.now_ms() + 500
    headers = ((VISIBLE_HEADER, b"%d" % at_ms),)
    bench.arrive(codec.encode_message(START), offset=0, headers=headers)
    bench.arrive(codec.encode_message(ANSWER), offset=0, lane=r.Lane.MESSAGES, headers=headers)
    bench.clock.advance(500)
    item = bench.live.messages.take(1_000)
    assert item is not None
    assert set(item.messages) == {START, ANSWER}


# Work items that others serve

GPU = WorkItem(instance="i", incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL, tag="gpu")
OTHERS = LogProviderOptions(topic_tags=frozenset({"gpu"}))
STARTED = OrchestrationStarted(event_id=1, timestamp_ms=1, name="go", version="1", input=NULL, incarnation=1)


def asked(bench: Bench, item: WorkItem = GPU) -> bytes:
    """Let a turn of "i" schedule `item`; the token it is published with."""
    bench.send(START, offset=0)
    lock = bench.live.messages.take(1_000)
    assert lock is not None
    bench.live.ack_turn(lock.lock_token, TurnResult(execution_id=1, history_delta=(STARTED,), work_items=(item,)))
    _, (published,) = bench.commit()
    assert (published.topic, dict(published.headers)[TAG_HEADER]) == (TOPICS.worker, b"gpu")
    return dict(published.headers)[TOKEN_HEADER]


def answer(bench: Bench, token: bytes, *, offset: int, to: CompleteActivity = ANSWER) -> None:
    bench.arrive(codec.encode_message(to), offset=offset, headers=((TOKEN_HEADER, token),))


async def test_an_owner_that_comes_after_hands_an_item_to_those_who_serve_its_tag() -> None:
    bench = Bench()
    bench.arrive(codec.encode_work_item(GPU), offset=0, lane=r.Lane.WORKER)
    bench.commit()
    bench.live = bench.open()
    assert bench.live.work.take(1_000, DEFAULT_ONLY) is None
    leased = bench.live.work.take(1_000, TagFilter.only(["gpu"]))
    assert leased is not None
    assert (leased.item, leased.attempt_count) == (GPU, 1)


async def test_an_item_for_others_is_never_leased_and_its_answer_is_one_batch() -> None:
    bench = Bench(options=OTHERS)
    token = asked(bench)
    assert bench.live.work.take(1_000, EVERYTHING) is None
    answer(bench, token, offset=1)
    settled, acked = bench.commit()[0]
    assert isinstance(settled, r.InputsSettled)
    assert [(one.place, one.disposition) for one in settled.consumed] == [(1, Disposition.APPLIED)]
    assert isinstance(acked, r.WorkItemAcked)
    assert (acked.attempt, acked.worker) == (1, TOPICS.orchestrator)
    item = bench.live.messages.take(1_000)
    assert item is not None
    assert item.messages == (ANSWER,)
    bench.live = bench.open()
    assert bench.live.work.take(1_000, EVERYTHING) is None


async def test_a_second_answer_waits_for_the_turn_that_says_what_it_is() -> None:
    bench = Bench(options=OTHERS)
    token = asked(bench)
    answer(bench, token, offset=1)
    answer(bench, token, offset=2)
    item = bench.live.messages.take(1_000)
    assert item is not None
    assert item.messages == (ANSWER, ANSWER)


async def test_an_answer_of_a_deleted_life_is_dropped_and_does_not_meet_the_next_ones_item() -> None:
    bench = Bench(options=OTHERS)
    token = asked(bench)
    bench.live.ledger.admit(
        r.InstanceDeleted(envelope=bench.live.ledger.envelope(), instance="i", incarnation=1), about="i"
    )
    bench.commit()
    answer(bench, token, offset=1)
    bench.arrive(codec.encode_work_item(ITEM_OF_LIFE_2), offset=0, lane=r.Lane.WORKER)
    answer(bench, token, offset=2)
    records, _ = bench.commit()
    dispositions = [one.disposition for it in records if isinstance(it, r.InputsSettled) for one in it.consumed]
    assert dispositions == [Disposition.OTHER_INCARNATION] * 2
    assert not any(isinstance(it, r.WorkItemAcked) for it in records)


ITEM_OF_LIFE_2 = WorkItem(instance="i", incarnation=2, execution_id=1, activity_id=2, name="act", input=NULL, tag="gpu")


async def test_an_answer_too_large_for_a_turn_is_dead_lettered_and_the_item_still_waits() -> None:
    bench = Bench(options=OTHERS)
    token = asked(bench)
    large = CompleteActivity(
        instance="i", incarnation=1, execution_id=1, activity_id=2, result=Payload(b"x" * (2 * MIB))
    )
    answer(bench, token, offset=1, to=large)
    assert "an answer of at most" in dead_letter(tuple(bench.commit()[1])).reason
    assert bench.live.work.waits_for(ANSWER)


async def test_a_token_holds_once_the_tag_is_the_owners_again_and_its_worker_learns_of_the_answer() -> None:
    bench = Bench(options=OTHERS)
    token = asked(bench)
    bench.around = structs.replace(bench.around, options=LogProviderOptions())
    bench.live = bench.open()
    leased = bench.live.work.take(1_000, EVERYTHING)
    assert leased is not None
    answer(bench, token, offset=1)
    assert not leased.revoked.is_set()
    bench.commit()
    assert leased.revoked.is_set()


async def test_an_item_for_others_that_comes_from_outside_is_published_again_with_its_token() -> None:
    bench = Bench(options=OTHERS)
    bench.arrive(codec.encode_work_item(GPU), offset=0, lane=r.Lane.WORKER)
    _, (published,) = bench.commit()
    assert bench.live.work.take(1_000, EVERYTHING) is None
    answer(bench, dict(published.headers)[TOKEN_HEADER], offset=0)
    assert isinstance(bench.commit()[0][1], r.WorkItemAcked)


async def test_what_others_serve_is_kept_until_it_is_answered() -> None:
    bench = Bench(options=OTHERS)
    token = asked(bench)
    own, others = ((OWNER_HEADER, b"0"),), ((OWNER_HEADER, b"0"), (TOKEN_HEADER, token))
    assert bench.live.work.answered_up_to(6) == 0  # nothing was read yet
    bench.arrive(b"", offset=3, lane=r.Lane.WORKER, headers=own)
    bench.arrive(b"", offset=4, lane=r.Lane.WORKER, headers=others)
    bench.arrive(b"", offset=5, lane=r.Lane.WORKER, headers=((OWNER_HEADER, b"0"), (TOKEN_HEADER, b"a stranger's")))
    assert [bench.live.work.answered_up_to(watermark) for watermark in (3, 6)] == [3, 4]
    answer(bench, token, offset=1)
    assert bench.live.work.answered_up_to(6) == 4
    bench.commit()
    assert [bench.live.work.answered_up_to(watermark) for watermark in (6, 9)] == [6, 6]


async def test_without_tags_for_others_all_that_is_consumed_can_go() -> None:
    assert Bench().live.work.answered_up_to(6) == 6
