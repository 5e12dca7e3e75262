"""How must a topic be set, which record does it take, and what is kept of it?"""

from collections.abc import Callable, Mapping, Sequence

from aiokafka.protocol.admin import CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest
from aiokafka.protocol.offset import OffsetRequest
from msgspec import Struct

from engine.clock import Clock
from engine.runtime.doors import within
from provider_log.log.kafka.cluster import Cluster, check_leader
from provider_log.log.kafka.codes import Code, name_of, refusal
from provider_log.log.kafka.link import Address, Links
from provider_log.log.port import (
    Bounds,
    LogNotOpened,
    LogRecord,
    LogUnavailable,
    OffsetOutOfRange,
    RecordTooLarge,
    TopicSpec,
    UnknownTopic,
)

BATCH_BYTES = 4096
"""What a batch of one record needs beside key, value and headers; Kafka bounds the batch, the port the record."""

BATCH_BYTES_MAX = "max.message.bytes"

_TOPIC = 2  # the kind of resource whose settings are asked for
_READ_COMMITTED = 1
_FIRST, _END = -2, -1
_APPEAR_MS = 20
_NEW_ANSWERS = 6  # as many waits as for one answer: a busy broker made 56 new partitions in more than ten seconds
_REPLICAS = 3
_UNFITTING = frozenset({Code.INVALID_REPLICATION_FACTOR, Code.POLICY_VIOLATION})
"""The cluster has no room for a topic like that; with another factor it may."""


class Rule(Struct, frozen=True):
    """One setting of a topic: what a new one gets, which others will do, and why not the rest."""

    setting: str
    value: Callable[[TopicSpec, int], str]
    holds: Callable[[str, TopicSpec, int], bool]
    why: str


RULES = (
    Rule(
        "message.timestamp.type",
        lambda _spec, _replicas: "LogAppendTime",
        lambda found, _spec, _replicas: found == "LogAppendTime",
        "a record with an old time of its own would be deleted unread",
    ),
    Rule(
        "cleanup.policy",
        lambda spec, _: "compact" if spec.compacted else "delete",
        lambda found, spec, _: found == "delete" or (spec.compacted and found == "compact"),
        "compaction would remove records that are read by their place",
    ),
    Rule(
        "retention.ms",
        lambda _spec, _replicas: "-1",
        lambda found, _spec, _replicas: found == "-1",
        "what nobody has read yet would be deleted",
    ),
    Rule(
        "retention.bytes",
        lambda _spec, _replicas: "-1",
        lambda found, _spec, _replicas: found == "-1",
        "what nobody has read yet would be deleted",
    ),
    Rule(
        "min.insync.replicas",
        lambda _, replicas: str(min(2, replicas)),
        lambda found, _, replicas: int(found) >= min(2, replicas),
        "what one broker alone has acknowledged is lost with it",
    ),
    Rule(
        "unclean.leader.election.enable",
        lambda _spec, _replicas: "false",
        lambda found, _spec, _replicas: found == "false",
        "a broker that missed records would lead, and they would be gone",
    ),
    Rule(
        BATCH_BYTES_MAX,
        lambda spec, _: str(spec.record_bytes_max + BATCH_BYTES),
        lambda found, spec, _: int(found) >= spec.record_bytes_max + BATCH_BYTES,
        "the largest records would be refused when they are written",
    ),
)


class TopicState(Struct, frozen=True, kw_only=True):
    """How a topic is set, as far as there are rules for it; `replicas` is what the worst of its partitions has."""

    partitions: int
    replicas: int
    settings: Mapping[str, str]


class Unfit(Struct, frozen=True, kw_only=True):
    """A setting that does not keep what a log keeps, and the command that mends it."""

    topic: str
    setting: str
    expected: str
    found: str
    why: str
    mend: str

    def __str__(self) -> str:
        return (
            f"expected topic {self.topic} with {self.setting}={self.expected}, but it is {self.found}: {self.why}. "
            f"Mend it with {self.mend}"
        )


def unfit(spec: TopicSpec, state: TopicState) -> list[Unfit]:
    """The settings of a topic that break a rule."""
    return [
        Unfit(
            topic=spec.name,
            setting=rule.setting,
            expected=expected,
            found=found,
            why=rule.why,
            mend=f"kafka-configs.sh --alter --entity-type topics --entity-name {spec.name} "
            f"--add-config {rule.setting}={expected}",
        )
        for rule in RULES
        for found in [state.settings[rule.setting]]
        if not rule.holds(found, spec, state.replicas)
        for expected in [rule.value(spec, state.replicas)]
    ]


