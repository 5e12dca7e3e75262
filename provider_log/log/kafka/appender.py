"""How do records go into the log outside any transaction, many at a time, each once?"""

import asyncio
from collections.abc import Sequence

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from engine.clock import Clock
from engine.runtime.doors import Tasks, within
from provider_log.log.kafka.batches import SEQUENCES, Identity, RecordBatch, batches_of
from provider_log.log.kafka.cluster import Cluster
from provider_log.log.kafka.codes import COORDINATOR_ELSEWHERE, ELSEWHERE, TOO_LARGE, Code, name_of, refusal
from provider_log.log.kafka.link import Links, Unanswered, Unsent
from provider_log.log.kafka.producer import ALL_REPLICAS, Place, acknowledged
from provider_log.log.kafka.topics import Topics
from provider_log.log.port import Doubtful, LogBroken, LogRecord, LogUnavailable, RecordTooLarge

_RETRY_MS = 20

_Waiting = tuple[LogRecord, asyncio.Future[int]]


class Appender:
    """Appends records; those that come while a partition is busy with others go together in its next batch.

    A batch that a broker did not take, or did not answer for, is sent again under the same producer id and sequence
    number, by which the brokers drop a second copy.

    Args:
        links: Its own connections.
        append_ms: Bound of an append.
    """

    def __init__(self, cluster: Cluster, topics: Topics, links: Links, clock: Clock, append_ms: int) -> None:
        self._cluster = cluster
        self._topics = topics
        self._links = links
        self._clock = clock
        self._append_ms = append_ms
        self._lanes: dict[Place, _Lane] = {}
        self._tasks = Tasks("append", lambda _: None)  # what fails is told to those who wait for it

    async def append(self, record: LogRecord) -> int:
        """See `provider_log.log.port.Log`."""
        try:
            # A quarter more than a batch has: a record may come while the batch before it is on its way.
            return await within(self._clock, self._appended(record), self._append_ms * 5 // 4)
        except TimeoutError as error:
            raise Doubtful(f"expected to append within {self._append_ms} ms, but it took longer") from error

    async def close(self) -> None:
        """Give up what was not answered."""
        await self._tasks.aclose(self._clock, patience_ms=1_000)
        await self._links.close()

    async def _appended(self, record: LogRecord) -> int:
        batch_bytes_max = await self._topics.check([record])
        place = (record.topic, record.partition)
        if place not in self._lanes:
            self._lanes[place] = _Lane(place, batch_bytes_max, self._cluster, self._links, self._clock, self._append_ms)
        lane = self._lanes[place]
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        lane.waiting.append((record, future))
        if not lane.is_sending:
            lane.is_sending = True
            self._tasks.spawn(f"{record.topic}/{record.partition}", lane.send_all())
        return await future


class _Lane:
    """What waits for one partition, and the numbers by which brokers know copies. One batch at most is under way."""

    def __init__(
        self, place: Place, batch_bytes_max: int, cluster: Cluster, links: Links, clock: Clock, append_ms: int
    ) -> None:
        self.waiting: list[_Waiting] = []
        self.is_sending = False
        self._place = place
        self._batch_bytes_max = batch_bytes_max
        self._cluster = cluster
        self._links = links
        self._clock = clock
        self._append_ms = append_ms
        self._identity: Identity | None = None
        self._sequence = 0

    async def send_all(self) -> None:
        """Send what waits, and what comes meanwhile, until nothing does."""
        try:
            while waiting := [one for one in self.waiting if not one[1].done()]:
                await self._send(waiting)
        finally:
            self.is_sending = False

    async def _send(self, waiting: Sequence[_Waiting]) -> None:
        """Send as much as one batch takes, and tell those whose records it has."""
        self.waiting = []
        sent = waiting
        try:
            identity = await within(self._clock, self._identified(), self._append_ms)
            records = [record for record, _ in waiting]
            now_ms = self._clock.now_ms()
            made = batches_of(records, self._batch_bytes_max, identity, self._sequence, now_ms, is_transactional=False)
            batch = next(made)
            sent, self.waiting = waiting[: batch.count], [*waiting[batch.count :], *self.waiting]
            base = await within(self._clock, self._acknowledged(batch), self._append_ms)
        except Exception as error:  # whatever it is, those who wait hear of it
            self._identity = None  # the batch may be taken yet: its numbers are spent
            for _, future in sent:
                if not future.done():
                    future.set_exception(error)
            return
        self._sequence = (self._sequence + batch.count) % SEQUENCES
        for offset, (_, future) in enumerate(sent, start=base):
            if not future.done():
                future.set_result(offset)

    async def _identified(self) -> Identity:
        """The numbers this lane writes under; new ones if those before may be spent."""
        while self._identity is None:
            answer = await self._cluster.ask_any(InitProducerIdRequest(None, 0))
            if answer.error_code == Code.NONE:
                self._identity, self._sequence = Identity(answer.producer_id, answer.producer_epoch), 0
            elif answer.error_code in COORDINATOR_ELSEWHERE:
                await self._clock.sleep_ms(_RETRY_MS)
            else:
                raise refusal(answer.error_code, "a producer id")
        return self._identity

    async def _acknowledged(self, batch: RecordBatch) -> int:
        topic, partition = self._place
        what = f"{topic}/{partition} to take a record"
        while True:
            try:
                leader = await self._cluster.leader(topic, partition)
                request = ProduceRequest(None, ALL_REPLICAS, self._append_ms, [(topic, [(partition, batch.data)])])
                [(_, _, code, base, _)] = acknowledged((await self._links.ask(leader, request)).topics)
            except LogBroken:
                raise
            except (Unsent, Unanswered, LogUnavailable):
                code, base = Code.NOT_LEADER_OR_FOLLOWER, 0
            if code == Code.NONE:
                return base
            if code in TOO_LARGE:
                raise RecordTooLarge(f"expected {what}, but the broker answers {name_of(code)}")
            if code not in ELSEWHERE | {Code.REQUEST_TIMED_OUT, Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND}:
                raise refusal(code, what)
            self._cluster.moved(topic)
            await self._clock.sleep_ms(_RETRY_MS)
