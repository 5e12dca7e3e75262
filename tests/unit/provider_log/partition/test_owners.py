"""Does a node know who has which partition, and does it know when it does not know?"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from engine.clock import ManualClock
from engine.runtime.doors import Chance
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import Bounds, LogBroken, LogRecord, StoredRecord
from provider_log.log.simulated import SimulatedLog
from provider_log.log.simulated.client import SimulatedReader
from provider_log.partition.owners import SILENCE_MS, Owners
from provider_log.topics import Topics

TOPICS = Topics.of("app")
ROUNDS = 40


def owner(token: bytes, node: str = "a") -> r.Owner:
    return r.Owner(partition=0, owner_token=token, node=node, address=node, generation=1)


class World:
    def __init__(self, clock: ManualClock, log: SimulatedLog, owners: Owners) -> None:
        self.clock = clock
        self.log = log
        self.owners = owners
        self.heard = 0
        self.running = asyncio.ensure_future(owners.run())

    def stored(self, value: bytes) -> StoredRecord:
        return StoredRecord(topic=TOPICS.owners, partition=0, offset=0, timestamp_ms=0, key=b"0", value=value)

    async def write(self, value: bytes | None, partition: int = 0) -> int:
        offset = await self.log.append(
            LogRecord(topic=TOPICS.owners, partition=partition, key=b"%d" % partition, value=value)
        )
        await self.settle()
        return offset

    async def settle(self) -> None:
        for _ in range(ROUNDS):
            await asyncio.sleep(0)

    async def pass_ms(self, duration_ms: int, step_ms: int = 100) -> None:
        for _ in range(0, duration_ms, step_ms):
            self.clock.advance(step_ms)
            await self.settle()


@asynccontextmanager
async def world(kind: type[SimulatedLog] = SimulatedLog) -> AsyncGenerator[World]:
    clock = ManualClock()
    log = kind(clock, chance=Chance(1))
    await log.create_topics(TOPICS.specs(1 if kind is LinedLog else 2))
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        made.heard = heard

    owners = Owners(log, TOPICS.owners, 1 if kind is LinedLog else 2, clock, hear)
    made = World(clock, log, owners)
    await made.settle()
    try:
        yield made
    finally:
        made.running.cancel()
        await asyncio.wait({made.running})
        await log.close()


async def test_the_last_record_says_who_has_a_partition() -> None:
    async with world() as w:
        assert w.owners.standing(0).owner is None
        await w.write(codec.encode_owner(owner(b"1")))
        offset = await w.write(codec.encode_owner(owner(b"2", "b")))
        assert w.owners.standing(0).owner == owner(b"2", "b")
        assert w.owners.standing(0).offset == offset
        assert w.owners.standing(1).owner is None


async def test_an_owner_that_left_has_it_no_more() -> None:
    async with world() as w:
        await w.write(codec.encode_owner(owner(b"1")))
        assert w.owners.names(0, b"1")
        await w.write(None)
        assert not w.owners.names(0, b"1")
        assert w.owners.standing(0).owner is None


async def test_all_is_known_once_each_end_was_reached() -> None:
    async with world() as w:
        await w.pass_ms(600)
        assert w.owners.is_known


async def test_a_record_that_nobody_can_read_makes_nobody_owner_and_ends_nobody() -> None:
    async with world() as w:
        await w.write(codec.encode_owner(owner(b"1")))
        await w.write(b"nonsense")
        assert w.owners.names(0, b"1")


async def test_an_owner_acts_only_while_the_log_answers() -> None:
    async with world() as w:
        await w.write(codec.encode_owner(owner(b"1")))
        await w.pass_ms(10_000)
        assert w.owners.names(0, b"1"), "expected a log that answers to be enough"
        w.clock.advance(SILENCE_MS)  # at once, as for a process that was paused: no answer in between
        assert not w.owners.names(0, b"1")
        before = w.heard
        await w.pass_ms(600)
        assert w.owners.names(0, b"1")
        assert w.heard > before, "expected whoever may act again to be told"


class Line(SimulatedReader):
    """A reader whose answers wait in a socket until the process reads them."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.answers: asyncio.Queue[Sequence[StoredRecord]] = asyncio.Queue()

    async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
        self.asked.append((records_max, timeout_ms))
        return await self.answers.get()

    async def close(self) -> None:
        pass


class LinedLog(SimulatedLog):
    """A log at the end of a line."""

    line = Line()

    async def open_reader(self, topic: str, partition: int, position: int) -> SimulatedReader:
        assert (topic, partition, position) == (TOPICS.owners, 0, 0)
        return self.line


class RefusedLog(SimulatedLog):
    """A log that lets nobody in."""

    async def bounds(self, topic: str, partition: int) -> Bounds:
        raise LogBroken(f"expected to be let in to see {topic}/{partition}, but was not")


async def test_an_answer_counts_from_when_it_was_asked_for() -> None:
    async with world(LinedLog) as w:
        line = LinedLog.line
        w.clock.advance(SILENCE_MS)  # the process is paused with its question open; the answer comes meanwhile
        line.answers.put_nowait([w.stored(codec.encode_owner(owner(b"1")))])
        await w.settle()
        assert w.owners.standing(0).owner == owner(b"1")
        assert not w.owners.names(0, b"1"), "expected an answer as old as its question"
        line.answers.put_nowait([])
        await w.settle()
        assert w.owners.names(0, b"1"), "expected the next answer to count"


async def test_who_acquired_learns_of_the_next_one_and_not_of_those_before() -> None:
    async with world() as w:
        await w.write(codec.encode_owner(owner(b"1")))
        mine = await w.write(codec.encode_owner(owner(b"2")))
        taken = asyncio.ensure_future(w.owners.taken(0, mine))
        await w.settle()
        assert not taken.done()
        await w.write(None, partition=1)
        assert not taken.done()
        await w.write(codec.encode_owner(owner(b"3", "c")))
        assert (await taken).node == "c"


async def test_a_log_that_is_broken_for_good_ends_it() -> None:
    async with world(RefusedLog) as w:
        with pytest.raises(LogBroken, match="let in"):
            await w.running
