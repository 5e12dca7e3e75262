"""Upstream's cancellation: who may still renew and answer an activity, and what does a turn take back?

The state of an instance takes nothing from an activity: only a turn that names it does. (The names are from a time when
upstream's fetch and renewal told that state.)
"""

from msgspec import structs

from engine.errors import LeaseLost
from engine.model.failure import Category, Failure
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.turn import ActivityRef, ExecutionMetadata, TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    NAMED,
    completion,
    create_instance,
    no_work_to_take,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    started_event,
    take,
    take_work,
    work_item,
)


async def _turn_of_a(provider: FullProvider, result: TurnResult) -> None:
    """One more turn of `instance-A`, which exists and has no other message."""
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    await provider.ack_orchestration_item((await take(provider)).lock_token, result)


def _schedule(*activity_ids: int) -> TurnResult:
    return TurnResult(
        execution_id=1, work_items=tuple(work_item("instance-A", activity_id) for activity_id in activity_ids)
    )


def _cancel(*activity_ids: int) -> TurnResult:
    return TurnResult(
        execution_id=1,
        cancelled_activities=tuple(ActivityRef("instance-A", 1, activity_id) for activity_id in activity_ids),
    )


async def _ended_with_work(provider: FullProvider, ending: ExecutionMetadata) -> None:
    """`instance-A` schedules activity 2 and ends, in the one turn it has."""
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    only = TurnResult(
        execution_id=1,
        history_delta=(started_event(),),
        work_items=(work_item("instance-A", 2),),
        metadata=structs.replace(NAMED, status=ending.status, output=ending.output, failure=ending.failure),
    )
    await provider.ack_orchestration_item((await take(provider)).lock_token, only)
    for execution in await provider.list_executions("instance-A"):
        assert execution.status is ending.status


async def test_fetch_returns_running_state_for_active_orchestration(factory: ProviderFactory) -> None:
    """The activity of an instance that runs is handed out."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(provider, _schedule(2))
    assert (await take_work(provider)).item == work_item("instance-A", 2)


async def test_fetch_returns_terminal_state_when_orchestration_completed(factory: ProviderFactory) -> None:
    """What a turn schedules is handed out, though the instance ended with it."""
    provider = await factory.create_provider()
    await _ended_with_work(provider, ExecutionMetadata(status=Status.COMPLETED, output=NULL))
    assert (await take_work(provider)).item == work_item("instance-A", 2)


async def test_fetch_returns_terminal_state_when_orchestration_failed(factory: ProviderFactory) -> None:
    """Likewise."""
    provider = await factory.create_provider()
    failure = Failure(Category.APPLICATION, "ValueError", "no")
    await _ended_with_work(provider, ExecutionMetadata(status=Status.FAILED, failure=failure))
    assert (await take_work(provider)).item == work_item("instance-A", 2)


async def test_fetch_returns_terminal_state_when_orchestration_continued_as_new(factory: ProviderFactory) -> None:
    """Likewise; it is an activity of the execution that ended."""
    provider = await factory.create_provider()
    await _ended_with_work(provider, ExecutionMetadata(status=Status.CONTINUED_AS_NEW, output=NULL))
    assert (await take_work(provider)).item == work_item("instance-A", 2)


async def test_fetch_returns_missing_state_when_instance_deleted(factory: ProviderFactory) -> None:
    """The activity of an instance that is not there is handed out. (As upstream, with one that never was.)"""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("nobody", 2))
    assert await provider.get_instance_info("nobody") is None
    assert (await take_work(provider)).item == work_item("nobody", 2)


async def test_renew_returns_running_when_orchestration_active(factory: ProviderFactory) -> None:
    """The lease of a running instance's activity is renewed, past its first end."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(provider, _schedule(2))
    fetched = await take_work(provider, factory.lock_timeout_ms)
    await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await no_work_to_take(provider)
    await provider.ack_work_item(fetched.lock_token, completion("instance-A", 2))


