"""How is RocksDB spoken to? Everything odd about rocksdict, its errors without types included, ends in this file.

One column family, raw bytes, every write with WAL. rocksdict holds the GIL in `write` and while iterating and
gives it up in `flush_wal` and `close`: those two belong into a thread, the rest costs microseconds.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import rocksdict

WRITE_BUFFER_BYTES = 16 << 20
WAL_BYTES_MAX = 64 << 20
INFO_LOGS_KEPT = 4


class DatabaseError(Exception):
    """RocksDB refused or failed; the message is its own."""


class DatabaseDamaged(DatabaseError):
    """What RocksDB read is not what it wrote: a checksum or a length is wrong."""


class DatabaseInUse(DatabaseError):
    """Another opener holds the directory, in this process or in another one."""


class Rows(NamedTuple):
    """What was found, and why no more, if reading stopped at damage."""

    rows: list[tuple[bytes, bytes]]
    damage: str | None


class Database:
    """A RocksDB of byte strings.

    Args:
        path: Its directory; made if it is not there, unless `read_only`.
        read_only: Look and change nothing, beside another opener too: what was written before is there, what is
            written later is not. A damaged table file is met at its rows, not here.
        drop_damaged_tail: Open in spite of a damaged WAL record, without it and all that follows it. Otherwise only
            a torn last record is left out, as a crash in the middle of a write makes one.

    Raises:
        DatabaseInUse, DatabaseDamaged, DatabaseError: It is not open.
    """

    def __init__(self, path: Path, *, drop_damaged_tail: bool = False, read_only: bool = False) -> None:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(not read_only)
        options.set_paranoid_checks(not read_only)
        options.set_max_open_files(-1)  # opens every table file now: a missing or cut one is found here, not later
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(4)
        options.set_max_total_wal_size(WAL_BYTES_MAX)
        options.set_keep_log_file_num(INFO_LOGS_KEPT)
        options.set_wal_recovery_mode(
            rocksdict.DBRecoveryMode.point_in_time()
            if drop_damaged_tail
            else rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records()
        )
        self._with_wal = rocksdict.WriteOptions()
        self._with_wal.sync = False  # `sync_wal` does it, outside the GIL
        try:
            access = rocksdict.AccessType.read_only() if read_only else rocksdict.AccessType.read_write()
            self._rdict = rocksdict.Rdict(str(path), options, access_type=access)
        except Exception as error:
            raise _sorted_error(error) from error

    def write(self, puts: Iterable[tuple[bytes, bytes]], cuts: Iterable[tuple[bytes, bytes]]) -> None:
        """All or nothing: remove the keys of each [begin, end) of `cuts`, put `puts`. Durable after `sync_wal`."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for begin, end in cuts:
            batch.delete_range(begin, end)
        for key, value in puts:
            batch.put(key, value)
        try:
            self._rdict.write(batch, self._with_wal)
        except Exception as error:
            raise _sorted_error(error) from error

    def sync_wal(self) -> None:
        """Return when everything written so far is on the disk. For a thread."""
        try:
            self._rdict.flush_wal(True)
        except Exception as error:
            raise _sorted_error(error) from error

    def rows(self, begin: bytes, end: bytes, rows_max: int) -> Rows:
        """The first `rows_max` rows with begin <= key < end, in order."""
        found: list[tuple[bytes, bytes]] = []
        cursor = self._rdict.iter()
        cursor.seek(begin)
        while len(found) < rows_max and cursor.valid():
            key: bytes = cursor.key()
            if key >= end:
                break
            found.append((key, cursor.value()))
            cursor.next()
        return Rows(found, _damage_at(cursor))

    def rows_under(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Every row whose key begins with `prefix`, for prefixes with few rows.

        Raises:
            DatabaseDamaged: One of them cannot be read.
        """
        rows, damage = self.rows(prefix, prefix[:-1] + bytes([prefix[-1] + 1]), sys.maxsize)
        if damage:
            raise DatabaseDamaged(damage)
        return rows

    def last_row(self, begin: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The last row with begin <= key <= end.

        Raises:
            DatabaseDamaged: It cannot be read.
        """
        cursor = self._rdict.iter()
        cursor.seek_for_prev(end)
        if cursor.valid():
            key: bytes = cursor.key()
            return (key, cursor.value()) if key >= begin else None
        if damage := _damage_at(cursor):
            raise DatabaseDamaged(damage)
        return None

    def close(self) -> None:
        """Give the directory up."""
        try:
            self._rdict.close()
        except Exception as error:
            raise _sorted_error(error) from error


def _damage_at(cursor: rocksdict.RdictIter) -> str | None:
    """Why the cursor is invalid: the end of the data is None. A cursor turns invalid at damage without raising."""
    try:
        cursor.status()
    except Exception as error:
        return str(error)
    return None


def _sorted_error(error: Exception) -> DatabaseError:
    text = str(error)
    if text.startswith("Corruption"):
        return DatabaseDamaged(text)
    if "lock" in text and "LOCK" in text:
        return DatabaseInUse(text)
    return DatabaseError(text)
