"""Does each fault do what it says, at each request, and can a client recover from it by the port's own rules?"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import NamedTuple, get_args

import pytest

from engine.errors import UsageError
from provider_log.log.port import (
    Bounds,
    Doubtful,
    Fenced,
    LogCorrupted,
    LogError,
    LogUnavailable,
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
    TimeOut,
    Unavailable,
)
from tests.conformance.log.world import LATE_MS, SPEC, TIMEOUT_MS, World, record


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


async def begin(world: World) -> Attempt:
    producer = await world.log.open_producer("id")

    async def begun() -> bool:
        # The log times it out, and the producer is fenced. One that has no answer is finished, and nothing is in it.
        await world.pass_ms(TIMEOUT_MS)
        try:
            await producer.produce([record(b"a")])
        except Fenced:
            return True
        except UsageError:
            return False
        return False

    return lambda: producer.begin([("history", 0)]), begun


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
    "begin": (
        1,
        begin,
        {LOSE_REPLY: AWAY, LOSE_REQUEST: AWAY, LATE: AWAY, DELAY: DONE, AWAY_FAULT: AWAY},
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
