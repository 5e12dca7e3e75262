"""Does `turnlog bench` run on Kafka, and does an orchestration take the transactions it must and no more?"""

import json
import uuid
from pathlib import Path

import pytest

from engine.errors import UsageError
from provider_log.bench.nodes import running_nodes
from provider_log.cli import app as command
from provider_log.cli.exits import Exit

SMALL = ("--instances", "100", "--in-flight", "20", "--alone", "10", "--json")


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    assert command.run(("bench", "hello3", "--log", "kafka", *SMALL, *arguments)) == Exit.OK
    return json.loads(capsys.readouterr().out)


def test_an_orchestration_of_three_activities_takes_at_most_five_transactions(
    bootstrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, "--bootstrap", bootstrap, "--nodes", "0")
    assert (found["log"], found["nodes"], found["instances"], found["in_flight"]) == ("kafka", 0, 100, 20)
    assert 4 <= found["transactions_per_orchestration"] <= 5
    assert found["orchestrations_per_s"] > 0
    assert found["bare_commit_p50_ms"] > 0


def test_two_nodes_share_the_work_and_take_no_more_transactions(
    bootstrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, "--bootstrap", bootstrap, "--nodes", "2")
    assert (found["nodes"], found["partitions"]) == (2, 4)
    assert 4 <= found["transactions_per_orchestration"] <= 5
    assert found["orchestrations_per_s"] > 0


def test_a_node_that_cannot_run_is_told_with_its_own_words(
    bootstrap: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNLOG_WORKER_TAGS", "any,gpu")
    arguments = ("bench", "hello3", "--log", "kafka", *SMALL, "--bootstrap", bootstrap, "--nodes", "1")
    assert command.run(arguments) == Exit.USAGE
    assert "expected a node that runs, but it ended" in capsys.readouterr().err


async def test_a_node_that_ends_on_the_way_makes_no_measurement(bootstrap: str, tmp_path: Path) -> None:
    """Another one would take its partitions, and what is measured would be that one alone."""

    async def measured() -> None:
        async with running_nodes(bootstrap, f"app-{uuid.uuid4().hex}", tmp_path, 1) as nodes:
            nodes[0].kill()
            await nodes[0].wait()

    with pytest.raises(UsageError, match="expected a node that runs to the end of the measurement, but it ended"):
        await measured()


def test_without_a_broker_it_starts_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNLOG_BOOTSTRAP", "127.0.0.1:1")  # nobody named it on the command line, so it is not loaded
    assert figures(capsys, "--nodes", "0")["transactions_per_orchestration"] <= 5


@pytest.mark.parametrize("option", [("--bootstrap", "127.0.0.1:1"), ("--nodes", "2")])
def test_brokers_and_nodes_with_the_embedded_log_are_refused(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(("bench", "hello3", *option)) == Exit.USAGE
    assert "--log kafka" in capsys.readouterr().err
