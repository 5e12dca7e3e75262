"""A provider for `engine` on a partitioned, transactional log."""

import importlib
from typing import TYPE_CHECKING, Any

from provider_log.distribution import DISTRIBUTION
from provider_log.options import LogProviderOptions

if TYPE_CHECKING:
    from provider_log.answers import PartitionDigest
    from provider_log.log_provider import LogProvider

__all__ = ["DISTRIBUTION", "LogProvider", "LogProviderOptions", "PartitionDigest"]


# With the provider come RocksDB, Avro and the whole partition: 0.3 s that `turnlog status` has no use for.
_ON_USE = {"LogProvider": "provider_log.log_provider", "PartitionDigest": "provider_log.answers"}


def __getattr__(name: str) -> Any:
    if name in _ON_USE:
        return getattr(importlib.import_module(_ON_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
