"""Is a data directory what its log says? Every history checked, every state rebuilt, every store compared.

Everything is opened read-only: a node may run in the directory meanwhile, and nothing changes by looking.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from engine.clock import SystemClock
from engine.errors import UsageError
from engine.runtime.doors import Threads
from provider_log.audit.checker import Checker
from provider_log.audit.compare import Comparison, table_name
from provider_log.audit.findings import Finding, Findings, Kind
from provider_log.audit.rebuild import Rebuild
from provider_log.audit.second_opinion import compare_with_checker
from provider_log.audit.side_topics import check_outcomes, check_owners, check_positions
from provider_log.log.embedded import LogSnapshot
from provider_log.log.port import LogCorrupted
from provider_log.log_provider import PartitionDigest
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.rocks import RocksStore, StoreUnreadable
from provider_log.store.tables import HEAD, HeadRow, unpack
from provider_log.topics import Topics

FINDINGS_KEPT = 1_000
_RECORDS_A_BREATH = 250
_HEAD_KEY = keys.named(Table.META, HEAD)

Progress = Callable[[int, int], None]
"""Called with the history records read and those there are, over all partitions."""


class PartitionVerdict(Struct, frozen=True, kw_only=True):
    """What was looked at in one partition.

    Attributes:
        state: What the log makes of it: offset, hash chain and digest at its end (or before the first record that
            only a newer version knows).
        store_offset: Where the store stood that was compared; None if there is none.
        owner_offset: Where the owner stood whose answer was compared; None if none was given.
    """

    partition: int
    state: PartitionDigest
    store_offset: int | None
    owner_offset: int | None


class Verdict(Struct, frozen=True, kw_only=True):
    """What an audit says.

    Attributes:
        agrees: Nothing was found.
        partitions: How many.
        records: Valid history records. `void` are those that are not.
        activities: How many were asked for; of each, the log has at most one completion, or `agrees` is false.
        owners: Epochs, over all partitions.
        findings: The first ones; `findings_total` counts all.
        states: Partition by partition.
    """

    agrees: bool
    partitions: int
    records: int
    instances: int
    executions: int
    activities: int
    owners: int
    void: int
    findings: tuple[Finding, ...]
    findings_total: int
    states: tuple[PartitionVerdict, ...]


async def verify(
    data_dir: Path,
    *,
    app: str = "turnlog",
    owner_digests: Mapping[int, PartitionDigest] | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check the log and the stores in `data_dir` against each other and against the rules.

    Args:
        data_dir: Of a node, running or not: `log/` and `store/<partition>/`.
        app: Name of the application.
        owner_digests: What the owners of a running node said of their state before this call, by partition.
        progress: Told how far it is.

    Raises:
        LogNotOpened: There is no log, or one of a newer format.
        UsageError: The log has no such application.
    """
    findings = Findings(FINDINGS_KEPT)
    with _Stores(data_dir / "store") as stores:  # before the log: what a store has applied, the log has by then
        try:
            log = LogSnapshot.open(data_dir / "log")
        except LogCorrupted as error:
            findings.add(_of_log(error, "log"))
            return _verdict(findings, [], [])
        try:
            return await _verify_log(log, stores, app, owner_digests or {}, findings, progress)
        finally:
            log.close()


async def _verify_log(
    log: LogSnapshot,
    stores: "_Stores",
    app: str,
    owner_digests: Mapping[int, PartitionDigest],
    findings: Findings,
    progress: Progress | None,
) -> Verdict:
    topics = Topics.of(app)
    partitions = log.partition_count(topics.history)
    if partitions is None:
        raise UsageError(f"expected the log of application {app!r}, but it has no topic {topics.history}")
    if log.shorter is not None:
        findings.add(_of_log(log.shorter, topics.history, Kind.SHORTER))
    total = sum(
        bounds.end - bounds.first
        for bounds in (log.bounds(topics.history, partition) for partition in range(partitions))
    )
    done = 0
    audits: list[_PartitionAudit] = []
    for partition in range(partitions):
        store = stores.open(partition, findings)
        audit = _PartitionAudit(log, topics, partition, store, owner_digests.get(partition), findings)
        audits.append(audit)
        for _ in audit.read():
            done += 1
            if done % _RECORDS_A_BREATH == 0:
                if progress is not None:
                    progress(done, total)
                await SystemClock().sleep_ms(0)
        audit.finish(app)
        if progress is not None:
            progress(done, total)
    return _verdict(findings, [audit.checker for audit in audits], [audit.verdict() for audit in audits])


def _verdict(findings: Findings, checkers: list[Checker], states: list[PartitionVerdict]) -> Verdict:
    counts = [checker.counts for checker in checkers]
    return Verdict(
        agrees=findings.total == 0,
        partitions=len(states),
        records=sum(count.records for count in counts),
        instances=sum(count.instances for count in counts),
        executions=sum(count.executions for count in counts),
        activities=sum(count.activities for count in counts),
        owners=sum(count.owners for count in counts),
        void=sum(count.void for count in counts),
        findings=tuple(findings.kept),
        findings_total=findings.total,
        states=tuple(states),
    )


