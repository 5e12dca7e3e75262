"""What is true on the far side of the wire? Partitions, transactions and epochs as Kafka's brokers keep them.

No waiting and no time limits here: each method is one request that arrived, done whole. Requests are judged by
transactional id and epoch alone, as a broker judges them, never by which object sent them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from provider_log.log.port import (
    Bounds,
    Doubtful,
    Fenced,
    LogRecord,
    OffsetOutOfRange,
    OpenTransaction,
    RecordTooLarge,
    StoredRecord,
    TopicSpec,
    UnknownTopic,
)
from provider_log.log.wakeup import Wakeup

Outcome = Literal["committed", "aborted"]


class Transaction:
    """One transaction of one epoch; open until it has an outcome, in a partition's way until its marker is there."""

    def __init__(self, transactional_id: str, epoch: int) -> None:
        self.transactional_id = transactional_id
        self.epoch = epoch
        self.outcome: Outcome | None = None
        self.unmarked: list[BrokerPartition] = []


class _Entry(Struct, frozen=True):
    """What lies at an offset. `record` None: a control marker."""

    record: LogRecord | None
    transaction: Transaction | None
    timestamp_ms: int


class BrokerPartition:
    """One partition, the last stable offset included."""

    def __init__(self, spec: TopicSpec, number: int) -> None:
        self.spec = spec
        self.number = number
        self.first = 0
        self._entries: list[_Entry] = []
        self._open: dict[Transaction, int] = {}
        self._readers = Wakeup()

    @property
    def end(self) -> int:
        """One past everything, open transactions and markers included."""
        return len(self._entries)

    @property
    def stable_end(self) -> int:
        """Where committed reads stop: the first offset of the oldest transaction without a marker here."""
        return min(self._open.values(), default=self.end)

    def append(self, record: LogRecord, transaction: Transaction | None, timestamp_ms: int) -> int:
        """Put a record at the end; its offset."""
        offset = self.end
        self._entries.append(_Entry(record, transaction, timestamp_ms))
        if transaction is None:
            self.wake()
        elif transaction not in self._open:
            self._open[transaction] = offset
            transaction.unmarked.append(self)
        return offset

    def mark(self, transaction: Transaction, timestamp_ms: int) -> None:
        """Write the control marker, which takes an offset, and stop standing in the way of readers."""
        self._entries.append(_Entry(None, transaction, timestamp_ms))
        del self._open[transaction]
        transaction.unmarked.remove(self)
        self.wake()

    def oldest_open(self) -> OpenTransaction | None:
        """What committed reads wait for."""
        if not self._open:
            return None
        transaction, offset = min(self._open.items(), key=lambda item: item[1])
        return OpenTransaction(offset, transaction.transactional_id)

    def cut(self, before: int) -> None:
        """Forget what lies below `before`."""
        if before > self.end:
            raise OffsetOutOfRange(
                f"expected to cut {self.spec.name}/{self.number} up to {self.end} at most, but got {before}"
            )
        self.first = max(self.first, before)
        self.wake()

    def committed(self, position: int, records_max: int) -> tuple[list[StoredRecord], int]:
        """Visible records from `position` on, and the position behind the last entry that was looked at."""
        if not self.first <= position <= self.end:
            raise OffsetOutOfRange(
                f"expected a position from {self.first} to {self.end} in {self.spec.name}/{self.number}, "
                f"but it is {position}"
            )
        found: list[StoredRecord] = []
        stable_end = self.stable_end
        while position < stable_end and len(found) < records_max:
            entry = self._entries[position]
            visible = entry.transaction is None or entry.transaction.outcome == "committed"
            if entry.record is not None and visible:
                found.append(_stored(entry.record, position, entry.timestamp_ms))
            position += 1
        return found, position

    def changed(self) -> "asyncio.Future[None]":
        """Done when more may be visible, or less is kept."""
        return self._readers.wait()

    def wake(self) -> None:
        """Let every waiting reader look again."""
        self._readers.signal()


class _Holder:
    """What the coordinator knows of a transactional id."""

    def __init__(self) -> None:
        self.epoch = 0
        self.transaction: Transaction | None = None


