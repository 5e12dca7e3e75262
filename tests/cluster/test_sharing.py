"""Do nodes that share partitions answer as one, hand over in order, and let waiters go along?"""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from engine import ActivityContext, Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.clock import SystemClock
from engine.errors import InstanceNotFound
from engine.model.status import Status
from provider_log import codec
from provider_log import records as r
from provider_log.cluster.kafka import cluster_on_kafka
from provider_log.cluster.membership import ProcessMembership
from provider_log.cluster.provider import ClusterProvider
from provider_log.cluster.sharing import SharingOptions
from provider_log.log.kafka import KafkaLog
from provider_log.routing import partition_of
from provider_log.server.address import parse_address
from provider_log.server.listener import address_of, bind, serving
from provider_log.server.remote import RemoteProvider
from provider_log.topics import Topics

PARTITIONS = 4
WAIT_S = 60
OPTIONS = SharingOptions(session_ms=6_000, drain_ms=300)


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def leaf(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, number)


@orchestration
async def tree(ctx: OrchestrationContext, number: int) -> int:
    """A child that lives with it, and a start and an event that cross partitions as often as not."""
    ctx.start_detached(leaf, number, instance=f"leaf-{number}")
    own = await ctx.schedule_sub_orchestration(leaf, number)
    return own + await ctx.wait_event("more", int)


