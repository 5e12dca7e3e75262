"""Does the simulated log have Kafka's habits: late and copied EndTxn, time-outs, markers, slots that overtake?"""

import asyncio

import pytest

from engine.clock import ManualClock
from engine.runtime.doors import Chance
from provider_log.log.port import Bounds, Doubtful, Fenced, LogError, LogRecord, LogUnavailable, StoredRecord, TopicSpec
from provider_log.log.simulated import Delay, Fault, Faults, Late, LoseReply, LoseRequest, Resend, SimulatedLog
from tests.conformance.log.world import LATE_MS, SPEC, TIMEOUT_MS, World, record


async def test_a_late_commit_that_meets_no_new_epoch_commits() -> None:
    world = World(Faults({("commit", 1): Late(LATE_MS)}))
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])
    with pytest.raises(Doubtful):
        await producer.commit()
    assert await world.visible() == []

    await world.pass_ms(LATE_MS)

    assert await world.visible() == [b"a"]
    await world.log.close()


async def test_a_late_commit_is_refused_once_the_id_was_taken_anew() -> None:
    world = World(Faults({("commit", 1): Late(LATE_MS)}))
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])
    with pytest.raises(Doubtful):
        await producer.commit()

    again = await world.log.open_producer("id")
    await again.produce([record(b"b")])
    await world.pass_ms(LATE_MS)
    assert await world.visible() == []
    await again.commit()

    assert await world.visible() == [b"b"]
    await world.log.close()


async def test_a_copied_commit_ends_the_next_transaction_of_the_same_epoch_half_way() -> None:
    world = World(Faults({("commit", 1): Resend(LATE_MS)}))
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])
    await producer.commit()
    await producer.produce([record(b"b1")])

    await world.pass_ms(LATE_MS)

    assert await world.visible() == [b"a", b"b1"]  # KAFKA-17754: nobody asked for this commit
    with pytest.raises(Doubtful):
        await producer.produce([record(b"b2")])
    await world.log.close()


async def test_a_copied_commit_does_nothing_to_a_later_epoch() -> None:
    world = World(Faults({("commit", 1): Resend(LATE_MS)}))
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])
    await producer.commit()
    again = await world.log.open_producer("id")
    await again.produce([record(b"b1")])

    await world.pass_ms(LATE_MS)

    assert await world.visible() == [b"a"]
    await again.produce([record(b"b2")])
    await again.commit()
    assert await world.visible() == [b"a", b"b1", b"b2"]
    await world.log.close()


async def test_a_late_open_producer_fences_whoever_has_the_id_by_then() -> None:
    world = World(Faults({("open_producer", 1): Late(LATE_MS)}))
    await world.log.create_topics([SPEC])
    with pytest.raises(LogUnavailable):
        await world.log.open_producer("id")
    holder = await world.log.open_producer("id")
    await holder.produce([record(b"a")])

    await world.pass_ms(LATE_MS)

    with pytest.raises(Fenced):
        await holder.commit()
    assert await world.visible() == []
    await world.log.close()


async def test_a_transaction_that_stays_open_too_long_is_aborted_and_its_producer_fenced() -> None:
    world = World()
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"open")])
    await world.log.append(record(b"behind"))

    await world.pass_ms(TIMEOUT_MS - 1)
    assert await world.visible() == []
    await world.pass_ms(1)

    assert await world.visible() == [b"behind"]
    with pytest.raises(Fenced):
        await producer.commit()
    await world.log.close()


async def test_a_committed_transaction_is_not_timed_out_and_neither_is_the_next_one_early() -> None:
    world = World()
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])
    await world.pass_ms(TIMEOUT_MS - 1)
    await producer.commit()
    await producer.produce([record(b"b")])
    await world.pass_ms(TIMEOUT_MS - 1)
    await producer.commit()

    assert await world.visible() == [b"a", b"b"]
    assert world.clock.next_wake_ms() is None
    await world.log.close()


async def test_markers_take_offsets_and_readers_move_past_them_and_past_what_was_aborted() -> None:
    world = World()
    await world.log.create_topics([SPEC])
    aborted = await world.log.open_producer("id")
    await aborted.produce([record(b"aborted")])
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])
    await producer.commit()
    await producer.produce([record(b"b")])
    assert list(await producer.commit()) == [4]

    assert [stored.offset for stored in await world.stored()] == [2, 4]
    reader = await world.log.open_reader("history", 0, 0)
    assert len(await reader.read(10, 0)) == 2
    assert reader.position == 6
    assert await world.log.bounds("history", 0) == Bounds(0, 6)
    await world.log.close()


