"""Which partition does an instance live in? The same answer as any Kafka producer's default partitioner.

Routing key = instance id up to the first `::sub::`, so that automatic children live with their root: a tree is one
partition, and messages between parent and child need no topic.
"""

import functools
from collections.abc import Collection

from engine.model.ids import CHILD_MARK
from engine.model.turn import ActivityRef
from engine.model.work import WorkItem

RULE = "murmur2/root"
"""Name of this rule in the genesis record; an application keeps the rule it was created with."""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's variant of MurmurHash2 (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned 32-bit number."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length != whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def root_of(instance: str) -> str:
    """The routing key of an instance id."""
    return instance.partition(CHILD_MARK)[0]


@functools.lru_cache(maxsize=65_536)
def partition_of_root(root: str, partitions: int) -> int:
    """The partition of a routing key. Cached: the hash costs 5 µs in Python and every message asks for it."""
    return (murmur2(root.encode()) & 0x7FFFFFFF) % partitions


def partition_of(instance: str, partitions: int) -> int:
    """The partition an instance lives in, 0 <= result < `partitions`."""
    return 0 if partitions == 1 else partition_of_root(root_of(instance), partitions)


def partition_of_work(item: WorkItem | ActivityRef, partitions: int, topic_tags: Collection[str]) -> int:
    """The partition in whose worker queue an item waits: that of its session, or of its instance if it has none.

    What others serve from the worker topic, because its tag is one of `topic_tags`, stays with its instance: they
    answer there, and who gets it is for their consumer group to say.
    """
    if item.session_id is None or item.tag in topic_tags:
        return partition_of(item.instance, partitions)
    return partition_of(item.session_id, partitions)
