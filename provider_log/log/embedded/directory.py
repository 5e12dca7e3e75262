"""What lies in the directory of an embedded log, and whose is it?

identity.json  format, cluster id, when it was made: written once, last, so that a half-made log is none
records/       the database; RocksDB's LOCK in it keeps every second opener out
ends.json      how long each partition was (ends.py)
owner.pid      who opened it last, for the sentence a second opener gets
"""

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from provider_log.log.port import LogNotOpened

FORMAT = 1
RECORDS = "records"
ENDS = "ends.json"

_IDENTITY = "identity.json"
_OWNER = "owner.pid"
_PARTIAL = ".partial"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which log this is."""

    format: int
    cluster_id: str
    created_at: str


class _FormatOnly(msgspec.Struct):
    format: int


def read_identity(directory: Path) -> Identity | None:
    """The identity of the log in `directory`; None if the directory is empty or was left while a log was made.

    Raises:
        LogNotOpened: Something else lies there, or a log of a newer format.
    """
    path = directory / _IDENTITY
    if not path.exists():
        strangers = [name.name for name in directory.iterdir() if not _is_ours(name.name)]
        if strangers:
            raise LogNotOpened(f"expected a log or an empty directory at {directory}, but it holds {min(strangers)}")
        return None
    text = path.read_bytes()
    try:
        # The format alone first: what else a newer one holds is not known here.
        found = msgspec.json.decode(text, type=_FormatOnly).format
        if found > FORMAT:
            raise LogNotOpened(f"expected a log of format {FORMAT} or older at {directory}, but it has format {found}")
        return msgspec.json.decode(text, type=Identity)
    except msgspec.DecodeError as error:
        raise LogNotOpened(f"expected the identity of a log in {path}, but it cannot be read: {error}") from error


def write_identity(directory: Path, random_bytes: Callable[[int], bytes], now_ms: int) -> Identity:
    """Make `directory` a log, with a cluster id of its own."""
    identity = Identity(
        format=FORMAT,
        cluster_id=str(uuid.UUID(bytes=random_bytes(16), version=4)),
        created_at=datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds"),
    )
    write_atomically(directory / _IDENTITY, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")
    return identity


def write_owner(directory: Path) -> None:
    """Leave this process's id for those who come second."""
    (directory / _OWNER).write_text(f"{os.getpid()}\n")


def owner_known(directory: Path) -> str:
    """`" (process 123)"` if it is known who has the directory open, else nothing."""
    try:
        return f" (process {int((directory / _OWNER).read_text())})"
    except (OSError, ValueError):
        return ""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path`: after a crash it holds either all of `content` or what it held before. Durable on return."""
    partial = path.with_name(path.name + _PARTIAL)
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _is_ours(name: str) -> bool:
    return name.removesuffix(_PARTIAL) in {_IDENTITY, _OWNER, ENDS, RECORDS}
