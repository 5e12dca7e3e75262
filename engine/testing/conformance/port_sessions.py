"""Ours: does a session hold for all instances that use it, and do its items come and go with theirs?

A provider may keep an instance in one place and a session in another. Several names are used, so that where they are
spread some are apart; what takes a moment to get from one place to the other is waited for.
"""

import anyio

from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import ActivityRef, TurnResult
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    REAL_SECONDS_MAX,
    begun,
    completion,
    create_instance,
    no_work_to_take,
    raise_event,
    take,
    take_work,
    work_item,
)

A = SessionClaim("worker-A", LOCK_MS)
B = SessionClaim("worker-B", LOCK_MS)
SESSIONS = tuple(f"session-{number}" for number in range(1, 9))


async def _arriving(provider: FullProvider, session: SessionClaim, tags: TagFilter = DEFAULT_ONLY) -> FetchedWorkItem:
    """Fetch a work item that is there or on its way."""
    with anyio.fail_after(REAL_SECONDS_MAX):
        fetched = await provider.fetch_work_item(LOCK_MS, 60_000, tags, session)
    assert fetched is not None, "expected a work item, but the fetch returned none"
    return fetched


async def _turn(provider: FullProvider, instance: str, result: TurnResult) -> None:
    """One more turn of an instance that has no message."""
    await provider.enqueue_for_orchestrator(raise_event(instance, "go"))
    await provider.ack_orchestration_item((await take(provider)).lock_token, result)


def _items(instance: str) -> tuple[WorkItem, ...]:
    """One of each session; the activity ids count from 1."""
    return tuple(work_item(instance, number, session_id=name) for number, name in enumerate(SESSIONS, start=1))


def _refs(instance: str) -> tuple[ActivityRef, ...]:
    return tuple(
        ActivityRef(item.instance, item.execution_id, item.activity_id, item.session_id) for item in _items(instance)
    )


async def test_a_turn_asks_for_items_of_sessions(factory: ProviderFactory) -> None:
    """They come as they were asked for, once each, to who claims sessions, and what comes of them gets back."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn(provider, "instance-A", TurnResult(execution_id=1, work_items=_items("instance-A")))
    fetched = [await _arriving(provider, A) for _ in SESSIONS]
    assert sorted(one.item.activity_id for one in fetched) == list(range(1, 9))
    assert {one.item for one in fetched} == set(_items("instance-A"))
    assert await no_work_to_take(provider, session=A)
    for one in fetched:
        await provider.ack_work_item(one.lock_token, completion("instance-A", one.item.activity_id))
    assert await no_work_to_take(provider, session=A)
    answers: list[object] = []
    with anyio.fail_after(REAL_SECONDS_MAX):
        while len(answers) < len(SESSIONS):
            item = await provider.fetch_orchestration_item(LOCK_MS, 60_000)
            assert item is not None
            answers += item.messages
            await provider.ack_orchestration_item(item.lock_token, TurnResult(execution_id=1))
    assert set(answers) == {completion("instance-A", number) for number in range(1, 9)}


async def test_instances_share_the_worker_of_a_session(factory: ProviderFactory) -> None:
    """Whoever asks, who holds the session gets it, and nobody else."""
    provider = await factory.create_provider()
    instances = [f"instance-{number}" for number in range(1, 6)]
    for instance in instances:
        await create_instance(provider, instance)
        asked = TurnResult(execution_id=1, work_items=(work_item(instance, 2, session_id="shared"),))
        await _turn(provider, instance, asked)
        fetched = await _arriving(provider, A)
        assert (fetched.item.instance, fetched.item.session_id) == (instance, "shared")
        assert await no_work_to_take(provider, session=B)
    assert await provider.renew_session_lock(["worker-A"], LOCK_MS, LOCK_MS) == 1
    third = work_item("instance-1", 3, session_id="shared")
    await _turn(provider, "instance-1", TurnResult(execution_id=1, work_items=(third,)))
    await provider.enqueue_for_worker(work_item("instance-2", 4, session_id="other"))
    assert (await _arriving(provider, B)).item.session_id == "other"
    assert (await _arriving(provider, A)).item.activity_id == 3


async def test_a_running_activity_of_a_session_is_told_that_it_was_cancelled(factory: ProviderFactory) -> None:
    """Wherever its session is, and no other activity is told."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn(provider, "instance-A", TurnResult(execution_id=1, work_items=_items("instance-A")))
    fetched = [await _arriving(provider, A) for _ in SESSIONS]
    kept = next(one for one in fetched if one.item.session_id == SESSIONS[0])
    await _turn(provider, "instance-A", TurnResult(execution_id=1, cancelled_activities=_refs("instance-A")[1:]))
    with anyio.fail_after(REAL_SECONDS_MAX):
        for one in fetched:
            if one is not kept:
                await one.revoked.wait()
    assert not kept.revoked.is_set()
    await provider.ack_work_item(kept.lock_token, completion("instance-A", 1))


