"""How do concurrent commits share one fsync? In rounds: while one is on its way to the disk, the next one gathers.

A round is one write and one fsync, so all of it becomes durable together, and visible together. The first error
ends it for good: after a failed fsync the kernel has dropped the dirty pages and calls the next fsync a success
("fsyncgate"), so a retry would acknowledge records that are nowhere.
"""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct

from engine.runtime.doors import Tasks, Threads
from provider_log.log.port import Doubtful, LogBroken, LogUnavailable


class Change(Struct, frozen=True, kw_only=True):
    """What one caller wants written.

    `publish` is called on the loop when it is durable, before anybody who waits for any change of the round goes on.
    """

    puts: Sequence[tuple[bytes, bytes]] = ()
    cuts: Sequence[tuple[bytes, bytes]] = ()
    publish: Callable[[], None] = lambda: None


class GroupCommit:
    """Makes changes durable in the order they were submitted.

    Args:
        write: Hands a round to the operating system, on the loop; returns what makes it durable, for a thread.
        on_broken: Called once, on the loop, when the first error has ended it.
    """

    def __init__(
        self, write: Callable[[Sequence[Change]], Callable[[], None]], on_broken: Callable[[LogBroken], None]
    ) -> None:
        self._write = write
        self._on_broken = on_broken
        self._threads = Threads("log-fsync", 1)
        self._tasks = Tasks("log", self._fail)
        self._waiting: list[tuple[Change, asyncio.Future[None]]] = []
        self._round: list[tuple[Change, asyncio.Future[None]]] = []
        self._submitted = asyncio.Event()
        self._refusal: LogUnavailable | None = None
        self._closing = False
        self._runner = self._tasks.spawn("rounds", self._run())

    def check(self) -> None:
        """Raise what ended it, if anything has.

        Raises:
            LogBroken: A write or an fsync failed.
            LogUnavailable: It was closed.
        """
        if self._refusal is not None:
            # A new one for each caller: one shared object would gather the tracebacks of all of them.
            raise type(self._refusal)(*self._refusal.args) from self._refusal.__cause__

    def submit(self, change: Change) -> asyncio.Future[None]:
        """Put `change` into the next round.

        Returns:
            Done when it is durable and published. Fails with Doubtful if it may have been written, with LogBroken
            if not. Cancelling it changes nothing about that.
        """
        self.check()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, done))
        self._submitted.set()
        return done

    async def close(self) -> None:
        """Finish what was submitted, then refuse everything."""
        self._refusal = self._refusal or LogUnavailable("expected an open log, but it was closed")
        self._closing = True
        self._submitted.set()
        await self._tasks.settle()
        self._threads.close(patience_ms=1_000)

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._submitted.clear()
                await self._submitted.wait()
                continue
            self._round, self._waiting = self._waiting, []
            make_durable = self._write([change for change, _ in self._round])
            await self._threads.offload(make_durable)
            for change, _ in self._round:
                change.publish()
            for _, done in self._round:
                if not done.done():
                    done.set_result(None)
            self._round = []

    def _fail(self, error: BaseException) -> None:
        broken = LogBroken(f"expected every write and fsync of the log to succeed, but one failed: {error}")
        broken.__cause__ = error
        self._refusal = broken
        in_doubt = f"expected the log to take this, but it failed while writing: {error}"
        for pending, outcome, message in (
            (self._round, Doubtful, in_doubt),
            (self._waiting, LogBroken, str(broken)),
        ):
            for _, done in pending:
                if not done.done():
                    done.set_exception(outcome(message))
                    done.exception()  # a caller that was cancelled never looks
        self._round, self._waiting = [], []
        self._on_broken(broken)
