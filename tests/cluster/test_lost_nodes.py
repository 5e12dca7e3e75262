"""Does all work end, once, when one node is killed and another stands still and wakes up? The log alone tells."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import anyio

from engine import Client
from engine.clock import SystemClock
from engine.model.status import TERMINAL, Status
from provider_log import codec
from provider_log import records as r
from provider_log.log.kafka import KafkaLog
from provider_log.partition.head import follow
from provider_log.server.remote import RemoteProvider
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics
from tests.cluster.nodes import PATIENCE_S, ClusterNode, NodeCluster, client_of, cluster_of

PARTITIONS = 8
INSTANCES = 200
STEPS = 20
OPEN_MIN = 150

CODE = f"""
import asyncio
import os
import time

from engine import ActivityContext, OrchestrationContext, Registry, activity, orchestration

JOURNAL = os.open("journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@activity
async def step(ctx: ActivityContext, number: int) -> int:
    os.write(JOURNAL, f"{{ctx.instance}} {{ctx.activity_id}} {{time.time_ns() // 1_000_000}}\\n".encode())
    await asyncio.sleep(1)
    return number * number


@orchestration
async def climb(ctx: OrchestrationContext, height: int) -> int:
    for number in range({STEPS}):
        height = height * 31 % 1_000_003 + await ctx.schedule_activity(step, number)
    return height


registry = Registry(orchestrations=[climb], activities=[step])
"""


def climbed(height: int) -> int:
    """What `climb` returns: any step left out, repeated or out of its order changes it."""
    for number in range(STEPS):
        height = height * 31 % 1_000_003 + number * number
    return height


class Begun(NamedTuple):
    """A line of the journal: an activity began, at a time of this machine's wall clock."""

    instance: str
    activity_id: int
    at_ms: int


def journal(cluster: NodeCluster) -> list[Begun]:
    """Every whole line. A line is one write, so no kill tears one."""
    text = (cluster.directory / "journal").read_text()
    lines = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
    return [Begun(instance, int(activity_id), int(at_ms)) for instance, activity_id, at_ms in lines]


async def between_first_and_last_step(cluster: NodeCluster, count: int) -> None:
    """Return when so many instances have begun a step and not their last one."""
    clock = SystemClock()
    with anyio.fail_after(PATIENCE_S):
        while True:
            steps = Counter(instance for instance, _ in {begun[:2] for begun in journal(cluster)})
            if sum(1 <= begun < STEPS for begun in steps.values()) >= count:
                return
            assert len(steps) < INSTANCES or min(steps.values()) < STEPS, "expected open work, but all is done"
            await clock.sleep_ms(50)


async def start_all(client: Client) -> None:
    async with anyio.create_task_group() as group:
        for number in range(INSTANCES):
            group.start_soon(lambda n=number: client.start("climb", n, instance=f"climb-{n}"))


async def has_open_work(client: Client) -> None:
    running = await client.list_instances(status=Status.RUNNING, limit=INSTANCES)
    assert len(running) > 0, "expected open work, but all is done"


async def fenced(node: ClusterNode) -> None:
    """Return when a commit of the node was refused."""

    async def refused(remote: RemoteProvider) -> bool:
        return (await remote.node_info()).fenced_commits >= 1

    await node.until(refused, "counts a fenced commit")


async def test_a_node_is_killed_and_another_stands_still_until_it_has_lost_all(bootstrap: str, tmp_path: Path) -> None:
    async with cluster_of(bootstrap, tmp_path, CODE, PARTITIONS) as cluster:
        (tmp_path / "journal").touch()
        one, two = cluster.node(1), cluster.node(2)
        async with anyio.create_task_group() as group:
            group.start_soon(one.start)
            group.start_soon(two.start)
        await one.owns(PARTITIONS // 2)
        async with client_of(two) as client:
            await start_all(client)
            await between_first_and_last_step(cluster, OPEN_MIN)

            await one.kill()
            await two.owns(PARTITIONS)
            await one.start()
            await one.owns(PARTITIONS // 2)
            await has_open_work(client)
        async with client_of(one) as client:
            two.signal(signal.SIGSTOP)
            await one.owns(PARTITIONS)
            await has_open_work(client)
            two.signal(signal.SIGCONT)

            await fenced(two)
            await two.owns(PARTITIONS // 2)  # it is a member again
            results: dict[str, int] = {}
            for number in range(INSTANCES):
                results[f"climb-{number}"] = await client.wait(f"climb-{number}", PATIENCE_S, output=int)
        assert results == {f"climb-{number}": climbed(number) for number in range(INSTANCES)}
        # One node asks the owner of each partition.
        verified = await one.turnlog("audit", "verify", "--live", *cluster.log, "--json")
        assert await one.stop() == 0
        assert await two.stop() == 0
        assert verified.code == 0, verified
        verdict = json.loads(verified.out)
        assert verdict["void"] == 0
        assert [state["owner_offset"] for state in verdict["states"]].count(None) == 0
        await check(cluster)


async def check(cluster: NodeCluster) -> None:
    """The log alone: each end and answer once, nothing of a former owner. No activity begins after its answer."""
    log = await KafkaLog.open(cluster.bootstrap)
    ends, answers = Counter[str](), Counter[tuple[str, int]]()
    scheduled, answered_ms, acquired = set[tuple[str, int]](), dict[tuple[str, int], int](), 0
    try:
        for partition in range(PARTITIONS):
            reader = await log.open_reader(Topics.of(cluster.app).history, partition, 0)
            head = HeadRow()
            while stored := await reader.read(1_000, 0):
                for one in stored:
                    assert one.value is not None
                    record = codec.decode_record(one.value)
                    followed = follow(head, one.offset, record, one.value)  # raises where an order is broken
                    head = followed.head
                    assert not followed.void, f"expected no record of a former owner, but {record} is one"
                    acquired += isinstance(record, r.OwnershipAcquired)
                    if isinstance(record, r.TurnCommitted):
                        ends[record.instance] += record.status in TERMINAL
                        scheduled |= {(record.instance, each.activity_id) for each in record.scheduled}
                    if isinstance(record, r.WorkItemAcked):
                        answers[record.instance, record.activity_id] += 1
                        answered_ms[record.instance, record.activity_id] = one.timestamp_ms
    finally:
        await log.close()
    assert ends == {f"climb-{number}": 1 for number in range(INSTANCES)}
    assert answers == dict.fromkeys(scheduled, 1)
    assert len(scheduled) == INSTANCES * STEPS
    assert acquired > 2 * PARTITIONS, "expected partitions that moved, but they stayed"
    late = [begun for begun in journal(cluster) if begun.at_ms > answered_ms[begun.instance, begun.activity_id]]
    assert late == []
