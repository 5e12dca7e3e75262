"""Upstream's sessions: do the work items of a session go to one worker, and do all others go on meanwhile?

Upstream's session config of a fetch is a `SessionClaim`. A provider may keep sessions in several queues, so order is
asked for only among items of one session, or of sessions that are named like the instance.
"""

import asyncio

from engine.model.sessions import SessionClaim
from engine.port import FetchedWorkItem
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    completion,
    no_work_to_take,
    take_work,
    work_item,
)

A = SessionClaim("worker-A", LOCK_MS)
B = SessionClaim("worker-B", LOCK_MS)


async def _enqueue(provider: FullProvider, *session_ids: str | None) -> None:
    """A work item of each of these sessions, in order; the activity ids count from 1."""
    for activity_id, session_id in enumerate(session_ids, start=1):
        await provider.enqueue_for_worker(work_item("instance-A", activity_id, session_id=session_id))


async def _take(
    provider: FullProvider, session: SessionClaim | None, lock_timeout_ms: int = LOCK_MS
) -> FetchedWorkItem:
    return await take_work(provider, lock_timeout_ms, session=session)


async def _taken_id(provider: FullProvider, session: SessionClaim | None) -> int:
    return (await _take(provider, session)).item.activity_id


async def _nothing_for(provider: FullProvider, session: SessionClaim | None) -> bool:
    return await no_work_to_take(provider, session=session)


async def _ack(provider: FullProvider, fetched: FetchedWorkItem) -> None:
    await provider.ack_work_item(fetched.lock_token, completion("instance-A", fetched.item.activity_id))


def _for_a_moment(factory: ProviderFactory, claim: SessionClaim) -> SessionClaim:
    """The same owner, whose sessions lapse when the test lets as much time pass."""
    return SessionClaim(claim.owner, factory.lock_timeout_ms)


async def test_non_session_items_fetchable_by_any_worker(factory: ProviderFactory) -> None:
    """With sessions and without."""
    provider = await factory.create_provider()
    await _enqueue(provider, None, None, None)
    assert [await _taken_id(provider, claim) for claim in (A, None, B)] == [1, 2, 3]


async def test_session_item_claimable_when_no_session(factory: ProviderFactory) -> None:
    """The item comes as it was enqueued, its session with it."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    fetched = await _take(provider, A)
    assert (fetched.item, fetched.attempt_count) == (work_item("instance-A", 1, session_id="session-1"), 1)


async def test_session_affinity_same_worker(factory: ProviderFactory) -> None:
    """Who holds the session gets what comes next, whether or not the first is done."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _ack(provider, await _take(provider, A))
    assert await _taken_id(provider, A) == 2
    await provider.enqueue_for_worker(work_item("instance-A", 3, session_id="session-1"))
    assert await _taken_id(provider, A) == 3


async def test_session_affinity_blocks_other_worker(factory: ProviderFactory) -> None:
    """And to have been asked about it is no attempt."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, A)
    assert await _nothing_for(provider, B)
    second = await _take(provider, A)
    assert (second.item.activity_id, second.attempt_count) == (2, 1)


async def test_different_sessions_different_workers(factory: ProviderFactory) -> None:
    """Each goes on with its own."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    assert await _taken_id(provider, A) == 1
    await provider.enqueue_for_worker(work_item("instance-A", 2, session_id="session-2"))
    assert await _taken_id(provider, B) == 2
    await provider.enqueue_for_worker(work_item("instance-A", 3, session_id="session-1"))
    await provider.enqueue_for_worker(work_item("instance-A", 4, session_id="session-2"))
    assert [await _taken_id(provider, claim) for claim in (B, A)] == [4, 3]
    assert await _nothing_for(provider, A)
    assert await _nothing_for(provider, B)


async def test_mixed_session_and_non_session_items(factory: ProviderFactory) -> None:
    """What is another's is in nobody's way."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1", None)
    assert (await _take(provider, A)).item.session_id == "session-1"
    assert await _taken_id(provider, B) == 3
    assert await _nothing_for(provider, B)


async def test_session_claimable_after_lock_expiry(factory: ProviderFactory) -> None:
    """A moment before, it is not."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms - 1)
    assert await _nothing_for(provider, B)
    await factory.advance(2)
    assert await _taken_id(provider, B) == 2


