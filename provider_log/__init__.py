"""A provider for `engine` on a partitioned, transactional log."""

from typing import TYPE_CHECKING, Any

from provider_log.distribution import DISTRIBUTION
from provider_log.options import LogProviderOptions

if TYPE_CHECKING:
    from provider_log.answers import PartitionDigest
    from provider_log.log_provider import LogProvider

__all__ = ["DISTRIBUTION", "LogProvider", "LogProviderOptions", "PartitionDigest"]


def __getattr__(name: str) -> Any:
    # With the provider come RocksDB, Avro and the whole partition: 0.3 s that `turnlog status` has no use for.
    if name in __all__:
        from provider_log import log_provider

        return getattr(log_provider, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
