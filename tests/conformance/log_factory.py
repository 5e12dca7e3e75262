"""How does the suite run against a provider on a log? A fresh provider in a directory of its own, on a manual clock."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from engine.clock import ManualClock
from engine.testing.conformance import FullProvider, ProviderFactory
from provider_log import LogProvider
from provider_log.store import keys
from provider_log.store.keys import Table

SETTLE_ROUNDS = 20


class EmbeddedFactory:
    """Providers on the embedded log with `partitions` partitions."""

    lock_timeout_ms = 5_000
    short_poll_threshold_ms = 100

    def __init__(self, partitions: int, stack: AsyncExitStack, root: Path) -> None:
        self._partitions = partitions
        self._stack = stack
        self._root = root
        self._made = 0
        self._clock = ManualClock()

    async def create_provider(self) -> FullProvider:
        self._made += 1
        provider = LogProvider.embedded(
            self._root / str(self._made), app="conformance", partitions=self._partitions, clock=self._clock
        )
        return await self._stack.enter_async_context(provider)

    async def advance(self, duration_ms: int) -> None:
        for step_ms in (0, duration_ms):
            self._clock.advance(step_ms)
            for _ in range(SETTLE_ROUNDS):
                await asyncio.sleep(0)

    async def corrupt_instance_history(self, provider: FullProvider, instance: str) -> None:
        assert isinstance(provider, LogProvider)
        store = provider.store_of(instance)
        rows = {key: b"not an event" for key, _ in store.scan(keys.instance_prefix(Table.HISTORY, instance))}
        assert rows
        store.write(rows)

    async def max_attempt_count(self, provider: FullProvider, instance: str) -> int:
        assert isinstance(provider, LogProvider)
        return provider.max_attempt_count(instance)


def embedded(partitions: int):
    """A factory for the embedded log."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[ProviderFactory]:
        with tempfile.TemporaryDirectory() as root:
            async with AsyncExitStack() as stack:
                yield EmbeddedFactory(partitions, stack, Path(root))

    return opened
