"""Does one turn at a time have an instance, with exactly the messages it was given?

Upstream's tests of this group that are named for threads contend with threads. A provider of this port lives on one
event loop, where tasks that interleave at every await are what can contend: the same number of them does here.
"""

import asyncio
from collections import Counter

from engine.errors import LeaseLost
from engine.port import OrchestrationItem
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    UNKNOWN_TOKEN,
    completion,
    create_instance,
    first_turn,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    take,
    text_event,
    turn,
)


async def _start(provider: FullProvider, count: int) -> list[str]:
    instances = [f"instance-{number}" for number in range(count)]
    for instance in instances:
        await provider.enqueue_for_orchestrator(start_item(instance))
    return instances


async def _contend(provider: FullProvider, tasks: int) -> list[OrchestrationItem]:
    """What `tasks` concurrent fetches got."""
    fetched = await asyncio.gather(*(provider.fetch_orchestration_item(LOCK_MS, 0) for _ in range(tasks)))
    return [item for item in fetched if item is not None]


async def test_exclusive_instance_lock(factory: ProviderFactory) -> None:
    """A locked instance is nobody else's; once the lock has run out it is fetched under another token."""
    provider = await factory.create_provider()
    await _start(provider, 1)
    first = await take(provider, factory.lock_timeout_ms)
    assert await nothing_to_take(provider)
    await factory.advance(factory.lock_timeout_ms + 1)
    second = await take(provider)
    assert second.instance == first.instance
    assert second.lock_token != first.lock_token


async def test_lock_token_uniqueness(factory: ProviderFactory) -> None:
    """Five locks have five tokens."""
    provider = await factory.create_provider()
    await _start(provider, 5)
    assert len({(await take(provider)).lock_token for _ in range(5)}) == 5


async def test_invalid_lock_token_rejection(factory: ProviderFactory) -> None:
    """Neither ack nor abandon nor renew takes a token nobody was given; the lock that exists stays."""
    provider = await factory.create_provider()
    await _start(provider, 1)
    await take(provider)
    with raises(LeaseLost):
        await provider.ack_orchestration_item(UNKNOWN_TOKEN, first_turn())
    with raises(LeaseLost):
        await provider.abandon_orchestration_item(UNKNOWN_TOKEN)
    with raises(LeaseLost):
        await provider.renew_orchestration_item_lock(UNKNOWN_TOKEN, LOCK_MS)
    assert await nothing_to_take(provider)


async def test_concurrent_instance_fetching(factory: ProviderFactory) -> None:
    """Ten instances and ten concurrent fetches: each is fetched once."""
    provider = await factory.create_provider()
    instances = await _start(provider, 10)
    assert sorted(item.instance for item in await _contend(provider, 10)) == sorted(instances)


async def test_completions_arriving_during_lock_blocked(factory: ProviderFactory) -> None:
    """Completions that arrive during a lock wait for its end, then come in one batch behind what was there."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await take(provider, factory.lock_timeout_ms)
    for activity_id in (1, 2, 3):
        await provider.enqueue_for_orchestrator(completion("instance-A", activity_id))
    assert await nothing_to_take(provider)
    await factory.advance(factory.lock_timeout_ms + 1)
    assert (await take(provider)).messages == (
        start_item("instance-A"),
        completion("instance-A", 1),
        completion("instance-A", 2),
        completion("instance-A", 3),
    )


async def test_cross_instance_lock_isolation(factory: ProviderFactory) -> None:
    """A locked instance keeps nobody from fetching, committing and fetching another."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert (await take(provider)).instance == "instance-A"
    await create_instance(provider, "instance-B")
    await provider.enqueue_for_orchestrator(raise_event("instance-B", "go"))
    assert (await take(provider)).instance == "instance-B"
    assert await nothing_to_take(provider)


async def test_message_tagging_during_lock(factory: ProviderFactory) -> None:
    """The ack of two fetched messages leaves a third one that arrived in between, and only that."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "first"))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "second"))
    item = await take(provider)
    assert item.messages == (raise_event("instance-A", "first"), raise_event("instance-A", "second"))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "third"))
    await provider.ack_orchestration_item(item.lock_token, turn(text_event(2, "took two")))
    assert (await take(provider)).messages == (raise_event("instance-A", "third"),)


async def test_ack_only_affects_locked_messages(factory: ProviderFactory) -> None:
    """Messages two and three, enqueued during the lock, survive the ack of the start and come together."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.enqueue_for_orchestrator(completion("instance-A", 2))
    await provider.enqueue_for_orchestrator(completion("instance-A", 3))
    await provider.ack_orchestration_item(item.lock_token, first_turn())
    assert (await take(provider)).messages == (completion("instance-A", 2), completion("instance-A", 3))
    assert await nothing_to_take(provider)


async def test_multi_threaded_lock_contention(factory: ProviderFactory) -> None:
    """Many concurrent fetches, one instance: one wins, and later ones find nothing."""
    provider = await factory.create_provider()
    await _start(provider, 1)
    assert [item.instance for item in await _contend(provider, 10)] == ["instance-0"]
    assert await nothing_to_take(provider)


async def test_multi_threaded_no_duplicate_processing(factory: ProviderFactory) -> None:
    """More concurrent fetches than instances: none is fetched twice, none is forgotten."""
    provider = await factory.create_provider()
    instances = await _start(provider, 10)
    fetches = Counter(item.instance for item in await _contend(provider, 15))
    assert fetches == Counter(instances)


async def test_multi_threaded_lock_expiration_recovery(factory: ProviderFactory) -> None:
    """One task takes the instance and dies; a second finds nothing; a third gets it after the lock ran out."""
    provider = await factory.create_provider()
    await _start(provider, 1)
    tokens: list[str] = []

    async def take_and_die() -> None:
        tokens.append((await take(provider, factory.lock_timeout_ms)).lock_token)

    await asyncio.gather(take_and_die())
    assert await _contend(provider, 1) == []
    await factory.advance(factory.lock_timeout_ms + 1)
    [recovered] = await _contend(provider, 3)
    assert recovered.instance == "instance-0"
    assert recovered.lock_token not in tokens
    assert recovered.attempt_count == 2
