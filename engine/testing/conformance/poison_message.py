"""Upstream's poison_message: does a provider count how often a message or work item was fetched, and nothing else?

Upstream's names have no `test_` in front; here they have, as that is how tests are found.
"""

from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    completion,
    create_instance,
    first_turn,
    nothing_to_take,
    raise_event,
    start_item,
    take,
    take_work,
    work_item,
)


async def test_orchestration_attempt_count_starts_at_one(factory: ProviderFactory) -> None:
    """The fetch that returns the count is counted."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert (await take(provider)).attempt_count == 1


async def test_orchestration_attempt_count_increments_on_refetch(factory: ProviderFactory) -> None:
    """One, two, three, over an abandon and over a lock that ran out."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    first = await take(provider)
    await provider.abandon_orchestration_item(first.lock_token)
    second = await take(provider, factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    third = await take(provider)
    assert [first.attempt_count, second.attempt_count, third.attempt_count] == [1, 2, 3]


async def test_worker_attempt_count_starts_at_one(factory: ProviderFactory) -> None:
    """As for an orchestration."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    assert (await take_work(provider)).attempt_count == 1


async def test_worker_attempt_count_increments_on_lock_expiry(factory: ProviderFactory) -> None:
    """A worker that never came back made an attempt too."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await take_work(provider, factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    assert (await take_work(provider)).attempt_count == 2


async def test_attempt_count_is_per_message(factory: ProviderFactory) -> None:
    """A work item that was fetched again does not make its neighbour older."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await provider.enqueue_for_worker(work_item("instance-A", 3))
    first = await take_work(provider)
    await provider.abandon_work_item(first.lock_token)
    again, second = await take_work(provider), await take_work(provider)
    assert [(fetched.item.activity_id, fetched.attempt_count) for fetched in (first, again, second)] == [
        (2, 1),
        (2, 2),
        (3, 1),
    ]


async def test_abandon_work_item_ignore_attempt_decrements(factory: ProviderFactory) -> None:
    """An abandon leaves the attempt counted; with `ignore_attempt` it takes back that one and no other."""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    first = await take_work(provider)
    await provider.abandon_work_item(first.lock_token)
    second = await take_work(provider)
    await provider.abandon_work_item(second.lock_token, ignore_attempt=True)
    third = await take_work(provider)
    assert [first.attempt_count, second.attempt_count, third.attempt_count] == [1, 2, 2]


async def test_abandon_orchestration_item_ignore_attempt_decrements(factory: ProviderFactory) -> None:
    """As for a work item."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    first = await take(provider)
    await provider.abandon_orchestration_item(first.lock_token)
    second = await take(provider)
    await provider.abandon_orchestration_item(second.lock_token, ignore_attempt=True)
    third = await take(provider)
    assert [first.attempt_count, second.attempt_count, third.attempt_count] == [1, 2, 2]


async def test_ignore_attempt_never_goes_negative(factory: ProviderFactory) -> None:
    """In both queues: ignored as often as one likes, the next fetch is the first; then counting goes on."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    for _ in range(3):
        item, fetched = await take(provider), await take_work(provider)
        assert (item.attempt_count, fetched.attempt_count) == (1, 1)
        await provider.abandon_orchestration_item(item.lock_token, ignore_attempt=True)
        await provider.abandon_work_item(fetched.lock_token, ignore_attempt=True)
    for attempt in (1, 2):
        item, fetched = await take(provider), await take_work(provider)
        assert (item.attempt_count, fetched.attempt_count) == (attempt, attempt)
        await provider.abandon_orchestration_item(item.lock_token)
        await provider.abandon_work_item(fetched.lock_token)


async def test_max_attempt_count_across_message_batch(factory: ProviderFactory) -> None:
    """A start fetched three times with a completion fetched once: three. What comes later begins at one."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    for _ in range(2):
        await provider.abandon_orchestration_item((await take(provider)).lock_token)
    await provider.enqueue_for_orchestrator(completion("instance-A", 2))
    batch = await take(provider)
    assert batch.messages == (start_item("instance-A"), completion("instance-A", 2))
    assert batch.attempt_count == 3
    assert await factory.max_attempt_count(provider, "instance-A") == 3
    await provider.ack_orchestration_item(batch.lock_token, first_turn())
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "new"))
    assert (await take(provider)).attempt_count == 1


async def test_orchestration_ignore_attempt_preserves_hidden_start(factory: ProviderFactory) -> None:
    """An attempt is taken back from what the fetch returned, not from a start that waits for its time."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.abandon_orchestration_item((await take(provider)).lock_token)
    twice = await take(provider)
    assert twice.attempt_count == 2
    await provider.abandon_orchestration_item(twice.lock_token, delay_ms=5_000)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "input"))
    alone = await take(provider)
    assert (alone.messages, alone.attempt_count) == ((raise_event("instance-A", "input"),), 1)
    await provider.abandon_orchestration_item(alone.lock_token, ignore_attempt=True)
    await factory.advance(5_001)
    both = await take(provider)
    assert both.messages == (start_item("instance-A"), raise_event("instance-A", "input"))
    assert both.attempt_count == 3


async def test_orchestration_delayed_abandon_preserves_unlocked_rows(factory: ProviderFactory) -> None:
    """A message that arrived during the lock is there at once; the rest joins it, in order of arrival."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "first"))
    item = await take(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "second"))
    await provider.abandon_orchestration_item(item.lock_token, delay_ms=5_000)
    second = await take(provider)
    assert (second.messages, second.attempt_count) == ((raise_event("instance-A", "second"),), 1)
    assert await nothing_to_take(provider)
    await provider.abandon_orchestration_item(second.lock_token)
    await factory.advance(5_001)
    both = await take(provider)
    assert both.messages == (raise_event("instance-A", "first"), raise_event("instance-A", "second"))
