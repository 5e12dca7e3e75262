"""What becomes of a partition that no node can run? Three try, it stays with the last, and that one says why."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from engine.errors import StateCorrupted
from engine.model.messages import StartOrchestration
from engine.model.payload import NULL
from engine.runtime.doors import Chance, Tasks
from provider_log import codec
from provider_log import records as r
from provider_log.cluster.provider import ClusterProvider
from provider_log.cluster.sharing import Sharing, SharingOptions
from provider_log.log.port import LogRecord
from provider_log.log_provider import LogProvider
from provider_log.server.remote import RemoteProvider
from provider_log.simulation.group import SimulatedGroup
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import APP, World
from provider_log.topics import Topics

SESSION_MS = 3_000
LONG_MS = 120_000
TRACEBACK_MAX = 20


class Cluster:
    """Nodes that share one partition, and what was heard of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.given_up: list[str] = []
        self.heard = asyncio.Event()
        self._group = SimulatedGroup(SESSION_MS, world.clock, Chance(7), self._broke)

    def _broke(self, error: BaseException) -> None:
        raise error

    @asynccontextmanager
    async def node(self, name: str) -> AsyncGenerator[tuple[LogProvider, ClusterProvider]]:
        clock, chance = self.world.clock, self.world.chance
        membership = self._group.membership(name, Line())

        def heard(_partition: int, _error: Exception) -> None:
            self.given_up.append(name)
            self.heard.set()

        sharing = Sharing(name, membership, clock, chance, SharingOptions(session_ms=SESSION_MS), heard)
        tasks = Tasks(name, self._broke)
        async with self.world.provider(name, shared=sharing) as provider:
            membership.join(1)
            tasks.spawn("sharing", sharing.run(provider.held))
            yield provider, ClusterProvider(provider, membership, sharing, _nowhere, clock)
            await membership.aclose()
            await tasks.aclose(clock, patience_ms=LONG_MS)

    @property
    def placement(self) -> dict[int, str]:
        """Who shall have the partition, as the group says."""
        return self._group.decision.partitions

    async def running(self, provider: LogProvider) -> None:
        """Return when the node owns the partition."""
        while not provider.held.is_current(0):
            await self.world.clock.sleep_ms(50)

    async def given_up_by(self, count: int) -> None:
        """Return when so many nodes have failed with the partition."""
        while len(self.given_up) < count:
            self.heard.clear()
            await self.heard.wait()

    async def aclose(self) -> None:
        await self._group.aclose()


class Hopped(Exception):
    """Another node would have been asked."""


def _nowhere(address: str) -> RemoteProvider:
    raise Hopped(address)


async def write_what_nobody_reads(world: World) -> None:
    """A stranger writes into the history, which only owners may."""
    topic = Topics.of(APP).history
    await world.log.append(LogRecord(topic=topic, partition=0, key=None, value=b"no record"))


async def acquired_by(world: World) -> list[str]:
    """The nodes that acquired the partition, in order."""
    found: list[str] = []
    for _, data in await world.history():
        try:
            record = codec.decode_record(data)
        except codec.Malformed:
            found.append("no record")
            continue
        if isinstance(record, r.OwnershipAcquired):
            found.append(record.node)
    return found


@asynccontextmanager
async def broken(world: World, cluster: Cluster) -> AsyncGenerator[ClusterProvider]:
    """A node owns the partition for the block, and leaves behind what no other can read."""
    async with cluster.node("first") as (provider, first):
        await cluster.running(provider)
        start = StartOrchestration(instance="i", name="anything", version=None, input=NULL)
        await provider.enqueue_for_orchestrator(start)
        yield first
        await write_what_nobody_reads(world)


