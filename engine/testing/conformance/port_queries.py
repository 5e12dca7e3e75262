"""Ours: do clients and operators see what was committed?

Upstream's suite never calls `append_with_execution`, `get_kv_all_values`, `latest_execution_id`, `read_history` and
`read_history_with_execution_id`. The two that this port has under other names (`read`, `read_with_execution`) and the
third (`InstanceInfo.current_execution_id`) are called here; the other two are not part of it.
"""

import asyncio

import anyio

from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.views import InstanceInfo, QueueDepths
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    INCARNATION,
    REAL_SECONDS_MAX,
    create_instance,
    create_instance_with_parent,
    fire_timer,
    raise_event,
    start_item,
    started_event,
    take,
    take_work,
    text_event,
    turn,
    work_item,
)

BOOM = Failure(Category.APPLICATION, "ValueError", "boom", details=Payload(b"{}"))


async def _commit(provider: FullProvider, instance: str, result: TurnResult) -> None:
    """One more turn of an instance that exists and has no other message."""
    await provider.enqueue_for_orchestrator(raise_event(instance, "go"))
    item = await take(provider)
    assert item.instance == instance
    await provider.ack_orchestration_item(item.lock_token, result)


async def _info(provider: FullProvider, instance: str) -> InstanceInfo:
    info = await provider.get_instance_info(instance)
    assert info is not None, f"expected {instance} to exist, but it does not"
    return info


def _shown(metadata: ExecutionMetadata, execution_id: int = 1) -> TurnResult:
    return TurnResult(execution_id=execution_id, metadata=metadata)


async def test_an_instance_shows_how_it_ended(factory: ProviderFactory) -> None:
    """With its output, or with its failure as it was given."""
    provider = await factory.create_provider()
    for instance in ("instance-A", "instance-B", "instance-C"):
        await create_instance(provider, instance)
        assert (await _info(provider, instance)).status is Status.RUNNING
    await _commit(provider, "instance-A", _shown(ExecutionMetadata(status=Status.COMPLETED, output=Payload(b'"done"'))))
    await _commit(provider, "instance-B", _shown(ExecutionMetadata(status=Status.FAILED, failure=BOOM)))
    await _commit(provider, "instance-C", _shown(ExecutionMetadata(status=Status.CANCELLED, failure=BOOM)))
    a, b, c = [await _info(provider, instance) for instance in ("instance-A", "instance-B", "instance-C")]
    assert (a.status, a.output, a.failure) == (Status.COMPLETED, Payload(b'"done"'), None)
    assert (b.status, b.output, b.failure) == (Status.FAILED, None, BOOM)
    assert (c.status, c.output, c.failure) == (Status.CANCELLED, None, BOOM)
    assert (a.orchestration_name, a.orchestration_version, a.incarnation) == ("TestOrch", "1.0.0", INCARNATION)


async def test_an_instance_that_continues_as_new_is_running(factory: ProviderFactory) -> None:
    """Between two executions and in the next; its executions tell which one ended how."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    carried_on = ExecutionMetadata(status=Status.CONTINUED_AS_NEW, output=Payload(b'"next input"'))
    await _commit(provider, "instance-A", _shown(carried_on))
    between = await _info(provider, "instance-A")
    assert (between.status, between.output) == (Status.RUNNING, None)
    await factory.advance(1_000)
    await _commit(provider, "instance-A", TurnResult(execution_id=2, history_delta=(started_event(),)))
    assert (await _info(provider, "instance-A")).current_execution_id == 2
    first, second = await provider.list_executions("instance-A")
    assert (first.execution_id, first.status, first.output) == (1, Status.CONTINUED_AS_NEW, Payload(b'"next input"'))
    assert (first.event_count, first.instance) == (1, "instance-A")
    assert first.completed_at_ms is not None
    assert second.started_at_ms >= first.completed_at_ms + 1_000 > first.started_at_ms
    assert (second.execution_id, second.status, second.completed_at_ms) == (2, Status.RUNNING, None)
    assert list(await provider.list_executions("nobody")) == []


async def test_metadata_that_say_nothing_change_nothing(factory: ProviderFactory) -> None:
    """A turn without metadata leaves name, version, incarnation, custom status and state as they were."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _commit(provider, "instance-A", _shown(ExecutionMetadata(set_custom_status=True, custom_status="half")))
    before = await _info(provider, "instance-A")
    await _commit(provider, "instance-A", turn(text_event(2, "more")))
    after = await _info(provider, "instance-A")
    assert after.history_events == 2
    same = (
        "orchestration_name", "orchestration_version", "incarnation", "status", "custom_status",
        "custom_status_version", "created_at_ms",
    )  # fmt: skip
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]


