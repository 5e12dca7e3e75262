"""How does a snapshot of an embedded log look to who reads any log? As a `LogView` in which nothing moves."""

from collections.abc import Sequence
from pathlib import Path

from provider_log.log.embedded.snapshot import LogSnapshot
from provider_log.log.port import Bounds, LogCorrupted, StoredRecord


class SnapshotView:
    """The log at a path as it is now.

    Attributes:
        shorter: Why it holds less than was recorded, or None.

    Raises:
        LogNotOpened: It is no log, or of a newer format.
        LogCorrupted: Its own rows cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._snapshot = LogSnapshot.open(path)
        self.shorter: LogCorrupted | None = self._snapshot.shorter

    @property
    def cluster_id(self) -> str:
        """See `provider_log.log.port.LogView`."""
        return self._snapshot.cluster_id

    async def partition_count(self, topic: str) -> int | None:
        return self._snapshot.partition_count(topic)

    async def bounds(self, topic: str, partition: int) -> Bounds:
        return self._snapshot.bounds(topic, partition)

    async def open_reader(self, topic: str, partition: int, position: int) -> "SnapshotReader":
        return SnapshotReader(self._snapshot, topic, partition, position)

    async def close(self) -> None:
        self._snapshot.close()


class SnapshotReader:
    """What is not there does not come: no read waits."""

    def __init__(self, snapshot: LogSnapshot, topic: str, partition: int, position: int) -> None:
        self._snapshot = snapshot
        self._topic = topic
        self._partition = partition
        self._position = position

    @property
    def position(self) -> int:
        """The offset of the next record."""
        return self._position

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:  # noqa: ARG002 - the port's; nothing comes later
        records = self._snapshot.read(self._topic, self._partition, self._position, records_max)
        self._position += len(records)
        return records

    async def close(self) -> None:
        """Nothing is held."""
