"""Does `verify` see what happened to a data directory? Real directories: run, closed, copied, damaged, verified."""

import random
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from rocksdict import AccessType, Options, Rdict

from engine import Client, Engine
from engine.clock import ManualClock
from engine.errors import InstanceNotFound, UsageError
from engine.model.ids import is_in_tree
from engine.registry import Registry, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.doors import Threads
from provider_log import codec
from provider_log.audit.findings import Finding
from provider_log.audit.replay import Answer, replay
from provider_log.audit.verify import Verdict, verify
from provider_log.log.embedded import EmbeddedLog, LogSnapshot, frame
from provider_log.log.port import LogNotOpened, LogRecord, StoredRecord
from provider_log.records import ExecutionsPruned, InstanceDeleted, TurnCommitted
from provider_log.store.keys import describe
from provider_log.store.rocks import RocksStore, StoreUnreadable
from provider_log.topics import Topics
from tests.e2e.audited import OPTIONS, PARTITIONS, make_data, open_provider, registry, ship

TOPICS = Topics.of("turnlog")
HISTORY = TOPICS.history
FLIPS = 60
"""Bytes that are flipped in the store, one at a time: about 40 ms each."""


@pytest.fixture(scope="module")
async def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that nobody damages."""
    data = tmp_path_factory.mktemp("sound") / "data"
    await make_data(data)
    return data


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


# What the tests do to a copy.


@contextmanager
def log_rows(data: Path) -> Generator[Rdict]:
    """The rows of a log, raw."""
    rows = Rdict(str(data / "log" / "records"), Options(raw_mode=True))
    try:
        yield rows
    finally:
        rows.close()


def row_key(data: Path, topic: str, partition: int, offset: int) -> bytes:
    """The key of a record's row: topics are numbered from 1 in the order they were made."""
    names = [spec.name for spec in TOPICS.specs(PARTITIONS)]
    assert LogSnapshot.open(data / "log").partition_count(topic) == PARTITIONS
    return frame.Place(names.index(topic) + 1, partition).key(offset)


def history_of(data: Path, partition: int) -> list[StoredRecord]:
    log = LogSnapshot.open(data / "log")
    try:
        return log.read(HISTORY, partition, 0, log.bounds(HISTORY, partition).end)
    finally:
        log.close()


def rewrite(data: Path, topic: str, partition: int, offset: int, record: LogRecord | None) -> None:
    """Put another record at an offset, with a checksum that fits, or none."""
    key = row_key(data, topic, partition, offset)
    with log_rows(data) as rows:
        if record is None:
            del rows[key]
        else:
            rows[key] = frame.pack(key, record, 1)


def as_record(stored: StoredRecord) -> LogRecord:
    return LogRecord(
        topic=stored.topic, partition=stored.partition, key=stored.key, value=stored.value, headers=stored.headers
    )


def in_history(verdict: Verdict, partition: int) -> list[Finding]:
    """What is wrong with the history of a partition."""
    return [one for one in verdict.findings if one.where == HISTORY and one.partition == partition]


