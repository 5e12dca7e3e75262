"""Is the store on disk closed only when nothing else is at it? RocksDB's binding refuses to, and the log stays open."""

import asyncio
import threading
from pathlib import Path
from typing import Protocol

import pytest

from engine.runtime.doors import Threads
from provider_log.store.rocks import RocksStore


class Database(Protocol):
    def flush(self) -> None: ...
    def close(self) -> None: ...


class FirstFlushIsSlow:
    """A database whose first flush lasts until a test lets it end, and that must not be closed meanwhile."""

    def __init__(self, database: Database) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self._database = database
        self._under_way = 0

    def flush(self) -> None:
        self._under_way += 1
        if not self.began.is_set():
            self.began.set()
            assert self.may_end.wait(timeout=30)
        self._database.flush()
        self._under_way -= 1

    def close(self) -> None:
        assert not self._under_way, "expected nobody at the database, but a flush is under way"
        self._database.close()


async def test_a_flush_whose_caller_was_cancelled_ends_before_the_store_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads("store", 4)
    store = RocksStore(tmp_path / "0", threads)
    store.write({b"key": b"value"})
    slow = FirstFlushIsSlow(vars(store)["_db"])
    monkeypatch.setattr(store, "_db", slow)
    flushing = asyncio.ensure_future(store.flush())
    await asyncio.to_thread(slow.began.wait)
    flushing.cancel()
    await asyncio.wait({flushing})

    closing = asyncio.ensure_future(store.close())
    await asyncio.wait({closing}, timeout=0.05)
    slow.may_end.set()
    await closing

    again = RocksStore(tmp_path / "0", threads)
    assert again.get(b"key") == b"value"
    await again.close()
    assert threads.close(patience_ms=1_000) == 0
