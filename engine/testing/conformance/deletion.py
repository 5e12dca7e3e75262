"""Does a deletion take a whole tree, nothing but it, and only when it may?"""

from engine.errors import LeaseLost, Refused
from engine.model.ids import ParentLink
from engine.model.messages import RaiseEvent
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.views import InstanceTree
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    FAILURE,
    INCARNATION,
    LOCK_MS,
    NAMED,
    completion,
    create_instance,
    create_instance_with_parent,
    end_instance,
    fire_timer,
    first_turn,
    no_work_to_take,
    nothing_to_take,
    queue_message,
    raise_event,
    raises,
    start_item,
    started_event,
    take,
    take_work,
    text_event,
    turn,
    work_item,
)

ROOT, CHILD, GRANDCHILD, OTHER_CHILD = "root", "root::sub::2", "root::sub::2::sub::2", "root::sub::3"


async def _child(provider: FullProvider, instance: str) -> None:
    """A child by its id, ended."""
    parent, _, event_id = instance.rpartition("::sub::")
    await create_instance_with_parent(provider, instance, ParentLink(parent, INCARNATION, 1, int(event_id)))
    await end_instance(provider, instance)


async def _family(provider: FullProvider) -> None:
    """A root with two children and a grandchild, all ended; and somebody whose id only begins as the root's does."""
    for instance in (ROOT, "root2"):
        await create_instance(provider, instance)
        await end_instance(provider, instance)
    for instance in (CHILD, GRANDCHILD, OTHER_CHILD):
        await _child(provider, instance)


async def _there(provider: FullProvider) -> list[str]:
    return [info.instance for info in await provider.list_instances()]


async def test_delete_terminal_instances(factory: ProviderFactory) -> None:
    """Who completed, failed or was cancelled can be deleted, with its history, and is gone then."""
    provider = await factory.create_provider()
    for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED):
        await create_instance(provider, "instance-A")
        await end_instance(provider, "instance-A", status)
        deleted = await provider.delete_instance("instance-A")
        assert (deleted.instances, deleted.executions, deleted.events) == (1, 1, 1)
        assert await provider.get_instance_info("instance-A") is None
        assert list(await provider.read("instance-A")) == []
        assert list(await provider.read_with_execution("instance-A", 1)) == []
        assert list(await provider.list_executions("instance-A")) == []


async def test_delete_running_rejected_force_succeeds(factory: ProviderFactory) -> None:
    """Who runs or is held is deleted by force alone; refused, it is as it was."""
    provider = await factory.create_provider()
    for is_held in (False, True):
        await create_instance(provider, "instance-A")
        if is_held:
            await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
            await provider.hold_orchestration_item((await take(provider)).lock_token, FAILURE)
        before = await provider.get_instance_info("instance-A")
        with raises(Refused):
            await provider.delete_instance("instance-A")
        assert await provider.get_instance_info("instance-A") == before
        assert list(await provider.read("instance-A")) == [started_event()]
        assert (await provider.delete_instance("instance-A", force=True)).instances == 1
        assert await provider.get_instance_info("instance-A") is None


