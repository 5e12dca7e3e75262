"""Does all end as it must in a cluster whose nodes are killed and stopped, and whose broker sleeps, all the time?

`make chaos` is half an hour of it; `--chaos-seconds` and `--chaos-seed` choose how long and which.
"""

import asyncio
import itertools
import os
import signal
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest

from engine.clock import SystemClock
from engine.runtime.doors import Chance
from provider_log.dev.broker import Broker, running_broker
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log, LogError
from tests.cluster.nodes import ClusterNode, NodeCluster, client_of, cluster_of
from tests.kafka.test_contenders import start
from tests.kafka.written import written

PARTITIONS = 8
NODES = 3
EVERY_MS = 300
END_S = 120
"""So long what is left may take to end once nothing goes wrong any more: a session, hand-overs, and the work itself."""

CODE = """
import asyncio

from engine import ActivityContext, OrchestrationContext, Registry, activity, orchestration


@activity
async def square(number: int) -> int:
    await asyncio.sleep(0.2)
    return number * number


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(square, number)


@orchestration
async def family(ctx: OrchestrationContext, number: int) -> int:
    here, below, beside = await asyncio.gather(
        ctx.schedule_activity(square, number),
        ctx.schedule_sub_orchestration(child, number + 1),
        ctx.schedule_sub_orchestration(child, number + 2, instance=f"beside-{number}"),
    )
    await asyncio.sleep(1)
    return await ctx.schedule_activity(square, here % 97) + 7 * below + 11 * beside


registry = Registry(orchestrations=[family, child], activities=[square])
"""

ACTIVITIES = 4
EXECUTIONS = 3
"""Of each family: its own, and two children, one of which lives on another partition, maybe."""


def result(number: int) -> int:
    """What `family` returns."""
    return (number**2 % 97) ** 2 + 7 * (number + 1) ** 2 + 11 * (number + 2) ** 2


@pytest.fixture
def broker() -> Generator[Broker]:
    """One of its own: others would miss it while it sleeps.

    It is never killed here: Kafka from 4.1 on forgets the markers of a transaction that is being committed then, if it
    is the only broker (tests/kafka/test_outage.py kills one between transactions).
    """
    with running_broker() as broker:
        yield broker


class Chaos:
    """What happens to a cluster, drawn from a seed."""

    def __init__(self, seed: int, nodes: list[ClusterNode], broker: Broker) -> None:
        self._chance = Chance(seed)
        self._clock = SystemClock()
        self._nodes = nodes
        self._broker = broker
        self.happened: list[str] = []

    async def for_seconds(self, seconds: int) -> None:
        """One thing after another; then all is well again."""
        until_ms = self._clock.boot_ms() + 1_000 * seconds
        while self._clock.boot_ms() < until_ms:
            await self._pause(1, 4)
            node = self._nodes[self._below(len(self._nodes))]
            what = (self.kill, self.kill, self.stop_briefly, self.stop_for_long, self.broker_sleeps)[self._below(5)]
            self.happened.append(what.__name__)
            await what(node)

    async def kill(self, node: ClusterNode) -> None:
        await node.kill()
        await self._pause(0, 8)
        await node.start()

    async def stop_briefly(self, node: ClusterNode) -> None:
        await self._stop(node.process.pid, 0.1, 3)

    async def stop_for_long(self, node: ClusterNode) -> None:
        """Longer than a session lasts: others take its partitions, and it wakes up in the middle of its work."""
        await self._stop(node.process.pid, 7, 12)

    async def broker_sleeps(self, _node: ClusterNode) -> None:
        await self._stop(self._broker.pid, 1, 8)

    async def _stop(self, pid: int, at_least_s: float, at_most_s: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await self._pause(at_least_s, at_most_s)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _pause(self, at_least_s: float, at_most_s: float) -> None:
        await self._clock.sleep_ms(int(self._chance.uniform(1_000 * at_least_s, 1_000 * at_most_s)))

    def _below(self, bound: int) -> int:
        return int(self._chance.uniform(0, bound))


async def start_families(cluster: NodeCluster, started: list[int]) -> None:
    """One after another, as a stranger does it, until cancelled; one that may not have arrived is sent again."""
    log = await KafkaLog.open(cluster.bootstrap)
    clock = SystemClock()
    try:
        for number in itertools.count():
            while not await arrives(log, cluster.app, number):
                await clock.sleep_ms(EVERY_MS)
            started.append(number)
            await clock.sleep_ms(EVERY_MS)
    finally:
        await log.close()


async def arrives(log: Log, app: str, number: int) -> bool:
    try:
        await start(log, app, f"family-{number}", orchestration="family", value=number, partitions=PARTITIONS)
    except LogError:
        return False
    return True


async def test_every_family_ends_once_and_as_it_must_whatever_happens_to_its_nodes(
    broker: Broker, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    seconds: int = pytestconfig.option.chaos_seconds
    seed: int = pytestconfig.option.chaos_seed
    started: list[int] = []
    async with cluster_of(broker.bootstrap, tmp_path, CODE, PARTITIONS) as cluster:
        nodes = [cluster.node(number) for number in range(NODES)]
        async with anyio.create_task_group() as group:
            for node in nodes:
                group.start_soon(node.start)
        starting = asyncio.ensure_future(start_families(cluster, started))
        chaos = Chaos(seed, nodes, broker)
        try:
            await chaos.for_seconds(seconds)
        finally:
            starting.cancel()
            await asyncio.wait({starting})
        assert starting.cancelled(), starting
        async with client_of(nodes[0]) as client:
            for number in started:
                # A bound for each and none for all: how many there are depends on the machine, that all go on does not.
                assert await client.wait(f"family-{number}", END_S, output=int) == result(number), chaos.happened
        # It reads all that was written; the log of half an hour takes longer than a command may elsewhere.
        verify = ("audit", "verify", "--live", *cluster.log, "--json")
        verified = await nodes[0].turnlog(*verify, patience_s=END_S + seconds)
        assert verified.code == 0, verified
        for node in nodes:
            assert await node.stop() == 0
    log = await KafkaLog.open(broker.bootstrap)
    try:
        histories = [await written(log, cluster.app, partition) for partition in range(PARTITIONS)]
    finally:
        await log.close()
    # The last family may have arrived although nobody heard so.
    assert sum(history.ended for history in histories) // EXECUTIONS - len(started) in {0, 1}
    answered = sum(history.answered.total() for history in histories)
    assert answered // ACTIVITIES - len(started) in {0, 1}
    assert sum(history.owners for history in histories) > 2 * PARTITIONS, f"expected moves, but only {chaos.happened}"
