"""Which numbers may an operator set on a provider? Each with its unit and its reason."""

from msgspec import Struct

MIB = 1024 * 1024
SLOTS_ON_KAFKA = 2
"""How many of them are used there unless told otherwise: the second hides the time the markers of the first take."""

SLOTS = 4
"""Transactional ids of a partition. Part of the format: acquire fences all of them, however many are used."""


class LogProviderOptions(Struct, frozen=True, kw_only=True):
    """Numbers of a log provider.

    Attributes:
        slots_used: Transactions of a partition that may be in flight, 1 to `SLOTS`. On a log whose commit is one
            fsync a second one gains nothing; on Kafka it hides the time the markers take.
        turn_bytes_max: Encoded size of one turn. A larger one is refused, and the engine fails its instance: an
            endless list in a variable must not become an endless list in the log.
        batch_bytes_max: A batch that reaches it is closed; half of it bounds one record of a turn's parts.
        batch_records_max: Likewise. 512 turns take some 30 ms of processor time, ten times an fsync.
        inbox_bytes_max: Over it the partition stops reading its input lanes.
        input_window_max: Inputs of one lane that wait, and those consumed before an older one was; at so many the lane
            is not read further. Half of them consumed, the older one is parked: a position names them all.
        orphan_grace_ms: How long a queue message for an instance that does not exist waits for its start. A start that
            took another way (a wrong partition, a back-off) may come behind what was sent after it.
        input_age_max_ms: An input not consumed after this is parked, so that its lane's position can move.
        cut_every_ms: How often consumed input is deleted from the lanes' topics.
        flush_every_ms: How often the store is flushed: what a restart has to read of the changelog.
        start_timeout_ms: An open of a transactional id, or a restore without any progress, is given up after this.
        retry_ms_min, retry_ms_max: Back-off between attempts to acquire, doubled each time, with jitter.
        topic_tags: Activities with one of these tags are left to plain consumers of the worker topic, which answer on
            the orchestrator topic. No engine gets them. The same on every node.
        schema_registry: URL of a schema registry: input may then name its schema by an id there. None: it may not.
    """

    slots_used: int = 1
    turn_bytes_max: int = 16 * MIB
    batch_bytes_max: int = 2 * MIB
    batch_records_max: int = 512
    inbox_bytes_max: int = 64 * MIB
    input_window_max: int = 4096
    orphan_grace_ms: int = 60_000
    input_age_max_ms: int = 5_000
    cut_every_ms: int = 10_000
    flush_every_ms: int = 30_000
    start_timeout_ms: int = 30_000
    retry_ms_min: int = 50
    retry_ms_max: int = 5_000
    topic_tags: frozenset[str] = frozenset()
    schema_registry: str | None = None
