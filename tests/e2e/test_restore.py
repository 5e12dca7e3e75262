"""Is what a node finds after it was down what it left, however it went down and whatever was left of its directory?"""

import shutil
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.clock import ManualClock
from engine.errors import Refused
from engine.model.status import Status
from engine.model.views import InstanceInfo
from engine.runtime.doors import Chance
from provider_log.answers import PartitionDigest
from provider_log.audit.verify import verify
from provider_log.log_provider import LogProvider
from provider_log.store.rocks import RocksStore, StoreUnreadable
from tests.e2e.node_process import PATIENCE_S, make_shop, running_node

DAY_MS = 24 * 3_600_000
PARTITIONS = [1, 4]


@activity
async def double(number: int) -> int:
    return number * 2


@orchestration
async def twice(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, await ctx.schedule_activity(double, number))


@orchestration
async def family(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_sub_orchestration(twice, number)


@orchestration
async def tomorrow(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(timedelta(days=1))
    return "it is tomorrow"


@orchestration
async def two_orders(ctx: OrchestrationContext) -> list[object]:
    first = await ctx.dequeue("orders")
    ctx.set_custom_status("one is here")
    return [first, await ctx.dequeue("orders")]


@orchestration(name="two_orders")
async def two_orders_changed(ctx: OrchestrationContext) -> list[object]:
    await ctx.schedule_timer(timedelta(seconds=1))
    return [await ctx.dequeue("orders"), await ctx.dequeue("orders")]


REGISTRY = Registry(orchestrations=[twice, family, tomorrow, two_orders], activities=[double])
CHANGED = Registry(orchestrations=[twice, family, tomorrow, two_orders_changed], activities=[double])


class Lived(NamedTuple):
    """An engine that runs on a directory."""

    provider: LogProvider
    client: Client


@asynccontextmanager
async def life(
    directory: Path, clock: ManualClock, registry: Registry = REGISTRY, *, partitions: int = 1
) -> AsyncGenerator[Lived]:
    """One life of an engine, from a start to a clean stop."""
    with anyio.fail_after(PATIENCE_S):
        async with (
            LogProvider.embedded(directory, partitions=partitions, clock=clock) as provider,
            Engine(provider, registry, clock=clock),
        ):
            yield Lived(provider, Client(provider, admin=provider, clock=clock))


async def becomes(lived: Lived, instance: str, *statuses: Status) -> InstanceInfo:
    """The instance once it is in one of these."""
    info = await lived.provider.changed(instance, 0)
    while info.status not in statuses:
        info = await lived.provider.changed(instance, info.revision)
    return info


async def all_there_is(lived: Lived) -> Sequence[object]:
    """What queries answer: instances, executions, histories."""
    infos = await lived.client.list_instances()
    executions = [await lived.client.list_executions(info.instance) for info in infos]
    histories = [await lived.client.history(info.instance) for info in infos]
    return (infos, executions, histories)


async def busy(lived: Lived) -> None:
    """Some of everything: what has ended, what waits for time, for a message, and a message that waits for its time."""
    for number in range(5):
        await lived.client.start(family, number, instance=f"family-{number}")
        await lived.client.start(tomorrow, instance=f"tomorrow-{number}")
        await lived.client.start(two_orders, instance=f"orders-{number}")
        await lived.client.enqueue_message(f"orders-{number}", "orders", number)
    for number in range(5):
        assert await lived.client.wait(f"family-{number}") == number * 4
        await becomes(lived, f"tomorrow-{number}", Status.RUNNING)
        info = await becomes(lived, f"orders-{number}", Status.RUNNING)
        while info.custom_status is None:
            info = await lived.provider.changed(info.instance, info.revision)


@pytest.mark.parametrize("partitions", PARTITIONS)
async def test_after_a_clean_stop_everything_is_as_it_was(tmp_path: Path, partitions: int) -> None:
    clock = ManualClock()
    async with life(tmp_path, clock, partitions=partitions) as lived:
        await busy(lived)
        before = await all_there_is(lived)
    async with life(tmp_path, clock, partitions=partitions) as lived:
        assert await all_there_is(lived) == before
        await lived.client.enqueue_message("orders-0", "orders", "second")
        assert await lived.client.wait("orders-0") == [0, "second"]


async def digests(directory: Path, clock: ManualClock, partitions: int) -> list[PartitionDigest]:
    """What an owner says of its state; two that are told the same random numbers say the same of the same state."""
    async with LogProvider.embedded(directory, partitions=partitions, clock=clock, chance=Chance(seed=5)) as provider:
        return [await provider.digest(partition) for partition in range(partitions)]


@pytest.mark.parametrize("partitions", PARTITIONS)
async def test_a_state_made_from_the_log_alone_is_the_state_that_was(tmp_path: Path, partitions: int) -> None:
    clock = ManualClock()
    async with life(tmp_path / "kept", clock, partitions=partitions) as lived:
        await busy(lived)
    shutil.copytree(tmp_path / "kept" / "store", tmp_path / "earlier")
    async with life(tmp_path / "kept", clock, partitions=partitions) as lived:
        await lived.client.start(family, 7, instance="later")
        assert await lived.client.wait("later") == 28
        clock.advance(DAY_MS)
        assert await lived.client.wait("tomorrow-3") == "it is tomorrow"
    for copy in ("gone", "older"):
        shutil.copytree(tmp_path / "kept", tmp_path / copy)
        shutil.rmtree(tmp_path / copy / "store")
    shutil.copytree(tmp_path / "earlier", tmp_path / "older" / "store")

    kept = await digests(tmp_path / "kept", clock, partitions)

    assert sum(digest.rows for digest in kept) > 100
    assert await digests(tmp_path / "gone", clock, partitions) == kept
    assert await digests(tmp_path / "older", clock, partitions) == kept


async def test_timers_that_became_due_while_nobody_looked_fire_at_once(tmp_path: Path) -> None:
    clock = ManualClock()
    async with life(tmp_path, clock) as lived:
        await lived.client.start(tomorrow, instance="t")
        await becomes(lived, "t", Status.RUNNING)
    clock.advance(DAY_MS - 1)
    async with life(tmp_path, clock) as lived:
        assert (await lived.client.status("t")).status is Status.RUNNING
        assert (await lived.provider.get_queue_depths()).timer_queue == 1
    clock.advance(30 * DAY_MS)
    async with life(tmp_path, clock) as lived:
        assert await lived.client.wait("t") == "it is tomorrow"


async def test_a_held_instance_stays_held_until_somebody_resumes_it(tmp_path: Path) -> None:
    clock = ManualClock()
    async with life(tmp_path, clock) as lived:
        await lived.client.start(two_orders, instance="o")
        await becomes(lived, "o", Status.RUNNING)
    async with life(tmp_path, clock, CHANGED) as lived:
        await lived.client.enqueue_message("o", "orders", "first")
        held = await becomes(lived, "o", Status.HELD)
    async with life(tmp_path, clock) as lived:
        assert await lived.client.status("o") == held
        # Others get their turns, and this one does not although the code that fits is there again.
        assert await (await lived.client.start(family, 1)).wait() == 4
        await lived.client.enqueue_message("o", "orders", "second")
        assert await lived.client.status("o") == held
        await lived.client.resume("o")
        assert await lived.client.wait("o") == ["first", "second"]
        with pytest.raises(Refused, match="expected o to be held or suspended, but it is completed"):
            await lived.client.resume("o")


@pytest.mark.parametrize("partitions", PARTITIONS)
async def test_a_message_that_was_consumed_is_known_after_a_restart(tmp_path: Path, partitions: int) -> None:
    clock = ManualClock()
    async with life(tmp_path, clock, partitions=partitions) as lived:
        await lived.client.start(two_orders, instance="o")
        started = await becomes(lived, "o", Status.RUNNING)
        await lived.client.enqueue_message("o", "orders", 1, message_id="m-1")
        await lived.provider.changed("o", started.revision)
    async with life(tmp_path, clock, partitions=partitions) as lived:
        await lived.client.enqueue_message("o", "orders", 1, message_id="m-1")
        await lived.client.enqueue_message("o", "orders", 2, message_id="m-2")
        assert await lived.client.wait("o") == [1, 2]


async def test_a_message_that_still_waits_is_known_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with life(tmp_path, clock, CHANGED) as lived:
        await lived.client.start(two_orders_changed, instance="o")
        await becomes(lived, "o", Status.RUNNING)
    async with life(tmp_path, clock, REGISTRY) as lived:
        await lived.client.enqueue_message("o", "orders", 1, message_id="m-1")
        await becomes(lived, "o", Status.HELD)
    async with life(tmp_path, clock, CHANGED) as lived:
        await lived.client.enqueue_message("o", "orders", 1, message_id="m-1")
        await lived.client.enqueue_message("o", "orders", 2, message_id="m-2")
        await lived.client.resume("o")
        clock.advance(1_000)
        assert await lived.client.wait("o") == [1, 2]


async def test_a_second_start_changes_nothing_before_or_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with life(tmp_path, clock) as lived:
        await lived.client.start(twice, 3, instance="s")
        await lived.client.start(twice, 4, instance="s")
        assert await lived.client.wait("s") == 12
        history = await lived.client.history("s")
    async with life(tmp_path, clock) as lived:
        await lived.client.start(twice, 5, instance="s")
        await (await lived.client.start(twice, 1, instance="after it")).wait()
        assert await lived.client.wait("s") == 12
        assert await lived.client.history("s") == history


async def test_a_store_that_fails_at_its_end_leaves_neither_the_others_nor_the_log_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, close = ManualClock(), RocksStore.close
    closed: list[RocksStore] = []

    async def close_and_fail_once(store: RocksStore) -> None:
        closed.append(store)
        await close(store)
        if len(closed) == 1:
            raise StoreUnreadable("expected a disk, but it is gone")

    monkeypatch.setattr(RocksStore, "close", close_and_fail_once)
    with pytest.raises(StoreUnreadable, match="expected a disk, but it is gone"):
        async with LogProvider.embedded(tmp_path, partitions=4, clock=clock):
            pass
    assert len(closed) == 4
    async with life(tmp_path, clock, partitions=4) as lived:
        assert await (await lived.client.start(family, 1)).wait() == 4


async def test_a_killed_node_whose_store_is_gone_makes_it_again_and_the_audit_agrees(tmp_path: Path) -> None:
    make_shop(tmp_path)
    instances = [f"w{number}" for number in range(20)]
    async with running_node(tmp_path, "--partitions", "4", PYTHONHASHSEED="0") as node:
        for instance in instances:
            await node.client.start("welcome", instance, instance=instance)
        await node.client.start("ship", "lamp", instance="s1")
        await node.weighs()
        for instance in instances:
            assert await node.client.wait(instance, PATIENCE_S) == f"hello {instance}"
        node.process.send_signal(signal.SIGKILL)
        assert await node.ends() == -signal.SIGKILL
    shutil.rmtree(tmp_path / "turnlog-data" / "store")

    async with running_node(tmp_path, "--partitions", "4", PYTHONHASHSEED="0") as node:
        for instance in instances:
            assert (await node.client.status(instance)).status is Status.COMPLETED
        assert await node.weighs() == "lamp"
        await node.may_end("3 kg")
        assert await node.client.wait("s1", PATIENCE_S) == "3 kg"
        node.process.send_signal(signal.SIGTERM)
        assert await node.ends() == 0
    assert node.runs == ["lamp", "lamp"]
    verdict = await verify(tmp_path / "turnlog-data")
    assert verdict.agrees, [str(finding) for finding in verdict.findings]
    assert verdict.instances == len(instances) + 1
