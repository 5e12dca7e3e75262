"""What can go wrong with locks, commits and holding? One class a fault."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any

import anyio.lowlevel
from msgspec import structs

from engine.errors import LeaseLost, Refused
from engine.model.failure import Failure
from engine.model.messages import AnyMessage
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import VersionRange
from engine.model.views import ExecutionInfo, InstanceInfo
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.testing.memory_queues import InstanceLocks
from engine.testing.memory_tables import InstanceLock, MemoryHistory, QueuedMessage
from tests.conformance.mutant import Mutant

# Locks


class _NoLock(InstanceLocks):
    def holder(self, instance: str) -> str | None:
        return None

    def valid(self, operation: str, token: str) -> str:
        return self.known(operation, token)


class LockNotTaken(Mutant):
    """A fetch hands out a token and locks nothing."""

    locks_type = _NoLock


class _EternalLocks(InstanceLocks):
    def holder(self, instance: str) -> str | None:
        lock = self._locks.get(instance)
        return lock.token if lock else None


class LockNeverExpires(Mutant):
    """A lock ends with ack or abandon only."""

    locks_type = _EternalLocks


class _OneLockForAll(InstanceLocks):
    def is_held(self, instance: str) -> bool:
        return any(self.holder(other) for other in self._locks)


class OneLockForAll(Mutant):
    """While one instance is locked, all are."""

    locks_type = _OneLockForAll


class _SameToken(InstanceLocks):
    def take(self, instance: str, timeout_ms: int) -> str:
        self._locks[instance] = InstanceLock("the token", self._now_ms() + timeout_ms)
        return "the token"


class TokensReused(Mutant):
    """Every lock has the same token."""

    locks_type = _SameToken


class _TokenOfInstance(InstanceLocks):
    def take(self, instance: str, timeout_ms: int) -> str:
        self._locks[instance] = InstanceLock(instance, self._now_ms() + timeout_ms)
        return instance


class TokenIsTheInstance(Mutant):
    """An instance has the same token in each of its locks."""

    locks_type = _TokenOfInstance


class _ExpiredIsValid(InstanceLocks):
    def valid(self, operation: str, token: str) -> str:
        return self.known(operation, token)


class ExpiredLockAccepted(Mutant):
    """A lock that ran out still commits, renews and holds while nobody else took it."""

    locks_type = _ExpiredIsValid


class _AnyToken(InstanceLocks):
    def known(self, operation: str, token: str) -> str:
        try:
            return super().known(operation, token)
        except LeaseLost:
            return next(iter(self._locks), "instance-A")


class AnyLockTokenAccepted(Mutant):
    """A token nobody was given is good for some instance."""

    locks_type = _AnyToken


class _RenewalIgnored(InstanceLocks):
    def extend(self, instance: str, extend_for_ms: int) -> None:
        pass


class LockRenewalIgnored(Mutant):
    """A renewed lock ends when it would have."""

    locks_type = _RenewalIgnored


class _RenewalAdds(InstanceLocks):
    def extend(self, instance: str, extend_for_ms: int) -> None:
        self._locks[instance].until_ms += extend_for_ms


class LockRenewalAddsUp(Mutant):
    """A renewal counts from the old end instead of from now."""

    locks_type = _RenewalAdds


class LockKeptByAck(Mutant):
    """An ack commits and leaves the instance locked."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        instance = self._locks.valid("ack_orchestration_item", lock_token)
        durable = super().ack_orchestration_item(lock_token, result)
        self._locks.take(instance, 30_000)
        return durable


class TokenGoodAfterAck(Mutant):
    """An ack commits, and the same token commits again."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        instance = self._locks.valid("ack_orchestration_item", lock_token)
        self._refuse_known_events(instance, result)
        self._commit(instance, lock_token, result)
        return Late(anyio.lowlevel.checkpoint)


class LockKeptByAbandon(Mutant):
    """An abandoned instance stays locked until its time."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        instance = self._locks.known("abandon_orchestration_item", lock_token)
        await super().abandon_orchestration_item(lock_token, delay_ms, ignore_attempt)
        self._locks.take(instance, 30_000)


class ExpiredLockNotAbandonable(Mutant):
    """Giving back a lock that ran out is refused."""

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        self._locks.valid("abandon_orchestration_item", lock_token)
        await super().abandon_orchestration_item(lock_token, delay_ms, ignore_attempt)


class RefusedAckReleasesTheLock(Mutant):
    """An ack that is refused, for whatever reason, frees what was locked."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        try:
            return super().ack_orchestration_item(lock_token, result)
        except Refused:
            for instance in self._messages.instances():
                self._locks.take(instance, 0)
            raise


# Commits


class DeltaNotAppended(Mutant):
    """A turn's events are dropped."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, history_delta=()))


