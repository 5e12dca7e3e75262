"""Who waits for what in a partition? Queries for a commit, and senders for their own message to arrive."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

from engine.model.status import STANDSTILL
from engine.model.views import InstanceInfo
from provider_log.records import Lane

_IsAwaited = Callable[[InstanceInfo], bool]


def _has_ended(info: InstanceInfo) -> bool:
    return info.status in STANDSTILL


class Watchers:
    """Queries that wait for an instance to change."""

    def __init__(self, look: Callable[[str], InstanceInfo | None]) -> None:
        self._look = look
        self._waiting: dict[str, list[tuple[_IsAwaited, asyncio.Future[InstanceInfo]]]] = {}

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        """The instance's committed state, once its revision is above `seen`."""
        return await self._once(instance, lambda info: info.revision > seen)

    async def ended(self, instance: str) -> InstanceInfo:
        """The instance's committed state, once it goes no further by itself."""
        return await self._once(instance, _has_ended)

    async def _once(self, instance: str, is_awaited: _IsAwaited) -> InstanceInfo:
        info = self._look(instance)
        if info is not None and is_awaited(info):
            return info
        waiter: asyncio.Future[InstanceInfo] = asyncio.get_running_loop().create_future()
        entry = (is_awaited, waiter)
        self._waiting.setdefault(instance, []).append(entry)
        try:
            return await waiter
        finally:
            waiting = self._waiting.get(instance, [])
            if entry in waiting:
                waiting.remove(entry)
            if not waiting:
                self._waiting.pop(instance, None)

    def touched(self, instance: str) -> None:
        """The instance was part of a commit."""
        waiting = self._waiting.get(instance)
        if waiting:
            info = self._look(instance)
            for is_awaited, waiter in waiting:
                if info is not None and is_awaited(info) and not waiter.done():
                    waiter.set_result(info)

    def fail_all(self, error: Exception) -> None:
        """The partition is not this node's any more: whoever waits must ask elsewhere."""
        waiting, self._waiting = self._waiting, {}
        for _, waiter in itertools.chain.from_iterable(waiting.values()):
            if not waiter.done():
                waiter.set_exception(error)

    def touched_all(self) -> None:
        """The state was restored: anything may have changed."""
        for instance in list(self._waiting):
            self.touched(instance)


class Arrivals:
    """Senders in this process that wait until a lane has been read as far as their own record."""

    def __init__(self) -> None:
        self._reached: dict[Lane, int] = {}
        self._waiting: dict[Lane, list[tuple[int, int, asyncio.Future[None]]]] = {}
        self._order = itertools.count()

    async def reached(self, lane: Lane, offset: int) -> None:
        """Return when the record at `offset` can be fetched, if it ever can."""
        if self._reached.get(lane, -1) >= offset:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting.setdefault(lane, []), (offset, next(self._order), waiter))
        await waiter

    def advance(self, lane: Lane, offset: int) -> None:
        """Everything up to `offset` of the lane has arrived."""
        self._reached[lane] = max(offset, self._reached.get(lane, -1))
        waiting = self._waiting.get(lane)
        while waiting and waiting[0][0] <= offset:
            _, _, waiter = heapq.heappop(waiting)
            if not waiter.done():
                waiter.set_result(None)

    def fail_all(self, error: Exception) -> None:
        """The partition has failed: nobody here will see the records arrive."""
        for waiter in self._leave():
            waiter.set_exception(error)

    def release_all(self) -> None:
        """The partition is another node's now, and so is waiting for the records to arrive; they are durable."""
        for waiter in self._leave():
            waiter.set_result(None)

    def _leave(self) -> list[asyncio.Future[None]]:
        waiting, self._waiting = self._waiting, {}
        return [waiter for _, _, waiter in itertools.chain.from_iterable(waiting.values()) if not waiter.done()]
