"""What can go wrong with pins and who may run them? One class a fault."""

from abc import abstractmethod
from collections.abc import Sequence

from msgspec import structs

from engine.model.turn import TurnResult
from engine.model.version import EngineVersion, VersionRange
from engine.model.views import InstanceInfo
from engine.port import OrchestrationItem
from engine.testing.memory_tables import InstanceRow
from tests.conformance.mutant import Mutant


class PinsNotAsked(Mutant):
    """Every engine gets every execution."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        return True


class NobodyIsForTheChoosy(Mutant):
    """Who names versions gets nothing that has a pin."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        return pins is None or row is None or row.current.pin is None


class PinsForNobody(Mutant):
    """Who names no versions gets no execution that has a pin."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        return super()._is_for(pins, instance) and (pins is not None or row is None or row.current.pin is None)


class FirstVersionLeftOut(Mutant):
    """The range begins behind its first version."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        is_first = pins is not None and row is not None and row.current.pin == pins.first
        return super()._is_for(pins, instance) and not is_first


class LastVersionLeftOut(Mutant):
    """The range ends before its last version."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        is_last = pins is not None and row is not None and row.current.pin == pins.last
        return super()._is_for(pins, instance) and not is_last


class OnlyMajorCompared(Mutant):
    """Minor and patch are not looked at."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        pin = row.current.pin if row else None
        if pins is None or pin is None:
            return super()._is_for(pins, instance)
        return pins.first.major <= pin.major <= pins.last.major


class UnpinnedIsForNobody(Mutant):
    """What has no pin, or does not exist yet, is not for who names versions."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        return super()._is_for(pins, instance) and (pins is None or (row is not None and row.current.pin is not None))


class EmptyRangeTakesUnpinned(Mutant):
    """Who can run no version gets what has no pin."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        return super()._is_for(pins, instance) or row is None or row.current.pin is None


class PassedOverIsLocked(Mutant):
    """What is not for who asks is locked on the way to what is."""

    def _lock_oldest(
        self, items_max: int, lock_timeout_ms: int, pins: VersionRange | None
    ) -> Sequence[OrchestrationItem]:
        items = super()._lock_oldest(items_max, lock_timeout_ms, None)
        return [item for item in items if self._is_for(pins, item.instance)]


class FirstInTheQueueDecides(Mutant):
    """If the oldest instance is not for who asks, nothing is."""

    def _lock_oldest(
        self, items_max: int, lock_timeout_ms: int, pins: VersionRange | None
    ) -> Sequence[OrchestrationItem]:
        waiting = [instance for instance in self._messages.instances() if self._may_have_a_turn(instance)]
        if waiting and not self._is_for(pins, waiting[0]):
            return []
        return super()._lock_oldest(items_max, lock_timeout_ms, pins)


class HistoryReadBeforePins(Mutant):
    """A history that cannot be read ends the fetch, whoever it is for."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        if pins is not None and row is not None:
            row.current.history().load()
        return super()._is_for(pins, instance)


class UnreadableIsNotReturned(Mutant):
    """An instance whose history cannot be read is left in its queue for ever."""

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        row = self._instances.get(instance)
        return super()._is_for(pins, instance) and not (row is not None and row.current.corrupted)


class UnreadableIsNoAttempt(Mutant):
    """A fetch whose history cannot be read is not counted."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        row = self._instances.get(instance)
        if row is not None and row.current.corrupted:
            for message in self._messages.tagged(instance, item.lock_token):
                message.attempts -= 1
        return item


class AckReadsTheHistory(Mutant):
    """A turn of an instance whose history cannot be read is not taken."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        row = self._instances.get(instance)
        if row is not None:
            row.current.history().load()
        super()._refuse_known_events(instance, result)


class _PinFault(Mutant):
    @abstractmethod
    def _pinned(self, row: InstanceRow | None, result: TurnResult) -> EngineVersion | None: ...

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        before = self._instances.get(instance)
        pin = self._pinned(before, result)
        super()._commit(instance, token, result)
        row = self._instances[instance]
        row.executions[result.execution_id].pin = pin


class PinNotStored(_PinFault):
    """A pin is forgotten."""

    def _pinned(self, row: InstanceRow | None, result: TurnResult) -> EngineVersion | None:
        return None


class PinForgottenByTheNextTurn(_PinFault):
    """A turn without a pin takes the pin away."""

    def _pinned(self, row: InstanceRow | None, result: TurnResult) -> EngineVersion | None:
        return result.metadata.pinned_version


class FirstPinStays(_PinFault):
    """A pin that is there is never changed."""

    def _pinned(self, row: InstanceRow | None, result: TurnResult) -> EngineVersion | None:
        execution = row.executions.get(result.execution_id) if row else None
        return (execution.pin if execution else None) or result.metadata.pinned_version


class PinOnlyWithTheFirstTurn(_PinFault):
    """An execution that began without a pin never gets one."""

    def _pinned(self, row: InstanceRow | None, result: TurnResult) -> EngineVersion | None:
        execution = row.executions.get(result.execution_id) if row else None
        return result.metadata.pinned_version if execution is None else execution.pin


class PinInherited(_PinFault):
    """A new execution keeps the pin of the one before."""

    def _pinned(self, row: InstanceRow | None, result: TurnResult) -> EngineVersion | None:
        return (row.current.pin if row else None) or result.metadata.pinned_version


class PinNotShown(Mutant):
    """A query does not tell the pin."""

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        info = await super().get_instance_info(instance)
        return None if info is None else structs.replace(info, pinned_version=None)
