"""Is a turn committed whole or not at all?"""

import asyncio

from engine.errors import LeaseLost, Refused
from engine.model.turn import TurnResult
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    NAMED,
    UNKNOWN_TOKEN,
    create_instance,
    fire_timer,
    ids,
    no_work_to_take,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    started_event,
    take,
    take_work,
    text_event,
    turn,
    work_item,
)


async def test_atomicity_failure_rollback(factory: ProviderFactory) -> None:
    """A turn with one event id that exists leaves nothing behind: no event, work or message, and the lock holds."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    bad = TurnResult(
        execution_id=1,
        history_delta=(text_event(2, "new"), text_event(1, "exists already")),
        work_items=(work_item("instance-A", 2),),
        messages=(start_item("instance-B"),),
    )
    with raises(Refused):
        await provider.ack_orchestration_item(item.lock_token, bad)
    assert list(await provider.read("instance-A")) == [started_event()]
    assert await no_work_to_take(provider)
    assert await nothing_to_take(provider), "expected instance-A locked and instance-B not started"
    await provider.ack_orchestration_item(item.lock_token, turn(text_event(2, "new")))
    assert ids(await provider.read("instance-A")) == [1, 2]


async def test_multi_operation_atomic_ack(factory: ProviderFactory) -> None:
    """One ack with events, activities, a timer that is due and an event message makes all of them true."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    everything = TurnResult(
        execution_id=1,
        history_delta=(started_event(), *(text_event(event_id, "step") for event_id in (2, 3, 4, 5))),
        work_items=tuple(work_item("instance-A", activity_id) for activity_id in (2, 3, 4)),
        messages=(fire_timer("instance-A", 5, item.now_ms - 1), raise_event("instance-A", "go")),
        metadata=NAMED,
    )
    await provider.ack_orchestration_item(item.lock_token, everything)

    assert list(await provider.read("instance-A")) == list(everything.history_delta)
    handed_out = [(await take_work(provider)).item for _ in range(3)]
    assert handed_out == list(everything.work_items)
    assert await no_work_to_take(provider)
    assert (await take(provider)).messages == everything.messages


async def test_lock_released_only_on_successful_ack(factory: ProviderFactory) -> None:
    """An ack that is refused leaves the lock to whoever holds it."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider, factory.lock_timeout_ms)
    assert await nothing_to_take(provider)
    with raises(LeaseLost):
        await provider.ack_orchestration_item(UNKNOWN_TOKEN, turn())
    assert await nothing_to_take(provider)
    await factory.advance(factory.lock_timeout_ms + 1)
    again = await take(provider)
    assert (again.instance, again.messages) == ("instance-A", item.messages)
    await provider.ack_orchestration_item(again.lock_token, turn(started_event()))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    assert await provider.fetch_orchestration_item(LOCK_MS, 0) is not None, "expected the good ack to release the lock"


async def test_concurrent_ack_prevention(factory: ProviderFactory) -> None:
    """Of two acks with one token exactly one happens, though nothing but the token tells them apart."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    token = (await take(provider)).lock_token

    async def ack(event_id: int) -> bool:
        try:
            await provider.ack_orchestration_item(token, turn(text_event(event_id, "won")))
        except LeaseLost:
            return False
        return True

    won = await asyncio.gather(ack(2), ack(3))
    assert sorted(won) == [False, True]
    assert ids(await provider.read("instance-A")) == [1, 2 if won[0] else 3]
