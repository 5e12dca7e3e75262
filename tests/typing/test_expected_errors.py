"""Do the overloads tell a type checker what is right and what is wrong, on exactly the lines that say so?"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def test_exactly_the_marked_lines_are_errors(tmp_path: Path) -> None:
    checked = HERE / "expected_errors.py"
    project = tmp_path / "pyrightconfig.json"
    project.write_text(
        json.dumps(
            {
                "include": [str(checked)],
                "extraPaths": [str(ROOT)],
                "typeCheckingMode": "strict",
                "pythonVersion": "3.11",
                "reportUnusedExpression": False,
                "reportUnusedVariable": False,
            }
        )
    )
    run = subprocess.run(
        [Path(sys.executable).parent / "basedpyright", "--outputjson", "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    report = json.loads(run.stdout)
    found = {
        diagnostic["range"]["start"]["line"] + 1: diagnostic["message"].splitlines()[0]
        for diagnostic in report["generalDiagnostics"]
    }
    lines = checked.read_text().splitlines()
    marked = {number for number, line in enumerate(lines, start=1) if "# error: " in line}
    assert {line: found[line] for line in found.keys() - marked} == {}
    assert {line: lines[line - 1] for line in marked - found.keys()} == {}
    assert len(marked) == 27
