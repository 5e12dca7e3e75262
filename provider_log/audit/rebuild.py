"""What state does a history make? The fold of a restore, in memory, one record at a time.

This is the software's own `apply`: what it makes of the log is what a store must equal. Whether the log itself can
have happened is the checker's question.
"""

import contextlib

import msgspec
from msgspec.structs import replace

from provider_log import codec
from provider_log import records as r
from provider_log.answers import PartitionDigest
from provider_log.partition.head import ChangelogBroken, chained, follow
from provider_log.partition.restore import put_head
from provider_log.store.apply import apply
from provider_log.store.digest import state_digest
from provider_log.store.memory import DictStore
from provider_log.store.tables import HeadRow


class Rebuild:
    """The state of one partition after the records fed so far.

    A restore stops where the log is broken. This goes on with what is left, because the rows that come out different
    then are the ones that the missing record made.
    """

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self.state = DictStore()
        self.head = HeadRow()

    @property
    def offset(self) -> int:
        """Of the last record applied, -1 before the first."""
        return self.head.offset

    def gap(self, offset: int) -> None:
        """The record at `offset` cannot be read."""
        self._advance(replace(self.head, offset=offset))

    def feed(self, offset: int, data: bytes | None) -> None:
        """Apply the next record, if it is one and is not void."""
        try:
            record = codec.decode_record(data or b"")
        except (codec.Malformed, codec.UnknownSchema):
            self.gap(offset)
            return
        head, void = self._follow(offset, record, data or b"")
        if not void:
            # An apply version, or a repaired row, that nobody knows: the checker and the comparison say so.
            with contextlib.suppress(KeyError, msgspec.DecodeError):
                self.state.write(apply(self.state, record, self._partition))
        self._advance(head)

    def digest(self) -> PartitionDigest:
        """What an owner would say that stands here."""
        rows = self.state.rows
        return PartitionDigest(
            partition=self._partition,
            offset=self.head.offset,
            chain=self.head.chain.hex(),
            digest=state_digest((key, rows[key]) for key in sorted(rows)),
            rows=len(rows),
            epoch=self.head.epoch,
        )

    def _follow(self, offset: int, record: r.AnyRecord, data: bytes) -> tuple[HeadRow, bool]:
        try:
            followed = follow(self.head, offset, record, data)
        except ChangelogBroken:
            return self._believe(offset, record, data), False
        return followed.head, followed.void

    def _believe(self, offset: int, record: r.AnyRecord, data: bytes) -> HeadRow:
        """The head after a record that does not continue the ones before it, by what it says of itself."""
        if isinstance(record, r.Genesis | r.OwnershipAcquired):
            whole = replace(self.head, index=0, count=1)
            return follow(whole, offset, record, data).head
        envelope = record.envelope
        return replace(
            self.head,
            offset=offset,
            chain=chained(envelope.chain, data),
            batch=envelope.batch,
            index=envelope.index,
            count=envelope.count,
            time_ms=max(self.head.time_ms, envelope.time_ms),
        )

    def _advance(self, head: HeadRow) -> None:
        self.head = head
        self.state.write(put_head(head))
