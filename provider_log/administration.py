"""How does a node delete and prune instances, count them, and tell who belongs to whom? Over its partitions."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from engine.clock import Clock
from engine.errors import Refused
from engine.model.ids import automatic_parent, roots_of
from engine.model.status import Status
from engine.port import (
    DeletedCounts,
    ExecutionInfo,
    InstanceFilter,
    InstanceStats,
    InstanceTree,
    PrunedCounts,
    PruneOptions,
    SystemMetrics,
)
from provider_log.many import Administered, delete_many, prune_many
from provider_log.partition.live import LivePartition
from provider_log.partition.look import execution, instance_row, stats, tree
from provider_log.partition.removal import existing_tree
from provider_log.partitions import Partitions
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import ExecutionRow, InstanceRow, unpack

_ROWS_AT_ONCE = 2_000


class Administration(ABC):
    """The part of `ProviderAdmin` that is about trees, executions and sizes."""

    @property
    @abstractmethod
    def held(self) -> Partitions:
        """The partitions of this node."""

    @property
    @abstractmethod
    def clock(self) -> Clock:
        """Paces what reads every row."""

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        """See `engine.port.ProviderAdmin`."""
        return execution(self.held.view("get_execution_info", instance), instance, execution_id)

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        """See `engine.port.ProviderAdmin`."""
        view = self.held.view("get_instance_stats", instance)
        row = instance_row(view, instance)
        return None if row is None else stats(view, instance, row.execution_id)

    async def get_system_metrics(self) -> SystemMetrics:
        """See `engine.port.ProviderAdmin`."""
        by_status = Counter[Status]()
        of_executions = of_events = looked_at = 0
        for view in [part.view("get_system_metrics") for part in self.held.all() if part.answers]:
            for table in (Table.INSTANCE, Table.EXECUTION):
                for _, data in view.scan(keys.table_prefix(table)):
                    if table is Table.INSTANCE:
                        by_status[unpack(InstanceRow, data).status] += 1
                    else:
                        of_executions += 1
                        of_events += unpack(ExecutionRow, data).event_count
                    looked_at += 1
                    if looked_at % _ROWS_AT_ONCE == 0:
                        await self.clock.sleep_ms(0)
        return SystemMetrics(
            instances=by_status.total(), executions=of_executions, events=of_events, by_status=dict(by_status)
        )

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
