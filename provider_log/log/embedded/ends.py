"""How long was the log? A second, small witness beside RocksDB, which drops a lost tail without a word.

RocksDB takes a cut or missing WAL file for the end of the data. The file remembers where every partition ended when
it was last written, always after the fsync of those records: a log shorter than that has lost acknowledged records.
"""

from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

import msgspec

from provider_log.log.embedded.directory import write_atomically
from provider_log.log.port import LogCorrupted

Ends = Mapping[str, list[int]]
"""The end of each partition, by topic and partition number."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    cluster_id: str
    ends: dict[str, list[int]]
    crc32: int


def save_ends(path: Path, cluster_id: str, ends: Ends) -> None:
    """Write the file, durable on return. For a thread."""
    content = _File(cluster_id=cluster_id, ends=dict(ends), crc32=_checksum(cluster_id, ends))
    write_atomically(path, msgspec.json.encode(content) + b"\n")


def check_ends(path: Path, cluster_id: str, found: Ends) -> None:
    """Compare what the log holds with what was saved.

    Raises:
        LogCorrupted: The log is shorter than recorded, or the file is missing, damaged, or another log's.
    """
    compare_ends(path, load_ends(path, cluster_id), found)


def compare_ends(path: Path, recorded_ends: Ends, found: Ends) -> None:
    """The same, with what `load_ends` gave.

    Raises:
        LogCorrupted: The log is shorter than recorded.
    """
    for topic, partitions in recorded_ends.items():
        if topic not in found:
            raise LogCorrupted(f"expected topic {topic} as {path} records, but the log has no such topic", topic=topic)
        for partition, (recorded, end) in enumerate(zip(partitions, found[topic], strict=True)):
            if end < recorded:
                raise LogCorrupted(
                    f"expected {topic}/{partition} to end at offset {recorded} or later as {path} records, "
                    f"but it ends at {end}: acknowledged records are lost",
                    topic=topic,
                    partition=partition,
                    offset=end,
                )


def load_ends(path: Path, cluster_id: str) -> Ends:
    """What was saved.

    Raises:
        LogCorrupted: The file is missing, damaged, or another log's.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError as error:
        raise LogCorrupted(f"expected the ends of the log in {path}, but there is no such file") from error
    except msgspec.DecodeError as error:
        raise LogCorrupted(f"expected the ends of the log in {path}, but it cannot be read: {error}") from error
    if file.crc32 != (found := _checksum(file.cluster_id, file.ends)):
        raise LogCorrupted(f"expected checksum {file.crc32} in {path}, but its content has {found}")
    if file.cluster_id != cluster_id:
        raise LogCorrupted(f"expected the ends of log {cluster_id} in {path}, but they are those of {file.cluster_id}")
    return file.ends


def _checksum(cluster_id: str, ends: Ends) -> int:
    return crc32(msgspec.json.encode((cluster_id, ends), order="sorted"))
