"""Do the commands that the fleet's README gives work, one after the other, as a reader would type them?"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from activities import stop_process
from plan import Service
from seen import free_port

FLEET = Path(__file__).parents[2] / "docs" / "examples" / "fleet"
BY_HAND = "\n## By hand\n"
ENDS_WITHIN_S = 30


def commands() -> list[list[str]]:
    """The indented lines of the section, each as words."""
    _, _, section = (FLEET / "README.md").read_text(encoding="utf-8").partition(BY_HAND)
    return [shlex.split(line) for line in section.splitlines() if line.startswith("    ")]


@pytest.fixture
def environment() -> dict[str, str]:
    """`turnlog` on the path, and a port that nobody else has."""
    address = f"127.0.0.1:{free_port()}"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "TURNLOG_LISTEN": address, "TURNLOG_URL": f"http://{address}"}


@pytest.fixture
def fleet(tmp_path: Path) -> Generator[Path]:
    """A copy of the directory, as a user has it; whatever was started in it is stopped in the end."""
    copy = tmp_path / "fleet"
    shutil.copytree(FLEET, copy, ignore=shutil.ignore_patterns("__pycache__"))
    yield copy
    for pid_file in copy.glob("home/*.pid"):
        stop_process(Service(pid_file.stem, size=1, home=str(pid_file.parent)))


def test_the_commands_of_the_readme_provision_watch_and_delete_a_service(
    fleet: Path, environment: dict[str, str]
) -> None:
    prepare, node, *others = commands()
    assert (prepare[0], node[:2]) == ("mkdir", ["turnlog", "node"])
    subprocess.run(prepare, cwd=fleet, check=True)
    serving = subprocess.Popen(node, cwd=fleet, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert serving.stderr is not None
        assert any(line.startswith("ready at ") for line in serving.stderr)
        said = [run(command, fleet, environment) for command in others]
    finally:
        serving.send_signal(signal.SIGINT)
        _, rest = serving.communicate(timeout=ENDS_WITHIN_S)

    assert (serving.returncode, rest.splitlines()[-1]) == (0, "stopped")
    assert [words[1] for words in others] == ["start", "wait", "status", "enqueue", "wait", "history"]
    assert (fleet / "provision-shop.svg").exists()
    assert '"port":2' in said[1].replace(" ", "")
    assert "watch-shop" in said[2]
    assert (fleet / "home" / "registry.json").read_text() == "{}"


def run(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    """What it printed."""
    ran = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False
    )
    assert ran.returncode == 0, f"{shlex.join(command)}: {ran.stderr}"
    return ran.stdout
