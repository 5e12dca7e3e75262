"""What becomes of work when its broker dies, or sleeps?"""

import asyncio
import os
import signal
import uuid
from collections.abc import Generator
from pathlib import Path

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.runtime.doors import Threads
from provider_log import LogProvider
from provider_log.bench.workloads import REGISTRY
from provider_log.dev.broker import Broker, running_broker
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogError

WAIT_S = 90
OUTPUT = "hello hello hello log"
INSTANCES = 20

MARKERS_S = 1
"""Until nothing of a transaction is under way, its markers, of which nothing tells, included.

Brokers from 4.1 on forget the markers of a transaction that was being committed when they died, if they come up as its
coordinator before its partitions have a leader ("Couldn't find leader endpoint ... likely deleted already"): with one
broker, that is. What it wrote then stays in the way of readers until somebody aborts it by hand.
"""

SLEEP_S = 6
"""Longer than a commit waits for its answer."""


@pytest.fixture
def broker() -> Generator[Broker]:
    """One of its own: others would miss it."""
    with running_broker() as broker:
        yield broker


async def started(client: Client, prefix: str) -> list[asyncio.Task[str]]:
    """Orchestrations that were accepted before this returns, and wait for their ends."""
    instances = [f"{prefix}-{number}" for number in range(20)]
    for instance in instances:
        await client.start("hello3", "log", instance=instance)
    return [asyncio.ensure_future(client.wait(instance, WAIT_S, output=str)) for instance in instances]


async def test_work_goes_on_after_its_broker_was_killed_and_started_again(broker: Broker, tmp_path: Path) -> None:
    app = f"a{uuid.uuid4().hex}"
    begun, go_on = asyncio.Semaphore(0), asyncio.Event()

    @activity
    async def held(name: str) -> str:
        begun.release()
        await go_on.wait()
        return name

    @orchestration
    async def holds(ctx: OrchestrationContext, name: str) -> str:
        await ctx.schedule_activity(held, name)
        return await ctx.schedule_activity(held, name)

    registry = Registry(orchestrations=[holds], activities=[held])
    async with LogProvider.kafka(broker.bootstrap, tmp_path, app=app) as provider, Engine(provider, registry):
        client = Client(provider)
        for number in range(INSTANCES):
            await client.start("holds", "log", instance=f"i-{number}")
        for _ in range(INSTANCES):
            await begun.acquire()
        await asyncio.sleep(MARKERS_S)

        os.kill(broker.pid, signal.SIGKILL)
        threads = Threads("broker", 1)
        await threads.offload(broker.stop)
        await threads.offload(broker.start)
        threads.close(patience_ms=1_000)
        go_on.set()

        outputs = [await client.wait(f"i-{number}", WAIT_S, output=str) for number in range(INSTANCES)]
    assert outputs == ["log"] * INSTANCES


async def test_work_goes_on_after_its_broker_slept(broker: Broker, tmp_path: Path) -> None:
    app = f"a{uuid.uuid4().hex}"
    async with LogProvider.kafka(broker.bootstrap, tmp_path, app=app) as provider, Engine(provider, REGISTRY):
        waiting = await started(Client(provider), "i")
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            assert not all(one.done() for one in waiting)
            await asyncio.sleep(SLEEP_S)
        finally:
            os.kill(broker.pid, signal.SIGCONT)

        assert await asyncio.gather(*waiting) == [OUTPUT] * len(waiting)


async def test_every_call_to_a_broker_that_sleeps_ends_within_its_bound(broker: Broker) -> None:
    log = await KafkaLog.open(broker.bootstrap, answer_ms=500)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(5):
            for call in (
                log.partition_count("x"),
                log.bounds("x", 0),
                log.open_producer("x"),
                log.open_reader("x", 0, 0),
            ):
                with pytest.raises(LogError):
                    await call
            with pytest.raises(LogError):
                await KafkaLog.open(broker.bootstrap, answer_ms=500)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
        await log.close()
