"""Who wins when three nodes want one partition of a real broker? Exactly one at a time, and the log alone shows it."""

import asyncio
import uuid

from engine import Client, Engine
from engine.clock import SystemClock
from engine.runtime.doors import Chance
from provider_log import LogProvider, LogProviderOptions
from provider_log.bench.workloads import REGISTRY
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log
from provider_log.store.memory import DictStore
from provider_log.topics import Topics
from tests.kafka.history import ACTIVITIES, read_history, start_hello3

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
        await start_hello3(log, app, f"i-{number}")
    await contending
    async with provider(bootstrap, app, "last", chance) as last, Engine(last, REGISTRY):
        outputs = [await Client(last).wait(f"i-{number}", WAIT_S, output=str) for number in range(INSTANCES)]

    assert outputs == [OUTPUT] * INSTANCES
    seen = await read_history(log, app)
    assert seen.owners > NODES
    assert seen.answers == {f"i-{number}": ACTIVITIES for number in range(INSTANCES)}
    await log.close()
