"""What happens after more owners than a broker counts? It counts in 16 bits, and then under a new producer id."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from provider_log import LogProvider
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Fenced, LogRecord, TopicSpec
from tests.kafka.test_doubt import read_until

TIMEOUT_MS = 10_000
_TRANSACTION = 1
_CONCURRENT_TRANSACTIONS = 51
_EPOCHS = 32_767
"""The largest epoch of a producer id: a Java `short`."""

Identity = tuple[int, int]
"""Producer id and epoch."""


class Owners:
    """Takes a transactional id again and again, as owners after owners would, over one connection."""

    def __init__(self, connection: AIOKafkaConnection, transactional_id: str) -> None:
        self._connection = connection
        self._id = transactional_id

    async def take(self) -> Identity:
        while True:
            answer = await self._connection.send(InitProducerIdRequest(self._id, TIMEOUT_MS))
            if answer.error_code == 0:
                return answer.producer_id, answer.producer_epoch
            assert answer.error_code == _CONCURRENT_TRANSACTIONS, answer.error_code

    async def take_until_it_begins_anew(self) -> tuple[list[Identity], Identity]:
        """The identities that were taken with one producer id, and the first one with another."""
        taken = [await self.take()]
        while (identity := await self.take())[0] == taken[0][0]:
            taken.append(identity)
            assert len(taken) <= _EPOCHS + 1
        return taken, identity


@asynccontextmanager
async def owners(bootstrap: str, transactional_id: str) -> AsyncGenerator[Owners]:
    host, port = bootstrap.split(",", maxsplit=1)[0].rsplit(":", 1)
    async with connected(host, int(port)) as asked:
        found = await asked.send(FindCoordinatorRequest(transactional_id, _TRANSACTION))
    async with connected(found.host, found.port) as connection:
        yield Owners(connection, transactional_id)


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncGenerator[AIOKafkaConnection]:
    connection = AIOKafkaConnection(host, port, request_timeout_ms=TIMEOUT_MS)
    await connection.connect()
    try:
        yield connection
    finally:
        closed = connection.close()
        if closed is not None:
            await closed


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@orchestration
async def greeting(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.activity(greet, name)


async def test_more_owners_than_epochs(bootstrap: str, tmp_path: Path) -> None:
    app = f"app-{uuid.uuid4().hex}"
    slot, topic = f"turnlog.{app}.0.0", f"beside-{app}"
    registry = Registry(orchestrations=[greeting], activities=[greet])

    async def greeted(name: str) -> str:
        async with LogProvider.kafka(bootstrap, tmp_path, app=app) as provider, Engine(provider, registry):
            handle = await Client(provider).start(greeting, name, instance=name)
            return await handle.wait(30)

    def record(value: bytes) -> LogRecord:
        return LogRecord(topic=topic, partition=0, key=None, value=value)

    assert await greeted("before") == "hello before"
    log = await KafkaLog.open(bootstrap)
    await log.create_topics([TopicSpec(name=topic, partitions=1, record_bytes_max=10_000)])
    paused = await log.open_producer(slot)
    await paused.produce([record(b"of the paused owner")])

    async with owners(bootstrap, slot) as others:
        taken, anew = await others.take_until_it_begins_anew()
    assert [epoch for _, epoch in taken] == list(range(taken[0][1], _EPOCHS))
    assert anew[1] == 0

    last = await log.open_producer(slot)
    await last.produce([record(b"of the last owner")])
    with pytest.raises(Fenced):
        await paused.commit()
    await last.commit()
    reader = await log.open_reader(topic, 0, 0)
    assert [found.value for found in await read_until(reader, b"of the last owner")] == [b"of the last owner"]
    await log.close()
    assert await greeted("after") == "hello after"
