"""How does a new owner learn the state? It reads the changelog until it meets its own `OwnershipAcquired`.

No end offsets and no marker arithmetic: read-committed order puts everything an older owner could still have
committed before the new owner's record.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from engine.clock import Clock
from engine.observe import known_marks, logger, mark
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import Log, OffsetOutOfRange, StoredRecord
from provider_log.partition.head import ChangelogBroken, chained, follow
from provider_log.store import keys
from provider_log.store.apply import VERSION, Rows, apply_body, apply_envelope
from provider_log.store.keys import Table
from provider_log.store.overlay import Overlay
from provider_log.store.port import Store
from provider_log.store.tables import GENESIS, HEAD, GenesisRow, HeadRow, pack, unpack

log = logger("restore")
known_marks("restore.wiped")

_RECORDS_AT_ONCE = 1000
_UPGRADE = "upgrade this node to the version that wrote it, or a newer one"
_HEAD_KEY = keys.named(Table.META, HEAD)

Progress = Callable[[int, int], None]
"""Called with the offset reached and the offset to reach."""


class Restored(Struct, frozen=True):
    """Where the log stands, and whether the owner before said goodbye; true as well if there was none."""

    head: HeadRow
    is_clean: bool


class RestoreStalled(Exception):
    """The own acquire record does not become readable: another producer's transaction is open before it."""


def head_of(store: Store) -> HeadRow:
    """The head the store stands at; that of an empty log for a new store."""
    data = store.get(_HEAD_KEY)
    return HeadRow() if data is None else unpack(HeadRow, data)


def put_head(head: HeadRow) -> dict[bytes, bytes | None]:
    """The row that goes into every write of the store."""
    return {_HEAD_KEY: pack(head)}


