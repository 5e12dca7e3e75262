"""What does every log promise? One function a promise, run over each log by test_contract.py."""

import asyncio
from collections.abc import Sequence

import pytest

from engine.errors import UsageError
from provider_log.log.port import (
    Bounds,
    Fenced,
    Log,
    LogRecord,
    OffsetOutOfRange,
    Reader,
    RecordTooLarge,
    StoredRecord,
    TopicSpec,
    UnknownTopic,
)
from tests.conformance.log.factory import LogFactory

PATIENCE_MS = 5_000
RECORD_BYTES_MAX = 10_000


async def topic(factory: LogFactory, name: str = "history", partitions: int = 2) -> str:
    unique = factory.unique(name)
    await factory.log.create_topics([TopicSpec(name=unique, partitions=partitions, record_bytes_max=RECORD_BYTES_MAX)])
    return unique


def record(topic: str, value: bytes | None, partition: int = 0, key: bytes | None = b"i-1") -> LogRecord:
    return LogRecord(topic=topic, partition=partition, key=key, value=value)


async def commit(log: Log, transactional_id: str, records: Sequence[LogRecord]) -> Sequence[int]:
    producer = await log.open_producer(transactional_id)
    await producer.produce(records)
    offsets = await producer.commit()
    await producer.close()
    return offsets


async def read_exactly(reader: Reader, count: int) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while len(found) < count:
        some = await reader.read(count - len(found), PATIENCE_MS)
        assert some, f"expected {count} records, but only {len(found)} came"
        found.extend(some)
    return found


async def values(log: Log, topic: str, count: int, partition: int = 0) -> list[bytes | None]:
    reader = await log.open_reader(topic, partition, 0)
    found = [stored.value for stored in await read_exactly(reader, count)]
    await reader.close()
    return found


async def expect_quiet(factory: LogFactory, reader: Reader) -> None:
    await factory.advance(0)
    assert list(await reader.read(10, factory.quiet_ms)) == []


async def commit_returns_the_offsets_at_which_its_records_are_read(factory: LogFactory) -> None:
    history = await topic(factory)
    sent = [record(history, b"a"), record(history, b"b", partition=1), record(history, b"c")]

    offsets = await commit(factory.log, factory.unique("id"), sent)

    in_first = await read_exactly(await factory.log.open_reader(history, 0, 0), 2)
    in_second = await read_exactly(await factory.log.open_reader(history, 1, 0), 1)
    assert [offsets[0], offsets[2]] == [stored.offset for stored in in_first]
    assert [offsets[1]] == [stored.offset for stored in in_second]


async def commit_is_visible_in_all_its_topics_and_partitions(factory: LogFactory) -> None:
    history, outcomes = await topic(factory), await topic(factory, "outcomes")
    places = [(history, 0), (history, 1), (outcomes, 0), (outcomes, 1)]

    await commit(factory.log, factory.unique("id"), [record(name, b"x", partition=number) for name, number in places])

    for name, number in places:
        assert await values(factory.log, name, 1, number) == [b"x"]


async def records_are_read_in_the_order_they_were_produced(factory: LogFactory) -> None:
    history = await topic(factory)
    producer = await factory.log.open_producer(factory.unique("id"))
    expected = [str(number).encode() for number in range(30)]

    for start in range(0, 30, 10):
        await producer.produce([record(history, value) for value in expected[start : start + 5]])
        await producer.produce([record(history, value) for value in expected[start + 5 : start + 10]])
        await producer.commit()

    assert await values(factory.log, history, 30) == expected


async def offsets_grow_within_a_partition_over_commits_and_appends(factory: LogFactory) -> None:
    history = await topic(factory)
    first = await commit(factory.log, factory.unique("id"), [record(history, b"a"), record(history, b"b")])
    second = await factory.log.append(record(history, b"c"))
    third = await commit(factory.log, factory.unique("id"), [record(history, b"d")])

    assert [*first, second, *third] == sorted({*first, second, *third})


async def a_transaction_that_was_begun_takes_records_once_or_none_at_all(factory: LogFactory) -> None:
    history = await topic(factory)
    producer = await factory.log.open_producer(factory.unique("id"))

    await producer.begin([(history, 0), (history, 1)])
    assert list(await producer.commit()) == []
    await producer.begin([(history, 0)])
    await producer.begin([(history, 1)])
    await producer.produce([record(history, b"a"), record(history, b"b", partition=1)])
    await producer.commit()

    assert await values(factory.log, history, 1) == [b"a"]
    assert await values(factory.log, history, 1, partition=1) == [b"b"]


