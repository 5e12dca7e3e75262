"""Does every net catch what docs/determinism.md says it catches, and nothing else?"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.replay.nets import ProfileNet
from tests.replay.driving import Execution
from tests.replay.net_cases import ALLOWED, WAYS
from tests.replay.test_loop_works import WORKS, Orchestration

REPOSITORY = Path(__file__).parents[2]
NETS = ["loop", "audit", "profile"]


def table() -> dict[str, list[str]]:
    """The rows of the page's first table by their first cell; the last column is of no net (test_nets.py has it)."""
    page = (REPOSITORY / "docs/determinism.md").read_text(encoding="utf-8")
    lines = page[page.index("\n|") :].strip().split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["in an orchestration", *NETS, "check"]
    return {row[0]: row[1:-1] for row in rows[2:]}


def promised(cell: str) -> bool:
    """Whether a cell promises it for this Python."""
    if cell.startswith("from 3."):
        return sys.version_info[:2] >= (3, int(cell.removeprefix("from 3.")))
    return {"yes": True, "no": False}[cell]


def test_every_row_of_the_page_is_tried() -> None:
    assert list(table()) == list(WAYS)


@pytest.mark.parametrize("net", NETS)
def test_a_net_catches_what_its_column_says_and_no_more(net: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.replay.net_cases", net],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)

    # The loop is always there: a column says what its net adds.
    expected = {name: promised(cells[0]) or promised(cells[NETS.index(net)]) for name, cells in table().items()}
    assert found == {**expected, **dict.fromkeys(ALLOWED, False)}


@pytest.mark.parametrize(("orchestration", "expected"), WORKS, ids=[work[0].__name__ for work in WORKS])
def test_what_works_works_under_the_profile_net(orchestration: Orchestration, expected: object) -> None:
    execution = Execution(orchestration)
    with ProfileNet():
        assert execution.to_end() == expected
    execution.loop.put_away()


def test_the_profile_function_that_was_there_is_put_back() -> None:
    def mine(*_: object) -> None: ...

    sys.setprofile(mine)
    try:
        with ProfileNet():
            pass
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


def test_a_callback_of_the_collector_that_was_there_first_is_not_the_turns() -> None:
    """The first net of a process, because only then were its own callbacks never placed before."""
    script = """
import gc, time
gc.callbacks.append(lambda phase, info: time.perf_counter())
from engine import OrchestrationContext, orchestration
from engine.testing import run

@orchestration
async def collects(ctx: OrchestrationContext) -> int:
    gc.collect()
    return 1

assert run(collects).output == 1
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
