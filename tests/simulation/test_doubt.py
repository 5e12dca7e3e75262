"""Does a provider come out of every fault of its log as if there had been none?

Each scenario is run with one fault at the k-th request of a kind, for k = 1, 2, 3 … until it gets through without
meeting it. Then every instance has its result, each activity answered once, and the log alone gives the store.
"""

import asyncio
from datetime import timedelta

import pytest

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.model.status import TERMINAL
from provider_log import LogProviderOptions
from provider_log import records as r
from provider_log.log.simulated import Delay, Faults, Late, LoseReply, LoseRequest, Resend, TimeOut, Unavailable
from provider_log.log.simulated.faults import Fault, Operation
from provider_log.partition.restore import head_of
from provider_log.simulation.world import World

INSTANCES = 3
K_MAX = 200


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def thrice(ctx: OrchestrationContext, number: int) -> int:
    for _ in range(3):
        number = await ctx.schedule_activity(double, number)
    return number


@orchestration
async def with_timer_and_child(ctx: OrchestrationContext, number: int) -> int:
    child = ctx.schedule_sub_orchestration(thrice, number)
    await ctx.schedule_timer(timedelta(seconds=1))
    return await child + 1


REGISTRY = Registry(orchestrations=[thrice, with_timer_and_child], activities=[double])

FAULTS: list[tuple[Operation, Fault]] = [
    ("commit", LoseReply()),
    ("commit", LoseRequest()),
    ("commit", Late(50)),
    ("commit", Resend(5)),
    ("commit", Delay(500)),
    ("commit", TimeOut()),
    ("produce", LoseReply()),
    ("produce", LoseRequest()),
    ("produce", Late(50)),
    ("produce", TimeOut()),
    ("produce", Unavailable()),
    ("begin", LoseReply()),
    ("begin", Unavailable()),
    ("begin", Delay(500)),
    ("open_producer", LoseReply()),
    ("open_producer", Unavailable()),
    ("append", LoseReply()),
    ("append", LoseRequest()),
    ("append", Unavailable()),
    ("read", Unavailable()),
    ("read", LoseReply()),
    ("bounds", Unavailable()),
]


async def scenario(world: World, slots_used: int) -> None:
    """Start, run and check a handful of instances."""
    options = LogProviderOptions(slots_used=slots_used)
    async with (
        world.provider(options=options) as provider,
        Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
    ):
        client = Client(provider, clock=world.clock, chance=world.chance)
        handles = [
            await client.start(with_timer_and_child, number, instance=f"i{number}") for number in range(INSTANCES)
        ]
        outputs = await asyncio.gather(*(handle.wait(600) for handle in handles))
        assert outputs == [8 * number + 1 for number in range(INSTANCES)]
    await check(world)


async def check(world: World) -> None:
    """The log alone: each activity answered once, each instance ended once, and the store is its fold."""
    answered = [
        (record.instance, record.execution_id, record.activity_id)
        for record in await world.records()
        if isinstance(record, r.WorkItemAcked)
    ]
    assert len(answered) == len(set(answered)) == 3 * INSTANCES
    ended = [
        record.instance
        for record in await world.records()
        if isinstance(record, r.TurnCommitted) and record.status in TERMINAL
    ]
    assert len(ended) == len(set(ended)) == 2 * INSTANCES
    store = world.stores["node", 0]
    assert store.rows == await world.rebuilt(0, until=head_of(store).offset)


@pytest.mark.parametrize("slots_used", [1, 2], ids=["one-slot", "two-slots"])
@pytest.mark.parametrize(
    ("operation", "fault"), FAULTS, ids=[f"{operation}-{type(fault).__name__}" for operation, fault in FAULTS]
)
def test_one_fault_at_every_request_changes_nothing(operation: Operation, fault: Fault, slots_used: int) -> None:
    for k in range(1, K_MAX):
        world = World(seed=k, faults=Faults({(operation, k): fault}))
        try:
            world.run(lambda world=world: scenario(world, slots_used))
        except BaseException as error:
            error.add_note(f"the fault was {fault} at {operation} number {k}")
            raise
        if world.faults.seen(operation) < k:
            return
    raise AssertionError(f"the scenario still met {operation} number {K_MAX}")
