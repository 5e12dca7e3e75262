"""What can go wrong with histories and queries? One class a fault."""

# ruff: noqa: ARG002 - to ignore a parameter is what many a fault consists of

from collections.abc import Sequence

from msgspec import structs

from engine.model.events import AnyEvent
from engine.model.status import Status
from engine.port import InstanceInfo, OrchestrationItem
from tests.conformance.mutant import Mutant


class CorruptHistoryIsEmpty(Mutant):
    """Events that cannot be decoded are left out."""

    def corrupt_history(self, instance: str) -> None:
        self._instances[instance].current.events.clear()


class CorruptHistoryStopsTheFetch(Mutant):
    """An instance with a corrupt history makes the fetch itself fail."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        item.history.load()
        return item


class UnknownInstanceIsAnError(Mutant):
    """Reading nobody raises."""

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        return self._instances[instance].current.history().load()


class ReadingMakesAnExecution(Mutant):
    """Asking for an execution that is not there makes it."""

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        if row := self._instances.get(instance):
            row.execution(execution_id, self._now_ms())
        return await super().read_with_execution(instance, execution_id)


class ChangedReturnsAtOnce(Mutant):
    """Whoever waits for a change gets what is there."""

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        return await super().changed(instance, min(seen, 0))


class ChangedNeverWakes(Mutant):
    """Commits do not tell those who wait for them."""

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        return await super().changed(instance, 10**9)


class EndedTakesAnyState(Mutant):
    """Whoever waits for the end gets what is there."""

    async def ended(self, instance: str) -> InstanceInfo:
        return await super().changed(instance, 0)


class EndedWaitsForWhoIsHeld(Mutant):
    """Whoever waits for the end of an instance that is held waits on."""

    async def ended(self, instance: str) -> InstanceInfo:
        info = await super().ended(instance)
        while info.status is Status.HELD:
            info = await super().changed(instance, info.revision)
        return info


class ListIsInOrderOfCreation(Mutant):
    """Instances come as they were made, and a page begins anywhere."""

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        infos = await super().list_instances(status=status, name=name, limit=1_000)
        return sorted(infos, key=lambda info: info.created_at_ms)[-limit:]


class OutputNotShown(Mutant):
    """An instance completes without a result."""

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        info = await super().get_instance_info(instance)
        return structs.replace(info, output=None) if info else None
