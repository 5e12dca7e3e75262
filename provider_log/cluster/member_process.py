"""What does the membership process do? It is a member of the group for one node, as long as that node is alive.

A process of its own, because a heartbeat must not wait for anything a node does: a regular expression that holds the
interpreter for ten seconds, a store that stalls, a turn that never ends. It leaves the group at once when its node has
died, which the end of its standard input tells, and when the node's loop has not turned for a whole session.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from engine.clock import Clock, SystemClock
from engine.errors import UsageError
from engine.runtime.doors import Tasks, within
from provider_log.cluster.line import BEAT_MS, Beat, Hello, Left, Placed, line, to_member
from provider_log.cluster.placement import Member, Placement, place
from provider_log.log.kafka import KafkaLog
from provider_log.log.kafka.group import Divide, Joined, Share
from provider_log.log.port import LogBroken, LogError, LogUnavailable

_LINE_BYTES_MAX = 1024 * 1024
_RETRY_MS = 500


class Group(Protocol):
    """What a member needs of the group; `KafkaGroup` says what each does and raises."""

    async def join(self, about: bytes, divide: Divide) -> Joined: ...

    async def beat(self) -> bool: ...

    async def leave(self) -> None: ...


class GroupMember:
    """The membership of one node.

    Args:
        hello: Which group, and as whom.
        group: That group.
        clock: Of the beats.
        say: Tells the node.
    """

    def __init__(self, hello: Hello, group: Group, clock: Clock, say: Callable[[Placed | Left], None]) -> None:
        self._hello = hello
        self._group = group
        self._clock = clock
        self._say = say
        self._beat = Beat()
        self._alive_ms = clock.boot_ms()
        self._held_ms = clock.boot_ms()
        self._placement: Placement | None = None
        self._refused: tuple[int, ...] = ()
        self._answered = 0
        self._lost: str = ""
        self._holds = hello.holds
        self._heard = asyncio.Event()

    def hear(self, beat: Beat) -> None:
        """The node is alive; a question, or what it refuses, is not left waiting for the next beat."""
        if beat != self._beat or self._placement is None:
            self._heard.set()
        self._beat = beat
        self._alive_ms = self._clock.boot_ms()

    async def run(self) -> None:
        """Be a member while the node is alive, until cancelled."""
        while True:
            try:
                await self._once()
            except LogError as error:
                # A refusal holds; without an answer the group may count on this member until its session is over.
                if isinstance(error, LogBroken) or self._clock.boot_ms() - self._held_ms >= self._hello.session_ms:
                    self._lose(str(error))
                await self._clock.sleep_ms(BEAT_MS)
                continue
            self._heard.clear()
            try:
                await within(self._clock, self._heard.wait(), BEAT_MS)
            except TimeoutError:
                continue

    async def leave(self) -> None:
        """The node is gone: let the others have its partitions now."""
        await self._group.leave()

    async def _once(self) -> None:
        if self._clock.boot_ms() - self._alive_ms >= self._hello.session_ms:
            if self._placement is not None:
                await self._group.leave()
                self._lose(f"expected a sign of the node within {self._hello.session_ms} ms, but none came")
            return
        beat = self._beat
        is_new = self._placement is None or beat.refuses != self._refused or not await self._group.beat()
        if is_new:
            await self._join(beat)
        self._held_ms = self._clock.boot_ms()
        if self._placement is not None and (is_new or beat.asked > self._answered):
            self._answered = beat.asked
            self._say(Placed(placement=self._placement, answered=beat.asked))

    async def _join(self, beat: Beat) -> None:
        node = self._hello.node
        if self._placement is not None:
            self._holds = tuple(sorted(self._placement.of(node)))
        about = Member(node=node, partitions=self._holds, refuses=beat.refuses)
        joined = await self._group.join(msgspec.json.encode(about), self._divide)
        self._refused = beat.refuses
        self._placement = msgspec.json.decode(joined.said, type=Placement)

    def _divide(self, generation: int, said: Mapping[str, bytes]) -> Mapping[str, Share]:
        members = {member: msgspec.json.decode(about, type=Member) for member, about in said.items()}
        placed = place(self._hello.partitions, list(members.values()))
        nodes = tuple(sorted({member.node for member in members.values()}))
        placement = Placement(generation=generation, nodes=nodes, partitions=placed)
        text = msgspec.json.encode(placement)
        return {member: Share(sorted(placement.of(about.node)), text) for member, about in members.items()}

    def _lose(self, why: str) -> None:
        if self._placement is not None or why != self._lost:
            self._placement, self._holds, self._lost = None, (), why
            self._say(Left(why=why))


async def serve(lines: asyncio.StreamReader, say: Callable[[bytes], None]) -> None:
    """Be a member for the node at the other end, until its end is closed."""
    hello = to_member.decode(await lines.readline())
    if not isinstance(hello, Hello):
        raise UsageError("expected to be told which group to join, but the node said something else")
    clock = SystemClock()
    log = await _opened(hello, clock)
    member = GroupMember(
        hello,
        log.group(hello.group, hello.topic, hello.session_ms),
        clock,
        lambda said: say(line(said)),
    )
    tasks = Tasks("member", _end_with)
    tasks.spawn("run", member.run())
    try:
        while data := await lines.readline():
            beat = to_member.decode(data)
            if isinstance(beat, Beat):
                member.hear(beat)
    finally:
        await tasks.aclose(clock, patience_ms=1_000)
        await member.leave()
        await log.close()


async def _opened(hello: Hello, clock: Clock) -> KafkaLog:
    while True:
        try:
            return await KafkaLog.open(hello.bootstrap, clock=clock, settings=hello.kafka)
        except LogUnavailable:
            await clock.sleep_ms(_RETRY_MS)


def _end_with(error: BaseException) -> None:
    # The node starts another one; this one's state is not to be trusted.
    raise SystemExit(f"turnlog membership: {error or type(error).__name__}")


async def main() -> None:
    """Serve standard input and output."""
    # Whoever stops a node with Ctrl-C stops this one too by its end; until then the node drains, and needs its place.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)

    def say(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    await serve(lines, say)


if __name__ == "__main__":
    asyncio.run(main())
