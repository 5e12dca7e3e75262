"""How is the log port served by one process and one RocksDB?

Offsets are given when a commit is asked for, without gaps: there are no markers and nothing aborted is ever written.
A commit is one change of the group commit; readers see it when it is durable. What a process that died had not
committed was only in its memory, so fencing needs no more than an epoch for each transactional id.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.clock import Clock
from engine.runtime.doors import Chance, Tasks
from provider_log.log.embedded import directory, ends, frame
from provider_log.log.embedded.client import EmbeddedProducer, EmbeddedReader
from provider_log.log.embedded.database import Database, DatabaseDamaged, DatabaseError, DatabaseInUse
from provider_log.log.embedded.group_commit import Change, GroupCommit
from provider_log.log.embedded.partitions import Partition, Partitions
from provider_log.log.embedded.snapshot import read_records
from provider_log.log.port import (
    Bounds,
    Doubtful,
    LogBroken,
    LogCorrupted,
    LogNotOpened,
    LogRecord,
    OffsetOutOfRange,
    StoredRecord,
    TopicSpec,
)

ENDS_EVERY_MS = 5_000
"""Acknowledged records younger than this may be missing from the end file after an unclean end."""

ENDS_EVERY_CHANGES = 1_000
"""The same, counted."""

_EPOCH = frame.OWN_PREFIX + b"e"


class EmbeddedLog:
    """A durable log in a directory, for one process at a time. Made by `open`."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        identity: directory.Identity,
        database: Database,
        partitions: Partitions,
        epochs: dict[str, int],
    ) -> None:
        self._path = path
        self._clock = clock
        self._identity = identity
        self._database = database
        self._partitions = partitions
        self._epochs = epochs
        self._changes_unsaved = 0
        self._ends_saved_ms = clock.boot_ms()
        self._broken: asyncio.Future[LogBroken] = asyncio.get_running_loop().create_future()
        self._commits = GroupCommit(self._write_round, self._break)
        self._tasks = Tasks("log", lambda _: None)  # its one task fails only with the log, which `broken` reports
        self._tasks.spawn("ends", self._save_ends_now_and_then())
        self._closed = False

    @classmethod
    async def open(
        cls, path: str | Path, *, clock: Clock, accept_loss: bool = False, chance: Chance | None = None
    ) -> "EmbeddedLog":
        """Open the log at `path`, an existing one or a new one in an empty or absent directory.

        Args:
            path: The directory of the log.
            clock: Gives append times.
            accept_loss: Open although acknowledged records are missing, and go on from what is left.
            chance: Where a new log draws its cluster id from.

        Raises:
            LogNotOpened: The directory is in use, is not a log, or has a newer format.
            LogCorrupted: The log is damaged or shorter than recorded; unless `accept_loss`, if that can help.
        """
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            directory.read_identity(path)  # nothing is written into a directory that is something else's
            database = _open_database(path, accept_loss=accept_loss)
        except OSError as error:
            raise LogNotOpened(f"expected a directory for the log at {path}, but: {error}") from error
        try:
            identity = directory.read_identity(path)  # again, now that no other opener can be making one
            partitions, epochs = _load(database)
            ends_path = path / directory.ENDS
            if identity is None:
                if partitions.ends():
                    raise LogNotOpened(f"expected {path} to say which log it is, but identity.json is missing")
                identity = directory.write_identity(path, (chance or Chance()).random_bytes, clock.now_ms())
            elif not accept_loss and (partitions.ends() or ends_path.exists()):
                _check_ends(ends_path, identity.cluster_id, partitions.ends())
            ends.save_ends(ends_path, identity.cluster_id, partitions.ends())
            directory.write_owner(path)
            return cls(path, clock, identity, database, partitions, epochs)
        except OSError as error:
            database.close()
            raise LogNotOpened(f"expected to write into {path}, but: {error}") from error
        except BaseException:
            database.close()
            raise

    @property
    def cluster_id(self) -> str:
        """A UUID drawn when the log was made."""
        return self._identity.cluster_id

    async def broken(self) -> LogBroken:
        """Return what broke the log, when it breaks: the process should end then, the next one reads what is there."""
        return await asyncio.shield(self._broken)

    async def create_topics(self, topics: Sequence[TopicSpec]) -> None:
        self._commits.check()
        puts = [row for spec in topics for row in self._partitions.add(spec)]
        if puts:
            self._changes_unsaved = ENDS_EVERY_CHANGES  # a topic is in the end file before anybody relies on it
            await self._settled(Change(puts=puts))

    async def partition_count(self, topic: str) -> int | None:
        self._commits.check()
        return self._partitions.count(topic)

    async def open_producer(self, transactional_id: str) -> EmbeddedProducer:
        self._commits.check()
        epoch = self._epochs.get(transactional_id, 0) + 1
        self._epochs[transactional_id] = epoch
        # In the queue behind every commit of the holders before: when this is durable they have ended, either way.
        await self._settled(Change(puts=[(_EPOCH + transactional_id.encode(), epoch.to_bytes(8, "big"))]))
        return EmbeddedProducer(self, transactional_id, epoch)

    async def append(self, record: LogRecord) -> int:
        self._commits.check()
        self._partitions.check(record)
        offsets, written = self.commit_records([record])
        await written
        return offsets[0]

    async def open_reader(self, topic: str, partition: int, position: int) -> EmbeddedReader:
        self._commits.check()
        return EmbeddedReader(self, self._partitions.get(topic, partition), position, self._clock)

    async def bounds(self, topic: str, partition: int) -> Bounds:
        self._commits.check()
        found = self._partitions.get(topic, partition)
        return Bounds(found.first, found.end)

    async def open_transaction(self, topic: str, partition: int) -> None:
        self.check_place(topic, partition)  # nothing of a transaction is in the log before it is committed

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        self._commits.check()
        found = self._partitions.get(topic, partition)
        if before > found.end:
            raise OffsetOutOfRange(f"expected to cut {topic}/{partition} up to {found.end} at most, but got {before}")
        if before <= found.first:
            return
        cut = (found.place.key(found.first), found.place.key(before))
        # At once, so that nobody looks for a record between the write and its being durable.
        found.first = before
        await self._settled(Change(puts=[found.first_row()], cuts=[cut]))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._tasks.aclose(self._clock, patience_ms=1_000)
        if not self._broken.done():
            self._changes_unsaved = ENDS_EVERY_CHANGES
            self._commits.submit(Change())
        await self._commits.close()
        self._partitions.wake_all()
        try:
            self._database.close()
        except DatabaseError:
            if not self._broken.done():
                raise

    # What producers and readers of this log ask for.

    def check(self, record: LogRecord) -> None:
        """Raise if the log takes nothing any more, or not this record."""
        self._commits.check()
        self._partitions.check(record)

    def check_place(self, topic: str, partition: int) -> None:
        """Raise if the log takes nothing any more, or has no such partition."""
        self._commits.check()
        self._partitions.get(topic, partition)

    def check_usable(self) -> None:
        """Raise if the log is broken or closed."""
        self._commits.check()

    def is_current(self, transactional_id: str, epoch: int) -> bool:
        """Whether nobody took the id after this epoch."""
        return self._epochs[transactional_id] == epoch

    def commit_records(self, records: Sequence[LogRecord]) -> tuple[Sequence[int], asyncio.Future[None]]:
        """Give `records` their offsets and submit them as one change.

        Returns:
            The offsets in the order of `records`, and the future of GroupCommit.submit.
        """
        now_ms = self._clock.now_ms()
        puts: list[tuple[bytes, bytes]] = []
        offsets: list[int] = []
        ends_after: dict[Partition, int] = {}
        for record in records:
            partition = self._partitions.get(record.topic, record.partition)
            offset, timestamp_ms = partition.take_offset(now_ms)
            key = partition.place.key(offset)
            puts.append((key, frame.pack(key, record, timestamp_ms)))
            offsets.append(offset)
            ends_after[partition] = offset + 1

        def publish() -> None:
            for partition, end in ends_after.items():
                partition.publish(end)

        return offsets, self._commits.submit(Change(puts=puts, publish=publish))

    def read_records(self, partition: Partition, position: int, records_max: int) -> list[StoredRecord]:
        """The records from `position` on, up to the first damaged one; at least one.

        Raises:
            LogCorrupted: The record at `position` is damaged or missing.
        """
        return read_records(self._database, partition, position, records_max)

    async def _settled(self, change: Change) -> None:
        """Wait until `change` is durable, for the calls that have no doubt in their contract."""
        try:
            await self._commits.submit(change)
        except Doubtful:
            self._commits.check()
            raise

    def _write_round(self, changes: Sequence[Change]) -> Callable[[], None]:
        self._database.write(
            [row for change in changes for row in change.puts], [cut for change in changes for cut in change.cuts]
        )
        self._changes_unsaved += len(changes)
        now_ms = self._clock.boot_ms()
        if self._changes_unsaved < ENDS_EVERY_CHANGES and now_ms - self._ends_saved_ms < ENDS_EVERY_MS:
            return self._database.sync_wal
        self._changes_unsaved = 0
        self._ends_saved_ms = now_ms
        # Nothing was submitted after the changes of this round, so the offsets given are what it makes durable.
        ends_after = self._partitions.ends()

        def make_durable() -> None:
            self._database.sync_wal()
            ends.save_ends(self._path / directory.ENDS, self.cluster_id, ends_after)

        return make_durable

    async def _save_ends_now_and_then(self) -> None:
        """Let a log that has fallen silent save its ends too."""
        while True:
            await self._clock.sleep_ms(ENDS_EVERY_MS)
            if self._changes_unsaved:
                await self._commits.submit(Change())

    def _break(self, broken: LogBroken) -> None:
        if not self._broken.done():
            self._broken.set_result(broken)
        self._partitions.wake_all()


