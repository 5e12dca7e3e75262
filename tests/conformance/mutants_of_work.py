"""What can go wrong with work items, leases and taking back? One class a fault."""

from collections.abc import Collection

import anyio
from msgspec import structs

from engine.errors import LeaseLost
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.status import TERMINAL, Status
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import ActivityRef, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from engine.testing.memory_queues import WorkerQueue
from engine.testing.memory_tables import QueuedWork
from tests.conformance.mutant import Mutant

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
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
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
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        if fetched is not None:
            self.remove(self.known("fetch_work_item", fetched.lock_token))
        return fetched


class WorkDeletedOnFetch(Mutant):
    """A fetch takes the item out of the queue instead of hiding it."""

    work_type = _WorkGoneOnFetch


class _HeadOfLine(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        if self._rows and self._rows[0].visible_at_ms > self._now_ms():
            return None
        return super().lease_oldest(timeout_ms, tags, claim)


class DelayedWorkBlocksTheQueue(Mutant):
    """Behind an item that was put off all others wait."""

    work_type = _HeadOfLine


class _AlwaysFirstAttempt(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        return structs.replace(fetched, attempt_count=1) if fetched else None


class WorkAttemptNotCounted(Mutant):
    """Every lease of a work item is its first."""

    work_type = _AlwaysFirstAttempt


class _AttemptsOfTheQueue(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
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


# Tags


class _TagsTakenAs(WorkerQueue):
    def taken_as(self, tags: TagFilter) -> TagFilter:
        return tags

    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        return super().lease_oldest(timeout_ms, self.taken_as(tags), claim)


class _Everything(_TagsTakenAs):
    def taken_as(self, tags: TagFilter) -> TagFilter:
        return TagFilter.everything()


class TagsIgnored(Mutant):
    """Every worker gets everything."""

    work_type = _Everything


class _UntaggedToo(_TagsTakenAs):
    def taken_as(self, tags: TagFilter) -> TagFilter:
        return structs.replace(tags, untagged=True)


class UntaggedForEverybody(Mutant):
    """Items without a tag are for those, too, who do not take them."""

    work_type = _UntaggedToo


class _UntaggedNever(_TagsTakenAs):
    def taken_as(self, tags: TagFilter) -> TagFilter:
        return structs.replace(tags, untagged=tags.untagged and not tags.tagged)


class TagsExcludeTheUntagged(Mutant):
    """Who serves a tag, or all, gets no items without one."""

    work_type = _UntaggedNever


class _FirstTag(_TagsTakenAs):
    def taken_as(self, tags: TagFilter) -> TagFilter:
        return structs.replace(tags, tagged=frozenset(sorted(tags.tagged)[:1])) if tags.tagged else tags


class OneTagAFilter(Mutant):
    """Of several tags one is served."""

    work_type = _FirstTag


class _TagBlocks(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        waiting = [row for row in self._rows if not self.is_leased(row)]
        if waiting and not tags.takes(waiting[0].item.tag):
            return None
        return super().lease_oldest(timeout_ms, tags, claim)


class TagNobodyServesBlocksTheQueue(Mutant):
    """Behind an item that this worker does not take all others wait."""

    work_type = _TagBlocks


class _UntaggedFirst(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        untagged = super().lease_oldest(timeout_ms, DEFAULT_ONLY, claim) if tags.untagged else None
        return untagged or super().lease_oldest(timeout_ms, tags, claim)


class UntaggedFirst(Mutant):
    """Items without a tag come before older ones with one."""

    work_type = _UntaggedFirst


class _LockedWhenLookedAt(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        for row in self._rows:
            row.attempts += not tags.takes(row.item.tag)
        return super().lease_oldest(timeout_ms, tags, claim)


class PassedOverIsAnAttempt(Mutant):
    """An item that a worker does not take was fetched all the same."""

    work_type = _LockedWhenLookedAt


class _TagForgottenOnReturn(WorkerQueue):
    def give_back(self, row: QueuedWork, delay_ms: int) -> None:
        super().give_back(row, delay_ms)
        row.item = structs.replace(row.item, tag=None)


class TagLostOnAbandon(Mutant):
    """An item that was given back is for everybody."""

    work_type = _TagForgottenOnReturn


class TagOfAnEnqueuedItemCut(Mutant):
    """Of a tag only the first word is kept."""

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        await super().enqueue_for_worker(structs.replace(item, tag=item.tag and item.tag.split()[0][:100]))


class TagsOfATurnForgotten(Mutant):
    """What a turn schedules is for everybody."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        items = tuple(structs.replace(item, tag=None) for item in result.work_items)
        super()._commit(instance, token, structs.replace(result, work_items=items))


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


class WorkOfAnEndDropped(Mutant):
    """What a turn that ends its execution schedules is not handed out."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        ends = result.metadata.status in {*TERMINAL, Status.CONTINUED_AS_NEW}
        super()._commit(instance, token, structs.replace(result, work_items=()) if ends else result)


class _RefsByInstance(WorkerQueue):
    def of(self, instance: str) -> list[ActivityRef]:
        items = [row.item for row in self._rows if row.item.instance == instance]
        return [ActivityRef(instance, item.execution_id, item.activity_id) for item in items]


class EndTakesLeasesBack(Mutant):
    """An instance that ends takes back what runs for it."""

    work_type = _RefsByInstance

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        assert isinstance(self._work, _RefsByInstance)
        if result.metadata.status in TERMINAL:
            self._work.take_back(self._work.of(instance))
        super()._commit(instance, token, result)


class LeaseNeedsAnInstance(Mutant):
    """An activity of nobody is handed out, and its lease cannot be renewed."""

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        if self._work.valid("renew_work_item_lock", lock_token).item.instance not in self._instances:
            raise LeaseLost("renew_work_item_lock", "expected an instance, but there is none")
        await super().renew_work_item_lock(lock_token, extend_for_ms, heartbeat)


class OneActivityCancelledATurn(Mutant):
    """Of all that a turn takes back only the first is taken back."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, cancelled_activities=result.cancelled_activities[:1]))
