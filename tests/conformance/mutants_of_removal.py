"""What can go wrong with deleting and pruning? One class a fault."""

import contextlib
from collections.abc import Sequence

import anyio
from msgspec import structs

from engine.clock import Clock
from engine.errors import Refused
from engine.model.events import AnyEvent
from engine.model.ids import automatic_parent, is_in_tree
from engine.model.messages import Completion
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.status import STANDSTILL, TERMINAL
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceTree
from engine.testing.memory_queues import InstanceLocks, OrchestratorQueue, WorkerQueue
from engine.testing.memory_tables import ExecutionRow
from tests.conformance.mutant import Mutant

# Deletion


class NothingDeleted(Mutant):
    """A deletion says what it took, and takes nothing."""

    def _drop_tree(self, root: str) -> DeletedCounts:
        before = dict(self._instances)
        deleted = super()._drop_tree(root)
        self._instances = before
        return deleted


class NobodyIsDeletedWithoutAWord(Mutant):
    """Deleting who is not there is no error."""

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        if instance not in self._instances:
            return DeletedCounts()
        return await super().delete_instance(instance, force)


class RunningDeleted(Mutant):
    """Who runs is deleted without force."""

    def _delete(self, operation: str, roots: Sequence[str], force: bool) -> DeletedCounts:
        return super()._delete(operation, roots, force=True)


class ForceIgnored(Mutant):
    """Who runs is not deleted by force."""

    def _delete(self, operation: str, roots: Sequence[str], force: bool) -> DeletedCounts:
        return super()._delete(operation, roots, force=False)


class ChildDeleted(Mutant):
    """Half a tree can be deleted."""

    def _delete(self, operation: str, roots: Sequence[str], force: bool) -> DeletedCounts:
        return sum((self._drop_tree(root) for root in roots), DeletedCounts())


class OnlyTheRootDeleted(Mutant):
    """Children outlive their root."""

    def _drop_tree(self, root: str) -> DeletedCounts:
        children = {instance: row for instance, row in self._instances.items() if instance != root}
        deleted = super()._drop_tree(root)
        self._instances |= children
        return deleted


class NamesakesDeleted(Mutant):
    """Whose id begins as the root's does is taken for its child."""

    def _tree(self, root: str) -> Sequence[str]:
        return sorted(instance for instance in self._instances if instance.startswith(root))


class _MessagesStay(OrchestratorQueue):
    def drop_tree(self, root: str) -> int:
        return 0


class MessagesOutliveTheirInstance(Mutant):
    """What was queued for a deleted instance reaches the next one of its id."""

    messages_type = _MessagesStay


class _MessageIdsStay(OrchestratorQueue):
    def drop_tree(self, root: str) -> int:
        known = self._message_ids
        dropped = super().drop_tree(root)
        self._message_ids = known
        return dropped


class MessageIdsOutliveTheirInstance(Mutant):
    """A message is dropped because a deleted life had one of its id."""

    messages_type = _MessageIdsStay


class _ChildrensMessagesStay(OrchestratorQueue):
    def drop_tree(self, root: str) -> int:
        return len(self._rows.pop(root, []))


class StartsOfChildrenOutliveTheRoot(Mutant):
    """A child whose start waits begins after its root is gone."""

    messages_type = _ChildrensMessagesStay


class _WorkStays(WorkerQueue):
    def drop_tree(self, root: str) -> int:
        return 0


class WorkOutlivesItsInstance(Mutant):
    """Activities of a deleted instance are handed out, and answer."""

    work_type = _WorkStays


class _NobodyIsTold(WorkerQueue):
    def drop_tree(self, root: str) -> int:
        for row in self._rows:
            row.revoked = anyio.Event()
        return super().drop_tree(root)


class RunningActivityNotToldOfTheDeletion(Mutant):
    """An activity of a deleted instance learns it from its next renewal only."""

    work_type = _NobodyIsTold


class _LocksStay(InstanceLocks):
    def drop_tree(self, root: str) -> None:
        pass


