"""Do the pages for writers of providers work as they stand?"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.port import Provider, ProviderAdmin
from engine.testing.conformance import GROUPS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
GUIDE = ROOT / "docs" / "providers.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = re.compile(r"^```python\n# (?P<name>\w+\.py)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_example_of_the_page_runs_the_whole_suite(tmp_path: Path) -> None:
    files = {match["name"]: match["text"] for match in FILES.finditer(PAGE)}
    assert list(files) == ["factory.py", "test_my_provider.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_provider.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    count = sum(len(tests) for tests in GROUPS.values())
    assert run.stdout.splitlines()[-1].startswith(f"{count} passed"), run.stdout + run.stderr
    assert run.returncode == 0


def test_the_page_lists_every_group() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert listed == list(GROUPS)


@pytest.mark.anyio
async def test_the_guide_walks_a_message_through_a_provider() -> None:
    text = GUIDE.read_text()
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        lines = "\n" * text[: block.start(1)].count("\n")  # a traceback has the lines of the page
        code = compile(lines + block[1], str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if (awaited := eval(code, names)) is not None:
            await awaited
    assert "told" in names  # the last block has run


def test_the_guide_names_groups_that_there_are() -> None:
    listed = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", GUIDE.read_text()))
    of_the_port = {name for kind in (Provider, ProviderAdmin) for name in dir(kind)}
    assert listed - of_the_port - {"ignore_attempt"} <= set(GROUPS)
