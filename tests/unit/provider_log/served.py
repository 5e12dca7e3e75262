"""What does a node serve in these tests? The memory provider, and the few answers a node adds to a provider's."""

from msgspec import Struct

from engine.clock import Clock
from engine.testing.memory import MemoryProvider


class MemoryDigest(Struct, frozen=True, kw_only=True):
    """Of the shape a partition's digest has."""

    partition: int
    offset: int
    chain: str
    digest: str
    records: int


class ServedMemory(MemoryProvider):
    """A node's provider in memory: two partitions of the application `shop`."""

    app = "shop"
    partitions = 2

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.ready = True

    async def digest(self, partition: int) -> MemoryDigest:
        return MemoryDigest(partition=partition, offset=7, chain="00" * 16, digest="ab" * 16, records=3)
