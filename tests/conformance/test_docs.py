"""Does the page for writers of providers work as it stands?"""

import os
import re
import subprocess
import sys
from pathlib import Path

from engine.testing.conformance import GROUPS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text()
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
