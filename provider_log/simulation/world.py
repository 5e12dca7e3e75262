"""What does a simulated node live in? A clock that moves when nobody can act, a log with faults, stores in memory."""

import asyncio
import selectors
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from engine.clock import ManualClock
from engine.runtime.doors import Chance, Threads
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import Log, LogUnavailable
from provider_log.log.simulated import Faults, SimulatedLog
from provider_log.partition.head import follow
from provider_log.partition.restore import put_head
from provider_log.partitions import Shared
from provider_log.simulation.nodes import Line, NodeLog, NodeStore
from provider_log.store.apply import apply
from provider_log.store.memory import DictStore
from provider_log.store.port import Store
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics

APP = "simulated"
_STANDSTILL_S = 5.0


class _Passing(selectors.DefaultSelector):
    """Where a loop waits when nobody can act: here time passes instead, to the next moment that somebody waits for."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock
        self._alarm: tuple[int, asyncio.Future[None]] | None = None

    def after(self, rounds: int) -> "asyncio.Future[None]":
        """Done when the loop has gone round so often, whether anybody acted or time passed. One at a time."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alarm = rounds, waiter
        return waiter

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._alarm is not None:
            left, waiter = self._alarm
            self._alarm = (left - 1, waiter) if left else None
            if not left and not waiter.done():
                waiter.set_result(None)
                return super().select(0)
        if timeout is not None and timeout <= 0:
            return super().select(0)  # somebody can act
        wait_ms = self._clock.next_wake_ms()
        if wait_ms is None:
            found = super().select(_STANDSTILL_S)
            assert found, "expected somebody to wait for a moment, but everybody waits for somebody else"
            return found
        self._clock.advance(max(1, wait_ms))
        return super().select(0)


class World:
    """One seed's log and clock; nodes come and go.

    Args:
        seed: Of everything that is drawn.
        faults: What goes wrong in the log.
    """

    def __init__(self, seed: int = 1, faults: Faults | None = None) -> None:
        self.seed = seed
        self.clock = ManualClock()
        self._passing = _Passing(self.clock)
        self.chance = Chance(seed)
        self.faults = faults or Faults()
        self.log = SimulatedLog(self.clock, chance=Chance(seed + 1), faults=self.faults)
        self.stores: dict[tuple[str, int], NodeStore] = {}

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run to the end; time passes whenever nobody can act, and at no other moment.

        Raises:
            AssertionError: A task or a callback failed, and nobody was told.
        """
        unheard: list[str] = []

        def hear(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            unheard.append(f"{context['message']}: {context.get('exception')!r}")

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(hear)
            try:
                await scenario()
            finally:
                await self.log.close()

        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(self._passing)) as runner:
            runner.run(main())
        assert not unheard, f"expected every error to be somebody's, but {unheard}"

    def after(self, rounds: int) -> "asyncio.Future[None]":
        """Done when the loop has gone round so often: the next moment at which something may be broken off."""
        return self._passing.after(rounds)

    @asynccontextmanager
    async def provider(
        self,
        node: str = "node",
        *,
        partitions: int = 1,
        options: LogProviderOptions | None = None,
        is_placed_here: Callable[[int], Awaitable[bool]] | None = None,
        line: Line | None = None,
        shared: Shared | None = None,
    ) -> AsyncGenerator[LogProvider]:
        """A node's provider, at the end of `line`; its stores stay in memory for its next life."""

        async def open_log() -> Log:
            return NodeLog(self.log, line or Line(), self.clock)

        def open_store(partition: int, _threads: Threads) -> Store:
            return self.stores.setdefault((node, partition), NodeStore())

        provider = LogProvider(
            app=APP,
            partitions=partitions,
            open_log=open_log,
            open_store=open_store,
            clock=self.clock,
            chance=self.chance,
            options=options,
            node=node,
            is_placed_here=is_placed_here,
            shared=shared,
        )
        async with provider:
            yield provider

    async def history(self, partition: int = 0) -> list[tuple[int, bytes]]:
        """Every committed record of a history partition."""
        return await self.committed(Topics.of(APP).history, partition)

    async def committed(self, topic: str, partition: int) -> list[tuple[int, bytes]]:
        """Every committed record of a partition: offsets and values."""
        while True:
            try:
                reader = await self.log.open_reader(topic, partition, 0)
                stored = await reader.read(100_000, 0)
                return [(one.offset, one.value) for one in stored if one.value is not None]
            except LogUnavailable:
                continue  # the checker's own read met the fault

    async def records(self, partition: int = 0) -> list[r.AnyRecord]:
        """Every committed record of a history partition that is not void, decoded."""
        head, found = HeadRow(), list[r.AnyRecord]()
        for offset, data in await self.history(partition):
            record = codec.decode_record(data)
            followed = follow(head, offset, record, data)
            head = followed.head
            if not followed.void:
                found.append(record)
        return found

    async def rebuilt(self, partition: int, until: int) -> dict[bytes, bytes]:
        """The rows that the log alone says a partition has after the record at offset `until`."""
        store, head = DictStore(), HeadRow()
        for offset, data in await self.history(partition):
            if offset > until:
                break
            record = codec.decode_record(data)
            followed = follow(head, offset, record, data)
            head = followed.head
            if not followed.void:
                store.write(apply(store, record, partition))
        store.write(put_head(head))
        return store.rows
