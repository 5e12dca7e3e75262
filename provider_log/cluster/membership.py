"""What does the group say of this node? Asked through the membership process, which is kept running.

The answer is an opinion: it decides what a node tries to own, and after it was fenced, whether it tries again.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import anyio
from msgspec.structs import replace

from engine.clock import Clock
from engine.observe import logger
from engine.runtime.doors import Tasks, within
from provider_log.cluster.line import BEAT_MS, Beat, Hello, Left, Placed, line, to_node
from provider_log.cluster.placement import Placement
from provider_log.log.wakeup import Wakeup
from provider_log.topics import Topics

if TYPE_CHECKING:
    from provider_log.log.kafka import ClientSettings

log = logger("membership")

_LINE_BYTES_MAX = 16 * 1024 * 1024
_AGAIN_MS = 1_000
_END_MS = 5_000


class Membership(Protocol):
    """Who says which partitions the nodes of a cluster should have."""

    @property
    def placement(self) -> Placement | None:
        """What the group said last; None while this node is no member."""
        ...

    def join(self, partitions: int) -> None:
        """Become a member of the group that places so many partitions. Once."""
        ...

    async def changed(self) -> None:
        """Return when the group has said something new."""
        ...

    async def confirmed(self, timeout_ms: int) -> Placement | None:
        """What the group says now, by an answer younger than the call; None if none came in time."""
        ...

    def refuse(self, partitions: Iterable[int]) -> None:
        """This node cannot run these partitions, or will not: another one shall."""
        ...

    def accept(self, partitions: Iterable[int]) -> None:
        """This node refuses these no more."""
        ...

    async def aclose(self) -> None:
        """Leave the group."""
        ...


class ProcessMembership:
    """`Membership` of a consumer group on Kafka, through a process of its own.

    Args:
        bootstrap, kafka: How to reach the brokers, and how to be let in.
        app: Name of the application; its group is `turnlog.{app}`.
        node: Name of this node: where it answers.
        session_ms: A node that gives no sign for so long is no member any more.
        clock: Of the beats.
    """

    def __init__(
        self, bootstrap: str, kafka: "ClientSettings", *, app: str, node: str, session_ms: int, clock: Clock
    ) -> None:
        self._bootstrap = bootstrap
        self._kafka = kafka
        self._app = app
        self._node = node
        self._session_ms = session_ms
        self._clock = clock
        self._placement: Placement | None = None
        self._answered = 0
        self._asked = 0
        self._refuses: set[int] = set()
        self._changes = Wakeup()
        self._child: asyncio.subprocess.Process | None = None
        self._tasks = Tasks("membership", lambda error: log.error("%s", error))

    @property
    def placement(self) -> Placement | None:
        return self._placement

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._child is None else self._child.pid

    def join(self, partitions: int) -> None:
        hello = Hello(
            bootstrap=self._bootstrap,
            kafka=self._kafka,
            group=f"turnlog.{self._app}",
            topic=Topics.of(self._app).owners,
            partitions=partitions,
            node=self._node,
            session_ms=self._session_ms,
        )
        self._tasks.spawn("keep", self._keep(hello))

    async def aclose(self) -> None:
        await self._tasks.aclose(self._clock, patience_ms=2 * _END_MS)

    async def changed(self) -> None:
        await self._changes.wait()

    async def confirmed(self, timeout_ms: int) -> Placement | None:
        self._asked += 1
        question = self._asked
        self._say()
        with contextlib.suppress(TimeoutError):
            await within(self._clock, self._answer(question), timeout_ms)
        return self._placement if self._answered >= question else None

    def refuse(self, partitions: Iterable[int]) -> None:
        self._refuses.update(partitions)
        self._say()

    def accept(self, partitions: Iterable[int]) -> None:
        self._refuses.difference_update(partitions)
        self._say()

    async def _answer(self, question: int) -> None:
        while self._answered < question:
            await self._changes.wait()

    def _say(self) -> None:
        child = self._child
        if child is not None and child.stdin is not None and not child.stdin.is_closing():
            child.stdin.write(line(Beat(refuses=tuple(sorted(self._refuses)), asked=self._asked)))

    async def _keep(self, hello: Hello) -> None:
        """Run the process, and another one if it ends."""
        while True:
            await self._run_one(hello)
            held = self._placement.of(self._node) if self._placement else ()
            hello = replace(hello, holds=tuple(sorted(held)))
            self._hear(Left(why="expected a membership process that goes on, but it ended"))
            await self._clock.sleep_ms(_AGAIN_MS)

    async def _run_one(self, hello: Hello) -> None:
        # Not the node's process group: Ctrl-C on a terminal is for the node, which drains before this one ends. And
        # not its working directory first in the path, where a user's folder `schemas` would stand in front of ours.
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "provider_log.cluster.member_process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_LINE_BYTES_MAX,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        self._child = child
        child.stdin.write(line(hello))
        beating = self._tasks.spawn("beat", self._beat())
        try:
            while data := await child.stdout.readline():
                self._hear(to_node.decode(data))
        finally:
            self._child = None
            beating.cancel()
            with anyio.CancelScope(shield=True):
                await self._end(child)

    async def _beat(self) -> None:
        while True:
            self._say()
            await self._clock.sleep_ms(BEAT_MS)

    def _hear(self, said: Placed | Left) -> None:
        match said:
            case Placed(placement=placement, answered=answered):
                if placement != self._placement:
                    log.info("generation %d: %s", placement.generation, placement.partitions)
                self._placement, self._answered = placement, answered
            case Left(why=why):
                log.warning("no member of the group: %s", why)
                self._placement = None
        self._changes.signal()

    async def _end(self, child: "asyncio.subprocess.Process") -> None:
        assert child.stdin is not None
        child.stdin.close()  # it leaves the group and ends
        try:
            await within(self._clock, child.wait(), _END_MS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