async def test_delete_nonexistent_instance(factory: ProviderFactory) -> None:
    """Nobody is no instance, by force neither; nor is one whose start only waits."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    for instance in ("nobody", "instance-A"):
        for force in (False, True):
            with raises(Refused):
                await provider.delete_instance(instance, force)
    assert (await take(provider)).messages == (start_item("instance-A"),)


async def test_delete_cleans_queues_and_locks(factory: ProviderFactory) -> None:
    """Messages, timers, work items, the lock and message ids go too; the id is free, and nothing old reaches it."""
    provider = await factory.create_provider()
    go = RaiseEvent(instance="instance-A", name="go", data=NULL, message_id="once")
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    await provider.enqueue_for_orchestrator(go)
    await provider.ack_orchestration_item(
        (await take(provider)).lock_token, TurnResult(execution_id=1, work_items=(work_item("instance-A", 2),))
    )
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "waits"))
    await provider.enqueue_for_orchestrator(queue_message("instance-A", "waits too"), 5_000)
    await provider.enqueue_for_orchestrator(fire_timer("instance-A", 3, now_ms + 5_000))
    await take(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "came during the turn"))
    assert (await provider.delete_instance("instance-A", force=True)).queue_messages == 5
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    assert (item.status, item.messages, item.attempt_count) == (None, (start_item("instance-A"),), 1)
    named = ExecutionMetadata(orchestration_name="Other", orchestration_version="2", incarnation=8)
    await provider.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=(text_event(1, "new"),), metadata=named)
    )
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert (info.orchestration_name, info.orchestration_version, info.incarnation) == ("Other", "2", 8)
    assert list(await provider.read("instance-A")) == [text_event(1, "new")]
    await factory.advance(60_000)
    assert await nothing_to_take(provider)
    assert await no_work_to_take(provider)
    depths = await provider.get_queue_depths()
    assert (depths.orchestrator_queue, depths.worker_queue, depths.timer_queue) == (0, 0, 0)
    await provider.enqueue_for_orchestrator(go)
    assert (await take(provider)).messages == (go,)


async def test_cascade_delete_hierarchy(factory: ProviderFactory) -> None:
    """Three generations go with their root, which alone can be deleted, and what waits for one not yet there."""
    provider = await factory.create_provider()
    await _family(provider)
    for child in (CHILD, GRANDCHILD, OTHER_CHILD):
        for force in (False, True):
            with raises(Refused):
                await provider.delete_instance(child, force)
    assert len(await _there(provider)) == 5
    await provider.enqueue_for_orchestrator(start_item("root::sub::4"))
    deleted = await provider.delete_instance(ROOT)
    assert (deleted.instances, deleted.executions, deleted.events, deleted.queue_messages) == (4, 4, 4, 1)
    assert await _there(provider) == ["root2"]
    assert await nothing_to_take(provider)


async def test_force_delete_prevents_ack_recreation(factory: ProviderFactory) -> None:
    """A turn that is under way cannot be committed afterwards, a first one neither, and brings nobody back."""
    provider = await factory.create_provider()
    await create_instance(provider, ROOT)
    await provider.enqueue_for_orchestrator(raise_event(ROOT, "go"))
    of_root = await take(provider)
    await provider.enqueue_for_orchestrator(start_item(CHILD))
    of_child = await take(provider)
    await provider.delete_instance(ROOT, force=True)
    with raises(LeaseLost):
        await provider.ack_orchestration_item(of_root.lock_token, turn(text_event(2, "late")))
    with raises(LeaseLost):
        await provider.ack_orchestration_item(of_child.lock_token, first_turn())
    with raises(LeaseLost):
        await provider.hold_orchestration_item(of_root.lock_token, FAILURE)
    with raises(LeaseLost):
        await provider.renew_orchestration_item_lock(of_root.lock_token, LOCK_MS)
    assert await _there(provider) == []


async def test_list_children(factory: ProviderFactory) -> None:
    """Its own children, not theirs; a leaf and nobody have none."""
    provider = await factory.create_provider()
    await _family(provider)
    assert list(await provider.list_children(ROOT)) == [CHILD, OTHER_CHILD]
    assert list(await provider.list_children(CHILD)) == [GRANDCHILD]
    assert list(await provider.list_children(GRANDCHILD)) == []
    assert list(await provider.list_children("nobody")) == []


async def test_delete_get_parent_id(factory: ProviderFactory) -> None:
    """None for a root, the parent for a child, an error for nobody."""
    provider = await factory.create_provider()
    await _family(provider)
    assert await provider.get_parent_id(ROOT) is None
    assert await provider.get_parent_id(CHILD) == ROOT
    assert await provider.get_parent_id(GRANDCHILD) == CHILD
    with raises(Refused):
        await provider.get_parent_id("nobody")


async def test_delete_get_instance_tree(factory: ProviderFactory) -> None:
    """All four from the root, a leaf alone from the leaf, an error for nobody."""
    provider = await factory.create_provider()
    await _family(provider)
    assert await provider.get_instance_tree(ROOT) == InstanceTree(ROOT, (ROOT, CHILD, GRANDCHILD, OTHER_CHILD))
    assert await provider.get_instance_tree(OTHER_CHILD) == InstanceTree(OTHER_CHILD, (OTHER_CHILD,))
    with raises(Refused):
        await provider.get_instance_tree("nobody")


async def test_delete_instances_atomic(factory: ProviderFactory) -> None:
    """Three are deleted together; with one who is not there, nobody is."""
    provider = await factory.create_provider()
    named = ["instance-A", "instance-B", "instance-C"]
    for instance in (*named, "instance-D"):
        await create_instance(provider, instance)
        await end_instance(provider, instance)
    with raises(Refused):
        await provider.delete_instances_atomic([*named, "nobody"])
    assert await _there(provider) == [*named, "instance-D"]
    deleted = await provider.delete_instances_atomic(named)
    assert (deleted.instances, deleted.executions) == (3, 3)
    assert await _there(provider) == ["instance-D"]


async def test_delete_instances_atomic_force(factory: ProviderFactory) -> None:
    """One of two runs: both stay, unless by force."""
    provider = await factory.create_provider()
    named = ["instance-A", "instance-B"]
    for instance in named:
        await create_instance(provider, instance)
    await end_instance(provider, "instance-A")
    with raises(Refused):
        await provider.delete_instances_atomic(named)
    assert await _there(provider) == named
    assert list(await provider.read("instance-A")) == [started_event()]
    assert (await provider.delete_instances_atomic(named, force=True)).instances == 2
    assert await _there(provider) == []


async def test_delete_instances_atomic_orphan_detection(factory: ProviderFactory) -> None:
    """A root without its child is refused, a child without its root too; both together go."""
    provider = await factory.create_provider()
    for instance in (ROOT, "other"):
        await create_instance(provider, instance)
        await end_instance(provider, instance)
    await _child(provider, CHILD)
    for named in (["other", ROOT], ["other", CHILD]):
        with raises(Refused):
            await provider.delete_instances_atomic(named, force=True)
        assert await _there(provider) == ["other", ROOT, CHILD]
    assert (await provider.delete_instances_atomic([CHILD, ROOT, "other"])).instances == 3
    assert await _there(provider) == []


async def test_stale_activity_after_delete_recreate(factory: ProviderFactory) -> None:
    """An activity of a life that was deleted is told, and cannot answer in the next one."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    scheduling = TurnResult(
        execution_id=1, history_delta=(started_event(),), metadata=NAMED, work_items=(work_item("instance-A", 2),)
    )
    await provider.ack_orchestration_item((await take(provider)).lock_token, scheduling)
    stale = await take_work(provider)
    await provider.delete_instance("instance-A", force=True)
    await factory.advance(0)
    assert stale.revoked.is_set()
    await create_instance(provider, "instance-A")
    with raises(LeaseLost):
        await provider.renew_work_item_lock(stale.lock_token, LOCK_MS)
    with raises(LeaseLost):
        await provider.ack_work_item(stale.lock_token, completion("instance-A", 2))
    assert await nothing_to_take(provider)
    assert await no_work_to_take(provider)
