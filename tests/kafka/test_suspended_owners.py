"""What does an owner commit that was stopped in its work and wakes up when another one has its partition? Nothing."""

import asyncio
import itertools
import os
import signal
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack

from provider_log.log.kafka import KafkaLog
from provider_log.routing import partition_of
from provider_log.topics import Topics
from tests.kafka.test_contenders import start
from tests.kafka.written import written

PARTITIONS = 20
HAND_OVERS = 5
EVERY_S = 0.01
PATIENCE_S = 60


class Owner:
    """A process that owns every partition when it is told to, and says what became of it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def told(self) -> str:
        """What it says next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await self._process.stdout.readline()
        assert line, f"expected a process that goes on, but it ended with {await self._process.wait()}"
        return line.decode().strip()

    async def own(self) -> None:
        """Return when it has acquired them all."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"own\n")
        assert await self.told() == "owns"

    def stop(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()


async def owner(bootstrap: str, app: str, node: str) -> Owner:
    arguments = (bootstrap, app, node, str(PARTITIONS))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kafka.taken_owner", *arguments, stdin=PIPE, stdout=PIPE
    )
    return Owner(process)


async def ended(log: KafkaLog, app: str, instance: str) -> None:
    """Return when the log says how the instance ended, or anybody else of its partition."""
    reader = await log.open_reader(Topics.of(app).outcomes, partition_of(instance, PARTITIONS), 0)
    assert await reader.read(1, PATIENCE_S * 1000), f"expected an end in the partition of {instance}, but there is none"
    await reader.close()


async def test_an_owner_that_wakes_up_after_the_hand_over_commits_nothing_in_100_of_100_tries(bootstrap: str) -> None:
    """Two processes in turn, each stopped with work under way on 20 partitions, and thawed when it has lost them."""
    app = f"a{uuid.uuid4().hex}"
    log = await KafkaLog.open(bootstrap)
    await log.create_topics(Topics.of(app).specs(PARTITIONS))
    started = itertools.count()

    async def start_more() -> None:
        while True:
            await start(log, app, f"i-{next(started)}", partitions=PARTITIONS)
            await asyncio.sleep(EVERY_S)

    async with AsyncExitStack() as stack:
        stack.push_async_callback(log.close)
        starting = asyncio.ensure_future(start_more())
        stack.callback(starting.cancel)
        one, other = await owner(bootstrap, app, "one"), await owner(bootstrap, app, "other")
        for each in (one, other):
            stack.push_async_callback(each.kill)
        await one.own()
        await ended(log, app, "i-0")  # what follows is about owners that work; a second may not do for that
        refused = 0
        for _ in range(HAND_OVERS):
            await asyncio.sleep(1)  # it works: what it is stopped in shall be whatever it does then
            one.stop()
            await other.own()
            one.go_on()
            said = await one.told()
            assert said.startswith("lost "), said
            refused += int(said.removeprefix("lost "))
            one, other = other, one
        histories = [await written(log, app, partition) for partition in range(PARTITIONS)]
    assert [history.owners for history in histories] == [HAND_OVERS + 1] * PARTITIONS
    assert sum(history.ended for history in histories) > 0
    tries = PARTITIONS * HAND_OVERS
    assert refused > tries // 2, f"expected most of {tries} to try a commit when they wake up, but {refused} did"
