"""Ours: does a fetch that waits wake for what it waits for, and hold nothing if it is given up?"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from engine.model.tags import TagFilter
from engine.port import OrchestrationItem
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    LOCK_MS,
    REAL_SECONDS_MAX,
    create_instance,
    fire_timer,
    raise_event,
    start_item,
    take,
    take_work,
    work_item,
)

POLL_MS = 3_600_000
"""Longer than any test lets pass."""

Fetched = TypeVar("Fetched")


async def _while_waiting(
    factory: ProviderFactory, fetch: Callable[[], Awaitable[Fetched]], act: Callable[[], Awaitable[None]]
) -> Fetched:
    """What `fetch` returns once `act` was done; `fetch` must have been waiting until then."""
    returned = False

    async def wait() -> Fetched:
        nonlocal returned
        result = await fetch()
        returned = True
        return result

    async def then_act() -> None:
        await factory.advance(0)
        assert not returned, "expected the fetch to wait, but it returned before there was anything"
        await act()

    with anyio.fail_after(REAL_SECONDS_MAX):
        result, _ = await asyncio.gather(wait(), then_act())
    return result


async def test_a_waiting_fetch_wakes_for_a_message(factory: ProviderFactory) -> None:
    """No time has to pass."""
    provider = await factory.create_provider()

    async def start() -> None:
        await provider.enqueue_for_orchestrator(start_item("instance-A"))

    item = await _while_waiting(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, POLL_MS), start)
    assert item is not None
    assert item.messages == (start_item("instance-A"),)


async def test_a_waiting_fetch_wakes_for_a_work_item(factory: ProviderFactory) -> None:
    """No time has to pass."""
    provider = await factory.create_provider()

    async def schedule() -> None:
        await provider.enqueue_for_worker(work_item("instance-A", 2))

    fetched = await _while_waiting(factory, lambda: provider.fetch_work_item(LOCK_MS, POLL_MS), schedule)
    assert fetched is not None
    assert fetched.item == work_item("instance-A", 2)


async def test_a_waiting_fetch_sleeps_through_what_it_does_not_take(factory: ProviderFactory) -> None:
    """An item of another tag ends no wait, and is there for whoever takes it; one of its own does."""
    provider = await factory.create_provider()

    async def schedule() -> None:
        await provider.enqueue_for_worker(work_item("instance-A", 2, "gpu"))
        await factory.advance(1_000)
        await provider.enqueue_for_worker(work_item("instance-A", 3))

    fetched = await _while_waiting(factory, lambda: provider.fetch_work_item(LOCK_MS, POLL_MS), schedule)
    assert fetched is not None
    assert fetched.item == work_item("instance-A", 3)
    assert (await take_work(provider, tags=TagFilter.everything())).item == work_item("instance-A", 2, "gpu")


async def test_a_waiting_fetch_wakes_when_a_timer_is_due(factory: ProviderFactory) -> None:
    """Time alone makes the message visible."""
    provider = await factory.create_provider()
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    await provider.enqueue_for_orchestrator(fire_timer("instance-A", 2, now_ms + 5_000))

    async def pass_time() -> None:
        await factory.advance(5_001)

    item = await _while_waiting(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, POLL_MS), pass_time)
    assert item is not None
    assert item.now_ms >= now_ms + 5_000


async def test_a_waiting_fetch_wakes_when_a_lock_runs_out(factory: ProviderFactory) -> None:
    """Of either queue: time alone gives back what a dead holder had."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await take(provider, factory.lock_timeout_ms)
    await take_work(provider, 2 * factory.lock_timeout_ms)

    async def pass_time() -> None:
        await factory.advance(factory.lock_timeout_ms + 1)

    item = await _while_waiting(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, POLL_MS), pass_time)
    assert item is not None
    assert item.attempt_count == 2
    fetched = await _while_waiting(factory, lambda: provider.fetch_work_item(LOCK_MS, POLL_MS), pass_time)
    assert fetched is not None
    assert fetched.attempt_count == 2


async def test_a_waiting_fetch_wakes_when_an_instance_is_given_back(factory: ProviderFactory) -> None:
    """An abandoned instance goes to whoever waits."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    held = await take(provider)

    async def give_back() -> None:
        await provider.abandon_orchestration_item(held.lock_token)

    item = await _while_waiting(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, POLL_MS), give_back)
    assert item is not None
    assert item.instance == "instance-A"


async def test_one_message_wakes_one_of_many_waiters(factory: ProviderFactory) -> None:
    """The others go on waiting and get what comes next."""
    provider = await factory.create_provider()
    fetched: list[OrchestrationItem] = []

    async def wait(provider: FullProvider) -> None:
        item = await provider.fetch_orchestration_item(LOCK_MS, POLL_MS)
        assert item is not None
        fetched.append(item)

    with anyio.fail_after(REAL_SECONDS_MAX):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait, provider)
            for instance in ("instance-A", "instance-B", "instance-C"):
                await provider.enqueue_for_orchestrator(start_item(instance))
    assert sorted(item.instance for item in fetched) == ["instance-A", "instance-B", "instance-C"]


async def test_a_fetch_that_is_cancelled_holds_nothing(factory: ProviderFactory) -> None:
    """What comes after waiters were cancelled is there for the next fetch, and was not counted as an attempt."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(provider.fetch_orchestration_item, LOCK_MS, POLL_MS)
            group.start_soon(provider.fetch_work_item, LOCK_MS, POLL_MS)
        await factory.advance(0)
        group.cancel_scope.cancel()
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await factory.advance(0)
    assert (await take(provider)).attempt_count == 1
    assert (await take_work(provider)).attempt_count == 1
