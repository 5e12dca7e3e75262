"""Who wins when three nodes want one partition of a real broker? Exactly one at a time, and the log alone shows it."""

import asyncio
import uuid
from collections import Counter

from engine import Client, Engine
from engine.clock import SystemClock
from engine.converter import JsonConverter
from engine.model.messages import StartOrchestration
from engine.model.status import TERMINAL
from engine.runtime.doors import Chance
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.bench.workloads import REGISTRY
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log, LogRecord
from provider_log.partition.head import follow
from provider_log.store.memory import DictStore
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics

NODES = 3
LIVES = 4
INSTANCES = 10
WAIT_S = 60
OUTPUT = "hello hello hello log"


def provider(bootstrap: str, app: str, node: str, chance: Chance) -> LogProvider:
    async def open_log() -> Log:
        return await KafkaLog.open(bootstrap)

    async def is_placed_here(_partition: int) -> bool:
        return chance.uniform(0, 1) < 0.7

    return LogProvider(
        app=app,
        partitions=1,
        open_log=open_log,
        open_store=lambda _partition, _threads: DictStore(),
        options=LogProviderOptions(slots_used=2, retry_ms_min=5, retry_ms_max=200),
        node=node,
        is_placed_here=is_placed_here,
    )


async def test_no_record_of_a_node_that_is_not_the_owner_gets_into_the_log(bootstrap: str) -> None:
    app, clock, chance = f"a{uuid.uuid4().hex}", SystemClock(), Chance(seed=1)
    log = await KafkaLog.open(bootstrap)
    await log.create_topics(Topics.of(app).specs(1))

    async def live(node: str) -> None:
        for _ in range(LIVES):
            async with provider(bootstrap, app, node, chance) as contender, Engine(contender, REGISTRY):
                await clock.sleep_ms(int(chance.uniform(0, 600)))
            await clock.sleep_ms(int(chance.uniform(0, 100)))

    contending = asyncio.gather(*(live(f"node-{number}") for number in range(NODES)))
    for number in range(INSTANCES):
        await start(log, app, f"i-{number}")
    await contending
    async with provider(bootstrap, app, "last", chance) as last, Engine(last, REGISTRY):
        outputs = [await Client(last).wait(f"i-{number}", WAIT_S, output=str) for number in range(INSTANCES)]

    assert outputs == [OUTPUT] * INSTANCES
    assert await owners(log, app) > NODES
    await log.close()


async def start(log: Log, app: str, instance: str) -> None:
    """Start it as a stranger would, through the topic."""
    message = StartOrchestration(
        instance=instance, name="hello3", input=JsonConverter().encode("log", "input"), message_id=instance
    )
    topic = Topics.of(app).orchestrator
    await log.append(LogRecord(topic=topic, partition=0, key=instance.encode(), value=codec.encode_message(message)))


async def owners(log: Log, app: str) -> int:
    """How many owners the history had. Read as a stranger would: nothing void, every end and every answer once."""
    reader = await log.open_reader(Topics.of(app).history, 0, 0)
    head, seen, owners = HeadRow(), Counter[tuple[object, ...]](), 0
    while stored := await reader.read(1_000, 0):
        for one in stored:
            assert one.value is not None
            record = codec.decode_record(one.value)
            followed = follow(head, one.offset, record, one.value)  # raises for a batch number that is used twice
            head = followed.head
            assert not followed.void, f"expected no record of a former owner, but {record} is one"
            owners += isinstance(record, r.OwnershipAcquired)
            if isinstance(record, r.WorkItemAcked):
                seen["answer", record.instance, record.activity_id] += 1
            if isinstance(record, r.TurnCommitted):
                seen["end", record.instance] += record.status in TERMINAL
    assert {what: count for what, count in seen.items() if count != 1} == {}
    assert len(seen) == INSTANCES * 4
    return owners
