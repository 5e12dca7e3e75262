"""What can go wrong with suspending and resuming? One class a fault."""

from collections.abc import Sequence

from msgspec.structs import replace

from engine.errors import Refused
from engine.model.removal import DeletedCounts
from engine.model.status import Status
from engine.model.views import InstanceInfo
from engine.testing.memory_queues import QueuedMessage
from tests.conformance.mutant import Mutant


class SuspendingIsIgnored(Mutant):
    """It is written down, and the instance takes its turns as ever."""

    def _may_have_a_turn(self, instance: str) -> list[QueuedMessage]:
        row = self._instances.get(instance)
        if row is None or row.suspend_reason is None:
            return super()._may_have_a_turn(instance)
        return self._messages.visible(instance)


class SuspendingDropsWhatWaits(Mutant):
    """What waited for the instance is gone."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        await super().suspend_instance(instance, reason)
        self._messages.remove(instance, self._messages.all(instance))


class SuspendingIsSilent(Mutant):
    """Nobody who waits for a change hears of it."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        before = self._existing("suspend_instance", instance).revision
        await super().suspend_instance(instance, reason)
        self._instances[instance].revision = before


class SuspendedLooksRunning(Mutant):
    """Lists do not tell who is suspended."""

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        found = await super().list_instances(status=None, name=name, limit=limit, after=after)
        seen = [replace(info, status=Status.RUNNING) if info.suspend_reason else info for info in found]
        return [info for info in seen if status in (None, info.status)]


class SuspendingSparesTheTurn(Mutant):
    """Who has the lock keeps it, and commits."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        row = self._existing("suspend_instance", instance)
        if row.status is not Status.RUNNING or not self._locks.is_held(instance):
            await super().suspend_instance(instance, reason)
            return
        row.suspend_reason = reason
        row.touch(self._now_ms())


class SuspendingTakesTheWorkBack(Mutant):
    """Work items of the instance are taken out of the worker queue."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        await super().suspend_instance(instance, reason)
        self._work.drop_tree(instance)


class SuspendingAgainSaysAnother(Mutant):
    """The second reason takes the place of the first."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        await super().suspend_instance(instance, reason)
        self._instances[instance].suspend_reason = reason


class AnyoneCanBeSuspended(Mutant):
    """Who has ended, and who is held, too."""

    async def suspend_instance(self, instance: str, reason: str) -> None:
        row = self._existing("suspend_instance", instance)
        row.suspend_reason = row.suspend_reason or reason
        row.touch(self._now_ms())


class ResumingKeepsTheReason(Mutant):
    """A suspended instance is not resumed."""

    async def resume_instance(self, instance: str) -> None:
        row = self._instances.get(instance)
        reason = None if row is None else row.suspend_reason
        await super().resume_instance(instance)
        self._instances[instance].suspend_reason = reason


class SuspendedCannotBeDeleted(Mutant):
    """Who is suspended stays, by force too."""

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        if (row := self._instances.get(instance)) is not None and row.suspend_reason is not None:
            raise Refused("delete_instance", f"expected {instance!r} not to be suspended, but it is")
        return await super().delete_instance(instance, force)