def files_of(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


def rows_of(store: Path) -> dict[bytes, bytes] | None:
    """All rows, scanned and asked for one by one; None if that fails anywhere."""
    threads = Threads("test", 1)
    try:
        opened = RocksStore(store, threads, read_only=True)
        try:
            rows = dict(opened.scan(b""))
            return {key: value for key, value in rows.items() if opened.get(key) == value}
        finally:
            opened.close_read_only()
    except StoreUnreadable:
        return None
    finally:
        threads.close(patience_ms=0)


# A sound directory.


async def test_a_sound_directory_agrees_and_is_not_changed_by_looking(data: Path) -> None:
    before = files_of(data)
    seen: list[tuple[int, int]] = []
    verdict = await verify(data, progress=lambda done, total: seen.append((done, total)))
    assert verdict.findings == ()
    assert verdict.agrees
    assert (verdict.partitions, verdict.owners, verdict.void) == (PARTITIONS, 2 * PARTITIONS, 0)
    assert verdict.executions == verdict.instances + 4, "two instances continued as new, twice"
    assert [one.store_offset for one in verdict.states] == [one.state.offset for one in verdict.states]
    total = sum(len(history_of(data, partition)) for partition in range(PARTITIONS))
    assert seen[-1] == (total, total) == (verdict.records, verdict.records)
    assert files_of(data) == before


async def test_without_its_stores_a_log_is_checked_alone(data: Path) -> None:
    shutil.rmtree(data / "store")
    verdict = await verify(data)
    assert verdict.agrees
    assert [one.store_offset for one in verdict.states] == [None, None]


async def test_beside_a_running_node_the_owners_word_is_compared(data: Path) -> None:
    async with open_provider(data, 9) as provider, Engine(provider, registry(), OPTIONS):
        handle = await Client(provider).start(ship, 3, instance="beside")
        await handle.wait(30)
        owners = {partition: await provider.digest(partition) for partition in range(PARTITIONS)}
        await (await Client(provider).start(ship, 3, instance="after the answer")).wait(30)
        verdict = await verify(data, owner_digests=owners)
        assert verdict.findings == ()
        assert [one.owner_offset for one in verdict.states] == [owners[each].offset for each in range(PARTITIONS)]
        assert any(one.state.offset > owners[one.partition].offset for one in verdict.states)
        wrong = {0: replace(owners[0], digest="00" * 16)}
        (finding,) = (await verify(data, owner_digests=wrong)).findings
        assert (finding.kind.value, finding.partition) == ("digest", 0)
        ahead = {1: replace(owners[1], offset=10**6)}
        (finding,) = (await verify(data, owner_digests=ahead)).findings
        assert (finding.kind.value, finding.partition) == ("digest", 1)
        assert "1000000" in finding.sentence


# The store.


async def test_a_byte_flipped_in_the_store_is_harmless_or_named(data: Path) -> None:
    generator = random.Random(7)
    tables = sorted((data / "store").rglob("*.sst"))
    assert tables
    original = {path: path.read_bytes() for path in tables}
    rows_before = {partition: rows_of(data / "store" / str(partition)) for partition in range(PARTITIONS)}
    assert None not in rows_before.values()
    decisive = 0
    for _ in range(FLIPS):
        path = generator.choice(tables)
        flipped = bytearray(original[path])
        at = generator.randrange(len(flipped))
        flipped[at] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        partition = int(path.parent.name)
        verdict = await verify(data)
        if verdict.agrees:
            assert rows_of(path.parent) == rows_before[partition], f"byte {at} of {path.name} is not harmless"
        else:
            decisive += 1
            assert {one.partition for one in verdict.findings} == {partition}
            assert all(one.where.isupper() and one.key.startswith(one.where) for one in verdict.findings), (
                f"byte {at} of {path.name}: {verdict.findings[0]}"
            )
        path.write_bytes(original[path])
    assert decisive > FLIPS / 4
    assert (await verify(data)).agrees


async def test_a_row_that_differs_is_missing_or_too_many_is_named(data: Path) -> None:
    store = data / "store" / "0"
    rows = Rdict(str(store), Options(raw_mode=True))
    keys = [key for key in rows.keys() if isinstance(key, bytes)]  # noqa: SIM118  # an Rdict is no dict
    status = next(key for key in keys if describe(key).startswith("EXECUTION"))
    event = next(key for key in keys if describe(key).startswith("HISTORY"))
    value = rows[status]
    assert isinstance(value, bytes)
    rows[status] = value[:-1] + b"\xc3"
    del rows[event]
    rows[b"\x30nobody\x00" + bytes(16)] = b"\x90"
    rows.close()
    found = {(one.kind.value, one.where, one.key) for one in (await verify(data)).findings}
    assert found == {
        ("row", "EXECUTION", describe(status)),
        ("row_missing", "HISTORY", describe(event)),
        ("row_extra", "WORK", "WORK nobody 0 0"),
    }


async def test_the_store_of_another_log_is_not_this_ones(data: Path, tmp_path: Path) -> None:
    await make_data(tmp_path / "other", rounds=1, seed=50)
    shutil.rmtree(data / "store" / "0")
    shutil.copytree(tmp_path / "other" / "store" / "0", data / "store" / "0")
    verdict = await verify(data)
    assert not verdict.agrees
    assert ("META", "META head") in {(one.where, one.key) for one in verdict.findings}


async def test_a_store_that_has_more_than_the_log_is_named(data: Path, sound: Path) -> None:
    async with open_provider(data, 9) as provider, Engine(provider, registry(), OPTIONS):
        for number in range(4):
            await (await Client(provider).start(ship, 3, instance=f"later-{number}")).wait(30)
    shutil.rmtree(data / "log")
    shutil.copytree(sound / "log", data / "log")
    verdict = await verify(data)
    ahead = [one for one in verdict.findings if one.kind.value == "store"]
    assert ahead
    assert all((one.where, one.key) == ("META", "META head") for one in ahead)
    assert any("later-" in one.key for one in verdict.findings), "the rows the log does not know are named"


# The log.


def every_few(records: int) -> list[int]:
    """The first, the last and some offsets between."""
    return sorted({0, 1, 2, records // 3, records // 2, records - 2, records - 1})


async def test_a_record_cut_from_the_log_is_named(data: Path, tmp_path: Path) -> None:
    count = len(history_of(data, 0))
    for offset in every_few(count):
        copy = Path(shutil.copytree(data, tmp_path / f"cut-{offset}"))
        rewrite(copy, HISTORY, 0, offset, None)
        verdict = await verify(copy)
        assert offset in {one.offset for one in in_history(verdict, 0)}, f"offset {offset}: {verdict.findings}"
        assert not in_history(verdict, 1)
        shutil.rmtree(copy)


async def test_a_record_cut_from_the_log_is_told_by_the_rows_it_made_and_by_no_others(
    data: Path, tmp_path: Path
) -> None:
    records = [(one, codec.decode_record(one.value or b"")) for one in history_of(data, 0)]
    removed = {record.instance for _, record in records if isinstance(record, InstanceDeleted | ExecutionsPruned)}
    turns = [
        one
        for one, record in records
        if isinstance(record, TurnCommitted) and not any(is_in_tree(record.instance, root) for root in removed)
    ]
    for cut in turns[:: len(turns) // 6]:
        copy = Path(shutil.copytree(data, tmp_path / f"cut-{cut.offset}"))
        rewrite(copy, HISTORY, 0, cut.offset, None)
        verdict = await verify(copy)
        assert cut.key is not None
        instance = cut.key.decode()
        rows = [one for one in verdict.findings if one.kind.value.startswith("row")]
        assert rows
        of_a_turn = {"INSTANCE", "EXECUTION", "HISTORY", "SEEN", "SEEN_ORDER", "POSITION", "KEY_VALUE", "KEY_CHANGE"}
        assert {one.where for one in rows} <= of_a_turn
        named = {one.key for one in verdict.findings if instance not in one.key}
        assert named <= {"", "POSITION orchestrator", "POSITION messages", "POSITION worker"}, verdict.findings
        shutil.rmtree(copy)


async def test_a_byte_changed_in_a_record_is_named(data: Path, tmp_path: Path) -> None:
    """Raw, so that the log's own checksum sees it."""
    for offset in every_few(len(history_of(data, 0))):
        copy = Path(shutil.copytree(data, tmp_path / f"byte-{offset}"))
        key = row_key(copy, HISTORY, 0, offset)
        with log_rows(copy) as rows:
            found = rows[key]
            assert isinstance(found, bytes)
            value = bytearray(found)
            value[len(value) // 2] ^= 1
            rows[key] = bytes(value)
        assert offset in {one.offset for one in in_history(await verify(copy), 0)}
        shutil.rmtree(copy)


async def test_a_record_rewritten_with_a_checksum_that_fits_is_found(data: Path, tmp_path: Path) -> None:
    """The hash chain sees it at the next record, the store's own head at the last one."""
    stored = history_of(data, 0)
    for offset in every_few(len(stored)):
        copy = Path(shutil.copytree(data, tmp_path / f"rewritten-{offset}"))
        record = as_record(stored[offset])
        assert record.value is not None
        changed = record.value.replace(b"n1", b"n2", 1)
        assert changed != record.value or offset == 1, "every record but the genesis names its node"
        if changed == record.value:
            changed = record.value.replace(b"turnlog", b"turnlag", 1)
        rewrite(copy, HISTORY, 0, offset, LogRecord(topic=HISTORY, partition=0, key=record.key, value=changed))
        verdict = await verify(copy)
        if offset + 1 < len(stored):
            noticed = [one.offset for one in in_history(verdict, 0) if one.kind.value == "chain"]
            assert noticed
            assert offset < (noticed[0] or 0) <= offset + 2
        else:
            assert ("META", "META head") in {(one.where, one.key) for one in verdict.findings}
        shutil.rmtree(copy)


async def test_two_records_swapped_are_found(data: Path) -> None:
    stored = history_of(data, 0)
    middle = len(stored) // 2
    rewrite(data, HISTORY, 0, middle, as_record(stored[middle + 1]))
    rewrite(data, HISTORY, 0, middle + 1, as_record(stored[middle]))
    offsets = {one.offset for one in in_history(await verify(data), 0)}
    assert offsets & {middle, middle + 1}


async def test_a_record_of_an_old_owner_is_an_alarm_and_changes_nothing_else(data: Path) -> None:
    """As a node that was frozen, and thawed after another took over, would append it."""
    stored = history_of(data, 0)
    late = next(one for one in stored if one.key is not None)
    log = await EmbeddedLog.open(data / "log", clock=ManualClock())
    offset = await log.append(as_record(late))
    await log.close()
    verdict = await verify(data)
    assert verdict.void == 1
    (finding,) = verdict.findings
    assert (finding.kind.value, finding.where, finding.partition, finding.offset) == ("void", HISTORY, 0, offset)
    assert finding.key == (late.key or b"").decode()


async def test_a_log_that_lost_its_end_is_found(data: Path) -> None:
    """No record that is left can tell; the file of ends does, and the store, which stands further on."""
    stored = history_of(data, 0)
    log = LogSnapshot.open(data / "log")
    bounds = log.bounds(HISTORY, 0)
    log.close()
    for offset in range(bounds.end - 1, bounds.end - 3, -1):
        rewrite(data, HISTORY, 0, offset, None)
    verdict = await verify(data)
    shorter = [one for one in verdict.findings if one.kind.value == "shorter"]
    assert [(one.where, one.partition, one.offset) for one in shorter] == [(HISTORY, 0, len(stored) - 2)]
    assert any(one.kind.value == "store" and one.key == "META head" for one in verdict.findings)


async def test_an_outcome_that_the_history_does_not_say_is_named(data: Path) -> None:
    log = LogSnapshot.open(data / "log")
    first, second = log.read(TOPICS.outcomes, 0, 0, 2)
    log.close()
    other = LogRecord(topic=TOPICS.outcomes, partition=0, key=first.key, value=second.value)
    rewrite(data, TOPICS.outcomes, 0, first.offset, other)
    found = {(one.kind.value, one.where, one.key) for one in (await verify(data)).findings}
    assert first.key is not None
    assert found >= {("key", TOPICS.outcomes, first.key.decode()), ("outcome", TOPICS.outcomes, first.key.decode())}


async def test_a_damaged_file_of_the_log_is_a_finding_and_no_traceback(data: Path) -> None:
    files = sorted((data / "log" / "records").glob("*.log")) + sorted((data / "log" / "records").glob("*.sst"))
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    largest.write_bytes(content)
    verdict = await verify(data)
    assert not verdict.agrees
    assert verdict.findings[0].kind.value in {"unreadable", "shorter"}


async def test_a_record_of_a_newer_version_is_said_and_not_taken_for_damage(data: Path) -> None:
    stored = history_of(data, 0)[5]
    assert stored.value is not None
    newer = LogRecord(topic=HISTORY, partition=0, key=stored.key, value=b"\xc3\x01newer sc" + stored.value[10:])
    rewrite(data, HISTORY, 0, 5, newer)
    (finding,) = (await verify(data)).findings
    assert (finding.kind.value, finding.where, finding.offset) == ("newer", HISTORY, 5)
    assert "a newer version may know it" in finding.sentence


async def test_what_is_no_log_is_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(LogNotOpened, match="expected a log at"):
        await verify(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="expected the log of application 'shop'"):
        await verify(data, app="shop")


# Replay.


async def test_an_instance_is_rebuilt_and_replayed_from_the_log_alone(data: Path) -> None:
    async with open_provider(data, 9) as provider:
        expected = [await provider.read_with_execution("over", execution_id) for execution_id in (1, 2, 3)]
    shutil.rmtree(data / "store")
    replayed = await replay(data, "over", registry=registry())
    assert [list(one.events) for one in replayed.executions] == [list(events) for events in expected]
    assert [one.answer for one in replayed.executions] == [Answer.AGREES] * 3
    assert replayed.agrees
    assert (await replay(data, "over")).executions[0].answer is Answer.NOT_ASKED


@pytest.mark.parametrize("instance", ["ship-2", "family-0", "lost", "lingers", "gone", "waits", "told", "after"])
async def test_all_that_was_recorded_replays(instance: str, data: Path) -> None:
    replayed = await replay(data, instance, registry=registry())
    assert [(one.answer, one.sentence) for one in replayed.executions] == [(Answer.AGREES, "")]


async def test_until_an_offset_or_a_time_a_history_is_a_beginning_of_it(data: Path) -> None:
    (whole,) = (await replay(data, "ship-2")).executions
    until = await replay(data, "ship-2", until_offset=whole.last_offset - 1, registry=registry())
    (some,) = until.executions
    assert 0 < len(some.events) < len(whole.events)
    assert some.events == whole.events[: len(some.events)]
    assert some.answer is Answer.AGREES
    at_ms = whole.events[-1].timestamp_ms - 1
    (by_time,) = (await replay(data, "ship-2", until_ms=at_ms, registry=registry())).executions
    assert 0 < len(by_time.events) < len(whole.events)
    assert by_time.events == whole.events[: len(by_time.events)]
    assert by_time.answer is Answer.AGREES
    with pytest.raises(InstanceNotFound):
        await replay(data, "ship-2", until_offset=whole.first_offset - 1)


async def test_code_that_left_the_recorded_path_is_told_where(data: Path) -> None:
    @orchestration(name="ship")
    async def ship_otherwise(ctx: OrchestrationContext, lamps: int) -> list[str]:
        await ctx.schedule_activity("weigh", lamps)
        return []

    (execution,) = (await replay(data, "ship-2", registry=Registry(orchestrations=[ship_otherwise]))).executions
    assert execution.answer is Answer.NONDETERMINISM
    assert "event 2: expected ActivityScheduled(name='pack'" in execution.sentence
    (unknown,) = (await replay(data, "ship-2", registry=Registry())).executions
    assert unknown.answer is Answer.NOT_REGISTERED


async def test_a_record_that_cannot_be_read_may_have_been_anybodys(data: Path) -> None:
    (execution,) = (await replay(data, "ship-2")).executions
    partition = (await replay(data, "ship-2")).partition
    rewrite(data, HISTORY, partition, execution.last_offset, None)
    replayed = await replay(data, "ship-2", registry=registry())
    assert replayed.unreadable == (execution.last_offset,)
    assert not replayed.agrees


def test_a_read_only_opener_locks_nobody_out(data: Path) -> None:
    one, two = (LogSnapshot.open(data / "log") for _ in range(2))
    rows = Rdict(str(data / "log" / "records"), Options(raw_mode=True), access_type=AccessType.read_write())
    rows.close()
    one.close()
    two.close()