async def test_a_parent_is_set_once(factory: ProviderFactory) -> None:
    """A later turn that names another parent does not give the child away."""
    provider = await factory.create_provider()
    link = ParentLink(instance="parent", incarnation=INCARNATION, execution_id=1, event_id=2)
    await create_instance_with_parent(provider, "parent::sub::2", link)
    await _commit(provider, "parent::sub::2", _shown(ExecutionMetadata(parent_instance="somebody else")))
    assert (await _info(provider, "parent::sub::2")).parent_instance == "parent"
    await create_instance(provider, "orphan")
    assert (await _info(provider, "orphan")).parent_instance is None


async def test_who_waits_for_a_change_sees_it(factory: ProviderFactory) -> None:
    """`changed` waits for the instance to be made, then for each commit after the revision one has seen."""
    provider = await factory.create_provider()

    async def start() -> None:
        await factory.advance(0)
        await create_instance(provider, "instance-A")

    with anyio.fail_after(REAL_SECONDS_MAX):
        made, _ = await asyncio.gather(provider.changed("instance-A", 0), start())
    assert made.orchestration_name == "TestOrch"

    async def more() -> None:
        await factory.advance(0)
        await create_instance(provider, "instance-B")
        await _commit(provider, "instance-A", turn(text_event(2, "more")))

    with anyio.fail_after(REAL_SECONDS_MAX):
        later, _ = await asyncio.gather(provider.changed("instance-A", made.revision), more())
        at_once = await provider.changed("instance-A", made.revision)
    assert later.revision > made.revision
    assert (later.history_events, at_once) == (2, later)


async def test_who_waits_for_the_end_is_told_nothing_else(factory: ProviderFactory) -> None:
    """`ended` waits through commits for the last one, and returns at once after it."""
    provider = await factory.create_provider()

    async def go_on() -> None:
        await factory.advance(0)
        await create_instance(provider, "instance-A")
        await _commit(provider, "instance-A", turn(text_event(2, "more")))
        await _commit(provider, "instance-A", _shown(ExecutionMetadata(status=Status.FAILED)))

    with anyio.fail_after(REAL_SECONDS_MAX):
        told, _ = await asyncio.gather(provider.ended("instance-A"), go_on())
        at_once = await provider.ended("instance-A")
    assert (told.status, told.history_events, at_once) == (Status.FAILED, 2, told)


