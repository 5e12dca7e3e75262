"""Does a store hold what its log makes of it? Row by row, and a name for every row that it does not."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from msgspec import Struct

from provider_log.audit.findings import Finding, Findings, Kind
from provider_log.store import keys
from provider_log.store.digest import StateDigest, state_digest
from provider_log.store.keys import Table
from provider_log.store.port import ReadView
from provider_log.store.rocks import StoreUnreadable
from provider_log.store.tables import (
    GENESIS,
    HEAD,
    ORDER,
    ElsewhereRow,
    ExecutionRow,
    GenesisRow,
    HeadRow,
    InboxRow,
    InstanceRow,
    KeyValueRow,
    PositionRow,
    SeenRow,
    TimerRow,
    WorkRow,
    unpack,
    unpack_number,
)

_SHOWN_MAX = 160

_NUMBERED = (
    *(keys.table_prefix(table) for table in (Table.INBOX, Table.TIMER, Table.WORK)),
    keys.named(Table.META, ORDER),
)

_ROW_OF: Mapping[Table, type[Struct]] = {
    Table.INSTANCE: InstanceRow,
    Table.EXECUTION: ExecutionRow,
    Table.INBOX: InboxRow,
    Table.TIMER: TimerRow,
    Table.WORK: WorkRow,
    Table.ELSEWHERE: ElsewhereRow,
    Table.SEEN: SeenRow,
    Table.POSITION: PositionRow,
    Table.KEY_VALUE: KeyValueRow,
    Table.KEY_CHANGE: KeyValueRow,
}
_META_ROW_OF: Mapping[bytes, type[Struct]] = {
    keys.named(Table.META, HEAD): HeadRow,
    keys.named(Table.META, GENESIS): GenesisRow,
}


class Comparison:
    """Compares one store with the rows it should have.

    Args:
        expected: Those rows.
        store: Opened for reading.
        partition: Whose store it is.
        findings: Where differences go.
        is_whole: Whether every record that made `expected` was there. If not, rows that are numbered by what came
            before them are left out: they all differ, and say nothing.
    """

    def __init__(
        self,
        expected: Mapping[bytes, bytes],
        store: ReadView,
        partition: int,
        findings: Findings,
        *,
        is_whole: bool,
    ) -> None:
        self._left_out = () if is_whole else _NUMBERED
        self._expected = expected
        self._keys = sorted(key for key in expected if not key.startswith(self._left_out))
        self._store = store
        self._partition = partition
        self._findings = findings
        self._digest = StateDigest()

    def run(self) -> None:
        """Report every row that differs, is missing, is too many or cannot be read."""
        total_before = self._findings.total
        after: bytes | None = None
        place = 0
        damages: list[tuple[bytes, str]] = []
        while True:
            place, after, damage = self._scan(place, after)
            if damage is None:
                break
            near = self._keys[place] if place < len(self._keys) else after or b""
            damages.append((near, damage))
            # The scan stops before the damage and cannot step over it; asking row by row can.
            while place < len(self._keys):
                after = self._keys[place]
                place += 1
                if self._ask(after):
                    break
            else:
                break
        while place < len(self._keys):
            self._missing(self._keys[place])
            place += 1
        if self._findings.total == total_before:
            for near, damage in damages:  # in what was overwritten or deleted: no row is lost, but the file is damaged
                self._found(Kind.ROW_UNREADABLE, near, f"expected to scan up to the row, but: {damage}")
        if self._findings.total == total_before:
            self._compare_digests()
            self._ask_all()

    def _scan(self, place: int, after: bytes | None) -> tuple[int, bytes | None, str | None]:
        """Compare from `after` on until the end or damage: the next expected row, the last key seen, the damage."""
        try:
            for key, value in self._store.scan(b"", after):
                while place < len(self._keys) and self._keys[place] < key:
                    self._ask(self._keys[place])
                    place += 1
                after = key
                if key.startswith(self._left_out):
                    continue
                self._digest.add(key, value)
                if place < len(self._keys) and self._keys[place] == key:
                    place += 1
                    self._same(key, value)
                else:
                    self._found(Kind.ROW_EXTRA, key, f"expected no such row, but there is {_shown(key, value)}")
        except StoreUnreadable as error:
            return place, after, str(error)
        return place, after, None

    def _ask(self, key: bytes) -> bool:
        """Compare one row by asking for it; whether it could be read."""
        try:
            value = self._store.get(key)
        except StoreUnreadable as error:
            self._found(Kind.ROW_UNREADABLE, key, f"expected to read the row, but: {error}")
            return False
        if value is None:
            self._missing(key)
        else:
            self._same(key, value)
        return True

    def _ask_all(self) -> None:
        """Ask for every row: a damaged filter hides rows from an owner that asks, and not from a scan."""
        for key in self._keys:
            self._ask(key)

    def _same(self, key: bytes, value: bytes) -> None:
        if value != self._expected[key]:
            self._found(Kind.ROW, key, _difference(key, self._expected[key], value))

    def _missing(self, key: bytes) -> None:
        self._found(Kind.ROW_MISSING, key, f"expected {_shown(key, self._expected[key])}, but there is no such row")

    def _found(self, kind: Kind, key: bytes, sentence: str) -> None:
        self._findings.add(
            Finding(
                kind=kind,
                where=table_name(key),
                partition=self._partition,
                offset=None,
                key=keys.describe(key),
                sentence=sentence,
            )
        )

    def _compare_digests(self) -> None:
        expected = state_digest((key, self._expected[key]) for key in self._keys)
        if self._digest.hex() != expected:
            self._found(Kind.DIGEST, b"", f"expected digest {expected}, but the store has {self._digest.hex()}")


def table_name(key: bytes) -> str:
    """The table that a row is in."""
    return next((table.name for table in Table if key[:1] == keys.table_prefix(table)), "unknown table")


def _row(key: bytes, value: bytes) -> Struct | None:
    kind = _META_ROW_OF.get(key) or next(
        (row for table, row in _ROW_OF.items() if key[:1] == keys.table_prefix(table)), None
    )
    try:
        return None if kind is None else unpack(kind, value)
    except msgspec.DecodeError:
        return None


def _shown(key: bytes, value: bytes) -> str:
    row = _row(key, value)
    if row is None and key[:1] == keys.table_prefix(Table.META):
        with contextlib.suppress(msgspec.DecodeError):
            return str(unpack_number(value))
    if row is None:
        return f"{len(value)} bytes ({hashlib.blake2b(value, digest_size=4).hexdigest()})"
    return _cut(repr(row))


def _difference(key: bytes, expected: bytes, found: bytes) -> str:
    """What differs, by field where the row has fields."""
    wanted, there = _row(key, expected), _row(key, found)
    if wanted is None or there is None:
        return f"expected {_shown(key, expected)}, but there are {_shown(key, found)}"
    names = [name for name in wanted.__struct_fields__ if getattr(wanted, name) != getattr(there, name)]
    return f"expected {_fields(wanted, names)}, but there is {_fields(there, names)}"


def _fields(row: Struct, names: Sequence[str]) -> str:
    return _cut(", ".join(f"{name} = {cast('object', getattr(row, name))!r}" for name in names))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
