"""In what order and when do messages and work items come out, and what takes them away?"""

from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    completion,
    create_instance,
    fire_timer,
    no_work_to_take,
    nothing_to_take,
    queue_message,
    start_item,
    take,
    take_work,
    work_item,
)


async def test_worker_queue_fifo_ordering(factory: ProviderFactory) -> None:
    """Five items of one instance come out as they went in, and then there are none."""
    provider = await factory.create_provider()
    items = [work_item("instance-A", activity_id) for activity_id in (2, 3, 4, 5, 6)]
    for item in items:
        await provider.enqueue_for_worker(item)
    assert [(await take_work(provider)).item for _ in items] == items
    assert await no_work_to_take(provider)


async def test_worker_peek_lock_semantics(factory: ProviderFactory) -> None:
    """A fetch hides an item and does not delete it; the ack does."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, factory.lock_timeout_ms)
    assert await no_work_to_take(provider)
    await factory.advance(factory.lock_timeout_ms + 1)
    again = await take_work(provider, factory.lock_timeout_ms)
    assert again.item == fetched.item
    await provider.ack_work_item(again.lock_token, None)
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await no_work_to_take(provider)


async def test_worker_ack_atomicity(factory: ProviderFactory) -> None:
    """An ack with a completion empties the one queue and puts exactly that message in the other."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.ack_work_item(fetched.lock_token, completion("instance-A", 2))
    await factory.advance(60_000)
    assert await no_work_to_take(provider)
    assert (await take(provider)).messages == (completion("instance-A", 2),)


async def test_timer_delayed_visibility(factory: ProviderFactory) -> None:
    """A timer's message is not there before its time, and alone there then."""
    provider = await factory.create_provider()
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    timer = fire_timer("instance-A", 2, now_ms + 5_000)
    await provider.enqueue_for_orchestrator(timer)
    assert await nothing_to_take(provider)
    await factory.advance(5_001)
    assert (await take(provider)).messages == (timer,)


async def test_lost_lock_token_handling(factory: ProviderFactory) -> None:
    """An item whose worker forgot it comes back when the lease has run out, not before."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await take_work(provider, factory.lock_timeout_ms)
    assert await no_work_to_take(provider)
    await factory.advance(factory.lock_timeout_ms + 1)
    again = await take_work(provider)
    assert (again.item, again.attempt_count) == (work_item("instance-A", 2), 2)


async def test_worker_item_immediate_visibility(factory: ProviderFactory) -> None:
    """What was enqueued can be fetched at once, without an instance."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("nobody", 2))
    fetched = await take_work(provider)
    assert (fetched.item, fetched.attempt_count) == (work_item("nobody", 2), 1)


async def test_worker_delayed_visibility_skips_future_items(factory: ProviderFactory) -> None:
    """An item put off does not hold up the one behind it, and comes back in its time."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await provider.enqueue_for_worker(work_item("instance-A", 3))
    await provider.abandon_work_item((await take_work(provider)).lock_token, delay_ms=2_000)
    assert (await take_work(provider)).item == work_item("instance-A", 3)
    assert await no_work_to_take(provider)
    await factory.advance(2_001)
    assert (await take_work(provider)).item == work_item("instance-A", 2)


async def test_orphan_queue_messages_dropped(factory: ProviderFactory) -> None:
    """Queue messages for nobody are taken out: the instance that starts later does not find them."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(queue_message("instance-A", "one"))
    await provider.enqueue_for_orchestrator(queue_message("instance-A", "two"))
    assert await nothing_to_take(provider)
    assert (await provider.get_queue_depths()).orchestrator_queue == 0
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert (await take(provider)).messages == (start_item("instance-A"),)

    await create_instance(provider, "instance-B")
    await provider.enqueue_for_orchestrator(queue_message("instance-B", "three"))
    assert (await take(provider)).messages == (queue_message("instance-B", "three"),)
