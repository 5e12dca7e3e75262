"""Does an orchestration take its steps, from nothing to its end, whether it is kept or replayed?"""

import asyncio
from datetime import timedelta
from typing import cast

import pytest

from engine.activity_context import ActivityContext
from engine.model.events import ActivityScheduled, OrchestrationStarted, TimerCreated
from engine.model.status import Status
from engine.model.turn import Disposition
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.turn import Unregistered, Waiting
from tests.replay.given import LIFE, NOW_MS, Instance, kinds, payload
from tests.upstream import upstream


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@activity
def whoami(ctx: ActivityContext) -> str:
    return ctx.instance


@orchestration
async def nothing(ctx: OrchestrationContext) -> str:
    return "done"


@orchestration
async def three(ctx: OrchestrationContext, name: str) -> list[str]:
    return [await ctx.schedule_activity(greet, f"{name}{number}") for number in range(3)]


@orchestration
async def fan_out(ctx: OrchestrationContext, width: int) -> list[str]:
    futures = [ctx.schedule_activity(greet, str(number)) for number in range(width)]
    return list(await ctx.join(*futures))


@orchestration
async def sleeper(ctx: OrchestrationContext) -> str:
    before = ctx.utc_now()
    await asyncio.sleep(1.5)
    await ctx.schedule_timer(timedelta(milliseconds=0.5))
    return str((ctx.utc_now() - before).total_seconds())


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@upstream("replay_engine/fresh_execution", "immediate_return_ok")
def test_an_orchestration_that_waits_for_nothing_ends_in_its_first_turn() -> None:
    instance = Instance(nothing)
    result = instance.start()
    assert kinds(result.history_delta) == ["OrchestrationStarted", "OrchestrationCompleted"]
    assert result.metadata.status is Status.COMPLETED
    assert result.metadata.output == payload("done")
    assert instance.live is None


def test_the_first_turn_says_who_the_instance_is() -> None:
    result = Instance(three).start("bob")
    started = result.history_delta[0]
    assert isinstance(started, OrchestrationStarted)
    assert (started.event_id, started.timestamp_ms, started.incarnation) == (1, NOW_MS, LIFE)
    assert result.metadata.orchestration_name == "three"
    assert result.metadata.orchestration_version == "1.0.0"
    assert result.metadata.incarnation == LIFE
    assert result.metadata.status is Status.RUNNING
    assert [item.activity_id for item in result.work_items] == [2]
    assert result.work_items[0].input == payload("bob0")
    assert result.work_items[0].orchestration == "three"


@upstream("replay_engine/event_allocation", "allocation_after_replay")
@upstream("replay_engine/sequential_progress", "two_activities_first_done", "two_activities_both_done")
def test_steps_follow_one_another(keep: bool) -> None:
    instance = Instance(three, keep=keep)
    instance.start("bob")
    instance.give(instance.completed(2, "a"))
    instance.give(instance.completed(4, "b"))
    result = instance.give(instance.completed(6, "c"))
    assert instance.output == ["a", "b", "c"]
    assert kinds(instance.history) == [
        "OrchestrationStarted",
        "ActivityScheduled", "ActivityCompleted",
        "ActivityScheduled", "ActivityCompleted",
        "ActivityScheduled", "ActivityCompleted",
        "OrchestrationCompleted",
    ]  # fmt: skip
    assert [event.event_id for event in instance.history] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert result.work_items == ()


@upstream("replay_engine/composition", "join_fresh_schedule")
def test_asking_is_eager_and_all_work_is_handed_out_in_one_turn() -> None:
    result = Instance(fan_out).start(3)
    assert [item.activity_id for item in result.work_items] == [2, 3, 4]


def test_a_fan_in_of_1024_keeps_the_order_of_asking(keep: bool) -> None:
    instance = Instance(fan_out, keep=keep)
    instance.start(1024)
    instance.give(*(instance.completed(2 + number, str(number)) for number in reversed(range(1024))))
    assert instance.output == [str(number) for number in range(1024)]


@upstream("replay_engine/composition", "join_all_complete", "join_partial_complete")
def test_part_of_the_answers_wakes_nobody_too_early(keep: bool) -> None:
    instance = Instance(fan_out, keep=keep)
    instance.start(3)
    result = instance.give(instance.completed(3, "b"))
    assert kinds(result.history_delta) == ["ActivityCompleted"]
    instance.give(instance.completed(4, "c"), instance.completed(2, "a"))
    assert instance.output == ["a", "b", "c"]


