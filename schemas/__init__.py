"""Which records does the log hold? Avro schemas, the public contract.

`<topic or family>/<Name>.avsc` are the hand-kept sources, one a named type. `value/` holds types that are parts of
others and never travel alone. `schemas.lock` lists every version of every travelling type ever released, oldest first,
and `released/<fingerprint>.avsc` keeps each one's text, self-contained. What is written to a log is always a released
version; `python -m schemas.release` makes one from a changed source.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

DISTRIBUTION = "turnlog"
"""Tells this package from others of its common name."""

PARTS = "value"
"""The folder of types that never travel alone."""

RELEASED = "released"
LOCK = "schemas.lock"


class Released(NamedTuple):
    """One line of the lock.

    Attributes:
        fingerprint: CRC-64-AVRO of the canonical form, the eight bytes as they travel, in hex.
        name: Full name of the record, `turnlog.event.TimerFired`.
    """

    fingerprint: str
    name: str


def source_texts(root: Traversable | None = None) -> dict[str, str]:
    """The text of every source by path below `root`, `event/TimerFired.avsc`, sorted."""
    folders = (folder for folder in (root or files(__name__)).iterdir() if folder.is_dir() and folder.name != RELEASED)
    texts = {
        f"{folder.name}/{file.name}": file.read_text(encoding="utf-8")
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(".avsc")
    }
    return dict(sorted(texts.items()))


def read_lock(root: Traversable | None = None) -> tuple[Released, ...]:
    """Every version ever released, in the order of the lock: of two versions of a name the later one is newer."""
    text = ((root or files(__name__)) / LOCK).read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Released(fingerprint, name) for fingerprint, name in lines)


def released_text(fingerprint: str, root: Traversable | None = None) -> str:
    """The self-contained text of a released version. Raises FileNotFoundError for one that was never released."""
    return ((root or files(__name__)) / RELEASED / f"{fingerprint}.avsc").read_text(encoding="utf-8")
