"""Who wins when three nodes want one partition of a real broker? Exactly one at a time, and the log alone shows it."""

import asyncio
import uuid

from engine import Client, Engine
from engine.clock import SystemClock
from engine.converter import JsonConverter
from engine.model.messages import StartOrchestration
from engine.runtime.doors import Chance
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log.bench.workloads import REGISTRY
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log, LogRecord
from provider_log.routing import partition_of
from provider_log.store.memory import DictStore
from provider_log.topics import Topics
from tests.kafka.written import written

SLOTS_USED = (1, 2, 4)
"""Of each node: what one leaves alone another one uses."""

CONTENTION_MS = 25_000
EVERY_MS = 250
WAIT_S = 60
OUTPUT = "hello hello hello log"


def provider(bootstrap: str, app: str, slots_used: int, chance: Chance) -> LogProvider:
    async def open_log() -> Log:
        return await KafkaLog.open(bootstrap)

    async def is_placed_here(_partition: int) -> bool:
        return chance.uniform(0, 1) < 0.7

    return LogProvider(
        app=app,
        partitions=1,
        open_log=open_log,
        open_store=lambda _partition, _threads: DictStore(),
        options=LogProviderOptions(slots_used=slots_used, retry_ms_min=5, retry_ms_max=200),
        node=f"node-{slots_used}",
        is_placed_here=is_placed_here,
    )


async def test_no_record_of_a_node_that_is_not_the_owner_gets_into_the_log_in_25_s(bootstrap: str) -> None:
    """Timelines 1, 3 and 12: three nodes, each using another number of slots, take a partition from each other."""
    app, clock, chance = f"a{uuid.uuid4().hex}", SystemClock(), Chance(seed=1)
    log = await KafkaLog.open(bootstrap)
    await log.create_topics(Topics.of(app).specs(1))
    until_ms = clock.boot_ms() + CONTENTION_MS
    started = list[str]()

    async def live(slots_used: int) -> None:
        while clock.boot_ms() < until_ms:
            async with provider(bootstrap, app, slots_used, chance) as contender, Engine(contender, REGISTRY):
                await clock.sleep_ms(int(chance.uniform(0, 600)))
            await clock.sleep_ms(int(chance.uniform(0, 100)))

    async def start_more() -> None:
        while clock.boot_ms() < until_ms:
            started.append(f"i-{len(started)}")
            await start(log, app, started[-1])
            await clock.sleep_ms(EVERY_MS)

    await asyncio.gather(start_more(), *(live(slots_used) for slots_used in SLOTS_USED))
    async with provider(bootstrap, app, 2, chance) as last, Engine(last, REGISTRY):
        outputs = [await Client(last).wait(instance, WAIT_S, output=str) for instance in started]

    assert outputs == [OUTPUT] * len(started)
    history = await written(log, app)
    assert history.owners > 2 * len(SLOTS_USED)
    assert (history.ended, history.answered.total()) == (len(started), 3 * len(started))
    await log.close()


async def start(
    log: Log, app: str, instance: str, *, orchestration: str = "hello3", value: object = "log", partitions: int = 1
) -> None:
    """Start it as a stranger would, through the topic."""
    message = StartOrchestration(
        instance=instance, name=orchestration, input=JsonConverter().encode(value, "input"), message_id=instance
    )
    record = LogRecord(
        topic=Topics.of(app).orchestrator,
        partition=partition_of(instance, partitions),
        key=instance.encode(),
        value=codec.encode_message(message),
    )
    await log.append(record)
