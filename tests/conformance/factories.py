"""Which providers does the suite run against? One line each; the id is what the test's name shows."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from engine.clock import Clock, ManualClock
from engine.testing.conformance import FullProvider, ProviderFactory
from engine.testing.memory import MemoryProvider
from tests.conformance.log_factory import embedded, simulated

SETTLE_ROUNDS = 20
"""Rounds of the loop in which whoever an advance woke gets done. Without any the suite fails; with one it passed."""


class MemoryFactory:
    """Memory providers, or providers made to be broken, on one manual clock."""

    lock_timeout_ms = 5_000
    short_poll_threshold_ms = 100

    def __init__(self, make: Callable[[Clock], MemoryProvider] = MemoryProvider) -> None:
        self._clock = ManualClock()
        self._make = make

    async def create_provider(self) -> FullProvider:
        return self._make(self._clock)

    async def advance(self, duration_ms: int) -> None:
        for step_ms in (0, duration_ms):  # who was just started goes to sleep first, then time passes
            self._clock.advance(step_ms)
            for _ in range(SETTLE_ROUNDS):
                await asyncio.sleep(0)

    async def corrupt_instance_history(self, provider: FullProvider, instance: str) -> None:
        assert isinstance(provider, MemoryProvider)
        provider.corrupt_history(instance)

    async def max_attempt_count(self, provider: FullProvider, instance: str) -> int:
        assert isinstance(provider, MemoryProvider)
        return provider.max_attempt_count(instance)


@asynccontextmanager
async def memory() -> AsyncGenerator[ProviderFactory]:
    yield MemoryFactory()


FACTORIES: dict[str, Callable[[], AbstractAsyncContextManager[ProviderFactory]]] = {
    "memory": memory,
    "embedded-1": embedded(1),
    "embedded-4": embedded(4),
    "simulated-1": simulated(1),
    "simulated-4": simulated(4),
}
"""By id: what opens a factory for one test and, when the test is over, closes what it made."""
