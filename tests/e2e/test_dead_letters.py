"""Does `turnlog dead-letter` say what could not be used, and give it another chance that counts once?"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from engine.clock import SystemClock
from engine.model.messages import StartOrchestration
from engine.model.payload import NULL
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.audit.dead_letters import read_letters
from provider_log.cli import app as command
from provider_log.cli.exits import Exit
from provider_log.log.embedded import EmbeddedLog, SnapshotView
from provider_log.log.port import LogRecord
from provider_log.routing import partition_of
from provider_log.topics import HOP_HEADER, LETTER_HEADER, Topics

TOPICS = Topics.of("shop")
HOME = partition_of("c", 2)
AWAY = 1 - HOME
JSON = ("content-type", b"application/json")
LATE = b'{"type": "EnqueueMessage", "instance": "c", "name": "notes", "data": "late"}'
WAIT_S = 30


@orchestration
async def collect(ctx: OrchestrationContext) -> list[str]:
    return [await ctx.dequeue("notes", str) for _ in range(2)]


@orchestration
async def nothing(_: OrchestrationContext) -> None: ...


@asynccontextmanager
async def node(
    directory: Path, options: LogProviderOptions | None = None
) -> AsyncGenerator[tuple[LogProvider, Client]]:
    async with (
        LogProvider.embedded(directory, app="shop", partitions=2, options=options) as provider,
        Engine(provider, Registry(orchestrations=[collect, nothing])),
    ):
        yield provider, Client(provider)


class Turnlog:
    """The command, for one data directory."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        told = ("--data", str(self.directory), "--app", "shop")
        code = await asyncio.to_thread(command.run, ("dead-letter", *arguments, *told))
        out, error = self._capsys.readouterr()
        return code, out, error


@pytest.fixture
def turnlog(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Turnlog:
    return Turnlog(tmp_path / "data", capsys)


def sent(value: bytes | None, key: bytes | None = b"c", *headers: tuple[str, bytes]) -> LogRecord:
    return LogRecord(topic=TOPICS.orchestrator, partition=AWAY, key=key, value=value, headers=headers)


async def with_letters(directory: Path, *records: LogRecord) -> None:
    """Let a node read these; when it stops, what it could not use is in the dead-letter topic."""
    async with node(directory) as (_, client):
        await client.start(collect, instance="c")
        await client.changed("c")
    # An input behind them ends once they are read.
    behind = next(name for name in map(str, range(20)) if partition_of(name, 2) == AWAY)
    start = StartOrchestration(instance=behind, name="nothing", input=NULL)
    log = await EmbeddedLog.open(directory / "log", clock=SystemClock())
    for record in (*records, sent(codec.encode_message(start), behind.encode())):
        await log.append(record)
    await log.close()
    async with node(directory) as (_, client):
        assert await client.wait(behind, WAIT_S) is None


async def test_a_letter_that_is_sent_again_twice_counts_once(turnlog: Turnlog) -> None:
    directory = turnlog.directory
    await with_letters(directory, sent(LATE, b"c", JSON, (HOP_HEADER, b"7")), sent(b"noise", None))
    async with node(directory):
        code, out, _ = await turnlog("list", "--json")
        assert code == Exit.OK
        first, second = json.loads(out)
        assert first["source"] == {"topic": TOPICS.orchestrator, "partition": AWAY, "offset": 0}
        assert (first["key"], first["size"]) == ("c", len(LATE))
        assert "and it hopped" in first["reason"]
        assert (second.get("key"), second["size"], second["source"]["offset"]) == (None, 5, 1)
        code, _, error = await turnlog("retry", first["letter"])
        assert (code, "but it is open already" in error) == (Exit.USAGE, True)

    for _ in range(2):
        code, out, _ = await turnlog("retry", first["letter"])
        assert (code, out.startswith(f"{first['letter']} sent again: {TOPICS.orchestrator}/{AWAY}/")) == (Exit.OK, True)

    async with node(directory) as (_, client):
        await client.enqueue_message("c", "notes", "end")
        assert sorted(await client.wait("c", WAIT_S)) == ["end", "late"]
    assert len(json.loads((await turnlog("list", "--json"))[1])) == 2


async def test_a_message_whose_instance_nobody_started_comes_in_once_it_is_there(turnlog: Turnlog) -> None:
    impatient = LogProviderOptions(orphan_grace_ms=0)
    async with node(turnlog.directory, impatient) as (_, client):
        await client.enqueue_message("c", "notes", "early")
        await client.start("nothing", instance="after")
        await client.wait("after", WAIT_S)
        await client.start(collect, instance="c")
        await client.changed("c")
    [letter] = json.loads((await turnlog("list", "--json"))[1])
    assert letter["key"] == "c"
    assert "nobody started it in time" in letter["reason"]
    assert (await turnlog("retry", letter["letter"]))[0] == Exit.OK
    async with node(turnlog.directory) as (_, client):
        await client.enqueue_message("c", "notes", "end")
        assert sorted(await client.wait("c", WAIT_S)) == ["early", "end"]


async def test_a_letter_that_comes_back_stays_the_letter_it_was(turnlog: Turnlog) -> None:
    await with_letters(turnlog.directory, sent(b"noise", b"c"))
    [first] = json.loads((await turnlog("list", "--json"))[1])
    assert (await turnlog("retry", first["letter"]))[0] == Exit.OK
    async with node(turnlog.directory) as (_, client):
        await client.start("nothing", instance="after")
        await client.wait("after", WAIT_S)
    view = SnapshotView(turnlog.directory / "log")
    letters = [stored.letter async for stored in read_letters(view, "shop")]
    await view.close()

    notes = [[header for header in letter.headers if header.name == LETTER_HEADER] for letter in letters if letter]
    assert notes == [[], [r.Header(LETTER_HEADER, first["letter"].encode())]]


async def test_people_see_a_table(turnlog: Turnlog) -> None:
    await with_letters(turnlog.directory, sent(b"noise", b"c"))
    code, out, _ = await turnlog("list")
    assert code == Exit.OK
    assert f"{TOPICS.orchestrator}/{AWAY}/0" in out
    assert "this begins with" in " ".join(out.split())


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("12", "expected a letter as PARTITION/OFFSET, like 0/12, but it is '12'"),
        ("0/999", "expected a dead letter at 0/999, but there is none"),
        ("9/0", "expected a dead letter at 9/0, but there is none"),
        ("without", "expected dead letter .* to keep what was sent, but it has no value: expected a message"),
    ],
)
async def test_what_cannot_be_sent_again_is_refused(turnlog: Turnlog, place: str, says: str) -> None:
    await with_letters(turnlog.directory, sent(None))
    [letter] = json.loads((await turnlog("list", "--json"))[1])

    code, _, error = await turnlog("retry", letter["letter"] if place == "without" else place)

    assert code == Exit.USAGE
    assert re.search(says, error)


async def test_a_log_without_the_application_is_named(turnlog: Turnlog) -> None:
    async with LogProvider.embedded(turnlog.directory, app="other"):
        pass

    code, _, error = await turnlog("list")

    assert code == Exit.USAGE
    assert "expected the topics of application 'shop' in this log" in error