class _Stores:
    """The stores of a data directory, opened for reading."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = Threads("audit", 1)
        self._open: dict[int, RocksStore | StoreUnreadable] = {}

    def __enter__(self) -> Self:
        for path in self._root.iterdir() if self._root.is_dir() else ():
            if path.name.isdigit():
                self._open[int(path.name)] = self._try(path)
        return self

    def _try(self, path: Path) -> RocksStore | StoreUnreadable:
        try:
            return RocksStore(path, self._threads, read_only=True)
        except StoreUnreadable:
            # A node that runs there may have removed a file between our reading its name and our opening it.
            try:
                return RocksStore(path, self._threads, read_only=True)
            except StoreUnreadable as error:
                return error

    def open(self, partition: int, findings: Findings) -> RocksStore | None:
        """The store of a partition; None if there is none, or, which is reported, it cannot be opened."""
        store = self._open.get(partition)
        if isinstance(store, StoreUnreadable):
            findings.add(_of_store(Kind.STORE, partition, "every row", str(store)))
            return None
        return store

    def __exit__(self, *_: object) -> None:
        for store in self._open.values():
            if isinstance(store, RocksStore):
                store.close_read_only()
        self._threads.close(patience_ms=0)


class _PartitionAudit:
    """One partition: its history read once, its states looked at on the way."""

    def __init__(
        self,
        log: LogSnapshot,
        topics: Topics,
        partition: int,
        store: RocksStore | None,
        owner: PartitionDigest | None,
        findings: Findings,
    ) -> None:
        self._log = log
        self._topics = topics
        self._partition = partition
        self._store = store
        self._owner = owner
        self._findings = findings
        self._rebuild = Rebuild(partition)
        self._store_offset = None if store is None else self._offset_of(store)
        self._compared: set[str] = set()
        self.checker = Checker(topics.history, partition, findings)

    def _offset_of(self, store: RocksStore) -> int | None:
        """Where the store stands; None if it cannot say."""
        try:
            data = store.get(_HEAD_KEY)
            return HeadRow().offset if data is None else unpack(HeadRow, data).offset
        except (StoreUnreadable, msgspec.DecodeError):
            return None  # the comparison, at the end of the log then, names the row

    def read(self) -> Iterator[None]:
        """Read the history, a record a step."""
        self._look()
        for record in self._log.read(self._topics.history, self._partition):
            if isinstance(record, LogCorrupted):
                assert record.offset is not None
                self._findings.add(_of_log(record, self._topics.history))
                self.checker.gap(record.offset)
                self._rebuild.gap(record.offset)
            else:
                self.checker.feed(record.offset, record.value, record.key)
                if not self.checker.gave_up:
                    self._rebuild.feed(record.offset, record.value)
            self._look()
            yield

    def _look(self) -> None:
        """Compare what stands where the log is rebuilt to by now."""
        if self.checker.gave_up:
            return
        if self._rebuild.offset == self._store_offset:
            self._compare_store()
        if self._owner is not None and self._rebuild.offset == self._owner.offset:
            self._compare_owner(self._owner)

    def finish(self, app: str) -> None:
        """The history has been read."""
        end = self._rebuild.offset
        self.checker.finish()
        if self.checker.gave_up:
            return  # what the rest of the log says, only a newer version knows
        if self.checker.is_sound:
            compare_with_checker(self._rebuild.state.rows, self.checker, self._partition, self._findings)
        if self._store is not None and "store" not in self._compared:
            if self._store_offset is not None:
                sentence = f"expected a store at offset {end} or before, but it stands at {self._store_offset}"
                self._findings.add(_of_store(Kind.STORE, self._partition, keys.describe(_HEAD_KEY), sentence))
            self._compare_store()
        if self._owner is not None and "owner" not in self._compared:
            sentence = f"expected the owner at offset {end} or before, but it says {self._owner.offset}"
            self._findings.add(_of_store(Kind.DIGEST, self._partition, keys.describe(_HEAD_KEY), sentence))
        self._check_genesis(app)
        check_outcomes(self._log, self._topics, self._partition, self.checker, self._findings)
        check_owners(self._log, self._topics, self._partition, self.checker, self._findings)
        check_positions(self._log, self._topics, self._partition, self.checker, self._findings)

    def _check_genesis(self, app: str) -> None:
        genesis = self.checker.genesis
        if genesis is None:
            return
        partitions = self._log.partition_count(self._topics.history)
        expected = (app, self._log.cluster_id, partitions)
        found = (genesis.application, genesis.cluster_id, genesis.partitions)
        if expected != found:
            self._findings.add(
                Finding(
                    kind=Kind.GENESIS,
                    where=self._topics.history,
                    partition=self._partition,
                    offset=None,
                    key="",
                    sentence=f"expected application, log and partition count {expected}, but the genesis says {found}",
                )
            )

    def _compare_store(self) -> None:
        self._compared.add("store")
        if self._store is not None:
            rows, is_whole = self._rebuild.state.rows, self.checker.is_whole
            Comparison(rows, self._store, self._partition, self._findings, is_whole=is_whole).run()

    def _compare_owner(self, owner: PartitionDigest) -> None:
        self._compared.add("owner")
        expected = self._rebuild.digest()
        if owner != expected:
            sentence = f"expected {expected}, but the owner says {owner}"
            self._findings.add(_of_store(Kind.DIGEST, self._partition, keys.describe(_HEAD_KEY), sentence))

    def verdict(self) -> PartitionVerdict:
        """What was looked at."""
        return PartitionVerdict(
            partition=self._partition,
            state=self._rebuild.digest(),
            store_offset=self._store_offset,
            owner_offset=None if self._owner is None else self._owner.offset,
        )


def _of_log(error: LogCorrupted, topic: str, kind: Kind = Kind.UNREADABLE) -> Finding:
    return Finding(
        kind=kind,
        where=error.topic or topic,
        partition=error.partition or 0,
        offset=error.offset,
        key="",
        sentence=str(error),
    )


def _of_store(kind: Kind, partition: int, key: str, sentence: str) -> Finding:
    return Finding(kind=kind, where=table_name(_HEAD_KEY), partition=partition, offset=None, key=key, sentence=sentence)
