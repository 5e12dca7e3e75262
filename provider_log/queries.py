"""What does a node say of its instances? Queries over its partitions, of committed state only."""

import heapq
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

from engine.clock import Clock
from engine.errors import Refused
from engine.model.events import AnyEvent
from engine.model.ids import automatic_parent
from engine.model.key_values import KeyValue
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats, InstanceTree, QueueDepths, SystemMetrics
from provider_log.answers import Listed, PartitionDigest
from provider_log.partition import look
from provider_log.partition.effects import Watchers
from provider_log.partition.removal import existing_tree
from provider_log.partitions import Partitions
from provider_log.store import keys
from provider_log.store.digest import StateDigest
from provider_log.store.keys import Table
from provider_log.store.tables import HEAD, ExecutionRow, HeadRow, InstanceRow, unpack

_ROWS_AT_ONCE = 2_000
"""Rows between two moments at which others may run."""


class Queries(ABC):
    """`InstanceView`, and the part of `ProviderAdmin` that asks."""

    @property
    @abstractmethod
    def held(self) -> Partitions:
        """The partitions of this node."""

    @property
    @abstractmethod
    def clock(self) -> Clock:
        """Paces what reads every row."""

    # InstanceView

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        """See `engine.port.InstanceView`."""
        row = look.instance_row(self.held.view("get_instance_info", instance), instance)
        return None if row is None else look.instance_info(instance, row)

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        """See `engine.port.InstanceView`."""
        return await self._watchers("changed", instance).changed(instance, seen)

    async def ended(self, instance: str) -> InstanceInfo:
        """See `engine.port.InstanceView`."""
        return await self._watchers("ended", instance).ended(instance)

    def _watchers(self, operation: str, instance: str) -> Watchers:
        part = self.held.of(operation, instance)
        part.view(operation)  # raises where another node may know more
        return part.watchers

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        """See `engine.port.InstanceView`."""
        store = self.held.view("read", instance)
        row = look.instance_row(store, instance)
        return () if row is None else look.history(store, instance, row.execution_id)

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        """See `engine.port.InstanceView`."""
        return look.history(self.held.view("read", instance), instance, execution_id)

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        """See `engine.port.InstanceView`."""
        return look.key_value(self.held.view("get_key_value", instance), instance, key)

    async def get_key_values(self, instance: str) -> Mapping[str, KeyValue]:
        """See `engine.port.InstanceView`."""
        return look.key_values(self.held.view("get_key_values", instance), instance)

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        """See `engine.port.InstanceView`."""
        return look.has_consumed(self.held.view("has_consumed", instance), instance, message_id)

    # ProviderAdmin

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        """See `engine.port.ProviderAdmin`; of the partitions this node owns."""
        return (await self.listed(status=status, name=name, limit=limit, after=after)).instances

    async def listed(self, *, status: Status | None, name: str | None, limit: int, after: str | None) -> Listed:
        """The same, with what it covers. Arguments as in `engine.port.ProviderAdmin.list_instances`."""
        prefix = keys.table_prefix(Table.INSTANCE)
        start = None if after is None else keys.instance_prefix(Table.INSTANCE, after)
        views = {part.number: part.view("list_instances") for part in self.held.all() if part.answers}
        rows = heapq.merge(*(view.scan(prefix, start) for view in views.values()))
        infos = (look.instance_info(keys.instance_of(key), unpack(InstanceRow, data)) for key, data in rows)
        wanted = (
            info
            for info in infos
            if (status is None or info.status is status) and (name is None or info.orchestration_name == name)
        )
        return Listed(tuple(itertools.islice(wanted, limit)), tuple(views))

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        """See `engine.port.ProviderAdmin`."""
        return list(look.executions(self.held.view("list_executions", instance), instance))

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        """See `engine.port.ProviderAdmin`."""
        return look.execution(self.held.view("get_execution_info", instance), instance, execution_id)

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        """See `engine.port.ProviderAdmin`."""
        view = self.held.view("get_instance_stats", instance)
        row = look.instance_row(view, instance)
        return None if row is None else look.stats(view, instance, row.execution_id)

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

    async def get_queue_depths(self) -> QueueDepths:
        """See `engine.port.ProviderAdmin`."""
        depths = [live.depths for live in self.held.running()]
        return QueueDepths(*(sum(column) for column in zip(*depths, strict=True))) if depths else QueueDepths(0, 0, 0)

    async def list_children(self, instance: str) -> Sequence[str]:
        """See `engine.port.ProviderAdmin`."""
        members = look.tree(self.held.view("list_children", instance), instance)
        return [member for member in members if automatic_parent(member) == instance]

    async def get_parent_id(self, instance: str) -> str | None:
        """See `engine.port.ProviderAdmin`."""
        row = look.instance_row(self.held.view("get_parent_id", instance), instance)
        if row is None:
            raise Refused("get_parent_id", f"expected an instance {instance}, but there is none")
        return row.parent_instance

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        """See `engine.port.ProviderAdmin`."""
        view = self.held.view("get_instance_tree", instance)
        return InstanceTree(instance, tuple(existing_tree("get_instance_tree", view, instance)))

    # Proof

    async def digest(self, partition: int) -> PartitionDigest:
        """What the owner of `partition` says its committed state is; an audit compares it with the log.

        Raises:
            Refused: There is no such partition.
        """
        if not 0 <= partition < self.held.count:
            raise Refused("digest", f"expected a partition from 0 to {self.held.count - 1}, but got {partition}")
        digest, head = StateDigest(), HeadRow()
        head_key = keys.named(Table.META, HEAD)
        # The scan sees the rows of one moment, the head among them, however long it takes.
        for key, value in self.held.at("digest", partition).view("digest").scan(b""):
            digest.add(key, value)
            if key == head_key:
                head = unpack(HeadRow, value)
            if digest.rows % _ROWS_AT_ONCE == 0:
                await self.clock.sleep_ms(0)
        return PartitionDigest(
            partition=partition,
            offset=head.offset,
            chain=head.chain.hex(),
            digest=digest.hex(),
            rows=digest.rows,
            epoch=head.epoch,
        )