@orchestration
async def sleeper(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(timedelta(seconds=2))
    return "awake"


class Slow:
    """An activity that runs until it is told not to, and how often it began and was told."""

    def __init__(self) -> None:
        self.began = asyncio.Semaphore(0)
        self.told = 0
        self.may_end = asyncio.Event()

        @activity(name="slow")
        async def slow(ctx: ActivityContext) -> str:
            self.began.release()
            ends = asyncio.ensure_future(self.may_end.wait())
            cancelled = asyncio.ensure_future(ctx.cancelled())
            await asyncio.wait({ends, cancelled}, return_when=asyncio.FIRST_COMPLETED)
            ends.cancel()
            cancelled.cancel()
            if ctx.is_cancelled():
                self.told += 1
            return "done"

        @orchestration(name="waits")
        async def waits(ctx: OrchestrationContext) -> str:
            return await ctx.schedule_activity(slow)

        self.registry = Registry(orchestrations=[waits], activities=[slow])


REGISTRY = Registry(orchestrations=[tree, leaf, sleeper], activities=[double])


class Node:
    """A node of a cluster, in this process, which serves over HTTP as any node does."""

    def __init__(self, cluster: ClusterProvider, url: str, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self.url = url
        self._stack = stack

    @property
    def membership(self) -> ProcessMembership:
        assert isinstance(self.cluster.membership, ProcessMembership)
        return self.cluster.membership

    async def leave(self) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client]:
        async with RemoteProvider(self.url) as remote:
            yield Client(remote, admin=remote)


class Nodes:
    """Nodes of one application; each leaves at the end, if it has not left before."""

    def __init__(self, bootstrap: str, directory: Path, stack: AsyncExitStack) -> None:
        self.app = f"a{uuid.uuid4().hex}"
        self.bootstrap = bootstrap
        self._directory = directory
        self._stack = stack

    async def join(self, registry: Registry = REGISTRY, data: str = "") -> Node:
        """One more node, once what is placed on it runs."""
        stack = await self._stack.enter_async_context(AsyncExitStack())
        listener = stack.enter_context(bind(parse_address("127.0.0.1:0"), token=None))
        address = address_of(listener)
        cluster = cluster_on_kafka(
            self.bootstrap,
            self._directory / (data or uuid.uuid4().hex),
            address=address.text,
            app=self.app,
            partitions=PARTITIONS,
            sharing=OPTIONS,
        )
        await stack.enter_async_context(serving(cluster, listener, here=cluster.local))
        await stack.enter_async_context(cluster)
        await stack.enter_async_context(Engine(cluster.local, registry))
        await cluster.settled()
        return Node(cluster, address.url, stack)


@pytest.fixture
async def nodes(bootstrap: str, tmp_path: Path) -> AsyncGenerator[Nodes]:
    async with AsyncExitStack() as stack:
        yield Nodes(bootstrap, tmp_path, stack)


async def shared_evenly(*nodes: Node) -> None:
    """Return when each of the nodes runs its share."""
    share = PARTITIONS // len(nodes)
    await until(lambda: all(node.cluster.ready and len(node.cluster.phases()) == share for node in nodes))


async def until(holds: Callable[[], bool]) -> None:
    clock = SystemClock()
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await clock.sleep_ms(20)


def ids_in(partitions: set[int], count: int) -> list[str]:
    """Ids of instances that live there."""
    found = (f"i-{number}" for number in range(10_000))
    wanted = (instance for instance in found if partition_of(instance, PARTITIONS) in partitions)
    return [next(wanted) for _ in range(count)]


async def test_any_node_answers_for_all_of_them(nodes: Nodes) -> None:
    one, two = await nodes.join(), await nodes.join()
    await shared_evenly(one, two)
    numbers = range(12)

    async with one.client() as first, two.client() as second:
        for number in numbers:
            await first.start(tree, number, instance=f"tree-{number}")
            await second.raise_event(f"tree-{number}", "more", 1)
        for number in numbers:
            while (await second.status(f"tree-{number}")).status is Status.RUNNING:
                await second.raise_event(f"tree-{number}", "more", 1)  # one that came too early is lost
        for client in (first, second):
            assert [await client.wait(f"tree-{n}", WAIT_S, output=int) for n in numbers] == [2 * n + 1 for n in numbers]
            assert [await client.wait(f"leaf-{n}", WAIT_S, output=int) for n in numbers] == [2 * n for n in numbers]
            assert len(await client.history("tree-3")) > 3
            assert len(await client.list_executions("tree-3")) == 1
            with pytest.raises(InstanceNotFound):
                await client.status("nobody")
        listed = [info.instance for info in await first.list_instances(limit=1_000)]
        assert listed == [info.instance for info in await second.list_instances(limit=1_000)]
        assert listed == sorted(listed)
        assert len(listed) == 3 * len(numbers), "expected each tree, its child and its leaf"
        assert [info.instance for info in await second.list_instances(limit=5)] == listed[:5]
    digests = [await one.cluster.digest(number) for number in range(PARTITIONS)]
    assert digests == [await two.cluster.digest(number) for number in range(PARTITIONS)]
    assert await one.cluster.get_queue_depths() == await two.cluster.get_queue_depths()


async def test_a_waiter_goes_along_when_its_partition_moves(nodes: Nodes) -> None:
    one, two = await nodes.join(), await nodes.join()
    await shared_evenly(one, two)
    instances = ids_in(set(two.cluster.phases()), 4)
    async with one.client() as client:
        for instance in instances:
            await client.start(sleeper, instance=instance)
        waiting = [asyncio.ensure_future(client.wait(instance, WAIT_S, output=str)) for instance in instances]
        for instance in instances:
            await client.changed(instance)

        await two.leave()

        assert await asyncio.gather(*waiting) == ["awake"] * len(instances)
    assert sorted(one.cluster.phases()) == list(range(PARTITIONS))


async def test_a_start_that_is_put_off_and_one_that_is_suspended_go_along_too(nodes: Nodes) -> None:
    """Asked of the node that does not own them, then owned by it; and nobody begins before the time."""
    one, two = await nodes.join(), await nodes.join()
    await shared_evenly(one, two)
    later, suspended = ids_in(set(two.cluster.phases()), 2)
    delay_ms = 3_000
    async with one.client() as client:
        asked_at_ms = SystemClock().now_ms()
        await client.start(leaf, 21, instance=later, delay=timedelta(milliseconds=delay_ms))
        await client.start(sleeper, instance=suspended)
        await client.changed(suspended)
        await client.suspend(suspended, "while it moves")
        with pytest.raises(InstanceNotFound):
            await client.status(later)

        await two.leave()

        assert (await client.status(suspended)).suspend_reason == "while it moves"
        assert await client.wait(later, WAIT_S, output=int) == 42
        assert (await client.status(later)).created_at_ms >= asked_at_ms + delay_ms
        assert (await client.status(suspended)).status is Status.SUSPENDED
        await client.resume(suspended)
        assert await client.wait(suspended, WAIT_S, output=str) == "awake"


async def test_a_partition_is_handed_over_in_order(nodes: Nodes) -> None:
    slow = Slow()
    one = await nodes.join(slow.registry)
    async with one.client() as client:
        handle = await client.start("waits", instance=ids_in({3}, 1)[0])
        await slow.began.acquire()

        two = await nodes.join(slow.registry)
        await shared_evenly(one, two)
        assert 3 in two.cluster.phases(), "expected the last partitions to move"
        await slow.began.acquire()  # where it is owned now
        assert slow.told == 1, "expected the one that began first to be told"
        slow.may_end.set()
        assert await handle.wait(WAIT_S) == "done"

    records = await history(nodes, 3)
    acquired = [number for number, record in enumerate(records) if isinstance(record, r.OwnershipAcquired)]
    released = [number for number, record in enumerate(records) if isinstance(record, r.OwnershipReleased)]
    assert len(acquired) == 2
    assert released == [acquired[1] - 1], "expected the first owner to have said goodbye, and nothing after it"
    assert sum(isinstance(record, r.WorkItemAcked) for record in records) == 1
    assert one.cluster.fenced_commits == two.cluster.fenced_commits == 0


async def test_the_last_node_leaves_nobody_as_owner(nodes: Nodes) -> None:
    one = await nodes.join()
    await one.leave()
    log = await KafkaLog.open(nodes.bootstrap)
    for partition in range(PARTITIONS):
        reader = await log.open_reader(Topics.of(nodes.app).owners, partition, 0)
        assert (await reader.read(100, 0))[-1].value is None
    await log.close()


async def test_a_partition_that_a_node_cannot_run_is_another_ones(nodes: Nodes, tmp_path: Path) -> None:
    unfit = tmp_path / "unfit" / "store" / "2"
    unfit.mkdir(parents=True)
    (unfit / "CURRENT").write_text("nothing that RocksDB can read\n")
    one = await nodes.join(data="unfit")
    assert sorted(one.cluster.phases()) == [0, 1, 3]

    two = await nodes.join()
    await until(lambda: 2 in two.cluster.phases())
    instance = ids_in({2}, 1)[0]
    async with one.client() as client:
        handle = await client.start(leaf, 21, instance=instance)
        assert await handle.wait(WAIT_S) == 42


async def test_a_node_that_asks_for_another_is_asked_no_further(nodes: Nodes) -> None:
    one, two = await nodes.join(), await nodes.join()
    await shared_evenly(one, two)
    instance = ids_in(set(two.cluster.phases()), 1)[0]
    async with RemoteProvider(one.url, is_hop=True) as hop, one.client() as client:
        await client.start(leaf, 1, instance=instance)
        await client.wait(instance, WAIT_S)
        with pytest.raises(Exception, match="another node has it, or none"):
            await hop.get_instance_info(instance)


async def history(nodes: Nodes, partition: int) -> list[r.AnyRecord]:
    """Every record, as a stranger reads it."""
    log = await KafkaLog.open(nodes.bootstrap, clock=SystemClock())
    try:
        reader = await log.open_reader(Topics.of(nodes.app).history, partition, 0)
        found: list[r.AnyRecord] = []
        while stored := await reader.read(1_000, 0):
            found += [codec.decode_record(one.value or b"") for one in stored]
        return found
    finally:
        await log.close()


async def test_a_membership_process_that_dies_costs_nobody_a_partition(nodes: Nodes) -> None:
    one, two = await nodes.join(), await nodes.join()
    await shared_evenly(one, two)
    before, epochs = one.cluster.phases(), [(await two.cluster.digest(number)).epoch for number in range(PARTITIONS)]
    instance = ids_in(set(before), 1)[0]
    generation = one.membership.placement.generation if one.membership.placement else 0

    pid = one.membership.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: one.membership.placement is None)
    async with two.client() as client:
        handle = await client.start(leaf, 21, instance=instance)
        assert await handle.wait(WAIT_S) == 42
    await until(lambda: one.membership.placement is not None and one.membership.placement.generation > generation)
    await shared_evenly(one, two)

    assert one.cluster.phases() == before
    assert [(await two.cluster.digest(number)).epoch for number in range(PARTITIONS)] == epochs