async def a_fenced_producer_begins_nothing(factory: LogFactory) -> None:
    history, transactional_id = await topic(factory), factory.unique("id")
    fenced = await factory.log.open_producer(transactional_id)
    await factory.log.open_producer(transactional_id)

    with pytest.raises(Fenced):
        await fenced.begin([(history, 0)])
    with pytest.raises(Fenced):
        await fenced.produce([record(history, b"a")])


async def a_transaction_that_committed_reads_wait_for_is_named(factory: LogFactory) -> None:
    history = await topic(factory)
    assert await factory.log.open_transaction(history, 0) is None
    await factory.log.append(record(history, b"first"))
    older = await factory.log.open_producer(factory.unique("older"))
    newer = await factory.log.open_producer(factory.unique("newer"))
    await older.produce([record(history, b"older")])
    await newer.produce([record(history, b"newer")])
    named = [await factory.log.open_transaction(history, 0)]
    await older.commit()
    await factory.advance(0)
    named.append(await factory.log.open_transaction(history, 0))
    await newer.commit()
    await factory.advance(0)

    assert await factory.log.open_transaction(history, 0) is None
    assert await factory.log.open_transaction(history, 1) is None
    if factory.open_transactions_stop_readers:
        assert [one and one.offset for one in named] == [1, 2]
        assert len({one and one.producer for one in named} - {None, ""}) == 2
    else:
        assert named == [None, None]


async def what_is_not_committed_is_not_visible(factory: LogFactory) -> None:
    history = await topic(factory)
    reader = await factory.log.open_reader(history, 0, 0)
    producer = await factory.log.open_producer(factory.unique("id"))

    await producer.produce([record(history, b"open")])
    await expect_quiet(factory, reader)
    await producer.commit()

    assert [stored.value for stored in await read_exactly(reader, 1)] == [b"open"]


async def a_commit_of_nothing_gives_no_offsets_and_leaves_the_producer_usable(factory: LogFactory) -> None:
    history = await topic(factory)
    producer = await factory.log.open_producer(factory.unique("id"))

    assert list(await producer.commit()) == []
    await producer.produce([record(history, b"a")])
    await producer.commit()

    assert await values(factory.log, history, 1) == [b"a"]


async def a_fenced_producer_is_refused_at_commit_and_nothing_of_it_is_visible(factory: LogFactory) -> None:
    history = await topic(factory)
    old = await factory.log.open_producer(factory.unique("id"))
    await old.produce([record(history, b"old")])
    new = await factory.log.open_producer(factory.unique("id"))

    with pytest.raises(Fenced):
        await old.commit()
    await new.produce([record(history, b"new")])
    await new.commit()

    assert await values(factory.log, history, 1) == [b"new"]


async def a_fenced_producer_is_refused_at_produce_and_stays_refused(factory: LogFactory) -> None:
    history = await topic(factory)
    old = await factory.log.open_producer(factory.unique("id"))
    await factory.log.open_producer(factory.unique("id"))

    for _ in range(2):
        with pytest.raises(Fenced):
            await old.produce([record(history, b"old")])
    await expect_quiet(factory, await factory.log.open_reader(history, 0, 0))


async def opening_a_producer_ends_the_open_transaction_of_the_holder_before(factory: LogFactory) -> None:
    history = await topic(factory)
    old = await factory.log.open_producer(factory.unique("id"))
    await old.produce([record(history, b"old")])

    await factory.log.open_producer(factory.unique("id"))
    await factory.log.append(record(history, b"after"))

    # Were the old transaction still open, or undecided, a reader would stop before it.
    assert await values(factory.log, history, 1) == [b"after"]


async def what_a_holder_committed_before_it_was_fenced_stays(factory: LogFactory) -> None:
    history = await topic(factory)
    old = await factory.log.open_producer(factory.unique("id"))
    await old.produce([record(history, b"old")])
    offsets = await old.commit()

    await factory.log.open_producer(factory.unique("id"))

    found = await read_exactly(await factory.log.open_reader(history, 0, 0), 1)
    assert [stored.offset for stored in found] == list(offsets)


