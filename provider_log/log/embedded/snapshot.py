"""What does an embedded log hold, for somebody who only looks? Opened read-only, beside a running node too.

Nothing is written, no lock is taken, and nothing later is seen. What is damaged is met at its place: looking does not
end where running must.
"""

from pathlib import Path

from provider_log.log.embedded import directory, ends, frame
from provider_log.log.embedded.database import Database, DatabaseDamaged, DatabaseError
from provider_log.log.embedded.partitions import Partition, Partitions
from provider_log.log.port import Bounds, LogCorrupted, LogNotOpened, StoredRecord

_OPENINGS_MAX = 5


class LogSnapshot:
    """The committed records of an embedded log as they were when it was opened. Made by `open`.

    Attributes:
        cluster_id: Identifies the log.
        shorter: Why the log holds less than was recorded, or None.
    """

    def __init__(
        self, cluster_id: str, shorter: LogCorrupted | None, database: Database, partitions: Partitions
    ) -> None:
        self.cluster_id = cluster_id
        self.shorter = shorter
        self._database = database
        self._partitions = partitions

    @classmethod
    def open(cls, path: Path) -> "LogSnapshot":
        """Look into the log at `path`.

        Raises:
            LogNotOpened: It is no log, or of a newer format.
            LogCorrupted: Its own rows cannot be read.
        """
        for _ in range(_OPENINGS_MAX - 1):
            # A node may delete a file between our reading its name and our opening it, or a write-ahead file whose
            # rows have moved on; each opening begins anew, and damage stays.
            try:
                opened = cls._open_once(path)
            except LogCorrupted:
                continue
            if opened.shorter is None:
                return opened
            opened.close()
        return cls._open_once(path)

    @classmethod
    def _open_once(cls, path: Path) -> "LogSnapshot":
        identity = directory.read_identity(path) if path.is_dir() else None
        if identity is None:
            raise LogNotOpened(f"expected a log at {path}, but there is none")
        shorter: LogCorrupted | None = None
        recorded: ends.Ends = {}
        try:
            recorded = ends.load_ends(
                path / directory.ENDS, identity.cluster_id
            )  # before the rows, for those only grow
        except LogCorrupted as error:
            shorter = error
        try:
            database = Database(path / directory.RECORDS, read_only=True)
        except DatabaseDamaged as error:
            shorter = LogCorrupted(f"expected an undamaged log at {path}, but: {error}")
            database = _open_what_is_left(path)
        except DatabaseError as error:
            raise LogCorrupted(f"expected to read the log at {path}, but: {error}") from error
        try:
            partitions = Partitions.load(database, recorded_ends=recorded)
        except (DatabaseError, ValueError) as error:
            database.close()
            raise LogCorrupted(f"expected the log's own rows to be readable, but: {error}") from error
        try:
            ends.compare_ends(path / directory.ENDS, recorded, partitions.ends())
        except LogCorrupted as error:
            shorter = shorter or error
        return cls(identity.cluster_id, shorter, database, partitions)

    def partition_count(self, topic: str) -> int | None:
        """Number of partitions, or None if the topic does not exist."""
        return self._partitions.count(topic)

    def bounds(self, topic: str, partition: int) -> Bounds:
        """What is kept.

        Raises:
            UnknownTopic: There is no such topic or partition.
        """
        found = self._partitions.get(topic, partition)
        return Bounds(found.first, found.end)

    def read(self, topic: str, partition: int, position: int, records_max: int) -> list[StoredRecord]:
        """The records from `position` on, up to the first damaged one; none at the end.

        Raises:
            LogCorrupted: The record at `position` is damaged or missing.
        """
        found = self._partitions.get(topic, partition)
        return read_records(self._database, found, position, records_max) if position < found.end else []

    def close(self) -> None:
        """Let the files go."""
        self._database.close()


def _open_what_is_left(path: Path) -> Database:
    try:
        return Database(path / directory.RECORDS, read_only=True, drop_damaged_tail=True)
    except DatabaseError as error:
        raise LogCorrupted(f"expected to read the log at {path}, but: {error}") from error


def read_records(database: Database, partition: Partition, position: int, records_max: int) -> list[StoredRecord]:
    """The records from `position` on, up to the first damaged one; at least one.

    Raises:
        LogCorrupted: The record at `position` is damaged or missing.
    """
    wanted = min(records_max, partition.end - position)
    rows, damage = database.rows(partition.place.key(position), partition.place.key(position + wanted), wanted)
    records: list[StoredRecord] = []
    for offset in range(position, position + wanted):
        try:
            if len(rows) <= len(records):
                raise ValueError(damage or "expected a record, but the log ends here")
            key, value = rows[len(records)]
            if (found := frame.offset_of(key)) != offset:
                raise ValueError(f"expected a record, but the next one is at offset {found}")
            records.append(frame.unpack(partition.topic, partition.number, key, value))
        except ValueError as error:
            if records:
                break  # what is sound is delivered first; the next read meets the damage at its first record
            raise LogCorrupted(
                f"{partition.topic}/{partition.number} is damaged at offset {offset}: {error}",
                topic=partition.topic,
                partition=partition.number,
                offset=offset,
            ) from error
    return records
