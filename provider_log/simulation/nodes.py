"""What can happen to a node that no fault of its log can? It is cut off, frozen, crashes, and wakes up later."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Literal, TypeVar

from engine.clock import Clock
from provider_log.log.port import (
    Bounds,
    Doubtful,
    Log,
    LogRecord,
    LogUnavailable,
    OpenTransaction,
    Producer,
    Reader,
    StoredRecord,
    TopicSpec,
)
from provider_log.store.memory import DictStore

T = TypeVar("T")


class Line:
    """A node's line to its log: open, frozen (every call waits), or cut (every call fails).

    Args:
        travel: How long a call takes, and an answer.
        patience: How long a node waits for an answer that does not come.
    """

    def __init__(
        self,
        travel: Callable[[], Awaitable[None]] | None = None,
        patience: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._travel = travel
        self._patience = patience
        self._open = asyncio.Event()
        self._open.set()
        self._cut = False
        self._until_frozen = 0
        self.frozen = asyncio.Event()
        self.was_cut = asyncio.Event()
        self.away: set[str] = set()  # transactional ids whose coordinator nobody hears of
        self.slow: dict[tuple[str, str], int] = {}  # rounds of the loop that a call for an id takes to get going
        self.held: set[tuple[str, str]] = set()  # calls for an id that wait until the line is cut
        self.refuses: Callable[[Sequence[LogRecord]], bool] = lambda _: False  # batches that nothing comes of

    @property
    def is_open(self) -> bool:
        """Whether a call gets through now."""
        return self._open.is_set() and not self._cut

    def freeze(self) -> None:
        """From now on calls wait, and so do answers: the node is paused wherever it touches its log."""
        self._open.clear()
        self.frozen.set()

    def freeze_after(self, uses: int) -> None:
        """Freeze by itself when the line is used for this time, counted from 1; each call uses it twice."""
        self._until_frozen = uses

    def thaw(self) -> None:
        """Whoever waited goes on."""
        self._open.set()

    def cut(self) -> None:
        """From now on nothing reaches the log and no answer comes back."""
        self._cut = True
        self.was_cut.set()
        self._open.set()

    async def through(self, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` answers, if it gets through both ways."""
        await self._use()
        if self._cut:
            raise LogUnavailable("expected a line to the log, but it is cut")
        try:
            answer = await call()
        except Doubtful:
            if self._patience is not None:
                await self._patience()
            raise
        await self._use()
        if self._cut:
            raise Doubtful("expected an answer, but the line to the log is cut")
        return answer

    async def _use(self) -> None:
        self._until_frozen -= 1
        if self._until_frozen == 0:
            self.freeze()
        if self._travel is not None:
            await self._travel()
        await self._open.wait()


class NodeStore(DictStore):
    """A store that a crash leaves as it was, or as it was flushed last, or not at all.

    Attributes:
        is_foreign: Its rows are another partition's: somebody put the wrong files here, and nobody noticed yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_foreign = False
        self._flushed: dict[bytes, bytes] = {}

    def wipe(self) -> None:
        """Remove every row, flushed or not."""
        super().wipe()
        self._flushed = {}
        self.is_foreign = False

    async def flush(self) -> None:
        """What is here now survives a crash."""
        self._flushed = dict(self.rows)

    async def close(self) -> None:
        """A node that crashed never got here; see `crash`."""

    def crash(self, kind: Literal["kept", "flushed", "lost"]) -> None:
        """What a process finds that opens it after this one was killed."""
        kept: dict[str, dict[bytes, bytes]] = {"kept": self.rows, "flushed": self._flushed, "lost": {}}
        self.rows = dict(kept[kind])
        self._flushed = dict(self.rows)

    def become(self, other: "NodeStore") -> None:
        """Find the files of `other` in its place from now on."""
        self.rows, self._flushed = dict(other.rows), dict(other.rows)
        self.is_foreign = True


class NodeLog:
    """The world's log at the end of a node's own line; leaving the node does not close it."""

    def __init__(self, log: Log, line: Line, clock: Clock) -> None:
        self._log = log
        self._line = line
        self._clock = clock

    @property
    def cluster_id(self) -> str:
        return self._log.cluster_id

    async def create_topics(self, topics: Sequence[TopicSpec]) -> None:
        await self._line.through(lambda: self._log.create_topics(topics))

    async def partition_count(self, topic: str) -> int | None:
        return await self._line.through(lambda: self._log.partition_count(topic))

    async def open_producer(self, transactional_id: str) -> Producer:
        producer = await self._line.through(lambda: self._log.open_producer(transactional_id))
        return _NodeProducer(producer, self._line, transactional_id, self._clock)

    async def append(self, record: LogRecord) -> int:
        return await self._line.through(lambda: self._log.append(record))

    async def open_reader(self, topic: str, partition: int, position: int) -> Reader:
        return _NodeReader(
            await self._line.through(lambda: self._log.open_reader(topic, partition, position)), self._line
        )

    async def bounds(self, topic: str, partition: int) -> Bounds:
        return await self._line.through(lambda: self._log.bounds(topic, partition))

    async def open_transaction(self, topic: str, partition: int) -> OpenTransaction | None:
        return await self._line.through(lambda: self._log.open_transaction(topic, partition))

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        await self._line.through(lambda: self._log.delete_records(topic, partition, before))

    async def close(self) -> None:
        """The world closes it."""


class _NodeProducer:
    def __init__(self, producer: Producer, line: Line, transactional_id: str, clock: Clock) -> None:
        self._clock = clock
        self._producer = producer
        self._line = line
        self._id = transactional_id
        self._is_begun = False

    async def begin(self, places: Collection[tuple[str, int]]) -> None:
        self._is_begun = self._is_begun or self._id not in self._line.away
        if not self._is_begun:
            raise LogUnavailable(f"expected the coordinator of {self._id}, but it is away")
        await self._line.through(lambda: self._producer.begin(places))

    async def produce(self, records: Sequence[LogRecord]) -> None:
        if not self._is_begun and self._id in self._line.away:
            raise LogUnavailable(f"expected the coordinator of {self._id}, but it is away")
        await self._dawdle("produce")
        if self._line.refuses(records):
            raise Doubtful("expected a batch that the log takes, but it says nothing")
        await self._line.through(lambda: self._producer.produce(records))

    async def commit(self) -> Sequence[int]:
        self._is_begun = False
        await self._dawdle("commit")
        return await self._line.through(self._producer.commit)

    async def _dawdle(self, call: str) -> None:
        for _ in range(self._line.slow.get((call, self._id), 0)):
            await self._clock.sleep_ms(0)
        if (call, self._id) in self._line.held:
            await self._line.was_cut.wait()

    async def close(self) -> None:
        await self._producer.close()


class _NodeReader:
    def __init__(self, reader: Reader, line: Line) -> None:
        self._reader = reader
        self._line = line

    @property
    def position(self) -> int:
        return self._reader.position

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
        return await self._line.through(lambda: self._reader.read(records_max, timeout_ms))

    async def close(self) -> None:
        await self._reader.close()
