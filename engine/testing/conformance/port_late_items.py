"""Ours: does an item that no worker was given in its time go to whoever asks, so that it fails and waits no more?"""

import anyio
from msgspec import structs

from engine.model.ids import FIRST_EXECUTION
from engine.model.limits import WorkLimits
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
    create_instance,
    no_work_to_take,
    raise_event,
    take,
    take_work,
    work_item,
)

GPU = TagFilter.only(["gpu"])
A = SessionClaim("worker-A", LOCK_MS)
B = SessionClaim("worker-B", LOCK_MS)
WAIT_MS = 1_000
POLL_MS = 3_600_000


async def _item(
    provider: FullProvider, activity_id: int = 2, tag: str | None = "gpu", session_id: str | None = None
) -> WorkItem:
    """An item of instance-A, which exists from then on, that is to be begun within `WAIT_MS`."""
    if await provider.get_instance_info("instance-A") is None:
        await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    fetched = await take(provider)
    await provider.ack_orchestration_item(fetched.lock_token, TurnResult(execution_id=FIRST_EXECUTION))
    limits = WorkLimits(queue_timeout_ms=WAIT_MS, start_by_ms=fetched.now_ms + WAIT_MS)
    return structs.replace(work_item("instance-A", activity_id, tag, session_id), limits=limits)


def _start_by_ms(item: WorkItem) -> int:
    assert item.limits is not None
    assert item.limits.start_by_ms is not None
    return item.limits.start_by_ms


async def _arriving(provider: FullProvider, tags: TagFilter = DEFAULT_ONLY) -> FetchedWorkItem:
    with anyio.fail_after(REAL_SECONDS_MAX):
        fetched = await provider.fetch_work_item(LOCK_MS, POLL_MS, tags)
    assert fetched is not None, "expected a work item, but the fetch returned none"
    return fetched


async def test_an_item_that_nobody_was_given_is_for_anybody_in_its_time(factory: ProviderFactory) -> None:
    """Not before; then first of what waits, for it is the oldest; and the fetch says that its time has passed."""
    provider = await factory.create_provider()
    item = await _item(provider)
    await provider.enqueue_for_worker(item)
    assert await no_work_to_take(provider)
    await provider.enqueue_for_worker(work_item("instance-A", 3))
    await factory.advance(WAIT_MS)
    fetched = await take_work(provider)
    assert (fetched.item, fetched.attempt_count) == (item, 1)
    assert fetched.now_ms >= _start_by_ms(item)
    assert (await take_work(provider)).item == work_item("instance-A", 3)
    assert await no_work_to_take(provider, GPU)


async def test_an_item_is_in_time_for_its_workers_and_says_so(factory: ProviderFactory) -> None:
    """The fetch is before the end of its time; without such an end an item waits as long as it takes."""
    provider = await factory.create_provider()
    item = await _item(provider)
    await provider.enqueue_for_worker(item)
    await provider.enqueue_for_worker(work_item("instance-A", 3, "gpu"))
    await factory.advance(WAIT_MS - 1)
    assert await no_work_to_take(provider)
    fetched = await take_work(provider, tags=GPU)
    assert fetched.item == item
    assert _start_by_ms(item) - WAIT_MS <= fetched.now_ms < _start_by_ms(item)
    await factory.advance(10 * WAIT_MS)
    assert await no_work_to_take(provider)
    assert (await take_work(provider, tags=GPU)).item == work_item("instance-A", 3, "gpu")


async def test_its_own_workers_get_a_late_item_too(factory: ProviderFactory) -> None:
    """Once: it is leased as any other."""
    provider = await factory.create_provider()
    item = await _item(provider)
    await provider.enqueue_for_worker(item)
    await factory.advance(WAIT_MS)
    fetched = await take_work(provider, tags=GPU)
    assert (fetched.item, fetched.attempt_count) == (item, 1)
    assert await no_work_to_take(provider, GPU)
    assert await no_work_to_take(provider)
    await provider.ack_work_item(fetched.lock_token, None)
    assert await no_work_to_take(provider)


