"""Do the timelines that broke a first design end well? By their numbers in it, on the simulated log.

Each is a scenario of the real partition; then the log alone says what happened. `BROKEN` is the other half of the
proof: with its rule broken, each timeline ends badly.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from datetime import timedelta

import pytest

from engine import (
    Client,
    Engine,
    EngineOptions,
    OrchestrationContext,
    OrchestrationFailed,
    Registry,
    activity,
    orchestration,
)
from engine.converter import JsonConverter
from engine.errors import StateCorrupted
from engine.model.messages import AnyMessage, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.work import WorkItem
from engine.observe import logger
from engine.runtime.doors import Chance, within
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.log.simulated import Faults, Late, LoseRequest
from provider_log.partition.restore import head_of
from provider_log.routing import partition_of
from provider_log.topics import Topics
from tests.simulation import broken, test_contenders
from tests.simulation.broken import Break
from tests.simulation.nodes import Line
from tests.simulation.world import APP, World

K_MAX = 400
SLOTS = [f"turnlog.{APP}.0.{slot}" for slot in range(4)]
TOPICS = Topics.of(APP)
LONG_MS = 200_000
STEP_MS = 500


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def letters(ctx: OrchestrationContext, count: int) -> list[int]:
    """What strangers sent, in the order it came, with messages of its own between."""
    came = list[int]()
    for _ in range(count):
        came.append(await ctx.dequeue("letters", int))
        await ctx.schedule_activity(double, 1)
    return came


@orchestration
async def parent(ctx: OrchestrationContext, number: int) -> int:
    """Its child lives where its own id says: on another partition, maybe."""
    return await ctx.schedule_sub_orchestration("child", number, instance=f"child-of-{number}")


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, number)


@orchestration
async def waits(ctx: OrchestrationContext) -> list[int]:
    return [await ctx.wait_event("e", int) for _ in range(3)]


@orchestration
async def bulky(ctx: OrchestrationContext, size: int) -> str:
    await ctx.schedule_timer(timedelta(milliseconds=1))
    return "x" * size


@orchestration
async def steps(ctx: OrchestrationContext, number: int) -> int:
    number = await ctx.schedule_activity(double, number)
    number = await ctx.schedule_sub_orchestration("child", number)
    await ctx.schedule_timer(timedelta(milliseconds=5))
    return await ctx.schedule_activity(double, number)


REGISTRY = Registry(orchestrations=[letters, parent, child, waits, bulky, steps], activities=[double])


def run(world: World, scenario: Callable[[], Awaitable[None]], about: str = "") -> None:
    """Run it; what has no end within three minutes of its time has failed."""

    async def bounded() -> None:
        running = asyncio.ensure_future(scenario())
        while not running.done() and world.clock.boot_ms() < LONG_MS:
            # In small steps: the world lets time pass after some rounds of the loop, whoever is still at work.
            with contextlib.suppress(TimeoutError):
                await within(world.clock, asyncio.wait({running}), STEP_MS)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            raise AssertionError(f"expected an end within {LONG_MS} ms")
        await running

    try:
        world.run(bounded)
    except BaseException as error:
        error.add_note(about)
        raise


@contextlib.contextmanager
def told(name: str) -> Generator[list[str]]:
    """What a logger says while the context is open."""
    lines = list[str]()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Noting()
    logger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logger(name).removeHandler(handler)


async def never(_partition: int) -> bool:
    return False


async def send(world: World, message: AnyMessage, partitions: int = 1) -> int:
    """Append it as a stranger would."""
    partition = partition_of(message.instance, partitions)
    value, key = codec.encode_message(message), message.instance.encode()
    return await world.log.append(LogRecord(topic=TOPICS.orchestrator, partition=partition, key=key, value=value))


def start_of(name: str, instance: str, value: object) -> StartOrchestration:
    return StartOrchestration(instance=instance, name=name, input=JsonConverter().encode(value, "input"))


def letter(instance: str, number: int) -> EnqueueMessage:
    """Without an id: nothing but the position of its lane says whether it was consumed."""
    return EnqueueMessage(instance=instance, name="letters", data=JsonConverter().encode(number, "message"))


def event(instance: str, number: int) -> RaiseEvent:
    return RaiseEvent(instance=instance, name="e", data=JsonConverter().encode(number, "event"))


async def died(line: Line, life: Coroutine[None, None, None]) -> bool:
    """Let a node live until it is done, or until its line freezes, and is cut: whether it was."""
    living, freezing = asyncio.ensure_future(life), asyncio.ensure_future(line.frozen.wait())
    await asyncio.wait({living, freezing}, return_when=asyncio.FIRST_COMPLETED)
    freezing.cancel()
    if living.done():
        await living
        return False
    line.cut()
    living.cancel()
    await asyncio.wait({living})
    return True


async def is_fold(world: World, partition: int = 0) -> None:
    """Every store is what its log says."""
    for (_, number), store in world.stores.items():
        if number == partition:
            assert store.rows == await world.rebuilt(partition, until=head_of(store).offset)


async def owners(world: World) -> int:
    return sum(isinstance(record, r.OwnershipAcquired) for record in await world.records())


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


# 5


def foreign_input_between_an_owners_own_is_consumed_once() -> None:
    """Timeline 5: the owner dies between its commit and what it does then, with strangers' records all around."""
    for uses in range(1, K_MAX):
        world, line, end = World(seed=uses), Line(), list[bool]()

        async def dies(world: World = world, line: Line = line, end: list[bool] = end, uses: int = uses) -> None:
            await world.log.create_topics(TOPICS.specs(1))
            for number in range(3):
                await send(world, event("ghost", number))  # holds the watermark below all that is consumed
            for instance in ("a", "b"):
                await send(world, start_of("letters", instance, 4))
            sending = asyncio.ensure_future(_letters(world, 4))
            line.freeze_after(uses)
            end.append(await died(line, _read_letters(world, line, until_ghost=False)))
            for store in world.stores.values():
                store.crash("lost" if uses % 2 else "flushed")
            await _read_letters(world, Line(), until_ghost=True)
            await sending
            await is_fold(world)

        run(world, dies, f"the owner died at use {uses} of its line")
        if not end[0]:
            return
    raise AssertionError(f"the scenario still met use {K_MAX} of the line")


