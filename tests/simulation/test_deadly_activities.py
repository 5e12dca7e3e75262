"""What becomes of an activity that ends its process each time it begins? Its attempts are counted, and it is poison.

Timeline 9. The process is gone before anything else is committed: only a delivery that was written down first counts.
"""

import asyncio
from typing import Literal

import pytest

from engine import (
    ActivityContext,
    Client,
    Engine,
    OrchestrationContext,
    OrchestrationFailed,
    Registry,
    activity,
    orchestration,
)
from engine.model.payload import NULL
from engine.model.work import WorkItem
from engine.runtime.options import EngineOptions
from provider_log import records as r
from provider_log.partition.worker_queue import SUSPECTS_MAX
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import World
from tests.simulation.scenario import died, is_fold, run

ATTEMPTS_MAX = 3
LIVES_MAX = 3 * ATTEMPTS_MAX


def nobodys(number: int) -> WorkItem:
    """An item that nobody serves, and that is in nobody's way."""
    return WorkItem(
        instance="i", incarnation=1, execution_id=1, activity_id=number, name="x", input=NULL, tag="nobody's"
    )


class Service:
    """Code of which one activity ends the process it runs in.

    Attributes:
        begun: The deadly activity's attempts, as often as it began.
    """

    def __init__(self) -> None:
        self.line = Line()
        self.begun: list[int] = []

    def registry(self) -> Registry:
        @activity
        async def deadly(ctx: ActivityContext, _number: int) -> int:
            self.begun.append(ctx.attempt)
            self.line.freeze()
            await asyncio.Event().wait()
            raise AssertionError

        @activity
        async def harmless(number: int) -> int:
            return number

        @orchestration
        async def doomed(ctx: OrchestrationContext, number: int) -> int:
            return await ctx.schedule_activity(deadly, number)

        @orchestration
        async def sound(ctx: OrchestrationContext, number: int) -> int:
            return await ctx.schedule_activity(harmless, number)

        return Registry(orchestrations=[doomed, sound], activities=[deadly, harmless])


@pytest.mark.parametrize("crash", ["kept", "flushed", "lost"])
def test_an_activity_that_ends_its_process_is_poison_after_its_attempts(
    crash: Literal["kept", "flushed", "lost"],
) -> None:
    world, service = World(), Service()

    async def live(first: bool) -> None:
        async with (
            world.provider(line=service.line) as provider,
            Engine(
                provider,
                service.registry(),
                options=EngineOptions(attempts_max=ATTEMPTS_MAX),
                clock=world.clock,
                chance=world.chance,
            ),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            if first:
                await client.start("sound", 2, instance="before")
                await client.wait("before", 60)
                for number in range(SUSPECTS_MAX):
                    await provider.enqueue_for_worker(nobodys(number))
                await client.start("doomed", 1, instance="doomed")
            with pytest.raises(
                OrchestrationFailed, match="Poison: expected activity deadly to end within 3 deliveries"
            ):
                await client.wait("doomed", 60)
            await client.start("sound", 2, instance="after")
            assert await client.wait("after", 60, output=int) == 2

    async def lives() -> None:
        for life in range(LIVES_MAX):
            service.line = Line()
            if not await died(service.line, live(first=life == 0)):
                return
            for store in world.stores.values():
                store.crash(crash)
        raise AssertionError(f"expected an end within {LIVES_MAX} lives, but the activity began {service.begun}")

    async def all_of_it() -> None:
        await lives()
        owners = [record for record in await world.records() if isinstance(record, r.OwnershipAcquired)]
        # The first delivery of all was written down by nobody: its owner had no reason to be careful.
        assert service.begun == [1, *range(1, ATTEMPTS_MAX + 1)]
        assert len(owners) == len(service.begun) + 1
        await is_fold(world)

    run(world, all_of_it)
