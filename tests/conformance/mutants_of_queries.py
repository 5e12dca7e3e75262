"""What can go wrong with histories and queries? One class a fault."""

from collections.abc import Sequence

from msgspec import structs

from engine.model.events import AnyEvent
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats, QueueDepths, SystemMetrics
from engine.port import OrchestrationItem
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


class StatusOfAListIgnored(Mutant):
    """Whatever status is asked for, all are listed."""

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        return await super().list_instances(name=name, limit=limit, after=after)


class VersionOfTheStartShown(Mutant):
    """What the first turn says of the version is not kept."""

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        info = await super().get_instance_info(instance)
        return structs.replace(info, orchestration_version="1.0.0") if info else None


class AnyExecutionShown(Mutant):
    """Whichever execution is asked for, it is the current one."""

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        row = self._instances.get(instance)
        return row.current.info(instance) if row else None


class NoExecutions(Mutant):
    """Executions are not listed."""

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        return ()


class MetricsOfCurrentExecutions(Mutant):
    """Earlier executions and their events are not counted."""

    async def get_system_metrics(self) -> SystemMetrics:
        metrics = await super().get_system_metrics()
        events = sum(len(row.current.events) for row in self._instances.values())
        return structs.replace(metrics, executions=metrics.instances, events=events)


class EverybodyRuns(Mutant):
    """All instances are counted as running."""

    async def get_system_metrics(self) -> SystemMetrics:
        metrics = await super().get_system_metrics()
        by_status = {Status.RUNNING: metrics.instances} if metrics.instances else {}
        return structs.replace(metrics, by_status=by_status)


class StartsAreNotCounted(Mutant):
    """A message for who does not exist is in no depth."""

    async def get_queue_depths(self) -> QueueDepths:
        depths = await super().get_queue_depths()
        starts = sum(
            len(self._messages.all(name)) for name in self._messages.instances() if name not in self._instances
        )
        return QueueDepths(depths.orchestrator_queue - starts, depths.worker_queue, depths.timer_queue)


class NobodyHasStats(Mutant):
    """Who does not exist has an empty history."""

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        stats = await super().get_instance_stats(instance)
        return stats or InstanceStats(history_events=0, history_bytes=0, queue_pending=0)


class StatsOfAllExecutions(Mutant):
    """The events of earlier executions are counted too."""

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        stats = await super().get_instance_stats(instance)
        if stats is None:
            return None
        events = sum(len(execution.events) for execution in self._instances[instance].executions.values())
        return structs.replace(stats, history_events=events)


class CarriedMessagesNotCounted(Mutant):
    """What was handed on is not pending."""

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        stats = await super().get_instance_stats(instance)
        return structs.replace(stats, queue_pending=0) if stats else None
