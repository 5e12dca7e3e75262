"""Which partitions does a node of a cluster hold? Those that are placed on it, one task each, handed over in order.

placed here ─▶ wait until nobody who lives has it ─▶ acquire, restore, run ─▶ placed elsewhere: drain, release
                    ▲                                        │
                    ├──────────── fenced by another ◀────────┤
                    │                                        ▼
       refused: another node tries ◀───────────────── it cannot be run ─▶ stuck: stays here, and says why
                    │                                                     ▲
                    └─── all refuse it: all take that back ───────────────┘
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable

from msgspec import Struct

from engine.clock import Clock
from engine.errors import ProviderError
from engine.observe import known_marks, logger, mark
from engine.runtime.doors import Chance, Tasks, future_of, within
from provider_log.cluster.membership import Membership
from provider_log.cluster.placement import Placement
from provider_log.log.wakeup import Wakeup
from provider_log.partition.owners import Owners
from provider_log.partition.ownership import Phase
from provider_log.partitions import Partitions

log = logger("cluster")
known_marks("sharing.by_force", "sharing.taken")

MOVES_MAX = 2
"""So often a partition moves because of one record that nobody can use: more nodes would find what these found.

Whatever else it is that fails, each node tries once, and the one that gets it again when all have refused keeps it.
"""


class SharingOptions(Struct, frozen=True, kw_only=True):
    """Numbers of a node that shares partitions.

    Attributes:
        session_ms: A node that gives no sign for so long loses its partitions to others. Kafka's default.
        drain_ms: How long a partition that moves waits for its running activities; one that takes longer is run again.
        hand_over_ms: How long its new owner waits for the old one, if that one lives, before it takes it by force.
        confirm_ms: How long a fenced owner waits for the group's word before it gives up.
        again_ms_max: Pause before a partition that was lost and is placed here is acquired again; drawn.
    """

    session_ms: int = 10_000
    drain_ms: int = 2_000
    hand_over_ms: int = 15_000
    confirm_ms: int = 10_000
    again_ms_max: int = 500


class Sharing:
    """`Shared` of one node: says where it answers, asks the group before taking a partition again, and holds its share.

    Args:
        node: Its name in the group: where it answers.
        membership: What the group says.
        clock, chance: Of waits.
        options: Numbers.
        given_up: Told of a partition that this node cannot hold, and why; that is in its log, too.
    """

    def __init__(
        self,
        node: str,
        membership: Membership,
        clock: Clock,
        chance: Chance,
        options: SharingOptions,
        given_up: Callable[[int, Exception], None] | None = None,
    ) -> None:
        self._node = node
        self._membership = membership
        self._clock = clock
        self._chance = chance
        self._options = options
        self._owners: Owners | None = None
        self._holding: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        self._unfit: set[int] = set()
        self._stuck: dict[int, ProviderError] = {}
        self._last_resort: set[int] = set()  # all refused these, and took that back
        self._is_leaving = False
        self._moves = Wakeup()
        self._given_up = given_up
        self._tasks = Tasks("sharing", lambda error: log.critical("a partition is held no more: %s", error))

    # Shared

    @property
    def address(self) -> str:
        """Where this node answers the others."""
        return self._node

    @property
    def generation(self) -> int:
        """Of the placement this node acts on."""
        placement = self._membership.placement
        return 0 if placement is None else placement.generation

    async def is_placed_here(self, partition: int) -> bool:
        """Whether the group says now that the partition is this node's, and no other node that lives has it.

        One that lives and has it hands it over: see `_until_free`. To take it by force would fence it in its work.
        """
        placement = await self._membership.confirmed(self._options.confirm_ms)
        if placement is None or placement.partitions.get(partition) != self._node:
            return False
        return not self._is_owned_elsewhere(partition)

    # What is held

    @property
    def is_member(self) -> bool:
        """Whether the group knows this node, and the log has said who has what."""
        return self._membership.placement is not None and self._owners is not None and self._owners.is_known

    def is_settled(self, held: Partitions) -> bool:
        """Whether every partition that is placed here, and that this node can run, runs here."""
        placement = self._membership.placement
        if placement is None:
            return False
        phases = held.phases()
        wanted = placement.of(self._node) - self._unfit - self._stuck.keys()
        return all(phases.get(number) is Phase.RUNNING for number in wanted)

    async def run(self, held: Partitions) -> None:
        """Hold what is placed here, until cancelled; then release it all."""
        assert held.owners is not None
        self._owners = held.owners
        try:
            while True:
                moved, changed = self._moves.wait(), future_of(self._membership.changed())
                self._follow(held)
                try:
                    await asyncio.wait({moved, changed}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
        finally:
            patience_ms = self._options.drain_ms + 30_000
            await self._tasks.aclose(self._clock, patience_ms)

    def leave(self, partitions: int) -> None:
        """Want no partition any more: they move to others while this node ends its work."""
        self._is_leaving = True
        self._membership.refuse(range(partitions))

    def stuck(self, number: int) -> ProviderError | None:
        """Why a partition that this node keeps cannot be run, if so and as far as the log says that it is here."""
        assert self._owners is not None
        owner = self._owners.standing(number).owner
        return self._stuck.get(number) if owner is not None and owner.node == self._node else None

    def _follow(self, held: Partitions) -> None:
        """Begin to hold what is placed here, and let go of what is not. While this is no member, nothing moves."""
        placement = self._membership.placement
        if placement is None:
            return
        self._accept_what_all_refuse(placement)
        wanted = placement.of(self._node) - self._unfit
        for number in wanted - self._holding.keys():
            self._holding[number] = self._tasks.spawn(str(number), self._hold(held, number))
        for number in self._holding.keys() - wanted - self._leaving:
            self._leaving.add(number)
            self._holding[number].cancel()

    def _accept_what_all_refuse(self, placement: Placement) -> None:
        """Let somebody have each partition, so that there is one who says what is wrong with it."""
        refused = {number for number in self._unfit if number not in placement.partitions}
        if refused and not self._is_leaving:
            self._unfit -= refused
            self._last_resort |= refused
            self._membership.accept(refused)
        self._last_resort -= {
            number for number, node in placement.partitions.items() if node != self._node
        }  # somebody else got it

    async def _hold(self, held: Partitions, number: int) -> None:
        try:
            while True:
                await self._until_free(number)
                await held.hold(number, self._options.drain_ms, functools.partial(self._stays, number))
                mark("sharing.taken")
                log.warning("partition %d was taken by another node", number)
                await self._clock.sleep_ms(int(self._chance.uniform(0, self._options.again_ms_max)))
        except Exception as error:
            # Not again by this node: what it cannot read now it cannot read at the next try. Others may.
            is_defect = not isinstance(error, ProviderError)
            log.critical("partition %d cannot be run here: %s", number, error, exc_info=is_defect)
            self._unfit.add(number)
            self._membership.refuse([number])
            self._say_given_up(number, error)
        finally:
            del self._holding[number]
            self._leaving.discard(number)
            self._last_resort.discard(number)
            self._moves.signal()

    async def _stays(self, number: int, tried: frozenset[str], error: ProviderError) -> None:
        """Return when another node shall try a partition that cannot be run here: at once, as a rule.

        Where enough have tried it stays: it would tour the cluster, each node restoring it in vain, and end with none
        that could say why. A node that comes, or comes again, may have the code that can read it.
        """
        if len(tried) <= MOVES_MAX and number not in self._last_resort:
            return
        self._stuck[number] = error
        log.critical(
            "partition %d is stuck, and stays here: %s. Correct what that says, or start a node with a version that "
            "can read it",
            number,
            error,
        )
        self._say_given_up(number, error)
        self._moves.signal()
        try:
            await self._somebody_comes()
        finally:
            del self._stuck[number]

    async def _somebody_comes(self) -> None:
        """Return when the group has a member that it did not have before."""
        known: set[str] | None = None
        while True:
            placement = self._membership.placement
            if placement is not None:
                nodes = set(placement.nodes) - {self._node}
                if known is not None and nodes - known:
                    return
                known = nodes
            await self._membership.changed()

    def _say_given_up(self, number: int, error: Exception) -> None:
        if self._given_up is not None:
            self._given_up(number, error)

    async def _until_free(self, number: int) -> None:
        """Return when nobody else who lives has the partition, or has not given it up in time."""
        deadline_ms = self._clock.boot_ms() + self._options.hand_over_ms
        owners = self._owners
        assert owners is not None
        while not owners.is_known or self._is_owned_elsewhere(number):
            left_ms = deadline_ms - self._clock.boot_ms()
            if left_ms <= 0 and owners.is_known:
                mark("sharing.by_force")
                log.warning("partition %d was not handed over in time: it is taken by force", number)
                return
            changed, moved = future_of(owners.changed()), future_of(self._membership.changed())
            try:
                with contextlib.suppress(TimeoutError):
                    first = asyncio.wait({changed, moved}, return_when=asyncio.FIRST_COMPLETED)
                    await within(self._clock, first, max(left_ms, 100))
            finally:
                changed.cancel()
                moved.cancel()

    def _is_owned_elsewhere(self, number: int) -> bool:
        """Whether another node that the group counts as alive has the partition, as the log says."""
        assert self._owners is not None
        owner, placement = self._owners.standing(number).owner, self._membership.placement
        return (
            owner is not None and owner.node != self._node and placement is not None and owner.node in placement.nodes
        )
