"""What can go wrong with heartbeats, and with items that nobody is given in their time? One class a fault."""

from collections.abc import Callable, Collection, Iterator

from msgspec import structs

from engine.errors import LeaseLost
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import TagFilter
from engine.model.turn import ActivityRef, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from engine.testing.memory_queues import WorkerQueue
from engine.testing.memory_sessions import Sessions
from engine.testing.memory_tables import QueuedWork
from tests.conformance.mutant import Mutant

# What is kept of heartbeats


class _Forgetful(WorkerQueue):
    def keep(self, row: QueuedWork, heartbeat: Payload) -> None:
        del row, heartbeat


class HeartbeatsForgotten(Mutant):
    """A heartbeat is taken and not kept."""

    work_type = _Forgetful


class _FirstOnly(WorkerQueue):
    def keep(self, row: QueuedWork, heartbeat: Payload) -> None:
        super().keep(row, row.heartbeat or heartbeat)


class FirstHeartbeatStays(Mutant):
    """Only the first heartbeat of an item is kept."""

    work_type = _FirstOnly


class RenewalForgetsHeartbeat(Mutant):
    """A renewal without a heartbeat takes the one before away."""

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        await super().renew_work_item_lock(lock_token, extend_for_ms, heartbeat)
        self._work.known("renew_work_item_lock", lock_token).heartbeat = heartbeat


class _GivenBackEmpty(WorkerQueue):
    def give_back(self, row: QueuedWork, delay_ms: int) -> None:
        row.heartbeat = None
        super().give_back(row, delay_ms)


class GivenBackWithoutHeartbeat(Mutant):
    """An item that is given back begins anew."""

    work_type = _GivenBackEmpty


