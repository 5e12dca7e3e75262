"""Which log needs nothing installed? One process, one RocksDB, a commit is an fsync (docs/decisions/0007)."""

from provider_log.log.embedded.log import EmbeddedLog
from provider_log.log.embedded.snapshot import LogSnapshot
from provider_log.log.embedded.view import SnapshotView

__all__ = ["EmbeddedLog", "LogSnapshot", "SnapshotView"]
