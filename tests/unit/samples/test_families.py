"""Do orchestrations start others, follow themselves, and end them, as a newcomer writes it?"""

from datetime import timedelta

from engine import OrchestrationContext, Status, activity, orchestration
from engine.model.events import OrchestrationCancelled, OrchestrationContinuedAsNew, OrchestrationStarted
from engine.testing import cancel, enqueue, run
from tests.replay.given import payload
from tests.upstream import upstream

SECOND = timedelta(seconds=1)


@activity
async def upper(text: str) -> str:
    return text.upper()


@activity
async def add(numbers: list[int]) -> int:
    return sum(numbers)


@orchestration
async def child_upper(ctx: OrchestrationContext, text: str) -> str:
    return await ctx.schedule_activity(upper, text)


@orchestration
async def parent(ctx: OrchestrationContext, text: str) -> str:
    return f"parent {await ctx.schedule_sub_orchestration(child_upper, text)}"


@upstream("e2e_samples", "sample_sub_orchestration_basic_fs")
def test_a_child_and_its_result() -> None:
    assert run(parent, "hi", activities=[upper], orchestrations=[child_upper]).output == "parent HI"


@orchestration
async def child_sum(ctx: OrchestrationContext, numbers: list[int]) -> int:
    return await ctx.schedule_activity(add, numbers)


@orchestration
async def sums(ctx: OrchestrationContext) -> int:
    children = [ctx.schedule_sub_orchestration(child_sum, numbers) for numbers in ([1, 2], [3, 4])]
    return sum(await ctx.join(*children))


@upstream("e2e_samples", "sample_sub_orchestration_fanout_fs")
def test_children_at_once() -> None:
    outcome = run(sums, activities=[add], orchestrations=[child_sum])
    assert outcome.output == 10
    assert len(outcome.instances) == 3


@orchestration
async def root(ctx: OrchestrationContext, text: str) -> str:
    return f"root {await ctx.schedule_sub_orchestration(parent, text)}"


@upstream("e2e_samples", "sample_sub_orchestration_chained_fs")
def test_a_child_of_a_child() -> None:
    outcome = run(root, "a", activities=[upper], orchestrations=[parent, child_upper])
    assert outcome.output == "root parent A"
    assert sorted(outcome.instances) == ["test", "test::sub::2", "test::sub::2::sub::2"]


@orchestration
async def counts_down(ctx: OrchestrationContext, left: int) -> str:
    return ctx.continue_as_new(left - 1) if left else "done"


