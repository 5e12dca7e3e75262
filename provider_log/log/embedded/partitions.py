"""Which topics are there, and where does each of their partitions begin and end?"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from provider_log.log.embedded.database import Database, DatabaseDamaged
from provider_log.log.embedded.frame import OFFSET_MAX, OWN_PREFIX, Place, offset_of, unpack
from provider_log.log.port import LogRecord, RecordTooLarge, TopicSpec, UnknownTopic
from provider_log.log.wakeup import Wakeup

_TOPIC = OWN_PREFIX + b"t"
_FIRST = OWN_PREFIX + b"f"


class Partition:
    """One partition: `first` <= records that readers see < `end` <= offsets given but not yet durable < `taken`."""

    def __init__(self, topic: str, place: Place, first: int, end: int, timestamp_ms: int) -> None:
        self.topic = topic
        self.number = place.partition
        self.place = place
        self.first = first
        self.end = end
        self.taken = end
        self._timestamp_ms = timestamp_ms
        self._readers = Wakeup()

    def take_offset(self, now_ms: int) -> tuple[int, int]:
        """The next offset, and an append time that never goes back within the partition."""
        offset = self.taken
        self.taken = offset + 1
        self._timestamp_ms = max(self._timestamp_ms, now_ms)
        return offset, self._timestamp_ms

    def publish(self, end: int) -> None:
        """Let readers see what is before `end`."""
        self.end = end
        self.wake()

    def first_row(self) -> tuple[bytes, bytes]:
        """The row that remembers `first`."""
        return _FIRST + self.place.key(0), self.first.to_bytes(8, "big")

    def changed(self) -> asyncio.Future[None]:
        """Done at the next `wake`."""
        return self._readers.wait()

    def wake(self) -> None:
        """Let every waiting reader look again."""
        self._readers.signal()


class Partitions:
    """All topics of a log."""

    def __init__(self) -> None:
        self._specs: dict[str, TopicSpec] = {}
        self._partitions: dict[str, list[Partition]] = {}

    @classmethod
    def load(cls, database: Database, *, recorded_ends: Mapping[str, list[int]] | None = None) -> "Partitions":
        """Read topics, first offsets and ends.

        Args:
            database: Where they are.
            recorded_ends: For somebody who only looks: where a partition ends whose last record is damaged.

        Raises:
            DatabaseDamaged: Something of them cannot be read.
            msgspec.DecodeError: A topic's description cannot be read.
        """
        loaded = cls()
        firsts = {key: int.from_bytes(value, "big") for key, value in database.rows_under(_FIRST)}
        for key, value in database.rows_under(_TOPIC):
            spec = msgspec.msgpack.decode(value, type=TopicSpec)
            topic_id = int.from_bytes(key[len(_TOPIC) :], "big")
            loaded._specs[spec.name] = spec
            loaded._partitions[spec.name] = []
            for number in range(spec.partitions):
                place = Place(topic_id, number)
                first = firsts.get(_FIRST + place.key(0), 0)
                try:
                    partition = _load_partition(database, spec.name, place, first)
                except DatabaseDamaged:
                    recorded = None if recorded_ends is None else recorded_ends.get(spec.name)
                    if recorded is None:
                        raise
                    partition = Partition(spec.name, place, first, recorded[number], 0)
                loaded._partitions[spec.name].append(partition)
        return loaded

    def add(self, spec: TopicSpec) -> Iterable[tuple[bytes, bytes]]:
        """Know `spec` from now on; the rows that remember it, none if a topic of this name is known already."""
        if spec.name in self._specs:
            return []
        topic_id = len(self._specs) + 1  # topics are never removed; 0 is the log's own
        self._specs[spec.name] = spec
        self._partitions[spec.name] = [
            Partition(spec.name, Place(topic_id, number), 0, 0, 0) for number in range(spec.partitions)
        ]
        return [(_TOPIC + topic_id.to_bytes(4, "big"), msgspec.msgpack.encode(spec))]

    def count(self, topic: str) -> int | None:
        """Number of partitions; None if there is no such topic."""
        spec = self._specs.get(topic)
        return spec.partitions if spec else None

    def get(self, topic: str, partition: int) -> Partition:
        """The partition.

        Raises:
            UnknownTopic: There is none.
        """
        partitions = self._partitions.get(topic)
        if partitions is None:
            raise UnknownTopic(f"expected a topic that was created, but got {topic}")
        if not 0 <= partition < len(partitions):
            raise UnknownTopic(f"expected a partition of {topic} below {len(partitions)}, but got {partition}")
        return partitions[partition]

    def check(self, record: LogRecord) -> None:
        """Raise if the record does not fit.

        Raises:
            UnknownTopic, RecordTooLarge: Why.
        """
        self.get(record.topic, record.partition)
        most = self._specs[record.topic].record_bytes_max
        if (size := record.size_bytes) > most:
            raise RecordTooLarge(f"expected at most {most} bytes in a record of {record.topic}, but it has {size}")

    def ends(self) -> dict[str, list[int]]:
        """Where each partition ends once everything given an offset is durable."""
        return {topic: [each.taken for each in partitions] for topic, partitions in self._partitions.items()}

    def wake_all(self) -> None:
        """Let every waiting reader look again."""
        for partitions in self._partitions.values():
            for partition in partitions:
                partition.wake()


def _load_partition(database: Database, topic: str, place: Place, first: int) -> Partition:
    last = database.last_row(place.key(first), place.key(OFFSET_MAX))
    if last is None:
        return Partition(topic, place, first, first, 0)
    try:
        timestamp_ms = unpack(topic, place.partition, *last).timestamp_ms
    except ValueError as error:
        raise DatabaseDamaged(f"the last record of {topic}/{place.partition} is damaged: {error}") from error
    return Partition(topic, place, first, offset_of(last[0]) + 1, timestamp_ms)
