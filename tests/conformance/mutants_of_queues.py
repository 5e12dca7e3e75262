"""What can go wrong with messages, work items, delays and waiting? One class a fault."""

# ruff: noqa: ARG002 - to ignore a parameter is what many a fault consists of

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

import anyio
from msgspec import structs

from engine.clock import Clock
from engine.errors import LeaseLost
from engine.model.messages import AnyMessage, EnqueueMessage, External, FireTimer, StartOrchestration
from engine.model.turn import ActivityRef, TimerRef, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, QueueDepths
from engine.testing.memory_queues import InstanceLocks, OrchestratorQueue, WorkerQueue
from engine.testing.memory_tables import QueuedMessage, QueuedWork
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


# The worker queue


class _WorkLifo(WorkerQueue):
    def put(self, item: WorkItem) -> None:
        super().put(item)
        self._rows.insert(0, self._rows.pop())


class WorkLastFirst(Mutant):
    """The newest work item is handed out first."""

    work_type = _WorkLifo


class _WorkNotLeased(WorkerQueue):
    def is_leased(self, row: QueuedWork) -> bool:
        return False

    def valid(self, operation: str, token: str) -> QueuedWork:
        return self.known(operation, token)


class WorkNotLeased(Mutant):
    """A work item is handed to everybody who asks."""

    work_type = _WorkNotLeased


class _EternalLeases(WorkerQueue):
    def is_leased(self, row: QueuedWork) -> bool:
        return row.token is not None


class LeaseNeverExpires(Mutant):
    """A work item whose worker died is never handed out again."""

    work_type = _EternalLeases


class _ExpiredLeaseIsValid(WorkerQueue):
    def valid(self, operation: str, token: str) -> QueuedWork:
        return self.known(operation, token)


class ExpiredLeaseAccepted(Mutant):
    """A lease that ran out still acks and renews while nobody else took the item."""

    work_type = _ExpiredLeaseIsValid


class _AnyLease(WorkerQueue):
    def known(self, operation: str, token: str) -> QueuedWork:
        try:
            return super().known(operation, token)
        except LeaseLost:
            if not self._rows:
                raise
            return self._rows[0]


class AnyLeaseTokenAccepted(Mutant):
    """A token nobody was given is good for some work item."""

    work_type = _AnyLease


class _SameLease(WorkerQueue):
    def lease_oldest(self, timeout_ms: int) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms)
        if fetched is None:
            return None
        token = f"{fetched.item.instance}/{fetched.item.activity_id}"
        self.known("fetch_work_item", fetched.lock_token).token = token
        return structs.replace(fetched, lock_token=token)


class LeaseTokensReused(Mutant):
    """A work item has the same token in each of its leases."""

    work_type = _SameLease


class _LeaseRenewalIgnored(WorkerQueue):
    def extend(self, row: QueuedWork, extend_for_ms: int) -> None:
        pass


class LeaseRenewalIgnored(Mutant):
    """A renewed lease ends when it would have."""

    work_type = _LeaseRenewalIgnored


class _RenewalEndsTheLease(WorkerQueue):
    def extend(self, row: QueuedWork, extend_for_ms: int) -> None:
        row.leased_until_ms = self._now_ms()


class RenewalEndsTheLease(Mutant):
    """A renewal gives the item to whoever asks next."""

    work_type = _RenewalEndsTheLease


class _WorkGoneOnFetch(WorkerQueue):
    def lease_oldest(self, timeout_ms: int) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms)
        if fetched is not None:
            self.remove(self.known("fetch_work_item", fetched.lock_token))
        return fetched


class WorkDeletedOnFetch(Mutant):
    """A fetch takes the item out of the queue instead of hiding it."""

    work_type = _WorkGoneOnFetch


class _HeadOfLine(WorkerQueue):
    def lease_oldest(self, timeout_ms: int) -> FetchedWorkItem | None:
        if self._rows and self._rows[0].visible_at_ms > self._now_ms():
            return None
        return super().lease_oldest(timeout_ms)