async def two_ids_do_not_fence_each_other(factory: LogFactory) -> None:
    history = await topic(factory)
    one = await factory.log.open_producer(factory.unique("id-1"))
    two = await factory.log.open_producer(factory.unique("id-2"))

    await asyncio.gather(one.produce([record(history, b"1")]), two.produce([record(history, b"2")]))
    await asyncio.gather(one.commit(), two.commit())

    assert sorted(value or b"" for value in await values(factory.log, history, 2)) == [b"1", b"2"]


async def a_read_waits_until_a_commit_wakes_it(factory: LogFactory) -> None:
    history = await topic(factory)
    reader = await factory.log.open_reader(history, 0, 0)
    reading = asyncio.ensure_future(reader.read(10, PATIENCE_MS))
    await factory.advance(0)
    assert not reading.done()

    await commit(factory.log, factory.unique("id"), [record(history, b"a")])

    assert [stored.value for stored in await reading] == [b"a"]


async def a_read_is_empty_when_nothing_came_in_its_time(factory: LogFactory) -> None:
    history = await topic(factory)
    reader = await factory.log.open_reader(history, 0, 0)
    reading = asyncio.ensure_future(reader.read(10, 1_000))
    await factory.advance(0)

    await factory.advance(999)
    assert not reading.done()
    await factory.advance(1)

    assert list(await reading) == []


async def a_cancelled_read_loses_nothing(factory: LogFactory) -> None:
    history = await topic(factory)
    reader = await factory.log.open_reader(history, 0, 0)
    reading = asyncio.ensure_future(reader.read(10, PATIENCE_MS))
    await factory.advance(0)
    reading.cancel()
    await asyncio.wait({reading})

    await factory.log.append(record(history, b"a"))

    assert [stored.value for stored in await read_exactly(reader, 1)] == [b"a"]


async def a_reader_never_passes_an_open_transaction_of_any_writer(factory: LogFactory) -> None:
    history = await topic(factory)
    reader = await factory.log.open_reader(history, 0, 0)
    slow = await factory.log.open_producer(factory.unique("slow"))
    await slow.produce([record(history, b"slow")])
    await factory.log.append(record(history, b"quick"))

    if factory.open_transactions_stop_readers:
        await expect_quiet(factory, reader)
        await slow.commit()
        assert [stored.value for stored in await read_exactly(reader, 2)] == [b"slow", b"quick"]
    else:
        # Its offsets are given when it commits: what is open has no place yet that could be passed.
        assert [stored.value for stored in await read_exactly(reader, 1)] == [b"quick"]
        await slow.commit()
        assert [stored.value for stored in await read_exactly(reader, 1)] == [b"slow"]


async def a_reader_starts_at_its_position_and_takes_no_more_than_asked(factory: LogFactory) -> None:
    history = await topic(factory)
    offsets = [await factory.log.append(record(history, str(number).encode())) for number in range(5)]
    reader = await factory.log.open_reader(history, 0, offsets[1])

    first = await reader.read(2, PATIENCE_MS)
    again_from = reader.position
    rest = await read_exactly(reader, 2)

    assert [stored.value for stored in first] == [b"1", b"2"]
    assert offsets[2] < again_from <= offsets[3]
    assert [stored.value for stored in rest] == [b"3", b"4"]


async def readers_do_not_take_records_from_each_other(factory: LogFactory) -> None:
    history = await topic(factory)
    readers = [await factory.log.open_reader(history, 0, 0) for _ in range(3)]

    await factory.log.append(record(history, b"a"))

    for reader in readers:
        assert [stored.value for stored in await read_exactly(reader, 1)] == [b"a"]


async def bounds_are_those_of_what_is_kept_and_committed(factory: LogFactory) -> None:
    history = await topic(factory)
    assert await factory.log.bounds(history, 0) == Bounds(0, 0)

    offsets = await commit(factory.log, factory.unique("id"), [record(history, b"a"), record(history, b"b")])
    await factory.advance(0)
    bounds = await factory.log.bounds(history, 0)
    assert bounds.first == 0
    assert bounds.end > offsets[-1]

    await factory.log.delete_records(history, 0, offsets[-1])
    assert await factory.log.bounds(history, 0) == Bounds(offsets[-1], bounds.end)
    assert await factory.log.bounds(history, 1) == Bounds(0, 0)