@pytest.mark.parametrize(("nodes", "tries"), [(1, 2), (2, 3), (3, 3), (5, 3)])
def test_so_many_nodes_try_and_the_last_one_keeps_it_and_says_why(nodes: int, tries: int) -> None:
    """Three at most; where there are fewer, one of them once more, which keeps it then."""
    world = World()

    async def scenario() -> None:
        cluster = Cluster(world)
        async with AsyncExitStack() as stack:
            async with broken(world, cluster):
                names = [f"n{number}" for number in range(nodes)]
                served = {name: await stack.enter_async_context(cluster.node(name)) for name in names}
                await world.clock.sleep_ms(SESSION_MS)
            await cluster.given_up_by(tries)
            await world.clock.sleep_ms(LONG_MS)
            assert len(cluster.given_up) == tries
            assert len(set(cluster.given_up)) == min(nodes, 3)
            assert await acquired_by(world) == ["first", "no record", *cluster.given_up]
            _, asked = served[cluster.given_up[-1]]
            for _ in range(10):
                with pytest.raises(StateCorrupted, match="history offset") as raised:
                    await asked.get_instance_info("i")
                assert len(raised.traceback) < TRACEBACK_MAX
            with pytest.raises(StateCorrupted):
                await asked.get_queue_depths()
        await cluster.aclose()

    world.run(scenario)


def test_an_owner_that_drains_is_nobody_who_could_still_try() -> None:
    """It is a member until it has ended, and refuses everything."""
    world = World()

    async def scenario() -> None:
        cluster = Cluster(world)
        async with AsyncExitStack() as stack:
            async with broken(world, cluster) as first:
                await stack.enter_async_context(cluster.node("n0"))
                await world.clock.sleep_ms(SESSION_MS)
                await write_what_nobody_reads(world)
                first.hand_over()
                await cluster.given_up_by(2)
            await world.clock.sleep_ms(LONG_MS)
            assert set(cluster.given_up) == {"n0"}
            assert cluster.placement == {0: "n0"}
        await cluster.aclose()

    world.run(scenario)


def test_when_the_one_that_keeps_it_leaves_another_one_keeps_it() -> None:
    world = World()

    async def scenario() -> None:
        cluster = Cluster(world)
        async with AsyncExitStack() as stack:
            left = AsyncExitStack()
            async with broken(world, cluster):
                for name in ("n0", "n1", "n2"):
                    await left.enter_async_context(cluster.node(name))
                for name in ("n3", "n4"):
                    await stack.enter_async_context(cluster.node(name))
                await world.clock.sleep_ms(SESSION_MS)
            await cluster.given_up_by(3)
            await left.aclose()
            await world.clock.sleep_ms(LONG_MS)
            assert set(cluster.placement.values()) <= {"n3", "n4"}
            assert cluster.placement
        await cluster.aclose()

    world.run(scenario)


def test_a_node_that_comes_later_tries_what_is_stuck_elsewhere() -> None:
    """It may have the version that can read it; and so may one that comes again."""
    world = World()

    async def scenario() -> None:
        cluster = Cluster(world)
        async with AsyncExitStack() as stack:
            async with broken(world, cluster):
                await stack.enter_async_context(cluster.node("n0"))
            await cluster.given_up_by(2)
            for comes in (1, 2):
                async with cluster.node("n1"):
                    await world.clock.sleep_ms(LONG_MS)
                    assert (await acquired_by(world)).count("n1") >= comes
                await world.clock.sleep_ms(LONG_MS)
        await cluster.aclose()

    world.run(scenario)


def test_a_node_that_keeps_what_another_one_runs_says_nothing_of_it() -> None:
    """It was cut off from the group, and the one that took the partition can read what is there."""
    world = World()

    async def scenario() -> None:
        cluster = Cluster(world)
        async with AsyncExitStack() as stack:
            async with broken(world, cluster):
                _, asked = await stack.enter_async_context(cluster.node("n0"))
            await cluster.given_up_by(2)
            with pytest.raises(StateCorrupted):
                await asked.get_instance_info("i")
            owner = r.Owner(partition=0, owner_token=b"t" * 16, node="n1", address="n1", generation=99)
            record = LogRecord(topic=Topics.of(APP).owners, partition=0, key=None, value=codec.encode_owner(owner))
            await world.log.append(record)
            await world.clock.sleep_ms(SESSION_MS)
            with pytest.raises(Hopped, match="n1"):
                await asked.get_instance_info("i")
        await cluster.aclose()

    world.run(scenario)
