"""Who says which node should have which partition, where no broker is? A group in memory, with Kafka's delays.

It places partitions by the same pure function as the real one, forgets who gives no sign for a session, and tells its
members what it decided when it gets round to it: two of them may believe different things for a while.
"""

from collections.abc import Callable, Iterable

from engine.clock import Clock
from engine.runtime.doors import Chance, Tasks
from provider_log.cluster.placement import Member, Placement, place
from provider_log.log.wakeup import Wakeup
from provider_log.simulation.nodes import Line

BEAT_MS = 500
_NEWS_MS_MAX = 300
"""How long a member may not know yet what the group decided."""


class SimulatedGroup:
    """The members of one application, as the group's coordinator knows them.

    Args:
        session_ms: A member that gives no sign for so long is none any more.
        clock, chance: Of beats and of delays.
        failed: Told an error of the group itself.
    """

    def __init__(self, session_ms: int, clock: Clock, chance: Chance, failed: Callable[[BaseException], None]) -> None:
        self._session_ms = session_ms
        self._clock = clock
        self._chance = chance
        self._partitions = 0
        self._joined: list[SimulatedMembership] = []
        self._members: dict[str, SimulatedMembership] = {}
        self._heard_ms: dict[str, int] = {}
        self._tasks = Tasks("group", failed)
        self.decision = Placement(generation=0, nodes=(), partitions={})

    def membership(self, node: str, line: Line) -> "SimulatedMembership":
        """That of a node, which gives a sign of life as long as its line is open. It becomes a member when it joins."""
        return SimulatedMembership(self, node, line, self._clock)

    async def aclose(self) -> None:
        """Let nobody hear anything more."""
        await self._tasks.aclose(self._clock, patience_ms=1_000)

    # For its members

    def join(self, member: "SimulatedMembership", partitions: int) -> None:
        """Hear a node from now on, which says how many partitions there are."""
        self._partitions = partitions
        self._joined.append(member)
        if len(self._joined) == 1:
            self._tasks.spawn("beats", self._beats())

    def remove(self, member: "SimulatedMembership") -> None:
        """The node is no member any more: it said so, or said nothing for long."""
        if self._members.get(member.node) is member:
            del self._members[member.node]
            self.decide()

    def decide(self) -> None:
        """Place the partitions, and send word to every member."""
        before = self.decision
        members = [
            Member(node=name, partitions=tuple(sorted(before.of(name))), refuses=tuple(sorted(member.refuses)))
            for name, member in self._members.items()
        ]
        self.decision = Placement(
            generation=before.generation + 1,
            nodes=tuple(sorted(self._members)),
            partitions=place(self._partitions, members),
        )
        for member in self._members.values():
            self._tasks.spawn(f"news for {member.node}", self._tell(member, self.decision))

    async def _beats(self) -> None:
        while True:
            now_ms = self._clock.boot_ms()
            for member in self._joined:
                if member.is_heard:
                    self._heard_ms[member.node] = now_ms
                    if self._members.get(member.node) is not member:
                        self._members[member.node] = member
                        self.decide()
            for member in list(self._members.values()):
                if now_ms - self._heard_ms[member.node] >= self._session_ms:
                    self.remove(member)
            await self._clock.sleep_ms(BEAT_MS)

    async def _tell(self, member: "SimulatedMembership", decided: Placement) -> None:
        await self._clock.sleep_ms(int(self._chance.uniform(0, _NEWS_MS_MAX)))
        while not member.is_heard:  # word to one that stands still waits for it
            if member.has_left:
                return
            await self._clock.sleep_ms(BEAT_MS)
        member.hear(decided)


class SimulatedMembership:
    """`Membership` of a node in a simulated group."""

    def __init__(self, group: SimulatedGroup, node: str, line: Line, clock: Clock) -> None:
        self.node = node
        self.refuses: set[int] = set()
        self.has_left = False
        self._group = group
        self._line = line
        self._clock = clock
        self._placement: Placement | None = None
        self._changes = Wakeup()

    @property
    def is_heard(self) -> bool:
        """Whether its signs of life arrive, and word to it."""
        return self._line.is_open and not self.has_left

    def hear(self, decided: Placement) -> None:
        """The group sends word; what it said before and is slow to arrive changes nothing."""
        if self._placement is None or decided.generation > self._placement.generation:
            self._placement = decided
            self._changes.signal()

    # Membership

    @property
    def placement(self) -> Placement | None:
        return self._placement

    def join(self, partitions: int) -> None:
        self._group.join(self, partitions)

    async def changed(self) -> None:
        await self._changes.wait()

    async def confirmed(self, timeout_ms: int) -> Placement | None:
        deadline_ms = self._clock.boot_ms() + timeout_ms
        while self._clock.boot_ms() < deadline_ms:
            if self.is_heard and self.node in self._group.decision.nodes:
                self.hear(self._group.decision)
                return self._group.decision
            await self._clock.sleep_ms(BEAT_MS)
        return None

    def refuse(self, partitions: Iterable[int]) -> None:
        self.refuses |= set(partitions)
        if self.is_heard:
            self._group.decide()

    def accept(self, partitions: Iterable[int]) -> None:
        self.refuses -= set(partitions)
        if self.is_heard:
            self._group.decide()

    async def aclose(self) -> None:
        if self.is_heard:
            self._group.remove(self)
        self.has_left = True
