"""Which topics does an application have, and what are their limits? protocol.md 1 as a table."""

from msgspec import Struct

from provider_log.log.port import TopicSpec

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
