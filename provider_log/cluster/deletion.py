"""How are several trees deleted that live with several owners? All are asked first, then each deletes its own."""

from collections.abc import Sequence

from engine.model.ids import roots_of
from engine.model.removal import DeletedCounts
from engine.model.status import Status
from provider_log.partition.removal import check_tree
from provider_log.server.asking import Served

_OPERATION = "delete_instances_atomic"


async def delete_checked(served: Served, instances: Sequence[str], *, force: bool) -> DeletedCounts:
    """Delete exactly `instances`, if at the time of asking all of them may be.

    A child that comes to be between the question and the deletion goes with its root; a root that starts anew in
    between is refused by its owner, and those after it stay.

    Raises:
        Refused: As in `engine.port.ProviderAdmin.delete_instances_atomic`.
    """
    roots = roots_of(instances)
    for root in roots:
        await _check(served, root, instances, force=force)
    deleted = DeletedCounts()
    for root in roots:
        deleted += await served.delete_instance(root, force)
    return deleted


async def _check(served: Served, root: str, instances: Sequence[str], *, force: bool) -> None:
    statuses: dict[str, Status | None] = {}
    for member in (await served.get_instance_tree(root)).instances:
        info = None if force else await served.get_instance_info(member)
        statuses[member] = None if info is None else info.status
    check_tree(_OPERATION, root, statuses, force=force, named=instances)
