"""Which topics does an application have, and what are their limits? protocol.md 1 as a table."""

from msgspec import Struct

from provider_log.log.port import Log, LogNotOpened, TopicSpec

INPUT_BYTES_MAX = 1024 * 1024  # Kafka's own default for a record: what any producer can send without settings
HISTORY_FACTOR = (
    4  # an input and its envelope, doubled, still fit one record: parking or refusing it never fails on size
)

OWNER_HEADER = "turnlog-owner"
"""Header of records an owner wrote itself; its value is the partition. The worker lane skips the owner's own."""

VISIBLE_HEADER = "turnlog-visible-at-ms"
"""Header of a message that shall not be delivered before an instant: ASCII milliseconds since 1970."""

HOP_HEADER = "turnlog-hop"
"""Header of a forwarded record; a second hop is a routing disagreement and goes to dead-letter."""

LETTER_HEADER = "turnlog-letter"
"""Header of a dead letter that was sent again: which one, `partition/offset`. What has no message id has this one."""


class Topics(Struct, frozen=True):
    """Names of an application's topics."""

    orchestrator: str
    messages: str
    worker: str
    history: str
    outcomes: str
    owners: str
    dead_letter: str

    @classmethod
    def of(cls, app: str) -> "Topics":
        """The names for application `app`."""
        return cls(
            orchestrator=f"{app}.orchestrator",
            messages=f"{app}.messages",
            worker=f"{app}.worker",
            history=f"{app}.history",
            outcomes=f"{app}.outcomes",
            owners=f"{app}.owners",
            dead_letter=f"{app}.dead-letter",
        )

    def specs(self, partitions: int) -> tuple[TopicSpec, ...]:
        """All topics as they must exist: one partition count for all, history and dead-letter with room."""
        large = INPUT_BYTES_MAX * HISTORY_FACTOR
        return (
            TopicSpec(name=self.orchestrator, partitions=partitions, record_bytes_max=INPUT_BYTES_MAX),
            TopicSpec(name=self.messages, partitions=partitions, record_bytes_max=large),
            TopicSpec(name=self.worker, partitions=partitions, record_bytes_max=large),
            TopicSpec(name=self.history, partitions=partitions, record_bytes_max=large),
            TopicSpec(name=self.outcomes, partitions=partitions, record_bytes_max=large, compacted=True),
            TopicSpec(name=self.owners, partitions=partitions, record_bytes_max=INPUT_BYTES_MAX, compacted=True),
            TopicSpec(name=self.dead_letter, partitions=partitions, record_bytes_max=large),
        )


async def partitions_found(log: Log, topics: Topics) -> int | None:
    """How many partitions the topics of an application have; None if it has none yet.

    Raises:
        LogNotOpened: One is missing where others hold records, or has another count than the rest.
    """
    counts = {spec.name: await log.partition_count(spec.name) for spec in topics.specs(1)}
    known = {name: count for name, count in counts.items() if count is not None}
    if len(known) < len(counts) and await _hold_records(log, known):
        # Asked for again: another node may have made them all, and begun, since they were first asked for.
        missing = [name for name in counts if await log.partition_count(name) is None]
        if missing:
            raise LogNotOpened(
                f"expected every topic of the application, but {', '.join(missing)} cannot be seen and others hold "
                "records: it was deleted, or this client may not describe it. Made anew it would be empty, so bring it "
                "back, or use another app"
            )
    found = known.get(topics.history, next(iter(known.values()), None))
    other = {name: count for name, count in known.items() if count != found}
    if other:
        raise LogNotOpened(
            f"expected {found} partitions in every topic of the application, but there are {other}: an instance would "
            "be looked for in two places. Their number is fixed: make the topic anew with as many, or use another app"
        )
    return found


async def _hold_records(log: Log, counts: dict[str, int]) -> bool:
    for name, count in counts.items():
        for partition in range(count):
            if (await log.bounds(name, partition)).end > 0:
                return True
    return False
