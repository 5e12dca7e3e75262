"""What becomes of work when its broker dies, or sleeps?"""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.runtime.doors import Threads
from provider_log import LogProvider
from provider_log.dev.broker import Broker, running_broker
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogError
from tests.kafka.nodes import ANSWERS
from tests.kafka.written import written

WAIT_S = 90
INSTANCES = 20

MARKERS_S = 1
"""Until nothing of a transaction is under way, its markers, of which nothing tells, included.

Brokers from 4.1 on forget the markers of a transaction that was being committed when they died, if they come up as its
coordinator before its partitions have a leader ("Couldn't find leader endpoint ... likely deleted already"): with one
broker, that is. What it wrote then stays in the way of readers until somebody aborts it by hand.
"""

SLEEP_S = 60
WARM = 500
MORE = 200
GROWTH_KIB = 50 * 1024
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def broker() -> Generator[Broker]:
    """One of its own, which each of these tests leaves awake: others would miss it."""
    with running_broker() as broker:
        yield broker


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


async def test_a_node_under_load_outlasts_a_broker_that_slept_for_a_minute(broker: Broker, tmp_path: Path) -> None:
    app = f"a{uuid.uuid4().hex}"
    async with loaded_node(broker.bootstrap, tmp_path, app) as node:
        await outlasts_sleep(broker, node)
    log = await KafkaLog.open(broker.bootstrap)
    seen = await written(log, app)
    await log.close()
    assert set(seen.answered.values()) == {ANSWERS}
    assert len(seen.answered) >= WARM + MORE


async def outlasts_sleep(broker: Broker, node: asyncio.subprocess.Process) -> None:
    progress = Progress(node)
    await progress.reached(WARM)
    before = after = memory_kib(node.pid)
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        for _ in range(SLEEP_S):
            await asyncio.sleep(1)
            after = max(after, memory_kib(node.pid))
        stood_at = progress.ended
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    await progress.reached(stood_at + MORE)
    assert node.stdin is not None
    node.stdin.close()

    assert await node.wait() == 0, "expected every call to end within its bound, and every orchestration that was begun"
    assert after - before < GROWTH_KIB


@asynccontextmanager
async def loaded_node(bootstrap: str, directory: Path, app: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    arguments = ("-m", "tests.kafka.loaded_node", bootstrap, str(directory), app)
    node = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        yield node
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


class Progress:
    """How many orchestrations a node says have ended."""

    def __init__(self, node: asyncio.subprocess.Process) -> None:
        assert node.stdout is not None
        self.ended = 0
        self._lines = node.stdout
        self._came = asyncio.Event()
        self._following = asyncio.ensure_future(self._follow())

    async def reached(self, count: int) -> None:
        while self.ended < count:
            assert not self._following.done(), f"expected {count} to end, but the node ended after {self.ended}"
            self._came.clear()
            await self._came.wait()

    async def _follow(self) -> None:
        while line := await self._lines.readline():
            self.ended = int(line)
            self._came.set()
        self._came.set()


def memory_kib(pid: int) -> int:
    """What a process holds in memory now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


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