async def test_what_was_delivered_once_waits_for_its_workers(factory: ProviderFactory) -> None:
    """Somebody began it, and its lease has ended: that is no matter of the time in the queue."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(await _item(provider))
    await take_work(provider, WAIT_MS // 2, GPU)
    await factory.advance(2 * WAIT_MS)
    assert await no_work_to_take(provider)
    assert (await take_work(provider, tags=GPU)).attempt_count == 2


async def test_a_delivery_that_does_not_count_is_none(factory: ProviderFactory) -> None:
    """Who gave it back had not begun it. While it is put off nobody is given it, late or not."""
    provider = await factory.create_provider()
    item = await _item(provider)
    await provider.enqueue_for_worker(item)
    fetched = await take_work(provider, tags=GPU)
    await provider.abandon_work_item(fetched.lock_token, 2 * WAIT_MS, ignore_attempt=True)
    await factory.advance(WAIT_MS)
    assert await no_work_to_take(provider)
    await factory.advance(WAIT_MS)
    fetched = await take_work(provider)
    assert (fetched.item, fetched.attempt_count) == (item, 1)


async def test_a_late_item_of_a_session_is_for_anybody(factory: ProviderFactory) -> None:
    """Also for who claims no session. Of its session nothing follows from that: the next who claims it has it."""
    provider = await factory.create_provider()
    item = await _item(provider, 2, tag=None, session_id="session-1")
    await provider.enqueue_for_worker(item)
    await provider.enqueue_for_worker(work_item("instance-A", 3, session_id="session-1"))
    assert await no_work_to_take(provider)
    await factory.advance(WAIT_MS)
    assert (await take_work(provider)).item == item
    assert await no_work_to_take(provider)
    assert (await take_work(provider, session=A)).item.activity_id == 3


async def test_a_late_item_takes_its_session_from_nobody(factory: ProviderFactory) -> None:
    """Whoever fetches it, the session's holder keeps that, with everything else of it."""
    provider = await factory.create_provider()
    item = await _item(provider, 2, tag=None, session_id="session-1")
    await provider.enqueue_for_worker(work_item("instance-A", 1, session_id="session-1"))
    assert (await take_work(provider, session=A)).item.activity_id == 1
    await provider.enqueue_for_worker(item)
    await provider.enqueue_for_worker(work_item("instance-A", 3, session_id="session-1"))
    await factory.advance(WAIT_MS)
    assert (await take_work(provider, session=B)).item == item
    assert await no_work_to_take(provider, session=B)
    assert (await take_work(provider, session=A)).item.activity_id == 3


async def test_a_late_item_is_late_until_somebody_answers(factory: ProviderFactory) -> None:
    """Whoever was given it may have died: neither a lease that ends nor an item given back was an attempt."""
    provider = await factory.create_provider()
    item = await _item(provider)
    await provider.enqueue_for_worker(item)
    await factory.advance(WAIT_MS)
    first = await take_work(provider)
    await provider.renew_work_item_lock(first.lock_token, LOCK_MS)
    await factory.advance(LOCK_MS)
    second = await take_work(provider)
    await provider.abandon_work_item(second.lock_token)
    third = await take_work(provider, tags=GPU)
    await provider.abandon_work_item(third.lock_token, ignore_attempt=True)
    fourth = await take_work(provider)
    assert [one.item for one in (first, second, third, fourth)] == [item] * 4
    assert [one.attempt_count for one in (first, second, third, fourth)] == [1] * 4
    await provider.ack_work_item(fourth.lock_token, None)
    assert await no_work_to_take(provider, GPU)


async def test_a_late_item_claims_no_session(factory: ProviderFactory) -> None:
    """Who claims sessions is given it, and answers that nobody began it: with that it has done nothing for one."""
    provider = await factory.create_provider()
    item = await _item(provider, 2, tag=None, session_id="session-1")
    await provider.enqueue_for_worker(item)
    await provider.enqueue_for_worker(work_item("instance-A", 3, session_id="session-1"))
    await factory.advance(WAIT_MS)
    assert (await take_work(provider, session=A)).item == item
    assert (await take_work(provider, session=B)).item.activity_id == 3


async def test_a_waiting_fetch_wakes_when_an_item_is_late(factory: ProviderFactory) -> None:
    """It had nothing to get until then."""
    provider = await factory.create_provider()
    item = await _item(provider)
    await provider.enqueue_for_worker(item)
    async with begun(lambda: _arriving(provider)) as waiting:
        await factory.advance(WAIT_MS - 1)
        assert not waiting.has_returned
        await factory.advance(1)
        assert (await waiting.result()).item == item


async def test_a_turn_asks_for_items_that_must_be_begun_in_time(factory: ProviderFactory) -> None:
    """Wherever their sessions are kept, anybody gets them late."""
    provider = await factory.create_provider()
    items = [await _item(provider, number, session_id=f"session-{number}") for number in range(1, 6)]
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    asks = TurnResult(execution_id=FIRST_EXECUTION, work_items=tuple(items))
    await provider.ack_orchestration_item((await take(provider)).lock_token, asks)
    await factory.advance(WAIT_MS)
    fetched = [await _arriving(provider) for _ in items]
    assert sorted(one.item.activity_id for one in fetched) == [1, 2, 3, 4, 5]
    assert await no_work_to_take(provider)


async def test_what_is_taken_back_is_late_for_nobody(factory: ProviderFactory) -> None:
    """Before its time and after it."""
    provider = await factory.create_provider()
    for activity_id, waits_ms in ((2, 0), (3, WAIT_MS)):
        asks = TurnResult(execution_id=FIRST_EXECUTION, work_items=(await _item(provider, activity_id),))
        gone = ActivityRef("instance-A", FIRST_EXECUTION, activity_id, tag="gpu")
        takes_back = TurnResult(execution_id=FIRST_EXECUTION, cancelled_activities=(gone,))
        for result, passes_ms in ((asks, waits_ms), (takes_back, WAIT_MS)):
            await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
            await provider.ack_orchestration_item((await take(provider)).lock_token, result)
            await factory.advance(passes_ms)
        assert await no_work_to_take(provider)
