"""What can go wrong with sessions? One class a fault."""

from collections.abc import Collection, Sequence

from msgspec import structs

from engine.model.messages import AnyMessage
from engine.model.removal import DeletedCounts
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import ActivityRef, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from engine.testing.memory_queues import WorkerQueue
from engine.testing.memory_sessions import SessionRow, Sessions
from engine.testing.memory_tables import QueuedWork
from tests.conformance.mutant import Mutant

# Who gets what


class SessionsIgnored(Mutant):
    """Items of a session are for everybody."""

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        await super().enqueue_for_worker(structs.replace(item, session_id=None))


class _NobodyHolds(Sessions):
    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        return session_id is None or claim is not None


class SessionHeldByNobody(Mutant):
    """Who takes sessions takes those of others, too."""

    sessions_type = _NobodyHolds


class _ForEverybody(Sessions):
    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        return claim is None or super().takes(claim, session_id)


class SessionItemsWithoutAClaim(Mutant):
    """Who claims no session gets items of sessions."""

    sessions_type = _ForEverybody


class _SessionsOnly(Sessions):
    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        return (claim is None or session_id is not None) and super().takes(claim, session_id)


class ClaimExcludesTheRest(Mutant):
    """Who takes sessions gets no items without one."""

    sessions_type = _SessionsOnly


class _OneEach(Sessions):
    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        row = None if session_id is None else self.rows.get(session_id)
        return super().takes(claim, session_id) and (row is None or not self.is_held(row))


class HolderGetsOneItem(Mutant):
    """A session that is held is nobody's, its holder's neither."""

    sessions_type = _OneEach


class _OneSession(Sessions):
    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        holds = [name for name, row in self.rows.items() if claim and row.owner == claim.owner and self.is_held(row)]
        return super().takes(claim, session_id) and (session_id is None or not holds or session_id in holds)


class OneSessionAnOwner(Mutant):
    """Who holds a session gets no other."""

    sessions_type = _OneSession


