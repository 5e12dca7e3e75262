"""Are earlier executions forgotten, those that are asked for and no other?"""

from engine.errors import Refused
from engine.model.removal import InstanceFilter, PruneOptions
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    create_instance,
    end_instance,
    raise_event,
    raises,
    started_event,
    take,
    text_event,
)


async def continued(provider: FullProvider, factory: ProviderFactory, instance: str, executions: int) -> None:
    """An instance whose last of so many executions runs; a second passes between two of them."""
    await create_instance(provider, instance)
    for execution_id in range(2, executions + 1):
        await end_instance(provider, instance, Status.CONTINUED_AS_NEW, execution_id=execution_id - 1)
        await factory.advance(1_000)
        await provider.enqueue_for_orchestrator(raise_event(instance, "go on"))
        delta = (started_event(), text_event(2, "more"))
        begun = TurnResult(execution_id=execution_id, history_delta=delta)
        await provider.ack_orchestration_item((await take(provider)).lock_token, begun)


async def kept(provider: FullProvider, instance: str) -> list[int]:
    """Ids of the executions that are still there."""
    return [execution.execution_id for execution in await provider.list_executions(instance)]


async def test_prune_options_combinations(factory: ProviderFactory) -> None:
    """Of four, the last two stay if asked for; those before an instant go; what fits both goes; else all but one."""
    provider = await factory.create_provider()
    for instance in ("instance-A", "instance-B", "instance-C"):
        await continued(provider, factory, instance, 4)
    pruned = await provider.prune_executions("instance-A", PruneOptions(keep_last=2))
    assert (pruned.instances, pruned.executions, pruned.events) == (1, 2, 3)
    assert await kept(provider, "instance-A") == [3, 4]
    assert [list(await provider.read_with_execution("instance-A", number)) for number in (1, 2)] == [[], []]
    assert len(await provider.read_with_execution("instance-A", 3)) == 2
    second = (await provider.list_executions("instance-B"))[1]
    assert second.completed_at_ms is not None
    until_second = PruneOptions(completed_before_ms=second.completed_at_ms)
    assert (await provider.prune_executions("instance-B", until_second)).executions == 1
    assert await kept(provider, "instance-B") == [2, 3, 4]
    both = PruneOptions(keep_last=3, completed_before_ms=second.completed_at_ms + 3_600_000)
    assert (await provider.prune_executions("instance-B", both)).executions == 0
    assert (await provider.prune_executions("instance-C", PruneOptions())).executions == 3
    assert await kept(provider, "instance-C") == [4]


async def test_prune_safety(factory: ProviderFactory) -> None:
    """The current execution stays whatever is asked, and one that runs; nobody is an error; None, 0 and 1 are one."""
    provider = await factory.create_provider()
    await continued(provider, factory, "instance-A", 3)
    await provider.prune_executions("instance-A", PruneOptions(keep_last=0))
    assert await kept(provider, "instance-A") == [3]
    assert list(await provider.read("instance-A")) == [started_event(), text_event(2, "more")]
    with raises(Refused):
        await provider.prune_executions("nobody", PruneOptions())
    for instance, keep_last in (("instance-B", None), ("instance-C", 0), ("instance-D", 1)):
        await continued(provider, factory, instance, 4)
        await end_instance(provider, instance, execution_id=4)
        assert (await provider.prune_executions(instance, PruneOptions(keep_last=keep_last))).executions == 3
        assert await kept(provider, instance) == [4]
        info = await provider.get_instance_info(instance)
        assert info is not None
        assert (info.status, info.current_execution_id) == (Status.COMPLETED, 4)
    await create_instance(provider, "instance-E")
    await provider.enqueue_for_orchestrator(raise_event("instance-E", "go on"))
    begun = TurnResult(execution_id=2, history_delta=(started_event(),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, begun)
    await provider.prune_executions("instance-E", PruneOptions())
    assert await kept(provider, "instance-E") == [1, 2]


async def test_prune_bulk(factory: ProviderFactory) -> None:
    """Only those that are listed; who is not there is passed over; at most as many as are asked for."""
    provider = await factory.create_provider()
    for instance in ("instance-A", "instance-B", "instance-C"):
        await continued(provider, factory, instance, 4)
        await end_instance(provider, instance, execution_id=4)
    listed = InstanceFilter(instances=("instance-A", "instance-B", "nobody"), limit=1)
    for _ in range(2):
        pruned = await provider.prune_executions_bulk(listed, PruneOptions())
        assert (pruned.instances, pruned.executions, pruned.events) == (1, 3, 5)
    assert (await provider.prune_executions_bulk(listed, PruneOptions())).instances == 0
    assert [await kept(provider, f"instance-{name}") for name in "ABC"] == [[4], [4], [1, 2, 3, 4]]
    everybody = await provider.prune_executions_bulk(InstanceFilter(), PruneOptions(keep_last=3))
    assert (everybody.instances, everybody.executions, everybody.events) == (1, 1, 1)


async def test_prune_bulk_includes_running_instances(factory: ProviderFactory) -> None:
    """Two of three executions go, and the third runs on; one that must have ended long ago is left alone."""
    provider = await factory.create_provider()
    await continued(provider, factory, "instance-A", 3)
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    ended = InstanceFilter(completed_before_ms=info.updated_at_ms + 3_600_000)
    assert (await provider.prune_executions_bulk(ended, PruneOptions())).executions == 0
    assert (await provider.prune_executions_bulk(InstanceFilter(), PruneOptions())).executions == 2
    assert await kept(provider, "instance-A") == [3]
    after = await provider.get_instance_info("instance-A")
    assert after is not None
    assert (after.status, after.current_execution_id) == (Status.RUNNING, 3)
