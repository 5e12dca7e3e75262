"""Does an activity keep its lease for as long as it runs, however long either is?"""

import asyncio

import pytest

from engine.activity_context import ActivityContext
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@orchestration
async def at_once(ctx: OrchestrationContext, names: list[str]) -> list[str]:
    return list(await ctx.join(*(ctx.schedule_activity("work", name, output=str) for name in names)))


@activity(name="work")
async def short(name: str) -> str:
    return f"did {name}"


@pytest.mark.parametrize("lease_ms", [500, 1_000, 3_000, 30_000, 3_600_000])
@pytest.mark.parametrize("names", [["one"], ["one", "two", "three"]])
@upstream(
    "lock_timeout_tests",
    "long_running_activity_with_lock_renewal",
    "concurrent_activities_with_renewal",
    "lock_renewal_short_timeout",
)
async def test_an_activity_may_take_longer_than_its_lease(bench: Bench, names: list[str], lease_ms: int) -> None:
    release = asyncio.Event()
    begun: list[tuple[str, int]] = []

    @activity(name="work")
    async def long(ctx: ActivityContext, name: str) -> str:
        begun.append((name, ctx.attempt))
        await release.wait()
        return f"did {name}"

    options = EngineOptions(activity_lease_ms=lease_ms, session_idle_timeout_ms=lease_ms + 1)
    async with nothing_left(), bench.engine(orchestrations=[at_once], activities=[long], options=options) as engine:
        handle = await bench.client.start(at_once, names)
        await cycles()
        for _ in range(15):
            bench.clock.advance(max(1, lease_ms // 3))
            await cycles()
        release.set()
        assert await handle.wait() == [f"did {name}" for name in names]
    assert begun == [(name, 1) for name in names]
    assert engine.counters.leases_renewed == 15 * len(names)
    assert engine.counters.leases_lost == 0


@pytest.mark.parametrize("lease_ms", [500, 1_000, 60_000])
@upstream(
    "lock_timeout_tests",
    "short_activity_no_renewal_needed",
    "very_short_lock_timeout_works",
    "orchestration_with_custom_timeout_completes",
)
async def test_a_short_activity_needs_no_renewal(bench: Bench, lease_ms: int) -> None:
    options = EngineOptions(activity_lease_ms=lease_ms, turn_lease_ms=lease_ms)
    async with nothing_left(), bench.engine(orchestrations=[at_once], activities=[short], options=options) as engine:
        handle = await bench.client.start(at_once, ["one"])
        assert await handle.wait() == ["did one"]
    assert engine.counters.leases_renewed == 0


@upstream("lock_timeout_tests", "default_lock_timeouts", differs="Both are 30 s.")
@upstream("lock_timeout_tests", "custom_lock_timeout_configuration")
def test_leases_are_half_a_minute_unless_somebody_says_otherwise() -> None:
    default, custom = EngineOptions(), EngineOptions(turn_lease_ms=1_000, activity_lease_ms=120_000)
    assert (default.turn_lease_ms, default.activity_lease_ms) == (30_000, 30_000)
    assert (custom.turn_lease_ms, custom.activity_lease_ms) == (1_000, 120_000)