class FetchShowsTheLastEventOnly(Mutant):
    """What is read is right; what a turn is given is not."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        row = self._instances.get(instance)
        if row is None or row.current.corrupted:
            return item
        return structs.replace(item, history=MemoryHistory(tuple(item.history.load())[-1:]))


class DuplicateEventOverwritten(Mutant):
    """An event with an id that exists replaces the one that is there."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        pass


class DuplicateInOneDeltaTaken(Mutant):
    """Ids are compared with what is stored, not with each other."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        for event in result.history_delta:
            super()._refuse_known_events(instance, structs.replace(result, history_delta=(event,)))


class RefusedTurnHalfDone(Mutant):
    """The turn's work and events are written before the check that refuses it."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        for item in result.work_items:
            self._work.put(item)
        super()._refuse_known_events(instance, result)


class EventIdsMustNotHaveGaps(Mutant):
    """A provider that thinks it knows what a history is."""

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        super()._refuse_known_events(instance, result)
        ids = [event.event_id for event in result.history_delta]
        if ids and ids != list(range(ids[0], ids[0] + len(ids))):
            raise Refused("ack_orchestration_item", "expected event ids without gaps")


class EmptyTurnIgnored(Mutant):
    """A turn without events changes nothing, and its messages come again."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        if result.history_delta or result.metadata != ExecutionMetadata() or result.work_items or result.messages:
            super()._commit(instance, token, result)


class CommitDecodesHistory(Mutant):
    """A turn is added by reading what is there, which a corrupt history does not survive."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        if row := self._instances.get(instance):
            row.current.history().load()
        super()._commit(instance, token, result)


class Late:
    """An awaitable that does nothing before it is awaited, and says nothing if it never is."""

    def __init__(self, acknowledge: Callable[[], Awaitable[None]]) -> None:
        self._acknowledge = acknowledge

    def __await__(self) -> Generator[Any, None, None]:
        return self._acknowledge().__await__()


class AdmittedWhenAwaited(Mutant):
    """An ack is checked when it is called and happens when it is awaited."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        instance = self._locks.valid("ack_orchestration_item", lock_token)
        self._refuse_known_events(instance, result)
        acknowledge = super().ack_orchestration_item
        return Late(lambda: acknowledge(lock_token, result))


class RefusedWhenAwaited(Mutant):
    """An ack that is refused says so only from the awaitable."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        acknowledge = super().ack_orchestration_item
        try:
            return acknowledge(lock_token, result)
        except Refused:
            return Late(lambda: acknowledge(lock_token, result))


class WorkOfATurnDropped(Mutant):
    """Scheduled activities are recorded and never handed out."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, work_items=()))


class MessagesOfATurnDropped(Mutant):
    """What a turn sends does not arrive."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, messages=()))


class MessagesOfATurnReversed(Mutant):
    """What a turn sends arrives last first."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, messages=result.messages[::-1]))


class ConsumedMessagesKept(Mutant):
    """An ack leaves the messages that the turn was given."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        for message in self._messages.tagged(instance, token):
            message.locked_by = None
        super()._commit(instance, token, result)


class MessagesOfTheLockWindowAcked(Mutant):
    """An ack deletes what arrived during the lock as well."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        for message in self._messages.visible(instance):
            message.locked_by = token
        super()._commit(instance, token, result)


class MetadataIgnored(Mutant):
    """An instance stays what its start message said."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, metadata=ExecutionMetadata()))


class MetadataReset(Mutant):
    """What the metadata of a turn leave out is forgotten."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        row = self._instances[instance]
        row.name = result.metadata.orchestration_name or "unknown"
        row.custom_status = result.metadata.custom_status


class CustomStatusWithoutVersion(Mutant):
    """A custom status is shown and its version never changes."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        self._instances[instance].custom_status_version = 0


class NewInstanceHasSaidSomething(Mutant):
    """The custom status of an instance that never set one is its first version."""

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        info = await super().get_instance_info(instance)
        return structs.replace(info, custom_status_version=max(1, info.custom_status_version)) if info else None


class SayingTheSameIsNoChange(Mutant):
    """A custom status that is set to what it is keeps its version."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        row = self._instances.get(instance)
        said = (row.custom_status, row.custom_status_version) if row else None
        super()._commit(instance, token, result)
        if row and said and row.custom_status == said[0]:
            row.custom_status_version = said[1]


class ParentReplaced(Mutant):
    """A later turn gives a child to another parent."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        row = self._instances[instance]
        row.parent_instance = result.metadata.parent_instance or row.parent_instance


