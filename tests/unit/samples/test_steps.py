"""Does one orchestration do what a newcomer writes first: steps, branches, loops, errors, races, types?"""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from engine import OrchestrationContext, Status, activity, orchestration
from engine.errors import ActivityError
from engine.testing import raise_event, run
from tests.upstream import upstream

SECOND = timedelta(seconds=1)


@activity
async def hello(name: str) -> str:
    return f"Hello, {name}!"


@orchestration
async def hello_world(ctx: OrchestrationContext, name: str) -> str:
    ctx.logger.info("first %s", await ctx.schedule_activity(hello, "Python"))
    return await ctx.schedule_activity(hello, name)


@upstream("e2e_samples", "sample_hello_world_fs")
def test_hello_world() -> None:
    assert run(hello_world, "World", activities=[hello]).output == "Hello, World!"


@orchestration
async def branches(ctx: OrchestrationContext) -> str:
    flag = await ctx.schedule_activity("get_flag", output=str)
    return await ctx.schedule_activity("say_yes" if flag == "yes" else "say_no", output=str)


@pytest.mark.parametrize(("flag", "picked"), [("yes", "picked yes"), ("no", "picked no")])
@upstream("e2e_samples", "sample_basic_control_flow_fs")
def test_a_branch_on_what_an_activity_said(flag: str, picked: str) -> None:
    stand_ins = {"get_flag": lambda: flag, "say_yes": lambda: "picked yes", "say_no": lambda: "picked no"}
    assert run(branches, activities=stand_ins).output == picked


@activity
async def append_x(text: str) -> str:
    return f"{text}x"


@orchestration
async def loops(ctx: OrchestrationContext) -> str:
    text = "start"
    for _ in range(3):
        text = await ctx.schedule_activity(append_x, text)
    return text


@upstream("e2e_samples", "sample_loop_fs")
def test_a_loop_that_feeds_each_result_into_the_next_call() -> None:
    assert run(loops, activities=[append_x]).output == "startxxx"


@activity
async def fragile(what: str) -> str:
    if what == "bad":
        raise ValueError("boom")
    return "fine"


@orchestration
async def recovers(ctx: OrchestrationContext, what: str) -> str:
    try:
        return await ctx.schedule_activity(fragile, what)
    except ActivityError as error:
        return f"recovered from {error}"


@pytest.mark.parametrize(("what", "said"), [("good", "fine"), ("bad", "recovered from ValueError: boom")])
@upstream("e2e_samples", "sample_error_handling_fs")
def test_an_error_that_is_caught(what: str, said: str) -> None:
    assert run(recovers, what, activities=[fragile]).output == said


@activity
async def process(data: str) -> str:
    if "error" in data:
        raise ValueError("processing failed")
    return f"processed {data}"


@activity
async def finish(data: str) -> str:
    return f"final {data}"


async def process_and_finish(ctx: OrchestrationContext, data: str) -> str:
    return await ctx.schedule_activity(finish, await ctx.schedule_activity(process, data))


@orchestration
async def nests(ctx: OrchestrationContext, data: str) -> str:
    return await process_and_finish(ctx, data)


@orchestration
async def says_what_it_was_at(ctx: OrchestrationContext, data: str) -> str:
    try:
        return await ctx.schedule_activity(process, data)
    except ActivityError as error:
        await ctx.schedule_activity("log", str(error))
        raise RuntimeError(f"could not process {data!r}: {error}") from error


@upstream("e2e_samples", "sample_basic_error_handling_fs", "sample_nested_function_error_handling_fs")
def test_an_error_that_nobody_catches_fails_the_orchestration_through_its_functions() -> None:
    assert run(nests, "x", activities=[process, finish]).output == "final processed x"
    failed = run(nests, "error", activities=[process, finish])
    assert failed.status is Status.FAILED
    assert failed.failure is not None
    assert failed.failure.message == "ValueError: processing failed"


@upstream("e2e_samples", "sample_error_recovery_fs")
def test_an_error_that_is_logged_and_raised_anew() -> None:
    logged: list[str] = []

    def log(text: str) -> None:
        logged.append(text)

    stand_ins = {"process": process, "log": log}
    assert run(says_what_it_was_at, "x", activities=stand_ins).output == "processed x"
    failure = run(says_what_it_was_at, "error", activities=stand_ins).failure
    assert failure is not None
    assert failure.message == "could not process 'error': ValueError: processing failed"
    assert failure.cause is not None
    assert logged == ["ValueError: processing failed"]


@orchestration
async def in_a_second(ctx: OrchestrationContext) -> str:
    async with asyncio.timeout(1):
        return await ctx.schedule_activity("long", output=str)