async def test_none_session_skips_session_items(factory: ProviderFactory) -> None:
    """Who claims nothing gets what has no session, and holds none."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", None)
    assert await _taken_id(provider, None) == 2
    assert await _nothing_for(provider, None)
    assert await _taken_id(provider, A) == 1


async def test_some_session_returns_all_items(factory: ProviderFactory) -> None:
    """Oldest first, of whatever session and of none."""
    provider = await factory.create_provider()
    await _enqueue(provider, "instance-A::sub::1", None, "instance-A::sub::2", "instance-A", "instance-A::sub::1")
    assert [await _taken_id(provider, A) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert await _nothing_for(provider, A)


async def test_renew_session_lock_active(factory: ProviderFactory) -> None:
    """Each session counts once, however many items of it were fetched, and only those of the owners named."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, A)
    await _take(provider, A)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 1
    await provider.enqueue_for_worker(work_item("instance-A", 3, session_id="session-2"))
    await _take(provider, A)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 2
    await provider.enqueue_for_worker(work_item("instance-A", 4, session_id="session-3"))
    await _take(provider, B)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 2
    assert await provider.renew_session_lock(["worker-B", "worker-A"], LOCK_MS, LOCK_MS) == 3


async def test_renew_session_lock_skips_idle(factory: ProviderFactory) -> None:
    """It lapses as if nobody had asked."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(1)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, 0) == 0
    await factory.advance(factory.lock_timeout_ms)
    assert await _taken_id(provider, B) == 2


async def test_renew_session_lock_no_sessions(factory: ProviderFactory) -> None:
    """Neither before anything was fetched nor after an item that has none."""
    provider = await factory.create_provider()
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 0
    await _enqueue(provider, None)
    await _take(provider, A)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 0


async def test_cleanup_removes_expired_no_items(factory: ProviderFactory) -> None:
    """Once."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await _ack(provider, await _take(provider, _for_a_moment(factory, A)))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await provider.cleanup_orphaned_sessions(0) == 1
    assert await provider.cleanup_orphaned_sessions(0) == 0


async def test_cleanup_keeps_sessions_with_pending_items(factory: ProviderFactory) -> None:
    """Of which an item runs, or waits."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-2", "session-2")
    fetched = [await _take(provider, _for_a_moment(factory, A)) for _ in range(2)]
    await _ack(provider, next(one for one in fetched if one.item.session_id == "session-2"))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await provider.cleanup_orphaned_sessions(0) == 0


async def test_cleanup_keeps_active_sessions(factory: ProviderFactory) -> None:
    """That are held, though nothing of them is left."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await _ack(provider, await _take(provider, A))
    await factory.advance(1)
    assert await provider.cleanup_orphaned_sessions(0) == 0
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 1


async def test_ack_updates_session_last_activity(factory: ProviderFactory) -> None:
    """What was idle is not any more."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    fetched = await _take(provider, A)
    await factory.advance(300)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, 200) == 0
    await _ack(provider, fetched)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, 200) == 1


async def test_renew_work_item_updates_session_last_activity(factory: ProviderFactory) -> None:
    """An activity that goes on for long keeps its session in use."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    fetched = await _take(provider, A)
    await factory.advance(300)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, 200) == 0
    await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, 200) == 1


async def test_session_items_processed_in_order(factory: ProviderFactory) -> None:
    """Oldest first, one after another."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1", "session-1")
    done: list[int] = []
    for _ in range(3):
        fetched = await _take(provider, A)
        await _ack(provider, fetched)
        done.append(fetched.item.activity_id)
    assert done == [1, 2, 3]


async def test_non_session_items_returned_with_session_config(factory: ProviderFactory) -> None:
    """And no session comes of them."""
    provider = await factory.create_provider()
    await _enqueue(provider, None)
    fetched = await _take(provider, A)
    assert (fetched.item.activity_id, fetched.item.session_id) == (1, None)
    await _ack(provider, fetched)
    await factory.advance(LOCK_MS + 1)
    assert await provider.cleanup_orphaned_sessions(0) == 0


async def test_shared_worker_id_any_caller_can_fetch_owned_session(factory: ProviderFactory) -> None:
    """Two that call themselves the same work side by side."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1", "session-1")
    assert await _taken_id(provider, SessionClaim("shared", LOCK_MS)) == 1
    assert await _taken_id(provider, SessionClaim("shared", LOCK_MS)) == 2
    assert await _nothing_for(provider, A)


async def test_concurrent_session_claim_only_one_wins(factory: ProviderFactory) -> None:
    """Of many at once; the others get nothing, and the winner the rest."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    claims = [SessionClaim(f"worker-{number}", LOCK_MS) for number in range(8)]
    fetched = await asyncio.gather(*(provider.fetch_work_item(LOCK_MS, 0, session=claim) for claim in claims))
    (winner,) = [claim for claim, one in zip(claims, fetched, strict=True) if one is not None]
    assert [one.item.activity_id for one in fetched if one is not None] == [1]
    assert await _taken_id(provider, winner) == 2


async def test_session_takeover_after_lock_expiry(factory: ProviderFactory) -> None:
    """Who takes it over holds it as the first did; that one is another now."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await _taken_id(provider, B) == 2
    assert await _nothing_for(provider, A)
    assert await _taken_id(provider, B) == 3