async def test_a_turn_takes_back_waiting_items_of_sessions(factory: ProviderFactory) -> None:
    """Also those it asks for itself: what comes after them is what comes next."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    both = TurnResult(execution_id=1, work_items=_items("instance-A"), cancelled_activities=_refs("instance-A")[:4])
    await _turn(provider, "instance-A", both)
    await _turn(provider, "instance-A", TurnResult(execution_id=1, cancelled_activities=_refs("instance-A")[4:]))
    for number, name in enumerate(SESSIONS, start=11):
        await provider.enqueue_for_worker(work_item("instance-A", number, session_id=name))
    left = [(await _arriving(provider, A)).item.activity_id for _ in SESSIONS]
    assert sorted(left) == list(range(11, 19))
    assert await no_work_to_take(provider, session=A)


async def test_items_of_sessions_go_with_their_instance(factory: ProviderFactory) -> None:
    """Those that wait are gone, who runs one is told, and the session stays who held it has."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn(provider, "instance-A", TurnResult(execution_id=1, work_items=_items("instance-A")))
    running = [await _arriving(provider, A) for _ in SESSIONS]
    waiting = tuple(work_item("instance-A", number, session_id=name) for number, name in enumerate(SESSIONS, start=21))
    await _turn(provider, "instance-A", TurnResult(execution_id=1, work_items=waiting))
    await provider.delete_instance("instance-A", force=True)
    with anyio.fail_after(REAL_SECONDS_MAX):
        for one in running:
            await one.revoked.wait()
    await create_instance(provider, "instance-A")
    for number, name in enumerate(SESSIONS, start=11):
        await provider.enqueue_for_worker(work_item("instance-B", number, session_id=name))
    assert await no_work_to_take(provider, session=B)
    left = [(await _arriving(provider, A)).item for _ in SESSIONS]
    assert {(item.instance, item.activity_id) for item in left} == {("instance-B", number) for number in range(11, 19)}
    assert await no_work_to_take(provider, session=A)


async def test_items_of_held_sessions_are_in_nobodys_way(factory: ProviderFactory) -> None:
    """However many of them wait before, and to be passed over is no attempt."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 1, session_id="instance-A"))
    await take_work(provider, session=A)
    for number in range(2, 40):
        await provider.enqueue_for_worker(work_item("instance-A", number, session_id="instance-A"))
    await provider.enqueue_for_worker(work_item("instance-A", 50, session_id="instance-A::sub::1"))
    await provider.enqueue_for_worker(work_item("instance-A", 51))
    taken = [await take_work(provider, session=B) for _ in range(2)]
    assert [(one.item.activity_id, one.attempt_count) for one in taken] == [(50, 1), (51, 1)]
    assert await no_work_to_take(provider, session=B)
    taken = [await take_work(provider, session=A) for _ in range(38)]
    assert [(one.item.activity_id, one.attempt_count) for one in taken] == [(number, 1) for number in range(2, 40)]


async def test_a_fetch_holds_the_session_anew(factory: ProviderFactory) -> None:
    """From each fetch on, for as long as that one says."""
    provider = await factory.create_provider()
    for number in (1, 2, 3):
        await provider.enqueue_for_worker(work_item("instance-A", number, session_id="session-1"))
    moment = SessionClaim("worker-A", factory.lock_timeout_ms)
    await take_work(provider, session=moment)
    await factory.advance(factory.lock_timeout_ms // 2)
    await take_work(provider, session=moment)
    await factory.advance(factory.lock_timeout_ms // 2 + 1)
    assert await no_work_to_take(provider, session=B)
    await factory.advance(factory.lock_timeout_ms // 2)
    assert (await take_work(provider, session=B)).item.activity_id == 3


async def test_who_waits_gets_a_session_when_it_lapses(factory: ProviderFactory) -> None:
    """At once, without anybody having called."""
    provider = await factory.create_provider()
    for number in (1, 2):
        await provider.enqueue_for_worker(work_item("instance-A", number, session_id="session-1"))
    await take_work(provider, session=SessionClaim("worker-A", factory.lock_timeout_ms))
    async with begun(lambda: provider.fetch_work_item(LOCK_MS, 600_000, session=B)) as waiting:
        await factory.advance(factory.lock_timeout_ms - 1)
        assert not waiting.has_returned
        await factory.advance(2)
        fetched = await waiting.result()
    assert fetched is not None
    assert fetched.item.activity_id == 2


async def test_tag_and_session_are_both_asked(factory: ProviderFactory) -> None:
    """An item goes to who serves its tag and may have its session; holding the session is not enough."""
    provider = await factory.create_provider()
    gpu = TagFilter.only(["gpu"])
    for number, tag in ((1, "gpu"), (2, None), (3, "gpu")):
        await provider.enqueue_for_worker(work_item("instance-A", number, tag, session_id="session-1"))
    assert (await take_work(provider, session=A)).item.activity_id == 2
    assert await no_work_to_take(provider, session=A)
    assert await no_work_to_take(provider, gpu, B)
    assert await no_work_to_take(provider, gpu)
    assert [(await take_work(provider, tags=gpu, session=A)).item.activity_id for _ in range(2)] == [1, 3]
