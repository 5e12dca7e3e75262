"""Ours: does a turn take back just what it names, and tell whoever has it?"""

from engine.errors import LeaseLost
from engine.model.turn import ActivityRef, TimerRef, TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    completion,
    create_instance,
    fire_timer,
    nothing_to_take,
    raise_event,
    raises,
    take,
    take_work,
    turn,
    work_item,
)


async def _turn_of_a(provider: FullProvider, result: TurnResult) -> None:
    """One more turn of `instance-A`, which exists and has no other message."""
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    await provider.ack_orchestration_item((await take(provider)).lock_token, result)


def _cancel(*activity_ids: int) -> TurnResult:
    return TurnResult(
        execution_id=1,
        cancelled_activities=tuple(ActivityRef("instance-A", 1, activity_id) for activity_id in activity_ids),
    )


async def test_a_running_activity_is_told_that_it_was_cancelled(factory: ProviderFactory) -> None:
    """`revoked` is set, and neither renewal nor result is taken; no other activity is told."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(
        provider, TurnResult(execution_id=1, work_items=(work_item("instance-A", 2), work_item("instance-A", 3)))
    )
    cancelled, kept = await take_work(provider), await take_work(provider)
    await _turn_of_a(provider, _cancel(2))
    await factory.advance(0)
    assert cancelled.revoked.is_set()
    assert not kept.revoked.is_set()
    with raises(LeaseLost):
        await provider.renew_work_item_lock(cancelled.lock_token, LOCK_MS)
    with raises(LeaseLost):
        await provider.ack_work_item(cancelled.lock_token, completion("instance-A", 2))
    await provider.ack_work_item(kept.lock_token, completion("instance-A", 3))
    assert (await take(provider)).messages == (completion("instance-A", 3),)


async def test_an_activity_of_another_execution_is_not_cancelled(factory: ProviderFactory) -> None:
    """The same number in the second execution is another activity."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    other = TurnResult(execution_id=2, cancelled_activities=(ActivityRef("instance-A", 2, 2),))
    await _turn_of_a(provider, other)
    assert (await take_work(provider)).item == work_item("instance-A", 2)


async def test_a_cancelled_timer_does_not_fire(factory: ProviderFactory) -> None:
    """Of two timers one is taken back; only the other one's message comes."""
    provider = await factory.create_provider()
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    timers = (fire_timer("instance-A", 2, now_ms + 5_000), fire_timer("instance-A", 3, now_ms + 5_000))
    await _turn_of_a(provider, TurnResult(execution_id=1, messages=timers))
    await _turn_of_a(provider, TurnResult(execution_id=1, cancelled_timers=(TimerRef(1, 2),)))
    assert (await provider.get_queue_depths()).timer_queue == 1
    await factory.advance(5_001)
    assert (await take(provider)).messages == (timers[1],)


async def test_a_timer_that_fired_cannot_be_cancelled(factory: ProviderFactory) -> None:
    """Its message came with the batch, or comes: taking it back is too late, and fine."""
    provider = await factory.create_provider()
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    timer = fire_timer("instance-A", 2, now_ms + 5_000)
    await _turn_of_a(provider, TurnResult(execution_id=1, messages=(timer,)))
    await factory.advance(5_001)
    item = await take(provider)
    assert item.messages == (timer,)
    await provider.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, cancelled_timers=(TimerRef(1, 2),))
    )
    assert await nothing_to_take(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "still here"))
    await provider.ack_orchestration_item((await take(provider)).lock_token, turn())
