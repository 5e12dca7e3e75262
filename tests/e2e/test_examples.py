"""Does every example print what its docstring says, in an empty directory and without a warning?"""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.py"))
PRINTS = "\nPrints:\n"
ENDS_WITHIN_S = 60


def test_there_are_examples() -> None:
    assert {"hello", "fan_out", "approval", "trip", "children", "cleanup", "counter", "resume"} <= {
        path.stem for path in EXAMPLES
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_says(example: Path, tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    about, says, prints = docstring.partition(PRINTS)
    assert about, "expected a docstring that says what the example shows"
    assert says, f"expected a section {PRINTS.strip()} in the docstring"

    ran = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == textwrap.dedent(prints) + "\n"
