"""What does a client see of an instance: who it is, how it stands, what its executions were?"""

import pytest

from engine import OrchestrationContext, OrchestrationFailed, Status, orchestration
from engine.errors import InstanceNotFound
from engine.model.events import (
    ExternalEventReceived,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationStarted,
)
from engine.model.ids import ParentLink
from tests.replay.given import payload
from tests.unit.engine.runtime.running import Bench, cycles
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    return Bench()


@orchestration(name="tells", version="2.1.0")
async def tells(ctx: OrchestrationContext) -> list[object]:
    return [ctx.instance, ctx.execution_id, ctx.name, ctx.version]


@upstream("unit_tests", "orchestration_context_metadata_accessors")
async def test_the_code_knows_who_it_is(bench: Bench) -> None:
    async with bench.engine(orchestrations=[tells]):
        handle = await bench.client.start(tells, instance="me")
        assert await handle.wait() == ["me", 1, "tells", "2.1.0"]


@orchestration
async def waits(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


@orchestration
async def fails(ctx: OrchestrationContext) -> None:
    raise ValueError("boom")


@upstream(
    "unit_tests",
    "orchestration_status_apis",
    differs="To ask for an instance that does not exist is an error.",
)
@upstream("errors_tests", "orchestration_immediate_fail_fs")
@upstream(
    "orchestration_status_tests",
    "test_status_running",
    "test_status_completed",
    "test_status_failed",
    "test_status_lifecycle_transitions",
)
@upstream(
    "orchestration_status_tests",
    "test_status_not_found",
    differs="To ask for an instance that does not exist is an error.",
)
async def test_the_status_follows_the_instance(bench: Bench) -> None:
    with pytest.raises(InstanceNotFound):
        await bench.client.status("waits")
    async with bench.engine(orchestrations=[waits, fails]):
        handle = await bench.client.start(waits, instance="waits")
        await cycles()
        assert (await handle.status()).status is Status.RUNNING
        await handle.raise_event("go", "gone")
        assert await handle.wait() == "gone"
        ended = await handle.status()
        assert (ended.status, ended.output) == (Status.COMPLETED, payload("gone"))
        failing = await bench.client.start(fails)
        with pytest.raises(OrchestrationFailed, match="boom"):
            await failing.wait()
        failed = await failing.status()
    assert failed.status is Status.FAILED
    assert failed.failure is not None
    assert failed.failure.message == "boom"


@upstream("unit_tests", "runtime_duplicate_orchestration_deduped_single_execution")
@upstream("errors_tests", "test_instance_id_idempotence")
async def test_a_second_start_of_an_instance_changes_nothing(bench: Bench) -> None:
    async with bench.engine(orchestrations=[waits, tells]):
        handle = await bench.client.start(waits, instance="one")
        await bench.client.start(waits, instance="one")
        await cycles()
        await bench.client.start(tells, instance="one")
        await cycles()
        await handle.raise_event("go", "gone")
        assert await handle.wait() == "gone"
    history = await handle.history()
    assert [type(event) for event in history[:1]] == [OrchestrationStarted]
    assert len([event for event in history if isinstance(event, OrchestrationStarted | OrchestrationCompleted)]) == 2
    assert len(await bench.client.list_executions("one")) == 1


@orchestration
async def has_a_child(ctx: OrchestrationContext) -> list[object]:
    return await ctx.schedule_sub_orchestration(tells)


@upstream("unit_tests", "orchestration_descriptor_root_and_child")
async def test_a_child_says_whose_it_is_and_a_root_that_it_is_nobodys(bench: Bench) -> None:
    async with bench.engine(orchestrations=[has_a_child, tells]):
        handle = await bench.client.start(has_a_child, instance="root")
        await handle.wait()
    root, child = await handle.status(), await bench.client.status("root::sub::2")
    assert (root.orchestration_name, root.orchestration_version, root.parent_instance) == ("has_a_child", "1.0.0", None)
    assert (child.orchestration_name, child.orchestration_version, child.parent_instance) == ("tells", "2.1.0", "root")
    started = (await bench.client.history("root::sub::2"))[0]
    assert isinstance(started, OrchestrationStarted)
    assert started.parent is not None
    assert started.parent == ParentLink("root", root.incarnation or 0, 1, 2)


@orchestration
async def counts(ctx: OrchestrationContext, number: int) -> str:
    if number < 2:
        return ctx.continue_as_new(number + 1)
    return f"done {number}"


@upstream("continue_as_new_tests", "continue_as_new_multiexec")
@upstream(
    "continue_as_new_tests",
    "continue_as_new_without_await",
    differs="It is returned and never awaited; what is not returned fails the instance.",
)
@upstream(
    "unit_tests",
    "providers_fs_multi_execution_persistence_and_latest_read",
    "providers_inmem_multi_execution_persistence_and_latest_read",
)
@upstream("orchestration_status_tests", "test_status_after_continue_as_new")
@upstream("scenarios/toygres", "continue_as_new_chain_5_iterations")
async def test_each_execution_keeps_a_history_of_its_own_and_the_last_is_the_current(bench: Bench) -> None:
    async with bench.engine(orchestrations=[counts]):
        handle = await bench.client.start(counts, 0, instance="counts")
        assert await handle.wait() == "done 2"
    assert [one.execution_id for one in await bench.client.list_executions("counts")] == [1, 2, 3]
    for number in range(3):
        started, end = await handle.history(number + 1)
        assert isinstance(started, OrchestrationStarted)
        assert started.input == payload(number)
        if number < 2:
            assert isinstance(end, OrchestrationContinuedAsNew)
            assert end.input == payload(number + 1)
        else:
            assert isinstance(end, OrchestrationCompleted)
    assert await handle.history() == await handle.history(3)


@orchestration
async def waits_the_second_time(ctx: OrchestrationContext, first: bool) -> str:
    return ctx.continue_as_new(False) if first else await ctx.wait_event("go", str)


@upstream("continue_as_new_tests", "continue_as_new_event_routes_to_latest")
async def test_an_event_reaches_the_execution_that_waits(bench: Bench) -> None:
    async with bench.engine(orchestrations=[waits_the_second_time]):
        handle = await bench.client.start(waits_the_second_time, True)
        await cycles()
        await handle.raise_event("go", "ok")
        assert await handle.wait() == "ok"
    assert not any(isinstance(event, ExternalEventReceived) for event in await handle.history(1))
    assert any(isinstance(event, ExternalEventReceived) for event in await handle.history(2))
