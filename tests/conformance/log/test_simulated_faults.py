"""Does each fault do what it says, at each request, and can a client recover from it by the port's own rules?"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import NamedTuple, get_args

import pytest

from engine.clock import ManualClock
from engine.errors import UsageError
from engine.runtime.doors import Chance
from provider_log.log.port import (
    Bounds,
    Doubtful,
    Fenced,
    LogCorrupted,
    LogError,
    LogRecord,
    LogUnavailable,
    StoredRecord,
    TopicSpec,
)
from provider_log.log.simulated import (
    Damage,
    Delay,
    Fault,
    Faults,
    Late,
    LoseReply,
    LoseRequest,
    Operation,
    Resend,
    SimulatedLog,
    TimeOut,
    Unavailable,
)

LATE_MS = 500
TIMEOUT_MS = 10_000
SPEC = TopicSpec(name="history", partitions=1, record_bytes_max=1_000)


def record(value: bytes, topic: str = "history") -> LogRecord:
    return LogRecord(topic=topic, partition=0, key=None, value=value)


class World:
    """A log with one topic, its clock, and its faults."""

    def __init__(self, faults: Faults | None = None, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.log = SimulatedLog(self.clock, chance=Chance(seed=seed), faults=faults, transaction_timeout_ms=TIMEOUT_MS)

    async def pass_ms(self, duration_ms: int = 0) -> None:
        self.clock.advance(duration_ms)
        for _ in range(50):
            await asyncio.sleep(0)

    async def visible(self) -> list[bytes | None]:
        return [stored.value for stored in await self.stored()]

    async def stored(self) -> list[StoredRecord]:
        await self.pass_ms()
        reader = await self.log.open_reader("history", 0, (await self.log.bounds("history", 0)).first)
        return list(await reader.read(100, 0))


class Seen(NamedTuple):
    """What came of a request: what it raised, whether it had its effect at once, whether later."""

    error: type[LogError] | None
    at_once: bool
    later: bool


Attempt = tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[bool]]]
"""A request, and how to see whether it had its effect."""


async def create_topics(world: World) -> Attempt:
    async def created() -> bool:
        return await world.log.partition_count("new") == 1

    return lambda: world.log.create_topics([TopicSpec(name="new", partitions=1, record_bytes_max=9)]), created


async def open_producer(world: World) -> Attempt:
    holder = await world.log.open_producer("id")
    await holder.produce([record(b"open")])

    async def fenced() -> bool:
        # Its transaction has ended exactly if nothing stops readers before its end any more.
        await world.pass_ms()
        return (await world.log.bounds("history", 0)).end > 0

    return lambda: world.log.open_producer("id"), fenced


async def produce(world: World) -> Attempt:
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"first")])

    probes = itertools.count()

    async def arrived() -> bool:
        # Committed reads stop before what is open; where the next record comes to lie tells how much there is.
        place = await world.log.append(record(b"probe")) - next(probes)
        return place == 2 and not await world.visible()

    return lambda: producer.produce([record(b"second")]), arrived


async def commit(world: World) -> Attempt:
    producer = await world.log.open_producer("id")
    await producer.produce([record(b"a")])

    async def committed() -> bool:
        return await world.visible() == [b"a"]

    return producer.commit, committed


async def append(world: World) -> Attempt:
    async def appended() -> bool:
        return await world.visible() == [b"a"]

    return lambda: world.log.append(record(b"a")), appended


async def delete_records(world: World) -> Attempt:
    await world.log.append(record(b"a"))

    async def deleted() -> bool:
        return (await world.log.bounds("history", 0)).first == 1

    return lambda: world.log.delete_records("history", 0, 1), deleted


async def read(world: World) -> Attempt:
    await world.log.append(record(b"a"))
    reader = await world.log.open_reader("history", 0, 0)

    async def moved() -> bool:
        return reader.position > 0

    return lambda: reader.read(10, 0), moved


async def bounds(world: World) -> Attempt:
    await world.log.append(record(b"a"))

    async def unchanged() -> bool:
        return await world.log.bounds("history", 0) == Bounds(0, 1)

    return lambda: world.log.bounds("history", 0), unchanged


DONE = Seen(None, at_once=True, later=True)
UNKNOWN_DONE = Seen(Doubtful, at_once=True, later=True)
UNKNOWN_NOT_DONE = Seen(Doubtful, at_once=False, later=False)
UNKNOWN_LATE = Seen(Doubtful, at_once=False, later=True)
AWAY = Seen(LogUnavailable, at_once=False, later=False)
AWAY_DONE = Seen(LogUnavailable, at_once=True, later=True)
AWAY_LATE = Seen(LogUnavailable, at_once=False, later=True)
FENCED = Seen(Fenced, at_once=False, later=False)

LOSE_REPLY, LOSE_REQUEST, LATE, DELAY, AWAY_FAULT = (
    LoseReply(),
    LoseRequest(),
    Late(LATE_MS),
    Delay(LATE_MS),
    Unavailable(),
)

# Operation, the number of the request that fails, how to make it, and what each fault that fits does to it.
EXPECTED: dict[Operation, tuple[int, Callable[[World], Awaitable[Attempt]], dict[Fault, Seen]]] = {
    "create_topics": (
        2,
        create_topics,
        {LOSE_REPLY: AWAY_DONE, LOSE_REQUEST: AWAY, LATE: AWAY_LATE, DELAY: DONE, AWAY_FAULT: AWAY},
    ),
    "open_producer": (
        2,
        open_producer,
        {LOSE_REPLY: AWAY_DONE, LOSE_REQUEST: AWAY, LATE: AWAY_LATE, DELAY: DONE, AWAY_FAULT: AWAY},
    ),
    "produce": (
        2,
        produce,
        {
            LOSE_REPLY: UNKNOWN_DONE,
            LOSE_REQUEST: UNKNOWN_NOT_DONE,
            LATE: Seen(Doubtful, at_once=False, later=True),
            DELAY: DONE,
            AWAY_FAULT: AWAY,
            TimeOut(): FENCED,
        },
    ),
    "commit": (
        1,
        commit,
        {
            LOSE_REPLY: UNKNOWN_DONE,
            LOSE_REQUEST: UNKNOWN_NOT_DONE,
            LATE: UNKNOWN_LATE,
            DELAY: DONE,
            Resend(LATE_MS): DONE,
            AWAY_FAULT: AWAY,
            TimeOut(): FENCED,
        },
    ),
    "append": (
        1,
        append,
        {
            LOSE_REPLY: UNKNOWN_DONE,
            LOSE_REQUEST: UNKNOWN_NOT_DONE,
            LATE: UNKNOWN_LATE,
            DELAY: DONE,
            AWAY_FAULT: AWAY,
        },
    ),
    "read": (
        1,
        read,
        {
            LOSE_REPLY: AWAY,
            LOSE_REQUEST: AWAY,
            DELAY: Seen(None, at_once=False, later=True),
            AWAY_FAULT: AWAY,
            Damage(): Seen(LogCorrupted, at_once=False, later=False),
        },
    ),
    "bounds": (
        1,
        bounds,
        {LOSE_REPLY: AWAY_DONE, LOSE_REQUEST: AWAY_DONE, DELAY: DONE, AWAY_FAULT: AWAY_DONE},
    ),
    "delete_records": (
        1,
        delete_records,
        {LOSE_REPLY: AWAY_DONE, LOSE_REQUEST: AWAY, LATE: AWAY_LATE, DELAY: DONE, AWAY_FAULT: AWAY},
    ),
}

CASES = [
    pytest.param(operation, fault, seen, id=f"{operation}-{type(fault).__name__}")
    for operation, (_, _, faults) in EXPECTED.items()
    for fault, seen in faults.items()
]


@pytest.mark.parametrize(("operation", "fault", "expected"), CASES)
async def test_a_fault_does_what_it_says(operation: Operation, fault: Fault, expected: Seen) -> None:
    number, prepare, _ = EXPECTED[operation]
    faults = Faults({(operation, number): fault})
    world = World(faults)
    await world.log.create_topics([SPEC])
    attempt, has_effect = await prepare(world)
    before = faults.seen(operation)

    running = asyncio.ensure_future(attempt())
    await world.pass_ms()
    assert running.done() == (not isinstance(fault, Delay))
    at_once = await has_effect()
    await world.pass_ms(LATE_MS)
    later = await has_effect()

    await asyncio.wait({running})
    error = running.exception()
    assert Seen(type(error) if isinstance(error, LogError) else None, at_once, later) == expected
    assert before == number - 1
    if isinstance(error, Doubtful):
        await _recovers(world)
    await world.log.close()


async def _recovers(world: World) -> None:
    """What the protocol does in doubt: take the id anew, then what is in the log has happened."""
    again = await world.log.open_producer("id")
    await again.produce([record(b"again")])
    await again.commit()
    assert (await world.visible())[-1] == b"again"


def test_every_fault_is_tried_at_every_operation_it_fits() -> None:
    assert set(EXPECTED) == set(get_args(Operation))
    for operation in get_args(Operation):
        for fault in (LOSE_REPLY, LOSE_REQUEST, LATE, DELAY, AWAY_FAULT, TimeOut(), Resend(LATE_MS), Damage()):
            if fault in EXPECTED[operation][2]:
                Faults({(operation, 1): fault})
            else:
                with pytest.raises(UsageError, match=f"but it is at {operation}"):
                    Faults({(operation, 1): fault})


def test_odds_without_a_chance_are_refused() -> None:
    with pytest.raises(UsageError, match="expected a chance"):
        Faults(odds={"commit": [(0.5, LoseReply())]})


@pytest.mark.parametrize("call", ["produce", "commit"])
@pytest.mark.parametrize(
    "fault", [LoseReply(), LoseRequest(), Late(LATE_MS), Unavailable()], ids=lambda f: type(f).__name__
)
async def test_a_producer_without_an_answer_is_finished(call: Operation, fault: Fault) -> None:
    world = World(Faults({(call, 1): fault}))
    await world.log.create_topics([SPEC])
    producer = await world.log.open_producer("id")

    if call == "commit":
        await producer.produce([record(b"a")])
    failing = producer.commit() if call == "commit" else producer.produce([record(b"a")])

    with pytest.raises((Doubtful, LogUnavailable)):
        await failing
    with pytest.raises(UsageError):
        await producer.produce([record(b"b")])
    with pytest.raises(UsageError):
        await producer.commit()
    await world.log.close()


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
    seen_at_once: set[bool] = set()
    for seed in range(20):
        world = World(seed=seed)
        await world.log.create_topics([SPEC])
        producer = await world.log.open_producer("id")
        await producer.produce([record(b"a")])
        await producer.commit()
        reader = await world.log.open_reader("history", 0, 0)
        seen_at_once.add(bool(await reader.read(1, 0)))
        await world.log.open_producer("id")
        assert (await world.log.bounds("history", 0)).end == 2
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
