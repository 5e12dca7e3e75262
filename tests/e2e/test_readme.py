"""Does the README work for somebody who has only the package? Its blocks, against the wheel, in an empty place."""

import re
import shlex
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALONE, ON_KAFKA = README.split("\n## On Kafka, on several nodes\n")
"""Its two halves: tests/cluster/test_readme_kafka.py runs what takes a broker."""

PATIENCE_S = 120


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def transcript(block: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of a console block, each with the lines its output must contain, in order."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *expected = part.splitlines()
        yield command, expected


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what it asks for, and nothing of this tree."""
    place = tmp_path_factory.mktemp("installed")
    wheels = place / "wheels"
    run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT],
        place,
    )
    venv.create(place / "env", with_pip=True)
    programs = place / "env" / "bin"
    requirements = ROOT / "requirements" / "runtime.txt"
    run([programs / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", requirements], place)
    (wheel,) = wheels.glob("*.whl")
    run([programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel], place)
    return programs


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(command: list[str | Path], cwd: Path, env: dict[str, str] | None = None) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def assert_printed(command: str, output: str, expected: list[str]) -> None:
    """What a command printed has these lines in it, in this order; of each only the part that is expected."""
    at = 0
    for line in expected:
        assert line in output[at:], f"{command} must print {line!r}, but printed\n{output}"
        at = output.index(line, at) + len(line)


def test_the_blocks_of_the_readme_do_what_they_say(installed: Path, tmp_path: Path) -> None:
    program, test = blocks(ALONE, "python")
    (tmp_path / "hello.py").write_text(program, encoding="utf-8")
    (tmp_path / "test_hello.py").write_text(test, encoding="utf-8")
    port = free_port()
    env = {
        "PATH": f"{installed}:/usr/bin:/bin",
        "TURNLOG_URL": f"http://127.0.0.1:{port}",
        "TURNLOG_LISTEN": f"127.0.0.1:{port}",
    }
    run([installed / "python", "test_hello.py"], tmp_path, env)
    nodes: list[subprocess.Popen[str]] = []
    try:
        for block in blocks(ALONE, "console"):
            for command, expected in transcript(block):
                if command.endswith("&"):
                    words = shlex.split(command.removesuffix("&"))
                    words[0] = str(installed / words[0])
                    node = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
                    nodes.append(node)
                    assert node.stderr is not None
                    assert any("ready at" in line for line in node.stderr), "the node says where it listens"
                    continue
                assert_printed(command, run(["sh", "-c", command], tmp_path, env), expected)
    finally:
        for node in nodes:
            node.terminate()
            node.communicate(timeout=PATIENCE_S)
    assert [node.returncode for node in nodes] == [0]


def test_every_page_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (ROOT / target).exists(), f"{target} is linked and does not exist"
