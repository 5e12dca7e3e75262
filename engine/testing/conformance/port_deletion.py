"""Ours: does what belongs to a deleted life stay away from the next one?"""

import asyncio

import anyio

from engine.model.failure import Category, Failure
from engine.model.messages import CompleteSubOrchestration, FailActivity, FailSubOrchestration
from engine.model.payload import NULL
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    INCARNATION,
    REAL_SECONDS_MAX,
    completion,
    create_instance,
    end_instance,
    nothing_to_take,
    queue_message,
    raise_event,
    start_item,
    take,
)

BOOM = Failure(Category.APPLICATION, "ValueError", "boom")


async def test_answers_for_who_is_gone_are_taken_out(factory: ProviderFactory) -> None:
    """Of activities and of children: the next life does not find them. An event waits for it."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.delete_instance("instance-A", force=True)
    for answer in (
        completion("instance-A", 2),
        FailActivity(instance="instance-A", incarnation=INCARNATION, execution_id=1, activity_id=3, failure=BOOM),
        queue_message("instance-A", "lines"),
        CompleteSubOrchestration(
            instance="instance-A", incarnation=INCARNATION, execution_id=1, event_id=4, result=NULL
        ),
        FailSubOrchestration(instance="instance-A", incarnation=INCARNATION, execution_id=1, event_id=5, failure=BOOM),
    ):
        await provider.enqueue_for_orchestrator(answer)
    assert await nothing_to_take(provider)
    assert (await provider.get_queue_depths()).orchestrator_queue == 0
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "kept"))
    assert await nothing_to_take(provider)
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert (await take(provider)).messages == (raise_event("instance-A", "kept"), start_item("instance-A"))


async def test_who_waits_for_the_end_of_a_deleted_instance_waits_for_the_next_one(factory: ProviderFactory) -> None:
    """A deletion is no end."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    ends: list[str] = []

    async def wait() -> None:
        ends.append((await provider.ended("instance-A")).orchestration_name)

    async def delete_and_start_again() -> None:
        await factory.advance(0)
        await provider.delete_instance("instance-A", force=True)
        await factory.advance(0)
        assert ends == []
        await create_instance(provider, "instance-A")
        await end_instance(provider, "instance-A")

    with anyio.fail_after(REAL_SECONDS_MAX):
        await asyncio.gather(wait(), delete_and_start_again())
    assert ends == ["TestOrch"]
