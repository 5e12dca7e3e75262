"""How do records become the bytes of a produce request, and the bytes of a fetch records again?"""

from collections.abc import Iterator, Sequence

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from msgspec import Struct

from provider_log.log.port import LogCorrupted, LogRecord, OpenTransaction, StoredRecord

_MAGIC = 2
SEQUENCES = 2**31
"""How many sequence numbers there are; after the last comes 0."""


class Identity(Struct, frozen=True):
    """Under which numbers the brokers know a writer."""

    producer_id: int
    epoch: int


class RecordBatch(Struct, frozen=True):
    """A batch as it goes over the wire, and how many records it has."""

    data: bytes | bytearray
    count: int


def batches_of(
    records: Sequence[LogRecord],
    bytes_max: int,
    identity: Identity,
    sequence: int,
    now_ms: int,
    *,
    is_transactional: bool,
) -> Iterator[RecordBatch]:
    """Records of one partition, in order, in batches of at most `bytes_max`; `sequence` is that of the first."""
    left = records
    while left:
        builder = DefaultRecordBatchBuilder(
            magic=_MAGIC,
            compression_type=0,
            is_transactional=int(is_transactional),
            producer_id=identity.producer_id,
            producer_epoch=identity.epoch,
            base_sequence=sequence,
            batch_size=bytes_max,
        )
        count = 0
        while count < len(left):
            one = left[count]
            if builder.append(count, now_ms, one.key, one.value, list(one.headers)) is None:
                break
            count += 1
        yield RecordBatch(builder.build(), count)
        sequence = (sequence + count) % SEQUENCES
        left = left[count:]


def transaction_at(data: bytes) -> OpenTransaction | None:
    """The transaction that wrote the first batch of what a fetch brought, committed or not; None if none did."""
    batch = MemoryRecords(data).next_batch()
    if batch is None or not batch.is_transactional or batch.is_control_batch:
        return None
    return OpenTransaction(batch.base_offset, f"producer id {batch.producer_id}")


class Fetched:
    """What one fetch brought of one partition, taken record by record; aborted records and markers are passed.

    Args:
        data: Batches as the broker keeps them; the first may begin below `position`, the last may be cut off.
        aborted: Producer id and first offset of each aborted transaction among them.
    """

    def __init__(
        self, topic: str, partition: int, position: int, data: bytes, aborted: Sequence[tuple[int, int]]
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._records = PartitionRecords(
            TopicPartition(topic, partition),
            MemoryRecords(data),
            list(aborted),
            position,
            None,
            None,
            True,
            READ_COMMITTED,
        )
        self._has_more = True

    @property
    def position(self) -> int:
        """The offset after what was taken; past what lies between it and the next record once all is taken."""
        return self._records.next_fetch_offset

    def take(self, records_max: int) -> list[StoredRecord]:
        """The next records, fewer than `records_max` only if there are no more.

        Raises:
            LogCorrupted: A batch is not what was written.
        """
        taken: list[StoredRecord] = []
        try:
            while self._has_more and len(taken) < records_max:
                record = next(self._records, None)
                if record is None:
                    self._has_more = False
                    break
                taken.append(
                    StoredRecord(
                        topic=self._topic,
                        partition=self._partition,
                        offset=record.offset,
                        timestamp_ms=record.timestamp,
                        key=record.key,
                        value=record.value,
                        headers=tuple((name, value or b"") for name, value in record.headers),
                    )
                )
        except CorruptRecordException as error:
            raise LogCorrupted(
                f"expected an undamaged record at {self._topic}/{self._partition}/{self.position}, but: {error}",
                topic=self._topic,
                partition=self._partition,
                offset=self.position,
            ) from error
        return taken
