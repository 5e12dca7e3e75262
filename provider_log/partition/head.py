"""What must the next record of a history continue? The fold of tokens, batches and the hash chain.

The same fold runs at restore, where it refuses what does not continue, and live, where it says what to write.
"""

import hashlib

from msgspec import Struct
from msgspec.structs import replace

from provider_log import records as r
from provider_log.store.tables import HeadRow


class ChangelogBroken(Exception):
    """A record does not continue the ones before it: something was removed, inserted or damaged.

    Attributes:
        offset: Of the record that does not continue.
        tried: The nodes that acquired the partition since and came no further, the newest one included; empty if one
            of them did.
    """

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(f"history offset {offset}: {message}")
        self.offset = offset
        self.tried: frozenset[str] = frozenset()


class Followed(Struct, frozen=True):
    """The head after a record, and whether the record counts."""

    head: HeadRow
    void: bool


def chained(chain: bytes, data: bytes) -> bytes:
    """The chain after a record of bytes `data`."""
    return hashlib.blake2b(chain + data, digest_size=r.CHAIN_BYTES).digest()


def follow(head: HeadRow, offset: int, record: r.AnyRecord, data: bytes) -> Followed:
    """The head after the record at `offset`.

    A record of an owner that is not the newest one is void: it changes nothing but the count of void records.

    Raises:
        ChangelogBroken: A gap or a step back in batches, a torn batch, a broken chain, or time that goes back.
    """
    if isinstance(record, r.OwnershipAcquired):
        if head.index + 1 != head.count:
            raise ChangelogBroken(offset, f"expected the rest of batch {head.batch}, but ownership was acquired")
        return Followed(
            replace(
                head,
                offset=offset,
                chain=chained(head.chain, data),
                token=record.owner_token,
                batch=0,
                index=0,
                count=1,
                epoch=head.epoch + 1,
            ),
            void=False,
        )
    if isinstance(record, r.Genesis):
        return Followed(replace(head, offset=offset, chain=chained(head.chain, data)), void=False)
    envelope = record.envelope
    if envelope.owner_token != head.token:
        return Followed(replace(head, offset=offset, void=head.void + 1), void=True)
    _check(head, offset, envelope)
    return Followed(
        replace(
            head,
            offset=offset,
            chain=chained(head.chain, data),
            batch=envelope.batch,
            index=envelope.index,
            count=envelope.count,
            time_ms=envelope.time_ms,
        ),
        void=False,
    )


def _check(head: HeadRow, offset: int, envelope: r.Envelope) -> None:
    whole = head.index + 1 == head.count
    expected = (head.batch + 1, 0) if whole else (head.batch, head.index + 1)
    found = (envelope.batch, envelope.index)
    if found != expected:
        raise ChangelogBroken(
            offset,
            f"expected record {expected[1]} of batch {expected[0]}, but found record {found[1]} of batch {found[0]}",
        )
    if not whole and envelope.count != head.count:
        raise ChangelogBroken(offset, f"expected a batch of {head.count} records, but this one says {envelope.count}")
    if envelope.last != (envelope.index + 1 == envelope.count):
        raise ChangelogBroken(offset, "expected the last-record flag on the last record of its batch and nowhere else")
    if envelope.chain != head.chain:
        raise ChangelogBroken(
            offset, f"expected chain {head.chain.hex()}, but the record continues {envelope.chain.hex()}"
        )
    if envelope.time_ms < head.time_ms:
        raise ChangelogBroken(offset, f"expected a time from {head.time_ms} on, but the record says {envelope.time_ms}")
