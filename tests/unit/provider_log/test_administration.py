"""Is what was deleted and pruned still gone after a restart, and does the log say the same as the store?"""

import asyncio
import shutil
from pathlib import Path

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from engine.errors import Refused
from engine.model.ids import ParentLink
from engine.model.removal import DeletedCounts, PruneOptions
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.testing.conformance.given import (
    create_instance,
    create_instance_with_parent,
    end_instance,
    fire_timer,
    queue_message,
    raise_event,
    start_item,
    started_event,
    take,
    work_item,
)
from provider_log import LogProvider
from provider_log.audit.findings import Kind
from provider_log.audit.replay import replay
from provider_log.audit.verify import verify

pytestmark = pytest.mark.anyio
PARTITIONS = 4


@orchestration
async def asks(ctx: OrchestrationContext, other: str) -> str:
    return await ctx.schedule_sub_orchestration(answers, instance=other)


@orchestration
async def answers(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("answer", str)


NO_PROGRAM_WROTE_IT = {Kind.WORK, Kind.TIMER, Kind.EXECUTION}
"""What an audit finds in turns that schedule and end without an event."""


async def _made(provider: LogProvider) -> None:
    """Roots with a child each, with everything queued for both, deleted; one started again; one that is pruned."""
    for root in ("a", "b", "c", "d"):
        await create_instance(provider, root)
        child = f"{root}::sub::2"
        await create_instance_with_parent(provider, child, ParentLink(root, 7, 1, 2))
        now_ms = (await create_instance(provider, f"{root}-other")).now_ms
        for instance in (root, child):
            await provider.enqueue_for_orchestrator(raise_event(instance, "go"))
        for item in await provider.fetch_orchestration_items(2, 60_000, 0):
            scheduled = TurnResult(
                execution_id=1,
                work_items=(work_item(item.instance, 2),),
                messages=(fire_timer(item.instance, 3, now_ms + 3_600_000), queue_message(item.instance, "own")),
            )
            await provider.ack_orchestration_item(item.lock_token, scheduled)
            await provider.enqueue_for_orchestrator(raise_event(item.instance, "from a topic"))
        await provider.fetch_work_item(60_000, 0)
        await provider.fetch_orchestration_items(1, 60_000, 0)
        deleted = await provider.delete_instance(root, force=True)
        assert deleted == DeletedCounts(instances=2, executions=2, events=2, queue_messages=8)
    await create_instance(provider, "b")
    await end_instance(provider, "b-other", Status.CONTINUED_AS_NEW)
    await provider.enqueue_for_orchestrator(raise_event("b-other", "go on"))
    begun = TurnResult(execution_id=2, history_delta=(started_event(),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, begun)
    assert (await provider.prune_executions("b-other", PruneOptions())).executions == 1


async def _seen(provider: LogProvider) -> object:
    """All that can be asked of it, and the rows of every partition but those of its head."""
    infos = await provider.list_instances()
    return (
        infos,
        [list(await provider.list_executions(info.instance)) for info in infos],
        await provider.get_queue_depths(),
        [(await provider.digest(number)).rows for number in range(PARTITIONS)],
    )


@pytest.mark.parametrize("keeps_stores", [True, False])
async def test_a_restart_comes_to_the_same_state(tmp_path: Path, *, keeps_stores: bool) -> None:
    async with LogProvider.embedded(tmp_path, partitions=PARTITIONS) as provider:
        await _made(provider)
        before = await _seen(provider)
    found = {finding.kind for finding in (await verify(tmp_path)).findings}
    assert found <= NO_PROGRAM_WROTE_IT, "else the rows are what the log makes of them, and the outcomes too"
    if not keeps_stores:
        shutil.rmtree(tmp_path / "store")
    async with LogProvider.embedded(tmp_path) as provider:
        assert await _seen(provider) == before
        assert await provider.fetch_orchestration_item(60_000, 0) is None
        assert await provider.fetch_work_item(60_000, 0) is None
        await provider.enqueue_for_orchestrator(start_item("a"))
        assert (await take(provider)).messages == (start_item("a"),)


async def test_the_history_of_a_deleted_child_can_be_replayed_up_to_its_deletion(tmp_path: Path) -> None:
    async with LogProvider.embedded(tmp_path, partitions=PARTITIONS) as provider:
        await _made(provider)
    assert [(await replay(tmp_path, instance)).deleted for instance in ("a", "a::sub::2", "b", "a-other")] == [
        True,
        True,
        False,
        False,
    ]


async def test_roots_of_several_partitions_are_all_checked_before_the_first_goes(tmp_path: Path) -> None:
    async with LogProvider.embedded(tmp_path, partitions=PARTITIONS) as provider:
        roots = [f"root-{number}" for number in range(8)]
        for root in roots:
            await create_instance(provider, root)
        for root in roots[:-1]:
            await end_instance(provider, root)
        with pytest.raises(Refused, match="but root-7 is running"):
            await provider.delete_instances_atomic(roots)
        assert len(await provider.list_instances()) == 8
        assert (await provider.delete_instances_atomic(roots, force=True)).instances == 8


async def test_of_two_who_delete_the_same_one_is_refused(tmp_path: Path) -> None:
    async with LogProvider.embedded(tmp_path) as provider:
        await create_instance(provider, "a")
        first, second = await asyncio.gather(
            *(provider.delete_instance("a", force=True) for _ in range(2)), return_exceptions=True
        )
        assert first == DeletedCounts(instances=1, executions=1, events=1)
        assert isinstance(second, Refused)


async def test_the_answer_to_a_deleted_life_is_not_taken_for_one_to_the_next(tmp_path: Path) -> None:
    """The same call of both lives, to instances of other partitions: the first one's answer comes in the second."""
    async with (
        LogProvider.embedded(tmp_path, partitions=PARTITIONS) as provider,
        Engine(provider, Registry(orchestrations=[asks, answers])),
    ):
        client = Client(provider)
        for other in ("first", "second"):
            await client.start(asks, other, instance="parent")
            await client.changed(other)
            if other == "first":
                await client.delete("parent", force=True)
        await client.raise_event("first", "answer", "of the first")
        assert await client.wait("first") == "of the first"
        await client.raise_event("second", "answer", "of the second")
        assert await client.wait("parent", 30) == "of the second"
        assert (await client.tree("parent")).instances == ("parent",)
