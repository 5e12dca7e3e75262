"""Do larger orchestrations come out right: compensation, many instances, a restart in the middle?"""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from engine import OrchestrationContext, Status, activity, orchestration
from engine.errors import ActivityError
from engine.model.events import (
    ActivityCompleted,
    ActivityScheduled,
    ExternalEventReceived,
    ExternalSubscribed,
    OrchestrationCompleted,
    OrchestrationStarted,
    TimerFired,
)
from engine.runtime.options import EngineOptions
from engine.testing import raise_event, run
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.upstream import upstream

SECOND = timedelta(seconds=1)


@activity
async def debit(amount: int) -> str:
    if amount < 0:
        raise ValueError("insufficient")
    return f"debited {amount}"


@activity
async def ship(where: str) -> None:
    if where == "nowhere":
        raise ValueError("courier down")


@activity
async def credit(what: str) -> str:
    return f"credited {what}"


@orchestration
async def order(ctx: OrchestrationContext, of: tuple[int, str]) -> str:
    amount, where = of
    try:
        debited = await ctx.schedule_activity(debit, amount)
    except ActivityError as error:
        return f"not debited: {error.failure.message}"
    try:
        await ctx.schedule_activity(ship, where)
    except ActivityError:
        return f"rolled back: {await ctx.schedule_activity(credit, debited)}"
    return "shipped"


@pytest.mark.parametrize(
    ("amount", "where", "output"),
    [
        (5, "home", "shipped"),
        (5, "nowhere", "rolled back: credited debited 5"),
        (-5, "home", "not debited: insufficient"),
    ],
)
@upstream(
    "errors_tests",
    "error_handling_success_path_fs",
    "error_handling_success_path_inmem",
    "error_handling_compensation_on_ship_failure_fs",
    "error_handling_compensation_on_ship_failure_inmem",
    "error_handling_early_debit_failure_fs",
    "error_handling_early_debit_failure_inmem",
)
def test_what_was_done_is_undone_when_a_later_step_fails(amount: int, where: str, output: str) -> None:
    assert run(order, (amount, where), activities=[debit, ship, credit]).output == output


@activity
async def step(number: int) -> int:
    return number


@orchestration
async def many_steps(ctx: OrchestrationContext, count: int) -> int:
    for number in range(count):
        await ctx.schedule_activity(step, number)
    return count


@upstream(
    "errors_tests",
    "history_cap_exceeded_fs",
    "history_cap_exceeded_inmem",
    differs="A history has no largest length, only a turn has; what grows without end continues as new.",
)
def test_a_history_may_be_long() -> None:
    outcome = run(many_steps, 600, activities=[step], replay_always=False)
    assert outcome.output == 600
    assert len(outcome.history) == 1_202


class Add(msgspec.Struct):
    a: int
    b: int


@activity
async def add(numbers: Add) -> int:
    return numbers.a + numbers.b


@activity
async def multiply(numbers: Add) -> int:
    return numbers.a * numbers.b


@activity
async def divide(numbers: Add) -> int:
    return numbers.a // numbers.b


async def plus_one(answer: "asyncio.Future[int]") -> int:
    return await answer + 1


@orchestration
async def adds_up(ctx: OrchestrationContext) -> int:
    return sum(await ctx.join(*(ctx.schedule_activity(add, Add(n, 2 * n)) for n in (1, 10, 100))))


@orchestration
async def adds_and_multiplies(ctx: OrchestrationContext) -> tuple[int, int]:
    return await ctx.join(ctx.schedule_activity(add, Add(5, 3)), ctx.schedule_activity(multiply, Add(5, 3)))


@orchestration
async def maps(ctx: OrchestrationContext) -> list[int]:
    first = await plus_one(ctx.schedule_activity(multiply, Add(21, 2)))
    both = await ctx.join(*(plus_one(ctx.schedule_activity(add, Add(n, 2 * n))) for n in (1, 10)))
    return [first, *both]


@pytest.mark.parametrize(("code", "output"), [(adds_up, 333), (adds_and_multiplies, (8, 15)), (maps, [43, 4, 31])])
@upstream(
    "typed_composability_tests",
    "typed_activity_join_fan_out",
    "typed_activity_join2_heterogeneous",
    "durable_future_map_transforms_result",
    "typed_map_then_join",
)
def test_results_of_types_are_joined_and_mapped(code: Any, output: object) -> None:
    assert run(code, activities=[add, multiply]).output == output