@orchestration
async def waits_for_the_last(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(counts_down, 3)


@upstream("e2e_samples", "sample_sub_orchestration_continue_as_new_fs")
def test_a_child_that_continues_as_new_answers_with_its_last_execution() -> None:
    outcome = run(waits_for_the_last, orchestrations=[counts_down])
    assert outcome.output == "done"
    assert len(outcome.instances["test::sub::2"].executions) == 4


@orchestration
async def later(ctx: OrchestrationContext, text: str) -> str:
    await ctx.schedule_timer(SECOND)
    return await ctx.schedule_activity(upper, text)


@orchestration
async def coordinator(ctx: OrchestrationContext) -> str:
    ctx.start_detached(later, "a", instance="w1")
    ctx.start_detached(later, "b", instance="w2")
    return "started"


@orchestration
async def detaches_then_works(ctx: OrchestrationContext) -> str:
    ctx.start_detached(later, "payload", instance="w1")
    result = await ctx.schedule_activity(upper, "hello")
    await ctx.schedule_timer(2 * SECOND)
    return result


@orchestration
async def waits_long_enough(ctx: OrchestrationContext) -> str:
    started = await ctx.schedule_sub_orchestration(coordinator)
    await ctx.schedule_timer(2 * SECOND)
    return started


@upstream("e2e_samples", "sample_detached_orchestration_scheduling_fs")
@upstream("dispatcher_queues_fs", "dispatcher_enqueues_start_orchestration_to_orch_queue")
def test_detached_orchestrations_outlive_who_started_them() -> None:
    outcome = run(waits_long_enough, activities=[upper], orchestrations=[coordinator, later])
    assert outcome.output == "started"
    assert {name: outcome.instances[name].output for name in ("w1", "w2")} == {"w1": payload("A"), "w2": payload("B")}


@upstream("e2e_samples", "sample_detached_then_activity_fs")
def test_an_activity_behind_a_detached_start() -> None:
    outcome = run(detaches_then_works, activities=[upper], orchestrations=[later])
    assert outcome.output == "HELLO"
    assert outcome.instances["w1"].output == payload("PAYLOAD")


@upstream("e2e_samples", "sample_continue_as_new_fs")
def test_executions_follow_one_another() -> None:
    outcome = run(counts_down, 3)
    assert outcome.output == "done"
    started = [execution[0] for execution in outcome.instances["test"].executions]
    inputs = [event.input for event in started if isinstance(event, OrchestrationStarted)]
    assert inputs == [payload(left) for left in (3, 2, 1, 0)]


@orchestration(name="child")
async def child_v1(ctx: OrchestrationContext) -> str:
    return "c1"


@orchestration(name="child", version="2.0.0")
async def child_v2(ctx: OrchestrationContext) -> str:
    return "c2"


@orchestration
async def asks_both(ctx: OrchestrationContext) -> str:
    exact = await ctx.schedule_sub_orchestration("child", output=str, version="1.0.0")
    return f"{exact}-{await ctx.schedule_sub_orchestration('child', output=str)}"


@upstream("e2e_samples", "sample_versioning_sub_orchestration_explicit_vs_policy_fs")
def test_a_child_of_a_version_and_one_of_the_latest() -> None:
    assert run(asks_both, orchestrations=[child_v1, child_v2]).output == "c1-c2"


@orchestration(name="long_runner")
async def long_runner_v1(ctx: OrchestrationContext, state: str) -> str:
    return ctx.continue_as_new(f"v1:{state}")


@orchestration(name="long_runner", version="2.0.0")
async def long_runner_v2(ctx: OrchestrationContext, state: str) -> str:
    return f"upgraded:{state}"


@upstream("e2e_samples", "sample_versioning_continue_as_new_upgrade_fs")
def test_the_next_execution_takes_the_latest_version() -> None:
    outcome = run(long_runner_v1, "state", orchestrations=[long_runner_v2])
    assert outcome.output == "upgraded:v1:state"
    first, second = outcome.instances["test"].executions
    assert isinstance(first[-1], OrchestrationContinuedAsNew)
    assert isinstance(second[0], OrchestrationStarted)
    assert (second[0].version, second[0].input) == ("2.0.0", payload("v1:state"))


@orchestration
async def waits_to_go(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("go")


@orchestration
async def waits_for_a_child(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(waits_to_go)


@upstream(
    "e2e_samples",
    "sample_cancellation_parent_cascades_to_children_fs",
    differs="A cancelled instance has a status of its own, and does not count as failed.",
)
def test_who_cancels_a_parent_cancels_its_children() -> None:
    outcome = run(waits_for_a_child, orchestrations=[waits_to_go], script=[cancel("user request", at=SECOND)])
    assert outcome.status is Status.CANCELLED
    assert outcome.failure is not None
    assert outcome.failure.message == "user request"
    child = outcome.instances["test::sub::2"]
    assert child.status is Status.CANCELLED
    end = child.history[-1]
    assert isinstance(end, OrchestrationCancelled)
    assert end.reason == "test: the code cancelled it"


@activity
async def apply(config: str) -> str:
    return f"applied {config}"


@orchestration
async def reloads(ctx: OrchestrationContext) -> list[str]:
    log: list[str] = []
    for cycle in range(3):
        while True:
            won = await ctx.select(ctx.dequeue("config", str), ctx.schedule_timer(SECOND / 10))
            if won.value is None:
                break
            log.append(await ctx.schedule_activity(apply, won.value))
        await ctx.schedule_timer(SECOND)
        log.append(f"cycle {cycle}")
    return log


@upstream("e2e_samples", "sample_config_hot_reload_persistent_events_fs")
def test_queue_messages_are_taken_in_order_whenever_the_code_looks() -> None:
    early = [enqueue("config", "v1"), enqueue("config", "v2")]
    outcome = run(reloads, activities=[apply], script=[*early, enqueue("config", "v3", at=SECOND / 2)])
    assert outcome.output == ["applied v1", "applied v2", "cycle 0", "applied v3", "cycle 1", "cycle 2"]
