"""Does a provider say no, and change nothing, when it has to?"""

from engine.errors import HistoryCorrupted, LeaseLost, Refused
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    UNKNOWN_TOKEN,
    create_instance,
    first_turn,
    raise_event,
    raises,
    start_item,
    started_event,
    take,
    text_event,
    turn,
)


async def test_invalid_lock_token_on_ack(factory: ProviderFactory) -> None:
    """A token that nobody was given is refused as a lost lease, and nothing is created for it."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    with raises(LeaseLost):
        await provider.ack_orchestration_item(UNKNOWN_TOKEN, first_turn())
    assert list(await provider.list_instances()) == []


async def test_duplicate_event_id_rejection(factory: ProviderFactory) -> None:
    """A second event with an id of the history is refused, and the first stays what it was."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    with raises(Refused):
        await provider.ack_orchestration_item(item.lock_token, turn(text_event(1, "an impostor")))
    assert list(await provider.read("instance-A")) == [started_event()]


async def test_missing_instance_metadata(factory: ProviderFactory) -> None:
    """An unknown instance has an empty history; asking for it is no error."""
    provider = await factory.create_provider()
    assert list(await provider.read("nobody")) == []
    assert list(await provider.read_with_execution("nobody", 1)) == []
    assert await provider.get_instance_info("nobody") is None


async def test_corrupted_serialization_data(factory: ProviderFactory) -> None:
    """A history that cannot be decoded is fetched as an item that says so: locked, and counted as an attempt."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await factory.corrupt_instance_history(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    assert item.history_error is not None
    assert item.attempt_count == 1
    assert await factory.max_attempt_count(provider, "instance-A") == 1
    assert await provider.fetch_orchestration_item(LOCK_MS, 0) is None, "expected the instance to be locked"


async def test_lock_expiration_during_ack(factory: ProviderFactory) -> None:
    """A turn that took longer than its lock is not committed, though nobody else took the instance."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider, factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    with raises(LeaseLost):
        await provider.ack_orchestration_item(item.lock_token, first_turn())
    assert await provider.get_instance_info("instance-A") is None


async def test_read_corrupted_history_returns_error(factory: ProviderFactory) -> None:
    """`read` says that a history cannot be decoded; it never returns a shorter one."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await factory.corrupt_instance_history(provider, "instance-A")
    with raises(HistoryCorrupted):
        await provider.read("instance-A")


async def test_read_with_execution_corrupted_history_returns_error(factory: ProviderFactory) -> None:
    """`read_with_execution` says so too."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await factory.corrupt_instance_history(provider, "instance-A")
    with raises(HistoryCorrupted):
        await provider.read_with_execution("instance-A", 1)
