"""Who wins when several nodes want one partition? Always exactly one, and what it wrote is all there is.

A slot is not a lock and a set of slots is none either; the acquire record and the void rule are. So nodes take the
partition from each other at any moment here, give it up or want it back as the seed says, and freeze in mid-call.
"""

import asyncio
from collections import Counter

import pytest

from engine import Engine, OrchestrationContext, Registry, activity, orchestration
from engine.converter import JsonConverter
from engine.model.messages import StartOrchestration
from engine.model.status import TERMINAL, Status
from engine.runtime.doors import Chance
from engine.testing.conformance import FullProvider
from provider_log import LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.partition.head import follow
from provider_log.partition.ownership import Phase
from provider_log.partition.restore import head_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import APP, World
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics

INSTANCES = 3
SEEDS = 8  # of each kind; a run takes a tenth of a second
PAUSES_MAX = 400


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def thrice(ctx: OrchestrationContext, number: int) -> int:
    for _ in range(3):
        number = await ctx.schedule_activity(double, number)
    return number


REGISTRY = Registry(orchestrations=[thrice], activities=[double])


async def start_all(world: World) -> None:
    """Start every instance as a stranger would, through the topic."""
    await world.log.create_topics(Topics.of(APP).specs(1))
    for number in range(INSTANCES):
        payload = JsonConverter().encode(number, "input")
        start = StartOrchestration(instance=f"i{number}", name="thrice", input=payload, message_id=f"start-{number}")
        value = codec.encode_message(start)
        await world.log.append(
            LogRecord(topic=Topics.of(APP).orchestrator, partition=0, key=start.instance.encode(), value=value)
        )


async def all_ended(provider: FullProvider) -> bool:
    infos = [await provider.get_instance_info(f"i{number}") for number in range(INSTANCES)]
    return all(info is not None and info.status is Status.COMPLETED for info in infos)


async def check(world: World) -> None:
    """The log alone: nothing void, no batch twice, no event twice, no answer twice, every instance ended once."""
    head, seen, batches = HeadRow(), Counter[tuple[object, ...]](), set[tuple[bytes, int, int]]()
    for offset, data in await world.history():
        record = codec.decode_record(data)
        followed = follow(head, offset, record, data)  # raises for a batch number that is used twice
        head = followed.head
        assert not followed.void, f"expected no record of a former owner, but {record} is one"
        if isinstance(record, r.Genesis | r.OwnershipAcquired):
            continue
        place = (record.envelope.owner_token, record.envelope.batch, record.envelope.index)
        assert place not in batches
        batches.add(place)
        if isinstance(record, r.WorkItemAcked):
            seen["answer", record.instance, record.activity_id] += 1
        if isinstance(record, r.TurnCommitted):
            seen.update(("event", record.instance, record.execution_id, event.event_id) for event in record.events)
            seen.update(("consumed", one.lane, one.place, one.execution_id) for one in record.consumed)
            seen["ended", record.instance] += record.status in TERMINAL
    assert {what: count for what, count in seen.items() if count > 1} == {}
    assert sum(what[0] == "ended" for what in seen) == INSTANCES
    assert sum(what[0] == "answer" for what in seen) == 3 * INSTANCES
    for store in world.stores.values():
        assert store.rows == await world.rebuilt(0, until=head_of(store).offset)


async def contend(world: World, nodes: int, slots_used: int) -> None:
    chance = Chance(world.seed + 2)
    options = LogProviderOptions(slots_used=slots_used, retry_ms_min=5, retry_ms_max=200)
    done = asyncio.Event()
    lives = 4

    async def is_placed_here(_partition: int) -> bool:
        return chance.uniform(0, 1) < 0.7

    async def live(name: str) -> None:
        for _ in range(lives):
            async with (
                world.provider(name, options=options, is_placed_here=is_placed_here) as provider,
                Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
            ):
                await world.clock.sleep_ms(int(chance.uniform(0, 300)))
            await world.clock.sleep_ms(int(chance.uniform(0, 100)))

    await start_all(world)
    await asyncio.gather(*(live(f"node{number}") for number in range(nodes)))
    async with (
        world.provider("last", options=options) as provider,
        Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
    ):
        while not await all_ended(provider):
            await world.clock.sleep_ms(50)
        done.set()
    await check(world)


