"""Does a custom status show what the code said last, from turn to turn and from execution to execution?"""

import contextlib
from typing import Any

import pytest

from engine import OrchestrationContext, OrchestrationFailed, activity, orchestration
from engine.model.views import InstanceInfo
from engine.replay.bounds import TurnOptions
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@activity
async def echo(number: int) -> int:
    return number


Said = list[list[str | None]]


@orchestration
async def says(ctx: OrchestrationContext, executions: list[Said]) -> list[str | None]:
    """In each execution and each of its turns, these; what it reads back before and after each turn."""
    seen = [ctx.custom_status]
    for number, turn in enumerate(executions[0]):
        for text in turn:
            ctx.set_custom_status(text)
        seen.append(ctx.custom_status)
        await ctx.schedule_activity(echo, number)
    return ctx.continue_as_new(executions[1:]) if executions[1:] else seen


@orchestration
async def says_and_fails(ctx: OrchestrationContext, size: int) -> None:
    ctx.set_custom_status("x" * size)
    raise ValueError("boom")


async def said(bench: Bench, code: Any, value: object, options: EngineOptions | None = None) -> InstanceInfo:
    """The instance as it has ended."""
    async with bench.engine(orchestrations=[code], activities=[echo], options=options):
        handle = await bench.client.start(code, value, instance="says")
        with contextlib.suppress(OrchestrationFailed):
            await handle.wait()
    return await handle.status()


# What is said in each turn of each execution; what shows in the end, how often it changed, what the last one read.
SCENARIOS: dict[str, tuple[list[Said], str | None, int, list[str | None]]] = {
    "nothing": ([[[]]], None, 0, [None, None]),
    "one": ([[["a"]]], "a", 1, [None, "a"]),
    "cleared": ([[["a", None]]], None, 1, [None, None]),
    "the last of three": ([[["a", "b", "c"]]], "c", 1, [None, "c"]),
    "kept over a turn": ([[["a"], []]], "a", 1, [None, "a", "a"]),
    "another in a later turn": ([[["a"], ["b"]]], "b", 2, [None, "a", "b"]),
    "kept over an execution": ([[["a"]], [[]]], "a", 1, ["a", "a"]),
    "another in the next execution": ([[["a"]], [["b"]]], "b", 2, ["a", "b"]),
    "cleared in the next execution": ([[["a"]], [[None]]], None, 2, ["a", None]),
}


@pytest.mark.parametrize("kept_bytes_max", [0, 1_000_000], ids=["replayed", "kept"])
@pytest.mark.parametrize("scenario", SCENARIOS)
@upstream(
    "custom_status_tests",
    "custom_status_set_visible_on_completion",
    "custom_status_none_when_not_set",
    "custom_status_reset_clears_to_none",
    "custom_status_last_write_wins",
    "custom_status_persists_across_turns",
    "custom_status_updated_in_later_turn",
    "custom_status_version_increments",
    "custom_status_persists_across_continue_as_new",
    "custom_status_reset_across_continue_as_new",
    "custom_status_get_reflects_set_across_turns",
    "custom_status_get_reflects_carry_forward_after_can",
)
async def test_what_was_said_last_shows(scenario: str, kept_bytes_max: int) -> None:
    executions, shown, changes, seen = SCENARIOS[scenario]
    bench = Bench()
    info = await said(bench, says, executions, EngineOptions(cache_bytes_max=kept_bytes_max))
    assert (info.custom_status, info.custom_status_version) == (shown, changes)
    assert await bench.client.wait("says") == seen


@upstream("custom_status_tests", "custom_status_visible_on_failure")
async def test_it_shows_of_a_failed_instance_too() -> None:
    assert (await said(Bench(), says_and_fails, 3)).custom_status == "xxx"


@pytest.mark.parametrize(
    ("size", "sentence"), [(99, "boom"), (100, "boom"), (101, "at most 100 bytes, but it has 101")]
)
@upstream(
    "custom_status_tests",
    "custom_status_at_size_limit_succeeds",
    "custom_status_exceeding_size_limit_fails_orchestration",
    "custom_status_size_limit_precise_boundary",
)
async def test_so_many_bytes_and_no_more(size: int, sentence: str) -> None:
    options = EngineOptions(turn=TurnOptions(custom_status_bytes_max=100))
    info = await said(Bench(), says_and_fails, size, options)
    assert info.failure is not None
    assert sentence in info.failure.message
