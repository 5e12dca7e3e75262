"""Which timelines broke a first design at its input? By their numbers in its red-team review; each a scenario.

Each drives the real partition on the simulated log; then the log alone says what happened.
"""

import asyncio
from collections.abc import Sequence

import pytest

from engine import (
    Client,
    Engine,
    EngineOptions,
    OrchestrationFailed,
)
from engine.errors import StateCorrupted
from provider_log import LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.log_provider import ARRIVAL_MS
from provider_log.routing import partition_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import World
from tests.simulation.scenario import (
    K_MAX,
    REGISTRY,
    TOPICS,
    bulky,
    died,
    event,
    is_fold,
    letter,
    owners,
    run,
    send,
    start_of,
    told,
)

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

    async def more_comes() -> None:
        for number in range(1_000):
            await send(world, event("ghost", number))
            await world.clock.sleep_ms(5)

    async def cut() -> None:
        await world.log.create_topics(TOPICS.specs(1))
        async with world.provider():
            pass
        for number in range(3):
            await send(world, event("ghost", number))
        await world.log.delete_records(TOPICS.orchestrator, 0, 2)
        sending = asyncio.ensure_future(more_comes())
        async with world.provider() as provider:
            with pytest.raises(StateCorrupted, match=rf"from 2 to [0-9]+ in {TOPICS.orchestrator}/0, but it is 0"):
                await provider.fetch_orchestration_item(1_000, 60_000)
        sending.cancel()

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


def a_start_into_a_lane_that_somebody_holds_returns_when_it_is_durable() -> None:
    """Timeline 8: the sender learns that its start is kept, though nobody can read it yet; it runs in the end."""
    world = World()

    async def held() -> None:
        await world.log.create_topics(TOPICS.specs(1))
        async with (
            world.provider() as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            stranger = await world.log.open_producer("stranger")
            await stranger.produce([LogRecord(topic=TOPICS.orchestrator, partition=0, key=b"x", value=b"x")])
            before_ms = world.clock.boot_ms()
            await client.start("child", 1, instance="held")
            assert ARRIVAL_MS <= world.clock.boot_ms() - before_ms < ARRIVAL_MS + 1_000
            assert await provider.get_instance_info("held") is None
            assert await client.wait("held", 60, output=int) == 2

    run(world, held)


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


# 22


def what_was_sent_after_a_start_that_took_another_way_waits_for_it() -> None:
    """Timeline 22: a start lands on a wrong partition and is forwarded; the queue message behind it arrives before it.

    What nobody ever starts is a dead letter, not gone.
    """
    world = World()

    async def overtaken() -> None:
        partitions = 2
        options = LogProviderOptions(orphan_grace_ms=20_000)
        await world.log.create_topics(TOPICS.specs(partitions))
        here = partition_of("late", partitions)
        await send(world, letter("late", 0), partitions)
        await send(world, letter("nobody", 0), partitions)
        async with (
            world.provider(partitions=partitions, options=options) as provider,
            Engine(provider, REGISTRY, clock=world.clock, chance=world.chance),
        ):
            await world.clock.sleep_ms(9_000)  # as long as a transaction that holds the wrong partition's lane
            start = start_of("letters", "late", 2)
            value = codec.encode_message(start)
            await world.log.append(LogRecord(topic=TOPICS.orchestrator, partition=1 - here, key=b"late", value=value))
            await send(world, letter("late", 1), partitions)
            assert await Client(provider, clock=world.clock).wait("late", 30, output=list[int]) == [0, 1]
            await world.clock.sleep_ms(20_000)
        number = partition_of("nobody", partitions)
        reader = await world.log.open_reader(TOPICS.dead_letter, number, 0)
        told = [codec.decode_dead_letter(stored.value or b"") for stored in await reader.read(10, 0)]
        assert [(one.key, codec.decode_message(one.value or b"")) for one in told] == [(b"nobody", letter("nobody", 0))]
        await is_fold(world)

    run(world, overtaken)
