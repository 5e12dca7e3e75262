"""Are trees of several owners all asked before the first is deleted?"""

import pytest

from engine.clock import ManualClock
from engine.errors import Refused
from engine.testing.conformance.given import create_instance, end_instance
from provider_log.cluster.deletion import delete_checked
from tests.unit.provider_log.served import ServedMemory

pytestmark = pytest.mark.anyio


@pytest.fixture
async def served() -> ServedMemory:
    """A root that ended, with a child; and one that runs."""
    served = ServedMemory(ManualClock())
    for instance in ("a", "a::sub::2", "b"):
        await create_instance(served, instance)
    for instance in ("a", "a::sub::2"):
        await end_instance(served, instance)
    return served


@pytest.mark.parametrize(
    ("instances", "why"),
    [
        (["a", "a::sub::2", "b"], "expected an instance that has ended, or force, but b is running"),
        (["a", "b"], "expected everybody in the tree of a, but a::sub::2 are not named"),
        (["a::sub::2", "b"], "expected the root of a tree, but a::sub::2 is a child of a"),
        (["a", "a::sub::2", "c"], "expected an instance 'c', but there is none"),
    ],
)
async def test_one_that_may_not_go_keeps_all(instances: list[str], why: str, served: ServedMemory) -> None:
    with pytest.raises(Refused, match=why):
        await delete_checked(served, instances, force=False)
    assert [info.instance for info in await served.list_instances()] == ["a", "a::sub::2", "b"]


async def test_each_owner_deletes_its_own(served: ServedMemory) -> None:
    assert (await delete_checked(served, ["b", "a::sub::2", "a"], force=True)).instances == 3
    assert await served.list_instances() == []
