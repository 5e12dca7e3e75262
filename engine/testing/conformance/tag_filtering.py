"""Upstream's tag_filtering: does a worker get the work items whose tag it serves, and no others?

Upstream's filters `DefaultOnly`, `Tags`, `DefaultAnd`, `None` and `Any` are `default_only`, `only`, `default_and`,
`nothing` and `everything` of `TagFilter`.
"""

from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    create_instance,
    no_work_to_take,
    raise_event,
    take,
    take_work,
    work_item,
)

GPU = TagFilter.only(["gpu"])
EVERYTHING = TagFilter.everything()


async def _enqueue(provider: FullProvider, *tags: str | None) -> None:
    """A work item for each of `tags`, in order; the activity ids count from 1."""
    for activity_id, tag in enumerate(tags, start=1):
        await provider.enqueue_for_worker(work_item("instance-A", activity_id, tag))


async def _all(provider: FullProvider, tags: TagFilter) -> list[tuple[int, str | None]]:
    """Activity id and tag of everything that `tags` takes now, in the order in which it comes."""
    taken: list[tuple[int, str | None]] = []
    while (fetched := await provider.fetch_work_item(30_000, 0, tags)) is not None:
        taken.append((fetched.item.activity_id, fetched.item.tag))
    return taken


async def test_default_only_fetches_untagged(factory: ProviderFactory) -> None:
    """Also where nobody says what is taken; an older item with a tag is not in the way."""
    provider = await factory.create_provider()
    await _enqueue(provider, "gpu", None, "gpu", None)
    fetched = await provider.fetch_work_item(30_000, 0)
    assert fetched is not None
    assert fetched.item == work_item("instance-A", 2)
    assert await _all(provider, DEFAULT_ONLY) == [(4, None)]


async def test_tags_fetches_only_matching(factory: ProviderFactory) -> None:
    """Neither items without a tag nor those of another; a tag that only begins alike is another."""
    provider = await factory.create_provider()
    await _enqueue(provider, None, "cpu", "gpu", "gpu-2", "gpu")
    assert await _all(provider, GPU) == [(3, "gpu"), (5, "gpu")]


async def test_default_and_fetches_untagged_and_matching(factory: ProviderFactory) -> None:
    """Both, oldest first, whichever it is."""
    provider = await factory.create_provider()
    await _enqueue(provider, "gpu", None, "cpu", None, "gpu")
    assert await _all(provider, TagFilter.default_and(["gpu"])) == [(1, "gpu"), (2, None), (4, None), (5, "gpu")]


async def test_none_filter_returns_nothing(factory: ProviderFactory) -> None:
    """And takes nothing from those who take something."""
    provider = await factory.create_provider()
    await _enqueue(provider, None, "gpu")
    assert await no_work_to_take(provider, TagFilter.nothing())
    fetched = await take_work(provider, tags=EVERYTHING)
    assert (fetched.item.activity_id, fetched.attempt_count) == (1, 1)


async def test_multi_tag_filter(factory: ProviderFactory) -> None:
    """Two of three tags, oldest first across both; of the third and of none nothing."""
    provider = await factory.create_provider()
    await _enqueue(provider, "video", "gpu", None, "cpu", "video")
    assert await _all(provider, TagFilter.only(["gpu", "video"])) == [(1, "video"), (2, "gpu"), (5, "video")]


async def test_tag_round_trip_preservation(factory: ProviderFactory) -> None:
    """The item comes as it was enqueued, its tag with it, whatever is in the tag."""
    provider = await factory.create_provider()
    for activity_id, tag in enumerate(("gpu", "größer/als 1, und\t so", "x" * 256), start=1):
        await provider.enqueue_for_worker(work_item("instance-A", activity_id, tag))
        fetched = await take_work(provider, tags=TagFilter.only([tag]))
        assert fetched.item == work_item("instance-A", activity_id, tag)


async def test_any_filter_fetches_everything(factory: ProviderFactory) -> None:
    """Oldest first, as if there were no tags."""
    provider = await factory.create_provider()
    await _enqueue(provider, "gpu", None, "cpu", "gpu", None)
    assert await _all(provider, EVERYTHING) == [(1, "gpu"), (2, None), (3, "cpu"), (4, "gpu"), (5, None)]


async def test_tag_survives_abandon_and_refetch(factory: ProviderFactory) -> None:
    """Given back, put off, or left until its lease ran out: the item is for those who serve its tag, as before."""
    provider = await factory.create_provider()
    await _enqueue(provider, "gpu", None)
    first = await take_work(provider, tags=GPU)
    await provider.abandon_work_item(first.lock_token)
    assert await _all(provider, DEFAULT_ONLY) == [(2, None)]
    second = await take_work(provider, factory.lock_timeout_ms, tags=GPU)
    assert (second.item, second.attempt_count) == (first.item, 2)
    assert second.lock_token != first.lock_token
    await factory.advance(factory.lock_timeout_ms + 1)
    assert await no_work_to_take(provider)
    third = await take_work(provider, tags=GPU)
    await provider.abandon_work_item(third.lock_token, delay_ms=5_000)
    assert await no_work_to_take(provider, GPU)
    await factory.advance(5_001)
    assert await no_work_to_take(provider)
    assert (await take_work(provider, tags=GPU)).attempt_count == 4


async def test_multi_runtime_tag_isolation(factory: ProviderFactory) -> None:
    """Workers with filters that exclude, overlap and contain each other share what there is: each item comes once."""
    provider = await factory.create_provider()
    await _enqueue(provider, None, "gpu", "cpu", "gpu", "disk")
    assert await _all(provider, TagFilter.only(["cpu"])) == [(3, "cpu")]
    first = await take_work(provider, tags=TagFilter.only(["gpu", "cpu"]))
    assert first.item.activity_id == 2
    assert await _all(provider, TagFilter.default_and(["gpu", "cpu"])) == [(1, None), (4, "gpu")]
    assert await _all(provider, EVERYTHING) == [(5, "disk")]


async def test_tag_preserved_through_ack_orchestration_item(factory: ProviderFactory) -> None:
    """What a turn schedules has the tag that the turn gave it."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    scheduled = (work_item("instance-A", 2, "gpu"), work_item("instance-A", 3), work_item("instance-A", 4, "cpu"))
    await provider.ack_orchestration_item(
        (await take(provider)).lock_token, TurnResult(execution_id=1, work_items=scheduled)
    )
    assert (await take_work(provider)).item == scheduled[1]
    assert await no_work_to_take(provider)
    assert (await take_work(provider, tags=GPU)).item == scheduled[0]
    assert await _all(provider, EVERYTHING) == [(4, "cpu")]
