"""What does a log on Kafka say and do when an answer is lost? A proxy loses it; the log is read to see what is true."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from engine.errors import UsageError
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import (
    Doubtful,
    Fenced,
    LogRecord,
    LogUnavailable,
    Reader,
    RecordTooLarge,
    StoredRecord,
    TopicSpec,
)
from tests.kafka.proxy import Api, Lose, Proxy, proxied

PATIENCE_MS = 10_000


class World:
    """A log behind a proxy, one that sees the broker itself, a topic and a transactional id."""

    def __init__(self, proxy: Proxy, log: KafkaLog, straight: KafkaLog) -> None:
        self.proxy = proxy
        self.log = log
        self.straight = straight
        suffix = uuid.uuid4().hex
        self.topic = f"history-{suffix}"
        self.id = f"id-{suffix}"

    def record(self, value: bytes) -> LogRecord:
        return LogRecord(topic=self.topic, partition=0, key=None, value=value)

    async def visible(self) -> list[bytes | None]:
        """What is committed, up to a record appended now: so nothing open lies before it."""
        await self.straight.append(self.record(b"end"))
        reader = await self.straight.open_reader(self.topic, 0, 0)
        found = await read_until(reader, b"end")
        await reader.close()
        return [one.value for one in found if one.value != b"end"]


async def read_until(reader: Reader, value: bytes) -> list[StoredRecord]:
    found: list[StoredRecord] = []
    while not found or found[-1].value != value:
        some = await reader.read(100, PATIENCE_MS)
        assert some, f"expected {value!r} to be readable, but only {found} is"
        found.extend(some)
    return found


@asynccontextmanager
async def world(
    bootstrap: str, *, transaction_timeout_ms: int = 10_000, answer_ms: int = 10_000
) -> AsyncGenerator[World]:
    straight = await KafkaLog.open(bootstrap)
    async with proxied(bootstrap) as proxy:
        log = await KafkaLog.open(proxy.bootstrap, transaction_timeout_ms=transaction_timeout_ms, answer_ms=answer_ms)
        made = World(proxy, log, straight)
        await straight.create_topics([TopicSpec(name=made.topic, partitions=1, record_bytes_max=10_000)])
        # The proxy counts from here: the topic is known, and has a leader that takes records.
        await made.straight.append(made.record(b"first"))
        try:
            yield made
        finally:
            await log.close()
            await straight.close()


async def test_a_commit_whose_reply_is_lost_is_in_doubt_and_happened(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"a")])
        w.proxy.lose(Api.END_TXN, Lose.REPLY)

        with pytest.raises(Doubtful):
            await producer.commit()

        assert w.proxy.seen[Api.END_TXN] == 1
        with pytest.raises(UsageError):
            await producer.commit()
        await w.straight.open_producer(w.id)
        assert await w.visible() == [b"first", b"a"]


async def test_a_commit_whose_request_is_lost_is_in_doubt_and_did_not_happen(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"a")])
        w.proxy.lose(Api.END_TXN, Lose.REQUEST)

        with pytest.raises(Doubtful):
            await producer.commit()

        assert w.proxy.seen[Api.END_TXN] == 1
        await w.straight.open_producer(w.id)
        assert await w.visible() == [b"first"]


async def test_a_commit_that_arrives_late_does_not_end_the_next_holders_transaction(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"a")])
        w.proxy.lose(Api.END_TXN, Lose.LATE)
        with pytest.raises(Doubtful):
            await producer.commit()
        again = await w.log.open_producer(w.id)
        await again.produce([w.record(b"b1")])

        await w.proxy.deliver()
        await again.produce([w.record(b"b2")])
        await again.commit()

        assert await w.visible() == [b"first", b"b1", b"b2"]


async def test_a_commit_without_any_answer_is_in_doubt_before_half_the_transactions_time(bootstrap: str) -> None:
    async with world(bootstrap, transaction_timeout_ms=2_000) as w:
        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"a")])
        w.proxy.lose(Api.END_TXN, Lose.SILENT)

        async with asyncio.timeout(1):
            with pytest.raises(Doubtful, match="800 ms"):
                await producer.commit()

        await w.straight.open_producer(w.id)
        assert await w.visible() == [b"first", b"a"]


@pytest.mark.parametrize("lost", [Lose.REQUEST, Lose.REPLY])
@pytest.mark.parametrize("api", [Api.PRODUCE, Api.ADD_PARTITIONS])
async def test_a_produce_without_an_answer_finishes_the_producer_and_nothing_is_committed(
    bootstrap: str, api: Api, lost: Lose
) -> None:
    async with world(bootstrap) as w:
        producer = await w.log.open_producer(w.id)
        w.proxy.lose(api, lost)

        with pytest.raises(Doubtful):
            await producer.produce([w.record(b"a")])
        with pytest.raises(UsageError):
            await producer.commit()

        assert w.proxy.seen[api] == 1
        assert w.proxy.seen[Api.END_TXN] == 0
        await w.straight.open_producer(w.id)
        assert await w.visible() == [b"first"]


async def test_a_batch_the_broker_refuses_is_not_followed_by_a_commit(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"same transaction")])
        nothing = (("", b""),) * 4_000  # what frames them is counted by the broker alone
        refused = LogRecord(topic=w.topic, partition=0, key=None, value=bytes(9_000), headers=nothing)

        with pytest.raises(RecordTooLarge, match="broker answers"):
            await producer.produce([refused])
        with pytest.raises(UsageError):
            await producer.commit()

        assert w.proxy.seen[Api.END_TXN] == 0
        await w.straight.open_producer(w.id)
        assert await w.visible() == [b"first"]


async def test_a_transaction_that_stays_open_too_long_is_aborted_and_its_producer_fenced(bootstrap: str) -> None:
    async with world(bootstrap, transaction_timeout_ms=1_000) as w:
        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"open")])

        assert await w.visible() == [b"first"]  # waits until what lies before its own record has ended

        with pytest.raises(Fenced):
            await producer.commit()
        with pytest.raises(Fenced):
            await producer.produce([w.record(b"later")])


@pytest.mark.parametrize("lost", [Lose.REQUEST, Lose.REPLY])
async def test_an_append_without_an_answer_is_sent_again_and_is_there_once(bootstrap: str, lost: Lose) -> None:
    async with world(bootstrap) as w:
        w.proxy.lose(Api.PRODUCE, lost)

        offset = await w.log.append(w.record(b"a"))
        after = await w.log.append(w.record(b"b"))

        assert w.proxy.seen[Api.PRODUCE] == 3
        assert (offset, after) == (1, 2)
        assert await w.visible() == [b"first", b"a", b"b"]


async def test_an_append_that_is_never_answered_is_in_doubt_and_the_next_one_goes_on(bootstrap: str) -> None:
    async with world(bootstrap, answer_ms=300) as w:
        w.proxy.lose(Api.PRODUCE, Lose.SILENT)

        with pytest.raises(Doubtful):
            await w.log.append(w.record(b"a"))
        await w.log.append(w.record(b"b"))

        assert await w.visible() == [b"first", b"a", b"b"]


async def test_taking_an_id_without_an_answer_is_tried_again(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        w.proxy.lose(Api.INIT_PRODUCER_ID, Lose.REPLY, Lose.REQUEST)

        producer = await w.log.open_producer(w.id)
        await producer.produce([w.record(b"a")])
        await producer.commit()

        assert w.proxy.seen[Api.INIT_PRODUCER_ID] == 3


async def test_taking_an_id_is_bounded(bootstrap: str) -> None:
    async with world(bootstrap, answer_ms=300) as w:
        w.proxy.lose(Api.INIT_PRODUCER_ID, *[Lose.SILENT] * 10)

        async with asyncio.timeout(2):
            with pytest.raises(LogUnavailable, match="within 300 ms"):
                await w.log.open_producer(w.id)


async def test_a_reader_goes_on_where_it_was_after_its_connection_was_cut(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        reader = await w.log.open_reader(w.topic, 0, 0)
        assert [one.value for one in await reader.read(10, PATIENCE_MS)] == [b"first"]
        reading = asyncio.ensure_future(reader.read(10, PATIENCE_MS))
        await w.proxy.reached(Api.FETCH, 2)

        w.proxy.cut()
        await w.straight.append(w.record(b"a"))

        assert [one.value for one in await reading] == [b"a"]


async def test_a_reader_says_that_nobody_answers_when_its_time_is_over(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        reader = await w.log.open_reader(w.topic, 0, 1)
        w.proxy.lose(Api.FETCH, *[Lose.REQUEST] * 1_000)

        with pytest.raises(LogUnavailable, match=w.topic):
            await reader.read(10, 200)


async def test_a_transaction_larger_than_a_batch_is_whole_and_in_order(bootstrap: str) -> None:
    async with world(bootstrap) as w:
        producer = await w.log.open_producer(w.id)
        sent = [w.record(bytes([number]) * 3_000) for number in range(1, 21)]

        await producer.produce(sent)
        offsets = await producer.commit()

        assert list(offsets) == list(range(1, 21))
        assert await w.visible() == [b"first", *(one.value for one in sent)]
