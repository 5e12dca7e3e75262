"""How are several trees deleted that live with several owners? All are asked first, then each deletes its own."""

from collections.abc import Sequence

from engine.errors import Refused
from engine.model.ids import automatic_parent
from engine.model.status import TERMINAL
from engine.port import DeletedCounts
from provider_log.server.asking import Served

_OPERATION = "delete_instances_atomic"


async def delete_checked(served: Served, instances: Sequence[str], *, force: bool) -> DeletedCounts:
    """Delete exactly `instances`, if at the time of asking all of them may be.

    A child that comes to be between the question and the deletion goes with its root; a root that starts anew in
    between is refused by its owner, and those after it stay.

    Raises:
        Refused: As in `engine.port.ProviderAdmin.delete_instances_atomic`.
    """
    roots = [instance for instance in instances if automatic_parent(instance) not in instances]
    for root in roots:
        await _check(served, root, instances, force=force)
    deleted = DeletedCounts()
    for root in roots:
        deleted += await served.delete_instance(root, force)
    return deleted


async def _check(served: Served, root: str, instances: Sequence[str], *, force: bool) -> None:
    if (parent := automatic_parent(root)) is not None:
        raise Refused(_OPERATION, f"expected the root of a tree, but {root} is a child of {parent}")
    tree = await served.get_instance_tree(root)
    if unnamed := [member for member in tree.instances if member not in instances]:
        raise Refused(_OPERATION, f"expected everybody in the tree of {root}, but {', '.join(unnamed)} are not named")
    for member in () if force else tree.instances:
        info = await served.get_instance_info(member)
        if info is not None and info.status not in TERMINAL:
            raise Refused(
                _OPERATION, f"expected an instance that has ended, or force, but {member} is {info.status.value}"
            )
