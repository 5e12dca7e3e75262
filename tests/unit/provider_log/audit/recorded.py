"""Histories as lists, for tests that change them: read, forge, put back together, check."""

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from engine.model.events import AnyEvent
from provider_log import codec
from provider_log import records as r
from provider_log.audit.checker import Checker, Counts
from provider_log.audit.findings import Finding, Findings
from provider_log.log.embedded import LogSnapshot

TOPIC = "turnlog.history"


_decoded = functools.lru_cache(maxsize=4_096)(codec.decode_record)  # the same few records, over and over


class Written(NamedTuple):
    """A record of a history."""

    offset: int
    key: bytes | None
    data: bytes

    @property
    def record(self) -> Any:
        return _decoded(self.data)

    def saying(self, record: r.AnyRecord) -> "Written":
        return self._replace(data=codec.encode_record(record))


History = list[Written]


class Checked(NamedTuple):
    """What the checker says."""

    counts: Counts
    findings: list[Finding]

    @property
    def kinds(self) -> set[str]:
        return {finding.kind.value for finding in self.findings}


def read(data: Path, partition: int) -> History:
    """The history of one partition of a data directory."""
    log = LogSnapshot.open(data / "log")
    try:
        found: History = []
        for stored in log.read(TOPIC, partition, 0, log.bounds(TOPIC, partition).end):
            assert stored.value is not None
            found.append(Written(stored.offset, stored.key, stored.value))
        return found
    finally:
        log.close()


def check(history: Iterable[Written], partition: int) -> Checked:
    """Feed a history to a checker."""
    findings = Findings()
    checker = Checker(TOPIC, partition, findings)
    for written in history:
        checker.feed(written.offset, written.data, written.key)
    return Checked(checker.finish(), findings.kept)


def forged(history: Iterable[Written]) -> History:
    """The same records with the hash chain made to fit, so that only what they say can give a change away."""
    chain, token = bytes(16), b""
    made: History = []
    for written in history:
        record, covered = written.record, written
        if isinstance(record, r.OwnershipAcquired):
            token = record.owner_token
        elif not isinstance(record, r.Genesis) and record.envelope.owner_token == token:
            covered = written.saying(replace(record, envelope=replace(record.envelope, chain=chain)))
        made.append(covered)
        chain = hashlib.blake2b(chain + covered.data, digest_size=16).digest()
    return made


def renumbered(history: Iterable[Written]) -> History:
    """The same records at offsets without gaps."""
    return [written._replace(offset=offset) for offset, written in enumerate(history)]


def inserted(history: Sequence[Written], at: int, record: Any) -> History:
    """`record` as a batch of its own before the one that begins at `at`; later batches of its token move up."""
    before = history[at].record.envelope
    token = before.owner_token
    envelope = replace(before, index=0, count=1, last=True, positions=(), deliveries=())
    instance: str | None = getattr(record, "instance", None)
    new = Written(
        0, None if instance is None else instance.encode(), codec.encode_record(replace(record, envelope=envelope))
    )
    later: History = []
    for written in history[at:]:
        moved = written.record
        if not isinstance(moved, r.Genesis | r.OwnershipAcquired) and moved.envelope.owner_token == token:
            later.append(
                written.saying(replace(moved, envelope=replace(moved.envelope, batch=moved.envelope.batch + 1)))
            )
        else:
            later.append(written)
    return forged(renumbered([*history[:at], new, *later]))


def changed(history: Sequence[Written], at: int, **fields: Any) -> History:
    """The record at `at` with these fields, the chain made to fit."""
    record = history[at].record
    return forged([*history[:at], history[at].saying(replace(record, **fields)), *history[at + 1 :]])


def enveloped(history: Sequence[Written], at: int, **fields: Any) -> History:
    """The record at `at` with these fields of its envelope, the chain made to fit (unless it is one of them)."""
    record = history[at].record
    return changed(history, at, envelope=replace(record.envelope, **fields))


def events_of(record: r.TurnCommitted) -> list[AnyEvent]:
    """The events of a turn."""
    return [codec.decode_event(blob.data) for blob in record.events]


def with_events(history: Sequence[Written], at: int, events: Iterable[AnyEvent]) -> History:
    """The turn at `at` with these events instead of its own, the chain made to fit."""
    blobs = tuple(r.EventBlob(event.event_id, codec.encode_event(event)) for event in events)
    return changed(history, at, events=blobs)


def places(history: Sequence[Written], kind: Any, wanted: Callable[[Any], object]) -> list[int]:
    """Where records of `kind` (a class, or a tuple of them) are for which `wanted` is true."""
    return [at for at, written in enumerate(history) if isinstance(written.record, kind) and wanted(written.record)]
