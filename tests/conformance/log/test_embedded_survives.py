"""Is what the embedded log acknowledged still there after a close, a SIGKILL, a full disk, a failed fsync?"""

import asyncio
import json
import shutil
import signal
import threading
from pathlib import Path

import pytest

from engine.clock import ManualClock
from engine.errors import UsageError
from engine.runtime.doors import Chance
from provider_log.log.embedded import EmbeddedLog, ends
from provider_log.log.embedded.database import Database, DatabaseError
from provider_log.log.embedded.log import ENDS_EVERY_CHANGES, ENDS_EVERY_MS
from provider_log.log.port import (
    Bounds,
    Doubtful,
    LogBroken,
    LogRecord,
    LogUnavailable,
    OffsetOutOfRange,
    StoredRecord,
    TopicSpec,
)
from tests.conformance.log import children

SPEC = TopicSpec(name="history", partitions=2, record_bytes_max=10_000)


def record(value: bytes, partition: int = 0) -> LogRecord:
    return LogRecord(topic="history", partition=partition, key=b"i-1", value=value)


async def open_log(path: Path, clock: ManualClock | None = None) -> EmbeddedLog:
    log = await EmbeddedLog.open(path, clock=clock or ManualClock())
    await log.create_topics([SPEC])
    return log


async def read_all(log: EmbeddedLog, topic: str = "history", partition: int = 0) -> list[StoredRecord]:
    bounds = await log.bounds(topic, partition)
    reader = await log.open_reader(topic, partition, bounds.first)
    found: list[StoredRecord] = []
    while some := await reader.read(1_000, 0):
        found.extend(some)
    return found