async def test_cleanup_then_new_item_recreates_session(factory: ProviderFactory) -> None:
    """For whoever comes first."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await _ack(provider, await _take(provider, _for_a_moment(factory, A)))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await provider.cleanup_orphaned_sessions(0) == 1
    await _enqueue(provider, "session-1", "session-1")
    assert await _taken_id(provider, B) == 1
    assert await _nothing_for(provider, A)
    assert await provider.renew_session_lock(["worker-B"], LOCK_MS, LOCK_MS) == 1


async def test_abandoned_session_item_retryable(factory: ProviderFactory) -> None:
    """Its session is held all the while."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await provider.abandon_work_item((await _take(provider, A)).lock_token)
    assert await _nothing_for(provider, B)
    again = await _take(provider, A)
    assert (again.item.activity_id, again.attempt_count) == (1, 2)
    await _ack(provider, again)
    assert await _nothing_for(provider, A)


async def test_abandoned_session_item_ignore_attempt(factory: ProviderFactory) -> None:
    """As of any other item."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await provider.abandon_work_item((await _take(provider, A)).lock_token, ignore_attempt=True)
    assert (await _take(provider, A)).attempt_count == 1


async def test_renew_session_lock_after_expiry_returns_zero(factory: ProviderFactory) -> None:
    """And does not bring it back."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 0
    assert await _taken_id(provider, B) == 2


async def test_original_worker_reclaims_expired_session(factory: ProviderFactory) -> None:
    """As anybody could."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await _taken_id(provider, A) == 2
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 1


async def test_activity_lock_expires_session_lock_valid_same_worker_refetches(factory: ProviderFactory) -> None:
    """The item is free again, for who holds its session."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await _take(provider, A, factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await _nothing_for(provider, B)
    again = await _take(provider, A)
    assert (again.item.activity_id, again.attempt_count) == (1, 2)


async def test_session_lock_expires_new_owner_gets_redelivery(factory: ProviderFactory) -> None:
    """What the former one gives back is the new one's."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    first = await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await _taken_id(provider, B) == 2
    await provider.abandon_work_item(first.lock_token)
    assert await _nothing_for(provider, A)
    again = await _take(provider, B)
    assert (again.item.activity_id, again.attempt_count) == (1, 2)


async def test_session_lock_expires_same_worker_reacquires(factory: ProviderFactory) -> None:
    """And holds it for as long as it says now."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await _taken_id(provider, A) == 2
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await _nothing_for(provider, B)
    assert await _taken_id(provider, A) == 3


async def test_both_locks_expire_different_worker_claims(factory: ProviderFactory) -> None:
    """The session and its item."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1")
    await _take(provider, _for_a_moment(factory, A), factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    again = await _take(provider, B)
    assert (again.item.activity_id, again.attempt_count) == (1, 2)
    assert await provider.renew_session_lock(["worker-A", "worker-B"], LOCK_MS, LOCK_MS) == 1


async def test_session_lock_expires_activity_lock_valid_ack_succeeds(factory: ProviderFactory) -> None:
    """A session says where items go, and is no lease on one: also when it is another's by now."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1", "session-1")
    first = await _take(provider, _for_a_moment(factory, A))
    second = await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms + 1)
    await provider.renew_work_item_lock(first.lock_token, LOCK_MS)
    await _ack(provider, first)
    assert await _taken_id(provider, B) == 3
    await _ack(provider, second)


async def test_session_lock_renewal_extends_past_original_timeout(factory: ProviderFactory) -> None:
    """Of a lease renewed after three fifths of it, it holds when it would have ended, and ends when it says then."""
    provider = await factory.create_provider()
    await _enqueue(provider, "session-1", "session-1")
    await _take(provider, _for_a_moment(factory, A))
    await factory.advance(factory.lock_timeout_ms * 3 // 5)
    assert await provider.renew_session_lock(["worker-A"], factory.lock_timeout_ms, LOCK_MS) == 1
    await factory.advance(factory.lock_timeout_ms * 2 // 5 + 1)
    assert await _nothing_for(provider, B)
    await factory.advance(factory.lock_timeout_ms * 3 // 5)
    assert await _taken_id(provider, B) == 2
