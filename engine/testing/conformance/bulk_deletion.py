"""Are those deleted that fit a filter, and nobody who runs?"""

from engine.model.ids import ParentLink
from engine.model.removal import InstanceFilter
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    INCARNATION,
    create_instance,
    create_instance_with_parent,
    end_instance,
    raise_event,
    take,
)


async def _ended(provider: FullProvider, *instances: str) -> None:
    for instance in instances:
        await create_instance(provider, instance)
        await end_instance(provider, instance)


async def _child(provider: FullProvider, instance: str) -> None:
    parent, _, event_id = instance.rpartition("::sub::")
    await create_instance_with_parent(provider, instance, ParentLink(parent, INCARNATION, 1, int(event_id)))


async def _left(provider: FullProvider) -> list[str]:
    return [info.instance for info in await provider.list_instances()]


async def test_delete_instance_bulk_filter_combinations(factory: ProviderFactory) -> None:
    """Those with the given ids; nobody for ids that are not there, or for none; everybody without a filter."""
    provider = await factory.create_provider()
    await _ended(provider, "a", "b", "c", "d", "e")
    assert (await provider.delete_instance_bulk(InstanceFilter(instances=("b", "d", "nobody")))).instances == 2
    assert (await provider.delete_instance_bulk(InstanceFilter(instances=("nobody",)))).instances == 0
    assert (await provider.delete_instance_bulk(InstanceFilter(instances=()))).instances == 0
    assert await _left(provider) == ["a", "c", "e"]
    assert (await provider.delete_instance_bulk(InstanceFilter())).instances == 3
    assert await _left(provider) == []


async def test_delete_instance_bulk_safety_and_limits(factory: ProviderFactory) -> None:
    """Who runs is passed over and takes nobody's place; two of four go, then the other two, then nobody."""
    provider = await factory.create_provider()
    await create_instance(provider, "a")
    await _ended(provider, "b", "c", "d", "e")
    await provider.enqueue_for_orchestrator(raise_event("a", "waits"))
    counts = [(await provider.delete_instance_bulk(InstanceFilter(limit=2))).instances for _ in range(3)]
    assert counts == [2, 2, 0]
    assert await _left(provider) == ["a"]
    assert (await provider.delete_instance_bulk(InstanceFilter(instances=("a",)))).instances == 0
    assert (await take(provider)).messages == (raise_event("a", "waits"),)


async def test_delete_instance_bulk_completed_before_filter(factory: ProviderFactory) -> None:
    """Before the instant at which it ended, nobody; after it, those who ended by then."""
    provider = await factory.create_provider()
    await _ended(provider, "a", "b")
    await factory.advance(1_000)
    await _ended(provider, "c")
    a, b, c = [(await provider.list_executions(instance))[0].completed_at_ms for instance in ("a", "b", "c")]
    assert a is not None
    assert b is not None
    assert c is not None
    assert (await provider.delete_instance_bulk(InstanceFilter(completed_before_ms=min(a, b)))).instances == 0
    assert (await provider.delete_instance_bulk(InstanceFilter(completed_before_ms=c))).instances == 2
    assert await _left(provider) == ["c"]


async def test_delete_instance_bulk_cascades_to_children(factory: ProviderFactory) -> None:
    """Three roots with none, one and three children are seven; a child cannot go alone, nor a root before its child."""
    provider = await factory.create_provider()
    await _ended(provider, "a", "b", "c", "d")
    for child in ("b::sub::2", "c::sub::2", "c::sub::3", "c::sub::2::sub::2"):
        await _child(provider, child)
        await end_instance(provider, child)
    await _child(provider, "d::sub::2")
    assert (await provider.delete_instance_bulk(InstanceFilter(instances=("b::sub::2",)))).instances == 0
    deleted = await provider.delete_instance_bulk(InstanceFilter())
    assert (deleted.instances, deleted.executions, deleted.events) == (7, 7, 7)
    assert await _left(provider) == ["d", "d::sub::2"]
