"""What can go wrong with keys that are kept: who sees them, whose are they, what takes them away? One class a fault.

What a turn and the end of an execution do to them is in `mutants_of_keys`.
"""

from abc import abstractmethod
from collections.abc import Mapping

from msgspec import structs

from engine.clock import Clock
from engine.errors import Refused
from engine.model.ids import automatic_parent
from engine.model.key_values import KeyValue, merged
from engine.model.payload import Payload
from engine.model.removal import DeletedCounts, PrunedCounts, PruneOptions
from engine.model.turn import TurnResult
from engine.model.views import InstanceStats
from engine.port import OrchestrationItem
from engine.testing.memory_tables import InstanceRow, MemoryHistory
from tests.conformance.mutant import Mutant

Kept = Mapping[str, KeyValue]

# What a fetch shows


class _SnapshotFault(Mutant):
    @abstractmethod
    def _snapshot(self, row: InstanceRow | None) -> Kept: ...

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        row = self._instances.get(instance)
        history = row.current.history() if row else MemoryHistory()
        history.began_with = self._snapshot(row)
        return structs.replace(item, history=history)


class SnapshotIsWhatQueriesShow(_SnapshotFault):
    """A fetch shows what the execution has changed, too."""

    def _snapshot(self, row: InstanceRow | None) -> Kept:
        return merged(row.began_with, row.changed) if row else {}


class SnapshotWithoutWhatWasCleared(_SnapshotFault):
    """A fetch does not show what the execution has cleared."""

    def _snapshot(self, row: InstanceRow | None) -> Kept:
        cleared = {key for key, each in row.changed.items() if each is None} if row else set[str]()
        return {key: each for key, each in row.began_with.items() if key not in cleared} if row else {}


class SnapshotWithoutWhatWasOverwritten(_SnapshotFault):
    """A fetch shows what the execution has not touched."""

    def _snapshot(self, row: InstanceRow | None) -> Kept:
        return {key: each for key, each in row.began_with.items() if key not in row.changed} if row else {}


class SnapshotEmpty(_SnapshotFault):
    """A fetch shows no keys."""

    def _snapshot(self, row: InstanceRow | None) -> Kept:
        return {}


class SnapshotWithoutTimes(_SnapshotFault):
    """A fetch says of all keys that they were put when it was made."""

    def _snapshot(self, row: InstanceRow | None) -> Kept:
        kept = row.began_with if row else {}
        return {key: KeyValue(each.value, self._now_ms()) for key, each in kept.items()}


class SnapshotIsBytesAlone(_SnapshotFault):
    """What a payload says about its bytes is not in what a fetch shows."""

    def _snapshot(self, row: InstanceRow | None) -> Kept:
        kept = row.began_with if row else {}
        return {key: KeyValue(Payload(each.value.data), each.updated_at_ms) for key, each in kept.items()}


# What a query shows


class QueriesShowTheFirstLayer(Mutant):
    """A query shows what the execution began with."""

    async def get_key_values(self, instance: str) -> Kept:
        row = self._instances.get(instance)
        return row.began_with if row else {}


class QueriesShowTheSecondLayer(Mutant):
    """A query shows what the execution changed, or all that there is if it has ended and changed nothing."""

    async def get_key_values(self, instance: str) -> Kept:
        row = self._instances.get(instance)
        return merged({} if row.changed else row.began_with, row.changed) if row else {}


class OlderValueShown(Mutant):
    """Of a key in both layers a query shows the older value."""

    async def get_key_values(self, instance: str) -> Kept:
        row = self._instances.get(instance)
        return dict(sorted({**merged({}, row.changed), **row.began_with}.items())) if row else {}


class OneKeyFromTheFirstLayer(Mutant):
    """The query for one key shows what the execution began with."""

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        row = self._instances.get(instance)
        return row.began_with.get(key) if row else None


class OneKeyFromTheSecondLayer(Mutant):
    """The query for one key shows what the execution changed."""

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        row = self._instances.get(instance)
        return row.changed.get(key) if row else None


class OneKeyWithoutTombstones(Mutant):
    """The query for one key looks in the first layer for what was cleared in the second."""

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        row = self._instances.get(instance)
        return (row.changed.get(key) or row.began_with.get(key)) if row else None


class OneKeyEmptyIsNone(Mutant):
    """The query for one key takes a value of no bytes for none."""

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        kept = await super().get_key_value(instance, key)
        return kept if kept and kept.value.data else None


class OneKeyByItsBeginning(Mutant):
    """The query for one key returns the first one that begins so."""

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        kept = await self.get_key_values(instance)
        return next((each for other, each in kept.items() if other.startswith(key)), None)


class MissingKeyIsEmpty(Mutant):
    """Under a key that is not there is an empty value."""

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        return await super().get_key_value(instance, key) or KeyValue(Payload(b""), 0)


