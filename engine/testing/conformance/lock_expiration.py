"""What ends a lock or a lease, and what can still be done with it then?"""

import asyncio

from engine.errors import LeaseLost
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    UNKNOWN_TOKEN,
    completion,
    create_instance,
    first_turn,
    no_work_to_take,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    take,
    take_work,
    work_item,
)


async def test_lock_expires_after_timeout(factory: ProviderFactory) -> None:
    """After its time the instance is fetched again under a new token, and the old one commits nothing."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    first = await take(provider, factory.lock_timeout_ms)
    assert await nothing_to_take(provider)
    await factory.advance(factory.lock_timeout_ms + 1)
    second = await take(provider)
    assert second.lock_token != first.lock_token
    with raises(LeaseLost):
        await provider.ack_orchestration_item(first.lock_token, first_turn())
    await provider.ack_orchestration_item(second.lock_token, first_turn())


async def test_abandon_releases_lock_immediately(factory: ProviderFactory) -> None:
    """An abandoned instance can be fetched at once, and the token given back is worth nothing."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.abandon_orchestration_item(item.lock_token)
    again = await take(provider)
    assert (again.instance, again.messages) == (item.instance, item.messages)
    with raises(LeaseLost):
        await provider.ack_orchestration_item(item.lock_token, first_turn())


async def test_lock_renewal_on_ack(factory: ProviderFactory) -> None:
    """The ack frees the instance: a message queued during the lock is there at once."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "meanwhile"))
    assert await nothing_to_take(provider)
    await provider.ack_orchestration_item(item.lock_token, first_turn())
    assert (await take(provider)).messages == (raise_event("instance-A", "meanwhile"),)


async def test_concurrent_lock_attempts_respect_expiration(factory: ProviderFactory) -> None:
    """Before the lock runs out all concurrent fetches find nothing, after it exactly one finds the instance."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await take(provider, factory.lock_timeout_ms)

    async def fetch_five() -> int:
        fetched = await asyncio.gather(*(provider.fetch_orchestration_item(LOCK_MS, 0) for _ in range(5)))
        return sum(item is not None for item in fetched)

    await factory.advance(factory.lock_timeout_ms // 2)
    assert await fetch_five() == 0
    await factory.advance(factory.lock_timeout_ms // 2 + 2)
    assert await fetch_five() == 1


async def test_worker_lock_renewal_success(factory: ProviderFactory) -> None:
    """A lease is renewed by whoever holds it and stays a lease."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)
    assert await no_work_to_take(provider)


async def test_worker_lock_renewal_invalid_token(factory: ProviderFactory) -> None:
    """A token that nobody was given renews nothing."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await take_work(provider)
    with raises(LeaseLost):
        await provider.renew_work_item_lock(UNKNOWN_TOKEN, LOCK_MS)


async def test_worker_lock_renewal_after_expiration(factory: ProviderFactory) -> None:
    """A lease that ran out is not revived, though nobody else took the item."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, 1_000)
    await factory.advance(1_001)
    with raises(LeaseLost):
        await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)


async def test_worker_lock_renewal_extends_timeout(factory: ProviderFactory) -> None:
    """Renewed after six tenths of its time for as long again, a lease holds past its first end, then runs out."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, 1_000)
    await factory.advance(600)
    await provider.renew_work_item_lock(fetched.lock_token, 1_000)
    await factory.advance(500)
    assert await no_work_to_take(provider)
    await factory.advance(501)
    assert (await take_work(provider)).item == fetched.item


async def test_worker_lock_renewal_after_ack(factory: ProviderFactory) -> None:
    """What was acked cannot be renewed."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.ack_work_item(fetched.lock_token, None)
    with raises(LeaseLost):
        await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)


async def test_abandon_work_item_releases_lock(factory: ProviderFactory) -> None:
    """An abandoned item is handed out again at once under a new token."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.abandon_work_item(fetched.lock_token)
    again = await take_work(provider)
    assert again.item == fetched.item
    assert again.lock_token != fetched.lock_token


async def test_abandon_work_item_with_delay(factory: ProviderFactory) -> None:
    """An item abandoned for 500 ms is not there now, and is there then."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.abandon_work_item(fetched.lock_token, delay_ms=500)
    assert await no_work_to_take(provider)
    await factory.advance(501)
    assert (await take_work(provider)).item == fetched.item


async def test_worker_ack_fails_after_lock_expiry(factory: ProviderFactory) -> None:
    """A result that comes after the lease is refused, though nobody took the item, and does not reach the instance."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider, factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    with raises(LeaseLost):
        await provider.ack_work_item(fetched.lock_token, completion("instance-A", 2))
    assert await nothing_to_take(provider)
    assert (await take_work(provider)).item == fetched.item


async def test_orchestration_lock_renewal_after_expiration(factory: ProviderFactory) -> None:
    """A lock that ran out is not revived, though nobody else took the instance."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider, 1_000)
    await factory.advance(1_001)
    with raises(LeaseLost):
        await provider.renew_orchestration_item_lock(item.lock_token, LOCK_MS)
