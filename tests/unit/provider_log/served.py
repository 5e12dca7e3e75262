"""What does a node serve in these tests? The memory provider, and the few answers a node adds to a provider's."""

from collections.abc import Mapping

from engine.clock import Clock
from engine.model.status import Status
from engine.testing.memory import MemoryProvider
from provider_log.answers import Listed, PartitionDigest
from provider_log.partition.ownership import Phase


class ServedMemory(MemoryProvider):
    """A node's provider in memory: two partitions of the application `shop`."""

    app = "shop"
    partitions = 2
    fenced_commits = 3

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.ready = True

    @property
    def answers(self) -> bool:
        return self.ready

    def phases(self) -> Mapping[int, Phase]:
        return {0: Phase.RUNNING, 1: Phase.RESTORING}

    async def listed(self, *, status: Status | None, name: str | None, limit: int, after: str | None) -> Listed:
        return Listed(tuple(await self.list_instances(status=status, name=name, limit=limit, after=after)), (0, 1))

    async def digest(self, partition: int) -> PartitionDigest:
        return PartitionDigest(partition=partition, offset=7, chain="00" * 16, digest="ab" * 16, rows=3, epoch=1)
