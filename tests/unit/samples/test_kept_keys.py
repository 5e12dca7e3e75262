"""Do clients see what orchestrations keep under their keys, and do orchestrations see it again?"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine import ActivityContext, OrchestrationContext, OrchestrationFailed, Status, activity, orchestration
from engine.errors import ConversionError, InstanceNotFound, UsageError, WaitTimedOut
from engine.model.payload import Payload
from engine.replay.bounds import TurnOptions
from engine.runtime.options import EngineOptions
from engine.testing import run
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.unit.samples.watching import kept
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@activity
async def work(number: int) -> int:
    return number


@activity
async def fail() -> None:
    raise ValueError("boom")


Calls = list[list[Any]]


def call(ctx: OrchestrationContext, method: str, *arguments: Any) -> None:
    getattr(ctx, method)(*arguments)


@orchestration
async def does(ctx: OrchestrationContext, executions: list[Calls]) -> str:
    """What each execution does with its keys, the calls of one after the other."""
    for method, *arguments in executions[0]:
        call(ctx, method, *arguments)
    return ctx.continue_as_new(executions[1:]) if executions[1:] else "done"


# What each execution does, and what a client finds in the end.
SCENARIOS: dict[str, tuple[list[Calls], dict[str, object]]] = {
    "nothing": ([[]], {}),
    "one set": ([[["set_key_value", "progress", "50%"]]], {"progress": "50%"}),
    "several set": ([[["set_key_value", key, key] for key in "abc"]], {"a": "a", "b": "b", "c": "c"}),
    "set anew": ([[["set_key_value", "k", 1], ["set_key_value", "k", 2]]], {"k": 2}),
    "one cleared": ([[["set_key_value", key, 1] for key in "abc"] + [["clear_key_value", "b"]]], {"a": 1, "c": 1}),
    "all cleared": ([[["set_key_value", key, 1] for key in "ab"] + [["clear_key_values"]]], {}),
    "cleared and set": ([[["set_key_value", "k", 1], ["clear_key_value", "k"], ["set_key_value", "k", 2]]], {"k": 2}),
    "an empty key": ([[["set_key_value", "", "value"]]], {"": "value"}),
    "a value of any form": ([[["set_key_value", "data", {"nested": [1, 2, 3]}]]], {"data": {"nested": [1, 2, 3]}}),
    "kept over an execution": ([[["set_key_value", "k", 1]], []], {"k": 1}),
    "set anew by the next execution": (
        [[["set_key_value", "k", "old"]], [["set_key_value", "k", "new"]]],
        {"k": "new"},
    ),
    "cleared by the next execution": ([[["set_key_value", key, 1] for key in "ab"], [["clear_key_values"]]], {}),
    "one from each of many executions": (
        [[["set_key_value", f"k{number}", number]] for number in range(5)],
        {f"k{number}": number for number in range(5)},
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
@upstream(
    "kv_store_tests",
    "kv_set_value_visible_via_client",
    "kv_get_missing_key_returns_none",
    "kv_set_multiple_values_same_turn",
    "kv_overwrite_same_key",
    "kv_clear_single_value",
    "kv_clear_all_values",
    "kv_clear_value_then_reset",
    "kv_clear_value_then_set_same_key",
    "kv_empty_key",
    "kv_json_value",
    "kv_overwrite_after_can",
    "kv_clear_after_can",
    "kv_accessible_after_completion",
    "kv_client_get_all_values",
    "kv_client_get_all_values_empty",
    "kv_client_get_all_values_after_overwrite",
    "kv_client_get_all_values_after_clear",
    "kv_client_get_all_values_across_can",
    "kv_stress_can_throughput",
)
async def test_a_client_finds_what_was_kept_last(bench: Bench, scenario: str) -> None:
    executions, found = SCENARIOS[scenario]
    async with bench.engine(orchestrations=[does]):
        await (await bench.client.start(does, executions, instance="keeps")).wait()
    assert await bench.client.get_key_values("keeps") == found
    for key in {"a", "k", "nope", *found}:
        assert await bench.client.get_key_value("keeps", key) == found.get(key)


@orchestration
async def keeps_then_waits(ctx: OrchestrationContext, end: str) -> None:
    ctx.set_key_value("progress", "begun")
    await ctx.wait_event("go")
    if end == "fail":
        await ctx.schedule_activity(fail)


@upstream("kv_store_tests", "client_get_value_running", "kv_accessible_after_failure")
async def test_a_client_finds_it_while_the_instance_runs_and_when_it_has_failed(bench: Bench) -> None:
    async with bench.engine(orchestrations=[keeps_then_waits], activities=[fail]):
        handle = await bench.client.start(keeps_then_waits, "fail", instance="keeps")
        await cycles()
        assert await bench.client.get_key_value("keeps", "progress") == "begun"
        await handle.raise_event("go")
        with pytest.raises(OrchestrationFailed, match="boom"):
            await handle.wait()
    assert await bench.client.get_key_values("keeps") == {"progress": "begun"}


@orchestration
async def sees_itself(ctx: OrchestrationContext) -> list[object]:
    seen: list[object] = [ctx.get_key_value("x")]
    ctx.set_key_value("x", 1)
    seen.append(ctx.get_key_value("x"))
    await ctx.schedule_activity(work, 1)
    seen.append(ctx.get_key_value("x"))
    ctx.set_key_value("x", 2)
    await ctx.schedule_timer(SECOND)
    seen.append(ctx.get_key_value("x"))
    ctx.clear_key_values()
    seen.append(ctx.get_key_value("x"))
    ctx.set_key_value("x", "last")
    return seen


@pytest.mark.parametrize("replay_always", [True, False])
@upstream(
    "kv_store_tests",
    "kv_get_value_reads_local_state",
    "kv_persists_across_turns",
    "kv_update_across_turns",
    "kv_interleaved_with_activities_and_timers",
    "kv_single_thread_basic",
)
def test_the_code_sees_its_own_keys_from_turn_to_turn(replay_always: bool) -> None:
    outcome = run(sees_itself, activities=[work], replay_always=replay_always)
    assert outcome.output == [None, 1, 1, 2, None]
    assert {key: kept.value for key, kept in outcome.key_values.items()} == {"x": Payload(b'"last"')}


@orchestration
async def counts(ctx: OrchestrationContext, left: int) -> int | None:
    for number in range(3):
        ctx.set_key_value("counter", (ctx.get_key_value("counter", int) or 0) + 1)
        await ctx.schedule_activity(work, number)
    return ctx.continue_as_new(left - 1) if left else ctx.get_key_value("counter", int)


@pytest.mark.parametrize(("more", "total"), [(0, 3), (1, 6), (2, 9)])
@upstream(
    "kv_store_tests",
    "kv_read_modify_write_across_turns",
    "kv_read_modify_write_every_turn",
    "kv_rmw_across_can_boundary",
    "kv_can_chain_accumulation",
    "kv_survives_continue_as_new",
    "kv_single_thread_can_with_kv",
)
def test_a_counter_counts_on_over_turns_and_executions(more: int, total: int) -> None:
    assert run(counts, more, activities=[work]).output == total


@orchestration
async def clears_what_was(ctx: OrchestrationContext, first: bool) -> list[object]:
    if first:
        for key in ("session", "kept", "shared"):
            ctx.set_key_value(key, key)
        return ctx.continue_as_new(False)
    ctx.clear_key_value("session")
    await ctx.schedule_activity(work, 1)
    seen: list[object] = [ctx.get_key_value("session"), ctx.get_key_value("kept")]
    ctx.clear_key_values()
    ctx.set_key_value("new", 1)
    await ctx.schedule_activity(work, 2)
    return [*seen, ctx.get_key_value("shared"), ctx.get_key_value("new")]


@upstream("kv_store_tests", "kv_clear_all_then_set_across_turns", "kv_clear_single_with_prior_execution_value")
def test_what_an_earlier_execution_left_can_be_cleared() -> None:
    outcome = run(clears_what_was, True, activities=[work])
    assert outcome.output == [None, "kept", None, 1]
    assert list(outcome.key_values) == ["new"]


@orchestration
async def keeps_the_winner(ctx: OrchestrationContext) -> str | None:
    won = await ctx.select(ctx.schedule_timer(60 * SECOND), ctx.schedule_activity(work, 1))
    ctx.set_key_value("winner", ["timer", "activity"][won.index])
    return ctx.get_key_value("winner", str)


@orchestration
async def keeps_all_results(ctx: OrchestrationContext) -> None:
    results = await ctx.join(*(ctx.schedule_activity(work, number) for number in range(5)))
    for result in results:
        ctx.set_key_value(f"result {result}", result)


@upstream("kv_store_tests", "kv_works_in_select_branch", "kv_in_fan_out_fan_in")
def test_keys_in_a_race_and_behind_a_fan_in() -> None:
    assert run(keeps_the_winner, activities=[work]).output == "activity"
    assert list(run(keeps_all_results, activities=[work]).key_values) == [f"result {number}" for number in range(5)]


@orchestration
async def keeps_a_number(ctx: OrchestrationContext) -> str:
    ctx.set_key_value("count", 42)
    assert ctx.get_key_value("count", int) == 42
    try:
        ctx.get_key_value("count", dict[str, str])
    except Exception as error:
        return str(error)
    return "no error"


@upstream("kv_store_tests", "kv_typed_round_trip", "kv_get_value_typed_wrong_type")
async def test_a_value_has_a_type_on_both_sides(bench: Bench) -> None:
    async with bench.engine(orchestrations=[keeps_a_number]):
        said = await (await bench.client.start(keeps_a_number, instance="number")).wait()
    assert said == "expected what is kept under 'count' of type dict[str, str], but Expected `object`, got `int`"
    assert await bench.client.get_key_value("number", "count", int) == 42


@orchestration
async def fills(ctx: OrchestrationContext, count: int) -> None:
    for round_number in range(2):
        ctx.clear_key_values()
        for number in range(count):
            ctx.set_key_value(f"{round_number} {number}", "x")
        await ctx.schedule_activity(work, round_number)


@pytest.mark.parametrize(("count", "status"), [(100, Status.COMPLETED), (101, Status.FAILED)])
@upstream(
    "kv_store_tests",
    "kv_at_key_limit_succeeds",
    "kv_exceeding_key_limit_fails_orchestration",
    "kv_clear_all_resets_key_count",
    "kv_stress_high_key_count",
)
async def test_so_many_keys_and_no_more(bench: Bench, count: int, status: Status) -> None:
    options = EngineOptions(turn=TurnOptions(keys_max=100))
    async with bench.engine(orchestrations=[fills], activities=[work], options=options):
        handle = await bench.client.start(fills, count, instance="fills")
        with contextlib.suppress(OrchestrationFailed):
            await handle.wait()
        info = await handle.status()
    assert info.status is status
    if status is Status.FAILED:
        assert info.failure is not None
        assert "at most 100 keys, but it has 101" in info.failure.message
    else:
        assert len(await bench.client.get_key_values("fills")) == 100


@upstream("kv_store_tests", "kv_exceeding_value_size_limit_fails_orchestration")
async def test_a_value_that_is_too_large_fails_the_instance(bench: Bench) -> None:
    size = TurnOptions().key_value_bytes_max
    async with bench.engine(orchestrations=[does]):
        within = await bench.client.start(does, [[["set_key_value", "k", "x" * (size - 2)]]])
        assert await within.wait() == "done"
        beyond = await bench.client.start(does, [[["set_key_value", "k", "x" * (size - 1)]]])
        with pytest.raises(OrchestrationFailed, match=f"at most {size} bytes"):
            await beyond.wait()


@upstream(
    "kv_store_tests",
    "kv_deleted_with_instance",
    "kv_not_accessible_after_deletion",
    "kv_delete_instance_removes_all_kv",
)
@upstream(
    "kv_store_tests",
    "kv_prune_execution_removes_orphan_keys",
    "kv_bulk_prune",
    differs="As in upstream's test, and not as its name says, pruning executions takes no key away.",
)
async def test_keys_outlive_pruned_executions_and_go_with_the_instance(bench: Bench) -> None:
    executions: list[Calls] = [
        [["set_key_value", "first", 1], ["set_key_value", "shared", 1]],
        [["set_key_value", "shared", 2]],
    ]
    async with bench.engine(orchestrations=[does]):
        await (await bench.client.start(does, executions, instance="keeps")).wait()
    assert (await bench.client.prune("keeps", keep_last=1)).executions == 1
    assert await bench.client.get_key_values("keeps") == {"first": 1, "shared": 2}
    assert (await bench.client.delete("keeps")).instances == 1
    assert await bench.client.get_key_values("keeps") == {}
    with pytest.raises(InstanceNotFound):
        await bench.client.status("keeps")


@orchestration
async def child(ctx: OrchestrationContext) -> list[str]:
    seen = ctx.get_keys()
    ctx.set_key_value("role", "child")
    return seen


@orchestration
async def parent(ctx: OrchestrationContext) -> list[str]:
    ctx.set_key_value("role", "parent")
    return await ctx.schedule_sub_orchestration(child)


@upstream("kv_store_tests", "kv_parent_child_isolation", "kv_delete_parent_cascades_child_kv")
async def test_parent_and_child_keep_their_own_and_go_together(bench: Bench) -> None:
    async with bench.engine(orchestrations=[parent, child]):
        assert await (await bench.client.start(parent, instance="p")).wait() == []
    assert await bench.client.get_key_value("p", "role") == "parent"
    assert await bench.client.get_key_value("p::sub::3", "role") == "child"
    assert (await bench.client.delete("p")).instances == 2
    assert await bench.client.get_key_values("p") == await bench.client.get_key_values("p::sub::3") == {}


@upstream("kv_store_tests", "kv_stress_concurrent_writes")
async def test_instances_that_keep_at_once_do_not_meet(bench: Bench) -> None:
    async with bench.engine(orchestrations=[does]):
        handles = [
            await bench.client.start(does, [[["set_key_value", f"k{key}", [number, key]] for key in range(5)]])
            for number in range(10)
        ]
        await asyncio.gather(*(handle.wait() for handle in handles))
    for number, handle in enumerate(handles):
        found = await bench.client.get_key_values(handle.instance)
        assert found == {f"k{key}": [number, key] for key in range(5)}


@orchestration
async def source(ctx: OrchestrationContext) -> None:
    for version in (1, 2):
        ctx.set_key_value("v", [version])
        await ctx.wait_event("next")


@upstream(
    "kv_store_tests",
    "kv_get_value_from_instance",
    "kv_get_value_from_instance_after_source_update",
    "kv_get_value_from_instance_key_missing",
    "kv_get_value_from_instance_unknown_instance",
    "kv_get_value_from_instance_typed_e2e",
    "kv_get_value_from_instance_replay_safe",
    "kv_get_value_from_instance_self",
    "kv_stress_cross_instance_reads",
)
async def test_the_keys_of_any_instance_can_be_read(bench: Bench) -> None:
    @orchestration
    async def reads(ctx: OrchestrationContext) -> list[object]:
        ctx.set_key_value("own", [0])
        places = [("source", "v"), ("source", "nothing"), ("nobody", "v"), (ctx.instance, "own")]
        seen: list[object] = list(await ctx.join(*(ctx.get_key_value_of(*place, list[int]) for place in places)))
        ctx.set_key_value("has looked", True)
        await ctx.wait_event("go")
        return [*seen, await ctx.get_key_value_of("source", "v")]

    options = EngineOptions(cache_bytes_max=0)  # so that each turn replays what was read before
    async with bench.engine(orchestrations=[source, reads], options=options):
        writer = await bench.client.start(source, instance="source")
        await kept(bench, "source", "v", [1])
        readers = [await bench.client.start(reads) for _ in range(10)]
        await asyncio.gather(*(kept(bench, reader.instance, "has looked", True) for reader in readers))
        await writer.raise_event("next")
        await kept(bench, "source", "v", [2])
        for reader in readers:
            await reader.raise_event("go")
            assert await ends(bench.clock, reader.wait()) == [[1], None, None, [0], [2]]


async def test_what_another_keeps_must_be_of_the_type_that_was_asked_for(bench: Bench) -> None:
    @orchestration
    async def reads(ctx: OrchestrationContext) -> str:
        try:
            return str(await ctx.get_key_value_of("source", "v", int))
        except ConversionError as error:
            return str(error)

    async with bench.engine(orchestrations=[source, reads]):
        await bench.client.start(source, instance="source")
        await kept(bench, "source", "v", [1])
        told = await ends(bench.clock, (await bench.client.start(reads)).wait())
        assert "what source keeps under 'v'" in told


def test_another_instance_is_read_in_a_scenario_too() -> None:
    @orchestration
    async def below(ctx: OrchestrationContext) -> str:
        ctx.set_key_value("role", "child")
        return ctx.instance

    @orchestration
    async def reads(ctx: OrchestrationContext) -> list[object]:
        instance = await ctx.schedule_sub_orchestration(below)
        return [await ctx.get_key_value_of(instance, "role", str), await ctx.get_key_value_of("nobody", "role")]

    assert run(reads, orchestrations=[below]).output == ["child", None]


def test_no_user_s_activity_takes_the_place_of_a_builtin() -> None:
    with pytest.raises(UsageError, match="expected a name that does not begin with 'turnlog::'"):
        activity(name="turnlog::activity::get_key_value")(work)


@pytest.mark.parametrize(
    ("instance", "key", "said"), [("", "k", "the id of an instance"), ("a", "k" * 1025, "a key of at most")]
)
def test_a_place_where_nothing_can_be_is_refused_on_its_line(instance: str, key: str, said: str) -> None:
    @orchestration
    async def reads(ctx: OrchestrationContext) -> str:
        try:
            return str(await ctx.get_key_value_of(instance, key))
        except UsageError as error:
            return str(error)

    assert said in run(reads).output


async def test_an_activity_has_a_client_of_its_engine(bench: Bench) -> None:
    @activity
    async def tell(ctx: ActivityContext, instance: str) -> object:
        before = await ctx.client.get_key_value(instance, "v")
        await ctx.client.raise_event(
            instance, "next", message_id=f"{ctx.instance} {ctx.execution_id} {ctx.activity_id}"
        )
        return before

    @orchestration
    async def tells(ctx: OrchestrationContext) -> object:
        return await ctx.schedule_activity(tell, "source")

    async with bench.engine(orchestrations=[source, tells], activities=[tell]):
        await bench.client.start(source, instance="source")
        await kept(bench, "source", "v", [1])
        assert await ends(bench.clock, (await bench.client.start(tells)).wait()) == [1]
        await kept(bench, "source", "v", [2])


async def test_who_waits_for_a_key_is_told_when_something_stands_there(bench: Bench) -> None:
    async with bench.engine(orchestrations=[source]):
        waiting = asyncio.ensure_future(bench.client.wait_for_key_value("source", "v", list[int], timeout=5))
        await cycles()
        assert not waiting.done()  # the instance need not exist yet
        await bench.client.start(source, instance="source")
        assert await waiting == [1]
        assert await bench.client.wait_for_key_value("source", "v") == [1]  # it stands there already
        with pytest.raises(ConversionError, match="key 'v' of source"):
            await bench.client.wait_for_key_value("source", "v", str)
        late = "expected 'source' to keep something under 'w' within 2 s, but it is running"
        with pytest.raises(WaitTimedOut, match=late):
            await ends(bench.clock, bench.client.wait_for_key_value("source", "w", timeout=2))


@orchestration
async def prunes(ctx: OrchestrationContext, phase: int) -> list[object]:
    if phase < 2:
        ctx.set_key_value(f"from {phase}", phase)
        await ctx.schedule_timer(SECOND)
        return ctx.continue_as_new(phase + 1)
    ctx.set_key_value("new", 2)
    nothing = ctx.prune_key_values(datetime.fromtimestamp(0, UTC))
    old = ctx.prune_key_values(ctx.utc_now() - 1.5 * SECOND)
    left = ctx.get_keys()
    rest = ctx.prune_key_values(datetime.max.replace(tzinfo=UTC))
    none_left = ctx.prune_key_values(datetime.max.replace(tzinfo=UTC))
    return [nothing, old, left, rest, none_left, ctx.get_keys()]


@upstream(
    "kv_store_tests",
    "kv_prune_old_values_by_timestamp",
    "kv_prune_selective_by_age",
    "kv_prune_with_zero_threshold_does_nothing",
    "kv_prune_empty_returns_zero",
    "kv_prune_current_turn_keys_with_max_threshold",
)
def test_old_keys_are_pruned_and_young_ones_stay() -> None:
    assert run(prunes, 0).output == [0, 1, ["from 1", "new"], 2, 0, []]


@orchestration
async def prunes_what_it_just_kept(ctx: OrchestrationContext) -> list[int]:
    ctx.set_key_value("k", 1)
    at_once = ctx.prune_key_values(ctx.utc_now())
    await ctx.schedule_timer(SECOND)
    return [at_once, ctx.prune_key_values(ctx.utc_now())]


@upstream(
    "kv_store_tests",
    "kv_prune_unpersisted_current_turn_key_with_wall_clock",
    differs="The wall clock is refused; by the time of the instance, a key is as old as the event that woke the code.",
)
def test_a_key_is_as_old_as_the_turn_it_was_kept_in() -> None:
    assert run(prunes_what_it_just_kept).output == [0, 1]