async def deleted_records_are_out_of_range_and_the_rest_is_kept(factory: LogFactory) -> None:
    history = await topic(factory)
    offsets = [await factory.log.append(record(history, str(number).encode())) for number in range(4)]
    reader = await factory.log.open_reader(history, 0, 0)

    await factory.log.delete_records(history, 0, offsets[2])
    await factory.log.delete_records(history, 0, offsets[2])
    await factory.log.delete_records(history, 0, offsets[1])

    with pytest.raises(OffsetOutOfRange):
        await reader.read(10, PATIENCE_MS)
    kept = await read_exactly(await factory.log.open_reader(history, 0, offsets[2]), 2)
    assert [stored.value for stored in kept] == [b"2", b"3"]


async def a_partition_that_was_emptied_goes_on_at_its_offset(factory: LogFactory) -> None:
    history = await topic(factory)
    offset = await factory.log.append(record(history, b"a"))

    await factory.log.delete_records(history, 0, offset + 1)

    assert await factory.log.append(record(history, b"b")) == offset + 1


async def a_position_after_the_end_is_out_of_range(factory: LogFactory) -> None:
    history = await topic(factory)
    offset = await factory.log.append(record(history, b"a"))

    reader = await factory.log.open_reader(history, 0, offset + 2)
    with pytest.raises(OffsetOutOfRange):
        await reader.read(10, PATIENCE_MS)
    with pytest.raises(OffsetOutOfRange):
        await factory.log.delete_records(history, 0, offset + 2)


async def a_tombstone_an_empty_value_an_empty_key_and_no_key_are_told_apart(factory: LogFactory) -> None:
    history = await topic(factory)
    sent = [(b"k", None), (b"k", b""), (b"", b"v"), (None, b"v")]

    await commit(factory.log, factory.unique("id"), [record(history, value, key=key) for key, value in sent])

    found = await read_exactly(await factory.log.open_reader(history, 0, 0), 4)
    assert [(stored.key, stored.value) for stored in found] == sent


async def headers_are_kept_with_their_order_and_their_doubles(factory: LogFactory) -> None:
    history = await topic(factory)
    headers = (("b", b"1"), ("a", b""), ("b", b"\x00\xff"), ("größe", b"3"))

    await factory.log.append(LogRecord(topic=history, partition=0, key=b"k", value=b"v", headers=headers))

    [stored] = await read_exactly(await factory.log.open_reader(history, 0, 0), 1)
    assert stored.headers == headers


async def a_record_as_large_as_allowed_is_taken_and_a_larger_one_is_refused(factory: LogFactory) -> None:
    history = await topic(factory)
    fits = LogRecord(
        topic=history, partition=0, key=b"1234", value=bytes(RECORD_BYTES_MAX - 10), headers=(("abc", b"def"),)
    )
    too_large = LogRecord(
        topic=history, partition=0, key=b"1234", value=bytes(RECORD_BYTES_MAX - 9), headers=(("abc", b"def"),)
    )

    await factory.log.append(fits)
    with pytest.raises(RecordTooLarge):
        await factory.log.append(too_large)

    assert [len(value or b"") for value in await values(factory.log, history, 1)] == [RECORD_BYTES_MAX - 10]


async def a_refused_record_finishes_its_producer_and_nobody_else(factory: LogFactory) -> None:
    history = await topic(factory)
    producer = await factory.log.open_producer(factory.unique("id"))
    other = await factory.log.open_producer(factory.unique("other"))
    await producer.produce([record(history, b"same transaction")])

    with pytest.raises(RecordTooLarge):
        await producer.produce([record(history, b"same call"), record(history, bytes(RECORD_BYTES_MAX + 1))])
    with pytest.raises(UsageError):
        await producer.produce([record(history, b"later call")])
    with pytest.raises(UsageError):
        await producer.commit()

    await other.produce([record(history, b"other")])
    await other.commit()
    again = await factory.log.open_producer(factory.unique("id"))
    await again.produce([record(history, b"again")])
    await again.commit()
    assert await values(factory.log, history, 2) == [b"other", b"again"]


async def concurrent_appends_get_an_offset_each_and_all_are_read(factory: LogFactory) -> None:
    history = await topic(factory)
    sent = [str(number).encode() for number in range(100)]

    offsets = await asyncio.gather(*(factory.log.append(record(history, value)) for value in sent))

    found = await read_exactly(await factory.log.open_reader(history, 0, 0), 100)
    assert {stored.offset: stored.value for stored in found} == dict(zip(offsets, sent, strict=True))