@upstream("e2e_samples", "sample_timeout_with_timer_race_fs")
def test_an_activity_against_a_timer() -> None:
    slow = run(in_a_second, activities={"long": lambda: "done"}, durations={"long": 5 * SECOND})
    assert slow.failure is not None
    assert slow.failure.type == "TimeoutError"
    assert slow.elapsed == SECOND
    assert run(in_a_second, activities={"long": lambda: "done"}, durations={"long": SECOND / 2}).output == "done"


@orchestration
async def sleeps_or_goes(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.schedule_activity("sleep", output=str), ctx.wait_event("go", str))
    return f"{['activity', 'event'][won.index]}: {won.value}"


@pytest.mark.parametrize(("at", "said"), [(1, "event: ok"), (3, "activity: slept")])
@upstream("e2e_samples", "sample_select2_activity_vs_external_fs")
def test_an_activity_against_an_event(at: int, said: str) -> None:
    outcome = run(
        sleeps_or_goes,
        activities={"sleep": lambda: "slept"},
        durations={"sleep": 2 * SECOND},
        script=[raise_event("go", "ok", at=at * SECOND)],
    )
    assert outcome.output == said


@orchestration
async def greets_both(ctx: OrchestrationContext) -> list[str]:
    return list(await ctx.join(ctx.schedule_activity(hello, "Gabbar"), ctx.schedule_activity(hello, "Samba")))


@upstream("e2e_samples", "dtf_legacy_gabbar_greetings_fs")
def test_two_activities_at_once() -> None:
    assert run(greets_both, activities=[hello]).output == ["Hello, Gabbar!", "Hello, Samba!"]


@orchestration
async def time_and_id(ctx: OrchestrationContext) -> tuple[str, str, str]:
    before, guid = ctx.utc_now(), ctx.new_guid()
    await asyncio.sleep(60)
    return before.isoformat(), ctx.utc_now().isoformat(), str(guid)


@upstream("e2e_samples", "sample_system_activities_fs")
def test_the_time_and_an_id_that_a_replay_sees_again() -> None:
    before, after, guid = run(time_and_id).output
    assert (before, after) == ("2023-11-14T22:13:20+00:00", "2023-11-14T22:14:20+00:00")
    assert len(guid) == 36
    assert run(time_and_id, replay_always=False).output == (before, after, guid)


class Sum(msgspec.Struct):
    a: int
    b: int


class Ack(msgspec.Struct):
    ok: bool


@activity
async def add(numbers: Sum) -> int:
    return numbers.a + numbers.b


@activity
async def upper(text: str) -> str:
    return text.upper()


@orchestration
async def adder(ctx: OrchestrationContext, numbers: Sum) -> int:
    return await ctx.schedule_activity(add, numbers)


@orchestration
async def waits_for_ack(ctx: OrchestrationContext) -> Ack:
    return await ctx.wait_event("ready", Ack)


@upstream("e2e_samples", "sample_typed_activity_and_orchestration_fs", "sample_typed_event_fs")
def test_inputs_results_and_events_of_ones_own_types() -> None:
    assert run(adder, Sum(2, 3), activities=[add]).output == 5
    assert run(waits_for_ack, script=[raise_event("ready", Ack(ok=True))]).output == Ack(ok=True)


async def sum_of(ctx: OrchestrationContext, numbers: Sum) -> str:
    return f"sum {await ctx.schedule_activity(add, numbers)}"


async def upper_of(ctx: OrchestrationContext, text: str) -> str:
    return f"upper {await ctx.schedule_activity(upper, text)}"


@orchestration
async def mixes_from_its_input(ctx: OrchestrationContext, numbers: Sum) -> str:
    return (await ctx.select(sum_of(ctx, numbers), upper_of(ctx, "hello"))).value


@orchestration
async def mixes_without_an_input(ctx: OrchestrationContext) -> str:
    return (await ctx.select(sum_of(ctx, Sum(5, 7)), upper_of(ctx, "race"))).value


@pytest.mark.parametrize(
    ("slow", "of_input", "without"),
    [("add", "upper HELLO", "upper RACE"), ("upper", "sum 3", "sum 12")],
)
@upstream("e2e_samples", "sample_mixed_string_and_typed_typed_orch_fs", "sample_mixed_string_and_typed_string_orch_fs")
def test_a_race_of_branches_of_different_types(slow: str, of_input: str, without: str) -> None:
    durations = {slow: SECOND}
    assert run(mixes_from_its_input, Sum(1, 2), activities=[add, upper], durations=durations).output == of_input
    assert run(mixes_without_an_input, activities=[add, upper], durations=durations).output == without