def test_a_history_does_not_depend_on_how_messages_were_batched() -> None:
    one, many = Instance(three), Instance(three)
    one.give(one.start_message("x"), one.completed(2, 1), one.completed(4, 2), one.completed(6, 3))
    many.start("x")
    many.give_each([many.completed(2, 1), many.completed(4, 2), many.completed(6, 3)])
    assert one.history == many.history


def test_sleep_is_a_durable_timer_and_time_stands_at_the_event_that_woke_the_code(keep: bool) -> None:
    instance = Instance(sleeper, keep=keep)
    result = instance.start()
    (timer,) = result.messages
    assert timer == instance.fired(2, NOW_MS + 1500)
    assert isinstance(result.history_delta[1], TimerCreated)
    instance.now_ms = NOW_MS + 1500
    result = instance.give(instance.fired(2))
    # Half a millisecond rounds up: a timer never fires too early.
    assert result.messages == (instance.fired(4, NOW_MS + 1501),)
    instance.now_ms = NOW_MS + 2000
    instance.give(instance.fired(4))
    assert instance.output == "2.0"


def test_time_of_an_instance_never_goes_back() -> None:
    instance = Instance(sleeper)
    instance.start()
    instance.now_ms = NOW_MS - 60_000
    instance.give(instance.fired(2))
    assert [event.timestamp_ms for event in instance.history] == [NOW_MS] * 4


def test_messages_that_arrive_before_the_start_are_applied_after_it() -> None:
    @orchestration
    async def waits(ctx: OrchestrationContext) -> str:
        return await ctx.wait_event("go", str)

    instance = Instance(waits)
    result = instance.give(instance.raised("go", "now"), instance.start_message())
    assert instance.output == "now"
    assert result.dispositions == (Disposition.APPLIED, Disposition.APPLIED)


def test_an_instance_without_a_start_waits() -> None:
    outcome = Instance(three).turn(Instance.raised("go"))
    assert isinstance(outcome, Waiting)
    assert "expected a start message" in outcome.reason


def test_code_that_is_not_there_is_reported_by_name_and_version() -> None:
    instance = Instance(three)
    instance.start("x")
    other = Instance(nothing, history=instance.history)
    assert other.turn(other.completed(2)) == Unregistered("three", "1.0.0")
    assert Instance(nothing).turn(instance.start_message("x")) == Unregistered("three", None)


def test_a_new_instance_takes_the_latest_version_and_keeps_it() -> None:
    @orchestration(name="deploy", version="1.9.0")
    async def old(ctx: OrchestrationContext) -> str:
        await ctx.wait_event("go")
        return "old"

    @orchestration(name="deploy", version="1.10.0")
    async def new(ctx: OrchestrationContext) -> str:
        await ctx.wait_event("go")
        return "new"

    pinned = Instance(old)
    pinned.start()
    running = Instance(old, new, history=pinned.history)
    running.give(running.raised("go"))
    assert running.output == "old"
    fresh = Instance(old, new)
    fresh.start()
    fresh.give(fresh.raised("go"))
    assert fresh.output == "new"


def test_activities_may_be_named_and_options_reach_the_work_item() -> None:
    @orchestration
    async def by_name(ctx: OrchestrationContext) -> int:
        return await ctx.schedule_activity("count", [1], output=int, tag="gpu", session_id="s1")

    instance = Instance(by_name)
    (item,) = instance.start().work_items
    assert (item.name, item.input, item.tag, item.session_id) == ("count", payload([1]), "gpu", "s1")
    scheduled = instance.history[1]
    assert isinstance(scheduled, ActivityScheduled)
    instance.give(instance.completed(2, 5))
    assert instance.output == 5


def test_new_guids_are_the_same_on_replay_and_differ_by_call_and_life() -> None:
    @orchestration
    async def guids(ctx: OrchestrationContext) -> list[str]:
        first = ctx.new_guid()
        await ctx.wait_event("go")
        return [str(first), str(ctx.new_guid())]

    replayed, kept = Instance(guids, keep=False), Instance(guids)
    for instance in (replayed, kept):
        instance.start()
        instance.give(instance.raised("go"))
    assert replayed.output == kept.output
    first, second = cast("list[str]", kept.output)
    assert first != second


def test_a_guid_is_derived_for_ever_in_the_same_way() -> None:
    @orchestration
    async def guid(ctx: OrchestrationContext) -> str:
        return str(ctx.new_guid())

    instance = Instance(guid)
    instance.start()
    assert instance.output == "30524d8b-27e5-5cc9-8171-e698ce76d591"