class _HeldBlocks(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        waiting = [row for row in self._rows if not self.is_leased(row)]
        if waiting and not self._sessions.takes(claim, waiting[0].item.session_id):
            return None
        return super().lease_oldest(timeout_ms, tags, claim)


class HeldSessionBlocksTheQueue(Mutant):
    """Behind an item of another's session all others wait."""

    work_type = _HeldBlocks


class _Counted(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        for row in self._rows:
            row.attempts += not self._sessions.takes(claim, row.item.session_id)
        return super().lease_oldest(timeout_ms, tags, claim)


class SkippedSessionIsAnAttempt(Mutant):
    """An item of another's session was fetched all the same."""

    work_type = _Counted


class _SessionsFirst(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        self._rows.sort(key=lambda row: row.item.session_id is None)
        return super().lease_oldest(timeout_ms, tags, claim)


class SessionsFirst(Mutant):
    """Items of sessions come before older ones without."""

    work_type = _SessionsFirst


class _NewestOfSession(WorkerQueue):
    def put(self, item: WorkItem) -> None:
        super().put(item)
        if item.session_id is not None:
            self._rows.insert(0, self._rows.pop())


class SessionLastFirst(Mutant):
    """Of a session the newest item is handed out first."""

    work_type = _NewestOfSession


class _TagsOfSessions(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        return super().lease_oldest(timeout_ms, tags if claim is None else TagFilter.everything(), claim)


class SessionsHaveNoTags(Mutant):
    """Who takes sessions takes them whatever their tag."""

    work_type = _TagsOfSessions


# How long it is held


class _Eternal(Sessions):
    def is_held(self, row: SessionRow) -> bool:
        return True


class SessionNeverLapses(Mutant):
    """A session whose worker died is nobody else's for ever."""

    sessions_type = _Eternal


class _FirstClaimCounts(Sessions):
    def take(self, claim: SessionClaim | None, session_id: str | None) -> None:
        if session_id not in self.rows:
            super().take(claim, session_id)


class FetchDoesNotProlong(Mutant):
    """A session is claimed once: later fetches change nothing."""

    sessions_type = _FirstClaimCounts


class _NotByItsHolder(Sessions):
    def take(self, claim: SessionClaim | None, session_id: str | None) -> None:
        row = None if session_id is None else self.rows.get(session_id)
        if row is None or not self.is_held(row):
            super().take(claim, session_id)


class FetchOfAHeldSessionDoesNotProlong(Mutant):
    """The lease runs from the fetch that began it."""

    sessions_type = _NotByItsHolder


class _Freed(WorkerQueue):
    def give_back(self, row: QueuedWork, delay_ms: int) -> None:
        super().give_back(row, delay_ms)
        self._sessions.renew([f"worker-{name}" for name in "AB"], 0, 10**9)


class AbandonGivesTheSessionUp(Mutant):
    """With an item its session is given back."""

    work_type = _Freed


class _LapsesWithItem(WorkerQueue):
    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        shorter = claim and SessionClaim(claim.owner, min(timeout_ms, claim.lock_timeout_ms))
        return super().lease_oldest(timeout_ms, tags, shorter)


class SessionLapsesWithItsItem(Mutant):
    """A session is held no longer than the item that was fetched."""

    work_type = _LapsesWithItem


class AckNeedsTheSession(Mutant):
    """Who holds the session no more cannot ack."""

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        item = self._work.valid("ack_work_item", lock_token).item
        row = self._sessions.rows.get(item.session_id or "")
        await super().ack_work_item(lock_token, completion)
        assert row is None or self._sessions.is_held(row), "expected a session that is held"


class AttemptIgnoredInSessionsOnly(Mutant):
    """Of items of a session every fetch counts, whatever is said."""

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        session_id = self._work.known("abandon_work_item", lock_token).item.session_id
        await super().abandon_work_item(lock_token, delay_ms, ignore_attempt and session_id is None)


class AttemptsOfSessionsNotCounted(Mutant):
    """An item of a session is always at its first attempt."""

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        fetched = await super().fetch_work_item(lock_timeout_ms, poll_timeout_ms, tags, session)
        return fetched and structs.replace(fetched, attempt_count=1) if session else fetched


class _Unheard(Sessions):
    def instants(self) -> Sequence[int]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ()


class NobodyIsWokenWhenASessionLapses(Mutant):
    """Who waits for an item of a session goes on waiting when it is free."""

    sessions_type = _Unheard


# Renewal


class RenewalOfSessionsIgnored(Mutant):
    """A renewed session lapses when it would have."""

    async def renew_session_lock(self, owners: Sequence[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        before = {name: row.until_ms for name, row in self._sessions.rows.items()}
        count = await super().renew_session_lock(owners, extend_for_ms, idle_timeout_ms)
        for name, row in self._sessions.rows.items():
            row.until_ms = before[name]
        return count


class _RenewsForEver(Sessions):
    def renew(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        return super().renew(owners, 10**9, idle_timeout_ms)


class RenewalHoldsForEver(Mutant):
    """A session that was renewed once never lapses."""

    sessions_type = _RenewsForEver


class _RenewsTheIdle(Sessions):
    def renew(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        return super().renew(owners, extend_for_ms, 10**9)


class IdleSessionsRenewed(Mutant):
    """Whether a session is used does not matter."""

    sessions_type = _RenewsTheIdle


class _RenewsAll(Sessions):
    def renew(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        return super().renew({row.owner for row in self.rows.values()}, extend_for_ms, idle_timeout_ms)


class SessionsOfAllRenewed(Mutant):
    """A renewal is of everybody's sessions."""

    sessions_type = _RenewsAll


class _RenewsFirstOwner(Sessions):
    def renew(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        return super().renew(list(owners)[:1], extend_for_ms, idle_timeout_ms)


class OneOwnerRenewed(Mutant):
    """Of several owners the sessions of one are renewed."""

    sessions_type = _RenewsFirstOwner


class RenewalSaysAtLeastOne(Mutant):
    """There is always a session to renew."""

    async def renew_session_lock(self, owners: Sequence[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        return max(1, await super().renew_session_lock(owners, extend_for_ms, idle_timeout_ms))


class _RenewsTheLapsed(Sessions):
    def renew(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        lapsed = [row for row in self.rows.values() if row.owner in owners and not self.is_held(row)]
        for row in lapsed:
            row.until_ms = self._now_ms() + extend_for_ms
        return len(lapsed) + super().renew(owners, extend_for_ms, idle_timeout_ms)


class LapsedSessionsRenewed(Mutant):
    """A session that lapsed is brought back."""

    sessions_type = _RenewsTheLapsed


class _OnlyFetchedIsUsed(Sessions):
    def touch(self, session_id: str | None) -> None:
        pass


class OnlyFetchesAreActivity(Mutant):
    """Renewals and acks of items do not keep their session in use."""

    sessions_type = _OnlyFetchedIsUsed


class _RenewalIsNoActivity(WorkerQueue):
    def extend(self, row: QueuedWork, extend_for_ms: int) -> None:
        row.leased_until_ms = self._now_ms() + extend_for_ms


class RenewalIsNoActivity(Mutant):
    """A long activity leaves its session idle."""

    work_type = _RenewalIsNoActivity


class _SessionOfEverything(Sessions):
    def take(self, claim: SessionClaim | None, session_id: str | None) -> None:
        super().take(claim, session_id or "none")


class NoSessionIsASession(Mutant):
    """Items without a session are of one together."""

    sessions_type = _SessionOfEverything


# Forgetting


class _Keeps(Sessions):
    def forget(self, queued: Collection[str | None]) -> int:
        return 0


class SessionsNeverForgotten(Mutant):
    """What was a session stays one."""

    sessions_type = _Keeps


class _ForgetsTheQueued(Sessions):
    def forget(self, queued: Collection[str | None]) -> int:
        return super().forget(())


class SessionsWithItemsForgotten(Mutant):
    """Whether items of it are left does not matter."""

    sessions_type = _ForgetsTheQueued


class _ForgetsTheHeld(Sessions):
    def forget(self, queued: Collection[str | None]) -> int:
        gone = [name for name in self.rows if name not in queued]
        for name in gone:
            del self.rows[name]
        return len(gone)


class HeldSessionsForgotten(Mutant):
    """Whether somebody holds it does not matter."""

    sessions_type = _ForgetsTheHeld


class _CountsAgain(Sessions):
    def forget(self, queued: Collection[str | None]) -> int:
        return sum(not self.is_held(row) and name not in queued for name, row in self.rows.items())


class ForgottenSessionsCountAgain(Mutant):
    """They are counted and kept."""

    sessions_type = _CountsAgain


class _TakenAtTheEnd(Sessions):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # pyright: ignore[reportArgumentType]
        self._gone: set[str] = set()

    def forget(self, queued: Collection[str | None]) -> int:
        before = set(self.rows)
        count = super().forget(queued)
        self._gone |= before - set(self.rows)
        return count

    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        return session_id not in self._gone and super().takes(claim, session_id)


class ForgottenSessionNeverComesBack(Mutant):
    """Once forgotten, its items are nobody's."""

    sessions_type = _TakenAtTheEnd


# Turns


class SessionsOfATurnForgotten(Mutant):
    """What a turn schedules is for everybody."""

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        items = tuple(structs.replace(item, session_id=None) for item in result.work_items)
        super()._commit(instance, token, structs.replace(result, work_items=items))


class _SessionItemsStay(WorkerQueue):
    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        super().take_back([ref for ref in cancelled if ref.session_id is None])


class SessionItemsAreNotTakenBack(Mutant):
    """What a turn takes back stays, if it has a session."""

    work_type = _SessionItemsStay


class _SessionItemsOutlive(WorkerQueue):
    def drop_tree(self, root: str) -> int:
        kept = [row for row in self._rows if row.item.session_id is not None]
        count = super().drop_tree(root)
        self._rows += kept
        return count


class SessionItemsOutliveTheirInstance(Mutant):
    """A deletion leaves what has a session."""

    work_type = _SessionItemsOutlive


class SessionGoesWithItsInstance(Mutant):
    """With an instance the sessions of everybody are gone."""

    def _drop_tree(self, root: str) -> DeletedCounts:
        self._sessions.rows.clear()
        return super()._drop_tree(root)


class _ForgetsTheSession(WorkerQueue):
    def put(self, item: WorkItem) -> None:
        super().put(item)
        self._sessions.rows.pop(item.session_id or "", None)


class NewItemFreesTheSession(Mutant):
    """A session begins anew with each item."""

    work_type = _ForgetsTheSession


class CompletionOfASessionDropped(Mutant):
    """What came of an item of a session reaches nobody."""

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        session_id = self._work.valid("ack_work_item", lock_token).item.session_id
        await super().ack_work_item(lock_token, completion if session_id is None else None)
