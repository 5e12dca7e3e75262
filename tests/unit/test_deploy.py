"""Does what is in deploy fit the command? Its flags and variables against the command's own, its files against theirs.

tests/cluster/test_compose.py runs what compose.yaml starts.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import typer.main
from typer.core import TyperGroup

from engine.runtime.options import EngineOptions
from provider_log.cli.app import app
from provider_log.cli.settings import PREFIX, Settings
from provider_log.dev.jars import KAFKA
from tests.cluster.compose import COMPOSE, DEPLOY, DOCKERFILE, Compose, copied_in

ROOT = DEPLOY.parent
UNIT = (DEPLOY / "turnlog.service").read_text(encoding="utf-8")
SERVICES = Compose.read().services
NODES = ["node-1", "node-2", "node-3"]
BROKERS = ["kafka-1", "kafka-2", "kafka-3"]


def unknown_flags(arguments: Sequence[str]) -> set[str]:
    """Flags of a command line that the command does not have."""
    command, words = typer.main.get_group(app).commands[arguments[0]], arguments[1:]
    while isinstance(command, TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    return {word for word in words if word.startswith("--")} - known


def test_the_unit_starts_a_node_with_flags_it_has() -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    program, *arguments = shlex.split(line)
    assert (Path(program).name, arguments[0]) == ("turnlog", "node")
    assert unknown_flags(arguments) == set()


def test_every_variable_that_is_named_is_a_setting() -> None:
    text = UNIT + COMPOSE.read_text(encoding="utf-8") + (DEPLOY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", text))
    settings = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    assert named
    assert named <= settings


def test_every_page_deploy_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (DEPLOY / "README.md").read_text(encoding="utf-8")):
        assert (DEPLOY / target).exists(), target


def fits_the_schema(file: Path) -> bool:
    """Whether Compose's own schema, as check-jsonschema brings it, lets a file pass."""
    checker = Path(sys.executable).with_name("check-jsonschema")
    checked = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", file], capture_output=True, text=True, check=False
    )
    assert checked.returncode in {0, 1}, checked.stderr
    return checked.returncode == 0


def test_the_compose_file_fits_the_schema_of_compose_files(tmp_path: Path) -> None:
    assert fits_the_schema(COMPOSE)
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text(encoding="utf-8").replace("stop_grace_period:", "stop_grace:"))
    assert not fits_the_schema(wrong)


@pytest.mark.parametrize("name", ["topics", *NODES])
def test_a_service_runs_the_command_with_flags_it_has(name: str) -> None:
    assert unknown_flags(SERVICES[name].command) == set()


def test_the_brokers_are_of_the_version_that_is_tested_and_the_nodes_know_them_all() -> None:
    assert {SERVICES[name].image for name in BROKERS} == {f"apache/kafka:{KAFKA}"}
    assert {SERVICES[name].environment["KAFKA_ADVERTISED_LISTENERS"] for name in BROKERS} == {
        f"PLAINTEXT://{name}:9092" for name in BROKERS
    }
    for name in ("topics", *NODES):
        assert SERVICES[name].environment["TURNLOG_BOOTSTRAP"] == ",".join(f"{name}:9092" for name in BROKERS)


def test_each_node_says_its_own_name_and_has_a_volume_of_its_own() -> None:
    for name in NODES:
        command = SERVICES[name].command
        assert command[command.index("--advertise") + 1] == f"{name}:8620"
        (volume,) = SERVICES[name].volumes
        source, target = volume.split(":")
        assert source == name
        assert Path(command[command.index("--data") + 1]).is_relative_to(target)


def test_a_node_may_end_its_work_before_it_is_killed() -> None:
    for name in NODES:
        assert SERVICES[name].patience_s * 1_000 > 2 * EngineOptions().drain_ms


def test_the_image_is_made_of_files_that_are_there_and_not_kept_from_it() -> None:
    let_in = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [source for source, _ in copied_in(DOCKERFILE)]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).is_relative_to(each) for each in let_in), source
    assert 'ENTRYPOINT ["turnlog"]' in DOCKERFILE
    assert SERVICES["node-1"].environment["TURNLOG_APP_MODULE"] == f"{Path(copied[-1]).stem}:registry"
