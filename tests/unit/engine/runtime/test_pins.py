"""Does an engine run the executions whose rules it knows, and leave alone those of others?"""

from typing import Any

import pytest

from engine.errors import UsageError
from engine.model.events import ExternalSubscribed, OrchestrationStarted
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import RULES, SUPPORTED, EngineVersion, VersionRange
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

OLDER = EngineVersion(0, 9, 0)
NEWER = EngineVersion(RULES.major + 1, 0, 0)
NEWEST = EngineVersion(RULES.major + 2, 0, 0)
NOBODYS = EngineVersion(99, 0, 0)


@orchestration
async def wait_for_go(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


@orchestration
async def ask(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(wait_for_go, instance="asked")


SERVED: dict[str, Any] = {"orchestrations": [wait_for_go, ask]}


async def begun_by(bench: Bench, instance: str, pin: EngineVersion | None) -> None:
    """An instance that waits and has got what it waits for, pinned to the rules of some other engine."""
    await bench.client.start(wait_for_go, instance=instance)
    # Whatever was begun before has other rules than these, so the new one is all there is to fetch.
    (item,) = await bench.provider.fetch_orchestration_items(1, 30_000, 0, VersionRange(NOBODYS, NOBODYS))
    at_ms = item.now_ms
    history = (
        OrchestrationStarted(
            event_id=1, timestamp_ms=at_ms, name="wait_for_go", version="1.0.0", input=NULL, incarnation=7
        ),
        ExternalSubscribed(event_id=2, timestamp_ms=at_ms, name="go"),
    )
    metadata = ExecutionMetadata(
        orchestration_name="wait_for_go", orchestration_version="1.0.0", incarnation=7, pinned_version=pin
    )
    await bench.provider.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=history, metadata=metadata)
    )
    await bench.client.raise_event(instance, "go", "on")


async def is_left_alone(bench: Bench, instance: str) -> None:
    for _ in range(3):
        await cycles()
        bench.clock.advance(60_000)
    assert bench.provider.max_attempt_count(instance) == 0, "expected it left alone, but it was fetched"
    assert (await bench.client.status(instance)).status is Status.RUNNING


@upstream(
    "capability_filtering_tests",
    "execution_metadata_includes_pinned_version_on_new_orchestration",
    "runtime_processes_compatible_execution_normally",
    "default_supported_range_includes_current_and_older_versions",
    "sub_orchestration_gets_own_pinned_version",
)
async def test_an_execution_is_pinned_to_the_rules_it_was_begun_by(bench: Bench) -> None:
    async with bench.engine(**SERVED):
        handle = await bench.client.start(ask, instance="asks")
        await bench.provider.changed("asked", 0)
        await bench.client.raise_event("asked", "go", "on")
        assert await handle.wait() == "on"
    for instance in ("asks", "asked"):
        assert (await bench.client.status(instance)).pinned_version == RULES


@upstream("capability_filtering_tests", "default_supported_range_includes_current_and_older_versions")
async def test_what_an_older_engine_began_is_run(bench: Bench) -> None:
    await begun_by(bench, "old", OLDER)
    async with bench.engine(**SERVED):
        assert await bench.client.wait("old") == "on"


@pytest.mark.parametrize("attempts_max", [1, 100])
@upstream(
    "capability_filtering_tests",
    "runtime_abandons_incompatible_execution",
    "runtime_abandon_reaches_max_attempts_and_poisons",
    "runtime_abandon_uses_short_delay",
    "default_supported_range_excludes_future_versions",
    "pinned_version_extracted_from_orchestration_started_event",
)
async def test_what_a_newer_engine_began_waits_for_one(bench: Bench, attempts_max: int) -> None:
    await begun_by(bench, "new", NEWER)
    async with bench.engine(**SERVED, options=EngineOptions(attempts_max=attempts_max)):
        await is_left_alone(bench, "new")
    options = EngineOptions(supported_pins=VersionRange(RULES, NEWER))
    async with bench.engine(**SERVED, options=options):
        assert await ends(bench.clock, bench.client.wait("new")) == "on"
    assert (await bench.client.status("new")).pinned_version == NEWER


@upstream("capability_filtering_tests", "custom_supported_replay_versions_narrows_range")
async def test_an_engine_may_be_told_to_leave_what_it_could_run(bench: Bench) -> None:
    await begun_by(bench, "old", OLDER)
    options = EngineOptions(supported_pins=VersionRange(RULES, RULES))
    async with bench.engine(**SERVED, options=options):
        await is_left_alone(bench, "old")


@upstream(
    "capability_filtering_tests",
    "two_runtimes_different_version_ranges_route_correctly",
    "mixed_cluster_compatible_and_incompatible_items",
    "overlapping_version_ranges_both_can_process",
)
async def test_two_engines_each_run_what_they_know(bench: Bench) -> None:
    began = {"old 1": OLDER, "old 2": OLDER, "old 3": OLDER, "new 1": NEWEST, "new 2": NEWEST, "both": NEWER}
    for instance, pin in began.items():
        await begun_by(bench, instance, pin)
    one = EngineOptions(supported_pins=VersionRange(OLDER, NEWER))
    other = EngineOptions(supported_pins=VersionRange(RULES, NEWEST))
    async with (
        nothing_left(),
        bench.engine(**SERVED, options=one) as old,
        bench.engine(**SERVED, options=other) as new,
    ):
        for instance in began:
            assert await ends(bench.clock, bench.client.wait(instance)) == "on"
    completed = (old.counters.orchestrations_completed, new.counters.orchestrations_completed)
    assert completed in {(4, 2), (3, 3)}


@upstream("capability_filtering_tests", "existing_executions_without_pinned_version_remain_fetchable")
async def test_what_is_pinned_to_nothing_is_run_by_anyone(bench: Bench) -> None:
    await begun_by(bench, "unpinned", None)
    async with bench.engine(**SERVED):
        assert await bench.client.wait("unpinned") == "on"


@upstream(
    "capability_filtering_tests",
    "wide_supported_range_drains_stuck_items_via_deserialization_error",
    differs="What cannot be read is held, for somebody to look at, and not failed.",
)
async def test_an_engine_that_takes_everything_sets_aside_what_it_cannot_read(bench: Bench) -> None:
    await begun_by(bench, "new", NEWEST)
    bench.provider.corrupt_history("new")
    everything = EngineOptions(supported_pins=VersionRange(SUPPORTED.first, NEWEST), attempts_max=3)
    async with nothing_left(), bench.engine(**SERVED, options=everything) as engine:
        await cycles()
        assert (await bench.client.status("new")).status is Status.HELD
    assert engine.counters.turns_held == 1


def test_an_engine_runs_what_it_begins() -> None:
    with pytest.raises(UsageError, match=r"by which this engine runs what it begins, but they are 2\.0\.0 to 3\.0\.0"):
        EngineOptions(supported_pins=VersionRange(EngineVersion(2, 0, 0), EngineVersion(3, 0, 0)))
