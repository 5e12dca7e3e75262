"""A provider for `engine` on a partitioned, transactional log."""

from provider_log.distribution import DISTRIBUTION
from provider_log.log_provider import LogProvider, PartitionDigest
from provider_log.options import LogProviderOptions

__all__ = ["DISTRIBUTION", "LogProvider", "LogProviderOptions", "PartitionDigest"]