async def _letters(world: World, count: int) -> None:
    for number in range(count):
        for instance in ("a", "nobody", "b"):
            await send(world, letter(instance, number))
        await world.clock.sleep_ms(1)


async def _read_letters(world: World, line: Line, *, until_ghost: bool) -> None:
    async with (
        world.provider(line=line) as provider,
        Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
    ):
        client = Client(provider, clock=world.clock, chance=world.chance)
        assert [await client.wait(instance, 300, output=list[int]) for instance in ("a", "b")] == [[0, 1, 2, 3]] * 2
        if until_ghost:
            await send(world, start_of("waits", "ghost", None))
            assert await client.wait("ghost", 60, output=list[int]) == [0, 1, 2]


# 6


def what_nobody_consumes_does_not_hold_its_lane() -> None:
    """Timeline 6: events for an instance that does not exist yet, and days of traffic behind them."""
    world = World()
    window = 20

    async def pinned() -> None:
        options = LogProviderOptions(input_window_max=window, cut_every_ms=1_000)
        await world.log.create_topics(TOPICS.specs(1))
        for number in range(3):
            await send(world, event("ghost", number))
        async with (
            world.provider(options=options) as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            for number in range(100):
                await send(world, start_of("child", f"i{number}", number))
                await client.wait(f"i{number}", 60, output=int)
            await world.clock.sleep_ms(5_000)
            assert (await world.log.bounds(TOPICS.orchestrator, 0)).first == 103
        for store in world.stores.values():
            store.crash("lost")
        async with (
            world.provider(options=options) as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            await send(world, start_of("waits", "ghost", None))
            assert await Client(provider, clock=world.clock).wait("ghost", 60, output=list[int]) == [0, 1, 2]
        for record in await world.records():
            if not isinstance(record, r.Genesis | r.OwnershipAcquired):
                assert all(len(position.above) < window for position in record.envelope.positions)
        await is_fold(world)

    run(world, pinned)


def input_that_was_cut_away_unread_is_named() -> None:
    """Timeline 6: what somebody deletes before it was consumed stops the partition, and the text says what is lost."""
    world = World()

    async def cut() -> None:
        await world.log.create_topics(TOPICS.specs(1))
        async with world.provider():
            pass
        for number in range(3):
            await send(world, event("ghost", number))
        await world.log.delete_records(TOPICS.orchestrator, 0, 2)
        async with world.provider() as provider:
            with pytest.raises(StateCorrupted, match=rf"from 2 to 3 in {TOPICS.orchestrator}/0, but it is 0"):
                await provider.fetch_orchestration_item(1_000, 60_000)

    run(world, cut)


# 7

POISON_BYTES = 10_000


def _is_poison(records: Sequence[LogRecord]) -> bool:
    return any(record.key == b"poison" and record.size_bytes > POISON_BYTES for record in records)


def a_turn_that_the_log_never_takes_ends_alone() -> None:
    """Timeline 7: one turn is refused with whatever it is in; it is found, ends as poison, and all others end well."""
    world, line = World(), Line()
    line.refuses = _is_poison

    async def poisoned() -> None:
        options = LogProviderOptions(slots_used=2, retry_ms_min=5, retry_ms_max=50)
        await world.log.create_topics(TOPICS.specs(1))
        for number in range(10):
            await send(world, start_of("bulky", f"before-{number}", 10))
        await send(world, start_of("bulky", "poison", 2 * POISON_BYTES))
        for number in range(10):
            await send(world, start_of("bulky", f"after-{number}", 10))
        async with (
            world.provider(options=options, line=line) as provider,
            Engine(provider, REGISTRY, EngineOptions(attempts_max=3), clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            for name in ("before", "after"):
                for number in range(10):
                    assert await client.wait(f"{name}-{number}", 5, output=str) == "x" * 10
            with pytest.raises(OrchestrationFailed, match="expected a turn within 3 deliveries"):
                await client.wait("poison", 5, output=str)
        assert await owners(world) < 20
        await is_fold(world)

    run(world, poisoned)


def a_turn_larger_than_any_record_ends_its_instance_and_no_other() -> None:
    """Timeline 7: an output no record holds is refused before anything is begun; its instance fails with `limit`."""
    world = World()

    async def oversized() -> None:
        async with (
            world.provider() as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            large = await client.start(bulky, 5_000_000, instance="large")
            small = await client.start(bulky, 10, instance="small")
            with pytest.raises(OrchestrationFailed, match="expected a turn of at most"):
                await large.wait(60)
            assert await small.wait(60) == "x" * 10
        assert await owners(world) == 1
        await is_fold(world)

    run(world, oversized)


# 8


def a_lane_that_somebody_holds_stops_no_other() -> None:
    """Timeline 8: a stranger's open transaction holds what strangers send, no owner's message; who holds is named."""
    world = World()

    async def held() -> None:
        partitions = 4
        await world.log.create_topics(TOPICS.specs(partitions))
        numbers = [
            n for n in range(20) if partition_of(f"child-of-{n}", partitions) != partition_of(f"p{n}", partitions)
        ]
        for number in numbers:
            await send(world, start_of("parent", f"p{number}", number), partitions)
        stranger = await world.log.open_producer("stranger")
        await stranger.produce(
            [LogRecord(topic=TOPICS.orchestrator, partition=one, key=b"x", value=b"x") for one in range(partitions)]
        )
        async with (
            world.provider(partitions=partitions) as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            before_ms = world.clock.boot_ms()
            for number in numbers:
                assert await client.wait(f"p{number}", 5, output=int) == 2 * number
            assert world.clock.boot_ms() - before_ms < 5_000
            for _ in range(5):  # the broker times it out every ten seconds; a stranger who means it begins anew
                await world.clock.sleep_ms(9_000)
                stranger = await world.log.open_producer("stranger")
                await stranger.produce([LogRecord(topic=TOPICS.orchestrator, partition=0, key=b"x", value=b"x")])

    with told("lanes") as lines:
        run(world, held)
    assert any("waits for the open transaction of stranger" in line for line in lines)


def what_another_owner_left_open_holds_its_messages_and_nothing_else() -> None:
    """Timeline 8: a paused owner's transaction to all partitions is open; what strangers send is read, and done."""
    world = World()

    async def left_open() -> None:
        partitions = 4
        await world.log.create_topics(TOPICS.specs(partitions))
        sleeping = await world.log.open_producer("another-owner")
        await sleeping.produce(
            [LogRecord(topic=TOPICS.messages, partition=one, key=b"x", value=b"x") for one in range(partitions)]
        )
        async with (
            world.provider(partitions=partitions) as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            for number in range(8):
                assert await (await client.start("steps", number, instance=f"i{number}")).wait(1) == 8 * number
            assert world.clock.boot_ms() < 5_000
            number = next(n for n in range(20) if partition_of(f"child-of-{n}", 4) != partition_of("p", 4))
            assert await (await client.start("parent", number, instance="p")).wait(15) == 2 * number

    run(world, left_open)


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


# Each of them, and each with its rule broken

TIMELINES: tuple[Callable[[], None], ...] = (
    an_acquire_that_is_overtaken_at_any_step_leaves_one_owner,
    three_contenders_write_one_history,
    the_order_of_the_log_is_the_order_of_the_batches,
    a_batch_that_fails_takes_those_after_it_along,
    a_slot_that_the_new_owner_does_not_use_is_fenced_too,
    whichever_batch_is_aborted_history_and_state_are_those_without,
    foreign_input_between_an_owners_own_is_consumed_once,
    what_nobody_consumes_does_not_hold_its_lane,
    input_that_was_cut_away_unread_is_named,
    a_turn_that_the_log_never_takes_ends_alone,
    a_turn_larger_than_any_record_ends_its_instance_and_no_other,
    a_lane_that_somebody_holds_stops_no_other,
    what_another_owner_left_open_holds_its_messages_and_nothing_else,
    an_end_that_arrives_late_ends_no_other_transaction,
    a_slot_whose_coordinator_is_away_stops_nobody,
)

BROKEN: tuple[tuple[Break, Callable[[], None]], ...] = (
    (broken.ownership_is_written_on_the_last_slot, an_acquire_that_is_overtaken_at_any_step_leaves_one_owner),
    (broken.one_slot_is_taken_again_in_doubt, an_acquire_that_is_overtaken_at_any_step_leaves_one_owner),
    (broken.every_node_has_ids_of_its_own, three_contenders_write_one_history),
    (broken.the_next_batch_does_not_wait_for_acknowledgements, the_order_of_the_log_is_the_order_of_the_batches),
    (broken.the_next_end_does_not_wait_for_the_one_before, a_batch_that_fails_takes_those_after_it_along),
    (broken.only_the_used_slots_are_taken, a_slot_that_the_new_owner_does_not_use_is_fenced_too),
    (broken.live_coroutines_are_kept_in_doubt, whichever_batch_is_aborted_history_and_state_are_those_without),
    (broken.input_is_not_read_again_in_doubt, whichever_batch_is_aborted_history_and_state_are_those_without),
    (broken.answers_are_acknowledged_early, whichever_batch_is_aborted_history_and_state_are_those_without),
    (broken.the_position_passes_input_that_was_not_read, foreign_input_between_an_owners_own_is_consumed_once),
    (broken.the_position_forgets_what_is_consumed_above_it, foreign_input_between_an_owners_own_is_consumed_once),
    (broken.nothing_is_parked, what_nobody_consumes_does_not_hold_its_lane),
    (broken.the_window_has_no_bound, what_nobody_consumes_does_not_hold_its_lane),
    (broken.no_batch_is_halved, a_turn_that_the_log_never_takes_ends_alone),
    (broken.a_turn_that_fails_alone_counts_no_attempt, a_turn_that_the_log_never_takes_ends_alone),
    (broken.one_reader_reads_all_lanes, a_lane_that_somebody_holds_stops_no_other),
    (broken.one_reader_reads_all_lanes, what_another_owner_left_open_holds_its_messages_and_nothing_else),
    (broken.the_end_is_asked_for_again, an_end_that_arrives_late_ends_no_other_transaction),
    (broken.slots_take_turns, a_slot_whose_coordinator_is_away_stops_nobody),
)


@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda timeline: timeline.__name__)
def test_a_timeline_ends_well(timeline: Callable[[], None]) -> None:
    timeline()


@pytest.mark.parametrize(
    ("rule", "timeline"), BROKEN, ids=[f"{rule.__name__}-{timeline.__name__}" for rule, timeline in BROKEN]
)
def test_without_its_rule_a_timeline_ends_badly(
    rule: Break, timeline: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(monkeypatch)
    with pytest.raises((Exception, BaseExceptionGroup)):
        timeline()


def test_every_timeline_has_a_rule_that_it_needs() -> None:
    needed = {timeline for _, timeline in BROKEN}
    assert {timeline.__name__ for timeline in TIMELINES if timeline not in needed} == {
        "input_that_was_cut_away_unread_is_named",  # the log itself refuses
        "a_turn_larger_than_any_record_ends_its_instance_and_no_other",  # sizes have tests of their own: test_limits
    }