class Topics:
    """The topics of a log, as far as they were looked at.

    Args:
        links: The connections for questions that may be asked again.
        answer_ms: How long a call may take.
        replication_factor: Of new topics; None for three, or as many as there are brokers.
    """

    def __init__(
        self, cluster: Cluster, links: Links, clock: Clock, answer_ms: int, replication_factor: int | None
    ) -> None:
        self._cluster = cluster
        self._links = links
        self._clock = clock
        self._answer_ms = answer_ms
        self._replication_factor = replication_factor
        self._batch_bytes_max: dict[str, int] = {}

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create those that do not exist, and return when every partition has a leader that answers."""
        absent = [spec for spec in specs if await self._cluster.partition_count(spec.name) is None]
        if not absent:
            return
        replicas = self._replication_factor or min(_REPLICAS, self._cluster.size)
        anywhere: list[tuple[int, list[int]]] = []
        wanted = [
            (
                spec.name,
                spec.partitions,
                replicas,
                anywhere,
                [(rule.setting, rule.value(spec, replicas)) for rule in RULES],
            )
            for spec in absent
        ]
        answer = await self._cluster.ask_any(CreateTopicsRequest(wanted, self._answer_ms, validate_only=False))
        for topic, code, message in answer.topic_errors:
            if code in _UNFITTING:
                raise LogNotOpened(f"expected to create topic {topic}, but: {message or name_of(code)}")
            if code not in {Code.NONE, Code.TOPIC_ALREADY_EXISTS}:
                raise LogUnavailable(f"expected to create topic {topic}, but: {message or name_of(code)}")
        try:
            await within(self._clock, self._appeared(absent), _NEW_ANSWERS * self._answer_ms)
        except TimeoutError as error:
            raise LogUnavailable(
                f"expected leaders of new topics within {_NEW_ANSWERS * self._answer_ms} ms, but not all are"
            ) from error

    async def _appeared(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            while await self._cluster.partition_count(spec.name) is None:
                await self._clock.sleep_ms(_APPEAR_MS)
            for partition in range(spec.partitions):  # brokers name a leader before it knows that it is one
                await self._offset(spec.name, partition, _FIRST)

    async def check_settings(self, specs: Sequence[TopicSpec]) -> None:
        """Refuse topics whose settings do not keep what a log keeps.

        Raises:
            LogNotOpened: The text names the topic, what is wrong, why, and the command that mends it.
        """
        states = await self.states([spec.name for spec in specs])
        problems = [str(one) for spec in specs for one in unfit(spec, states[spec.name])]
        if problems:
            raise LogNotOpened("; ".join(problems))

    async def states(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        """Those of the topics that exist, in the order of their names here."""
        there = {
            topic: partitions
            for code, topic, _, partitions in (await self._cluster.look([*names])).topics
            if code == Code.NONE
        }
        settings = await self._settings([*there])
        return {
            topic: TopicState(
                partitions=len(partitions),
                replicas=min((len(partition[3]) for partition in partitions), default=1),
                settings=settings[topic],
            )
            for topic in names
            if (partitions := there.get(topic)) is not None
        }

    async def batch_bytes_max(self, topic: str) -> int:
        """How large a batch of this topic may be."""
        if topic not in self._batch_bytes_max:
            settings = await self._settings([topic])
            self._batch_bytes_max[topic] = int(settings[topic][BATCH_BYTES_MAX])
        return self._batch_bytes_max[topic]

    async def how_to_take_as_much(self, topic: str) -> str:
        """What to do when a topic takes less than it did when it was first looked at."""
        return _mend(topic, BATCH_BYTES_MAX, str(await self.batch_bytes_max(topic)))

    async def check(self, records: Sequence[LogRecord]) -> int:
        """Refuse records of one place if it does not exist or does not take one; how large a batch may be there.

        Raises:
            UnknownTopic: There is no such topic or partition.
            RecordTooLarge: The topic does not take it.
        """
        topic, partition = records[0].topic, records[0].partition
        await self._cluster.leader(topic, partition)
        batch_bytes_max = await self.batch_bytes_max(topic)
        if (size := max(record.size_bytes for record in records)) > batch_bytes_max - BATCH_BYTES:
            raise RecordTooLarge(
                f"expected at most {batch_bytes_max - BATCH_BYTES} bytes in a record of {topic}, but it has {size}"
            )
        return batch_bytes_max

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """The first offset kept, and the last stable offset."""
        first = await self._offset(topic, partition, _FIRST)
        return Bounds(first, max(first, await self._offset(topic, partition, _END)))

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Cut away what lies below `before`."""

        async def ask(leader: Address) -> None:
            request = DeleteRecordsRequest([(topic, [(partition, before)])], self._answer_ms)
            answer = await self._links.ask(leader, request, longer_ms=self._answer_ms)
            [(_, [(_, _, code, _)], _)] = answer.topics
            if code == Code.OFFSET_OUT_OF_RANGE:
                raise OffsetOutOfRange(f"expected to cut {topic}/{partition} up to its end at most, but got {before}")
            check_leader(code, f"to cut {topic}/{partition}")

        await self._cluster.at_leader(topic, partition, ask, self._answer_ms)

    async def _offset(self, topic: str, partition: int, which: int) -> int:
        async def ask(leader: Address) -> int:
            request = OffsetRequest(-1, _READ_COMMITTED, [(topic, [(partition, which)])])
            answer = await self._links.ask(leader, request)
            [(_, [(_, code, _, offset)])] = answer.topics
            check_leader(code, f"an offset of {topic}/{partition}")
            return offset

        return await self._cluster.at_leader(topic, partition, ask, self._answer_ms)

    async def _settings(self, topics: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        if not topics:
            return {}
        names = [*(rule.setting for rule in RULES)]
        answer = await self._cluster.ask_any(DescribeConfigsRequest([(_TOPIC, topic, names) for topic in topics]))
        found: dict[str, Mapping[str, str]] = {}
        for code, _, _, topic, entries in answer.resources:
            if code == Code.UNKNOWN_TOPIC_OR_PARTITION:
                raise UnknownTopic(f"expected a topic that was created, but got {topic}")
            if code != Code.NONE:
                raise refusal(code, f"the settings of topic {topic}")
            found[topic] = {name: value for name, value, _, _, _, _ in entries}
        return found


def _mend(topic: str, setting: str, value: str) -> str:
    """The command that gives a topic the setting it must have."""
    return (
        f"Mend it with kafka-configs.sh --alter --entity-type topics --entity-name {topic} "
        f"--add-config {setting}={value}"
    )
