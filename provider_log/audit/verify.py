"""Does a log keep its rules, and is a store what it says? Every history checked, every state rebuilt and compared.

Everything is opened to read: nodes may run meanwhile, and nothing changes by looking. Where each history ends is
decided once, at the start.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from engine.clock import SystemClock
from engine.errors import UsageError
from engine.runtime.doors import Threads
from provider_log.answers import PartitionDigest
from provider_log.audit.checker import Checker
from provider_log.audit.compare import Comparison, table_name
from provider_log.audit.findings import Finding, Findings, Kind
from provider_log.audit.reading import read_all
from provider_log.audit.rebuild import Rebuild
from provider_log.audit.second_opinion import compare_with_checker
from provider_log.audit.side_topics import SideTopics
from provider_log.log.embedded import SnapshotView
from provider_log.log.port import Bounds, LogCorrupted, LogView, StoredRecord
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
    """Check the embedded log and the stores in `data_dir`, of a node that runs or not. See `verify_log`."""

    @asynccontextmanager
    async def open_log() -> AsyncGenerator[LogView]:
        log = SnapshotView(data_dir / "log")
        try:
            yield log
        finally:
            await log.close()

    return await verify_log(open_log, data_dir / "store", app=app, owner_digests=owner_digests, progress=progress)


async def verify_log(
    open_log: Callable[[], AbstractAsyncContextManager[LogView]],
    store_dir: Path,
    *,
    app: str,
    owner_digests: Mapping[int, PartitionDigest] | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check a log and stores against each other and against the rules.

    Args:
        open_log: Opens the log, after the stores: what a store has applied, the log has by then.
        store_dir: Where the stores of its partitions are, as far as they are here.
        app: Name of the application.
        owner_digests: What the owners of running nodes said of their state before this call, by partition.
        progress: Told how far it is.

    Raises:
        LogNotOpened: There is no log, or one of a newer format.
        UsageError: The log has no such application.
    """
    findings = Findings(FINDINGS_KEPT)
    with _Stores(store_dir) as stores:
        try:
            async with open_log() as log:
                return await _verify_log(log, stores, app, owner_digests or {}, findings, progress)
        except LogCorrupted as error:  # as a whole: what is damaged at one place is met there
            findings.add(_of_log(error, "log"))
            return _verdict(findings, [], [])


async def _verify_log(
    log: LogView,
    stores: "_Stores",
    app: str,
    owner_digests: Mapping[int, PartitionDigest],
    findings: Findings,
    progress: Progress | None,
) -> Verdict:
    topics = Topics.of(app)
    partitions = await log.partition_count(topics.history)
    if partitions is None:
        raise UsageError(f"expected the log of application {app!r}, but it has no topic {topics.history}")
    if isinstance(log, SnapshotView) and log.shorter is not None:
        findings.add(_of_log(log.shorter, topics.history, Kind.SHORTER))
    audits: list[_PartitionAudit] = []
    for partition in range(partitions):
        store = stores.open(partition, findings)
        audit = _PartitionAudit(log, topics, partition, store, owner_digests.get(partition), findings)
        await audit.begin()
        audits.append(audit)
    total = sum(audit.bounds.end - audit.bounds.first for audit in audits)
    done = 0
    for audit in audits:
        before = done
        async for _ in audit.read():
            done += 1
            if done % _RECORDS_A_BREATH == 0:
                if progress is not None:
                    progress(done, total)
                await SystemClock().sleep_ms(0)
        await audit.finish(app, partitions)
        done = before + audit.bounds.end - audit.bounds.first  # more offsets than records: some are markers
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
        log: LogView,
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
        self._beside = SideTopics(log, topics, partition, findings)
        self.bounds = Bounds(0, 0)
        self.checker = Checker(topics.history, partition, findings)

    def _offset_of(self, store: RocksStore) -> int | None:
        """Where the store stands; None if it cannot say."""
        try:
            data = store.get(_HEAD_KEY)
            return HeadRow().offset if data is None else unpack(HeadRow, data).offset
        except (StoreUnreadable, msgspec.DecodeError):
            return None  # the comparison, at the end of the log then, names the row

    async def begin(self) -> None:
        """Decide where the end is."""
        await self._beside.before()
        self.bounds = await self._log.bounds(self._topics.history, self._partition)

    async def read(self) -> AsyncGenerator[None]:
        """Read the history, a record a step."""
        self._look()
        applied = max(self._store_offset or -1, -1 if self._owner is None else self._owner.offset)
        history = read_all(self._log, self._topics.history, self._partition, self.bounds, known=applied)
        async with aclosing(history) as records:
            async for record in records:
                self._take(record)
                self._look()
                yield

    def _take(self, record: StoredRecord | LogCorrupted) -> None:
        if isinstance(record, LogCorrupted):
            assert record.offset is not None
            self._findings.add(_of_log(record, self._topics.history))
            self.checker.gap(record.offset)
            self._rebuild.gap(record.offset)
            return
        self.checker.feed(record.offset, record.value, record.key)
        if not self.checker.gave_up:
            self._rebuild.feed(record.offset, record.value)

    def _look(self) -> None:
        """Compare what stands where the log is rebuilt to by now."""
        if self.checker.gave_up:
            return
        if self._rebuild.offset == self._store_offset:
            self._compare_store()
        if self._owner is not None and self._rebuild.offset == self._owner.offset:
            self._compare_owner(self._owner)

    async def finish(self, app: str, partitions: int) -> None:
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
        self._check_genesis(app, partitions)
        await self._beside.after(self.checker, max(self.bounds.end, end + 1))

    def _check_genesis(self, app: str, partitions: int) -> None:
        genesis = self.checker.genesis
        if genesis is None:
            return
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