async def append_times_follow_the_clock_and_never_go_back(factory: LogFactory) -> None:
    history = await topic(factory)
    for number in range(4):
        await factory.log.append(record(history, str(number).encode()))
        await factory.advance(250)

    times = [stored.timestamp_ms for stored in await read_exactly(await factory.log.open_reader(history, 0, 0), 4)]
    assert times == sorted(times)
    assert times[-1] - times[0] >= 750


async def a_topic_that_exists_is_left_as_it_is(factory: LogFactory) -> None:
    history = await topic(factory)
    await factory.log.append(record(history, b"a"))

    await factory.log.create_topics([TopicSpec(name=history, partitions=7, record_bytes_max=1)])

    assert await factory.log.partition_count(history) == 2
    assert await factory.log.partition_count(factory.unique("no-such-topic")) is None
    assert await values(factory.log, history, 1) == [b"a"]


async def an_unknown_topic_or_partition_is_refused(factory: LogFactory) -> None:
    history = await topic(factory)
    for name, number in ((factory.unique("no-such-topic"), 0), (history, 2)):
        with pytest.raises(UnknownTopic):
            await factory.log.append(record(name, b"a", partition=number))
        with pytest.raises(UnknownTopic):
            await factory.log.open_reader(name, number, 0)
        with pytest.raises(UnknownTopic):
            await factory.log.bounds(name, number)
        with pytest.raises(UnknownTopic):
            await factory.log.delete_records(name, number, 0)


async def a_closed_producer_is_finished_and_its_transaction_is_not_visible(factory: LogFactory) -> None:
    history = await topic(factory)
    producer = await factory.log.open_producer(factory.unique("id"))
    await producer.produce([record(history, b"open")])

    await producer.close()
    await producer.close()

    with pytest.raises(UsageError):
        await producer.commit()
    await factory.log.open_producer(factory.unique("id"))
    await expect_quiet(factory, await factory.log.open_reader(history, 0, 0))


PROMISES = (
    commit_returns_the_offsets_at_which_its_records_are_read,
    commit_is_visible_in_all_its_topics_and_partitions,
    records_are_read_in_the_order_they_were_produced,
    offsets_grow_within_a_partition_over_commits_and_appends,
    a_transaction_that_was_begun_takes_records_once_or_none_at_all,
    a_fenced_producer_begins_nothing,
    a_transaction_that_committed_reads_wait_for_is_named,
    what_is_not_committed_is_not_visible,
    a_commit_of_nothing_gives_no_offsets_and_leaves_the_producer_usable,
    a_fenced_producer_is_refused_at_commit_and_nothing_of_it_is_visible,
    a_fenced_producer_is_refused_at_produce_and_stays_refused,
    opening_a_producer_ends_the_open_transaction_of_the_holder_before,
    what_a_holder_committed_before_it_was_fenced_stays,
    two_ids_do_not_fence_each_other,
    a_read_waits_until_a_commit_wakes_it,
    a_read_is_empty_when_nothing_came_in_its_time,
    a_cancelled_read_loses_nothing,
    a_reader_never_passes_an_open_transaction_of_any_writer,
    a_reader_starts_at_its_position_and_takes_no_more_than_asked,
    readers_do_not_take_records_from_each_other,
    bounds_are_those_of_what_is_kept_and_committed,
    deleted_records_are_out_of_range_and_the_rest_is_kept,
    a_partition_that_was_emptied_goes_on_at_its_offset,
    a_position_after_the_end_is_out_of_range,
    a_tombstone_an_empty_value_an_empty_key_and_no_key_are_told_apart,
    headers_are_kept_with_their_order_and_their_doubles,
    a_record_as_large_as_allowed_is_taken_and_a_larger_one_is_refused,
    a_refused_record_finishes_its_producer_and_nobody_else,
    concurrent_appends_get_an_offset_each_and_all_are_read,
    append_times_follow_the_clock_and_never_go_back,
    a_topic_that_exists_is_left_as_it_is,
    an_unknown_topic_or_partition_is_refused,
    a_closed_producer_is_finished_and_its_transaction_is_not_visible,
)
