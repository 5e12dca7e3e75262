"""What does the holder of a transactional id send, and what does it know when an answer is missing?

Every request of a transaction is sent once. EndTxn above all: a copy that arrives late ends the *next* transaction of
the same epoch (KAFKA-17754), so whoever has no answer to it must open a new producer, which moves the epoch.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence

from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest

from engine.clock import Clock
from engine.errors import UsageError
from engine.runtime.doors import within
from provider_log.log.kafka.batches import SEQUENCES, Identity, RecordBatch, batches_of
from provider_log.log.kafka.cluster import Cluster
from provider_log.log.kafka.codes import (
    COORDINATOR_ELSEWHERE,
    ELSEWHERE,
    FENCED,
    TOO_LARGE,
    Code,
    name_of,
    refusal,
)
from provider_log.log.kafka.link import Address, Links, Unanswered, Unsent
from provider_log.log.kafka.topics import Topics
from provider_log.log.port import ClockDiffers, Doubtful, Fenced, LogRecord, LogUnavailable, RecordTooLarge

Place = tuple[str, int]
"""Topic and partition."""

ALL_REPLICAS = -1
_COMMIT = True
_TAKE_RETRY_MS = 10

# The markers of the transaction before are written in a millisecond or two, behind its answer.
_MARKERS_MS_MIN = 1
_MARKERS_MS_MAX = 16

_LEADER_MS = 10

CLOCK_MS_MAX = 5_000
"""How far this machine's clock may be from a broker's: times of a partition go on from owner to owner."""

BEGIN_MS = 1_000
"""Bound of a begin. Markers take some milliseconds; a coordinator that moves takes seconds."""


async def take_transactional_id(
    cluster: Cluster, links: Links, clock: Clock, transactional_id: str, transaction_timeout_ms: int
) -> tuple[Identity, Address]:
    """A new epoch of `transactional_id`, and its coordinator; until there is one, so bound it.

    The transaction that was open has ended when this returns: the coordinator answers CONCURRENT_TRANSACTIONS until its
    markers are written.

    Raises:
        LogBroken: It is refused, and will be.
        LogUnavailable: It is refused.
    """
    request = InitProducerIdRequest(transactional_id, transaction_timeout_ms)
    while True:
        try:
            coordinator = await cluster.coordinator(transactional_id)
            if coordinator is not None:
                answer = await links.ask(coordinator, request)
                if answer.error_code == Code.NONE:
                    return Identity(answer.producer_id, answer.producer_epoch), coordinator
                if answer.error_code not in COORDINATOR_ELSEWHERE | {Code.CONCURRENT_TRANSACTIONS}:
                    raise refusal(answer.error_code, f"to take {transactional_id}")
        except (Unsent, Unanswered):
            pass  # a second epoch instead of one does nobody harm
        await clock.sleep_ms(_TAKE_RETRY_MS)


class KafkaProducer:
    """Holds an epoch, and knows which partitions its open transaction has.

    Args:
        links: Its own connections.
        coordinator: The broker that decides its transactions.
        commit_ms: Bound of a produce, and of a commit; together less than the transaction's own time-out.
    """

    def __init__(
        self,
        transactional_id: str,
        identity: Identity,
        coordinator: Address,
        *,
        cluster: Cluster,
        topics: Topics,
        links: Links,
        clock: Clock,
        commit_ms: int,
    ) -> None:
        self._transactional_id = transactional_id
        self._identity = identity
        self._coordinator = coordinator
        self._cluster = cluster
        self._topics = topics
        self._links = links
        self._clock = clock
        self._commit_ms = commit_ms
        self._sequences: dict[Place, int] = {}
        self._places: set[Place] = set()
        self._offsets: list[int] = []
        self._finished = False
        self._fenced = False
        self._is_clock_known = False

    async def begin(self, places: Collection[Place]) -> None:
        self._begin_call()
        try:
            await within(self._clock, self._add([place for place in places if place not in self._places]), BEGIN_MS)
        except (Unsent, Unanswered) as error:
            raise LogUnavailable(f"nothing was produced: {error}") from error
        except TimeoutError as error:
            raise LogUnavailable(
                f"expected to begin a transaction of {self._transactional_id} within {BEGIN_MS} ms, but it took longer"
            ) from error
        self._finished = False

    async def produce(self, records: Sequence[LogRecord]) -> None:
        self._begin_call()
        try:
            offsets = await within(self._clock, self._produced(records), self._commit_ms)
        except (Unsent, Unanswered) as error:
            if isinstance(error, Unsent) and not self._places:
                raise LogUnavailable(f"nothing was sent: {error}") from error
            raise Doubtful(str(error)) from error
        except TimeoutError as error:
            raise Doubtful(f"expected to produce within {self._commit_ms} ms, but it took longer") from error
        self._offsets.extend(offsets)
        self._finished = False

    async def commit(self) -> Sequence[int]:
        self._begin_call()
        if self._places:
            try:
                answer = await within(
                    self._clock,
                    self._links.ask(self._coordinator, EndTxnRequest(self._transactional_id, *self._holder(), _COMMIT)),
                    self._commit_ms,
                )
            except Unsent as error:
                raise LogUnavailable(f"the commit was never asked for: {error}") from error
            except Unanswered as error:
                raise Doubtful(str(error)) from error
            except TimeoutError as error:
                raise Doubtful(f"expected an answer to EndTxn within {self._commit_ms} ms, but none came") from error
            self._check(answer.error_code, "to commit")
        offsets, self._offsets = self._offsets, []
        self._places.clear()
        self._finished = False
        return offsets

    async def close(self) -> None:
        self._finished = True
        await self._links.close()

    async def _produced(self, records: Sequence[LogRecord]) -> Sequence[int]:
        """Send records and return their offsets when every batch of them was acknowledged."""
        indexes: dict[Place, list[int]] = {}
        for index, record in enumerate(records):
            indexes.setdefault((record.topic, record.partition), []).append(index)
        parts = {place: [records[index] for index in of_place] for place, of_place in indexes.items()}
        # All are looked at before anything is sent.
        bytes_max = {place: await self._topics.check(part) for place, part in parts.items()}
        await self._add([place for place in parts if place not in self._places])
        queues = {place: self._batches(place, part, bytes_max[place]) for place, part in parts.items()}
        offsets = [0] * len(records)
        orders = {place: iter(of_place) for place, of_place in indexes.items()}
        while queues := {place: queue for place, queue in queues.items() if queue}:
            # A request takes one batch of a partition, so a large transaction goes in rounds.
            sent: dict[Address, dict[Place, RecordBatch]] = {}
            for place, queue in queues.items():
                sent.setdefault(await self._cluster.leader(*place), {})[place] = queue[0]
            bases = await self._sent(sent)
            for place, base in bases.items():
                for offset in range(base, base + queues[place].pop(0).count):
                    offsets[next(orders[place])] = offset
            if len(bases) < len(queues):
                await self._clock.sleep_ms(_LEADER_MS)
        return offsets

    async def _sent(self, batches: dict[Address, dict[Place, RecordBatch]]) -> dict[Place, int]:
        """Send to each leader its batches at once; the first offset of each that was taken.

        All have ended when this returns or raises: one that went on alone would use connections that are closed.
        """
        calls = (self._send(leader, of_leader) for leader, of_leader in batches.items())
        bases: dict[Place, int] = {}
        errors: list[BaseException] = []
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException):
                errors.append(answer)
            else:
                bases.update(answer)
        if errors:
            raise errors[0]
        return bases

    def _batches(self, place: Place, records: Sequence[LogRecord], bytes_max: int) -> list[RecordBatch]:
        sequence = self._sequences.get(place, 0)
        now_ms = self._clock.now_ms()
        batches = list(batches_of(records, bytes_max, self._identity, sequence, now_ms, is_transactional=True))
        self._sequences[place] = (sequence + len(records)) % SEQUENCES
        return batches

    async def _add(self, places: Sequence[Place]) -> None:
        """Make partitions part of the transaction; the first of them begin it."""
        if not places:
            return
        topics: dict[str, list[int]] = {}
        for topic, partition in places:
            topics.setdefault(topic, []).append(partition)
        request = AddPartitionsToTxnRequest(self._transactional_id, *self._holder(), list(topics.items()))
        wait_ms = _MARKERS_MS_MIN
        while True:
            answer = await self._links.ask(self._coordinator, request)
            codes = {code for _, partitions in answer.errors for _, code in partitions} - {Code.NONE}
            if codes != {Code.CONCURRENT_TRANSACTIONS}:
                break
            # The broker did nothing: the transaction before still has markers to write.
            await self._clock.sleep_ms(wait_ms)
            wait_ms = min(wait_ms * 2, _MARKERS_MS_MAX)
        if codes & COORDINATOR_ELSEWHERE:
            raise LogUnavailable(f"expected the coordinator of {self._transactional_id}, but it moves")
        for code in codes:
            self._check(code, "to begin a transaction")
        self._places.update(places)

    async def _send(self, leader: Address, batches: dict[Place, RecordBatch]) -> dict[Place, int]:
        """Send one batch of each partition; the first offset of each that was taken.

        What is missing was refused because this broker does not lead the partition, or never sent because it is gone.
        It may be sent again as it is: the broker that has it after all knows its sequence number. Who leads is
        forgotten then, and after a missing answer too: else a dead broker would be asked for ever.
        """
        topics: dict[str, list[tuple[int, bytes | bytearray]]] = {}
        for (topic, partition), batch in batches.items():
            topics.setdefault(topic, []).append((partition, batch.data))
        request = ProduceRequest(self._transactional_id, ALL_REPLICAS, self._commit_ms, list(topics.items()))
        asked_ms = self._clock.now_ms()
        try:
            answer = await self._links.ask(leader, request)
        except (Unsent, Unanswered) as error:
            for topic in topics:
                self._cluster.moved(topic)
            if isinstance(error, Unsent):
                return {}
            raise
        bases: dict[Place, int] = {}
        for topic, partition, code, base, appended_ms in acknowledged(answer.topics):
            if code in ELSEWHERE:
                self._cluster.moved(topic)
                continue
            if code in TOO_LARGE:
                raise RecordTooLarge(
                    f"expected {topic} to take a batch as large as when this began, but the broker answers "
                    f"{name_of(code)}. {await self._topics.how_to_take_as_much(topic)}"
                )
            self._check(code, f"{topic}/{partition} to take a batch")
            self._check_clock(asked_ms, appended_ms, leader)
            bases[topic, partition] = base
        return bases

    def _check_clock(self, asked_ms: int, appended_ms: int, broker: Address) -> None:
        """Compare clocks by the first answer; it may have waited for this process, so both ends of the wait count."""
        if self._is_clock_known or appended_ms < 0:  # the topic keeps the times of its producers
            return
        self._is_clock_known = True
        now_ms = self._clock.now_ms()
        earliest_ms, latest_ms = sorted((asked_ms, now_ms))
        ahead_ms = min(max(appended_ms, earliest_ms), latest_ms) - appended_ms
        if abs(ahead_ms) > CLOCK_MS_MAX:
            raise ClockDiffers(
                f"expected this machine's clock to be within {CLOCK_MS_MAX} ms of that of the broker at {broker.host}:"
                f"{broker.port}, but it is {abs(ahead_ms)} ms {'ahead' if ahead_ms > 0 else 'behind'}; set the clocks, "
                "by NTP for example, and start the node again"
            )

    def _holder(self) -> tuple[int, int]:
        return self._identity.producer_id, self._identity.epoch

    def _check(self, code: int, what: str) -> None:
        if code in FENCED:
            self._fenced = True
            raise Fenced(f"expected to hold {self._transactional_id}, but it was taken, or its transaction timed out")
        if code != Code.NONE:
            raise Doubtful(f"expected {what}, but the broker answers {name_of(code)} to {self._transactional_id}")

    def _begin_call(self) -> None:
        """Refuse if finished; and be finished until the call has succeeded, whatever else becomes of it."""
        if self._fenced:
            raise Fenced(f"expected to hold {self._transactional_id}, but this producer was fenced")
        if self._finished:
            raise UsageError(f"expected an open producer of {self._transactional_id}, but it is finished")
        self._finished = True


def acknowledged(
    topics: Sequence[tuple[str, Sequence[tuple[int, int, int, int, int]]]],
) -> Iterator[tuple[str, int, int, int, int]]:
    """Topic, partition, code, first offset and append time of each batch of a produce request's answer.

    The time is in milliseconds since 1970, -1 where the topic keeps the times of its producers.
    """
    for topic, partitions in topics:
        for partition, code, offset, appended_ms, _ in partitions:
            yield topic, partition, code, offset, appended_ms
