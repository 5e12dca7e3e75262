"""What becomes of a parent whose child's id is another instance's, and of an answer that comes an execution late?"""

from datetime import timedelta

import pytest

from engine import OrchestrationContext, OrchestrationFailed, Status, orchestration
from engine.model.events import OrchestrationFailed as Failed
from engine.model.events import SubOrchestrationFailed
from engine.model.messages import StartOrchestration
from engine.model.payload import NULL
from tests.unit.engine.runtime.running import Bench, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    return Bench()


@orchestration
async def child(ctx: OrchestrationContext) -> str:
    return "done"


@orchestration
async def somebody_else(ctx: OrchestrationContext) -> str:
    return "I was here first"


@orchestration
async def parent(ctx: OrchestrationContext, executions: int) -> str:
    if ctx.execution_id < executions:
        return ctx.continue_as_new(executions)
    return await ctx.schedule_sub_orchestration(child)


@pytest.mark.parametrize(("executions", "taken"), [(1, "job::sub::2"), (2, "job::sub::2_2")])
@upstream(
    "scenarios/suborch_id_collision",
    "legacy_provider_bypass_terminal_collision_does_not_hang_parent",
    "legacy_provider_bypass_terminal_collision_fails_fast_on_execution_two",
)
async def test_a_parent_hears_that_the_id_of_its_child_is_taken(bench: Bench, executions: int, taken: str) -> None:
    served = [parent, child, somebody_else]
    async with nothing_left(), bench.engine(orchestrations=[somebody_else]):
        # No client would send this: the id is one of an automatic child.
        await bench.provider.enqueue_for_orchestrator(
            StartOrchestration(instance=taken, name="somebody_else", input=NULL)
        )
        assert await bench.client.wait(taken) == "I was here first"
    async with nothing_left(), bench.engine(orchestrations=served):
        handle = await bench.client.start(parent, executions, instance="job")
        with pytest.raises(OrchestrationFailed, match="already exists"):
            await ends(bench.clock, handle.wait())
        history = await handle.history(executions)
        assert [type(event) for event in history[-2:]] == [SubOrchestrationFailed, Failed]
        assert await bench.client.wait(taken) == "I was here first"


@orchestration
async def shares(ctx: OrchestrationContext) -> str:
    return f"got {await ctx.schedule_sub_orchestration(child, instance='shared child')}"


@upstream("scenarios/suborch_id_collision", "explicit_child_id_reused_by_another_parent_fails_fast")
async def test_two_parents_cannot_have_one_child(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=[shares, child]):
        first = await bench.client.start(shares, instance="first")
        assert await ends(bench.clock, first.wait()) == "got done"
        second = await bench.client.start(shares, instance="second")
        with pytest.raises(OrchestrationFailed, match="expected no instance 'shared child', but it already exists"):
            await ends(bench.clock, second.wait())


@orchestration
async def slow_child(ctx: OrchestrationContext) -> str:
    await ctx.wait_event("go")
    return "late"


@orchestration
async def does_not_wait(ctx: OrchestrationContext) -> str:
    if ctx.execution_id == 1:
        ctx.schedule_sub_orchestration(slow_child)
        await ctx.schedule_timer(timedelta(seconds=1))
        return ctx.continue_as_new()
    await ctx.wait_event("release")
    return "done"


@upstream(
    "scenarios/suborch_id_collision",
    "suborch_completion_routes_to_scheduling_execution_not_current",
    differs="The execution that asked cancels its child when it ends, and what the child says to that comes late.",
)
async def test_the_answer_of_a_child_goes_to_the_execution_that_asked(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=[does_not_wait, slow_child]):
        handle = await bench.client.start(does_not_wait, instance="job")
        await cycles()
        bench.clock.advance(1_000)
        await cycles()
        assert (await handle.status()).current_execution_id == 2
        assert (await bench.client.status("job::sub::2")).status is Status.CANCELLED
        assert (await bench.provider.get_queue_depths()).orchestrator_queue == 0
        assert (await handle.status()).status is Status.RUNNING
        assert len(await handle.history()) == 2
        await handle.raise_event("release")
        assert await handle.wait() == "done"
