"""What does the holder of a transactional id do with an embedded log, and what does a reader of one partition do?"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from engine.clock import Clock
from engine.errors import UsageError
from engine.runtime.doors import within
from provider_log.log.embedded.partitions import Partition
from provider_log.log.port import Fenced, LogRecord, OffsetOutOfRange, StoredRecord


class _Log(Protocol):
    """What both need of the log they belong to."""

    def check(self, record: LogRecord) -> None: ...
    def check_place(self, topic: str, partition: int) -> None: ...
    def check_usable(self) -> None: ...
    def is_current(self, transactional_id: str, epoch: int) -> bool: ...
    def commit_records(self, records: Sequence[LogRecord]) -> tuple[Sequence[int], asyncio.Future[None]]: ...
    def read_records(self, partition: Partition, position: int, records_max: int) -> list[StoredRecord]: ...


class EmbeddedProducer:
    """A transaction here is a list in memory until it is committed."""

    def __init__(self, log: _Log, transactional_id: str, epoch: int) -> None:
        self._log = log
        self._transactional_id = transactional_id
        self._epoch = epoch
        self._records: list[LogRecord] = []
        self._finished = False

    async def begin(self, places: Collection[tuple[str, int]]) -> None:
        self._check_holder()
        self._finished = True
        for place in places:
            self._log.check_place(*place)
        self._finished = False

    async def produce(self, records: Sequence[LogRecord]) -> None:
        self._check_holder()
        # Whatever fails from here on, a refused record above all, ends this producer as it would on Kafka.
        self._finished = True
        for record in records:
            self._log.check(record)
        self._records.extend(records)
        self._finished = False

    async def commit(self) -> Sequence[int]:
        self._check_holder()
        self._log.check_usable()
        records, self._records = self._records, []
        if not records:
            return ()
        # Cancelled or failed while it is written: nobody knows, and this producer must not go on.
        self._finished = True
        offsets, written = self._log.commit_records(records)
        await written
        self._finished = False
        return offsets

    async def close(self) -> None:
        self._finished = True
        self._records = []

    def _check_holder(self) -> None:
        if not self._log.is_current(self._transactional_id, self._epoch):
            self._finished = True
            self._records = []
            raise Fenced(f"expected to hold {self._transactional_id}, but it was taken by a later producer")
        if self._finished:
            raise UsageError(f"expected an open producer of {self._transactional_id}, but it is finished")


class EmbeddedReader:
    """Woken by commits to its partition; a wait that nothing ends costs nothing."""

    def __init__(self, log: _Log, partition: Partition, position: int, clock: Clock) -> None:
        self._log = log
        self._partition = partition
        self._position = position
        self._clock = clock

    @property
    def position(self) -> int:
        """The offset of the next record."""
        return self._position

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
        deadline_ms = self._clock.boot_ms() + timeout_ms
        while True:
            self._log.check_usable()
            self._check_position()
            if self._position < self._partition.end:
                records = self._log.read_records(self._partition, self._position, records_max)
                self._position += len(records)
                return records
            left_ms = deadline_ms - self._clock.boot_ms()
            if left_ms <= 0:
                return ()
            try:
                await within(self._clock, self._partition.changed(), left_ms)
            except TimeoutError:
                return ()

    async def close(self) -> None:
        """Nothing is held."""

    def _check_position(self) -> None:
        partition = self._partition
        if not partition.first <= self._position <= partition.end:
            raise OffsetOutOfRange(
                f"expected a position from {partition.first} to {partition.end} in "
                f"{partition.topic}/{partition.number}, but it is {self._position}"
            )