async def order_of_arrival(seed: int, *, awaited: bool) -> list[bytes | None]:
    world = World(seed=seed)
    await world.log.create_topics([SPEC])
    slots = [await world.log.open_producer(f"slot-{number}") for number in range(2)]
    produces = [slot.produce([record(str(number).encode())]) for number, slot in enumerate(slots)]
    if awaited:
        for produce in produces:
            await produce
    else:
        await asyncio.gather(*produces)
    for slot in slots:
        await slot.commit()
    found = await world.visible()
    await world.log.close()
    return found


async def test_slots_that_do_not_wait_for_each_other_arrive_in_either_order() -> None:
    orders = {tuple(await order_of_arrival(seed, awaited=False)) for seed in range(20)}
    assert orders == {(b"0", b"1"), (b"1", b"0")}


async def test_slots_that_wait_for_the_acknowledgement_keep_their_order() -> None:
    orders = {tuple(await order_of_arrival(seed, awaited=True)) for seed in range(20)}
    assert orders == {(b"0", b"1")}


async def test_a_commit_may_be_answered_before_readers_see_it_and_the_next_holder_sees_it_decided() -> None:
    partitions = 8
    seen_at_once: set[bool] = set()
    for seed in range(20):
        world = World(seed=seed)
        await world.log.create_topics([TopicSpec(name="wide", partitions=partitions, record_bytes_max=9)])
        producer = await world.log.open_producer("id")
        await producer.produce(
            [LogRecord(topic="wide", partition=number, key=None, value=b"a") for number in range(partitions)]
        )
        await producer.commit()
        reader = await world.log.open_reader("wide", 0, 0)
        seen_at_once.add(bool(await reader.read(1, 0)))
        await world.log.open_producer("id")
        assert (await world.log.bounds("wide", partitions - 1)).end == 2
        await world.log.close()
    assert seen_at_once == {True, False}


async def noisy_run(seed: int) -> tuple[list[str], list[StoredRecord], str]:
    """Six clients over a log with many faults: what each of them met, and what is in the log."""
    chance = Chance(seed=seed)
    odds: list[tuple[float, Fault]] = [(0.1, LoseReply()), (0.1, LoseRequest()), (0.1, Late(7)), (0.1, Delay(3))]
    faults = Faults(odds={"produce": odds, "commit": odds, "append": odds}, chance=chance)
    clock = ManualClock()
    log = SimulatedLog(clock, chance=chance, faults=faults, transaction_timeout_ms=50)
    await log.create_topics([SPEC])
    met: list[str] = []

    async def client(name: str) -> None:
        for number in range(10):
            try:
                producer = await log.open_producer(name)
                await producer.produce([record(f"{name}-{number}".encode())])
                offsets = await producer.commit()
                met.append(f"{name}-{number} {list(offsets)}")
            except LogError as error:
                met.append(f"{name}-{number} {type(error).__name__}")

    clients = [asyncio.ensure_future(client(f"id-{number % 3}")) for number in range(6)]
    running = asyncio.gather(*clients)
    while not running.done():
        clock.advance(1)
        for _ in range(5):
            await asyncio.sleep(0)
    for _ in range(200):
        clock.advance(1)
        await asyncio.sleep(0)
    found = await (await log.open_reader("history", 0, 0)).read(1_000, 0)
    await log.close()
    return met, list(found), log.cluster_id


async def test_one_seed_gives_one_run() -> None:
    assert await noisy_run(5) == await noisy_run(5)
    assert await noisy_run(5) != await noisy_run(6)


@pytest.mark.parametrize("seed", range(10))
async def test_what_was_acknowledged_is_there_once_and_what_was_refused_is_not(seed: int) -> None:
    met, found, _ = await noisy_run(seed)
    offsets = {stored.offset for stored in found}

    acknowledged = [line for line in met if line.endswith("]")]
    assert {int(line.split("[")[1][:-1]) for line in acknowledged} <= offsets
    assert any("Doubtful" in line for line in met)
    assert any("Fenced" in line for line in met)
    values = [(stored.value or b"").decode() for stored in found]
    # Two clients share an id, so each name is sent twice at most; a refused one is never seen for that try.
    for name in set(values):
        tries = [line for line in met if line.startswith(f"{name} ")]
        assert values.count(name) <= sum("Fenced" not in line for line in tries)


async def test_a_closed_log_refuses_and_wakes_its_readers() -> None:
    world = World()
    await world.log.create_topics([SPEC])
    reading = asyncio.ensure_future((await world.log.open_reader("history", 0, 0)).read(1, 1_000))
    await world.pass_ms()

    await world.log.close()

    with pytest.raises(LogUnavailable, match="closed"):
        await reading
    with pytest.raises(LogUnavailable, match="closed"):
        await world.log.append(record(b"a"))