class LockOutlivesItsInstance(Mutant):
    """A turn that was under way brings a deleted instance back."""

    locks_type = _LocksStay


class _ChildrensLocksStay(InstanceLocks):
    def drop_tree(self, root: str) -> None:
        self._locks.pop(root, None)


class LocksOfChildrenOutliveTheRoot(Mutant):
    """A child whose first turn was under way comes to be after its root is gone."""

    locks_type = _ChildrensLocksStay


class AtomicDeletionStopsHalfWay(Mutant):
    """Each of several is checked when its turn comes."""

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        deleted = DeletedCounts()
        for instance in instances:
            deleted += await super().delete_instances_atomic([instance], force)
        return deleted


class AtomicDeletionSkipsWhoIsNotThere(Mutant):
    """Of several, those that are there are deleted."""

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        return await super().delete_instances_atomic([name for name in instances if name in self._instances], force)


class AtomicDeletionCascades(Mutant):
    """Who was not named goes along with its root."""

    def _refuse_orphans(self, named: Sequence[str], roots: Sequence[str]) -> None:
        pass


class _AnswersWait(OrchestratorQueue):
    def drop_orphans(self, instance: str) -> None:
        if not any(isinstance(row.message, Completion) for row in self.all(instance)):
            super().drop_orphans(instance)


class AnswersWaitForWhoIsGone(Mutant):
    """An answer to a life that was deleted waits for the next one."""

    messages_type = _AnswersWait


class WhoWaitsIsToldOfTheDeletion(Mutant):
    """A wait for the end of an instance ends with its deletion."""

    async def ended(self, instance: str) -> InstanceInfo:
        last = self._instances.get(instance)
        while True:
            row = self._instances.get(instance)
            if last is not None and (row is None or row.status in STANDSTILL):
                return last.info()
            last = row or last
            await self._anything_new.wait()


# Families


class GrandchildrenListed(Mutant):
    """All that came of an instance is taken for its children."""

    async def list_children(self, instance: str) -> Sequence[str]:
        return [other for other in self._tree(instance) if other != instance]


class ParentIsTheRoot(Mutant):
    """A grandchild is told that the root called it."""

    async def get_parent_id(self, instance: str) -> str | None:
        parent = await super().get_parent_id(instance)
        return None if parent is None else instance.partition("::sub::")[0]


class NobodyHasNoParent(Mutant):
    """Asking for the parent of who is not there is no error."""

    async def get_parent_id(self, instance: str) -> str | None:
        row = self._instances.get(instance)
        return None if row is None else row.parent_instance


class TreeOfTwoGenerations(Mutant):
    """A tree ends with the children."""

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        tree = await super().get_instance_tree(instance)
        return InstanceTree(
            instance, tuple(name for name in tree.instances if instance in {name, automatic_parent(name)})
        )


class NobodyHasATree(Mutant):
    """The tree of who is not there is that one alone."""

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        with contextlib.suppress(Refused):
            return await super().get_instance_tree(instance)
        return InstanceTree(instance, (instance,))


class TreeIsTheWholeFamily(Mutant):
    """A leaf's tree is its root's."""

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        tree = await super().get_instance_tree(instance)
        root = instance.partition("::sub::")[0]
        return InstanceTree(tree.root, tuple(name for name in sorted(self._instances) if is_in_tree(name, root)))


# Many at once


class RunningDeletedWithMany(Mutant):
    """Who runs is deleted along with those who ended."""

    def _has_ended(self, root: str) -> bool:
        return True


class RunningChildDeletedWithMany(Mutant):
    """Of a tree only the root is asked whether it has ended."""

    def _has_ended(self, root: str) -> bool:
        return self._instances[root].status in TERMINAL


class LimitIgnored(Mutant):
    """All that fit are deleted at once."""

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        return await super().delete_instance_bulk(structs.replace(which, limit=1_000_000))


class LimitCountsWhatRuns(Mutant):
    """Who is passed over takes the place of who could go."""

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        return await super().delete_instance_bulk(
            structs.replace(which, instances=tuple(self._chosen(which)[: which.limit]))
        )


