"""Upstream's long_polling: does a fetch wait as long as it was told, and no longer?

A provider of this port waits: it wakes a fetch for what comes, so a caller that names a poll time means it. Upstream
has providers that do not, and two tests, `…short_poll…`, that pass on those alone. They are here under their names with
what holds instead: who wants an answer at once says 0, and who says more is not answered before.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio

from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import LOCK_MS, begun

POLL_MS = 500


async def _waited_ms(factory: ProviderFactory, fetch: Callable[[], Awaitable[object]], steps_ms: Sequence[int]) -> int:
    """After how much of the provider's time an empty `fetch` returned; it is looked for after each of the steps."""
    async with begun(fetch) as poll:
        waited_ms = 0
        for step_ms in steps_ms:
            await factory.advance(step_ms)
            waited_ms += step_ms
            if poll.has_returned:
                assert not await poll.result(), "expected nothing to be there, but the fetch returned something"
                return waited_ms
    raise AssertionError(f"expected the fetch to return within {sum(steps_ms)} ms, but it waits")


async def _nothing_at_once(factory: ProviderFactory, fetch: Callable[[], Awaitable[object]]) -> None:
    """The empty `fetch` returns within the real time that the factory allows, while no time of the provider passes."""
    with anyio.fail_after(factory.short_poll_threshold_ms / 1_000):
        assert not await fetch()


async def test_short_poll_returns_immediately(factory: ProviderFactory) -> None:
    """It does if it was told not to wait. Told to wait for longer than the threshold, it is still there after that."""
    provider = await factory.create_provider()
    await _nothing_at_once(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, 0))
    await _nothing_at_once(factory, lambda: provider.fetch_orchestration_items(10, LOCK_MS, 0))
    poll_ms = factory.short_poll_threshold_ms + POLL_MS
    steps_ms = (0, factory.short_poll_threshold_ms, POLL_MS)
    assert await _waited_ms(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, poll_ms), steps_ms) == poll_ms


async def test_long_poll_waits_for_timeout(factory: ProviderFactory) -> None:
    """An empty fetch is there until its poll time is over; so is one of several instances."""
    provider = await factory.create_provider()
    steps_ms = (0, POLL_MS - 1, 1)
    assert await _waited_ms(factory, lambda: provider.fetch_orchestration_item(LOCK_MS, POLL_MS), steps_ms) == POLL_MS
    for items_max in (1, 2):
        waited_ms = await _waited_ms(
            factory, partial(provider.fetch_orchestration_items, items_max, LOCK_MS, POLL_MS), steps_ms
        )
        assert waited_ms == POLL_MS


async def test_fetch_respects_timeout_upper_bound(factory: ProviderFactory) -> None:
    """Told to wait for 300 ms it returns within 500, from either queue."""
    provider = await factory.create_provider()
    for fetch in (provider.fetch_orchestration_item, provider.fetch_work_item):
        assert await _waited_ms(factory, partial(fetch, LOCK_MS, 300), (0, 300, 200)) <= 500


async def test_short_poll_work_item_returns_immediately(factory: ProviderFactory) -> None:
    """As for an instance."""
    provider = await factory.create_provider()
    await _nothing_at_once(factory, lambda: provider.fetch_work_item(LOCK_MS, 0))
    poll_ms = factory.short_poll_threshold_ms + POLL_MS
    steps_ms = (0, factory.short_poll_threshold_ms, POLL_MS)
    assert await _waited_ms(factory, lambda: provider.fetch_work_item(LOCK_MS, poll_ms), steps_ms) == poll_ms


async def test_long_poll_work_item_waits_for_timeout(factory: ProviderFactory) -> None:
    """As for an instance."""
    provider = await factory.create_provider()
    steps_ms = (0, POLL_MS - 1, 1)
    assert await _waited_ms(factory, lambda: provider.fetch_work_item(LOCK_MS, POLL_MS), steps_ms) == POLL_MS