async def test_renew_returns_terminal_when_orchestration_completed(factory: ProviderFactory) -> None:
    """An instance that ends takes no lease away: the activity goes on, and its holder is told nothing."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(provider, _schedule(2))
    fetched = await take_work(provider)
    ended = ExecutionMetadata(status=Status.COMPLETED, output=NULL)
    await _turn_of_a(provider, TurnResult(execution_id=1, metadata=ended))
    await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)
    assert not fetched.revoked.is_set()


async def test_renew_returns_missing_when_instance_deleted(factory: ProviderFactory) -> None:
    """A lease needs no instance. (As upstream, with one that never was.)"""
    provider = await factory.create_provider()
    await provider.enqueue_for_worker(work_item("nobody", 2))
    fetched = await take_work(provider)
    await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)
    assert not fetched.revoked.is_set()


async def test_ack_work_item_none_deletes_without_enqueue(factory: ProviderFactory) -> None:
    """Nothing is left in either queue."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await provider.ack_work_item((await take_work(provider)).lock_token, None)
    await factory.advance(60_000)
    assert await no_work_to_take(provider)
    assert await nothing_to_take(provider)


async def test_cancelled_activities_deleted_from_worker_queue(factory: ProviderFactory) -> None:
    """Of three, two are taken back; the third comes alone."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(provider, _schedule(2, 3, 4))
    await _turn_of_a(provider, _cancel(2, 3))
    assert (await take_work(provider)).item == work_item("instance-A", 4)
    assert await no_work_to_take(provider)


async def test_ack_work_item_fails_when_entry_deleted(factory: ProviderFactory) -> None:
    """The second ack under the same token is refused for good and leaves no second completion."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    fetched = await take_work(provider)
    await provider.ack_work_item(fetched.lock_token, completion("instance-A", 2))
    with raises(LeaseLost):
        await provider.ack_work_item(fetched.lock_token, completion("instance-A", 2))
    assert (await take(provider)).messages == (completion("instance-A", 2),)


async def test_renew_fails_when_entry_deleted(factory: ProviderFactory) -> None:
    """To the holder of an activity that was taken back, the renewal is how it learns of it at the latest."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(provider, _schedule(2))
    fetched = await take_work(provider)
    await _turn_of_a(provider, _cancel(2))
    with raises(LeaseLost):
        await provider.renew_work_item_lock(fetched.lock_token, LOCK_MS)


async def test_cancelling_nonexistent_activities_is_idempotent(factory: ProviderFactory) -> None:
    """An activity that was acked, and one that never was, are taken back without a word."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await provider.ack_work_item((await take_work(provider)).lock_token, None)
    await _turn_of_a(provider, _cancel(2, 77))
    await _turn_of_a(provider, _cancel(2, 77))
    assert await nothing_to_take(provider)


async def test_batch_cancellation_deletes_multiple_activities(factory: ProviderFactory) -> None:
    """Five at once, and nothing is left."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _turn_of_a(provider, _schedule(2, 3, 4, 5, 6))
    assert (await provider.get_queue_depths()).worker_queue == 5
    await _turn_of_a(provider, _cancel(2, 3, 4, 5, 6))
    assert await no_work_to_take(provider)
    assert (await provider.get_queue_depths()).worker_queue == 0


async def test_same_activity_in_worker_items_and_cancelled_is_noop(factory: ProviderFactory) -> None:
    """The taking back comes after the handing out, whatever the order in the code; the other one is there."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    both = structs.replace(_schedule(2, 3), cancelled_activities=_cancel(2).cancelled_activities)
    await _turn_of_a(provider, both)
    assert (await take_work(provider)).item == work_item("instance-A", 3)
    assert await no_work_to_take(provider)


async def test_orphan_activity_after_instance_force_deletion(factory: ProviderFactory) -> None:
    """An activity that waits when its instance is deleted goes with it. (Upstream leaves open whether.)"""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await create_instance(provider, "instance-B")
    await _turn_of_a(provider, _schedule(2))
    await provider.delete_instance("instance-A", force=True)
    assert await no_work_to_take(provider)
    await provider.enqueue_for_worker(work_item("instance-B", 2))
    fetched = await take_work(provider)
    assert fetched.item.instance == "instance-B"
    await provider.ack_work_item(fetched.lock_token, completion("instance-B", 2))
    assert (await take(provider)).instance == "instance-B"
