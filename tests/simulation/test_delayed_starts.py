"""Does a start keep its time over restarts, and does one that a turn sends to another partition?"""

import contextlib
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from engine.errors import InstanceNotFound
from provider_log.options import LogProviderOptions
from provider_log.routing import partition_of
from provider_log.simulation.world import World
from tests.simulation.scenario import run

PARTITIONS = 3
OTHER = next(name for name in map(str, range(100)) if partition_of(name, PARTITIONS) != partition_of("i", PARTITIONS))


@orchestration
async def tells(ctx: OrchestrationContext) -> float:
    return ctx.utc_now().timestamp()


@orchestration
async def puts_off(ctx: OrchestrationContext) -> float:
    ctx.start_detached(tells, instance=OTHER, delay=timedelta(seconds=60))
    return ctx.utc_now().timestamp()


REGISTRY = Registry(orchestrations=[tells, puts_off])


@contextlib.asynccontextmanager
async def _engine(world: World, options: LogProviderOptions) -> AsyncGenerator[Client]:
    async with (
        world.provider(partitions=PARTITIONS, options=options) as provider,
        Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
    ):
        yield Client(provider, clock=world.clock, chance=world.chance)


@pytest.mark.parametrize("age_max_ms", [5, 1_000_000], ids=["parked", "in its lane"])
@pytest.mark.parametrize("seed", range(2))
def test_a_start_waits_for_its_time_over_restarts(seed: int, age_max_ms: int) -> None:
    world = World(seed)
    options = LogProviderOptions(input_age_max_ms=age_max_ms)

    async def scenario() -> None:
        begun: dict[str, float] = {}
        for life in range(3):
            async with _engine(world, options) as client:
                if life == 0:
                    begun["asked"] = world.clock.now_ms() / 1_000
                    await client.start(tells, instance="late", delay=timedelta(seconds=60))
                    begun["i"] = await (await client.start(puts_off, instance="i")).wait(60)
                await world.clock.sleep_ms(10_000)
                for name in ("late", OTHER):
                    with pytest.raises(InstanceNotFound):
                        await client.status(name)
        async with _engine(world, options) as client:
            assert await client.wait("late", 120) >= begun["asked"] + 60
            assert await client.wait(OTHER, 120) >= begun["i"] + 60

    run(world, scenario)
