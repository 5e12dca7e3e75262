"""Ours: is an instance that cannot go on set aside, seen by operators, and resumed with all its messages?"""

from engine.errors import LeaseLost, Refused
from engine.model.status import Status
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    FAILURE,
    UNKNOWN_TOKEN,
    create_instance,
    first_turn,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    take,
)


async def test_a_held_instance_is_not_fetched(factory: ProviderFactory) -> None:
    """Neither for the messages it was held with nor for new ones; time does not change that; others go on."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "first"))
    await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "second"))
    await factory.advance(60_000)
    assert await nothing_to_take(provider)
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    assert (await take(provider)).instance == "instance-B"


async def test_a_held_instance_says_why(factory: ProviderFactory) -> None:
    """Its state is HELD with the failure, in queries and in lists; its history is as it was."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    before = await provider.get_instance_info("instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert before is not None
    assert (info.status, info.failure, info.history_events) == (Status.HELD, FAILURE, 1)
    assert info.revision > before.revision
    assert [held.instance for held in await provider.list_instances(status=Status.HELD)] == ["instance-A"]
    assert list(await provider.list_instances(status=Status.RUNNING)) == []


async def test_a_resumed_instance_goes_on_with_its_messages(factory: ProviderFactory) -> None:
    """Those it was held with and those that came since, in order; it is running again."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "first"))
    await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "second"))
    await provider.resume_instance("instance-A")
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert (info.status, info.failure) == (Status.RUNNING, None)
    item = await take(provider)
    assert item.messages == (raise_event("instance-A", "first"), raise_event("instance-A", "second"))
    assert item.status is Status.RUNNING


async def test_an_instance_can_be_held_before_its_first_turn(factory: ProviderFactory) -> None:
    """A start that cannot be run is an instance an operator sees, and starts when it is resumed."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
    assert await nothing_to_take(provider)
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert (info.status, info.orchestration_name) == (Status.HELD, "TestOrch")
    await provider.resume_instance("instance-A")
    item = await take(provider)
    assert (item.messages, item.execution_id, list(item.history.load())) == ((start_item("instance-A"),), 1, [])
    await provider.ack_orchestration_item(item.lock_token, first_turn())


async def test_only_the_holder_of_the_lock_can_hold(factory: ProviderFactory) -> None:
    """An unknown token and one whose lock ran out hold nothing; a token that held is used up."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    with raises(LeaseLost):
        await provider.hold_orchestration_item(UNKNOWN_TOKEN, FAILURE)
    late = await take(provider, factory.lock_timeout_ms)
    await factory.advance(factory.lock_timeout_ms + 1)
    with raises(LeaseLost):
        await provider.hold_orchestration_item(late.lock_token, FAILURE)
    item = await take(provider)
    await provider.hold_orchestration_item(item.lock_token, FAILURE)
    with raises(LeaseLost):
        await provider.hold_orchestration_item(item.lock_token, FAILURE)


async def test_only_a_held_instance_can_be_resumed(factory: ProviderFactory) -> None:
    """Resuming nobody, or somebody who runs, is refused."""
    provider = await factory.create_provider()
    with raises(Refused):
        await provider.resume_instance("nobody")
    await create_instance(provider, "instance-A")
    with raises(Refused):
        await provider.resume_instance("instance-A")
