"""What does the log suite need of a log on Kafka?"""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from engine.clock import SystemClock
from provider_log.log.kafka import KafkaLog


class HeldClock:
    """Time that a test moves, for what a test counts; every bound and every back-off passes by itself."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._boot_ms = 0

    def now_ms(self) -> int:
        return self._system.now_ms()

    def boot_ms(self) -> int:
        return self._boot_ms

    async def sleep_ms(self, duration_ms: int) -> None:
        await self._system.sleep_ms(duration_ms)

    def move(self, duration_ms: int) -> None:
        self._boot_ms += duration_ms


class KafkaFactory:
    """A log on the broker, and its time, which passes on the broker too."""

    open_transactions_stop_readers = True
    quiet_ms = 0

    def __init__(self, log: KafkaLog, clock: HeldClock) -> None:
        self.log = log
        self._clock = clock
        self._suffix = uuid.uuid4().hex

    def unique(self, name: str) -> str:
        return f"{name}-{self._suffix}"

    async def advance(self, duration_ms: int) -> None:
        await asyncio.sleep(max(duration_ms, 30) / 1000)
        self._clock.move(duration_ms)


@asynccontextmanager
async def kafka(bootstrap: str) -> AsyncGenerator[KafkaFactory]:
    clock = HeldClock()
    log = await KafkaLog.open(bootstrap, clock=clock)
    try:
        yield KafkaFactory(log, clock)
    finally:
        await log.close()
