"""What can go wrong with messages, delays and waiting? One class a fault."""

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import anyio
from msgspec import structs

from engine.clock import Clock
from engine.errors import LeaseLost
from engine.model.messages import AnyMessage, EnqueueMessage, External, FireTimer, StartOrchestration
from engine.model.turn import TimerRef, TurnResult
from engine.model.views import QueueDepths
from engine.testing.memory_queues import InstanceLocks, OrchestratorQueue
from engine.testing.memory_tables import QueuedMessage
from tests.conformance.mutant import Mutant

Found = TypeVar("Found")

# The orchestrator queue


class _AllVisible(OrchestratorQueue):
    def visible(self, instance: str) -> list[QueuedMessage]:
        return self.all(instance)


class VisibilityIgnored(Mutant):
    """Delayed messages and timers are there at once."""

    messages_type = _AllVisible


class _NoDelay(OrchestratorQueue):
    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        super().put(message, 0)


class DelayOfEnqueueIgnored(Mutant):
    """A message that was to come later comes now."""

    messages_type = _NoDelay


class _StartsAtOnce(OrchestratorQueue):
    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        super().put(message, delay_ms)
        if isinstance(message, StartOrchestration) and message.start_at_ms is not None:
            for row in self.all(message.instance):
                row.visible_at_ms = self._now_ms() + delay_ms


class StartBeforeItsTime(Mutant):
    """A start that says when it is for is there at once."""

    messages_type = _StartsAtOnce


class _OrderOfMaking(OrchestratorQueue):
    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        super().put(message, delay_ms)
        self.all(message.instance).sort(key=lambda row: row.position[1])


class TimersInOrderOfMaking(Mutant):
    """A timer is in the queue where it was made, in front of what came before it fired."""

    messages_type = _OrderOfMaking


class _Lifo(OrchestratorQueue):
    def visible(self, instance: str) -> list[QueuedMessage]:
        return super().visible(instance)[::-1]


class MessagesLastFirst(Mutant):
    """The newest message of an instance is the first of its batch."""

    messages_type = _Lifo


class _OrphansKept(OrchestratorQueue):
    def drop_orphans(self, instance: str) -> None:
        pass


class OrphansKept(Mutant):
    """Queue messages for nobody wait for somebody."""

    messages_type = _OrphansKept


class _VisibleOrphansDropped(OrchestratorQueue):
    def drop_orphans(self, instance: str) -> None:
        visible = self.visible(instance)
        if visible and all(isinstance(row.message, EnqueueMessage) for row in visible):
            self.remove(instance, visible)


class OrphansBehindADelayedStartDropped(Mutant):
    """A start that backs off is not seen, and what waits for it is dropped."""

    messages_type = _VisibleOrphansDropped


class _AllOrphansDropped(OrchestratorQueue):
    def drop_orphans(self, instance: str) -> None:
        if not any(isinstance(row.message, StartOrchestration) for row in self.all(instance)):
            self.remove(instance, self.all(instance))


class EarlyEventsDropped(Mutant):
    """Whatever comes before its start is dropped."""

    messages_type = _AllOrphansDropped


class _MessageIdsForgotten(OrchestratorQueue):
    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        anonymous = structs.replace(message, message_id=None) if isinstance(message, External) else message
        super().put(anonymous, delay_ms)
        self.all(message.instance)[-1].message = message


class MessageIdsIgnored(Mutant):
    """A call that was retried happens twice."""

    messages_type = _MessageIdsForgotten


class _CancelledTimersFire(OrchestratorQueue):
    def take_back_timers(self, instance: str, cancelled: Collection[TimerRef]) -> None:
        pass


class CancelledTimersFire(Mutant):
    """A timer that was taken back fires."""

    messages_type = _CancelledTimersFire


class FiredTimersCannotBeCancelled(Mutant):
    """Taking back a timer that fired is an error."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        waiting = {
            TimerRef(row.message.execution_id, row.message.timer_id)
            for row in self._messages.all(instance)
            if isinstance(row.message, FireTimer) and row.visible_at_ms > self._now_ms()
        }
        if set(result.cancelled_timers) - waiting:
            raise LeaseLost("ack_orchestration_item", "expected timers that wait")
        super()._commit(instance, token, result)


class AbandonDelayIgnored(Mutant):
    """An instance given back for later is there at once."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        await super().abandon_orchestration_item(lock_token, 0, ignore_attempt)


