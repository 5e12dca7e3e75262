"""Does a foreign package of a common name end in a sentence?"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["engine", "schemas"])
def test_a_foreign_neighbour_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    foreign = tmp_path / name
    foreign.mkdir()
    (foreign / "__init__.py").write_text("", encoding="utf-8")
    script = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import provider_log"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode != 0
    assert f"expected the package '{name}' of turnlog, but Python found {foreign}" in ended.stderr.splitlines()[-1]
