"""What do the tests of the simulated log share? A log with one topic, a clock they move, and time to come to rest."""

import asyncio

from engine.clock import ManualClock
from engine.runtime.doors import Chance
from provider_log.log.port import LogRecord, StoredRecord, TopicSpec
from provider_log.log.simulated import Faults, SimulatedLog

LATE_MS = 500
TIMEOUT_MS = 10_000
SPEC = TopicSpec(name="history", partitions=1, record_bytes_max=1_000)


def record(value: bytes, topic: str = "history") -> LogRecord:
    return LogRecord(topic=topic, partition=0, key=None, value=value)


class World:
    """A log with one topic, its clock, and its faults."""

    def __init__(self, faults: Faults | None = None, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.log = SimulatedLog(self.clock, chance=Chance(seed=seed), faults=faults, transaction_timeout_ms=TIMEOUT_MS)

    async def pass_ms(self, duration_ms: int = 0) -> None:
        self.clock.advance(duration_ms)
        for _ in range(50):
            await asyncio.sleep(0)

    async def visible(self) -> list[bytes | None]:
        return [stored.value for stored in await self.stored()]

    async def stored(self) -> list[StoredRecord]:
        await self.pass_ms()
        reader = await self.log.open_reader("history", 0, (await self.log.bounds("history", 0)).first)
        return list(await reader.read(100, 0))
