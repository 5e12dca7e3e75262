"""How does a waiter learn that there may be something? A signal in this process, instead of polling."""

import asyncio

_PRUNE_AT = 64


class Wakeup:
    """Wakes everybody who waits for the same thing; each looks again."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self._prune_at = _PRUNE_AT

    def signal(self) -> None:
        """There may be something."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        """Done at the next signal."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._waiters) >= self._prune_at:
            # Whoever waited in vain must not stay until something happens: an idle node polls for days.
            self._waiters = [other for other in self._waiters if not other.done()]
            self._prune_at = max(_PRUNE_AT, 2 * len(self._waiters))
        self._waiters.append(waiter)
        return waiter
