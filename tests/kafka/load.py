"""What is a load? Clients that start orchestrations one after another, and what became of every call they made."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from engine import Client, ClientError, ProviderError

CALL_S = 120
"""Longer than any call may take: eight tries of a start, each with the log's own bound; a wait has this one."""

OUTPUT = "hello hello hello log"


class Load:
    """A number of clients of one provider, each with one orchestration under way.

    Attributes:
        ended: Instances that returned what they should.
        failed: Calls that ended in an error; whether what they sent is in the log, they do not know.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = itertools.count()
        self._came = asyncio.Event()
        self._stopping = False
        self.ended: list[str] = []
        self.failed: list[Exception] = []

    async def more(self, count: int) -> None:
        """Return when `count` orchestrations have ended that were started after this call."""
        first, wanted = next(self._numbers), count
        while sum(int(instance.removeprefix("i-")) > first for instance in self.ended) < wanted:
            self._came.clear()
            await self._came.wait()

    async def run(self) -> None:
        """One client, until told to stop; its last orchestration has ended."""
        while not self._stopping:
            instance = f"i-{next(self._numbers)}"
            async with asyncio.timeout(CALL_S):  # whoever meets it hangs, and fails the test
                try:
                    await self._client.start("hello3", "log", instance=instance)
                except (ProviderError, ClientError) as error:
                    self.failed.append(error)
                    continue
            assert await self._client.wait(instance, CALL_S, output=str) == OUTPUT
            self.ended.append(instance)
            self._came.set()

    def stop(self) -> None:
        self._stopping = True


@asynccontextmanager
async def loaded(client: Client, clients: int = 8) -> AsyncGenerator[Load]:
    """A load for as long as the block runs; at the end every orchestration that was accepted has ended."""
    load = Load(client)
    async with asyncio.TaskGroup() as running:
        for _ in range(clients):
            running.create_task(load.run())
        yield load
        load.stop()
