"""What do the tests of a partition on a broker share? Nodes at the end of a proxy, or of none, and their work."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from engine import Client, Engine
from engine.runtime.doors import Threads
from provider_log import LogProvider, LogProviderOptions
from provider_log.bench.workloads import REGISTRY
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log
from provider_log.store.memory import DictStore
from provider_log.store.port import Store
from tests.kafka.written import Written, written

WAIT_S = 60
OUTPUT = "hello hello hello log"
ANSWERS = 3
"""Of one `hello3`."""


class App:
    """An application nobody has had before, on a broker; its stores are those of its last node."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.name = f"a{uuid.uuid4().hex}"
        self.stores: dict[int, DictStore] = {}

    def slot(self, number: int, partition: int = 0) -> str:
        """The transactional id of a slot."""
        return f"turnlog.{self.name}.{partition}.{number}"

    @asynccontextmanager
    async def node(
        self,
        through: str | None = None,
        *,
        slots_used: int = 2,
        partitions: int = 1,
        transaction_timeout_ms: int = 10_000,
        answer_ms: int = 2_000,
        is_placed_here: Callable[[int], Awaitable[bool]] | None = None,
    ) -> AsyncGenerator[LogProvider]:
        """A node's provider; `through` is a proxy's address."""

        async def open_log() -> Log:
            return await KafkaLog.open(
                through or self.bootstrap, transaction_timeout_ms=transaction_timeout_ms, answer_ms=answer_ms
            )

        def open_store(partition: int, _threads: Threads) -> Store:
            store = self.stores[partition] = DictStore()
            return store

        provider = LogProvider(
            app=self.name,
            partitions=partitions,
            open_log=open_log,
            open_store=open_store,
            options=LogProviderOptions(slots_used=slots_used, retry_ms_min=5, retry_ms_max=200),
            is_placed_here=is_placed_here,
        )
        async with provider:
            yield provider

    async def written(self, partition: int = 0) -> Written:
        """What its log says, and that the last node's store says the same."""
        log = await KafkaLog.open(self.bootstrap)
        try:
            found = await written(log, self.name, partition)
        finally:
            await log.close()
        assert self.stores[partition].rows == found.rows, "expected the state that a restore makes"
        return found


async def run_all(client: Client, instances: list[str]) -> None:
    """Start `hello3` under each name, and wait until each has ended as it must."""

    async def run(instance: str) -> str:
        await client.start("hello3", "log", instance=instance)
        return await client.wait(instance, WAIT_S, output=str)

    assert await asyncio.gather(*map(run, instances)) == [OUTPUT] * len(instances)


@asynccontextmanager
async def working(provider: LogProvider) -> AsyncGenerator[Client]:
    """An engine on the provider, and its client."""
    async with Engine(provider, REGISTRY):
        yield Client(provider)
