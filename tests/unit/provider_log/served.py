"""What does a node serve in these tests? The memory provider, and the few answers a node adds to a provider's."""

from engine.clock import Clock
from engine.testing.memory import MemoryProvider
from provider_log.log_provider import PartitionDigest


class ServedMemory(MemoryProvider):
    """A node's provider in memory: two partitions of the application `shop`."""

    app = "shop"
    partitions = 2

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.ready = True

    async def digest(self, partition: int) -> PartitionDigest:
        return PartitionDigest(partition=partition, offset=7, chain="00" * 16, digest="ab" * 16, rows=3, epoch=1)