def _open_database(path: Path, *, accept_loss: bool) -> Database:
    try:
        return Database(path / directory.RECORDS, drop_damaged_tail=accept_loss)
    except DatabaseInUse as error:
        raise LogNotOpened(
            f"expected to be the only one who opens {path}, but it is open already{directory.owner_known(path)}"
        ) from error
    except DatabaseDamaged as error:
        raise LogCorrupted(f"expected an undamaged log at {path}, but: {error}") from error
    except DatabaseError as error:
        raise LogNotOpened(f"expected to open the log at {path}, but: {error}") from error


def _check_ends(path: Path, cluster_id: str, found: ends.Ends) -> None:
    try:
        ends.check_ends(path, cluster_id, found)
    except LogCorrupted as error:
        raise LogCorrupted(
            f"{error}; bring back what is missing, or go on with what is left: --accept-loss (accept_loss=True)",
            topic=error.topic,
            partition=error.partition,
            offset=error.offset,
        ) from error


def _load(database: Database) -> tuple[Partitions, dict[str, int]]:
    try:
        epochs = {
            key[len(_EPOCH) :].decode(): int.from_bytes(value, "big") for key, value in database.rows_under(_EPOCH)
        }
        return Partitions.load(database), epochs
    except (DatabaseError, ValueError) as error:
        raise LogCorrupted(f"expected the log's own rows and its ends to be readable, but: {error}") from error