class NobodyIsAskedForKeys(Mutant):
    """To ask for keys of who does not exist is refused."""

    async def get_key_values(self, instance: str) -> Kept:
        if instance not in self._instances:
            raise Refused("get_key_values", f"expected an instance {instance!r}, but there is none")
        return await super().get_key_values(instance)


class KeysInOrderOfChange(Mutant):
    """Keys are listed as they were put."""

    async def get_key_values(self, instance: str) -> Kept:
        row = self._instances.get(instance)
        both = {**row.began_with, **row.changed} if row else {}
        return {key: each for key, each in both.items() if each is not None}


class KeysDescending(Mutant):
    """Keys are listed last one first."""

    async def get_key_values(self, instance: str) -> Kept:
        return dict(reversed(list((await super().get_key_values(instance)).items())))


class KeysAsUtf16OrdersThem(Mutant):
    """Keys are listed by their halves of surrogates."""

    async def get_key_values(self, instance: str) -> Kept:
        kept = await super().get_key_values(instance)
        return dict(sorted(kept.items(), key=lambda each: each[0].encode("utf-16-be")))


class NoMoreThanAHundredKeysListed(Mutant):
    """Keys beyond the first hundred are left out."""

    async def get_key_values(self, instance: str) -> Kept:
        return dict(list((await super().get_key_values(instance)).items())[:100])


# Whose they are


class _SharedKeys(Mutant):
    @abstractmethod
    def _shares(self, instance: str, other: str) -> bool: ...

    def _row_of_start(self, instance: str, execution_id: int) -> InstanceRow:
        row = super()._row_of_start(instance, execution_id)
        for other in self._instances.values():
            if self._shares(instance, other.instance):
                row.began_with, row.changed = other.began_with, other.changed
        return row

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        row = self._instances[instance]
        for other in self._instances.values():
            if other is not row and self._shares(instance, other.instance):
                other.began_with, other.changed = row.began_with, row.changed


class KeysSharedByAll(_SharedKeys):
    """Whoever puts or clears a key does it for everybody."""

    def _shares(self, instance: str, other: str) -> bool:
        return True


class KeysSharedInATree(_SharedKeys):
    """A child has its parent's keys, and the parent the child's."""

    def _shares(self, instance: str, other: str) -> bool:
        return automatic_parent(other) == instance or automatic_parent(instance) == other


class _ClearsOthers(Mutant):
    @abstractmethod
    def _is_hit(self, instance: str, other: str) -> bool: ...

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        if any(change.key is None for change in result.key_values):
            for other in self._instances.values():
                if other.instance != instance and self._is_hit(instance, other.instance):
                    other.began_with, other.changed = {}, {}


class ClearAllByTheBeginningOfTheId(_ClearsOthers):
    """To clear all clears the keys of instances whose ids begin with this one, too."""

    def _is_hit(self, instance: str, other: str) -> bool:
        return other.startswith(instance)


class ClearAllOfTheTree(_ClearsOthers):
    """To clear all clears the keys of the children, too."""

    def _is_hit(self, instance: str, other: str) -> bool:
        return automatic_parent(other) == instance


# What takes them away


class _PrunedKeys(Mutant):
    """Knows by which execution each key was put first and last."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._first_put: dict[tuple[str, str], int] = {}
        self._last_put: dict[tuple[str, str], int] = {}

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        for change in result.key_values:
            if change.key is not None and change.value is not None:
                self._first_put.setdefault((instance, change.key), result.execution_id)
                self._last_put[instance, change.key] = result.execution_id

    @abstractmethod
    def _forget(self, row: InstanceRow) -> None: ...

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        pruned = await super().prune_executions(instance, options)
        self._forget(self._instances[instance])
        return pruned


class _KeysGoWithTheirExecution(_PrunedKeys):
    @abstractmethod
    def _put_by(self, instance: str, key: str) -> int | None: ...

    def _forget(self, row: InstanceRow) -> None:
        kept = {key for key in {*row.began_with, *row.changed} if self._put_by(row.instance, key) in row.executions}
        row.began_with = {key: each for key, each in row.began_with.items() if key in kept}
        row.changed = {key: each for key, each in row.changed.items() if key in kept}


class KeysGoWithWhoPutThemFirst(_KeysGoWithTheirExecution):
    """A key is forgotten with the execution that put it first."""

    def _put_by(self, instance: str, key: str) -> int | None:
        return self._first_put.get((instance, key))


class KeysGoWithWhoPutThemLast(_KeysGoWithTheirExecution):
    """A key is forgotten with the execution that put it last."""

    def _put_by(self, instance: str, key: str) -> int | None:
        return self._last_put.get((instance, key))


class PruningForgetsTheFirstLayer(_PrunedKeys):
    """What the execution began with is forgotten with the ones before."""

    def _forget(self, row: InstanceRow) -> None:
        row.began_with = {}


class PruningForgetsTheSecondLayer(_PrunedKeys):
    """What the execution changed is forgotten."""

    def _forget(self, row: InstanceRow) -> None:
        row.changed = {}


class PruningMerges(_PrunedKeys):
    """Pruning makes one of the two layers."""

    def _forget(self, row: InstanceRow) -> None:
        row.began_with, row.changed = merged(row.began_with, row.changed), {}


class _KeysOutliveDeletion(Mutant):
    """What `_outlives` of a deleted instance is shown, and what its next life begins with."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._outlived: dict[str, dict[str, KeyValue]] = {}

    @abstractmethod
    def _outlives(self, root: str, row: InstanceRow) -> Kept: ...

    def _drop_tree(self, root: str) -> DeletedCounts:
        for instance in self._tree(root):
            self._outlived[instance] = dict(self._outlives(root, self._instances[instance]))
        return super()._drop_tree(root)

    def _row_of_start(self, instance: str, execution_id: int) -> InstanceRow:
        row = super()._row_of_start(instance, execution_id)
        row.began_with = self._outlived.get(instance, {})
        return row

    async def get_key_values(self, instance: str) -> Kept:
        if instance in self._instances:
            return await super().get_key_values(instance)
        return self._outlived.get(instance, {})