async def test_who_waits_for_the_end_is_told_of_a_hold(factory: ProviderFactory) -> None:
    """A held instance goes no further by itself; resumed, it is waited for again."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")

    async def hold() -> None:
        await factory.advance(0)
        await provider.enqueue_for_orchestrator(raise_event("instance-A", "one"))
        item = await take(provider)
        await provider.hold_orchestration_item(item.lock_token, Failure(Category.NONDETERMINISM, "Moved", "it moved"))

    async def go_on() -> None:
        await factory.advance(0)
        await provider.ack_orchestration_item(
            (await take(provider)).lock_token, _shown(ExecutionMetadata(status=Status.COMPLETED))
        )

    with anyio.fail_after(REAL_SECONDS_MAX):
        told, _ = await asyncio.gather(provider.ended("instance-A"), hold())
        await provider.resume_instance("instance-A")
        later, _ = await asyncio.gather(provider.ended("instance-A"), go_on())
    assert (told.status, later.status) == (Status.HELD, Status.COMPLETED)


async def test_instances_are_listed_by_id_in_pages(factory: ProviderFactory) -> None:
    """Ascending, no more than asked for, going on after the last one seen; only those that fit."""
    provider = await factory.create_provider()
    for instance in ("c", "a", "d", "b"):
        await create_instance(provider, instance)
    await _commit(provider, "b", _shown(ExecutionMetadata(status=Status.COMPLETED, orchestration_name="Other")))
    assert [info.instance for info in await provider.list_instances()] == ["a", "b", "c", "d"]
    assert [info.instance for info in await provider.list_instances(limit=2)] == ["a", "b"]
    assert [info.instance for info in await provider.list_instances(limit=2, after="b")] == ["c", "d"]
    assert [info.instance for info in await provider.list_instances(status=Status.COMPLETED)] == ["b"]
    assert [info.instance for info in await provider.list_instances(status=Status.RUNNING, limit=2)] == ["a", "c"]
    assert [info.instance for info in await provider.list_instances(name="Other")] == ["b"]
    assert list(await provider.list_instances(name="Other", status=Status.RUNNING)) == []


async def test_queue_depths_count_what_is_put_off(factory: ProviderFactory) -> None:
    """What no worker and no engine here serves is given back with a delay again and again: it waits all the same."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "one"))
    await provider.enqueue_for_worker(work_item("instance-A", 2))
    await provider.abandon_orchestration_item((await take(provider)).lock_token, 60_000)
    await provider.abandon_work_item((await take_work(provider)).lock_token, 60_000)
    assert await provider.get_queue_depths() == QueueDepths(orchestrator_queue=1, worker_queue=1, timer_queue=0)


async def test_queue_depths_count_what_nobody_has(factory: ProviderFactory) -> None:
    """Messages, items and timers are counted until they are taken, and again when they were given back."""
    provider = await factory.create_provider()
    assert await provider.get_queue_depths() == QueueDepths(0, 0, 0)
    now_ms = (await create_instance(provider, "instance-A")).now_ms
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "one"))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "two"))
    await provider.enqueue_for_orchestrator(fire_timer("instance-A", 2, now_ms + 5_000))
    await provider.enqueue_for_worker(work_item("instance-A", 3))
    assert await provider.get_queue_depths() == QueueDepths(orchestrator_queue=2, worker_queue=1, timer_queue=1)
    item, fetched = await take(provider), await take_work(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "three"))
    assert await provider.get_queue_depths() == QueueDepths(orchestrator_queue=1, worker_queue=0, timer_queue=1)
    await provider.abandon_orchestration_item(item.lock_token)
    await provider.abandon_work_item(fetched.lock_token)
    await factory.advance(5_001)
    due = await provider.get_queue_depths()
    assert (due.orchestrator_queue + due.timer_queue, due.worker_queue) == (4, 1)
    batch = await take(provider)
    assert len(batch.messages) == 4
    await provider.ack_orchestration_item(batch.lock_token, turn())
    assert (await provider.get_queue_depths()).timer_queue == 0


async def test_a_fetch_tells_the_state_of_the_instance(factory: ProviderFactory) -> None:
    """A message for an instance that has ended is fetched with that state; the lineage did not change meanwhile."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    first = await take(provider)
    ended = TurnResult(
        execution_id=1,
        history_delta=(started_event(),),
        metadata=ExecutionMetadata(orchestration_name="TestOrch", incarnation=INCARNATION, status=Status.COMPLETED),
    )
    await provider.ack_orchestration_item(first.lock_token, ended)
    await factory.advance(1_000)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "too late"))
    late = await take(provider)
    assert (late.status, late.incarnation, late.lineage) == (Status.COMPLETED, INCARNATION, first.lineage)
    assert late.now_ms >= first.now_ms + 1_000


async def test_an_execution_that_never_was_has_no_history(factory: ProviderFactory) -> None:
    """Reading it is no error, and does not make it."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    assert list(await provider.read_with_execution("instance-A", 2)) == []
    assert list(await provider.read("instance-A")) == [started_event()]
    assert [execution.execution_id for execution in await provider.list_executions("instance-A")] == [1]
