"""Does `make demo` do what it promises? The whole of it, as a user runs it."""

import re
from pathlib import Path
from xml.etree import ElementTree as Xml

from tests.e2e.demos import told

ENDS_WITHIN_S = 120
"""The demo's own promise, without downloads."""

PICTURE = re.compile(r"a timeline of (\S+) is in (\S+)")


def test_the_demo_ends_well_within_its_time(tmp_path: Path) -> None:
    said, killed = told("demo.py", tmp_path, ENDS_WITHIN_S)
    assert killed == "the node"

    assert "19 watches, which never end, went on as version 2.0.0" in said

    pictures = dict(PICTURE.findall(said))
    assert set(pictures) == {"fleet", "provision-07-forecast"}
    for file in pictures.values():
        assert "SIGKILL" in "".join(Xml.parse(file).getroot().itertext())
