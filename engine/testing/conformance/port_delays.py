"""Ours: what do delays, renewals and order of arrival do to the two queues?"""

from msgspec import structs

from engine.errors import LeaseLost
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    UNKNOWN_TOKEN,
    completion,
    create_instance,
    fire_timer,
    first_turn,
    no_work_to_take,
    nothing_to_take,
    queue_message,
    raise_event,
    raises,
    start_item,
    take,
    take_work,
    turn,
    work_item,
)


async def test_a_delayed_message_is_not_there_before_its_time(factory: ProviderFactory) -> None:
    """It neither comes nor holds up one that was enqueued after it."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "later"), delay_ms=5_000)
    assert await nothing_to_take(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "now"))
    item = await take(provider)
    assert item.messages == (raise_event("instance-A", "now"),)
    await provider.ack_orchestration_item(item.lock_token, turn())
    await factory.advance(5_001)
    assert (await take(provider)).messages == (raise_event("instance-A", "later"),)


async def test_a_delayed_start_starts_in_its_time(factory: ProviderFactory) -> None:
    """An instance that begins later is nobody until then."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"), delay_ms=5_000)
    assert await nothing_to_take(provider)
    assert await provider.get_instance_info("instance-A") is None
    await factory.advance(5_001)
    assert (await take(provider)).messages == (start_item("instance-A"),)


async def test_a_start_says_itself_when_it_is_for(factory: ProviderFactory) -> None:
    """A client's as well as one that a turn sends; a longer delay of the call counts too."""
    provider = await factory.create_provider()
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    late, later, last = (
        structs.replace(start_item(f"instance-{name}"), start_at_ms=now_ms + 5_000) for name in ("B", "C", "D")
    )
    await provider.enqueue_for_orchestrator(late)
    await provider.enqueue_for_orchestrator(last, delay_ms=8_000)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, structs.replace(turn(), messages=(later,)))
    await factory.advance(4_000)
    assert await nothing_to_take(provider)
    assert await provider.get_instance_info("instance-B") is None
    await factory.advance(1_001)
    assert {(await take(provider)).messages for _ in range(2)} == {(late,), (later,)}
    assert await nothing_to_take(provider)
    await factory.advance(3_000)
    assert (await take(provider)).messages == (last,)


async def test_a_timer_comes_when_it_fires_not_when_it_was_made(factory: ProviderFactory) -> None:
    """A completion that arrived before the timer was due is in front of it."""
    provider = await factory.create_provider()
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    timer = fire_timer("instance-A", 2, now_ms + 5_000)
    await provider.enqueue_for_orchestrator(timer)
    await provider.enqueue_for_orchestrator(completion("instance-A", 3))
    await factory.advance(5_001)
    assert (await take(provider)).messages == (completion("instance-A", 3), timer)


async def test_queue_messages_wait_for_a_start_that_was_put_off(factory: ProviderFactory) -> None:
    """While a start backs off its instance is expected: what is enqueued for it is not taken for an orphan."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.abandon_orchestration_item((await take(provider)).lock_token, delay_ms=5_000)
    await provider.enqueue_for_orchestrator(queue_message("instance-A", "one"))
    assert await nothing_to_take(provider)
    await factory.advance(5_001)
    assert (await take(provider)).messages == (start_item("instance-A"), queue_message("instance-A", "one"))


async def test_other_messages_wait_for_their_start(factory: ProviderFactory) -> None:
    """An event for an instance that does not exist yet is neither handed out nor dropped."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "early"))
    assert await nothing_to_take(provider)
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    assert item.messages == (raise_event("instance-A", "early"), start_item("instance-A"))
    assert item.attempt_count == 1


async def test_an_expired_lock_can_be_abandoned_while_nobody_took_it(factory: ProviderFactory) -> None:
    """Giving back what one no longer has is fine until somebody has it, then it is a lost lease."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    item, fetched = await take(provider, 50), await take_work(provider, 50)
    await factory.advance(51)
    await provider.abandon_orchestration_item(item.lock_token)
    await provider.abandon_work_item(fetched.lock_token)
    await take(provider)
    await take_work(provider)
    with raises(LeaseLost):
        await provider.abandon_orchestration_item(item.lock_token)
    with raises(LeaseLost):
        await provider.abandon_work_item(fetched.lock_token)
    with raises(LeaseLost):
        await provider.abandon_work_item(UNKNOWN_TOKEN)
    assert await nothing_to_take(provider)
    assert await no_work_to_take(provider)


async def test_a_renewed_lock_holds_from_the_renewal(factory: ProviderFactory) -> None:
    """Past its first end, until its new one; the turn is committed under it."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider, 1_000)
    await factory.advance(600)
    await provider.renew_orchestration_item_lock(item.lock_token, 1_000)
    await factory.advance(500)
    assert await nothing_to_take(provider)
    await provider.ack_orchestration_item(item.lock_token, first_turn())
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider, 1_000)
    await provider.renew_orchestration_item_lock(item.lock_token, 2_000)
    await factory.advance(2_001)
    assert (await take(provider)).attempt_count == 2
