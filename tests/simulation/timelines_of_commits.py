"""Which timelines broke a first design at its commits? By their numbers in its red-team review; each a scenario.

Each drives the real partition on the simulated log; then the log alone says what happened.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from engine import (
    Client,
    Engine,
    OrchestrationContext,
    Registry,
    activity,
    orchestration,
)
from engine.model.payload import Payload
from engine.model.work import WorkItem
from engine.runtime.doors import Chance
from provider_log import LogProvider, LogProviderOptions
from provider_log.log.simulated import Faults, Late, LoseRequest
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import World
from tests.simulation import test_contenders
from tests.simulation.scenario import (
    K_MAX,
    REGISTRY,
    SLOTS,
    is_fold,
    letter,
    never,
    owners,
    run,
    send,
    start_of,
    steps,
)

# 1


def an_acquire_that_is_overtaken_at_any_step_leaves_one_owner() -> None:
    """Timeline 1: two nodes take the slots at the same time; between any two steps of one the other does all of it."""
    for uses in range(1, K_MAX):
        world, line = World(seed=uses), Line()

        async def overtaken(world: World = world, line: Line = line, uses: int = uses) -> None:
            options = LogProviderOptions(slots_used=2, retry_ms_min=5, retry_ms_max=50)
            line.freeze_after(uses)

            async def live(name: str, line: Line | None, until: Callable[[LogProvider], Awaitable[bool]]) -> None:
                placed = None if line is not None else never
                async with (
                    world.provider(name, options=options, line=line, is_placed_here=placed) as provider,
                    Engine(provider, test_contenders.REGISTRY, clock=world.clock, chance=world.chance),
                ):
                    while not await until(provider):
                        await world.clock.sleep_ms(1)

            async def until_ready(provider: LogProvider) -> bool:
                line.thaw()
                return await test_contenders.all_ended(provider) or not provider.ready

            await test_contenders.start_all(world)
            slow = asyncio.ensure_future(live("slow", line, test_contenders.all_ended))
            freezing = asyncio.ensure_future(line.frozen.wait())
            await asyncio.wait({slow, freezing}, return_when=asyncio.FIRST_COMPLETED)
            freezing.cancel()
            if line.frozen.is_set():
                await live("quick", None, until_ready)
            await slow
            await test_contenders.check(world)

        run(world, overtaken, f"one node froze at use {uses} of its line")
        if not line.frozen.is_set():
            return
    raise AssertionError(f"expected the node to be done before it used its line {K_MAX} times")


def three_contenders_write_one_history() -> None:
    """Timeline 1: three nodes take one partition from each other for 25 s."""
    world = World(seed=1)

    async def contended() -> None:
        chance = Chance(seed=7)
        options = LogProviderOptions(slots_used=2, retry_ms_min=5, retry_ms_max=200)

        async def often(_partition: int) -> bool:
            return chance.uniform(0, 1) < 0.7

        async def live(name: str) -> None:
            while world.clock.boot_ms() < 25_000:
                async with (
                    world.provider(name, options=options, is_placed_here=often) as provider,
                    Engine(provider, test_contenders.REGISTRY, clock=world.clock, chance=world.chance),
                ):
                    await world.clock.sleep_ms(int(chance.uniform(0, 900)))

        await test_contenders.start_all(world)
        await asyncio.gather(*(live(f"node{number}") for number in range(3)))
        async with (
            world.provider("last", options=options) as provider,
            Engine(provider, test_contenders.REGISTRY, clock=world.clock, chance=world.chance),
        ):
            while not await test_contenders.all_ended(provider):
                await world.clock.sleep_ms(50)
        await test_contenders.check(world)
        assert await owners(world) > 50

    run(world, contended)


# 2


def the_order_of_the_log_is_the_order_of_the_batches() -> None:
    """Timeline 2: slots have connections of their own; records that do not wait for each other arrive in any order."""
    for seed in range(20):
        world, line = World(seed=seed), Line()
        line.slow = {("produce", SLOTS[1]): 30}

        async def produced(world: World = world, line: Line = line) -> None:
            async with (
                world.provider(options=LogProviderOptions(slots_used=3), line=line) as provider,
                Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
            ):
                client = Client(provider, clock=world.clock, chance=world.chance)
                handles = [await client.start(steps, number, instance=f"i{number}") for number in range(6)]
                assert [await handle.wait(60) for handle in handles] == [8 * number for number in range(6)]
            await is_fold(world)

        run(world, produced, f"the seed was {seed}")


def a_batch_that_fails_takes_those_after_it_along() -> None:
    """Timeline 2: with several batches on their way, none is committed whose predecessor is not."""
    for k in range(1, K_MAX):
        world = World(seed=k, faults=Faults({("commit", k): LoseRequest()}))
        run(world, lambda world=world: _steps_in_a_row(world, slots_used=3), f"commit {k} was lost")
        if world.faults.seen("commit") < k:
            return
    raise AssertionError(f"the scenario still met commit number {K_MAX}")


async def _steps_in_a_row(world: World, slots_used: int) -> None:
    line = Line()
    line.slow = {("commit", SLOTS[0]): 40}
    async with (
        world.provider(options=LogProviderOptions(slots_used=slots_used), line=line) as provider,
        Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
    ):
        client = Client(provider, clock=world.clock, chance=world.chance)
        handles = [await client.start(steps, number, instance=f"i{number}") for number in range(3)]
        assert [await handle.wait(60) for handle in handles] == [8 * number for number in range(3)]
    await is_fold(world)


# 3


def a_slot_that_the_new_owner_does_not_use_is_fenced_too() -> None:
    """Timeline 3: an owner with four slots sleeps through a takeover by one with a single slot."""
    for uses in range(1, K_MAX):
        world, slept = World(seed=uses), list[bool]()

        async def paused(world: World = world, uses: int = uses, slept: list[bool] = slept) -> None:
            slept.append(await test_contenders.pause(world, uses, slots_used=4))

        run(world, paused, f"the owner froze at use {uses} of its line")
        if not slept[0]:
            return
    raise AssertionError(f"expected the owner to be done before it used its line {K_MAX} times")


# 4


def whichever_batch_is_aborted_history_and_state_are_those_without() -> None:
    """Timeline 4: what cannot be rolled back must not be ahead of the log: coroutines, inputs, effects, answers."""
    expected = None
    for k in range(K_MAX):
        world, ran = World(seed=1, faults=Faults({("commit", k): LoseRequest()})), list[int]()
        seen = list[object]()

        async def aborted(world: World = world, ran: list[int] = ran, seen: list[object] = seen) -> None:
            seen.append(await _histories(world, ran))

        run(world, aborted, f"commit {k} was lost")
        assert sorted(ran) == [0, 0, 0, 1, 2, 2, 4, 4, 8], f"commit {k} was lost: an activity ran twice, or never"
        expected = expected or seen[0]
        assert seen[0] == expected, f"commit {k} was lost"
        if world.faults.seen("commit") < k:
            return
    raise AssertionError(f"the scenario still met commit number {K_MAX}")


async def _histories(world: World, ran: list[int]) -> object:
    """What became of three instances: events without their times, and all that queries say."""

    @activity
    async def noted(number: int) -> int:
        ran.append(number)
        return 2 * number

    @orchestration
    async def in_a_row(ctx: OrchestrationContext, number: int) -> int:
        for _ in range(3):
            number = await ctx.schedule_activity(noted, number)
        return number + await ctx.dequeue("letters", int)

    registry = Registry(orchestrations=[in_a_row], activities=[noted])
    told = list[object]()
    async with (
        world.provider(options=LogProviderOptions(slots_used=2)) as provider,
        Engine(provider, registry, clock=world.clock, chance=world.chance),
    ):
        client = Client(provider, clock=world.clock, chance=world.chance)
        for number in range(3):
            await send(world, start_of("in_a_row", f"i{number}", number))
        for number in range(3):
            await send(world, letter(f"i{number}", 100))
        for number in range(3):
            instance = f"i{number}"
            output = await client.wait(instance, 60, output=int)
            events = [(event.event_id, type(event).__name__) for event in await provider.read(instance)]
            info = await provider.get_instance_info(instance)
            assert info is not None
            told.append((output, events, info.status, info.current_execution_id, info.history_events))
    await is_fold(world)
    return told


# 25


def an_end_that_arrives_late_ends_no_other_transaction() -> None:
    """Timeline 25: an EndTxn without an answer arrives when its slot has the batch after the next; the owner dies."""
    world, line = World(faults=Faults({("commit", 4): Late(100)})), Line()  # after ownership, genesis and schemas

    async def late() -> None:
        options = LogProviderOptions(slots_used=2)
        async with world.provider(options=options, line=line) as provider:
            while world.faults.seen("commit") < 3:
                await world.clock.sleep_ms(1)
            await world.clock.sleep_ms(10)
            line.held.add(("commit", SLOTS[0]))  # of the batch between the two on slot 1
            sending = [asyncio.ensure_future(_enqueue_later(world, provider, number)) for number in range(3)]
            await world.clock.sleep_ms(200)
            assert world.faults.seen("commit") >= 4
            line.cut()
        await asyncio.gather(*sending, return_exceptions=True)
        async with world.provider() as provider:
            found = [await provider.fetch_work_item(60_000, 100) for _ in range(4)]
            assert [one and one.item.activity_id for one in found] == [0, 1, 2, None]
        await is_fold(world)

    run(world, late)


async def _enqueue_later(world: World, provider: LogProvider, number: int) -> None:
    """Each in a batch of its own."""
    await world.clock.sleep_ms(10 * number)
    item = WorkItem(instance="i", incarnation=1, execution_id=1, activity_id=number, name="double", input=Payload(b"1"))
    await provider.enqueue_for_worker(item)


# 26


def a_slot_whose_coordinator_is_away_stops_nobody() -> None:
    """Timeline 26: one slot, or two of three, cannot begin; the partition goes on, and nothing is in doubt."""
    for away in ((0,), (1,), (0, 1), (0, 1, 2), (1, 2, 3)):
        world, line = World(), Line()

        async def goes_on(world: World = world, line: Line = line, away: Sequence[int] = away) -> None:
            async with (
                world.provider(options=LogProviderOptions(slots_used=2), line=line) as provider,
                Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
            ):
                client = Client(provider, clock=world.clock, chance=world.chance)
                assert await (await client.start(steps, 1, instance="before")).wait(60) == 8
                line.away |= {SLOTS[slot] for slot in away}
                handles = [await client.start(steps, number, instance=f"i{number}") for number in range(4)]
                assert [await handle.wait(60) for handle in handles] == [8 * number for number in range(4)]
            assert await owners(world) == 1
            await is_fold(world)

        run(world, goes_on, f"slots {away} were away")
