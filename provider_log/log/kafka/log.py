"""What is a log on Apache Kafka? Brokers, and connections of their own for whoever would wait for others otherwise."""

from collections.abc import Mapping, Sequence

from engine.clock import Clock, SystemClock
from engine.errors import UsageError
from engine.runtime.doors import within
from provider_log.log.kafka.appender import Appender
from provider_log.log.kafka.cluster import Cluster
from provider_log.log.kafka.group import KafkaGroup
from provider_log.log.kafka.link import Address, Links
from provider_log.log.kafka.producer import KafkaProducer, take_transactional_id
from provider_log.log.kafka.reader import KafkaReader, transaction_that_begins_at
from provider_log.log.kafka.security import Credentials, credentials_of
from provider_log.log.kafka.topics import Topics, TopicState
from provider_log.log.port import (
    Bounds,
    LogBroken,
    LogNotOpened,
    LogRecord,
    LogUnavailable,
    OpenTransaction,
    TopicSpec,
)

TRANSACTION_TIMEOUT_MS = 10_000
ANSWER_MS = 10_000


class KafkaLog:
    """A log on the brokers of one cluster. Make one with `open`."""

    def __init__(
        self,
        cluster: Cluster,
        topics: Topics,
        links: Links,
        clock: Clock,
        credentials: Credentials,
        transaction_timeout_ms: int,
        answer_ms: int,
    ) -> None:
        self._cluster = cluster
        self._topics = topics
        self._links = links
        self._clock = clock
        self._credentials = credentials
        self._transaction_timeout_ms = transaction_timeout_ms
        self._answer_ms = answer_ms
        # A produce and a commit, each with this bound, and a margin for the way: less than the transaction has.
        self._commit_ms = transaction_timeout_ms * 2 // 5
        self._lent: set[Links] = set()
        self._appender = Appender(cluster, topics, self._new_links(), clock, answer_ms)
        self._closed = False

    @classmethod
    async def open(
        cls,
        bootstrap: str,
        *,
        clock: Clock | None = None,
        settings: Mapping[str, object] | None = None,
        transaction_timeout_ms: int = TRANSACTION_TIMEOUT_MS,
        answer_ms: int = ANSWER_MS,
        replication_factor: int | None = None,
    ) -> "KafkaLog":
        """Connect to a cluster.

        Args:
            bootstrap: One or more brokers, `host:port`, with commas between them.
            clock: Time of every bound.
            settings: How to be let in: `ClientSettings`, or the same as text alone.
            transaction_timeout_ms: After which the broker aborts an open transaction: how long the death of an owner
                may keep what lies behind it from others.
            answer_ms: How long to wait for one broker; of a transactional id, and of a partition's leader, for all.
            replication_factor: Of topics that are created; without it three, or as many as there are brokers.

        Raises:
            UsageError: `bootstrap` or `settings` are not such.
            LogNotOpened: A broker does not let us in; the text says what to mend.
            LogUnavailable: No broker answers; the text says what each of them did.
        """
        addresses = [_address(one) for one in bootstrap.split(",")]
        credentials = credentials_of(settings or {})
        clock = clock or SystemClock()
        links = Links(credentials, clock, answer_ms, lambda _: None)
        cluster = Cluster(addresses, links, clock)
        topics = Topics(cluster, links, clock, answer_ms, replication_factor)
        try:
            await cluster.look([])
        except BaseException as error:
            await links.close()
            if isinstance(error, LogBroken):
                raise LogNotOpened(str(error)) from error
            raise
        return cls(cluster, topics, links, clock, credentials, transaction_timeout_ms, answer_ms)

    @property
    def cluster_id(self) -> str:
        """The id the cluster was formatted with."""
        return self._cluster.cluster_id

    async def create_topics(self, topics: Sequence[TopicSpec]) -> None:
        self._check_open()
        await self._topics.create(topics)
        await self._topics.check_settings(topics)

    async def topic_states(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        """How those of the topics are set that exist.

        Raises:
            LogUnavailable: No broker answers.
        """
        self._check_open()
        return await self._topics.states(names)

    async def partition_count(self, topic: str) -> int | None:
        self._check_open()
        return await self._cluster.partition_count(topic)

    async def open_producer(self, transactional_id: str) -> KafkaProducer:
        self._check_open()
        links = self._new_links()
        taking = take_transactional_id(
            self._cluster, links, self._clock, transactional_id, self._transaction_timeout_ms
        )
        try:
            identity, coordinator = await within(self._clock, taking, self._answer_ms)
        except BaseException as error:
            await links.close()
            if isinstance(error, TimeoutError):
                raise LogUnavailable(
                    f"expected to take {transactional_id} within {self._answer_ms} ms, but got no answer"
                ) from error
            raise
        return KafkaProducer(
            transactional_id,
            identity,
            coordinator,
            cluster=self._cluster,
            topics=self._topics,
            links=links,
            clock=self._clock,
            commit_ms=self._commit_ms,
        )

    async def append(self, record: LogRecord) -> int:
        self._check_open()
        return await self._appender.append(record)

    async def open_reader(self, topic: str, partition: int, position: int) -> KafkaReader:
        self._check_open()
        await self._cluster.leader(topic, partition)
        return KafkaReader(
            topic, partition, position, cluster=self._cluster, links=self._new_links(), clock=self._clock
        )

    def group(self, name: str, topic: str, session_ms: int) -> KafkaGroup:
        """A member-to-be of the consumer group `name`, which is said to read `topic`."""
        self._check_open()
        return KafkaGroup(
            name, topic, cluster=self._cluster, links=self._new_links(), clock=self._clock, session_ms=session_ms
        )

    async def bounds(self, topic: str, partition: int) -> Bounds:
        self._check_open()
        return await self._topics.bounds(topic, partition)

    async def open_transaction(self, topic: str, partition: int) -> OpenTransaction | None:
        stable_end = (await self.bounds(topic, partition)).end
        return await self._cluster.at_leader(
            topic,
            partition,
            lambda leader: transaction_that_begins_at(self._links, leader, topic, partition, stable_end),
            self._answer_ms,
        )

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        self._check_open()
        await self._topics.delete_records(topic, partition, before)

    async def close(self) -> None:
        self._closed = True
        await self._appender.close()
        for links in [self._links, *self._lent]:
            await links.close()

    def _new_links(self) -> Links:
        """Connections of a producer's or a reader's own; `close` closes them too if their user does not."""
        links = Links(self._credentials, self._clock, self._answer_ms, self._lent.discard)
        self._lent.add(links)
        return links

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("expected an open log, but it was closed")


def _address(text: str) -> Address:
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"expected brokers as host:port with commas between them, but got {text!r}")
    return Address(host.strip("[]"), int(port))
