"""Does each record of a history continue the ones before it? Tokens, batches, the hash chain, time: the checker's own.

Deliberately not `partition.head`, which says the same for owners: a mistake there must not hide itself here.
After a break the next record is believed about its place, so that one break is one finding.
"""

import hashlib

from provider_log import records as r
from provider_log.audit.findings import Kind, Place

APPLY_VERSIONS = frozenset({1})
_HASH_BYTES = 16


class Sequence:
    """Follows one history partition from its first record."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._tokens: set[bytes] = set()
        self._token: bytes | None = None
        self._batch = 0
        self._next_index = 0
        self._count = 0  # records in the batch that is under way; 0 between batches
        self._positions_known = True  # False after a break: the next record is believed
        self._chain_known = True  # False after a gap, whose bytes nobody can hash
        self._chain = bytes(_HASH_BYTES)
        self._proved = -1  # offset of the last record known to be the one that was hashed
        self._time_ms = 0
        self._last_offset = -1
        self.genesis: r.Genesis | None = None
        self.owners = 0
        self.void = 0

    @property
    def chain(self) -> bytes:
        """Hash over all valid records so far."""
        return self._chain

    @property
    def token(self) -> bytes | None:
        """Owner token of the nearest `OwnershipAcquired`."""
        return self._token

    @property
    def in_batch(self) -> bool:
        """Whether the batch under way lacks records."""
        return self._count > 0

    def gap(self, offset: int) -> None:
        """The record at `offset` cannot be read: what the next one says of its place is believed."""
        self._last_offset = offset
        self._chain_known = False
        self._positions_known = False
        self._count = 0

    def undecodable(self, offset: int, data: bytes) -> None:
        """A record that is no record; hashed all the same, for it may be one of a newer schema."""
        self._step(offset)
        self._chain = _hashed(self._chain, data)
        self._positions_known = False
        self._count = 0

    def follow(self, offset: int, record: r.AnyRecord, data: bytes) -> bool:
        """Examine the next record; whether it counts, which void ones do not."""
        self._step(offset)
        if isinstance(record, r.OwnershipAcquired):
            self._acquired(record)
        elif isinstance(record, r.Genesis):
            self._created(record)
        elif record.envelope.owner_token != self._token and not self._follows_lost_acquire(record.envelope):
            self._voided(record)
            return False
        else:
            self._continued(offset, record.envelope)
        self._chain = _hashed(self._chain, data)
        return True

    def finish(self) -> None:
        """The log ends here."""
        if self._count:
            self._found(
                Kind.BATCH,
                f"expected record {self._next_index} of the {self._count} of batch {self._batch}, but the log ends",
            )
        if self.genesis is None and self.owners:
            self._found(Kind.GENESIS, "expected a genesis record, but the partition has none")

    def _found(self, kind: Kind, sentence: str) -> None:
        self._place.found(kind, "", sentence)

    def _step(self, offset: int) -> None:
        if offset <= self._last_offset:
            self._found(Kind.BATCH, f"expected an offset after {self._last_offset}, but the record is at {offset}")
        self._last_offset = offset

    def _acquired(self, record: r.OwnershipAcquired) -> None:
        self._require_whole("ownership was acquired")
        if record.owner_token in self._tokens:
            self._found(Kind.BATCH, "expected an owner token of its own, but it was used before")
        self._tokens.add(record.owner_token)
        self._token = record.owner_token
        self._batch, self._count = 0, 0
        # An acquire record says where it stands, so batches are known again; what was lost before it shows in
        # the chain of the first record after it.
        self._positions_known = True
        self.owners += 1

    def _created(self, record: r.Genesis) -> None:
        self._require_whole("the partition was created")
        if self.genesis is not None:
            self._found(Kind.GENESIS, "expected one genesis record, but this is another")
            return
        self.genesis = record
        if record.partition != self._place.partition:
            self._found(
                Kind.GENESIS, f"expected partition {self._place.partition}, but it was created as {record.partition}"
            )

    def _require_whole(self, instead: str) -> None:
        if self._count:
            self._found(
                Kind.BATCH,
                f"expected record {self._next_index} of the {self._count} of batch {self._batch}, but {instead}",
            )

    def _follows_lost_acquire(self, envelope: r.Envelope) -> bool:
        """Whether the record that is missing right before may have been the acquire record of this one's owner."""
        if self._positions_known or envelope.owner_token in self._tokens:
            return False
        self._tokens.add(envelope.owner_token)
        self._token = envelope.owner_token
        self.owners += 1
        return True

    def _voided(self, record: r.EnvelopedRecord) -> None:
        self.void += 1
        envelope = record.envelope
        known = "an earlier owner" if envelope.owner_token in self._tokens else "nobody who acquired the partition"
        self._place.found(
            Kind.VOID,
            getattr(record, "instance", ""),
            f"expected a record of the newest owner, but {known} wrote {type(record).__name__} "
            f"(batch {envelope.batch}, node {envelope.node}): it is void",
        )

    def _continued(self, offset: int, envelope: r.Envelope) -> None:
        if envelope.apply_version not in APPLY_VERSIONS:
            self._found(
                Kind.VERSION, f"expected an apply version of {set(APPLY_VERSIONS)}, but it is {envelope.apply_version}"
            )
        self._check_place(envelope)
        if envelope.chain != self._chain and self._chain_known:
            since = "the first record" if self._proved < 0 else f"offset {self._proved + 1}"
            self._found(
                Kind.CHAIN,
                f"expected every record from {since} to offset {offset - 1} to be the one that was hashed, "
                f"but the chain says {self._chain.hex()} and this record {envelope.chain.hex()}",
            )
        self._chain, self._chain_known = envelope.chain, True
        self._proved = offset - 1
        if envelope.time_ms < self._time_ms:
            self._found(Kind.TIME, f"expected a time from {self._time_ms} on, but the record says {envelope.time_ms}")
        self._time_ms = max(self._time_ms, envelope.time_ms)
        if not envelope.last and (envelope.positions or envelope.deliveries):
            self._found(Kind.BATCH, "expected positions and deliveries on the last record of a batch only")

    def _check_place(self, envelope: r.Envelope) -> None:
        expected = (self._batch, self._next_index) if self._count else (self._batch + 1, 0)
        found = (envelope.batch, envelope.index)
        if self._positions_known and found != expected:
            self._found(
                Kind.BATCH,
                f"expected record {expected[1]} of batch {expected[0]}, "
                f"but it is record {found[1]} of batch {found[0]}",
            )
        elif self._count and envelope.count != self._count:
            self._found(Kind.BATCH, f"expected a batch of {self._count} records, but this one says {envelope.count}")
        is_last = envelope.index + 1 >= envelope.count
        if envelope.index >= envelope.count or envelope.last != is_last:
            self._found(
                Kind.BATCH,
                f"expected the last-record flag on the last record of its batch and nowhere else, but record "
                f"{envelope.index} of {envelope.count} has {envelope.last}",
            )
        self._positions_known = True
        self._batch, self._next_index = envelope.batch, envelope.index + 1
        self._count = 0 if is_last else envelope.count


def _hashed(chain: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(chain + data, digest_size=_HASH_BYTES).digest()
