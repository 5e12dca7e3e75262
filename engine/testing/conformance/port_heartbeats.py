"""Ours: is what a worker says of an activity under way there for whoever does its work again?"""

from msgspec import structs

from engine.errors import LeaseLost
from engine.model.ids import FIRST_EXECUTION
from engine.model.limits import WorkLimits
from engine.model.messages import RaiseEvent
from engine.model.payload import Payload
from engine.model.turn import ActivityRef, TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    UNKNOWN_TOKEN,
    completion,
    create_instance,
    end_instance,
    no_work_to_take,
    raise_event,
    raises,
    take,
    take_work,
    work_item,
)

HALF = Payload(b'"half"')
MORE = Payload(b'"more"')


async def _turn(provider: FullProvider, result: TurnResult) -> None:
    """One more turn of instance-A, which has no message."""
    go: RaiseEvent = raise_event("instance-A", "go")
    await provider.enqueue_for_orchestrator(go)
    await provider.ack_orchestration_item((await take(provider)).lock_token, result)


async def test_the_next_delivery_has_the_heartbeat(factory: ProviderFactory) -> None:
    """Its worker died; the one after that has it too, without having said it again. The first had none."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, 1_000)
    assert fetched.heartbeat is None
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, HALF)
    for _ in range(2):
        await factory.advance(1_001)
        again = await take_work(provider, 1_000)
        assert again.heartbeat == HALF


async def test_the_newest_heartbeat_counts(factory: ProviderFactory) -> None:
    """Also that of a later delivery."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, 1_000)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, MORE)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, HALF)
    await factory.advance(1_001)
    fetched = await take_work(provider, 1_000)
    assert fetched.heartbeat == HALF
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, MORE)
    await factory.advance(1_001)
    assert (await take_work(provider)).heartbeat == MORE


async def test_a_renewal_without_a_heartbeat_leaves_the_one_before(factory: ProviderFactory) -> None:
    """A worker has nothing new to say at most of them."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, 1_000)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, HALF)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000)
    await factory.advance(1_001)
    assert (await take_work(provider)).heartbeat == HALF


async def test_an_item_that_is_given_back_keeps_its_heartbeat(factory: ProviderFactory) -> None:
    """At once, after a delay, and where the delivery does not count."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS, HALF)
    await provider.abandon_work_item(fetched.lock_token)
    fetched = await take_work(provider)
    assert fetched.heartbeat == HALF
    await provider.abandon_work_item(fetched.lock_token, ignore_attempt=True)
    fetched = await take_work(provider)
    assert (fetched.heartbeat, fetched.attempt_count) == (HALF, 2)
    await provider.abandon_work_item(fetched.lock_token, delay_ms=500)
    await factory.advance(501)
    assert (await take_work(provider)).heartbeat == HALF


async def test_a_heartbeat_extends_the_lease(factory: ProviderFactory) -> None:
    """From that moment on, as any renewal does."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, 1_000)
    await factory.advance(600)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, HALF)
    await factory.advance(600)
    assert await no_work_to_take(provider)
    await provider.ack_work_item(fetched.lock_token, None)


async def test_who_has_no_lease_says_nothing(factory: ProviderFactory) -> None:
    """Of an item whose lease has ended, that was answered, or that nobody was given: what was said before stands."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    late = await take_work(provider, 1_000)
    await provider.renew_work_item_lock(late.lock_token, 1_000, HALF)
    await factory.advance(1_001)
    for token in (late.lock_token, UNKNOWN_TOKEN):
        with raises(LeaseLost):
            await provider.renew_work_item_lock(token, 1_000, MORE)
    fetched = await take_work(provider)
    assert fetched.heartbeat == HALF
    await provider.ack_work_item(fetched.lock_token, completion("instance-A", 2))
    with raises(LeaseLost):
        await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS, MORE)
    assert await no_work_to_take(provider)


async def test_each_item_has_a_heartbeat_of_its_own(factory: ProviderFactory) -> None:
    """Neither another activity nor another instance has it."""
    provider = await factory.create_provider()
    items = [work_item("instance-A", 2), work_item("instance-A", 3), work_item("instance-B", 2)]
    for item in items:
        await provider.enqueue_for_worker(item)
    first = await take_work(provider, 1_000)
    await provider.renew_work_item_lock(first.lock_token, 1_000, HALF)
    assert [(await take_work(provider, 1_000)).heartbeat for _ in items[1:]] == [None, None]
    await factory.advance(1_001)
    fetched = [await take_work(provider) for _ in items]
    assert {(one.item.instance, one.item.activity_id): one.heartbeat for one in fetched} == {
        (item.instance, item.activity_id): HALF if item == first.item else None for item in items
    }


async def test_a_later_life_begins_without_a_heartbeat(factory: ProviderFactory) -> None:
    """An instance is deleted and started again: its activity of the same number is another one."""
    provider = await factory.create_provider()
    item = work_item("instance-A", 2)
    for expected in (None, None):
        await create_instance(provider, "instance-A")
        await _turn(provider, TurnResult(execution_id=FIRST_EXECUTION, work_items=(item,)))
        fetched = await take_work(provider)
        assert fetched.heartbeat == expected
        await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS, HALF)
        await end_instance(provider, "instance-A")
        await provider.delete_instance("instance-A")


async def test_a_heartbeat_of_an_activity_that_was_taken_back_is_refused(factory: ProviderFactory) -> None:
    """So its worker learns that nobody waits for it."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    item = work_item("instance-A", 2)
    await _turn(provider, TurnResult(execution_id=FIRST_EXECUTION, work_items=(item,)))
    fetched = await take_work(provider)
    gone = ActivityRef("instance-A", FIRST_EXECUTION, 2)
    await _turn(provider, TurnResult(execution_id=FIRST_EXECUTION, cancelled_activities=(gone,)))
    with raises(LeaseLost):
        await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS, HALF)
    assert await no_work_to_take(provider)


async def test_an_item_brings_what_the_attempt_before_left(factory: ProviderFactory) -> None:
    """It comes as its turn asked for it; what its own worker says is newer."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    limits = WorkLimits(run_timeout_ms=60_000, heartbeat_timeout_ms=5_000)
    item = structs.replace(work_item("instance-A", 2), heartbeat=HALF, limits=limits)
    await _turn(provider, TurnResult(execution_id=FIRST_EXECUTION, work_items=(item,)))
    fetched = await take_work(provider, 1_000)
    assert (fetched.item, fetched.heartbeat) == (item, HALF)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000, MORE)
    await factory.advance(1_001)
    fetched = await take_work(provider)
    assert (fetched.item, fetched.heartbeat) == (item, MORE)
