"""What do a producer and a reader on the near side of the wire know, and when is a producer finished?"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeVar

from engine.clock import Clock
from engine.errors import UsageError
from engine.runtime.doors import within
from provider_log.log.port import Fenced, LogCorrupted, LogRecord, StoredRecord
from provider_log.log.simulated.broker import Broker, BrokerPartition, Transaction
from provider_log.log.simulated.faults import Operation

T = TypeVar("T")


class Wire(Protocol):
    """What both need of the log they belong to (SimulatedLog says what each does)."""

    async def request(
        self,
        operation: Operation,
        arrive: Callable[[], T],
        *,
        open_transaction: Callable[[], Transaction | None] = ...,
        damaged: Callable[[], LogCorrupted] | None = None,
    ) -> T: ...

    async def markers_written(self, transactional_id: str) -> None: ...

    def check_open(self) -> None: ...


class SimulatedProducer:
    """Holds an epoch, and what it believes about its transaction."""

    def __init__(
        self,
        wire: Wire,
        broker: Broker,
        transactional_id: str,
        epoch: int,
    ) -> None:
        self._wire = wire
        self._broker = broker
        self._transactional_id = transactional_id
        self._epoch = epoch
        self._transaction: Transaction | None = None
        self._offsets: list[int] = []
        self._finished = False
        self._fenced = False

    async def begin(self, places: Collection[tuple[str, int]]) -> None:
        self._begin_call()
        for place in places:
            self._broker.partition(*place)
        if self._transaction is None:
            await self._wire.markers_written(self._transactional_id)
            try:
                self._transaction = await self._wire.request(
                    "begin", lambda: self._broker.begin(self._transactional_id, self._epoch)
                )
            except Fenced:
                self._fenced = True
                raise
        self._finished = False

    async def produce(self, records: Sequence[LogRecord]) -> None:
        self._begin_call()
        for record in records:
            self._broker.check(record)
        if self._transaction is None:
            await self._wire.markers_written(self._transactional_id)
        try:
            self._transaction, offsets = await self._wire.request(
                "produce",
                lambda: self._broker.produce(self._transactional_id, self._epoch, self._transaction, records),
                open_transaction=lambda: self._transaction,
            )
        except Fenced:
            self._fenced = True
            raise
        self._offsets.extend(offsets)
        self._finished = False

    async def commit(self) -> Sequence[int]:
        self._begin_call()
        if self._transaction is not None:
            try:
                await self._wire.request(
                    "commit",
                    lambda: self._broker.end(self._transactional_id, self._epoch),
                    open_transaction=lambda: self._transaction,
                )
            except Fenced:
                self._fenced = True
                raise
        offsets, self._offsets = self._offsets, []
        self._transaction = None
        self._finished = False
        return offsets

    async def close(self) -> None:
        self._finished = True

    def _begin_call(self) -> None:
        """Refuse if finished; and be finished until the call has succeeded, whatever else becomes of it."""
        if self._fenced:
            raise Fenced(f"expected to hold {self._transactional_id}, but this producer was fenced")
        if self._finished:
            raise UsageError(f"expected an open producer of {self._transactional_id}, but it is finished")
        self._finished = True


class SimulatedReader:
    """Asks once over the wire, then waits beside the partition: a long poll."""

    def __init__(self, wire: Wire, partition: BrokerPartition, position: int, clock: Clock) -> None:
        self._wire = wire
        self._partition = partition
        self._position = position
        self._clock = clock

    @property
    def position(self) -> int:
        """The offset of the next entry to look at."""
        return self._position

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
        deadline_ms = self._clock.boot_ms() + timeout_ms
        records, self._position = await self._wire.request(
            "read", lambda: self._partition.committed(self._position, records_max), damaged=self._damaged
        )
        while not records and (left_ms := deadline_ms - self._clock.boot_ms()) > 0:
            self._wire.check_open()
            changed = self._partition.changed()
            records, self._position = self._partition.committed(self._position, records_max)
            if not records:
                try:
                    await within(self._clock, changed, left_ms)
                except TimeoutError:
                    break
        return records

    async def close(self) -> None:
        """Nothing is held."""

    def _damaged(self) -> LogCorrupted:
        topic, number = self._partition.spec.name, self._partition.number
        return LogCorrupted(
            f"{topic}/{number} is damaged at offset {self._position}: expected another checksum",
            topic=topic,
            partition=number,
            offset=self._position,
        )
