"""How do several nodes share a workload? Each is a process of its own, as it would be in operation."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import PIPE, STDOUT

from engine.clock import SystemClock
from engine.errors import UsageError
from engine.runtime.doors import Tasks, within
from provider_log.log.port import Log
from provider_log.partition.owners import Owners
from provider_log.topics import Topics, partitions_found

PARTITIONS_A_NODE = 2
"""So that a node's partitions commit in turn: while one waits for the broker, the other has turns to take."""

_PLACED_MS = 60_000
_STOP_MS = 20_000
_SAID_MAX = 2_000


@asynccontextmanager
async def running_nodes(
    bootstrap: str, app: str, directory: Path, count: int
) -> AsyncGenerator[Sequence[asyncio.subprocess.Process]]:
    """`count` nodes that serve the workloads, stopped at the end.

    Args:
        bootstrap: Their brokers. How they are let in is in the environment, as for every node.
        app: Their application.
        directory: Where their stores go, a folder each.
        count: How many; they have `PARTITIONS_A_NODE` partitions each.

    Raises:
        UsageError: One ended before it was ready, or before the block did; the text is what it said.
    """
    async with AsyncExitStack() as stack:
        nodes = [_node(bootstrap, app, directory / f"node-{number}", count) for number in range(count)]
        yield [await stack.enter_async_context(node) for node in nodes]


@asynccontextmanager
async def _node(bootstrap: str, app: str, data: Path, count: int) -> AsyncGenerator[asyncio.subprocess.Process]:
    arguments = {
        "--app-module": "provider_log.bench.workloads:REGISTRY",
        "--log": "kafka",
        "--bootstrap": bootstrap,
        "--app": app,
        "--data": str(data),
        "--listen": "127.0.0.1:0",
        "--partitions": str(count * PARTITIONS_A_NODE),
    }
    flat = [part for pair in arguments.items() for part in pair]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "provider_log.cli", "node", *flat),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    assert process.stdout is not None
    tasks = Tasks(str(data), lambda _error: None)
    try:
        said = ""
        while "ready at" not in said:
            line = await process.stdout.readline()
            if not line:
                raise UsageError(f"expected a node that runs, but it ended: {said[-_SAID_MAX:]}")
            said += line.decode(errors="replace")
        drained = tasks.spawn("drain", process.stdout.read())
        try:
            yield process
        finally:
            if process.returncode is not None:  # in place of whatever went wrong because of it
                said += (await drained).decode(errors="replace")
                raise UsageError(
                    f"expected a node that runs to the end of the measurement, but it ended with {process.returncode}, "
                    f"so what was measured is the others: {said[-_SAID_MAX:]}"
                )
        process.terminate()
        await within(SystemClock(), drained, _STOP_MS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def placed(log: Log, app: str, count: int) -> int:
    """Return when `count` nodes have their share of the partitions, and how many there are.

    Raises:
        TimeoutError: They have not, after a minute.
    """
    clock = SystemClock()
    partitions = await partitions_found(log, Topics.of(app))
    assert partitions is not None, "expected the topics of nodes that run"
    owners = Owners(log, Topics.of(app).owners, partitions, clock, lambda: None)

    async def until_placed() -> None:
        while True:
            found = [owners.standing(number).owner for number in range(partitions)]
            shares = Counter(owner.node for owner in found if owner is not None)
            if None not in found and len(shares) == count and max(shares.values()) - min(shares.values()) <= 1:
                return
            await owners.changed()

    tasks = Tasks("placed", lambda _error: None)
    following = tasks.spawn("follow", owners.run())
    try:
        await within(clock, until_placed(), _PLACED_MS)
    finally:
        following.cancel()
        await tasks.aclose(clock, patience_ms=1_000)
    return partitions
