"""What must a log do? Partitioned topics, transactions with fencing, readers that see only what is committed.

The words are Kafka's. A record's place is (topic, partition, offset); offsets grow, with gaps where a broker keeps
markers or aborted records. A *producer* belongs to a transactional id: opening it fences whoever had the id before
and ends that one's open transaction. Ownership is not decided here, see `provider_log.partition`.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct


class LogRecord(Struct, frozen=True, kw_only=True):
    """A record to append. `key` None: a record of the partition itself. `value` None: a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size_bytes(self) -> int:
        """Key, value and headers together: what `TopicSpec.record_bytes_max` bounds."""
        headers = sum(len(name.encode()) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class StoredRecord(Struct, frozen=True, kw_only=True):
    """A record as read back. `timestamp_ms` is the log's append time."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class TopicSpec(Struct, frozen=True, kw_only=True):
    """A topic that must exist. `record_bytes_max` bounds key + value + headers of one record.

    `compacted`: a log may drop a record once a newer one has the same key. None has to, so a reader takes the last.
    """

    name: str
    partitions: int
    record_bytes_max: int
    compacted: bool = False


class Bounds(Struct, frozen=True):
    """`first`: offset of the oldest record kept. `end`: a committed read can return now what lies below it.

    Markers and aborted records lie below `end` too: it may be more than one past the last record that is read.
    """

    first: int
    end: int


class OpenTransaction(Struct, frozen=True):
    """A transaction that has not ended: where its first record in a partition is, and whose it is."""

    offset: int
    producer: str


class LogError(Exception):
    """Base of what a log raises."""


class Fenced(LogError):
    """Another producer was opened for this transactional id (or the log timed the transaction out).

    Nothing of the open transaction is or will be visible.
    """


class Doubtful(LogError):
    """No answer: the transaction may have been committed or not. Only reading the log tells."""


class RecordTooLarge(LogError):
    """A record is larger than its topic takes. Nothing was sent."""


class OffsetOutOfRange(LogError):
    """The position asked for is before the first record kept, or after the end."""


class UnknownTopic(LogError):
    """The topic does not exist, or has no such partition."""


class LogUnavailable(LogError):
    """The log does not answer; nothing was written."""


class LogBroken(LogUnavailable):
    """The log has failed for good in this process: every later call raises the same. Opening it anew decides."""


class ClockDiffers(LogError):
    """This machine's clock is too far from the log's: what is due, and when, would be another thing elsewhere."""


class LogNotOpened(LogError):
    """What is there cannot be opened as a log: in use, not a log, of a newer format, or it does not let us in."""


class LogCorrupted(LogError):
    """What is read is not what was written (checksum, length), or the log is shorter than recorded.

    Attributes:
        topic, partition, offset: Where, as far as known.
    """

    def __init__(
        self, message: str, *, topic: str | None = None, partition: int | None = None, offset: int | None = None
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.offset = offset


class Producer(Protocol):
    """The holder of one transactional id. One transaction at a time; not for use by two tasks at once.

    Using a finished one raises Fenced if the id was taken, else engine.errors.UsageError: open a new one.
    """

    async def begin(self, places: Collection[tuple[str, int]]) -> None:
        """Open a transaction that will have records in these topics and partitions, soon or not at all.

        `produce` does it by itself; whoever has another producer at hand learns here which of them can go on.

        Raises:
            Fenced: The producer is finished.
            LogUnavailable: It cannot be opened now. Nothing was produced; the producer is finished.
            Doubtful, UnknownTopic: The same.
        """
        ...

    async def produce(self, records: Sequence[LogRecord]) -> None:
        """Add records to the open transaction, opening one if there is none.

        Returns when the log has acknowledged every one of them.

        Raises:
            Fenced: Nothing of this transaction will be visible; the producer is finished.
            RecordTooLarge: The producer is finished: sequence numbers were spent.
            UnknownTopic: The same.
            Doubtful: The producer is finished. (Nothing is visible unless a commit is asked for, but see `commit`.)
            LogUnavailable: Nothing was sent; the producer is finished.
        """
        ...

    async def commit(self) -> Sequence[int]:
        """End the transaction. One attempt, never repeated by itself. With nothing produced, nothing is asked.

        Returns:
            The offset of every record produced in it, in the order they were produced.

        Raises:
            Fenced: Nothing of the transaction is visible; the producer is finished.
            Doubtful: Nobody knows; the producer is finished.
            LogUnavailable: The commit was never asked for, so nothing is visible; the producer is finished.
        """
        ...

    async def close(self) -> None:
        """Give the connection up. An open transaction is left to the next holder of the id. Never raises."""
        ...


class Reader(Protocol):
    """Reads one partition of one topic in offset order, committed records only."""

    @property
    def position(self) -> int:
        """The offset the next `read` starts looking at. Moves past gaps and aborted records too."""
        ...

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
        """The next records in offset order, at most `records_max`; empty if none came within `timeout_ms`.

        Never goes past a record of a transaction that is still open.

        Raises:
            OffsetOutOfRange: The position was cut away or never existed.
            LogCorrupted: A record is damaged.
        """
        ...

    async def close(self) -> None:
        """Free what it holds. Never raises."""
        ...


class LogView(Protocol):
    """A log for somebody who only looks.

    Any call may raise LogUnavailable, and LogBroken once the log has failed for good. A call about a topic or
    partition that does not exist raises UnknownTopic.
    """

    @property
    def cluster_id(self) -> str:
        """Identifies the log as a whole; another cluster has another."""
        ...

    async def partition_count(self, topic: str) -> int | None:
        """Number of partitions, or None if the topic does not exist."""
        ...

    async def open_reader(self, topic: str, partition: int, position: int) -> Reader:
        """A reader whose first record has an offset >= `position`."""
        ...

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """What is kept now. `end` may grow at once; restoring never relies on it (see protocol, acquire)."""
        ...

    async def close(self) -> None:
        """Finish cleanly. Nothing may be used afterwards."""
        ...


class Log(LogView, Protocol):
    """A partitioned, transactional log."""

    async def create_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Create those that do not exist. A topic that exists with another partition count is left as it is.

        Raises:
            LogNotOpened: One that exists is set up so that records would be lost, or refused; the text says which.
        """
        ...

    async def open_producer(self, transactional_id: str) -> Producer:
        """Take `transactional_id`: whoever had it is fenced and its open transaction has ended when this returns.

        Raises:
            LogUnavailable: No answer within the log's own bound. The holder before may be fenced already.
        """
        ...

    async def append(self, record: LogRecord) -> int:
        """Append one record outside any transaction, as a foreign producer would. Durable when it returns.

        Returns:
            Its offset.

        Raises:
            RecordTooLarge, UnknownTopic, LogUnavailable: Nothing was written.
            Doubtful: It may have been written.
        """
        ...

    async def open_transaction(self, topic: str, partition: int) -> OpenTransaction | None:
        """The transaction that committed reads of a partition wait for; None if they wait for none."""
        ...

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Cut away every record with an offset below `before`. Idempotent.

        Raises:
            OffsetOutOfRange: `before` is after the end.
        """
        ...