class FilterOfIdsIgnored(Mutant):
    """Whoever is named, everybody is meant."""

    def _chosen(self, which: InstanceFilter) -> Sequence[str]:
        return super()._chosen(structs.replace(which, instances=None))


class NobodyNamedIsEverybody(Mutant):
    """An empty list of ids is no list."""

    def _chosen(self, which: InstanceFilter) -> Sequence[str]:
        return super()._chosen(structs.replace(which, instances=which.instances or None))


class FilterOfTimeIgnored(Mutant):
    """Whenever they ended, all are meant."""

    def _chosen(self, which: InstanceFilter) -> Sequence[str]:
        return super()._chosen(structs.replace(which, completed_before_ms=None))


class NobodyOldEnough(Mutant):
    """Whoever has an instant to be older than is never chosen."""

    def _chosen(self, which: InstanceFilter) -> Sequence[str]:
        return super()._chosen(which) if which.completed_before_ms is None else []


class ChildrenStayBehindMany(Mutant):
    """Children outlive a root that is deleted with others."""

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        children = {name: row for name, row in self._instances.items() if automatic_parent(name) is not None}
        deleted = await super().delete_instance_bulk(which)
        self._instances |= children
        return deleted


class RunningNotPrunedWithMany(Mutant):
    """Many are pruned only if they have ended."""

    async def prune_executions_bulk(self, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
        ended = tuple(name for name in self._chosen(which) if self._has_ended(name))
        return await super().prune_executions_bulk(structs.replace(which, instances=ended), options)


# Pruning


class _Choice(Mutant):
    """Faults in which executions are pruned."""

    def choose(self, options: PruneOptions, executions: Sequence[ExecutionInfo]) -> tuple[int, ...]:
        return options.chosen(executions)

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        row = self._existing("prune_executions", instance)
        pruned = [row.executions.pop(number) for number in self.choose(options, self._executions(row))]
        events = sum(len(one.events) for one in pruned)
        return PrunedCounts(instances=1 if pruned else 0, executions=len(pruned), events=events)


class PruningKeepsOneMore(_Choice):
    """`keep_last` does not count the current execution."""

    def choose(self, options: PruneOptions, executions: Sequence[ExecutionInfo]) -> tuple[int, ...]:
        return options.chosen(executions)[:-1] if options.keep_last else options.chosen(executions)


class PruningIgnoresTime(_Choice):
    """Executions go however late they ended."""

    def choose(self, options: PruneOptions, executions: Sequence[ExecutionInfo]) -> tuple[int, ...]:
        return PruneOptions(keep_last=options.keep_last).chosen(executions)


class PruningIgnoresCounts(_Choice):
    """Executions go however few are left."""

    def choose(self, options: PruneOptions, executions: Sequence[ExecutionInfo]) -> tuple[int, ...]:
        return PruneOptions(completed_before_ms=options.completed_before_ms).chosen(executions)


class PruningTakesWhatRuns(_Choice):
    """An earlier execution that has not ended goes too."""

    def choose(self, options: PruneOptions, executions: Sequence[ExecutionInfo]) -> tuple[int, ...]:
        if any(execution.completed_at_ms is None for execution in executions[:-1]):
            return tuple(execution.execution_id for execution in executions[:-1])
        return options.chosen(executions)


class NobodyIsPruned(Mutant):
    """Pruning who is not there is no error."""

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        with contextlib.suppress(Refused):
            return await super().prune_executions(instance, options)
        return PrunedCounts()


class PrunedHistoryStays(Mutant):
    """A pruned execution is not listed, and still read."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._before: dict[str, dict[int, ExecutionRow]] = {}

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        self._before[instance] = dict(self._existing("prune_executions", instance).executions)
        return await super().prune_executions(instance, options)

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        before = self._before.get(instance, {})
        if execution_id in before:
            return before[execution_id].history().load()
        return await super().read_with_execution(instance, execution_id)
