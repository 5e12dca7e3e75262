"""What do the demos of the fleet say? Each run as a user runs it, and the table at its end."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FLEET = Path(__file__).parents[2] / "docs" / "examples" / "fleet"

AT_KILL = re.compile(r"SIGKILL for (.+): (\d+) ready, (\d+) starting, (\d+) untouched; \d+ processes live on")
SERVICE = re.compile(r"^ (\d\d-\w+) +(ready|starting|untouched) +(ready|failed) .* (deleted|undone) *$", re.MULTILINE)


class Told(NamedTuple):
    """What a demo said, and who was killed in it."""

    said: str
    killed: str


def told(demo: str, home: Path, ends_within_s: int, **environment: str) -> Told:
    """Run a demo that must end well: whoever was killed had work, and every service became what it had to."""
    ran = subprocess.run(
        [sys.executable, str(FLEET / demo)],
        cwd=home,
        env={**os.environ, **environment, "TMPDIR": str(home), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=ends_within_s,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

    at_kill = AT_KILL.search(ran.stdout)
    assert at_kill is not None
    killed, *counts = at_kill.groups()
    assert [int(count) >= 5 for count in counts] == [True, True, True]

    services = SERVICE.findall(ran.stdout)
    assert len(services) == 20
    assert [name for name, _, became, _ in services if became == "failed"] == ["07-forecast"]
    assert {state for _, state, _, _ in services} == {"ready", "starting", "untouched"}
    return Told(ran.stdout, killed)