class DelayedWorkBlocksTheQueue(Mutant):
    """Behind an item that was put off all others wait."""

    work_type = _HeadOfLine


class _AlwaysFirstAttempt(WorkerQueue):
    def lease_oldest(self, timeout_ms: int) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms)
        return structs.replace(fetched, attempt_count=1) if fetched else None


class WorkAttemptNotCounted(Mutant):
    """Every lease of a work item is its first."""

    work_type = _AlwaysFirstAttempt


class _AttemptsOfTheQueue(WorkerQueue):
    def lease_oldest(self, timeout_ms: int) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms)
        return structs.replace(fetched, attempt_count=sum(row.attempts for row in self._rows)) if fetched else None


class WorkAttemptsCountedTogether(Mutant):
    """A lease of one work item is an attempt of all."""

    work_type = _AttemptsOfTheQueue


class AbandonedWorkStaysLeased(Mutant):
    """A work item given back is hidden until the lease would have ended."""

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        self._work.known("abandon_work_item", lock_token)


class AbandonDelayOfWorkIgnored(Mutant):
    """A work item given back for later is there at once."""

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        await super().abandon_work_item(lock_token, 0, ignore_attempt)


class WorkNeedsAnInstance(Mutant):
    """A work item of nobody is dropped."""

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        if item.instance in self._instances:
            await super().enqueue_for_worker(item)


class AckedWorkKept(Mutant):
    """A work item that was acked comes again."""

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        row = self._work.valid("ack_work_item", lock_token)
        await super().ack_work_item(lock_token, completion)
        self._work.put(row.item)


class AckedLeaseStaysKnown(Mutant):
    """An ack hides the work item for ever, and its token goes on being good."""

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        row = self._work.valid("ack_work_item", lock_token)
        row.leased_until_ms = 10**15
        if completion is not None:
            self._messages.put(completion)


class CompletionDropped(Mutant):
    """An ack deletes the work item and forgets its result."""

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        await super().ack_work_item(lock_token, None)


class CompletionBeforeTheLeaseIsChecked(Mutant):
    """A result reaches the instance though its lease was lost."""

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        if completion is not None:
            self._messages.put(completion)
        await super().ack_work_item(lock_token, None)


# Cancellation


class CancelledBeforeScheduled(Mutant):
    """A turn takes back before it hands out."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        self._work.take_back(result.cancelled_activities)
        super()._commit(instance, token, structs.replace(result, cancelled_activities=()))


class _Unrevoked(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        for row in self._rows:
            row.revoked = anyio.Event()
        super().take_back(cancelled)


class CancelledActivityNotTold(Mutant):
    """A cancelled activity learns it from its next renewal only."""

    work_type = _Unrevoked


class _LeasedStay(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        rows = {ActivityRef(row.item.instance, row.item.execution_id, row.item.activity_id): row for row in self._rows}
        super().take_back([ref for ref in cancelled if ref in rows and rows[ref].token is None])


class RunningActivityNotCancelled(Mutant):
    """Only what waits can be taken back."""

    work_type = _LeasedStay


class _AnyExecution(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        super().take_back([structs.replace(ref, execution_id=execution) for ref in cancelled for execution in (1, 2)])


class ActivityOfAnotherExecutionCancelled(Mutant):
    """An activity is known by its number alone."""

    work_type = _AnyExecution


class _AllOfInstance(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        if cancelled:
            for row in self._rows:
                row.revoked.set()
            self._rows.clear()


class AllActivitiesCancelled(Mutant):
    """Cancelling one activity cancels all."""

    work_type = _AllOfInstance


class _UnknownCancelRefused(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        before = len(self._rows)
        super().take_back(cancelled)
        if before - len(self._rows) < len(cancelled):
            raise LeaseLost("ack_orchestration_item", "expected activities that are there")


class CancellingWhatIsGoneFails(Mutant):
    """Taking back an activity that ended is an error."""

    work_type = _UnknownCancelRefused


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
