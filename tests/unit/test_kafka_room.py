"""Where does the broker of tests/kafka come from, and what becomes of the room where none can be had?"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kafka.choice import BOOTSTRAP, Source, source_of
from tests.kafka.container import environment_of

ROOT = Path(__file__).parents[2]
ROOM = "tests/kafka/test_contract.py"


def yes() -> bool:
    return True


def no() -> bool:
    return False


def never() -> bool:
    raise AssertionError("expected no question about Docker, but it was asked")


def test_a_broker_that_runs_goes_before_a_container_and_that_before_one_of_our_own() -> None:
    assert source_of({BOOTSTRAP: "localhost:9092"}, never) is Source.RUNNING
    assert source_of({}, yes) is Source.CONTAINER
    assert source_of({BOOTSTRAP: ""}, yes) is Source.CONTAINER
    assert source_of({}, no) is Source.PACKAGES


def test_a_docker_command_without_a_daemon_is_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "docker"
    command.write_text("#!/bin/sh\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert source_of({}) is Source.PACKAGES

    command.write_text("#!/bin/sh\necho 28.0\n")
    assert source_of({}) is Source.CONTAINER


def test_a_container_gets_the_settings_of_our_own_broker_and_the_address_clients_use() -> None:
    settings = environment_of("docker.example.org", 40000)
    assert settings["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://docker.example.org:40000"
    assert settings["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "1"
    assert settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


@pytest.fixture
def without_a_broker(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a machine without Docker that cannot keep a jar."""
    no_directory = tmp_path / "file"
    no_directory.touch()
    kept = {name: value for name, value in os.environ.items() if name not in {BOOTSTRAP, "DOCKER_HOST"}}
    return kept | {"XDG_CACHE_HOME": str(no_directory), "PATH": str(tmp_path)}


def test_without_a_broker_the_room_is_left_out_and_says_so(without_a_broker: Mapping[str, str]) -> None:
    ended = run_room(without_a_broker)
    assert ended.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, ended.stdout
    assert "tests on Kafka were left out, no broker can be had: expected to download" in ended.stdout


def test_without_a_broker_that_is_required_the_room_fails(without_a_broker: Mapping[str, str]) -> None:
    ended = run_room(without_a_broker, "--require-kafka", "--exitfirst")
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout
    assert "expected to download" in ended.stdout


def run_room(environment: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", ROOM, *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
