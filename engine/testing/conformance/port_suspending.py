"""Ours: does a suspended instance take no turn, and go on as if nothing had been when it is resumed?"""

from msgspec.structs import replace

from engine.errors import LeaseLost, Refused
from engine.model.status import Status
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    FAILURE,
    completion,
    create_instance,
    end_instance,
    fire_timer,
    first_turn,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    take,
    take_work,
    turn,
    work_item,
)


async def test_a_suspended_instance_takes_no_turn(factory: ProviderFactory) -> None:
    """Neither for what waits nor for what comes, a due timer too, whatever time passes; others go on."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    sleep = fire_timer("instance-A", 2, item.now_ms + 1_000)
    await provider.ack_orchestration_item(item.lock_token, replace(first_turn(), messages=(sleep,)))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "first"))
    await provider.suspend_instance("instance-A", "a rest")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "second"))
    await factory.advance(60_000)
    assert await nothing_to_take(provider)
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    assert (await take(provider)).instance == "instance-B"


async def test_a_suspended_instance_says_why(factory: ProviderFactory) -> None:
    """Its state is SUSPENDED with the reason, in queries and in lists; that is news to whoever waits for a change."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    before = await provider.get_instance_info("instance-A")
    assert before is not None
    await provider.suspend_instance("instance-A", "a rest")
    info = await provider.changed("instance-A", before.revision)
    assert (info.status, info.suspend_reason, info.failure) == (Status.SUSPENDED, "a rest", None)
    assert (info.history_events, info.current_execution_id) == (before.history_events, 1)
    assert [each.instance for each in await provider.list_instances(status=Status.SUSPENDED)] == ["instance-A"]
    assert list(await provider.list_instances(status=Status.RUNNING)) == []


async def test_a_suspended_instance_resumes_with_its_messages(factory: ProviderFactory) -> None:
    """Those that waited and those that came since, in order; it is running again, and no reason is left."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "first"))
    await provider.suspend_instance("instance-A", "a rest")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "second"))
    await provider.resume_instance("instance-A")
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert (info.status, info.suspend_reason) == (Status.RUNNING, None)
    item = await take(provider)
    assert item.messages == (raise_event("instance-A", "first"), raise_event("instance-A", "second"))
    with raises(Refused):
        await provider.resume_instance("instance-A")


async def test_suspending_takes_the_lock_away(factory: ProviderFactory) -> None:
    """The turn under way does not happen: it would have run after the operator was told that nothing runs."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    await provider.suspend_instance("instance-A", "a rest")
    with raises(LeaseLost):
        await provider.ack_orchestration_item(item.lock_token, turn())
    with raises(LeaseLost):
        await provider.renew_orchestration_item_lock(item.lock_token, factory.lock_timeout_ms)
    await provider.resume_instance("instance-A")
    again = await take(provider)
    assert again.messages == item.messages
    await provider.ack_orchestration_item(again.lock_token, turn())


async def test_activities_of_a_suspended_instance_go_on(factory: ProviderFactory) -> None:
    """They are handed out and acked as ever; what they returned waits until the instance goes on."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    asked = replace(first_turn(), work_items=(work_item("instance-A", 2),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, asked)
    await provider.suspend_instance("instance-A", "a rest")
    work = await take_work(provider)
    await provider.ack_work_item(work.lock_token, completion("instance-A", 2))
    assert await nothing_to_take(provider)
    await provider.resume_instance("instance-A")
    assert (await take(provider)).messages == (completion("instance-A", 2),)


async def test_only_a_running_instance_can_be_suspended(factory: ProviderFactory) -> None:
    """Nobody, a held one and one that has ended are refused; suspending twice changes nothing, the reason neither."""
    provider = await factory.create_provider()
    with raises(Refused):
        await provider.suspend_instance("nobody", "a rest")
    await create_instance(provider, "instance-A")
    await provider.suspend_instance("instance-A", "a rest")
    first = await provider.get_instance_info("instance-A")
    await provider.suspend_instance("instance-A", "another")
    assert await provider.get_instance_info("instance-A") == first
    await create_instance(provider, "instance-B")
    await end_instance(provider, "instance-B")
    with raises(Refused):
        await provider.suspend_instance("instance-B", "a rest")
    await create_instance(provider, "instance-C")
    await provider.enqueue_for_orchestrator(raise_event("instance-C", "go"))
    await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
    with raises(Refused):
        await provider.suspend_instance("instance-C", "a rest")


async def test_a_suspended_instance_can_be_deleted(factory: ProviderFactory) -> None:
    """By force, for it has not ended; its next life is not suspended."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.suspend_instance("instance-A", "a rest")
    with raises(Refused):
        await provider.delete_instance("instance-A")
    await provider.delete_instance("instance-A", force=True)
    assert await provider.get_instance_info("instance-A") is None
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert (await take(provider)).messages == (start_item("instance-A"),)
