"""How is one partition read, committed records only, and what becomes of the position when nobody answers?"""

from collections.abc import Sequence

from aiokafka.protocol.fetch import FetchRequest

from engine.clock import Clock
from provider_log.log.kafka.batches import Fetched, transaction_at
from provider_log.log.kafka.cluster import Cluster, Elsewhere, check_leader
from provider_log.log.kafka.codes import Code
from provider_log.log.kafka.link import Address, Links, Unanswered, Unsent
from provider_log.log.port import LogBroken, LogUnavailable, OffsetOutOfRange, OpenTransaction, StoredRecord

_READ_UNCOMMITTED = 0
_READ_COMMITTED = 1
_WAIT_MS = 500
"""How long a broker is asked to wait for a record; the next question finds a leader that moved."""

_FETCH_BYTES = 4 * 1024 * 1024
_RETRY_MS = 50


async def transaction_that_begins_at(
    links: Links, leader: Address, topic: str, partition: int, offset: int
) -> OpenTransaction | None:
    """Whose records are at the last stable offset; None if nothing is there, or no transaction's."""
    request = FetchRequest(
        max_wait_time=0,
        min_bytes=0,
        max_bytes=1,  # one batch comes however large it is
        isolation_level=_READ_UNCOMMITTED,
        topics=[(topic, [(partition, offset, 1)])],
    )
    answer = await links.ask(leader, request)
    [(_, [(_, code, *_, data)])] = answer.topics
    check_leader(code, f"records of {topic}/{partition}")
    return transaction_at(data) if data else None


class KafkaReader:
    """Fetches for itself, over its own connection, since a question that waits keeps those behind it waiting.

    Args:
        links: Its own connections.
    """

    def __init__(
        self, topic: str, partition: int, position: int, *, cluster: Cluster, links: Links, clock: Clock
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._position = position
        self._cluster = cluster
        self._links = links
        self._clock = clock
        self._fetched: Fetched | None = None

    @property
    def position(self) -> int:
        """The offset that is looked at next; past what was aborted, and past markers."""
        return self._position

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
        deadline_ms = self._clock.boot_ms() + timeout_ms
        while True:
            if self._fetched is not None:
                records = self._fetched.take(records_max)
                self._position = self._fetched.position
                if records:
                    return records
                self._fetched = None
            # At least one question, however little time there is: what lies there already is not waited for.
            left_ms = max(0, deadline_ms - self._clock.boot_ms())
            failed: Exception | None = None
            try:
                self._fetched = await self._fetch(min(left_ms, _WAIT_MS))
            except LogBroken:
                raise
            except (Elsewhere, Unsent, Unanswered, LogUnavailable) as error:
                failed = error
                self._cluster.moved(self._topic)
                await self._clock.sleep_ms(min(left_ms, _RETRY_MS))
            if self._fetched is None and self._clock.boot_ms() >= deadline_ms:
                if failed is not None:
                    raise LogUnavailable(f"expected to read {self._topic}/{self._partition}, but: {failed}") from failed
                return ()

    async def close(self) -> None:
        await self._links.close()

    async def _fetch(self, wait_ms: int) -> Fetched | None:
        """Ask the leader once; None if nothing lies at the position."""
        leader = await self._cluster.leader(self._topic, self._partition)
        request = FetchRequest(
            max_wait_time=wait_ms,
            min_bytes=1,
            max_bytes=_FETCH_BYTES,
            isolation_level=_READ_COMMITTED,
            topics=[(self._topic, [(self._partition, self._position, _FETCH_BYTES)])],
        )
        answer = await self._links.ask(leader, request, longer_ms=wait_ms)
        if answer.error_code != Code.NONE:
            check_leader(answer.error_code, "a fetch")
        [(_, [(_, code, _, _, first, aborted, _, data)])] = answer.topics
        if code == Code.OFFSET_OUT_OF_RANGE:
            raise OffsetOutOfRange(
                f"expected a position of {self._topic}/{self._partition} between its first offset and its end, "
                f"but it is {self._position}, and the first is {first}"
            )
        check_leader(code, f"records of {self._topic}/{self._partition}")
        return Fetched(self._topic, self._partition, self._position, data, aborted or ()) if data else None
