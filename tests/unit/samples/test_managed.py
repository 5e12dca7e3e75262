"""Do lists, counts, deletion and pruning say and do right of instances that engines run?"""

import asyncio
from typing import Any

import pytest

from engine import OrchestrationContext, OrchestrationFailed, Status, activity, orchestration
from engine.errors import InstanceNotFound, Refused
from engine.model.events import OrchestrationCompleted, OrchestrationStarted, SubOrchestrationScheduled
from engine.model.removal import InstanceFilter, PruneOptions
from engine.model.views import QueueDepths
from tests.replay.given import payload
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    return Bench()


@activity
async def step(number: int) -> int:
    return number


@activity
async def hangs() -> None:
    await asyncio.Event().wait()


@orchestration
async def works(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(step, number)


@orchestration
async def fails(ctx: OrchestrationContext) -> None:
    raise ValueError("boom")


@orchestration
async def waits(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("never")


@orchestration
async def sleeps(ctx: OrchestrationContext) -> None:
    await asyncio.sleep(3600)


@orchestration
async def works_for_ever(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity(hangs)


@orchestration
async def counts(ctx: OrchestrationContext, number: int) -> int:
    await ctx.schedule_activity(step, number)
    return ctx.continue_as_new(number + 1) if number < 4 else number


@orchestration
async def parent(ctx: OrchestrationContext, number: int) -> int:
    if number == 0:
        await ctx.schedule_activity(step, 0)  # so that later executions ask for their child at another place too
    answer = await ctx.schedule_sub_orchestration(works, number)
    return ctx.continue_as_new(number + 1) if number < 3 else answer


@orchestration
async def two_children(ctx: OrchestrationContext) -> list[int]:
    return list(await ctx.join(*(ctx.schedule_sub_orchestration(works, number) for number in range(2))))


@orchestration
async def waiting_child(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(waits)


EVERYTHING: dict[str, Any] = {
    "orchestrations": [works, fails, waits, sleeps, works_for_ever, counts, parent, two_children, waiting_child],
    "activities": [step, hangs],
}


@upstream(
    "management_interface_test",
    "test_capability_discovery",
    "test_instance_discovery",
    "test_management_features_with_workflow",
    "test_management_all_status_types",
    "test_system_metrics",
    "test_queue_depths",
)
async def test_what_there_is_is_listed_and_counted(bench: Bench) -> None:
    assert await bench.client.list_instances() == []
    metrics = await bench.provider.get_system_metrics()
    assert (metrics.instances, metrics.executions) == (0, 0)
    assert await bench.provider.get_queue_depths() == QueueDepths(0, 0, 0)
    async with bench.engine(**EVERYTHING):
        for number in range(3):
            await (await bench.client.start(works, number, instance=f"works {number}")).wait()
        with pytest.raises(OrchestrationFailed):
            await (await bench.client.start(fails, instance="fails")).wait()
        await bench.client.start(waits, instance="waits")
        await cycles()
    by_status: dict[Status, list[str]] = {}
    for info in await bench.client.list_instances():
        by_status.setdefault(info.status, []).append(info.instance)
    assert by_status == {
        Status.COMPLETED: ["works 0", "works 1", "works 2"],
        Status.FAILED: ["fails"],
        Status.RUNNING: ["waits"],
    }
    for status, instances in by_status.items():
        assert [info.instance for info in await bench.client.list_instances(status=status)] == instances
    assert await bench.provider.get_queue_depths() == QueueDepths(0, 0, 0)
    await bench.client.start(works, 4, instance="nobody runs it")
    assert await bench.provider.get_queue_depths() == QueueDepths(1, 0, 0)
    metrics = await bench.provider.get_system_metrics()
    assert (metrics.instances, metrics.executions) == (5, 5)
    assert metrics.by_status == {status: len(instances) for status, instances in by_status.items()}


@upstream(
    "management_interface_test",
    "test_instance_info",
    "test_execution_info",
    "test_multi_execution_support",
    "test_management_read_execution_specific",
)
async def test_an_instance_and_each_of_its_executions_are_told(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        handle = await bench.client.start(counts, 0, instance="counts")
        await handle.wait()
    info = await handle.status()
    assert (info.orchestration_name, info.orchestration_version, info.current_execution_id) == ("counts", "1.0.0", 5)
    assert (info.status, info.output) == (Status.COMPLETED, payload(4))
    for execution in await bench.client.list_executions("counts"):
        history = await handle.history(execution.execution_id)
        assert execution.event_count == len(history)
        assert isinstance(history[0], OrchestrationStarted)
        last = execution.execution_id == 5
        assert execution.status is (Status.COMPLETED if last else Status.CONTINUED_AS_NEW)
        assert isinstance(history[-1], OrchestrationCompleted) == last
    assert await bench.provider.get_execution_info("counts", 999) is None


@upstream("management_interface_test", "test_error_handling", "test_management_unknown_instance_errors")
@upstream("deletion_integration_tests", "test_delete_error_cases")
async def test_of_what_does_not_exist_nothing_is_told(bench: Bench) -> None:
    with pytest.raises(InstanceNotFound):
        await bench.client.status("nobody")
    assert await bench.client.history("nobody") == ()
    assert list(await bench.client.list_executions("nobody")) == []
    assert await bench.provider.get_execution_info("nobody", 1) is None
    async with bench.engine(**EVERYTHING):
        await bench.client.start(waits, instance="waits")
        await bench.client.start(waiting_child, instance="parent")
        await cycles()
    for instance in ("nobody", "waits", "parent::sub::2"):
        with pytest.raises(Refused):
            await bench.client.delete(instance)
    with pytest.raises(Refused):
        await bench.client.delete("parent::sub::2", force=True)


@pytest.mark.parametrize("code", [waits, sleeps, works_for_ever, waiting_child])
@upstream(
    "deletion_integration_tests",
    "test_force_delete_in_flight_work",
    "test_dispatcher_resilience_after_delete",
    "test_identity_reuse_after_delete",
)
async def test_what_runs_is_deleted_by_force_and_its_id_lives_anew(bench: Bench, code: Any) -> None:
    async with bench.engine(**EVERYTHING):
        await bench.client.start(code, instance="reused")
        await cycles()
        await bench.client.delete("reused", force=True)
        assert await bench.client.list_instances() == []
        for number in range(3):
            handle = await bench.client.start(works, number, instance="reused")
            assert await ends(bench.clock, handle.wait()) == number
            assert len(await handle.history()) == 4
            await bench.client.delete("reused")
        for _ in range(60):  # seconds, in which a worker loses the lease of what was deleted
            await cycles()
            bench.clock.advance(1_000)
        await cycles()
    assert await bench.client.list_instances() == []


@upstream("deletion_integration_tests", "test_delete_terminal_orchestrations", "test_concurrent_delete_operations")
async def test_what_has_ended_is_deleted_once(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        await (await bench.client.start(works, 1, instance="works")).wait()
        with pytest.raises(OrchestrationFailed):
            await (await bench.client.start(fails, instance="fails")).wait()
    for instance, events in (("works", 4), ("fails", 2)):
        deletions = await asyncio.gather(*(bench.client.delete(instance) for _ in range(3)), return_exceptions=True)
        counts_of_one = [one for one in deletions if not isinstance(one, BaseException)]
        assert [(one.instances, one.events) for one in counts_of_one] == [(1, events)]
        assert len([one for one in deletions if isinstance(one, Refused)]) == 2


@upstream(
    "deletion_integration_tests",
    "test_cascade_delete_real_sub_orchestrations",
    "test_get_instance_tree",
    "test_get_parent_id_primitive",
    "test_list_children_primitive",
)
@upstream("management_interface_test", "test_management_get_instance_tree")
async def test_a_family_is_told_and_deleted_together(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        await (await bench.client.start(two_children, instance="p")).wait()
    family = ["p", "p::sub::2", "p::sub::3"]
    assert sorted((await bench.client.tree("p")).instances) == family
    assert list(await bench.provider.list_children("p")) == family[1:]
    assert [await bench.provider.get_parent_id(instance) for instance in family] == [None, "p", "p"]
    with pytest.raises(Refused):
        await bench.client.delete("p::sub::2")
    assert (await bench.client.delete("p")).instances == 3
    assert await bench.client.list_instances() == []


@upstream("prune_integration_tests", "test_prune_continue_as_new_chain", "test_prune_safety")
async def test_earlier_executions_are_pruned_and_the_current_one_stays(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        handle = await bench.client.start(counts, 0, instance="counts")
        await handle.wait()
        await bench.client.start(waits, instance="waits")
        await cycles()
    assert (await bench.client.prune("counts", keep_last=3)).executions == 2
    assert [one.execution_id for one in await bench.client.list_executions("counts")] == [3, 4, 5]
    assert (await bench.client.prune("counts", keep_last=0)).executions == 2
    assert [one.execution_id for one in await bench.client.list_executions("counts")] == [5]
    assert await bench.provider.prune_executions("waits", PruneOptions(keep_last=0)) is not None
    assert len(await bench.client.list_executions("waits")) == 1
    assert await handle.wait() == 4


async def are_there(bench: Bench) -> list[str]:
    return [info.instance for info in await bench.client.list_instances()]


@upstream("bulk_deletion_integration_tests", "test_delete_instance_bulk_retention_policies")
async def test_many_are_deleted_at_once_some_at_a_time(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        for number in range(6):
            await (await bench.client.start(works, number, instance=f"works {number}")).wait()
    named = InstanceFilter(instances=("works 0", "works 1"))
    assert (await bench.provider.delete_instance_bulk(named)).instances == 2
    assert await are_there(bench) == [f"works {number}" for number in range(2, 6)]
    deleted = [(await bench.provider.delete_instance_bulk(InstanceFilter(limit=2))).instances for _ in range(3)]
    assert deleted == [2, 2, 0]
    assert await are_there(bench) == []


@upstream("bulk_deletion_integration_tests", "test_delete_instance_bulk_safety")
async def test_what_runs_is_not_deleted_with_many_and_a_family_goes_together(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        await (await bench.client.start(works, 1, instance="ended")).wait()
        await bench.client.start(waits, instance="runs")
        await cycles()
        deleted = await bench.provider.delete_instance_bulk(InstanceFilter(instances=("ended", "runs")))
        assert (deleted.instances, await are_there(bench)) == (1, ["runs"])
        await bench.client.delete("runs", force=True)
        await (await bench.client.start(two_children, instance="p")).wait()
        assert await are_there(bench) == ["p", "p::sub::2", "p::sub::3"]
        deleted = await bench.provider.delete_instance_bulk(InstanceFilter(instances=("p",)))
        assert (deleted.instances, await are_there(bench)) == (3, [])


@orchestration
async def stops_on_the_way(ctx: OrchestrationContext, number: int) -> int:
    await ctx.schedule_activity(step, number)
    if number == 5:
        await ctx.wait_event("proceed")
    return ctx.continue_as_new(number + 1) if number < 8 else number


@pytest.mark.parametrize("bulk", [False, True])
@upstream(
    "prune_integration_tests", "test_prune_during_active_continue_as_new", "test_prune_bulk_includes_running_instances"
)
async def test_what_runs_is_pruned_and_runs_on(bench: Bench, bulk: bool) -> None:
    async with bench.engine(orchestrations=[stops_on_the_way], activities=[step]):
        handle = await bench.client.start(stops_on_the_way, 0, instance="runs")
        await cycles(100)
        assert len(await bench.client.list_executions("runs")) == 6
        if bulk:
            pruned = await bench.provider.prune_executions_bulk(InstanceFilter(), PruneOptions(keep_last=2))
        else:
            pruned = await bench.client.prune("runs", keep_last=2)
        assert (pruned.instances, pruned.executions) == (1, 4)
        assert [one.execution_id for one in await bench.client.list_executions("runs")] == [5, 6]
        info = await handle.status()
        assert (info.status, info.current_execution_id) == (Status.RUNNING, 6)
        await handle.raise_event("proceed")
        assert await handle.wait() == 8


@upstream("prune_integration_tests", "test_prune_bulk_operations")
async def test_many_are_pruned_at_once_and_no_others(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        for number in range(3):
            await (await bench.client.start(counts, 0, instance=f"counts {number}")).wait()
    which = InstanceFilter(instances=("counts 0", "counts 1"))
    pruned = await bench.provider.prune_executions_bulk(which, PruneOptions(keep_last=1))
    assert (pruned.instances, pruned.executions) == (2, 8)
    left = [len(await bench.client.list_executions(f"counts {number}")) for number in range(3)]
    assert left == [1, 1, 5]


@orchestration
async def keeps(ctx: OrchestrationContext, values: list[str]) -> int:
    for number, value in enumerate(values):
        ctx.set_key_value(f"key {number}", value)
    await ctx.schedule_activity(step, ctx.execution_id)
    return ctx.continue_as_new(values) if ctx.execution_id < 3 else len(values)


@pytest.mark.parametrize("values", [[], ["aaa", "bbbbb", "cc"], ["v" * 10_000]])
@upstream(
    "management_interface_test",
    "client_get_orchestration_stats_after_completion",
    "client_get_orchestration_stats_nonexistent",
    "client_orchestration_stats_after_continue_as_new",
    "client_orchestration_stats_no_carry_forward",
)
@upstream(
    "management_interface_test",
    "client_orchestration_stats_kv_metrics_accuracy",
    "client_orchestration_stats_large_kv_values",
    differs="A value is measured as it is kept, which for a text is with its quotes.",
)
async def test_the_size_of_an_instance_is_told(bench: Bench, values: list[str]) -> None:
    assert await bench.provider.get_instance_stats("keeps") is None
    async with bench.engine(orchestrations=[keeps], activities=[step]):
        await (await bench.client.start(keeps, values, instance="keeps")).wait()
    stats = await bench.provider.get_instance_stats("keeps")
    assert stats is not None
    assert stats.history_events == len(await bench.client.history("keeps"))
    assert stats.history_bytes > 0
    assert stats.queue_pending == 0
    assert (stats.keys, stats.key_value_bytes) == (len(values), sum(len(value) + 2 for value in values))


@activity
async def writes(kibibytes: int) -> str:
    return "x" * (1024 * kibibytes)


@orchestration
async def reads_much(ctx: OrchestrationContext) -> int:
    return sum([len(await ctx.schedule_activity(writes, kibibytes)) for kibibytes in (64, 128, 192, 256)])


@upstream("management_interface_test", "client_orchestration_stats_large_history_size")
async def test_so_is_the_size_of_a_large_history(bench: Bench) -> None:
    async with bench.engine(orchestrations=[reads_much], activities=[writes]):
        assert await (await bench.client.start(reads_much, instance="large")).wait() == 640 * 1024
    stats = await bench.provider.get_instance_stats("large")
    assert stats is not None
    assert stats.history_events == 10
    assert 640 * 1024 < stats.history_bytes < 1024 * 1024


@orchestration
async def order(ctx: OrchestrationContext, number: int) -> int:
    for _ in range(3):
        await ctx.schedule_activity(step, number)
    return number


@upstream("management_interface_test", "test_complex_workflow_management")
async def test_many_that_have_completed_are_counted_and_told(bench: Bench) -> None:
    async with bench.engine(orchestrations=[order], activities=[step]):
        handles = [await bench.client.start(order, number, instance=f"order {number}") for number in range(5)]
        assert await asyncio.gather(*(handle.wait() for handle in handles)) == list(range(5))
    names = [handle.instance for handle in handles]
    assert [info.instance for info in await bench.client.list_instances()] == names
    assert [info.instance for info in await bench.client.list_instances(status=Status.COMPLETED)] == names
    metrics = await bench.provider.get_system_metrics()
    assert (metrics.instances, metrics.executions, metrics.by_status) == (5, 5, {Status.COMPLETED: 5})
    assert metrics.events == 5 * 8
    for number, handle in enumerate(handles):
        info = await handle.status()
        assert (info.orchestration_name, info.status, info.output) == ("order", Status.COMPLETED, payload(number))
        assert len(await bench.client.list_executions(handle.instance)) == 1
        assert len(await handle.history()) == 8
    assert await bench.provider.get_queue_depths() == QueueDepths(0, 0, 0)


@upstream(
    "scenarios/suborch_id_collision",
    "parent_with_suborch_survives_continue_as_new",
    "continue_as_new_suborch_child_ids_include_execution_after_first",
)
@upstream("scenarios/toygres", "continue_as_new_chain_with_activities", "concurrent_continue_as_new_chains")
async def test_each_execution_has_children_of_its_own(bench: Bench) -> None:
    async with bench.engine(**EVERYTHING):
        handles = [await bench.client.start(parent, 0, instance=f"p{number}") for number in range(3)]
        assert await asyncio.gather(*(handle.wait() for handle in handles)) == [3, 3, 3]
    for handle in handles:
        asked = [
            event.instance.removeprefix(handle.instance)
            for execution_id in range(1, 5)
            for event in await handle.history(execution_id)
            if isinstance(event, SubOrchestrationScheduled)
        ]
        assert asked == ["::sub::4", "::sub::2_2", "::sub::3_2", "::sub::4_2"]