@orchestration
async def maps_in_time(ctx: OrchestrationContext) -> int | None:
    won = await ctx.select(plus_one(ctx.schedule_activity(add, Add(1, 2))), ctx.schedule_timer(SECOND))
    await ctx.schedule_timer(SECOND)
    return won.value


@pytest.mark.parametrize(("seconds", "output"), [(0.5, 4), (5, None)])
@upstream("typed_composability_tests", "typed_activity_select2_timeout", "map_preserves_cancellation_on_drop")
def test_a_mapped_call_that_loses_to_a_timer_is_taken_back(seconds: float, output: int | None) -> None:
    outcome = run(maps_in_time, activities=[add], durations={"add": seconds * SECOND})
    assert outcome.output == output
    taken_back = [event for event in outcome.history if type(event).__name__ == "ActivityCancelRequested"]
    assert len(taken_back) == (output is None)


@orchestration
async def divides(ctx: OrchestrationContext) -> str:
    try:
        await ctx.join(ctx.schedule_activity(divide, Add(1, 1)), ctx.schedule_activity(divide, Add(1, 0)))
    except ActivityError as error:
        return error.failure.type
    return "no error"


@upstream("typed_composability_tests", "typed_error_propagation_through_join")
def test_an_error_of_one_is_an_error_of_the_join() -> None:
    assert run(divides, activities=[divide]).output == "ZeroDivisionError"


@orchestration
async def uses_time_and_ids(ctx: OrchestrationContext) -> list[str]:
    first, now = str(ctx.new_guid()), ctx.utc_now().isoformat()
    won = await ctx.select(ctx.schedule_activity("quick", first), ctx.schedule_activity("quick", now))
    assert won.index == 0
    await ctx.wait_event("go on")
    second, later = str(ctx.new_guid()), ctx.utc_now().isoformat()
    await ctx.join(*(ctx.schedule_activity("quick", text) for text in (first, now, second, later)))
    return [first, second, now, later]


@upstream(
    "system_calls_test",
    "test_new_guid",
    "test_utc_now_ms",
    "test_multiple_syscalls_same_type",
    "test_activity_then_syscall_ordering",
    "test_system_calls_deterministic_replay",
    "test_system_calls_with_select",
    "test_system_calls_join_with_activities",
    "test_utc_now_as_activity_input_replays_correctly",
    "test_new_guid_as_activity_input_replays_correctly",
    "test_syscalls_work_in_single_thread_mode",
    differs="Time and ids come from the history itself: they are no activities and leave no events.",
)
@upstream("registry_tests", "test_builtins_exist_with_empty_registry")
def test_time_and_ids_may_be_given_to_activities() -> None:
    def quick(text: str) -> str:
        return text

    outcome = run(uses_time_and_ids, activities={"quick": quick}, script=[raise_event("go on", at=60 * SECOND)])
    first, second, now, later = outcome.output
    assert first != second
    assert now < later
    assert len([event for event in outcome.history if isinstance(event, ActivityScheduled)]) == 6