class AbandonDelaysTheWholeQueue(Mutant):
    """What arrived during the lock is put off with the rest."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        instance = self._locks.known("abandon_orchestration_item", lock_token)
        await super().abandon_orchestration_item(lock_token, delay_ms, ignore_attempt)
        for row in self._messages.all(instance):
            row.visible_at_ms = max(row.visible_at_ms, self._now_ms() + delay_ms)


class IgnoredAttemptCounts(Mutant):
    """An attempt that was to be ignored counts, in both queues."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        await super().abandon_orchestration_item(lock_token, delay_ms)

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        await super().abandon_work_item(lock_token, delay_ms)


class IgnoredAttemptOfAllMessages(Mutant):
    """An attempt that is to be ignored is taken back from messages that were not fetched, too."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        instance = self._locks.known("abandon_orchestration_item", lock_token)
        others = [row for row in self._messages.all(instance) if row.locked_by != lock_token]
        await super().abandon_orchestration_item(lock_token, delay_ms, ignore_attempt)
        for row in others:
            row.attempts = max(0, row.attempts - ignore_attempt)


class IgnoredAttemptTakesTwo(Mutant):
    """An attempt that is to be ignored is taken back with the one before, in both queues."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        instance = self._locks.known("abandon_orchestration_item", lock_token)
        for row in self._messages.tagged(instance, lock_token):
            row.attempts -= ignore_attempt
        await super().abandon_orchestration_item(lock_token, delay_ms, ignore_attempt)

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        self._work.known("abandon_work_item", lock_token).attempts -= ignore_attempt
        await super().abandon_work_item(lock_token, delay_ms, ignore_attempt)


class _LockedCounted(OrchestratorQueue):
    def depths(self, locks: InstanceLocks) -> QueueDepths:
        return super().depths(InstanceLocks(self._now_ms))


class DepthsCountWhatIsLocked(Mutant):
    """Messages that somebody has are counted as waiting."""

    messages_type = _LockedCounted


class _PutOffNotCounted(OrchestratorQueue):
    def depths(self, locks: InstanceLocks) -> QueueDepths:
        depths = super().depths(locks)
        hidden = sum(
            row.visible_at_ms > self._now_ms() and not isinstance(row.message, FireTimer)
            for queue in self._rows.values()
            for row in queue
        )
        return QueueDepths(depths.orchestrator_queue - hidden, depths.worker_queue, depths.timer_queue)


class DepthsLeaveOutWhatIsPutOff(Mutant):
    """A start that nobody serves, given back with a delay each time, waits and is in no depth."""

    messages_type = _PutOffNotCounted


# Waiting


class FetchNeverWaits(Mutant):
    """A poll time is ignored."""

    async def _poll(self, look: Callable[[], Found | None], poll_timeout_ms: int) -> Found | None:
        return await super()._poll(look, 0)


class FetchWaitsTooLong(Mutant):
    """A poll time is doubled."""

    async def _poll(self, look: Callable[[], Found | None], poll_timeout_ms: int) -> Found | None:
        return await super()._poll(look, 2 * poll_timeout_ms)


class FetchAlwaysWaits(Mutant):
    """A fetch that may not wait does, for a while."""

    async def _poll(self, look: Callable[[], Found | None], poll_timeout_ms: int) -> Found | None:
        found = await super()._poll(look, poll_timeout_ms)
        if not found and poll_timeout_ms == 0:
            await anyio.sleep(0.15)
        return found


class NobodyIsWoken(Mutant):
    """What a call changes is seen by those who come later only."""

    def _wake(self) -> None:
        pass


class _NoInstants(OrchestratorQueue):
    def instants(self) -> Iterator[int]:
        return iter(())


class TimersWakeNobody(Mutant):
    """A timer that is due waits for the next message."""

    messages_type = _NoInstants


class _LocksWakeNobody(InstanceLocks):
    def instants(self) -> Iterator[int]:
        return iter(())


class ExpiringLocksWakeNobody(Mutant):
    """A lock that ran out is noticed by the next fetch only."""

    locks_type = _LocksWakeNobody


class CancelledFetchGoesOn(Mutant):
    """A fetch that was cancelled while it waited still takes what comes, and nobody gets it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._left_behind: list[Callable[[], object]] = []

    async def _poll(self, look: Callable[[], Found | None], poll_timeout_ms: int) -> Found | None:
        try:
            return await super()._poll(look, poll_timeout_ms)
        except anyio.get_cancelled_exc_class():
            self._left_behind.append(look)
            raise

    def _wake(self) -> None:
        super()._wake()
        for look in self._left_behind:
            look()


class _IdsAreForAll(OrchestratorQueue):
    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        message_id = message.message_id if isinstance(message, External) else None
        if message_id is None or not self.has_consumed(message.instance, message_id):
            super().put(message, delay_ms)


class SentOnIsDropped(Mutant):
    """What a turn consumed and sends on is taken for a repetition."""

    messages_type = _IdsAreForAll