class KeysOutliveDeletion(_KeysOutliveDeletion):
    """A deletion leaves the keys."""

    def _outlives(self, root: str, row: InstanceRow) -> Kept:
        return merged(row.began_with, row.changed)


class FirstLayerOutlivesDeletion(_KeysOutliveDeletion):
    """A deletion leaves the keys of executions that have ended."""

    def _outlives(self, root: str, row: InstanceRow) -> Kept:
        return row.began_with


class SecondLayerOutlivesDeletion(_KeysOutliveDeletion):
    """A deletion leaves the keys that an execution has put that runs."""

    def _outlives(self, root: str, row: InstanceRow) -> Kept:
        return merged({}, row.changed)


class KeysOfChildrenOutliveDeletion(_KeysOutliveDeletion):
    """A deletion leaves the keys of the children."""

    def _outlives(self, root: str, row: InstanceRow) -> Kept:
        return {} if row.instance == root else merged(row.began_with, row.changed)


class KeysComeBackWithTheNextLife(KeysOutliveDeletion):
    """Keys are not shown any more once their instance is deleted, but its next life begins with them."""

    async def get_key_values(self, instance: str) -> Kept:
        return await super().get_key_values(instance) if instance in self._instances else {}


class DeletionTakesKeysByTheBeginningOfTheId(Mutant):
    """A deletion takes the keys of instances whose ids begin with the deleted one's."""

    def _drop_tree(self, root: str) -> DeletedCounts:
        for instance, row in self._instances.items():
            if instance.startswith(root):
                row.began_with, row.changed = {}, {}
        return super()._drop_tree(root)


# Statistics


class _StatsFault(Mutant):
    @abstractmethod
    def _counted(self, row: InstanceRow) -> tuple[int, int]: ...

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        stats, row = await super().get_instance_stats(instance), self._instances.get(instance)
        if stats is None or row is None:
            return None
        keys, key_value_bytes = self._counted(row)
        return structs.replace(stats, keys=keys, key_value_bytes=key_value_bytes)


def _bytes_of(kept: Kept) -> int:
    return sum(len(each.value.data) for each in kept.values())


class KeysNotCounted(_StatsFault):
    """Statistics say nothing of keys."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        return 0, 0


class BytesOfKeysAreTheirNumber(_StatsFault):
    """Each key counts as one byte."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        kept = merged(row.began_with, row.changed)
        return len(kept), len(kept)


class BytesOfKeysWithTheirNames(_StatsFault):
    """The keys are counted with their values."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        kept = merged(row.began_with, row.changed)
        return len(kept), _bytes_of(kept) + sum(len(key.encode()) for key in kept)


class FirstLayerCounted(_StatsFault):
    """Statistics are of what the execution began with."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        return len(row.began_with), _bytes_of(row.began_with)


class SecondLayerCounted(_StatsFault):
    """Statistics are of what the execution changed."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        changes = merged({}, row.changed)
        return len(changes), _bytes_of(changes)


class BothLayersCounted(_StatsFault):
    """A key that is in both layers counts twice."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        changes = merged({}, row.changed)
        return len(row.began_with) + len(changes), _bytes_of(row.began_with) + _bytes_of(changes)


class ClearedKeysCounted(_StatsFault):
    """A key that was cleared counts, without bytes."""

    def _counted(self, row: InstanceRow) -> tuple[int, int]:
        return len({*row.began_with, *row.changed}), _bytes_of(merged(row.began_with, row.changed))