@upstream(
    "replay_engine/is_replaying",
    "fresh_execution_not_replaying",
    "replay_is_replaying",
    "transitions_after_history",
    "fresh_start_with_zero_persisted",
    differs="The context does not say whether it replays; its logger is silent about what happened before.",
)
def test_the_logger_speaks_once(caplog: pytest.LogCaptureFixture) -> None:
    @orchestration
    async def talks(ctx: OrchestrationContext) -> None:
        ctx.logger.warning("before")
        await ctx.wait_event("go")
        ctx.logger.warning("after")

    instance = Instance(talks, keep=False)
    instance.start()
    instance.give(instance.raised("go"))
    assert [record.message for record in caplog.records] == ["before", "after"]
    assert (caplog.records[0].__dict__["instance"], caplog.records[0].__dict__["execution_id"]) == ("i", 1)


def test_an_activity_coroutine_runs_in_a_task_group(keep: bool) -> None:
    @orchestration
    async def grouped(ctx: OrchestrationContext) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.activity(greet, name)) for name in "ab"]
        return [task.result() for task in tasks]

    instance = Instance(grouped, keep=keep)
    instance.start()
    instance.give(instance.completed(3, "B"))
    instance.give(instance.completed(2, "A"))
    assert instance.output == ["A", "B"]


def test_context_variables_of_the_host_do_not_reach_the_code() -> None:
    import decimal

    @orchestration
    async def divides(ctx: OrchestrationContext) -> str:
        return str(decimal.Decimal(1) / decimal.Decimal(3))

    with decimal.localcontext() as context:
        context.prec = 5
        instance = Instance(divides)
        instance.start()
    assert instance.output == "0.3333333333333333333333333333"


@upstream(
    "replay_engine/sequential_progress",
    "identical_activities_both_done_routes_correctly",
    "identical_activities_routes_correctly_across_restart_boundary",
    "activity_then_timer",
    "timer_then_activity",
)
def test_two_calls_that_are_alike_get_their_own_answers_with_a_timer_in_between(keep: bool) -> None:
    @orchestration
    async def twice(ctx: OrchestrationContext) -> list[str]:
        first = await ctx.schedule_activity(greet, "Ann")
        await ctx.schedule_timer(timedelta(minutes=1))
        return [first, await ctx.schedule_activity(greet, "Ann")]

    instance = Instance(twice, keep=keep)
    assert [item.activity_id for item in instance.start().work_items] == [2]
    result = instance.give(instance.completed(2, "first"))
    assert (result.work_items, kinds(result.history_delta)) == ((), ["ActivityCompleted", "TimerCreated"])
    result = instance.give(instance.fired(4))
    assert [item.activity_id for item in result.work_items] == [6]
    assert result.messages == ()
    instance.give(instance.completed(6, "second"))
    assert instance.output == ["first", "second"]


@upstream("replay_engine/sequential_progress", "many_sequential_activities")
@upstream("replay_engine/edge_cases", "handler_invoked_once")
def test_each_of_ten_steps_is_taken_once_and_the_code_begins_once_a_replay(keep: bool) -> None:
    began: list[str] = []

    @orchestration
    async def ten(ctx: OrchestrationContext) -> list[str]:
        began.append("began")
        return [await ctx.schedule_activity(greet, str(number)) for number in range(10)]

    instance = Instance(ten, keep=keep)
    (item,) = instance.start().work_items
    for number in range(10):
        result = instance.give(instance.completed(item.activity_id, str(number)))
        assert len(result.work_items) == (number < 9)
        item = result.work_items[0] if result.work_items else item
    assert instance.output == [str(number) for number in range(10)]
    assert len(began) == (1 if keep else 11)


@upstream("replay_engine/edge_cases", "large_result_string")
def test_a_result_of_a_million_characters_comes_through(keep: bool) -> None:
    @orchestration
    async def passes_on(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity("large", output=str)

    instance = Instance(passes_on, keep=keep)
    instance.start()
    instance.give(instance.completed(2, "x" * 1_000_000))
    assert instance.output == "x" * 1_000_000


@upstream("replay_engine/edge_cases", "multiple_external_events_same_name")
@upstream("nondeterminism_tests", "duplicate_external_events_are_handled_gracefully")
def test_one_wait_takes_the_first_of_several_events(keep: bool) -> None:
    @orchestration
    async def waits(ctx: OrchestrationContext) -> str:
        got = await ctx.wait_event("go", str)
        await ctx.schedule_timer(timedelta(seconds=1))
        return got

    instance = Instance(waits, keep=keep)
    instance.start()
    result = instance.give(instance.raised("go", "first"), instance.raised("go", "second"))
    assert result.dispositions == (Disposition.APPLIED, Disposition.EARLY)
    instance.give(instance.fired(4))
    assert instance.output == "first"
