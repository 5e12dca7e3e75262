"""How does a node delete and prune instances? Over its partitions."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from engine.model.ids import roots_of
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from provider_log.many import Administered, delete_many, prune_many
from provider_log.partition.live import LivePartition
from provider_log.partitions import Partitions


class Administration(ABC):
    """The part of `ProviderAdmin` that changes what there is."""

    @property
    @abstractmethod
    def held(self) -> Partitions:
        """The partitions of this node."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        """See `engine.port.ProviderAdmin`."""
        await self._live("suspend_instance", instance).messages.suspend(instance, reason)

    async def resume_instance(self, instance: str) -> None:
        """See `engine.port.ProviderAdmin`."""
        await self._live("resume_instance", instance).messages.resume(instance)

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        """See `engine.port.ProviderAdmin`."""
        live = self._live("delete_instance", instance)
        live.removal.check("delete_instance", instance, force=force)
        deleted = live.removal.delete(instance)
        await live.ledger.durable()
        return deleted

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        """See `engine.port.ProviderAdmin`; those of one partition go in one transaction."""
        lives = {root: self._live("delete_instances_atomic", root) for root in roots_of(instances)}
        for root, live in lives.items():
            live.removal.check("delete_instances_atomic", root, force=force, named=instances)
        # Nothing is awaited from the first check to the last admission, so that what was checked is what is deleted.
        deleted = sum((live.removal.delete(root) for root, live in lives.items()), DeletedCounts())
        await asyncio.gather(*(live.ledger.durable() for live in lives.values()))
        return deleted

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        """See `engine.port.ProviderAdmin`."""
        live = self._live("prune_executions", instance)
        pruned = live.removal.prune(instance, options)
        if pruned.executions:
            await live.ledger.durable()
        return pruned

    async def delete_instance_bulk(self: Administered, which: InstanceFilter) -> DeletedCounts:
        """See `engine.port.ProviderAdmin`; of the partitions this node owns."""
        return await delete_many(self, which)

    async def prune_executions_bulk(self: Administered, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
        """See `engine.port.ProviderAdmin`; of the partitions this node owns."""
        return await prune_many(self, which, options)

    def _live(self, operation: str, instance: str) -> LivePartition:
        return self.held.of(operation, instance).live(operation)
