"""What time is it? The one door to wall clock, monotonic clock and sleeping."""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the engine and its providers see it."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970. May step in both directions."""
        ...

    def boot_ms(self) -> int:
        """Milliseconds of a clock that never steps back and goes on while the machine sleeps."""
        ...

    async def sleep_ms(self, duration_ms: int) -> None:
        """Return no earlier than `duration_ms` from now, by this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    # CLOCK_MONOTONIC stops while a virtual machine is suspended, so a paused owner would believe its leases.
    _boot_clock: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def boot_ms(self) -> int:
        """Milliseconds since boot, suspension included."""
        return time.clock_gettime_ns(self._boot_clock) // 1_000_000

    def boot_us(self) -> int:
        """Microseconds of the same clock, for measuring."""
        return time.clock_gettime_ns(self._boot_clock) // 1000

    async def sleep_ms(self, duration_ms: int) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(duration_ms / 1000)


class ManualClock:
    """A clock that moves only when told: tests advance it instead of waiting."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = start_ms
        self._boot_ms = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        """The time it was last set to."""
        return self._now_ms

    def boot_ms(self) -> int:
        """How far it was advanced in all."""
        return self._boot_ms

    def advance(self, duration_ms: int) -> None:
        """Move both clocks on and wake every sleeper that is due, earliest first."""
        self._boot_ms += duration_ms
        self._now_ms += duration_ms
        while self._sleepers and self._sleepers[0][0] <= self._boot_ms:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)

    def step_wall(self, offset_ms: int) -> None:
        """Step the wall clock alone, as an operator or NTP would."""
        self._now_ms += offset_ms

    def next_wake_ms(self) -> int | None:
        """Milliseconds until the earliest sleeper is due, or None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._boot_ms if self._sleepers else None

    async def sleep_ms(self, duration_ms: int) -> None:
        """Wait until `advance` has moved this far."""
        if duration_ms <= 0:
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._boot_ms + duration_ms, next(self._order), sleeper))
        await sleeper
