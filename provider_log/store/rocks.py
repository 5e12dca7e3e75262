"""How are rows kept on disk? RocksDB without a write-ahead log: the changelog is the log.

A crash loses what was not flushed; the head row goes in the same write as the rows it stands for, so what is left is
always the state at some earlier offset, and restore goes on from there. One column family, because with several and
no write-ahead log one can survive ahead of the other.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from engine.errors import Fatal, OwnershipLost, StateCorrupted, UsageError
from engine.runtime.doors import Threads, future_of
from provider_log.store.port import Mutations

_CACHE_BYTES = 64 * 1024 * 1024
_WRITE_BUFFER_BYTES = 32 * 1024 * 1024


class StoreUnreadable(StateCorrupted):
    """A row cannot be read back: the disk or the file is damaged. The store can be wiped and rebuilt."""

    def __init__(self, message: str) -> None:
        super().__init__("store", message)


class StoreUnwritable(Fatal):
    """Rows cannot be written: the disk is full or failed. What the store lacks is in the changelog."""

    def __init__(self, message: str) -> None:
        super().__init__("store", message)


class StoreClosed(OwnershipLost):
    """The partition was given up while somebody still worked on its rows."""

    def __init__(self, path: Path) -> None:
        super().__init__("store", f"expected an open store in {path}, but its partition was given up")


class _Cursor:
    """Where a scan stands. RocksDB is closed only when no iterator is left, so `close` takes them all away."""

    __slots__ = ("rows",)

    def __init__(self, rows: RdictIter) -> None:
        self.rows: RdictIter | None = rows


class RocksStore:
    """A store in a directory of its own."""

    def __init__(self, path: Path, threads: Threads, *, read_only: bool = False) -> None:
        """Open or create it; `threads` is where flushing waits for the disk.

        Read-only, nothing is changed, another opener does not mind, and a damaged file is met at its rows, not here.

        Raises:
            StoreUnreadable: RocksDB refuses the directory.
        """
        self._path = path
        self._threads = threads
        self._read_only = read_only
        if not read_only:
            path.mkdir(parents=True, exist_ok=True)
        self._write_options = WriteOptions()
        # The stub calls it a method; it is a property (measured: as a method it does nothing).
        setattr(self._write_options, "disable_wal", True)  # noqa: B010
        self._db = self._open()
        self._cursors: set[_Cursor] = set()
        self._closed = False
        self._flushing: asyncio.Future[None] | None = None

    def _open(self) -> Rdict:
        options = Options(raw_mode=True)
        options.create_if_missing(not self._read_only)
        options.set_paranoid_checks(not self._read_only)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        table = BlockBasedOptions()
        table.set_bloom_filter(10, False)  # most reads are for rows that are not there yet
        table.set_block_cache(Cache(_CACHE_BYTES))
        options.set_block_based_table_factory(table)
        access = AccessType.read_only() if self._read_only else AccessType.read_write()
        try:
            return Rdict(str(self._path), options=options, access_type=access)
        except Exception as error:
            raise StoreUnreadable(
                f"expected a store in {self._path}, but RocksDB says: {error}; if you delete that directory, "
                "the next start makes it again from the log"
            ) from error

    def get(self, key: bytes) -> bytes | None:
        """The row, or None.

        Raises:
            StoreUnreadable: The block it is in is damaged.
        """
        try:
            value = self._db.get(key)
        except Exception as error:
            raise self._unreadable(error) from error
        assert value is None or isinstance(value, bytes)
        return value

    def scan(self, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows with the prefix, ascending, of the moment the scan began.

        Raises:
            StoreUnreadable: A block on the way is damaged.
        """
        options = ReadOptions()
        bound = _after_prefix(prefix)
        if bound is not None:
            options.set_iterate_upper_bound(bound)
        start = prefix if after is None else max(prefix, after + b"\x00")
        cursor: _Cursor | None = None
        try:
            cursor = _Cursor(self._db.iter(options))
            self._cursors.add(cursor)
            self._rows(cursor).seek(start)
            while self._rows(cursor).valid():
                key, value = self._rows(cursor).key(), self._rows(cursor).value()
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                yield key, value
                self._rows(cursor).next()
            self._rows(cursor).status()
        except (AssertionError, StoreClosed):
            raise
        except Exception as error:
            raise self._unreadable(error) from error
        finally:
            if cursor is not None:
                self._cursors.discard(cursor)

    def _rows(self, cursor: _Cursor) -> RdictIter:
        if cursor.rows is None:
            raise StoreClosed(self._path)
        return cursor.rows

    def _unreadable(self, error: Exception) -> StoreUnreadable | StoreClosed:
        return StoreClosed(self._path) if self._closed else StoreUnreadable(str(error))

    def write(self, mutations: Mutations) -> None:
        """All rows or none. Holds the GIL for about 1 µs a row.

        Raises:
            StoreUnwritable: None.
        """
        batch = WriteBatch(raw_mode=True)
        for key, value in mutations.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise self._unwritable(error) from error

    def wipe(self) -> None:
        """Remove every row, by making the directory anew."""
        self._db.close()
        shutil.rmtree(self._path)
        self._path.mkdir(parents=True)
        self._db = self._open()

    async def flush(self) -> None:
        """Write memory tables to disk, in a thread: RocksDB gives the GIL up here.

        Raises:
            StoreUnwritable: Not all of them.
        """
        await self._settled()
        self._flushing = future_of(self._threads.offload(self._db.flush))
        try:
            await asyncio.shield(self._flushing)
        except UsageError:
            raise
        except Exception as error:
            raise self._unwritable(error) from error

    async def _settled(self) -> None:
        """Wait for a flush whose caller was cancelled: it goes on in its thread, and nobody may close under it."""
        while self._flushing is not None and not self._flushing.done():
            await asyncio.wait({self._flushing})

    def _unwritable(self, error: Exception) -> StoreUnwritable:
        return StoreUnwritable(f"expected to write the store in {self._path}, but RocksDB says: {error}")

    async def close(self) -> None:
        """Flush if that is possible, and give the directory's lock up."""
        if not self._read_only:
            with contextlib.suppress(StoreUnwritable):  # the next owner reads what is missing from the changelog
                await self.flush()
        self._close()

    def close_read_only(self) -> None:
        """Let the files of a read-only store go; there is nothing to flush."""
        assert self._read_only, "a store that is written to is flushed first"
        self._close()

    def _close(self) -> None:
        self._closed = True
        for cursor in self._cursors:
            cursor.rows = None
        self._db.close()


def _after_prefix(prefix: bytes) -> bytes | None:
    """The smallest key above every key with the prefix, or None if there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
