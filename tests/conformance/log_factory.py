"""How does the suite run against a provider on a log? A fresh provider each time, on a manual clock."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from engine.clock import Clock, ManualClock
from engine.runtime.doors import Chance, Threads
from engine.testing.conformance import FullProvider, ProviderFactory
from provider_log import LogProvider, LogProviderOptions
from provider_log.log.port import Log
from provider_log.log.simulated import SimulatedLog
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.memory import DictStore
from provider_log.store.port import Store

APP = "conformance"
SETTLE_ROUNDS = 20


class LogFactory:
    """Providers that `make` makes, entered and left with `stack`."""

    lock_timeout_ms = 5_000
    short_poll_threshold_ms = 100

    def __init__(self, make: Callable[[Clock], LogProvider], stack: AsyncExitStack) -> None:
        self._make = make
        self._stack = stack
        self._clock = ManualClock()

    async def create_provider(self) -> FullProvider:
        return await self._stack.enter_async_context(self._make(self._clock))

    async def advance(self, duration_ms: int) -> None:
        for step_ms in (0, duration_ms):  # who was just started goes to sleep first, then time passes
            self._clock.advance(step_ms)
            for _ in range(SETTLE_ROUNDS):
                await asyncio.sleep(0)

    async def corrupt_instance_history(self, provider: FullProvider, instance: str) -> None:
        assert isinstance(provider, LogProvider)
        store = provider.store_of(instance)
        rows = {key: b"not an event" for key, _ in store.scan(keys.instance_prefix(Table.HISTORY, instance))}
        assert rows, f"expected {instance} to have a history"
        store.write(rows)

    async def max_attempt_count(self, provider: FullProvider, instance: str) -> int:
        assert isinstance(provider, LogProvider)
        return provider.max_attempt_count(instance)


NO_GRACE = LogProviderOptions(orphan_grace_ms=0)
"""Upstream's suite asks for a queue message to nobody, and that it is gone."""


def embedded(partitions: int) -> Callable[[], AbstractAsyncContextManager[ProviderFactory]]:
    """Opens a factory of providers on the embedded log, each in a directory of its own."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[ProviderFactory]:
        with tempfile.TemporaryDirectory() as root:

            def make(clock: Clock) -> LogProvider:
                path = tempfile.mkdtemp(dir=root)
                return LogProvider.embedded(Path(path), app=APP, partitions=partitions, clock=clock, options=NO_GRACE)

            async with AsyncExitStack() as stack:
                yield LogFactory(make, stack)

    return opened


def simulated(partitions: int) -> Callable[[], AbstractAsyncContextManager[ProviderFactory]]:
    """Opens a factory of providers on a simulated log without faults, with stores in memory."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[ProviderFactory]:
        def make(clock: Clock) -> LogProvider:
            async def open_log() -> Log:
                return SimulatedLog(clock, chance=Chance(1))

            def open_store(_partition: int, _threads: Threads) -> Store:
                return DictStore()

            return LogProvider(
                app=APP,
                partitions=partitions,
                open_log=open_log,
                open_store=open_store,
                clock=clock,
                chance=Chance(2),
                options=NO_GRACE,
            )

        async with AsyncExitStack() as stack:
            yield LogFactory(make, stack)

    return opened
