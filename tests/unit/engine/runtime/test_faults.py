"""Does everything end, and end right, when a tenth of all calls to the provider fail?"""

import asyncio

import pytest

from engine.errors import InDoubt, LeaseLost, OwnershipLost, ProviderError, Refused, Retryable
from engine.model.events import ActivityCompleted, ActivityScheduled
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.doors import Chance
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, ends, nothing_left

pytestmark = pytest.mark.anyio

FAULTS: dict[str, tuple[type[ProviderError], ...]] = {
    "fetch_orchestration_items": (Retryable, InDoubt, OwnershipLost),
    "fetch_work_item": (Retryable, InDoubt, OwnershipLost),
    "ack_orchestration_item": (Retryable, InDoubt, LeaseLost, OwnershipLost, Refused),
    "ack_work_item": (Retryable, InDoubt, LeaseLost, OwnershipLost),
    "renew_work_item_lock": (Retryable, InDoubt, LeaseLost, OwnershipLost),
    "enqueue_for_orchestrator": (Retryable, InDoubt),
    "ended": (Retryable,),
}
"""What each method may answer without anything having happened."""


class FaultyProvider(ScriptedProvider):
    """One call in ten fails; which ones and how repeats with `chance`."""

    chance = Chance(seed=0)
    faults = 0

    def _called(self, method: str) -> None:
        kinds = FAULTS.get(method)
        if kinds and self.chance.uniform(0, 1) < 0.1:
            self.faults += 1
            raise kinds[int(self.chance.uniform(0, len(kinds)))](method, "a fault on order")
        super()._called(method)


@activity
async def double(number: int) -> int:
    return 2 * number


@activity
def add_one(number: int) -> int:
    return number + 1


@orchestration
async def compute(ctx: OrchestrationContext, number: int) -> int:
    left, right = await asyncio.gather(ctx.schedule_activity(double, number), ctx.schedule_activity(add_one, number))
    await asyncio.sleep(1)
    return await ctx.schedule_activity(double, left + right)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cache_bytes_max", [0, 100_000, 100_000_000])
async def test_every_instance_ends_right_with_one_completion_a_schedule(seed: int, cache_bytes_max: int) -> None:
    bench = Bench(FaultyProvider)
    assert isinstance(bench.provider, FaultyProvider)
    bench.provider.chance = Chance(seed)
    # A lost lease costs a delivery; at one fault in ten, fifty in a row mean that something does not move on.
    options = EngineOptions(attempts_max=50, cache_bytes_max=cache_bytes_max)
    async with nothing_left(), bench.engine(orchestrations=[compute], activities=[double, add_one], options=options):
        starts = (bench.client.start(compute, number, instance=f"i-{number}") for number in range(40))
        handles = [await ends(bench.clock, start) for start in starts]
        results = [await ends(bench.clock, handle.wait()) for handle in handles]
    assert results == [6 * number + 2 for number in range(40)]
    assert bench.provider.faults > 40
    for handle in handles:
        history = await handle.history()
        scheduled = [event.event_id for event in history if isinstance(event, ActivityScheduled)]
        completed = [event.source_event_id for event in history if isinstance(event, ActivityCompleted)]
        assert sorted(completed) == scheduled
