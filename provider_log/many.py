"""How are many instances deleted or pruned? One by one, many side by side, over whatever the provider can list."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from engine.errors import Refused
from engine.model.ids import automatic_parent
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.views import InstanceInfo
from engine.port import InstanceView, ProviderAdmin

_SIDE_BY_SIDE_MAX = 100  # what is asked for at once shares its commits
_PAGE = 1_000


class Administered(InstanceView, ProviderAdmin, Protocol):
    """What it takes to find instances and to remove them."""


async def delete_many(admin: Administered, which: InstanceFilter) -> DeletedCounts:
    """See `engine.port.ProviderAdmin.delete_instance_bulk`."""
    deleted, left = DeletedCounts(), which.limit
    async with aclosing(_pages(admin, which)) as pages:
        async for page in pages:
            roots = [instance for instance in page if automatic_parent(instance) is None]
            while roots and left:
                now = min(left, _SIDE_BY_SIDE_MAX)
                counts = await asyncio.gather(*(_deleted(admin, root) for root in roots[:now]))
                roots = roots[now:]
                left -= sum(each.instances > 0 for each in counts)
                deleted = sum(counts, deleted)
            if not left:
                break
    return deleted


async def _deleted(admin: Administered, root: str) -> DeletedCounts:
    try:
        return await admin.delete_instance(root)
    except Refused:
        return DeletedCounts()  # somebody of the tree runs, or it is gone since it was seen


async def prune_many(admin: Administered, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
    """See `engine.port.ProviderAdmin.prune_executions_bulk`."""
    pruned = PrunedCounts()
    async with aclosing(_pages(admin, which)) as pages:
        async for page in pages:
            instances = page
            while instances and pruned.instances < which.limit:
                now = min(which.limit - pruned.instances, _SIDE_BY_SIDE_MAX)
                counts = await asyncio.gather(*(_pruned(admin, instance, options) for instance in instances[:now]))
                instances = instances[now:]
                pruned = sum(counts, pruned)
            if pruned.instances == which.limit:
                break
    return pruned


async def _pruned(admin: Administered, instance: str, options: PruneOptions) -> PrunedCounts:
    try:
        return await admin.prune_executions(instance, options)
    except Refused:
        return PrunedCounts()  # it is gone since it was seen


async def _pages(admin: Administered, which: InstanceFilter) -> AsyncGenerator[Sequence[str]]:
    """Ids of all who fit, ascending, however many that are."""
    if which.instances is not None:
        named = [await admin.get_instance_info(instance) for instance in sorted(set(which.instances))]
        yield await _fitting(admin, which, [info for info in named if info is not None])
        return
    after: str | None = None
    while page := await admin.list_instances(limit=_PAGE, after=after):
        after = page[-1].instance
        yield await _fitting(admin, which, page)


async def _fitting(admin: Administered, which: InstanceFilter, page: Sequence[InstanceInfo]) -> list[str]:
    if which.completed_before_ms is None:
        return [info.instance for info in page]
    fitting: list[str] = []
    for info in page:
        executions = await admin.list_executions(info.instance)
        if executions and which.takes(executions[-1]):
            fitting.append(info.instance)
    return fitting
