"""Does `turnlog bench` run on Kafka, and does an orchestration take the transactions it must and no more?"""

import json

import pytest

from provider_log.cli import app as command
from provider_log.cli.exits import Exit

SMALL = ("--instances", "100", "--in-flight", "20", "--alone", "10", "--json")


def figures(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, float]:
    assert command.run(("bench", "hello3", "--log", "kafka", *SMALL, *arguments)) == Exit.OK
    return json.loads(capsys.readouterr().out)


def test_an_orchestration_of_three_activities_takes_at_most_five_transactions(
    bootstrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, "--bootstrap", bootstrap)
    assert (found["log"], found["instances"], found["in_flight"]) == ("kafka", 100, 20)
    assert 4 <= found["transactions_per_orchestration"] <= 5
    assert found["orchestrations_per_s"] > 0
    assert found["bare_commit_p50_ms"] > 0


def test_without_a_broker_it_starts_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURNLOG_BOOTSTRAP", "127.0.0.1:1")  # nobody named it on the command line, so it is not loaded
    assert figures(capsys)["transactions_per_orchestration"] <= 5


def test_brokers_with_the_embedded_log_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(("bench", "hello3", "--bootstrap", "127.0.0.1:1")) == Exit.USAGE
    assert "--log kafka" in capsys.readouterr().err
