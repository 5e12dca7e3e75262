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
    """Commands of a console block, each with the lines it prints."""
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


def typed(command: str, cwd: Path, env: dict[str, str]) -> str:
    """What somebody who types the command sees: both streams, as a terminal shows them."""
    return run(["sh", "-c", f"{command} 2>&1"], cwd, env)


def printed_lines(output: str) -> list[str]:
    """The lines of an output, without widths, the rules of tables, and the times of this run."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip(" \u2500")]
    return [re.sub(r"\+\d+\.\d{3}s", "+0.000s", re.sub(r"\d+ s ago|just now", "just now", line)) for line in lines]


def is_printed(lines: list[str], expected: list[str]) -> bool:
    """Are these all the lines, in this order? `…` stands for lines left out, and at the end of a line for its rest."""
    if not expected:
        return not lines
    first, *others = expected
    if first == "…":
        return any(is_printed(lines[at:], others) for at in range(len(lines) + 1))
    fits = bool(lines) and (lines[0].startswith(first[:-1]) if first.endswith("…") else lines[0] == first)
    return fits and is_printed(lines[1:], others)


def assert_printed(command: str, output: str, expected: list[str]) -> None:
    """A command printed what the page shows."""
    shown = printed_lines("\n".join(expected))
    assert is_printed(printed_lines(output), shown), f"{command} must print {shown}, but printed\n{output}"


@pytest.mark.parametrize(
    ("output", "shown", "fits"),
    [
        ('[\n  "a"\n]\n', ["[", ' "a"', "]"], True),
        ('[\n  "a"\n]\n', ['"a"'], False),
        ('{"output":["a"]}\n', ['"a"'], False),
        ("1 +0.000s A\n2 +1.013s B\n3 +1.013s C\n", ["1 +0.000s A", "…", "3 +1.002s C"], True),
        ("1 +0.000s A\n2 +1.013s B\n", ["1 +0.000s A"], False),
        ("rules kept; 8 stores\n", ["rules kept; …"], True),
        ("ok\n", [], False),
    ],
)
def test_what_a_page_shows_is_compared_as_a_whole(output: str, shown: list[str], fits: bool) -> None:
    assert is_printed(printed_lines(output), printed_lines("\n".join(shown))) is fits


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
                assert_printed(command, typed(command, tmp_path, env), expected)
    finally:
        for node in nodes:
            node.terminate()
            node.communicate(timeout=PATIENCE_S)
    assert [node.returncode for node in nodes] == [0]


def test_every_page_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (ROOT / target).exists(), f"{target} is linked and does not exist"
