"""Ours: are several instances fetched in one call, each with a lock of its own?"""

from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    create_instance,
    first_turn,
    nothing_to_take,
    raise_event,
    start_item,
    take,
    turn,
)

INSTANCES = ("instance-A", "instance-B", "instance-C")


async def test_one_fetch_returns_several_instances(factory: ProviderFactory) -> None:
    """Three instances come in one call, each once, all locked, and there is no fourth."""
    provider = await factory.create_provider()
    for instance in INSTANCES:
        await provider.enqueue_for_orchestrator(start_item(instance))
    items = await provider.fetch_orchestration_items(10, LOCK_MS, 0)
    assert sorted(item.instance for item in items) == list(INSTANCES)
    assert len({item.lock_token for item in items}) == 3
    assert all(item.messages == (start_item(item.instance),) for item in items)
    assert await nothing_to_take(provider)


async def test_a_fetch_returns_no_more_than_it_was_asked_for(factory: ProviderFactory) -> None:
    """Asked for two of three it locks two; the third is there for the next."""
    provider = await factory.create_provider()
    for instance in INSTANCES:
        await provider.enqueue_for_orchestrator(start_item(instance))
    first = await provider.fetch_orchestration_items(2, LOCK_MS, 0)
    second = await provider.fetch_orchestration_items(2, LOCK_MS, 0)
    assert (len(first), len(second)) == (2, 1)
    assert sorted(item.instance for item in (*first, *second)) == list(INSTANCES)


async def test_the_items_of_one_fetch_are_independent(factory: ProviderFactory) -> None:
    """One is acked, one abandoned, one left to run out: each goes its own way."""
    provider = await factory.create_provider()
    for instance in INSTANCES:
        await provider.enqueue_for_orchestrator(start_item(instance))
    items = {item.instance: item for item in await provider.fetch_orchestration_items(3, factory.lock_timeout_ms, 0)}
    await provider.ack_orchestration_item(items["instance-A"].lock_token, first_turn())
    await provider.abandon_orchestration_item(items["instance-B"].lock_token)
    assert [item.instance for item in await provider.fetch_orchestration_items(3, LOCK_MS, 0)] == ["instance-B"]
    await factory.advance(factory.lock_timeout_ms + 1)
    [left] = await provider.fetch_orchestration_items(3, LOCK_MS, 0)
    assert (left.instance, left.attempt_count) == ("instance-C", 2)


async def test_an_instance_with_many_messages_is_one_item(factory: ProviderFactory) -> None:
    """Messages of one instance come together, however many items were asked for."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    events = tuple(raise_event("instance-A", f"event {number}") for number in range(5))
    for event in events:
        await provider.enqueue_for_orchestrator(event)
    [item] = await provider.fetch_orchestration_items(5, LOCK_MS, 0)
    assert item.messages == events


async def test_the_instance_that_waited_longest_is_first(factory: ProviderFactory) -> None:
    """Order of arrival decides, also for one that was served before. Children of one root share what may be a queue."""
    provider = await factory.create_provider()
    for child in ("root::sub::2", "root::sub::3"):
        await create_instance(provider, child)
    for child in ("root::sub::3", "root::sub::2"):
        await provider.enqueue_for_orchestrator(raise_event(child, "go"))
    first = await take(provider)
    assert first.instance == "root::sub::3"
    await provider.ack_orchestration_item(first.lock_token, turn())
    await provider.enqueue_for_orchestrator(raise_event("root::sub::3", "again"))
    items = await provider.fetch_orchestration_items(2, LOCK_MS, 0)
    assert [item.instance for item in items] == ["root::sub::2", "root::sub::3"]
