"""What does the log suite need from somebody who writes a log, and which logs do we have?"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from engine.clock import ManualClock
from engine.runtime.doors import Chance
from provider_log.log.embedded import EmbeddedLog
from provider_log.log.port import Log
from provider_log.log.simulated import SimulatedLog


class LogFactory(Protocol):
    """A log for one test, and its time.

    Attributes:
        open_transactions_stop_readers: Whether a reader waits for every transaction that is open at its position,
            whoever has it. Else nothing of an open transaction is in the log, and readers know nothing of it.
        quiet_ms: How long a reader looks before the suite believes that nothing comes.
    """

    open_transactions_stop_readers: bool
    quiet_ms: int

    @property
    def log(self) -> Log:
        """The log under test."""
        ...

    def unique(self, name: str) -> str:
        """A name for a topic or a transactional id that no other test has."""
        ...

    async def advance(self, duration_ms: int) -> None:
        """Let `duration_ms` pass by the log's clock, and whatever is under way come to rest."""
        ...


OpenFactory = Callable[[Path], AbstractAsyncContextManager[LogFactory]]
"""Makes the factory for one test, with a directory it may use; closes what it opened."""

LOOP_TURNS = 50
"""More than anything in memory needs to come to rest."""


class _InProcess:
    """What both logs in this process share: a clock that moves only when told, and nothing beside them."""

    quiet_ms = 0

    def __init__(self, log: Log, clock: ManualClock, *, open_transactions_stop_readers: bool) -> None:
        self.log = log
        self.open_transactions_stop_readers = open_transactions_stop_readers
        self._clock = clock

    def unique(self, name: str) -> str:
        return name

    async def advance(self, duration_ms: int) -> None:
        self._clock.advance(duration_ms)
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)


@asynccontextmanager
async def embedded(path: Path) -> AsyncGenerator[LogFactory]:
    clock = ManualClock()
    log = await EmbeddedLog.open(path / "log", clock=clock)
    yield _InProcess(log, clock, open_transactions_stop_readers=False)
    await log.close()


@asynccontextmanager
async def simulated(_: Path) -> AsyncGenerator[LogFactory]:
    clock = ManualClock()
    log = SimulatedLog(clock, chance=Chance(seed=1))
    yield _InProcess(log, clock, open_transactions_stop_readers=True)
    await log.close()


FACTORIES: tuple[OpenFactory, ...] = (embedded, simulated)