class Broker:
    """All brokers of a cluster at once.

    Args:
        now_ms: Append time.
        on_begun: Told of each transaction that begins.
        on_decided: Told of each transaction that got its outcome; must see to it that `mark` is called for each of its
            unmarked partitions.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        on_begun: Callable[[Transaction], None],
        on_decided: Callable[[Transaction], None],
    ) -> None:
        self._now_ms = now_ms
        self._on_begun = on_begun
        self._on_decided = on_decided
        self._partitions: dict[str, list[BrokerPartition]] = {}
        self._holders: dict[str, _Holder] = {}

    def create(self, topics: Sequence[TopicSpec]) -> None:
        """Create those that do not exist."""
        for spec in topics:
            if spec.name not in self._partitions:
                self._partitions[spec.name] = [BrokerPartition(spec, number) for number in range(spec.partitions)]

    def count(self, topic: str) -> int | None:
        """Number of partitions."""
        return len(self._partitions[topic]) if topic in self._partitions else None

    def partition(self, topic: str, number: int) -> BrokerPartition:
        """The partition; UnknownTopic if there is none."""
        partitions = self._partitions.get(topic)
        if partitions is None:
            raise UnknownTopic(f"expected a topic that was created, but got {topic}")
        if not 0 <= number < len(partitions):
            raise UnknownTopic(f"expected a partition of {topic} below {len(partitions)}, but got {number}")
        return partitions[number]

    def check(self, record: LogRecord) -> None:
        """Raise if the record does not fit its topic."""
        most = self.partition(record.topic, record.partition).spec.record_bytes_max
        if (size := record.size_bytes) > most:
            raise RecordTooLarge(f"expected at most {most} bytes in a record of {record.topic}, but it has {size}")

    def bounds(self, topic: str, number: int) -> Bounds:
        """First offset and last stable offset."""
        partition = self.partition(topic, number)
        return Bounds(partition.first, max(partition.first, partition.stable_end))

    def append(self, record: LogRecord) -> int:
        """Append outside any transaction; the offset."""
        self.check(record)
        return self.partition(record.topic, record.partition).append(record, None, self._now_ms())

    def init_producer(self, transactional_id: str) -> int:
        """A new epoch for the id; what the old one had open is aborted."""
        holder = self._holders.setdefault(transactional_id, _Holder())
        holder.epoch += 1
        if holder.transaction is not None:
            self._decide(holder.transaction, "aborted")
        return holder.epoch

    def begin(self, transactional_id: str, epoch: int) -> Transaction:
        """The epoch's open transaction; a new one, with nothing in it, if it has none.

        Raises:
            Fenced: The epoch is not the newest.
        """
        holder = self._current_holder(transactional_id, epoch)
        if holder.transaction is None:
            holder.transaction = Transaction(transactional_id, epoch)
            self._on_begun(holder.transaction)
        return holder.transaction

    def produce(
        self, transactional_id: str, epoch: int, known: Transaction | None, records: Sequence[LogRecord]
    ) -> tuple[Transaction, list[int]]:
        """Add records to the epoch's open transaction.

        `known` is the transaction the producer believes to be in; None begins one.

        Returns:
            The transaction, and the offsets of `records`.

        Raises:
            Fenced: The epoch is not the newest.
            Doubtful: The transaction was ended behind the producer's back (brokers answer InvalidTxnState).
        """
        holder = self._current_holder(transactional_id, epoch)
        for record in records:
            self.check(record)
        if known is not None and holder.transaction is not known:
            raise Doubtful(f"expected an open transaction of {transactional_id}, but it was ended by somebody")
        transaction = self.begin(transactional_id, epoch)
        now_ms = self._now_ms()
        places = [self.partition(record.topic, record.partition) for record in records]
        return transaction, [
            place.append(record, transaction, now_ms) for place, record in zip(places, records, strict=True)
        ]

    def end(self, transactional_id: str, epoch: int) -> None:
        """Commit whatever transaction the epoch has open; nothing to do, and no error, if there is none.

        Raises:
            Fenced: The epoch is not the newest.
        """
        holder = self._current_holder(transactional_id, epoch)
        if holder.transaction is not None:
            self._decide(holder.transaction, "committed")

    def time_out(self, transaction: Transaction) -> None:
        """Abort a transaction that is still open, and fence its producer, as the coordinator does."""
        holder = self._holders[transaction.transactional_id]
        if holder.transaction is transaction:
            holder.epoch += 1
            self._decide(transaction, "aborted")

    def wake_readers(self) -> None:
        """Let every waiting reader look again."""
        for partitions in self._partitions.values():
            for partition in partitions:
                partition.wake()

    def _current_holder(self, transactional_id: str, epoch: int) -> _Holder:
        holder = self._holders[transactional_id]
        if holder.epoch != epoch:
            raise Fenced(f"expected epoch {holder.epoch} of {transactional_id}, but the producer has {epoch}")
        return holder

    def _decide(self, transaction: Transaction, outcome: Outcome) -> None:
        self._holders[transaction.transactional_id].transaction = None
        transaction.outcome = outcome
        self._on_decided(transaction)


def _stored(record: LogRecord, offset: int, timestamp_ms: int) -> StoredRecord:
    return StoredRecord(
        topic=record.topic,
        partition=record.partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=record.key,
        value=record.value,
        headers=record.headers,
    )
