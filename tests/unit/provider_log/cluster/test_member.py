"""Is a node a member exactly as long as it is alive, and is every answer as young as its question?"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from engine.clock import ManualClock
from provider_log.cluster.line import BEAT_MS, Beat, Hello, Left, Placed
from provider_log.cluster.member_process import GroupMember
from provider_log.cluster.placement import Member, Placement
from provider_log.log.kafka.group import Divide, Joined
from provider_log.log.port import LogBroken, LogUnavailable

SESSION_MS = 5_000
ROUNDS = 30
OTHER = Member(node="b:1", partitions=(2, 3))


class Group:
    """A group with one other member; this one leads it."""

    def __init__(self) -> None:
        self.generation = 0
        self.joins: list[Member] = []
        self.beats = 0
        self.left = 0
        self.has_moved = False
        self.error: Exception | None = None

    async def join(self, about: bytes, divide: Divide) -> Joined:
        if self.error is not None:
            raise self.error
        self.joins.append(msgspec.json.decode(about, type=Member))
        self.generation += 1
        self.has_moved = False
        shares = divide(self.generation, {"me": about, "other": msgspec.json.encode(OTHER)})
        assert shares["me"].said == shares["other"].said
        placement = msgspec.json.decode(shares["me"].said, type=Placement)
        assert sorted(placement.of("b:1")) == list(shares["other"].partitions)
        return Joined(self.generation, shares["me"].said)

    async def beat(self) -> bool:
        self.beats += 1
        if self.error is not None:
            raise self.error
        return not self.has_moved

    async def leave(self) -> None:
        self.left += 1


class World:
    def __init__(self, holds: tuple[int, ...]) -> None:
        self.clock = ManualClock()
        self.group = Group()
        self.said: list[Placed | Left] = []
        hello = Hello(
            bootstrap="", kafka={}, group="g", topic="t", partitions=4, node="a:1", session_ms=SESSION_MS, holds=holds
        )
        self.member = GroupMember(hello, self.group, self.clock, self.said.append)
        self.is_alive = True
        self.beat = Beat()

    async def pass_ms(self, duration_ms: int) -> None:
        for _ in range(0, duration_ms, BEAT_MS // 2):
            if self.is_alive:
                self.member.hear(self.beat)
            await self.settle()
            self.clock.advance(BEAT_MS // 2)
            await self.settle()

    async def settle(self) -> None:
        for _ in range(ROUNDS):
            await asyncio.sleep(0)

    @property
    def placement(self) -> Placement:
        last = self.said[-1]
        assert isinstance(last, Placed)
        return last.placement


@asynccontextmanager
async def world(holds: tuple[int, ...] = (), error: Exception | None = None) -> AsyncGenerator[World]:
    w = World(holds)
    w.group.error = error
    running = asyncio.ensure_future(w.member.run())
    await w.settle()
    try:
        yield w
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_it_joins_and_says_what_was_placed_where() -> None:
    async with world() as w:
        await w.pass_ms(3_000)
        assert w.said == [Placed(placement=w.placement, answered=0)]
        assert w.placement == Placement(
            generation=1, nodes=("a:1", "b:1"), partitions={2: "b:1", 3: "b:1", 0: "a:1", 1: "a:1"}
        )
        assert w.group.beats >= 2


async def test_it_joins_again_when_the_group_has_moved_on_and_says_what_it_had() -> None:
    async with world() as w:
        await w.pass_ms(1_000)
        w.group.has_moved = True
        await w.pass_ms(2_000)
        assert [one.partitions for one in w.group.joins] == [(), (0, 1)]
        assert w.placement.generation == 2


async def test_what_the_process_before_it_had_is_said_first() -> None:
    async with world(holds=(0, 3)) as w:
        await w.pass_ms(1_000)
        assert w.group.joins == [Member(node="a:1", partitions=(0, 3))]


async def test_what_the_node_refuses_is_told_at_once() -> None:
    async with world() as w:
        await w.pass_ms(1_000)
        w.beat = Beat(refuses=(0,))
        w.member.hear(w.beat)
        await w.settle()
        assert w.group.joins[-1] == Member(node="a:1", partitions=(0, 1), refuses=(0,))
        assert w.placement.partitions[0] == "b:1"


async def test_a_question_is_answered_by_a_beat_that_came_after_it() -> None:
    async with world() as w:
        await w.pass_ms(2_000)
        beats = w.group.beats
        w.beat = Beat(asked=1)
        w.member.hear(w.beat)
        await w.settle()
        assert w.group.beats == beats + 1
        assert w.said[-1] == Placed(placement=w.placement, answered=1)
        await w.pass_ms(2_000)
        assert len(w.said) == 2, "expected one answer a question"


async def test_a_question_is_not_answered_while_the_group_does_not_answer() -> None:
    async with world() as w:
        await w.pass_ms(1_000)
        w.group.error = LogUnavailable("away")
        w.beat = Beat(asked=1)
        await w.pass_ms(2_000)
        assert [said for said in w.said if isinstance(said, Placed)] == w.said[:1]
        w.group.error = None
        await w.pass_ms(2_000)
        assert w.said[-1] == Placed(placement=w.placement, answered=1)


async def test_a_node_that_stands_still_loses_its_place_and_has_another_when_it_goes_on() -> None:
    async with world() as w:
        await w.pass_ms(1_000)
        w.is_alive = False
        await w.pass_ms(SESSION_MS - 2_000)
        assert w.group.left == 0
        await w.pass_ms(3_000)
        assert w.group.left == 1
        assert isinstance(w.said[-1], Left)
        await w.pass_ms(10_000)
        assert w.group.left == 1
        w.is_alive = True
        await w.pass_ms(1_000)
        assert w.placement.generation == 2
        assert w.group.joins[-1].partitions == (), "expected no claim to what others have by now"


async def test_a_group_that_is_away_for_a_session_has_gone_on_without_it() -> None:
    async with world() as w:
        await w.pass_ms(1_000)
        w.group.error = LogUnavailable("away")
        await w.pass_ms(SESSION_MS - 2_000)
        assert isinstance(w.said[-1], Placed)
        await w.pass_ms(4_000)
        assert w.said[-1] == Left(why="away")


async def test_a_group_that_refuses_it_says_why_and_is_asked_again() -> None:
    async with world(error=LogBroken("no")) as w:
        await w.pass_ms(3_000)
        assert w.said == [Left(why="no")]
        w.group.error = None
        await w.pass_ms(2_000)
        assert w.placement.generation == 1
