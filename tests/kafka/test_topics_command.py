"""Does `turnlog topics` make what a node needs, and tell what would lose records?"""

import asyncio
import contextlib
import json
import uuid
from pathlib import Path

import pytest

from provider_log import LogProvider
from provider_log.cli import app as command
from provider_log.cli.exits import Exit
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogNotOpened
from provider_log.topics import Topics
from tests.kafka.by_hand import make_topic


class Turnlog:
    """The command, for one application on the broker."""

    def __init__(self, bootstrap: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.bootstrap = bootstrap
        self.app = f"a{uuid.uuid4().hex}"
        self.topics = Topics.of(self.app)
        self.capsys = capsys

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        told = ("--log", "kafka", "--bootstrap", self.bootstrap, "--app", self.app)
        code = await asyncio.to_thread(command.run, ("topics", *arguments, *told))
        out, error = self.capsys.readouterr()
        return code, out, error

    async def make_by_hand(self, name: str, partitions: int, wrong: dict[str, str]) -> None:
        """A topic as somebody else would make it, once every broker has heard of it."""
        spec = next(one for one in self.topics.specs(partitions) if one.name == name)
        await make_topic(self.bootstrap, spec, wrong=wrong)
        log = await KafkaLog.open(self.bootstrap)
        with contextlib.suppress(LogNotOpened):
            await log.create_topics([spec])
        await log.close()


@pytest.fixture
def turnlog(bootstrap: str, capsys: pytest.CaptureFixture[str]) -> Turnlog:
    return Turnlog(bootstrap, capsys)


async def test_what_is_made_fits_and_a_node_takes_it(turnlog: Turnlog, tmp_path: Path) -> None:
    code, out, _ = await turnlog("create", "--partitions", "3", "--replication-factor", "1")
    assert code == Exit.OK
    assert out.count(" created ") == 7
    assert "message.timestamp.type=LogAppendTime" in out
    assert f"next: turnlog node --log kafka --bootstrap {turnlog.bootstrap} --app {turnlog.app}" in out

    code, out, _ = await turnlog("create", "--json")
    made = json.loads(out)
    assert (code, made["created"]) == (Exit.OK, [])
    assert {each["partitions"] for each in made["topics"].values()} == {3}

    code, out, _ = await turnlog("check")
    assert (code, out.count(" fits ")) == (Exit.OK, 7)

    async with LogProvider.kafka(turnlog.bootstrap, tmp_path, app=turnlog.app) as provider:
        assert provider.partitions == 3


async def test_another_partition_count_is_refused(turnlog: Turnlog) -> None:
    await turnlog("create", "--partitions", "2")
    code, _, error = await turnlog("create", "--partitions", "3")
    assert code == Exit.USAGE
    assert "expected 3 partitions" in error
    assert "has 2; their number is fixed" in error


async def test_a_factor_that_the_cluster_has_no_brokers_for_is_refused(turnlog: Turnlog) -> None:
    code, _, error = await turnlog("create", "--replication-factor", "32")
    assert code == Exit.USAGE
    assert f"expected to create topic {turnlog.topics.orchestrator}" in error


async def test_a_topic_that_loses_records_is_named_with_what_mends_it(turnlog: Turnlog) -> None:
    await turnlog.make_by_hand(turnlog.topics.history, 1, {"retention.ms": "604800000"})

    code, _, error = await turnlog("create")
    assert code == Exit.USAGE
    assert "retention.ms=-1" in error

    code, out, _ = await turnlog("check", "--json")
    assert code == Exit.USAGE
    found = json.loads(out)
    assert not found["fits"]
    assert [(one["topic"], one["setting"], one["found"]) for one in found["unfit"]] == [
        (turnlog.topics.history, "retention.ms", "604800000")
    ]

    code, out, _ = await turnlog("check")
    assert code == Exit.USAGE
    assert f"--entity-name {turnlog.topics.history} --add-config retention.ms=-1" in out
    assert out.count(" does not fit ") == 1


async def test_topics_that_are_missing_or_of_another_count_are_named(turnlog: Turnlog) -> None:
    code, out, _ = await turnlog("check")
    assert code == Exit.USAGE
    assert f"turnlog topics create --log kafka --bootstrap {turnlog.bootstrap} --app {turnlog.app}" in out

    other = Turnlog(turnlog.bootstrap, turnlog.capsys)
    await other.make_by_hand(other.topics.history, 2, {})
    await other.make_by_hand(other.topics.owners, 1, {})
    code, out, _ = await other("check", "--json")
    found = json.loads(out)
    assert code == Exit.USAGE
    assert set(found["missing"]) == {spec.name for spec in other.topics.specs(1)} - set(found["topics"])
    assert f"{other.topics.owners} has 1" in found["counts"][0]


async def test_an_embedded_log_has_no_topics_to_make(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("create", "check"):
        assert await asyncio.to_thread(command.run, ("topics", name)) == Exit.USAGE
        assert "expected --log kafka" in capsys.readouterr().err


async def test_a_name_that_a_node_would_refuse_is_refused(turnlog: Turnlog) -> None:
    turnlog.app = "Shop_1"
    code, _, error = await turnlog("create")
    assert code == Exit.USAGE
    assert "'Shop_1'" in error
