"""How does the provider suite run on Kafka? An application of its own each time, on a clock that the test moves."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from engine.clock import Clock, SystemClock
from engine.testing.conformance import ProviderFactory
from provider_log import LogProvider
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log
from provider_log.options import LogProviderOptions
from provider_log.store.memory import DictStore
from tests.conformance.log_factory import LogFactory

SETTLE_MS = 30
"""What was started by the call before has reached the broker, or waits for the clock."""


class KafkaProviders(LogFactory):
    """Providers on a broker: time is the test's, the way to the broker takes some of ours."""

    async def advance(self, duration_ms: int) -> None:
        await asyncio.sleep(SETTLE_MS / 1000)
        await super().advance(duration_ms)
        await asyncio.sleep(SETTLE_MS / 1000)


def providers(bootstrap: str, partitions: int) -> Callable[[], AbstractAsyncContextManager[ProviderFactory]]:
    """Opens a factory of providers, each an application nobody has had before."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[ProviderFactory]:
        def make(clock: Clock) -> LogProvider:
            async def open_log() -> Log:
                return await KafkaLog.open(bootstrap, clock=SystemClock())

            return LogProvider(
                app=f"a{uuid.uuid4().hex}",
                partitions=partitions,
                open_log=open_log,
                open_store=lambda _partition, _threads: DictStore(),
                clock=clock,
                options=LogProviderOptions(slots_used=2, orphan_grace_ms=0),
            )

        async with AsyncExitStack() as stack:
            yield KafkaProviders(make, stack)

    return opened