async def test_everything_is_as_it_was_after_a_close(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    producer = await log.open_producer("id")
    await producer.produce([record(b"a"), record(b"b"), record(b"c"), record(b"d", partition=1)])
    await producer.commit()
    await log.delete_records("history", 0, 1)
    before = [await read_all(log, partition=number) for number in range(2)]
    cluster_id = log.cluster_id
    await log.close()

    again = await EmbeddedLog.open(tmp_path, clock=ManualClock())

    assert [await read_all(again, partition=number) for number in range(2)] == before
    assert [stored.offset for stored in before[0]] == [1, 2]
    assert await again.partition_count("history") == 2
    assert again.cluster_id == cluster_id
    assert await again.append(record(b"e")) == 3
    await again.close()


async def test_a_partition_that_was_emptied_remembers_its_offset_after_a_close(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await log.append(record(b"a"))
    await log.delete_records("history", 0, 1)
    await log.close()

    again = await EmbeddedLog.open(tmp_path, clock=ManualClock())

    assert await again.bounds("history", 0) == Bounds(1, 1)
    with pytest.raises(OffsetOutOfRange):
        await (await again.open_reader("history", 0, 0)).read(1, 0)
    await again.close()


async def test_a_closed_log_refuses_every_call_and_wakes_its_readers(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    producer = await log.open_producer("id")
    reading = asyncio.ensure_future((await log.open_reader("history", 0, 0)).read(1, 1_000))
    await asyncio.sleep(0)

    await log.close()
    await log.close()

    with pytest.raises(LogUnavailable, match="closed"):
        await reading
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append(record(b"a"))
    with pytest.raises(LogUnavailable, match="closed"):
        await producer.produce([record(b"a")])


async def test_a_close_waits_for_commits_under_way(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    appending = [asyncio.ensure_future(log.append(record(b"a"))) for _ in range(10)]
    await asyncio.sleep(0)

    await log.close()

    assert [await offset for offset in appending] == list(range(10))


async def test_append_times_do_not_go_back_when_the_wall_clock_does(tmp_path: Path) -> None:
    clock = ManualClock()
    log = await open_log(tmp_path, clock)
    await log.append(record(b"a"))
    clock.step_wall(-3_600_000)
    await log.append(record(b"b"))
    await log.close()
    log = await open_log(tmp_path, clock)
    await log.append(record(b"c"))

    assert len({stored.timestamp_ms for stored in await read_all(log)}) == 1
    await log.close()


async def whole_commits(path: Path, *, accept_loss: bool = False) -> list[str]:
    """The names of the children's commits that are in the log, each once and in all its places."""
    log = await EmbeddedLog.open(path, clock=ManualClock(), accept_loss=accept_loss)
    found = [
        [(stored.value or b"").decode().strip() for stored in await read_all(log, topic, partition)]
        for topic, partition in children.PLACES
    ]
    await log.close()
    assert all(other == found[0] for other in found), "expected a commit in all its places or in none"
    assert len(set(found[0])) == len(found[0])
    return found[0]


async def test_a_killed_process_loses_no_acknowledged_commit_and_tears_none(tmp_path: Path) -> None:
    chance = Chance(seed=3)
    acknowledged: set[str] = set()
    for _ in range(5):
        child = children.start("commit_until_killed", tmp_path / "log")
        for _ in range(round(chance.uniform(1, 400))):
            acknowledged.add(children.next_line(child, tmp_path / "log"))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        assert child.returncode == -signal.SIGKILL
        acknowledged.update(rest.split("\n")[:-1])  # the last line may be cut
        assert acknowledged <= set(await whole_commits(tmp_path / "log"))


async def test_a_wal_cut_anywhere_tears_no_commit(tmp_path: Path) -> None:
    child = children.start("commit_until_killed", tmp_path / "log")
    for _ in range(40):
        children.next_line(child, tmp_path / "log")
    child.kill()
    child.communicate()
    [wal] = (tmp_path / "log" / "records").glob("*.log")
    content = wal.read_bytes()
    counts: list[int] = []

    for cut in range(len(content) // 3, len(content), len(content) // 30):
        path = shutil.copytree(tmp_path / "log", tmp_path / f"cut-{cut}")
        (path / "records" / wal.name).write_bytes(content[:cut])
        counts.append(len(await whole_commits(path, accept_loss=True)))

    assert counts == sorted(counts)
    assert len(set(counts)) > 5


async def test_a_full_disk_ends_the_log_with_a_reason_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    child = children.start("append_until_the_disk_is_full", tmp_path / "log")
    output, _ = child.communicate()
    *acknowledged, doubtful, refused, broken, end = output.split("\n")

    assert child.returncode == 0
    assert doubtful.startswith("Doubtful expected the log to take this, but it failed while writing: IO error: ")
    assert "File too large" in doubtful
    assert refused.startswith("LogBroken expected every write and fsync of the log to succeed, but one failed: ")
    assert broken.startswith("broken expected every write and fsync")
    assert end == ""
    assert len(acknowledged) > 100
    log = await EmbeddedLog.open(tmp_path / "log", clock=ManualClock())
    kept = [(stored.value or b"").decode().strip() for stored in await read_all(log)]
    assert kept[: len(acknowledged)] == acknowledged
    assert await log.append(record(b"room again")) == len(kept)
    await log.close()


class Disk:
    """The fsync of the database, held up or broken as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.syncs = 0
        self.error: str | None = None
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._reached = asyncio.Event()
        loop = asyncio.get_running_loop()
        sync_wal = Database.sync_wal

        def patched(database: Database) -> None:
            self.syncs += 1
            loop.call_soon_threadsafe(self._reached.set)
            assert self._may_go_on.wait(timeout=30)
            if self.error:
                raise DatabaseError(self.error)
            sync_wal(database)

        monkeypatch.setattr(Database, "sync_wal", patched)

    def hold(self) -> None:
        """Let the next fsync begin, and not end before `release`."""
        self._reached.clear()
        self._may_go_on.clear()

    async def reached(self) -> None:
        """Return when an fsync has begun since `hold`."""
        async with asyncio.timeout(30):
            await self._reached.wait()

    def release(self, error: str | None = None) -> None:
        """Let the fsync that is held end, with `error` if there is one."""
        self.error = error
        self._may_go_on.set()


@pytest.fixture
async def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_nothing_is_acknowledged_or_visible_before_its_fsync(tmp_path: Path, disk: Disk) -> None:
    log = await open_log(tmp_path)
    disk.hold()
    appending = asyncio.ensure_future(log.append(record(b"a")))
    await disk.reached()

    assert await read_all(log) == []
    assert await log.bounds("history", 0) == Bounds(0, 0)
    assert not appending.done()

    disk.release()
    assert await appending == 0
    assert [stored.value for stored in await read_all(log)] == [b"a"]
    await log.close()


async def test_commits_that_come_during_an_fsync_share_the_next_one(tmp_path: Path, disk: Disk) -> None:
    log = await open_log(tmp_path)
    before = disk.syncs
    disk.hold()
    first = asyncio.ensure_future(log.append(record(b"first")))
    await disk.reached()
    others = [asyncio.ensure_future(log.append(record(b"other", partition=1))) for _ in range(100)]
    await asyncio.sleep(0)

    disk.release()

    assert await asyncio.gather(first, *others) == [0, *range(100)]
    assert disk.syncs == before + 2
    await log.close()


async def test_a_failed_fsync_ends_the_log_for_good(tmp_path: Path, disk: Disk) -> None:
    log = await open_log(tmp_path)
    producer = await log.open_producer("id")
    reader = await log.open_reader("history", 1, 0)
    reading = asyncio.ensure_future(reader.read(1, 60_000))
    disk.hold()
    in_the_round = asyncio.ensure_future(log.append(record(b"a")))
    await disk.reached()
    await producer.produce([record(b"b")])
    in_the_next = asyncio.ensure_future(producer.commit())
    await asyncio.sleep(0)

    disk.release(error="IO error: Input/output error")

    with pytest.raises(Doubtful, match="Input/output error"):
        await in_the_round
    with pytest.raises(LogBroken, match="Input/output error"):
        await in_the_next
    with pytest.raises(LogBroken, match="Input/output error"):
        await reading
    disk.error = None  # the next fsync would succeed, and prove nothing
    syncs = disk.syncs
    for call in (
        log.append(record(b"c")),
        log.open_producer("id"),
        log.open_reader("history", 0, 0),
        log.bounds("history", 0),
        log.delete_records("history", 0, 0),
        log.create_topics([SPEC]),
        log.partition_count("history"),
        reader.read(1, 0),
    ):
        with pytest.raises(LogBroken, match="Input/output error"):
            await call
    assert "Input/output error" in str(await log.broken())
    await log.close()
    assert disk.syncs == syncs


async def test_a_cancelled_commit_is_written_all_the_same_and_finishes_its_producer(tmp_path: Path, disk: Disk) -> None:
    log = await open_log(tmp_path)
    producer = await log.open_producer("id")
    await producer.produce([record(b"a")])
    disk.hold()
    committing = asyncio.ensure_future(producer.commit())
    await disk.reached()

    committing.cancel()
    await asyncio.wait({committing})
    disk.release()

    with pytest.raises(UsageError):
        await producer.produce([record(b"b")])
    await log.open_producer("id")  # when this returns, what came before is decided
    assert [stored.value for stored in await read_all(log)] == [b"a"]
    await log.close()


def saved_ends(path: Path) -> dict[str, list[int]]:
    return json.loads((path / "ends.json").read_bytes())["ends"]


async def test_ends_are_saved_after_the_fsync_of_what_they_promise(tmp_path: Path, disk: Disk) -> None:
    clock = ManualClock()
    log = await open_log(tmp_path, clock)
    await log.append(record(b"a"))
    clock.advance(ENDS_EVERY_MS)
    disk.hold()
    appending = asyncio.ensure_future(log.append(record(b"b")))
    await disk.reached()

    assert saved_ends(tmp_path) == {"history": [0, 0]}

    disk.release()
    await appending
    assert saved_ends(tmp_path) == {"history": [2, 0]}
    await log.close()


async def test_ends_are_saved_after_so_many_changes_whatever_the_time(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    await asyncio.gather(*(log.append(record(b"a")) for _ in range(ENDS_EVERY_CHANGES)))

    assert saved_ends(tmp_path) == {"history": [ENDS_EVERY_CHANGES, 0]}
    await log.close()


async def test_a_log_that_fell_silent_saves_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    log = await open_log(tmp_path, clock)
    await log.append(record(b"a"))
    saved = asyncio.Event()
    loop, save_ends = asyncio.get_running_loop(), ends.save_ends

    def patched(path: Path, cluster_id: str, found: ends.Ends) -> None:
        save_ends(path, cluster_id, found)
        loop.call_soon_threadsafe(saved.set)

    monkeypatch.setattr(ends, "save_ends", patched)
    assert saved_ends(tmp_path) == {"history": [0, 0]}

    clock.advance(ENDS_EVERY_MS)
    async with asyncio.timeout(30):
        await saved.wait()

    assert saved_ends(tmp_path) == {"history": [1, 0]}
    await log.close()
