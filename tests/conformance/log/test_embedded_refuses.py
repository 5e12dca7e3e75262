"""What does the embedded log refuse to open, what to read, and does it say why?"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import rocksdict
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import ManualClock
from engine.runtime.doors import Chance
from provider_log.log.embedded import EmbeddedLog
from provider_log.log.embedded.frame import Place, pack, unpack
from provider_log.log.port import LogCorrupted, LogError, LogNotOpened, LogRecord, TopicSpec
from tests.conformance.log import children

RECORDS = 10


async def open_log(path: Path, *, accept_loss: bool = False) -> EmbeddedLog:
    return await EmbeddedLog.open(path, clock=ManualClock(), accept_loss=accept_loss, chance=Chance(seed=7))


@pytest.fixture
async def closed(tmp_path: Path) -> Path:
    """A log with two partitions of ten records, closed cleanly."""
    path = tmp_path / "log"
    log = await open_log(path)
    await log.create_topics([TopicSpec(name="history", partitions=2, record_bytes_max=10_000)])
    for number in range(RECORDS):
        for partition in range(2):
            value = str(number).encode() * 50
            await log.append(LogRecord(topic="history", partition=partition, key=b"k", value=value))
    await log.close()
    return path


@pytest.fixture(scope="session")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("killed") / "log"
    child = children.start("append_and_die", path)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    return path


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    """A log with 1 500 acknowledged records, most of them in its end file, all in its WAL; its process was killed."""
    return shutil.copytree(killed_once, tmp_path / "log")


async def refusal(path: Path) -> LogError:
    with pytest.raises((LogNotOpened, LogCorrupted)) as caught:
        await open_log(path)
    return caught.value


def only(path: Path, pattern: str) -> Path:
    [found] = [file for file in (path / "records").glob(pattern) if file.stat().st_size]
    return found


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path: Path, to: int) -> None:
    path.write_bytes(path.read_bytes()[:to])


def edit_rows(path: Path, edit: Callable[[rocksdict.Rdict], None]) -> None:
    database = rocksdict.Rdict(str(path / "records"), rocksdict.Options(raw_mode=True))
    edit(database)
    database.close()


async def test_a_record_changed_in_the_database_is_named_and_those_before_it_are_read(closed: Path) -> None:
    key = Place(1, 1).key(6)

    def damage(database: rocksdict.Rdict) -> None:
        value = bytearray(database[key] or b"")
        value[-3] ^= 0x10
        database[key] = bytes(value)

    edit_rows(closed, damage)
    log = await open_log(closed)
    reader = await log.open_reader("history", 1, 0)

    assert [stored.offset for stored in await reader.read(100, 0)] == [0, 1, 2, 3, 4, 5]
    with pytest.raises(LogCorrupted, match=r"history/1 is damaged at offset 6: expected checksum") as caught:
        await reader.read(100, 0)
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("history", 1, 6)
    undamaged = await (await log.open_reader("history", 0, 0)).read(100, 0)
    assert len(undamaged) == RECORDS
    await log.close()


async def test_a_record_taken_out_of_the_database_is_missed(closed: Path) -> None:
    edit_rows(closed, lambda database: database.delete(Place(1, 1).key(6)))
    log = await open_log(closed)
    reader = await log.open_reader("history", 1, 6)

    with pytest.raises(LogCorrupted, match=r"at offset 6: expected a record, but the next one is at offset 7"):
        await reader.read(100, 0)
    await log.close()


async def test_the_last_record_taken_out_of_the_database_is_missed_when_it_opens(closed: Path) -> None:
    edit_rows(closed, lambda database: database.delete(Place(1, 1).key(9)))

    error = await refusal(closed)

    assert "expected history/1 to end at offset 10 or later" in str(error)
    assert "but it ends at 9: acknowledged records are lost" in str(error)


RECORD = LogRecord(topic="t", partition=3, key=b"key", value=b"value", headers=(("h", b"1"),))
KEY = Place(1, 3).key(42)
PACKED = pack(KEY, RECORD, 1_700_000_000_000)


@given(st.integers(0, len(PACKED) * 8 - 1))
def test_every_flipped_bit_of_a_record_is_damage(bit: int) -> None:
    changed = bytearray(PACKED)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"^expected .*, but "):
        unpack("t", 3, KEY, bytes(changed))


@given(st.integers(0, len(PACKED) - 1))
def test_every_cut_record_is_damage(length: int) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, but "):
        unpack("t", 3, KEY, PACKED[:length])


def test_a_record_in_another_records_place_is_damage() -> None:
    with pytest.raises(ValueError, match="expected checksum"):
        unpack("t", 3, Place(1, 3).key(43), PACKED)


@given(
    st.builds(
        LogRecord,
        topic=st.just("t"),
        partition=st.just(3),
        key=st.none() | st.binary(),
        value=st.none() | st.binary(),
        headers=st.lists(st.tuples(st.text(), st.binary())).map(tuple),
    ),
    st.integers(0, 2**63 - 1),
)
def test_a_record_is_read_as_it_was_packed(record: LogRecord, timestamp_ms: int) -> None:
    found = unpack("t", 3, KEY, pack(KEY, record, timestamp_ms))
    assert (found.key, found.value, found.headers) == (record.key, record.value, record.headers)
    assert (found.offset, found.timestamp_ms) == (42, timestamp_ms)


async def test_a_cut_wal_is_a_log_shorter_than_recorded(killed: Path) -> None:
    wal = only(killed, "*.log")
    cut(wal, wal.stat().st_size // 3)

    error = await refusal(killed)

    assert isinstance(error, LogCorrupted)
    assert (error.topic, error.partition) == ("history", 0)
    assert "acknowledged records are lost" in str(error)


async def test_a_removed_wal_is_a_log_shorter_than_recorded(killed: Path) -> None:
    only(killed, "*.log").unlink()

    assert "expected topic history" in str(await refusal(killed))


async def test_a_damaged_wal_record_is_not_taken_for_the_end(killed: Path) -> None:
    wal = only(killed, "*.log")
    # Behind everything the end file knows of: point-in-time recovery would drop what follows, and nobody would notice.
    flip(wal, wal.stat().st_size * 9 // 10)

    assert "expected an undamaged log" in str(await refusal(killed))


async def test_accepted_loss_opens_what_is_left_and_is_not_asked_for_again(killed: Path) -> None:
    wal = only(killed, "*.log")
    flip(wal, wal.stat().st_size // 2)
    assert isinstance(await refusal(killed), LogCorrupted)

    log = await open_log(killed, accept_loss=True)
    end = (await log.bounds("history", 0)).end
    assert 0 < end < 750
    # At once, or a crash before the next save would have the operator accept the same loss again.
    assert json.loads((killed / "ends.json").read_bytes())["ends"]["history"][0] == end
    assert await log.append(LogRecord(topic="history", partition=0, key=None, value=b"on")) == end
    await log.close()

    again = await open_log(killed)
    assert (await again.bounds("history", 0)).end == end + 1
    await again.close()


async def test_a_torn_last_wal_record_is_the_end_of_a_crash_and_no_damage(killed: Path) -> None:
    wal = only(killed, "*.log")
    with wal.open("ab") as file:
        file.write(wal.read_bytes()[:20])

    log = await open_log(killed)

    assert [(await log.bounds("history", number)).end for number in range(2)] == [750, 750]
    await log.close()


async def test_a_cut_table_file_is_not_opened(closed: Path) -> None:
    table = only(closed, "*.sst")
    cut(table, table.stat().st_size - 30)

    assert isinstance(await refusal(closed), LogCorrupted)


async def test_a_flipped_byte_of_a_table_file_is_met_when_it_is_opened_or_read(closed: Path, tmp_path: Path) -> None:
    size = only(closed, "*.sst").stat().st_size
    for at in range(5, size, size // 23):
        path = tmp_path / str(at)
        shutil.copytree(closed, path)
        flip(only(path, "*.sst"), at)
        with contextlib.suppress(LogCorrupted):
            log = await open_log(path)
            try:
                # Some bytes of a table file say nothing about records: then every record must be there, and right.
                for partition in range(2):
                    reader = await log.open_reader("history", partition, 0)
                    found = [stored.value for stored in await reader.read(100, 0)]
                    assert found == [str(number).encode() * 50 for number in range(RECORDS)]
            finally:
                await log.close()


@pytest.mark.parametrize("accept_loss", [False, True])
async def test_a_damaged_block_of_records_is_named_for_what_it_is_even_to_those_who_accept_loss(
    closed: Path, accept_loss: bool
) -> None:
    flip(only(closed, "*.sst"), 100)

    with pytest.raises(LogCorrupted, match="block checksum mismatch"):
        await open_log(closed, accept_loss=accept_loss)


async def test_deleted_records_are_gone_from_the_disk(closed: Path) -> None:
    log = await open_log(closed)
    await log.delete_records("history", 1, 7)
    await log.close()

    def left(database: rocksdict.Rdict) -> None:
        found = [number for number in range(RECORDS) if Place(1, 1).key(number) in database]
        assert found == [7, 8, 9]
        assert all(Place(1, 0).key(number) in database for number in range(RECORDS))

    edit_rows(closed, left)


async def test_a_removed_database_is_missed(closed: Path) -> None:
    shutil.rmtree(closed / "records")

    assert "expected topic history" in str(await refusal(closed))


async def test_a_missing_a_damaged_and_a_foreign_end_file_are_refused(closed: Path, tmp_path: Path) -> None:
    ends = closed / "ends.json"
    good = ends.read_bytes()

    ends.unlink()
    assert "but there is no such file" in str(await refusal(closed))
    ends.write_bytes(good[:-9])
    assert "but it cannot be read" in str(await refusal(closed))
    ends.write_bytes(good.replace(b"[10,10]", b"[10,11]"))
    assert "expected checksum" in str(await refusal(closed))

    other = await EmbeddedLog.open(tmp_path / "other", clock=ManualClock(), chance=Chance(seed=8))
    await other.close()
    shutil.copy(tmp_path / "other" / "ends.json", ends)
    assert "but they are those of" in str(await refusal(closed))


async def test_a_second_opener_in_another_process_is_told_who_was_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    child = children.start("commit_until_killed", path)
    children.next_line(child, path)

    error = await refusal(path)

    child.kill()
    child.communicate()
    assert str(error) == (f"expected to be the only one who opens {path}, but it is open already (process {child.pid})")
    log = await open_log(path)
    child = children.start("open_second", path)
    output, _ = child.communicate()
    assert output.startswith(f"expected to be the only one who opens {path}, but it is open already (process ")
    await log.close()


async def test_a_second_opener_in_the_same_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    log = await open_log(tmp_path)

    assert "but it is open already" in str(await refusal(tmp_path))

    await log.create_topics([TopicSpec(name="history", partitions=1, record_bytes_max=100)])
    assert await log.append(LogRecord(topic="history", partition=0, key=None, value=b"a")) == 0
    await log.close()


async def test_a_newer_format_is_refused_whatever_else_it_says(closed: Path) -> None:
    (closed / "identity.json").write_text(json.dumps({"format": 2, "cluster": {"id": 1}}))

    assert str(await refusal(closed)) == f"expected a log of format 1 or older at {closed}, but it has format 2"


async def test_a_directory_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()

    assert str(await refusal(tmp_path)) == f"expected a log or an empty directory at {tmp_path}, but it holds letters"
    assert os.listdir(tmp_path) == ["letters"]


async def test_a_log_without_its_identity_is_refused(closed: Path) -> None:
    (closed / "identity.json").unlink()

    assert "identity.json is missing" in str(await refusal(closed))


async def test_an_unreadable_identity_is_refused(closed: Path) -> None:
    (closed / "identity.json").write_text("{")

    assert "expected the identity of a log in" in str(await refusal(closed))


async def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")

    assert "expected a directory for the log at" in str(await refusal(tmp_path / "log"))


async def test_two_logs_have_two_identities(tmp_path: Path) -> None:
    one = await EmbeddedLog.open(tmp_path / "one", clock=ManualClock())
    two = await EmbeddedLog.open(tmp_path / "two", clock=ManualClock())

    assert one.cluster_id != two.cluster_id
    assert json.loads((tmp_path / "one" / "identity.json").read_bytes()) == {
        "format": 1,
        "cluster_id": one.cluster_id,
        "created_at": "2023-11-14T22:13:20.000+00:00",
    }
    await one.close()
    await two.close()