class _ReadOnce(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        if fetched is not None:
            self.known("fetch_work_item", fetched.lock_token).heartbeat = None
        return fetched


class HeartbeatReadOnce(Mutant):
    """One delivery has the heartbeat, the one after it has none."""

    work_type = _ReadOnce


class HeartbeatExtendsNothing(Mutant):
    """A renewal with a heartbeat is none of the lease."""

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        if heartbeat is None:
            await super().renew_work_item_lock(lock_token, extend_for_ms)
        else:
            self._work.keep(self._work.valid("renew_work_item_lock", lock_token), heartbeat)


class HeartbeatWithoutALease(Mutant):
    """Whoever had the item last may say how far it is, while nobody else has it."""

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        if heartbeat is None:
            await super().renew_work_item_lock(lock_token, extend_for_ms)
        else:
            self._work.keep(self._work.known("renew_work_item_lock", lock_token), heartbeat)


class HeartbeatWithoutAnItem(Mutant):
    """Who has no item any more is told nothing, as long as it has something to say."""

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        try:
            await super().renew_work_item_lock(lock_token, extend_for_ms, heartbeat)
        except LeaseLost:
            if heartbeat is None:
                raise


class _OneForAll(WorkerQueue):
    said: Payload | None = None

    def keep(self, row: QueuedWork, heartbeat: Payload) -> None:
        self.said = heartbeat
        super().keep(row, heartbeat)

    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        return fetched and structs.replace(fetched, heartbeat=self.said)


class OneHeartbeatForAll(Mutant):
    """Every item has the newest heartbeat of any."""

    work_type = _OneForAll


class _ByKey(WorkerQueue):
    """Keeps heartbeats by the names of items, for ever."""

    def __init__(self, now_ms: Callable[[], int], sessions: Sessions) -> None:
        super().__init__(now_ms, sessions)
        self.said: dict[tuple[str, int, int], Payload] = {}

    def keep(self, row: QueuedWork, heartbeat: Payload) -> None:
        self.said[_key_of(row.item)] = heartbeat

    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        said = None if fetched is None else self.said.get(_key_of(fetched.item))
        return fetched if fetched is None or said is None else structs.replace(fetched, heartbeat=said)


def _key_of(item: WorkItem) -> tuple[str, int, int]:
    return item.instance, item.execution_id, item.activity_id


class HeartbeatOutlivesItsLife(Mutant):
    """An activity of a later life has the heartbeat of the one of that number before."""

    work_type = _ByKey


class _OwnOnly(WorkerQueue):
    def put(self, item: WorkItem) -> None:
        super().put(structs.replace(item, heartbeat=None))


class AttemptBeforeForgotten(Mutant):
    """An item loses what the attempt before left for it."""

    work_type = _OwnOnly


class _ItemWins(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        return fetched and structs.replace(fetched, heartbeat=fetched.item.heartbeat or fetched.heartbeat)


class AttemptBeforeWins(Mutant):
    """What the attempt before left is taken for newer than what this one said."""

    work_type = _ItemWins


class LimitsLostInATurn(Mutant):
    """An item that a turn asks for has no limits any more."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        items = tuple(structs.replace(item, limits=None) for item in result.work_items)
        super()._commit(instance, token, structs.replace(result, work_items=items))


# Items that nobody is given in their time


class _NeverLate(WorkerQueue):
    def is_late(self, row: QueuedWork) -> bool:
        del row
        return False


class NothingIsLate(Mutant):
    """An item whose tag nobody serves waits for ever."""

    work_type = _NeverLate


class _LateAtOnce(WorkerQueue):
    def is_late(self, row: QueuedWork) -> bool:
        return row.start_by_ms is not None


class LateAtOnce(Mutant):
    """An item that must be begun in time is for anybody from the beginning."""

    work_type = _LateAtOnce


class _LateWithoutEnd(WorkerQueue):
    def is_late(self, row: QueuedWork) -> bool:
        return super().is_late(row) or self._now_ms() - row.visible_at_ms > 5_000


class LateWithoutALimit(Mutant):
    """What waits for long is for anybody, though it may wait."""

    work_type = _LateWithoutEnd


class _LateThoughDelivered(WorkerQueue):
    def is_late(self, row: QueuedWork) -> bool:
        limits = row.item.limits
        return limits is not None and limits.start_by_ms is not None and limits.start_by_ms <= self._now_ms()


class LateThoughDelivered(Mutant):
    """An item that was delivered in time is for anybody all the same, once its lease has ended."""

    work_type = _LateThoughDelivered


class DeliveryAlwaysCounts(Mutant):
    """A delivery that does not count keeps an item from being late."""

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        del ignore_attempt
        await super().abandon_work_item(lock_token, delay_ms)


class _LateWhileHidden(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        for row in self._rows:
            if self.is_late(row):
                row.visible_at_ms = min(row.visible_at_ms, self._now_ms())
        return super().lease_oldest(timeout_ms, tags, claim)


class LateWhileHidden(Mutant):
    """A late item does not wait until its delay is over."""

    work_type = _LateWhileHidden


class _NeverLateInSession(WorkerQueue):
    def is_late(self, row: QueuedWork) -> bool:
        return row.item.session_id is None and super().is_late(row)


class SessionsAreNeverLate(Mutant):
    """An item of a session waits for its holder, however long."""

    work_type = _NeverLateInSession


class _GrabbedQueue(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        late = [row for row in self._rows if self.is_late(row) and not self.is_leased(row)]
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        if fetched is not None and any(row.item == fetched.item for row in late):
            self._sessions.take(claim, fetched.item.session_id)
        return fetched


class LateItemTakesItsSession(Mutant):
    """Who gets a late item holds its session, whoever held it before."""

    work_type = _GrabbedQueue


class _LateIsAnAttempt(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        for row in self._rows:
            if fetched is not None and row.token == fetched.lock_token:
                row.attempts = fetched.attempt_count
        return fetched


class LateDeliveryCounts(Mutant):
    """A late item whose answer does not come waits for its own workers again."""

    work_type = _LateIsAnAttempt


class _ClaimedLate(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        if fetched is not None and self._sessions.takes(claim, fetched.item.session_id):
            self._sessions.take(claim, fetched.item.session_id)
        return fetched


class LateItemClaimsItsSession(Mutant):
    """Who gets a late item holds its session, if nobody does."""

    work_type = _ClaimedLate


class _Asleep(WorkerQueue):
    def instants(self) -> Iterator[int]:
        return (instant for row in self._rows for instant in (row.visible_at_ms, row.leased_until_ms))


class NobodyWakesForLateItems(Mutant):
    """A fetch that waits goes on waiting when an item is late."""

    work_type = _Asleep


class _TimeOfNobody(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        fetched = super().lease_oldest(timeout_ms, tags, claim)
        return fetched and structs.replace(fetched, now_ms=0)


class FetchSaysNoTime(Mutant):
    """A fetch does not say when it was."""

    work_type = _TimeOfNobody


class _TwiceLate(WorkerQueue):
    def is_leased(self, row: QueuedWork) -> bool:
        limits = row.item.limits
        is_overdue = limits is not None and (limits.start_by_ms or self._now_ms() + 1) <= self._now_ms()
        return super().is_leased(row) and not is_overdue


class LateItemGivenTwice(Mutant):
    """A late item is given to the next one, too, while somebody has it."""

    work_type = _TwiceLate


class _NotTakenBack(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        limited = {row.item.activity_id for row in self._rows if row.item.limits is not None}
        super().take_back([ref for ref in cancelled if ref.activity_id not in limited])


class LateThoughTakenBack(Mutant):
    """An item that must be begun in time cannot be taken back."""

    work_type = _NotTakenBack
