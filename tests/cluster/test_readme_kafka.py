"""Does the README's section about several nodes work? Its commands in their order, on the tests' broker."""

import shlex
import subprocess
import uuid
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.node_process import TURNLOG, clean_environment
from tests.e2e.test_readme import ALONE, ON_KAFKA, assert_printed, blocks, free_port, transcript, typed


def until_ready(node: subprocess.Popen[str]) -> None:
    """Return when the node says so, as a reader would wait for it."""
    assert node.stderr is not None
    said: list[str] = []
    for line in node.stderr:
        said.append(line)
        if "ready at" in line:
            return
    raise AssertionError(f"expected a node that is ready, but it said: {''.join(said)}")


def test_a_node_is_killed_and_the_other_has_its_work(bootstrap: str, tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(blocks(ALONE, "python")[0], encoding="utf-8")
    first, second = free_port(), free_port()
    environment = {
        **clean_environment(),
        "PATH": f"{TURNLOG.parent}:/usr/bin:/bin",
        "TURNLOG_URL": f"http://127.0.0.1:{first}",
        "TURNLOG_LISTEN": f"127.0.0.1:{first}",
        "TURNLOG_APP": f"a{uuid.uuid4().hex}",  # others use this broker, too
    }
    (block,) = blocks(ON_KAFKA, "console")
    block = block.replace("localhost:9092", bootstrap).replace("127.0.0.1:8621", f"127.0.0.1:{second}")
    nodes: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        for command, expected in transcript(block):
            words = shlex.split(command.removesuffix("&"))
            if words[0] == "export":
                environment |= dict(word.split("=", 1) for word in words[1:])
            elif command.endswith("&"):
                node = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
                nodes.append(stack.enter_context(node))
                stack.callback(node.kill)
                until_ready(node)
            elif words[:2] == ["kill", "-9"]:
                nodes[int(words[2].removeprefix("%")) - 1].kill()
            else:
                assert_printed(command, typed(command, tmp_path, environment), expected)
        assert len(nodes) == 2
        nodes[1].terminate()
        nodes[1].communicate(timeout=60)
        assert nodes[1].returncode == 0
