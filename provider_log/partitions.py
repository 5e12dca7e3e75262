"""Which partitions does this node own, and how does a call find the one it is about?"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Protocol

from engine.clock import Clock
from engine.errors import Fatal, LeaseLost, OwnershipLost, ProviderError, Retryable
from engine.runtime.doors import Chance, Tasks, Threads
from provider_log.log.port import Log
from provider_log.log.wakeup import Wakeup
from provider_log.options import LogProviderOptions
from provider_log.partition.ledger import Surroundings
from provider_log.partition.live import LivePartition
from provider_log.partition.owners import Owners
from provider_log.partition.ownership import Phase
from provider_log.partition.partition import Partition
from provider_log.partition.plan import Place
from provider_log.partition.worker_queue import WorkerQueue
from provider_log.routing import partition_of
from provider_log.schema_registry import SchemaRegistry
from provider_log.store.port import Store
from provider_log.topics import Topics

RestoreProgress = Callable[[int, int, int], None]
"""Called with the partition, the history offset reached and the offset to reach."""


class Shared(Protocol):
    """What a node that is one of several knows of the others: see `provider_log.cluster`."""

    @property
    def address(self) -> str:
        """Where this node answers the others."""
        ...

    @property
    def generation(self) -> int:
        """Of the placement this node acts on."""
        ...

    async def is_placed_here(self, partition: int) -> bool:
        """Whether an answer younger than the call says that this node may take `partition` by itself."""
        ...


class Alone:
    """A node that has every partition of its log, and takes one again that it lost, unless it is told not to."""

    address = ""
    generation = 0

    def __init__(self, is_placed_here: Callable[[int], Awaitable[bool]] | None = None) -> None:
        self._is_placed_here = is_placed_here

    async def is_placed_here(self, partition: int) -> bool:
        return self._is_placed_here is None or await self._is_placed_here(partition)


class Partitions:
    """The partitions of one node.

    Args:
        app: Name of the application.
        count: How many partitions it has.
        log: Where its topics are.
        open_store: Makes the store of a partition.
        clock, chance, options: As in `LogProvider`.
        node: Who this is, for people who read the log.
        progress: Told how far each is restored.
        shared: What the node knows of others.
        follow_owners: Whether others may take a partition from this node.
    """

    def __init__(
        self,
        app: str,
        count: int,
        log: Log,
        open_store: Callable[[int, Threads], Store],
        *,
        threads: Threads,
        clock: Clock,
        chance: Chance,
        options: LogProviderOptions,
        wakeup: Wakeup,
        node: str,
        progress: RestoreProgress | None,
        shared: Shared,
        follow_owners: bool,
    ) -> None:
        self.count = count
        self._app = app
        self._topics = Topics.of(app)
        self._log = log
        self._open_store = open_store
        self._threads = threads
        self._clock = clock
        self._chance = chance
        self._options = options
        self._wakeup = wakeup
        self._node = node
        self._progress = progress
        self._shared = shared
        self._parts: dict[int, Partition] = {}
        self._turn_of = itertools.count()
        self._fenced_commits = 0
        self._error: Fatal | None = None
        self._tasks = Tasks("partitions", self._broke)
        self._releases = Tasks("release", self._broke)
        self._releasing: dict[int, asyncio.Task[None]] = {}
        url = options.schema_registry
        self._registry = None if url is None else SchemaRegistry(url, clock)
        self.owners: Owners | None = None
        if follow_owners:
            self.owners = Owners(log, self._topics.owners, count, clock, wakeup.signal)
            self._tasks.spawn("owners", self.owners.run())

    # Life

    async def own_all(self) -> None:
        """Acquire and restore every partition; return when all run.

        Raises:
            ProviderError: One cannot run; the sentence says why.
        """
        parts = [self._open(number) for number in range(self.count)]
        await asyncio.gather(*(part.start(self._progress_of(number)) for number, part in enumerate(parts)))

    async def hold(
        self,
        number: int,
        drain_ms: int,
        stays: Callable[[frozenset[str], ProviderError], Awaitable[None]] | None = None,
    ) -> None:
        """Acquire and own a partition; return when another node has taken it, release it cleanly if cancelled.

        Args:
            number: Which; not one that is held already.
            drain_ms: How long a release waits for the activities that run.
            stays: Called when it has failed, with the nodes it failed on and why: until this returns it stays here all
                the same, so that whoever asks for it is told why.

        Raises:
            ProviderError: It cannot run here; the sentence says why.
        """
        while (releasing := self._releasing.get(number)) is not None:
            await asyncio.wait({releasing})
        part = self._open(number)
        try:
            with contextlib.suppress(ProviderError):  # it is the part's error, too
                await part.start(self._progress_of(number))
            await part.ended()
            if part.error is not None:
                if stays is not None:
                    await stays(part.tried, part.error)
                raise part.error
        finally:
            # In a task of its own: who holds may be cancelled more than once, and a release that is broken off leaves
            # the store locked in this process.
            self._releasing[number] = self._releases.spawn(str(number), self._release(part, drain_ms))
            await asyncio.shield(self._releasing[number])

    async def _release(self, part: Partition, drain_ms: int) -> None:
        try:
            await part.stop(drain_ms)
        finally:
            self._fenced_commits += part.fenced_commits
            del self._parts[part.number], self._releasing[part.number]

    async def close(self) -> None:
        """Commit what was admitted and release every partition."""
        async with AsyncExitStack() as stack:  # whatever one of them raises, the others end too
            if self._registry is not None:
                stack.push_async_callback(self._registry.close)
            stack.push_async_callback(self._tasks.aclose, self._clock, patience_ms=1_000)
            stack.push_async_callback(self._releases.settle)
            for part in list(self._parts.values()):
                stack.push_async_callback(part.stop)

    def _open(self, number: int) -> Partition:
        around = Surroundings(
            place=Place(self._topics, number, self.count),
            node=self._node,
            clock=self._clock,
            chance=self._chance,
            options=self._options,
            wakeup=self._wakeup,
            address=self._shared.address,
            generation=lambda: self._shared.generation,
            owners=self.owners,
            registry=self._registry,
        )
        store = self._open_store(number, self._threads)
        self._parts[number] = Partition(self._app, self._log, store, around, self._is_placed_here(number))
        return self._parts[number]

    def _is_placed_here(self, number: int) -> Callable[[], Awaitable[bool]]:
        return lambda: self._shared.is_placed_here(number)

    def _progress_of(self, number: int) -> Callable[[int, int], None] | None:
        progress = self._progress
        return None if progress is None else lambda reached, end: progress(number, reached, end)

    def _broke(self, error: BaseException) -> None:
        self._error = Fatal("own", str(error))
        self._wakeup.signal()

    # Seen from outside

    def phases(self) -> Mapping[int, Phase]:
        """Where each partition stands that this node owns or is about to."""
        return {number: part.phase for number, part in sorted(self._parts.items())}

    def is_current(self, number: int) -> bool:
        """Whether this node may answer for a partition now."""
        part = self._parts.get(number)
        return part is not None and part.is_current

    @property
    def fenced_commits(self) -> int:
        """Commits that were refused because another node had taken the partition, since this was made."""
        return self._fenced_commits + sum(part.fenced_commits for part in self._parts.values())

    # Found

    def all(self) -> list[Partition]:
        """Those that are here, by number."""
        return [part for _, part in sorted(self._parts.items())]

    def get(self, number: int) -> Partition | None:
        """The partition, if this node owns it or is about to."""
        return self._parts.get(number)

    def at(self, operation: str, number: int) -> Partition:
        """The partition of a number.

        Raises:
            OwnershipLost: It is not here.
        """
        if number not in self._parts:
            raise OwnershipLost(operation, f"expected to own partition {number}, but another node has it, or none")
        return self._parts[number]

    def of(self, operation: str, instance: str) -> Partition:
        """The partition an instance lives in. Raises as `at` does."""
        return self.at(operation, partition_of(instance, self.count))

    def view(self, operation: str, instance: str) -> Store:
        """Committed state of an instance's partition. Raises as `at` and `Partition.view` do."""
        return self.of(operation, instance).view(operation)

    def running(self) -> Iterator[LivePartition]:
        """Those that may act, each time beginning with another, so that none starves the others.

        Raises:
            ProviderError: One has failed that no other node can take, or all have.
        """
        if self._error is not None:
            raise self._error
        parts = list(self._parts.values())
        first = next(self._turn_of) % max(1, len(parts))
        for part in (*parts[first:], *parts[:first]):
            if part.is_current:
                yield part.live("fetch")
            elif part.error is not None and self.owners is None:
                raise part.error

    def by_token(self, operation: str, token: str) -> LivePartition:
        """The partition that gave out `token`.

        Raises:
            LeaseLost: It is none of this node's, or not running.
        """
        part = self._part_of(token)
        if part is None:
            raise LeaseLost(operation, f"expected a lock token of this provider, but invalid lock token {token!r}")
        try:
            return part.live(operation)
        except OwnershipLost as error:
            raise LeaseLost(operation, str(error)) from error

    def work_by_token(self, operation: str, token: str) -> WorkerQueue:
        """The worker queue that leased `token`; leases hold while their partition is in doubt.

        Raises:
            LeaseLost: As in `by_token`.
            Retryable: It is in doubt now.
        """
        part = self._part_of(token)
        if part is not None and part.returns:
            number = token.partition(".")[0]
            raise Retryable(operation, f"expected to own partition {number}, but it is being taken again")
        return self.by_token(operation, token).work

    def _part_of(self, token: str) -> Partition | None:
        number, _, rest = token.partition(".")
        return self._parts.get(int(number)) if rest and number.isdecimal() else None
