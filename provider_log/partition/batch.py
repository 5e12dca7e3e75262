"""What does one transaction carry? Records in order, what goes to other topics with them, and what a commit sets free.

An open batch collects; sealing gives each record its place, its chain and its bytes. All encoding happens here, before
a transaction is begun.
"""

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from provider_log import codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.partition.head import follow
from provider_log.store.tables import HeadRow

Effect = Callable[[], None]


class Batch(Struct, kw_only=True):
    """An open batch.

    Attributes:
        number: Within the owner's token, from 1.
        mutations: Rows of all its records, the latest of each.
        effects: Released after the commit, in order, and never otherwise.
        turns: Instances that have a turn in it.
        waiters: Whoever asked to know when it is durable.
        size_bytes: About what its records will encode to.
    """

    number: int
    waiters: list[asyncio.Future[None]] = []
    records: list[r.EnvelopedRecord] = []
    outgoing: list[LogRecord] = []
    mutations: dict[bytes, bytes | None] = {}
    effects: list[Effect] = []
    touched: set[str] = set()
    turns: list[str] = []
    size_bytes: int = 0

    def add(self, record: r.EnvelopedRecord, mutations: dict[bytes, bytes | None]) -> None:
        """The next record, and the rows it changes."""
        self.records.append(record)
        self.mutations.update(mutations)
        self.size_bytes += sum(map(len, filter(None, mutations.values())))

    def tell(self, error: Exception | None) -> None:
        """Let every waiter go on: it is durable, or nobody here will know whether it is."""
        for waiter in self.waiters:
            if waiter.done():
                continue  # it was cancelled
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
                waiter.exception()  # looked at: who asked and does not wait has nothing to be told


class Sealed(Struct, frozen=True, kw_only=True):
    """A batch as it goes into a transaction.

    Attributes:
        batch: What it was sealed from.
        log_records: The history records first, in order, then the others.
        head: The head after it, but for the offset, which only the commit tells.
    """

    batch: Batch
    log_records: tuple[LogRecord, ...]
    history_count: int
    head: HeadRow

    def head_at(self, offsets: Sequence[int]) -> HeadRow:
        """The head after the commit; `offsets` are those of `log_records`."""
        return replace(self.head, offset=offsets[self.history_count - 1])


def seal(
    batch: Batch,
    head: HeadRow,
    topic: str,
    partition: int,
    positions: Sequence[r.Position],
    deliveries: Sequence[r.Delivery],
) -> Sealed:
    """Encode the batch as what follows `head`. Positions and deliveries go on its last record.

    The same fold that checks a log at restore runs over what is written, so that nothing is ever written that a
    restore would refuse.
    """
    history: list[LogRecord] = []
    count = len(batch.records)
    for index, unsealed in enumerate(batch.records):
        is_last = index + 1 == count
        envelope = replace(
            unsealed.envelope,
            index=index,
            count=count,
            last=is_last,
            chain=head.chain,
            positions=tuple(positions) if is_last else (),
            deliveries=tuple(deliveries) if is_last else (),
        )
        record = replace(unsealed, envelope=envelope)
        data = codec.encode_record(record)
        followed = follow(head, head.offset, record, data)
        assert not followed.void, "a batch is sealed under the token it was opened with"
        head = followed.head
        key = None if isinstance(record, _PARTITION_RECORDS) else record.instance.encode()
        history.append(LogRecord(topic=topic, partition=partition, key=key, value=data))
    return Sealed(batch=batch, log_records=(*history, *batch.outgoing), history_count=count, head=head)


_PARTITION_RECORDS = (r.OwnershipReleased, r.SchemasAdded, r.StateRepaired, r.FeatureLevelRaised)
