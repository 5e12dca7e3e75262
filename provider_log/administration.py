"""How does a node delete instances, prune them, and tell who belongs to whom? Over the partitions it owns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from engine.errors import Refused
from engine.model.ids import automatic_parent
from engine.port import DeletedCounts, InstanceTree, PrunedCounts, PruneOptions
from provider_log.partition.live import LivePartition
from provider_log.partition.look import instance_row, tree
from provider_log.partition.removal import existing_tree
from provider_log.partitions import Partitions


class Administration(ABC):
    """The part of `ProviderAdmin` that is about trees and executions."""

    @property
    @abstractmethod
    def held(self) -> Partitions:
        """The partitions of this node."""

    async def list_children(self, instance: str) -> Sequence[str]:
        """See `engine.port.ProviderAdmin`."""
        members = tree(self.held.view("list_children", instance), instance)
        return [member for member in members if automatic_parent(member) == instance]

    async def get_parent_id(self, instance: str) -> str | None:
        """See `engine.port.ProviderAdmin`."""
        row = instance_row(self.held.view("get_parent_id", instance), instance)
        if row is None:
            raise Refused("get_parent_id", f"expected an instance {instance}, but there is none")
        return row.parent_instance

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        """See `engine.port.ProviderAdmin`."""
        view = self.held.view("get_instance_tree", instance)
        return InstanceTree(instance, tuple(existing_tree("get_instance_tree", view, instance)))

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        """See `engine.port.ProviderAdmin`."""
        live = self._live("delete_instance", instance)
        live.removal.check("delete_instance", instance, force=force)
        deleted = live.removal.delete(instance)
        await live.ledger.durable()
        return deleted

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        """See `engine.port.ProviderAdmin`; those of one partition go in one transaction."""
        roots = [instance for instance in instances if automatic_parent(instance) not in instances]
        lives = {root: self._live("delete_instances_atomic", root) for root in roots}
        for root, live in lives.items():
            live.removal.check("delete_instances_atomic", root, force=force, named=instances)
        # Nothing is awaited from the first check to the last admission, so that what was checked is what is deleted.
        deleted = sum((live.removal.delete(root) for root, live in lives.items()), DeletedCounts())
        for durable in [live.ledger.durable() for live in lives.values()]:
            await durable
        return deleted

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        """See `engine.port.ProviderAdmin`."""
        live = self._live("prune_executions", instance)
        pruned = live.removal.prune(instance, options)
        if pruned.executions:
            await live.ledger.durable()
        return pruned

    def _live(self, operation: str, instance: str) -> LivePartition:
        return self.held.of(operation, instance).live(operation)