@pytest.mark.parametrize(("nodes", "slots_used"), [(2, 1), (2, 2), (3, 2), (3, 4)])
def test_a_partition_has_one_history_however_many_nodes_want_it(nodes: int, slots_used: int) -> None:
    for seed in range(SEEDS):
        world = World(seed=seed)
        try:
            world.run(lambda world=world: contend(world, nodes, slots_used))
        except BaseException as error:
            error.add_note(f"the seed was {seed}")
            raise


async def pause(world: World, uses: int, slots_used: int) -> bool:
    """Freeze the owner in mid-call; another node takes over and does all the work; then the owner wakes.

    Returns:
        False if the owner was done before it used its line so often.
    """
    options = LogProviderOptions(slots_used=slots_used)
    line, taken_over = Line(), asyncio.Event()

    async def is_placed_here(_partition: int) -> bool:
        return not line.frozen.is_set()  # the log may time a transaction out all by itself before

    async def paused_owner() -> None:
        async with (
            world.provider("paused", options=options, is_placed_here=is_placed_here, line=line) as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            line.freeze_after(uses)
            while not line.frozen.is_set() and not await all_ended(provider):
                await world.clock.sleep_ms(10)
            if line.frozen.is_set():
                await taken_over.wait()
                line.thaw()
                await world.clock.sleep_ms(60_000)

    await start_all(world)
    owner = asyncio.ensure_future(paused_owner())
    freezing = asyncio.ensure_future(line.frozen.wait())
    await asyncio.wait({owner, freezing}, return_when=asyncio.FIRST_COMPLETED)
    if owner.done():
        freezing.cancel()
        await owner
        return False
    async with (
        world.provider("heir") as provider,
        Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
    ):
        while not await all_ended(provider):
            await world.clock.sleep_ms(10)
        await world.clock.sleep_ms(10)  # the markers of the last commit come after its answer
        before = len(await world.history())
        taken_over.set()
        await owner
        after = await world.history()
        assert len(after) == before, f"expected nothing of the owner that was paused, but it wrote {after[before:]}"
        assert provider.ready
    await check(world)
    return True


@pytest.mark.parametrize("slots_used", [1, 2])
def test_an_owner_that_slept_through_a_takeover_commits_nothing(slots_used: int) -> None:
    for uses in range(1, PAUSES_MAX):
        world, slept = World(seed=uses), list[bool]()

        async def scenario(world: World = world, uses: int = uses, slept: list[bool] = slept) -> None:
            slept.append(await pause(world, uses, slots_used))

        try:
            world.run(scenario)
        except BaseException as error:
            error.add_note(f"the owner froze at use {uses} of its line")
            raise
        if not slept[0]:
            return
    raise AssertionError(f"expected the owner to be done before it used its line {PAUSES_MAX} times")


@pytest.mark.parametrize("is_placed_back", [False, True], ids=["gone", "back"])
def test_an_owner_that_slept_while_its_input_was_consumed_and_cut_has_lost_nothing(is_placed_back: bool) -> None:
    """It finds its place in the lanes gone. That is no loss: who came after it consumed what was there."""
    world, line = World(), Line()
    options = LogProviderOptions(cut_every_ms=50)

    async def is_placed_here(_partition: int) -> bool:
        return is_placed_back

    async def slept() -> None:
        async with world.provider("slept", options=options, is_placed_here=is_placed_here, line=line) as provider:
            line.freeze()
            await start_all(world)
            async with (
                world.provider("heir", options=options) as heir,
                Engine(heir, REGISTRY, clock=world.clock, chance=world.chance),
            ):
                while (await world.log.bounds(Topics.of(APP).orchestrator, 0)).first < INSTANCES:
                    await world.clock.sleep_ms(10)
                while not await all_ended(heir):
                    await world.clock.sleep_ms(10)
            line.thaw()
            await world.clock.sleep_ms(5_000)
            assert provider.phases() == {0: Phase.RUNNING if is_placed_back else Phase.IDLE}
            if is_placed_back:
                assert await all_ended(provider)
        await check(world)

    world.run(slept)
