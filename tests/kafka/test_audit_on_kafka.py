"""Does the audit read topics as it reads a directory: gaps, former owners, what nobody wrote, a log that moves?"""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from engine import Client, Engine
from provider_log import LogProvider, codec
from provider_log import records as r
from provider_log.answers import PartitionDigest
from provider_log.audit.replay import Answer, replay_log
from provider_log.audit.verify import Progress, Verdict, verify_log
from provider_log.cli import app as command
from provider_log.cli.exits import Exit
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogRecord, StoredRecord
from provider_log.topics import Topics
from tests.e2e.audited import OPTIONS, family, registry, ship, turn_over

PARTITIONS = 2
WAIT_S = 60


class Run:
    """An application on the broker whose nodes have been: two, one after the other, with stores of their own."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.directory = directory
        self.app = f"a{uuid.uuid4().hex}"
        self.history = Topics.of(self.app).history

    def provider(self, name: str) -> LogProvider:
        return LogProvider.kafka(self.bootstrap, self.directory / name, app=self.app, partitions=PARTITIONS)

    async def lived(self) -> None:
        async with self.provider("one") as provider, Engine(provider, registry(), OPTIONS):
            client = Client(provider)
            handles = [await client.start(ship, number, instance=f"ship-{number}") for number in range(4)]
            handles += [await client.start(family, instance=f"family-{number}") for number in range(2)]
            over = await client.start(turn_over, 1, instance="over")
            await over.enqueue_message("letters", "one")
            await asyncio.gather(*(handle.wait(WAIT_S) for handle in handles))
        async with self.provider("two") as provider, Engine(provider, registry(), OPTIONS):
            await Client(provider).enqueue_message("over", "letters", "two")
            await Client(provider).wait("over", WAIT_S)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[KafkaLog]:
        log = await KafkaLog.open(self.bootstrap)
        try:
            yield log
        finally:
            await log.close()

    async def verdict(
        self, *, digests: Mapping[int, PartitionDigest] | None = None, progress: Progress | None = None
    ) -> Verdict:
        stores = self.directory / "two" / "store"
        return await verify_log(self.open, stores, app=self.app, owner_digests=digests, progress=progress)

    async def records(self, partition: int) -> Sequence[StoredRecord]:
        async with self.open() as log:
            reader = await log.open_reader(self.history, partition, 0)
            found: list[StoredRecord] = []
            while stored := await reader.read(10_000, 0):
                found += stored
            return found

    async def append(self, partition: int, key: bytes | None, value: bytes) -> int:
        async with self.open() as log:
            return await log.append(LogRecord(topic=self.history, partition=partition, key=key, value=value))


@pytest.fixture
async def lived(bootstrap: str, tmp_path: Path) -> Run:
    run = Run(bootstrap, tmp_path)
    await run.lived()
    return run


async def turnlog(*arguments: str) -> int:
    """The exit code of a command, which makes an event loop of its own."""
    return await asyncio.to_thread(command.run, arguments)


async def test_a_runs_topics_keep_the_rules_and_its_stores_are_what_they_say(lived: Run) -> None:
    seen: list[tuple[int, int]] = []
    verdict = await lived.verdict(progress=lambda done, total: seen.append((done, total)))

    assert verdict.agrees, verdict.findings
    assert (verdict.partitions, verdict.owners, verdict.void) == (PARTITIONS, 2 * PARTITIONS, 0)
    assert verdict.executions > verdict.instances > 6
    assert all(each.store_offset == each.state.offset for each in verdict.states)
    assert seen[-1][0] == seen[-1][1] > verdict.records, "offsets are counted, and some of them are markers"


async def test_the_audit_passes_over_what_was_aborted(lived: Run) -> None:
    (first, *_) = await lived.records(0)
    async with lived.open() as log:
        producer = await log.open_producer(f"turnlog.{lived.app}.0.1")
        await producer.produce([LogRecord(topic=lived.history, partition=0, key=None, value=b"never was")])
        before = (await log.bounds(lived.history, 0)).end
        async with lived.provider("three") as provider:  # which takes the transactional id, and with it aborts
            await provider.digest(0)
    assert first.offset == 0
    verdict = await lived.verdict()
    assert verdict.agrees, verdict.findings
    assert (await lived.records(0))[-1].offset > before, "the aborted record lies between"


async def test_a_record_of_a_former_owner_is_void_and_counted(lived: Run) -> None:
    late = next(one for one in await lived.records(0) if _is_turn(one))
    assert late.value is not None
    offset = await lived.append(0, late.key, late.value)

    verdict = await lived.verdict()

    (finding,) = verdict.findings
    assert (finding.kind.value, finding.where, finding.partition, finding.offset) == ("void", lived.history, 0, offset)
    assert verdict.void == 1


async def test_what_is_no_record_of_ours_is_a_finding_at_its_offset(
    lived: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    offset = await lived.append(1, b"x", b"what a stranger wrote")
    given = ("--log", "kafka", "--bootstrap", lived.bootstrap, "--app", lived.app, "--data", str(lived.directory))

    assert await turnlog("audit", "verify", *given, "--json") == Exit.DIFFERS

    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["kind"], finding["partition"], finding["offset"]) == ("undecodable", 1, offset)


async def test_the_code_goes_the_recorded_way_again(lived: Run, capsys: pytest.CaptureFixture[str]) -> None:
    async with lived.open() as log:
        replayed = await replay_log(log, "over", app=lived.app, registry=registry())
        begun = await replay_log(log, "over", app=lived.app, until_offset=replayed.executions[0].last_offset)
    assert [each.answer for each in replayed.executions] == [Answer.AGREES] * 2
    assert [len(each.events) for each in begun.executions] == [len(replayed.executions[0].events)]

    given = ("--log", "kafka", "--bootstrap", lived.bootstrap, "--app", lived.app)
    assert await turnlog("audit", "replay", "over", *given, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["instance"] == "over"


async def test_a_log_that_moves_is_judged_up_to_where_it_was(bootstrap: str, tmp_path: Path) -> None:
    run = Run(bootstrap, tmp_path)
    async with run.provider("two") as provider, Engine(provider, registry(), OPTIONS):
        client = Client(provider)
        enough = asyncio.Event()
        done = 0

        async def without_end() -> None:
            nonlocal done
            while not enough.is_set():
                handle = await client.start(ship, 2)
                await handle.wait(WAIT_S)
                done += 1

        users = [asyncio.ensure_future(without_end()) for _ in range(4)]
        moved: list[tuple[int, int]] = []
        while len(moved) < 3:
            before = done
            digests = {number: await provider.digest(number) for number in range(PARTITIONS)}
            verdict = await run.verdict(digests=digests)
            assert verdict.agrees, verdict.findings
            assert all(each.owner_offset is not None for each in verdict.states)
            if done > before:
                moved.append((before, done))
        enough.set()
        await asyncio.gather(*users)


async def test_stores_of_another_log_are_not_compared(
    lived: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "application").write_text("shop\n")
    (tmp_path / "embedded" / "log").mkdir(parents=True)
    given = partial(turnlog, "audit", "verify", "--log", "kafka", "--bootstrap", lived.bootstrap, "--app", lived.app)

    for name, says in (("other", "application 'shop'"), ("embedded", "an embedded log")):
        assert await given("--data", str(tmp_path / name)) == Exit.USAGE
        assert says in capsys.readouterr().err


def _is_turn(stored: StoredRecord) -> bool:
    return isinstance(codec.decode_record(stored.value or b""), r.TurnCommitted)
