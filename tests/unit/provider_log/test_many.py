"""Does what is asked of many get through all of them, in pages and side by side, and stop at its limit?"""

from collections.abc import Sequence

import pytest

from engine.clock import ManualClock
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.testing.conformance.given import create_instance, end_instance, raise_event, started_event, take
from engine.testing.memory import MemoryProvider
from provider_log import many

pytestmark = pytest.mark.anyio


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> MemoryProvider:
    """Ten instances, of which the first and every third runs; each has an earlier execution."""
    monkeypatch.setattr(many, "_PAGE", 3)
    monkeypatch.setattr(many, "_SIDE_BY_SIDE_MAX", 2)
    provider = MemoryProvider(ManualClock())
    for number in range(10):
        instance = f"i{number}"
        await create_instance(provider, instance)
        await end_instance(provider, instance, Status.CONTINUED_AS_NEW)
        await provider.enqueue_for_orchestrator(raise_event(instance, "go on"))
        begun = TurnResult(execution_id=2, history_delta=(started_event(),))
        await provider.ack_orchestration_item((await take(provider)).lock_token, begun)
        if number % 3:
            await end_instance(provider, instance, execution_id=2)
    return provider


async def left(provider: MemoryProvider) -> Sequence[str]:
    return [info.instance for info in await provider.list_instances()]


async def test_all_who_ended_are_deleted_through_every_page(provider: MemoryProvider) -> None:
    assert (await many.delete_many(provider, InstanceFilter())).instances == 6
    assert await left(provider) == ["i0", "i3", "i6", "i9"]


async def test_a_limit_counts_those_who_could_go(provider: MemoryProvider) -> None:
    assert await many.delete_many(provider, InstanceFilter(limit=3)) == DeletedCounts(
        instances=3, executions=6, events=6
    )
    assert await left(provider) == ["i0", "i3", "i5", "i6", "i7", "i8", "i9"]


async def test_all_are_pruned_up_to_the_limit(provider: MemoryProvider) -> None:
    counts = [await many.prune_many(provider, InstanceFilter(limit=7), PruneOptions()) for _ in range(3)]
    assert [each.instances for each in counts] == [7, 3, 0]
    assert counts[0] == PrunedCounts(instances=7, executions=7, events=7)
    assert {len(await provider.list_executions(instance)) for instance in await left(provider)} == {1}
