"""Does `make demo` do what it promises? The whole of it, as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

DEMO = Path(__file__).parents[2] / "docs" / "examples" / "fleet" / "demo.py"
ENDS_WITHIN_S = 120
"""The demo's own promise, without downloads."""

AT_KILL = re.compile(r"SIGKILL for the node: (\d+) ready, (\d+) starting, (\d+) untouched; \d+ processes live on")
PICTURE = re.compile(r"a timeline of (\S+) is in (\S+)")
SERVICE = re.compile(r"^ (\d\d-\w+) +(ready|starting|untouched) +(ready|failed) .* (deleted|undone) *$", re.MULTILINE)


def test_the_demo_ends_well_within_its_time(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(DEMO)],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

    at_kill = AT_KILL.search(ran.stdout)
    assert at_kill is not None
    assert [int(count) >= 5 for count in at_kill.groups()] == [True, True, True]

    services = SERVICE.findall(ran.stdout)
    assert len(services) == 20
    assert [name for name, _, became, _ in services if became == "failed"] == ["07-forecast"]
    assert {state for _, state, _, _ in services} == {"ready", "starting", "untouched"}

    pictures = dict(PICTURE.findall(ran.stdout))
    assert set(pictures) == {"fleet", "provision-07-forecast"}
    for file in pictures.values():
        assert "SIGKILL" in "".join(Xml.parse(file).getroot().itertext())
