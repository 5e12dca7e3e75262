"""How does any node answer any question? By itself where it owns the partition, else by asking the owner, once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

import anyio

from engine.clock import Clock
from engine.errors import OwnershipLost, Retryable, Unreachable
from engine.model.events import AnyEvent
from engine.model.key_values import KeyValue
from engine.model.messages import AnyMessage
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats, InstanceTree, QueueDepths, SystemMetrics
from engine.model.work import WorkItem
from engine.observe import logger
from engine.runtime.doors import Tasks, future_of, within
from provider_log.answers import Listed, PartitionDigest
from provider_log.cluster.deletion import delete_checked
from provider_log.cluster.membership import Membership
from provider_log.cluster.sharing import Sharing
from provider_log.log_provider import LogProvider
from provider_log.many import delete_many, prune_many
from provider_log.partition.ownership import Phase
from provider_log.routing import partition_of
from provider_log.server.asking import Served
from provider_log.server.remote import RemoteProvider

T = TypeVar("T")

log = logger("cluster")

ROUTE_MS = 6_000
"""How long an owner is looked for: a partition that is handed over has one again before."""

HOP_MS = 5_000
"""How long another node may take for what it has in memory; one that is paused never answers."""

_LOOK_MS = 100


class ClusterProvider:
    """What a node of a cluster serves: `Mailbox`, `InstanceView` and `ProviderAdmin` of the whole application.

    The engine of the node works on `local`. Use as an async context manager: entering takes part in the cluster,
    leaving hands over what this node has.

    Args:
        local: The provider of this node; entered and left with this.
        membership: The group it takes part in.
        sharing: What it holds.
        reach: Opens the way to the node at an address, for a hop.
        clock: Of waits.
    """

    def __init__(
        self,
        local: LogProvider,
        membership: Membership,
        sharing: Sharing,
        reach: Callable[[str], RemoteProvider],
        clock: Clock,
    ) -> None:
        self.local = local
        self.membership = membership
        self._sharing = sharing
        self._reach = reach
        self._clock = clock
        self._remotes: dict[str, RemoteProvider] = {}
        self._tasks = Tasks("cluster", lambda error: log.critical("the node takes part no more: %s", error))

    async def __aenter__(self) -> Self:
        await self.local.__aenter__()
        self.membership.join(self.local.partitions)
        self._tasks.spawn("sharing", self._sharing.run(self.local.held))
        return self

    def hand_over(self) -> None:
        """Let the partitions go to other nodes, because this one is about to stop."""
        self._sharing.leave(self.partitions)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            async with AsyncExitStack() as stack:
                stack.push_async_exit(self.local)
                stack.push_async_callback(self.membership.aclose)
                for remote in self._remotes.values():
                    stack.push_async_exit(remote)
                await self._tasks.aclose(self._clock, patience_ms=60_000)

    # Served

    @property
    def app(self) -> str:
        """Name of the application."""
        return self.local.app

    @property
    def partitions(self) -> int:
        """How many it has, on all nodes together."""
        return self.local.partitions

    @property
    def ready(self) -> bool:
        """Whether this node is a member, and every partition that is placed on it runs."""
        return self.answers and self._sharing.is_settled(self.local.held)

    @property
    def answers(self) -> bool:
        """Whether this node knows who has what."""
        return self._sharing.is_member

    async def settled(self) -> None:
        """Return when it is ready."""
        while not self.ready:
            await self._clock.sleep_ms(_LOOK_MS)

    def phases(self) -> Mapping[int, Phase]:
        """Where each partition stands that this node owns or is about to."""
        return self.local.phases()

    @property
    def fenced_commits(self) -> int:
        """How many commits of this node were refused because another one had taken the partition."""
        return self.local.fenced_commits

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        await self.local.enqueue_for_orchestrator(message, delay_ms)

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        await self.local.enqueue_for_worker(item)

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        return await self._of("get_instance_info", instance, lambda at: at.get_instance_info(instance))

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        return await self._of("read", instance, lambda at: at.read(instance))

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        return await self._of("read", instance, lambda at: at.read_with_execution(instance, execution_id))

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        return await self._of("get_key_value", instance, lambda at: at.get_key_value(instance, key))

    async def get_key_values(self, instance: str) -> Mapping[str, KeyValue]:
        return await self._of("get_key_values", instance, lambda at: at.get_key_values(instance))

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        return await self._of("has_consumed", instance, lambda at: at.has_consumed(instance, message_id))

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        return await self._of("list_executions", instance, lambda at: at.list_executions(instance))

    async def suspend_instance(self, instance: str, reason: str) -> None:
        await self._of("suspend_instance", instance, lambda at: at.suspend_instance(instance, reason))

    async def resume_instance(self, instance: str) -> None:
        await self._of("resume_instance", instance, lambda at: at.resume_instance(instance))

    async def list_children(self, instance: str) -> Sequence[str]:
        return await self._of("list_children", instance, lambda at: at.list_children(instance))

    async def get_parent_id(self, instance: str) -> str | None:
        return await self._of("get_parent_id", instance, lambda at: at.get_parent_id(instance))

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        return await self._of("get_instance_tree", instance, lambda at: at.get_instance_tree(instance))

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        return await self._of("delete_instance", instance, lambda at: at.delete_instance(instance, force))

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        """As the port has it; the trees may be with several owners."""
        return await delete_checked(self, instances, force=force)

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        return await self._of("prune_executions", instance, lambda at: at.prune_executions(instance, options))

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        return await delete_many(self, which)

    async def prune_executions_bulk(self, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
        return await prune_many(self, which, options)

    async def digest(self, partition: int) -> PartitionDigest:
        return await self._at("digest", partition, lambda at: at.digest(partition))

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        """As the port has it; a waiter goes along when the partition moves."""
        return await self._awaited(instance, lambda at: at.changed(instance, seen))

    async def ended(self, instance: str) -> InstanceInfo:
        """As the port has it; a waiter goes along when the partition moves."""
        return await self._awaited(instance, lambda at: at.ended(instance))

    async def _awaited(self, instance: str, ask: Callable[[Served | RemoteProvider], Awaitable[T]]) -> T:
        number = partition_of(instance, self.partitions)
        while True:
            moved = future_of(self._moved(number))
            asking = future_of(self._asked(number, ask))
            try:
                await asyncio.wait({moved, asking}, return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    return asking.result()
            except (OwnershipLost, Unreachable, Retryable):
                await self._clock.sleep_ms(_LOOK_MS)
            finally:
                moved.cancel()
                asking.cancel()

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        return (await self.listed(status=status, name=name, limit=limit, after=after)).instances

    async def listed(self, *, status: Status | None, name: str | None, limit: int, after: str | None) -> Listed:
        """Instances of the whole application. Never a part of them: it waits until every partition has an owner."""

        async def everywhere() -> Listed:
            pages = await self._everywhere(lambda at: at.listed(status=status, name=name, limit=limit, after=after))
            covered = sorted({number for page in pages for number in page.partitions})
            if len(covered) < self.partitions:
                absent = sorted(set(range(self.partitions)) - set(covered))
                raise OwnershipLost(
                    "list_instances", f"expected every partition to run somewhere, but {absent} do not now"
                )
            infos = sorted((info for page in pages for info in page.instances), key=lambda info: info.instance)
            return Listed(tuple(infos[:limit]), tuple(covered))

        return await self._until_owned("list_instances", everywhere)

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        return await self._of("get_execution_info", instance, lambda at: at.get_execution_info(instance, execution_id))

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        return await self._of("get_instance_stats", instance, lambda at: at.get_instance_stats(instance))

    async def get_system_metrics(self) -> SystemMetrics:
        async def everywhere() -> SystemMetrics:
            metrics = await self._everywhere(lambda at: at.get_system_metrics())
            return SystemMetrics(
                instances=sum(each.instances for each in metrics),
                executions=sum(each.executions for each in metrics),
                events=sum(each.events for each in metrics),
                by_status=dict(sum((Counter(each.by_status) for each in metrics), Counter[Status]())),
            )

        return await self._until_owned("get_system_metrics", everywhere)

    async def get_queue_depths(self) -> QueueDepths:
        async def everywhere() -> QueueDepths:
            depths = await self._everywhere(lambda at: at.get_queue_depths())
            return QueueDepths(
                sum(each.orchestrator_queue for each in depths),
                sum(each.worker_queue for each in depths),
                sum(each.timer_queue for each in depths),
            )

        return await self._until_owned("get_queue_depths", everywhere)

    # Ways

    async def _of(self, operation: str, instance: str, ask: Callable[[Served | RemoteProvider], Awaitable[T]]) -> T:
        return await self._at(operation, partition_of(instance, self.partitions), ask)

    async def _at(self, operation: str, number: int, ask: Callable[[Served | RemoteProvider], Awaitable[T]]) -> T:
        """What the owner of a partition answers."""
        return await self._until_owned(operation, lambda: within(self._clock, ask(self._owner(number)), HOP_MS))

    async def _until_owned(self, operation: str, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns, tried again while an owner is missing or away.

        Raises:
            Retryable: For `ROUTE_MS` it was.
        """
        deadline_ms = self._clock.boot_ms() + ROUTE_MS
        while True:
            try:
                return await ask()
            except (OwnershipLost, Unreachable, Retryable, TimeoutError) as error:
                if self._clock.boot_ms() >= deadline_ms:
                    why = str(error) or f"expected an answer of its owner within {HOP_MS} ms, but none came"
                    raise Retryable(operation, why) from error
            await self._clock.sleep_ms(_LOOK_MS)

    async def _everywhere(self, ask: Callable[[Served | RemoteProvider], Awaitable[T]]) -> Sequence[T]:
        """What each node answers that owns something.

        Raises:
            StateCorrupted, Fatal: This node has a partition that cannot be run.
        """
        for number in range(self.partitions):
            self._raise_if_stuck(number)
        owners = self.local.held.owners
        assert owners is not None
        nodes = {owner.node for number in range(self.partitions) if (owner := owners.standing(number).owner)}
        ways = [self._way(node) for node in sorted(nodes | {self._sharing.address})]
        return await asyncio.gather(*(within(self._clock, ask(way), HOP_MS) for way in ways))

    def _owner(self, number: int) -> Served | RemoteProvider:
        """The way to whoever owns a partition.

        Raises:
            OwnershipLost: Nobody does now.
            StateCorrupted, Fatal: It is here, and has failed.
        """
        if self.local.held.is_current(number):
            return self.local
        self._raise_if_stuck(number)
        owners = self.local.held.owners
        assert owners is not None
        owner = owners.standing(number).owner
        if owner is None or not owner.address or owner.node == self._sharing.address:
            raise OwnershipLost("route", f"expected partition {number} to have an owner, but it has none now")
        return self._way(owner.address)

    def _raise_if_stuck(self, number: int) -> None:
        if (error := self._sharing.stuck(number)) is not None:
            raise error.with_traceback(None)  # the same one every time: its traceback would grow with each question

    def _way(self, node: str) -> Served | RemoteProvider:
        if node == self._sharing.address:
            return self.local
        if node not in self._remotes:
            self._remotes[node] = self._reach(node)
        return self._remotes[node]

    async def _asked(self, number: int, ask: Callable[[Served | RemoteProvider], Awaitable[T]]) -> T:
        return await ask(self._owner(number))

    async def _moved(self, number: int) -> None:
        """Return when the partition has another owner than now."""
        owners = self.local.held.owners
        assert owners is not None
        before = owners.standing(number).offset
        while owners.standing(number).offset == before:
            await owners.changed()