class ParentForgotten(Mutant):
    """A child does not know whose it is."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        self._instances[instance].parent_instance = None


class OneHistoryForAllExecutions(Mutant):
    """The events of every execution go to the first."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, structs.replace(result, execution_id=1))

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        pass


class NewExecutionNotCurrent(Mutant):
    """A newer execution is kept and never becomes the current one."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        self._instances[instance].current_execution_id = 1


class OldExecutionsForgotten(Mutant):
    """A new execution replaces the one before."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        super()._commit(instance, token, result)
        row = self._instances[instance]
        row.executions = {row.current_execution_id: row.current}


class ExecutionsHaveNoEnd(Mutant):
    """Nobody is told when an execution ended."""

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        return [structs.replace(info, completed_at_ms=None) for info in await super().list_executions(instance)]


class ContinuingInstanceLooksEnded(Mutant):
    """The state of an instance is that of its execution, also when that continued as new."""

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        info = await super().get_instance_info(instance)
        return structs.replace(info, status=self._instances[instance].current.status) if info else None


class TimeStandsStill(Mutant):
    """A fetch says it is always the same time."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        return structs.replace(super()._lock(instance, lock_timeout_ms), now_ms=self._epoch_ms)


# Fetching and holding


class InstanceOnEnqueue(Mutant):
    """A message makes the instance it is for."""

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        await super().enqueue_for_orchestrator(message, delay_ms)
        self._instances.setdefault(message.instance, self._row_of_start(message.instance, 1))


class AttemptNotCounted(Mutant):
    """Every fetch is the first."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        for message in self._messages.visible(instance):
            message.attempts = 0
        return super()._lock(instance, lock_timeout_ms)


class AttemptsCountedFromZero(Mutant):
    """The fetch that returns the count is not in it, in either queue."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        return structs.replace(item, attempt_count=item.attempt_count - 1)

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        fetched = await super().fetch_work_item(lock_timeout_ms, poll_timeout_ms, tags, session)
        return structs.replace(fetched, attempt_count=fetched.attempt_count - 1) if fetched else None


class AttemptOfTheNewestTold(Mutant):
    """A batch tells the attempts of the message that was fetched least."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        return structs.replace(item, attempt_count=min(row.attempts for row in self._messages.visible(instance)))


class FetchReturnsOneMessage(Mutant):
    """A turn is given the oldest message alone."""

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        item = super()._lock(instance, lock_timeout_ms)
        return structs.replace(item, messages=item.messages[:1])


class FetchIgnoresItsMaximum(Mutant):
    """A batch fetch returns all there is."""

    def _lock_oldest(
        self, items_max: int, lock_timeout_ms: int, pins: VersionRange | None
    ) -> Sequence[OrchestrationItem]:
        return super()._lock_oldest(1_000 if items_max > 1 else 1, lock_timeout_ms, pins)


class FetchReturnsOneInstance(Mutant):
    """A batch fetch returns one item, whatever it was asked for."""

    def _lock_oldest(
        self, items_max: int, lock_timeout_ms: int, pins: VersionRange | None
    ) -> Sequence[OrchestrationItem]:
        return super()._lock_oldest(min(items_max, 1), lock_timeout_ms, pins)


class InstancesInAlphabeticalOrder(Mutant):
    """The first instance by name is served first, however long the others have waited."""

    def _may_have_a_turn(self, instance: str) -> list[QueuedMessage]:
        messages = super()._may_have_a_turn(instance)
        if messages:
            messages[0].position = (0, 0)
        return messages


class HeldInstanceFetched(Mutant):
    """Holding says so and stops nothing."""

    def _may_have_a_turn(self, instance: str) -> list[QueuedMessage]:
        return [] if self._locks.is_held(instance) else self._messages.visible(instance)


class HoldIsSilent(Mutant):
    """A held instance looks as if it ran."""

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        await self.renew_orchestration_item_lock(lock_token, 10**9)


class HoldDropsMessages(Mutant):
    """What an instance was held with is gone when it is resumed."""

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        instance = self._locks.valid("hold_orchestration_item", lock_token)
        await super().hold_orchestration_item(lock_token, failure)
        self._messages.remove(instance, self._messages.tagged(instance, lock_token))


class HoldNeedsAnInstance(Mutant):
    """What has had no turn cannot be held."""

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        if self._locks.known("hold_orchestration_item", lock_token) not in self._instances:
            raise Refused("hold_orchestration_item", "expected an instance, but there is none")
        await super().hold_orchestration_item(lock_token, failure)


class AnythingCanBeResumed(Mutant):
    """Resuming somebody who runs, or nobody, is fine."""

    async def resume_instance(self, instance: str) -> None:
        row = self._instances.get(instance)
        if row and row.held:
            await super().resume_instance(instance)