class Restore:
    """Brings one partition's store to the end of what the log says."""

    def __init__(self, log: Log, topic: str, partition: int, store: Store, clock: Clock, stall_ms: int) -> None:
        self._log = log
        self._topic = topic
        self._partition = partition
        self._store = store
        self._clock = clock
        self._stall_ms = stall_ms
        self._last: r.AnyRecord | None = None  # of those that count, the own acquire record left out

    async def until(self, owner_token: bytes, progress: Progress | None) -> Restored:
        """Apply everything up to and including the `OwnershipAcquired` with this token.

        Returns:
            The head at that record, where the store stands then.

        Raises:
            ChangelogBroken: A record does not continue the ones before it, or cannot be decoded; none is skipped.
            RestoreStalled: Nothing more became readable for `stall_ms` of the clock.
        """
        head = await self._checked_head()
        bounds = await self._log.bounds(self._topic, self._partition)
        if head.offset + 1 < bounds.first:
            raise ChangelogBroken(
                head.offset + 1, f"expected the history to be kept for ever, but it begins at {bounds.first}"
            )
        try:
            return await self._read_on(head, bounds.end, owner_token, progress)
        except ChangelogBroken as error:
            error.tried = await self._tried_after(error.offset, owner_token)
            raise

    async def _read_on(self, head: HeadRow, end: int, owner_token: bytes, progress: Progress | None) -> Restored:
        reader = await self._log.open_reader(self._topic, self._partition, head.offset + 1)
        waited_since_ms = self._clock.boot_ms()
        try:
            while True:
                stored = await reader.read(_RECORDS_AT_ONCE, timeout_ms=self._stall_ms)
                if not stored and self._clock.boot_ms() - waited_since_ms >= self._stall_ms:
                    held = await self._log.open_transaction(self._topic, self._partition)
                    raise RestoreStalled(
                        f"expected {self._topic}/{self._partition} to show this owner's acquire record, but nothing "
                        f"after offset {head.offset} became readable for {self._stall_ms} ms: "
                        + (
                            "no open transaction is before it"
                            if held is None
                            else f"{held.producer} has a transaction open before it"
                        )
                    )
                if stored:
                    waited_since_ms = self._clock.boot_ms()
                    head, met = self._apply(head, stored, owner_token)
                    if progress is not None:
                        progress(head.offset, max(head.offset, end - 1))
                    if met:
                        last = self._last
                        return Restored(head, is_clean=last is None or isinstance(last, r.OwnershipReleased))
        finally:
            await reader.close()

    async def _tried_after(self, offset: int, owner_token: bytes) -> frozenset[str]:
        """The nodes that acquired since a record that is not to be had; none if one of them came further.

        One that wrote what this node has no schema of did: it is of a newer version.
        """
        nodes: dict[bytes, str] = {}
        reader = await self._log.open_reader(self._topic, self._partition, offset)
        try:
            while owner_token not in nodes:
                stored = await reader.read(_RECORDS_AT_ONCE, timeout_ms=self._stall_ms)
                for one in stored:
                    try:
                        record = codec.decode_record(one.value or b"")
                    except codec.UnknownSchema:
                        if nodes:
                            return frozenset()
                    except codec.Malformed:
                        continue
                    else:
                        if isinstance(record, r.OwnershipAcquired):
                            nodes[record.owner_token] = record.node
                        elif not isinstance(record, r.Genesis) and record.envelope.owner_token in nodes:
                            return frozenset()
                if not stored:
                    break  # another's transaction is open before the own record; what is known is enough
        finally:
            await reader.close()
        return frozenset(nodes.values())

    async def _checked_head(self) -> HeadRow:
        """The store's head, if the log still has the record it stands at; else the store is wiped.

        Offsets alone prove nothing: a topic that was made anew, or lost its tail, grows past them again.
        """
        head = head_of(self._store)
        if head.offset < 0:
            return head
        try:
            reader = await self._log.open_reader(self._topic, self._partition, head.offset)
            try:
                stored = await reader.read(1, timeout_ms=0)
            finally:
                await reader.close()
        except OffsetOutOfRange:
            stored = ()
        if stored and stored[0].offset == head.offset and self._is_same(head, stored[0]):
            return head
        self._last = None
        mark("restore.wiped")
        log.warning(
            "expected a store of %s/%d that stands in this log, but it does not: it is made again from the log",
            self._topic,
            self._partition,
        )
        self._store.wipe()
        return HeadRow()

    def _is_same(self, head: HeadRow, stored: StoredRecord) -> bool:
        try:
            record = codec.decode_record(stored.value or b"")
        except codec.Malformed:
            return False
        self._last = record
        if isinstance(record, r.Genesis):
            row = self._store.get(keys.named(Table.META, GENESIS))
            if row is None:
                return False
            genesis = unpack(GenesisRow, row)
            return (genesis.application_id, genesis.partition) == (record.application_id, record.partition)
        if isinstance(record, r.OwnershipAcquired):
            return record.owner_token == head.token
        # A void record is in no chain, so it proves nothing, and the store is built again.
        return (
            record.envelope.owner_token == head.token
            and chained(record.envelope.chain, stored.value or b"") == head.chain
        )

    def _apply(self, head: HeadRow, stored: Sequence[StoredRecord], owner_token: bytes) -> tuple[HeadRow, bool]:
        """Apply records in order in one store write, stopping after the own acquire record."""
        overlay = Overlay(self._store)
        changed: dict[bytes, bytes | None] = {}
        met = False
        for one in stored:
            if one.value is None:
                raise ChangelogBroken(one.offset, "expected a record, but its value is empty")
            record = _decoded(one.offset, one.value)
            followed = follow(head, one.offset, record, one.value)
            head = followed.head
            if not followed.void:
                rows = Rows(overlay, self._partition)
                apply_body(rows, record)
                if not isinstance(record, r.Genesis | r.OwnershipAcquired):
                    apply_envelope(rows, record.envelope)
                overlay.put(rows.changed, batch=0)
                changed.update(rows.changed)
            if isinstance(record, r.OwnershipAcquired) and record.owner_token == owner_token:
                met = True
                break
            if not followed.void:
                self._last = record
        self._store.write(changed | put_head(replace(head)))
        return head, met


def _decoded(offset: int, data: bytes) -> r.AnyRecord:
    """The record, if this code may apply it."""
    try:
        record = codec.decode_record(data)
    except codec.UnknownSchema as error:
        raise ChangelogBroken(offset, f"{error}; {_UPGRADE}") from error
    except codec.Malformed as error:
        raise ChangelogBroken(offset, str(error)) from error
    if not isinstance(record, r.Genesis | r.OwnershipAcquired) and record.envelope.apply_version > VERSION:
        found = record.envelope.apply_version
        raise ChangelogBroken(offset, f"expected an apply version up to {VERSION}, but it is {found}; {_UPGRADE}")
    return record