@orchestration
async def one_event(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("only", str)


@upstream("races_tests", "wait_external_completes_fs")
def test_a_wait_and_its_event_are_four_events() -> None:
    outcome = run(one_event, script=[raise_event("only", "payload", at=SECOND)])
    assert outcome.output == "payload"
    kinds = [OrchestrationStarted, ExternalSubscribed, ExternalEventReceived, OrchestrationCompleted]
    assert [type(event) for event in outcome.history] == kinds


@orchestration
async def event_or_timer(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.schedule_timer(SECOND), ctx.wait_event("race", str))
    return won.value or "timer"


@pytest.mark.parametrize(("at", "output", "fired"), [(0.5, "ok", 0), (2, "timer", 1)])
@upstream("races_tests", "race_external_vs_timer_ordering_fs", "race_event_vs_timer_event_wins_fs")
def test_an_event_and_a_timer_race(at: float, output: str, fired: int) -> None:
    outcome = run(event_or_timer, script=[raise_event("race", "ok", at=at * SECOND)])
    assert outcome.output == output
    assert len([event for event in outcome.history if isinstance(event, TimerFired)]) == fired


# Engines that stop, and the next ones.


@orchestration
async def four_steps(ctx: OrchestrationContext) -> list[int]:
    said = [await ctx.schedule_activity(step, 1), await ctx.schedule_activity(step, 2)]
    await ctx.wait_event("resume")
    return [*said, await ctx.schedule_activity(step, 3), await ctx.schedule_activity(step, 4)]


@orchestration
async def same_twice(ctx: OrchestrationContext) -> list[int]:
    first = await ctx.schedule_activity(step, 1)
    await ctx.wait_event("resume")
    return [first, await ctx.schedule_activity(step, 1)]


@orchestration
async def sleeps_and_steps(ctx: OrchestrationContext) -> int:
    await ctx.schedule_activity(step, 1)
    await ctx.schedule_timer(60 * SECOND)
    return await ctx.schedule_activity(step, 2)


@pytest.mark.anyio
@upstream(
    "recovery_tests", "recovery_across_restart_sqlite_provider", "recovery_multiple_orchestrations_sqlite_provider"
)
@upstream("activity_routing_tests", "same_activity_name_and_input_routes_correctly_across_restart")
async def test_the_next_engine_goes_on_where_the_last_one_stopped() -> None:
    bench, ran = Bench(), list[int]()

    @activity(name="step")
    async def counted(number: int) -> int:
        ran.append(number)
        return number * 10 + len(ran)

    served: dict[str, Any] = {"orchestrations": [four_steps, same_twice, sleeps_and_steps], "activities": [counted]}
    async with bench.engine(**served):
        four = await bench.client.start(four_steps)
        await cycles()
        twice = await bench.client.start(same_twice)
        await cycles()
        sleeps = await bench.client.start(sleeps_and_steps)
        await cycles()
        assert ran == [1, 2, 1, 1]
    async with bench.engine(**served):
        await four.raise_event("resume")
        assert await four.wait() == [11, 22, 35, 46]
        await twice.raise_event("resume")
        assert await twice.wait() == [13, 17]
        assert await ends(bench.clock, sleeps.wait()) == 28
    assert ran == [1, 2, 1, 1, 3, 4, 1, 2]


@orchestration
async def three_at_once(ctx: OrchestrationContext) -> list[int]:
    return list(await ctx.join(*(ctx.schedule_activity(step, number) for number in range(3))))


@pytest.mark.anyio
@upstream(
    "worker_reliability_test",
    "activity_reliability_after_crash_before_completion_enqueue",
    "multiple_activities_reliability_after_crash",
)
async def test_activities_that_had_no_answer_run_on_the_next_engine() -> None:
    bench = Bench()

    @activity(name="step")
    async def hangs(number: int) -> int:
        await asyncio.Event().wait()
        return number

    stops_at_once = EngineOptions(drain_ms=1, cancel_grace_ms=1)
    async with bench.engine(orchestrations=[three_at_once], activities=[hangs], options=stops_at_once) as engine:
        handle = await bench.client.start(three_at_once)
        await cycles()
        engine.request_stop()
        engine.request_stop()
    assert (await handle.status()).status is Status.RUNNING
    async with bench.engine(orchestrations=[three_at_once], activities=[step]):
        assert await ends(bench.clock, handle.wait()) == [0, 1, 2]
    history = await handle.history()
    for kind in (ActivityScheduled, ActivityCompleted):
        assert len([event for event in history if isinstance(event, kind)]) == 3


@orchestration
async def all_kinds(ctx: OrchestrationContext, number: int) -> list[object]:
    return list(
        await ctx.join(ctx.schedule_activity(step, number), ctx.wait_event("go", str), ctx.schedule_timer(SECOND))
    )


@pytest.mark.anyio
@upstream(
    "concurrency_tests",
    "concurrent_orchestrations_different_activities_fs",
    "concurrent_orchestrations_same_activities_fs",
    "single_orchestration_with_join_test",
)
@upstream("scenarios/single_thread", "single_thread_concurrent_orchestrations", "single_thread_single_concurrency")
async def test_instances_at_once_get_their_own_answers() -> None:
    bench = Bench()
    one_at_a_time = EngineOptions(turns_max=1, activities_max=1, work_items_max=1)
    async with bench.engine(orchestrations=[all_kinds], activities=[step], options=one_at_a_time):
        handles = [await bench.client.start(all_kinds, number) for number in range(5)]
        await cycles()
        for number, handle in enumerate(handles):
            await handle.raise_event("go", f"event {number}")
        for number, handle in enumerate(handles):
            assert await ends(bench.clock, handle.wait()) == [number, f"event {number}", None]
