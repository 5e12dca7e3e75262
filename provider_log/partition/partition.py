"""How does a partition live on a node? The shell: acquire, restore, run, doubt, release, as `ownership` says."""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from engine.errors import Fatal, OwnershipLost, ProviderError, StateCorrupted
from engine.model.views import InstanceInfo
from engine.observe import known_marks, mark
from engine.runtime.doors import Tasks, settled_within, within
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import (
    ClockDiffers,
    Fenced,
    Log,
    LogBroken,
    LogCorrupted,
    LogError,
    LogRecord,
    LogUnavailable,
    OffsetOutOfRange,
    Producer,
    RecordTooLarge,
)
from provider_log.options import SLOTS
from provider_log.partition.backlog import Backlog
from provider_log.partition.effects import Arrivals, Watchers
from provider_log.partition.head import ChangelogBroken, chained
from provider_log.partition.lanes import InputMissing, Lanes
from provider_log.partition.ledger import Surroundings
from provider_log.partition.live import LivePartition
from provider_log.partition.look import instance_info, instance_row
from provider_log.partition.orchestrator_queue import TOPIC_LANES
from provider_log.partition.owners import Owners
from provider_log.partition.ownership import Happening, Phase, after
from provider_log.partition.pipeline import Pipeline
from provider_log.partition.plan import owner_record
from provider_log.partition.restore import Progress, Restore, RestoreStalled, put_head
from provider_log.partition.suspicion import Suspicion
from provider_log.routing import RULE
from provider_log.store import apply as applying
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.port import Store
from provider_log.store.tables import GENESIS, GenesisRow, HeadRow, PositionRow, unpack

_BROKEN = (
    ClockDiffers,
    LogBroken,
    LogCorrupted,
    RecordTooLarge,  # every batch was measured: the log takes less than it said
    ChangelogBroken,
    OffsetOutOfRange,
    codec.Malformed,
    codec.UnknownSchema,
)
"""What no second attempt can mend: the partition fails and an operator must look."""

_DRAIN_LOOK_MS = 20

known_marks(
    "partition.doubted",
    "partition.fenced",
    "partition.given_up",
    "partition.input_missing",
    "partition.stalled",
    "partition.superseded",
)


FENCE_MS = 1_000
"""How long an owner that was replaced waits for a commit under way to be refused."""


class Superseded(Fenced):
    """Another node has acquired the partition: the log says so, before any commit was refused."""


_DOUBTS: tuple[tuple[type[Exception], str], ...] = (
    (Superseded, "partition.superseded"),
    (Fenced, "partition.fenced"),
    (InputMissing, "partition.input_missing"),
    (RestoreStalled, "partition.stalled"),
    (Exception, "partition.doubted"),
)


class Application(Exception):
    """The log belongs to another application or cluster, or has another partition count than was asked for."""


class Partition:
    """One partition on this node.

    Args:
        app: Name of the application.
        log: Where its topics are.
        store: Its own; handed over, closed by `stop`.
        around: What it shares with the node.
        is_placed_here: Asked after a fence and before another acquire: does the partition still belong to this node?
    """

    def __init__(
        self, app: str, log: Log, store: Store, around: Surroundings, is_placed_here: Callable[[], Awaitable[bool]]
    ) -> None:
        self._app = app
        self._log = log
        self._store = store
        self._around = around
        self._place = around.place
        self._is_placed_here = is_placed_here
        self._backlog = Backlog()
        self._suspicion = Suspicion()
        self._watchers = Watchers(self._look)
        self._arrivals = Arrivals()
        self._lanes = Lanes(log, around.place, around.clock, self._arrivals)
        self._tasks = Tasks(f"partition-{around.place.partition}", self._broke)
        self._slots: list[Producer] = []
        self._live: LivePartition | None = None
        self._acquired_at = -1
        self._leaving = asyncio.Event()
        self._drain_ms = 0
        self._stopping = asyncio.Lock()
        self._stopped = False
        self._phase = Phase.IDLE
        self._error: ProviderError | None = None
        self._tried: frozenset[str] = frozenset()
        self._owning: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self.owned_times = 0
        self.fenced_times = 0
        self.fenced_commits = 0

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)  # the same one every time: its traceback would grow

    # Seen from outside

    @property
    def phase(self) -> Phase:
        """Where it stands."""
        return self._phase

    @property
    def store(self) -> Store:
        """Committed state, for queries."""
        return self._store

    @property
    def watchers(self) -> Watchers:
        """Queries that wait."""
        return self._watchers

    @property
    def error(self) -> ProviderError | None:
        """Why it failed, in phase FAILED."""
        return self._error

    @property
    def tried(self) -> frozenset[str]:
        """In phase FAILED: the nodes that are known to have failed at the same place of the history, this one too."""
        return self._tried

    def live(self, operation: str) -> LivePartition:
        """The running partition.

        Raises:
            OwnershipLost: It is not running now; it may be again.
            Fatal, StateCorrupted: It has failed.
        """
        self._raise_if_failed()
        if self._live is None:
            raise OwnershipLost(
                operation, f"expected to own partition {self._place.partition}, but it is {self._phase.value}"
            )
        return self._live

    @property
    def is_current(self) -> bool:
        """Whether it may act: it runs, and no other node has it, as far as the log said lately."""
        return self._phase is Phase.RUNNING and self._live is not None and self._live.ledger.is_current

    @property
    def number(self) -> int:
        """Which it is, from 0."""
        return self._place.partition

    @property
    def answers(self) -> bool:
        """Whether its store is all there is to know: no other node could have it, or none has."""
        return self._around.owners is None or self.is_current

    def view(self, operation: str) -> Store:
        """Committed state, for a query that shall miss nothing.

        Raises:
            OwnershipLost: Another node may know more.
            Fatal, StateCorrupted: The partition has failed.
        """
        if not self.answers:
            self.live(operation)
            raise OwnershipLost(
                operation, f"expected to own partition {self.number}, but the log has not said so lately"
            )
        return self._store

    async def arrived(self, lane: r.Lane, offset: int) -> None:
        """Return when the record at `offset` of a lane can be fetched here, or the partition was given up.

        Raises:
            Fatal, StateCorrupted: The partition has failed; the record waits in the log for who comes after.
        """
        self._raise_if_failed()
        if self._phase is not Phase.IDLE:
            await self._arrivals.reached(lane, offset)

    @property
    def returns(self) -> bool:
        """Whether it does not run now and will again by itself: leases are kept meanwhile."""
        return self._phase in {Phase.DOUBT, Phase.ACQUIRING, Phase.RESTORING}

    def _look(self, instance: str) -> InstanceInfo | None:
        row = instance_row(self._store, instance)
        return None if row is None else instance_info(instance, row)

    # Lifecycle

    def _move(self, happening: Happening) -> None:
        self._phase = after(self._phase, happening)

    async def start(self, progress: Progress | None = None) -> None:
        """Acquire and restore; return when it runs, or was lost before it did.

        Raises:
            Application: The log is not this application's.
            Fatal, StateCorrupted: It cannot run.
        """
        self._owning = self._tasks.spawn("own", self._own(progress))
        await self._settled.wait()
        self._raise_if_failed()

    async def ended(self) -> None:
        """Return when it is owned no more: lost, or failed, or stopped."""
        if self._owning is not None:
            await asyncio.wait({self._owning})

    async def stop(self, drain_ms: int = 0) -> None:
        """Commit what was admitted, say so in the log, and close the store. Never raises for a lost partition.

        Args:
            drain_ms: How long to wait for the activities that run: what they answer until then is done once.
        """
        async with self._stopping:  # who comes second returns when the first has done it
            if not self._stopped:
                self._drain_ms = drain_ms
                await self._stop()
                self._stopped = True

    async def _stop(self) -> None:
        self._leaving.set()
        drain_ms = self._drain_ms
        if self._owning is not None:
            if self._phase in {Phase.RUNNING, Phase.RELEASING}:
                patience_ms = drain_ms + self._around.options.start_timeout_ms
                await settled_within(self._around.clock, {self._owning}, patience_ms)
            self._owning.cancel()
        await self._tasks.aclose(self._around.clock, patience_ms=5_000)
        await self._close_slots()
        lost = OwnershipLost("stop", f"expected to own partition {self._place.partition}, but it was given up")
        self._arrivals.release_all()
        self._watchers.fail_all(lost)
        self._backlog.revoke_all()
        await self._store.close()

    async def _release(self, live: LivePartition) -> None:
        """Let activities end, then write down that nothing is left undone. The log decides if there is no answer."""
        self._move(Happening.RELEASE)
        clock, deadline_ms = self._around.clock, self._around.clock.boot_ms() + self._drain_ms
        while live.work.leases() and clock.boot_ms() < deadline_ms:
            await clock.sleep_ms(_DRAIN_LOOK_MS)
        self._live = None  # nothing may be admitted after the record that says goodbye
        released = live.release()
        await within(clock, released, self._around.options.start_timeout_ms)
        self._move(Happening.RELEASED)

    async def _own(self, progress: Progress | None) -> None:
        """Hold the partition for as long as it is placed here, through every doubt."""
        options, clock = self._around.options, self._around.clock
        delay_ms = options.retry_ms_min
        missed: tuple[r.Lane, int] | None = None
        while True:
            self._move(Happening.ACQUIRE)
            try:
                head, token, is_careful = await self._acquire(progress)
                delay_ms = options.retry_ms_min
                await self._run(head, token, is_careful=is_careful)
                return
            except _BROKEN as error:
                self._broke(error)
                return
            except (LogError, OwnershipLost, RestoreStalled, TimeoutError) as error:
                was_releasing = self._phase is Phase.RELEASING
                self._move(Happening.DOUBTED)
                self._count(error)
                await self._close_slots()
                if was_releasing:
                    return  # the next owner finds out; nothing is lost by not having said goodbye
                if isinstance(error, InputMissing):
                    # An owner that slept finds its input cut by who came after it. One that has read the log again, up
                    # to its own record, and misses the same, has lost input that nobody consumed.
                    if missed == error.place:
                        self._broke(error)
                        return
                    missed = error.place
                await clock.sleep_ms(int(self._around.chance.uniform(delay_ms / 2, delay_ms)))
                delay_ms = min(delay_ms * 2, options.retry_ms_max)
                may_be_taken = isinstance(error, Fenced | InputMissing) or self._is_taken()
                if may_be_taken and not await self._is_placed_here():
                    mark("partition.given_up")
                    self._move(Happening.FENCED_OFF)
                    lost = OwnershipLost("own", f"partition {self._place.partition} has another owner")
                    self._arrivals.release_all()
                    self._watchers.fail_all(lost)
                    self._settled.set()
                    return

    def _is_taken(self) -> bool:
        """Whether the log names another node since: to take the partition back unasked would fence that one."""
        owners = self._around.owners
        if owners is None or self._acquired_at < 0:
            return False
        standing = owners.standing(self.number)
        return standing.owner is not None and standing.owner.node != self._around.node

    def _count(self, error: Exception) -> None:
        mark(next(name for kind, name in _DOUBTS if isinstance(error, kind)))
        if isinstance(error, Fenced):
            self.fenced_times += 1
            self.fenced_commits += not isinstance(error, Superseded)

    async def _acquire(self, progress: Progress | None) -> tuple[HeadRow, bytes, bool]:
        """Take all slots, slot 0 first; write the acquire record; read up to it; write the genesis if there is none.

        Returns:
            Where log and store stand, the owner token, and whether the owner before may have died of its work.
        """
        options, clock, place = self._around.options, self._around.clock, self._place
        for slot in range(SLOTS):
            name = f"turnlog.{self._app}.{place.partition}.{slot}"
            self._slots.append(await within(clock, self._log.open_producer(name), options.start_timeout_ms))
        token = self._around.chance.random_bytes(r.TOKEN_BYTES)
        self._acquired_at = await within(clock, self._write_acquired(token), options.start_timeout_ms)
        self._move(Happening.ACQUIRED)
        restore = Restore(
            self._log, place.topics.history, place.partition, self._store, clock, options.start_timeout_ms
        )
        restored = await restore.until(token, progress)
        head = restored.head
        # What this process handed out itself it knows; an owner that ended without a word may have handed out anything.
        is_careful = not restored.is_clean and self.owned_times == 0
        genesis = self._store.get(keys.named(Table.META, GENESIS))
        if genesis is None:
            head = await within(clock, self._write_genesis(head), options.start_timeout_ms)
        else:
            self._check_genesis(unpack(GenesisRow, genesis))
        return head, token, is_careful

    async def _write_acquired(self, token: bytes) -> int:
        """Say in history and owners who owns it now; the offset in owners."""
        place, around = self._place, self._around
        generation = around.generation()
        acquired = r.OwnershipAcquired(
            owner_token=token, node=around.node, address=around.address, generation=generation, slots=SLOTS
        )
        owner = r.Owner(
            partition=place.partition,
            owner_token=token,
            node=around.node,
            address=around.address,
            generation=generation,
        )
        await self._slots[0].produce(
            [
                LogRecord(
                    topic=place.topics.history,
                    partition=place.partition,
                    key=None,
                    value=codec.encode_record(acquired),
                ),
                owner_record(place, codec.encode_owner(owner)),
            ]
        )
        _, offset = await self._slots[0].commit()
        return offset

    async def _write_genesis(self, head: HeadRow) -> HeadRow:
        place = self._place
        genesis = r.Genesis(
            application=self._app,
            application_id=self._around.chance.random_bytes(16),
            cluster_id=self._log.cluster_id,
            partition=place.partition,
            partitions=place.partitions,
            routing=RULE,
            slots=SLOTS,
            created_at_ms=self._around.clock.now_ms(),
        )
        data = codec.encode_record(genesis)
        await self._slots[0].produce(
            [LogRecord(topic=place.topics.history, partition=place.partition, key=None, value=data)]
        )
        (offset,) = await self._slots[0].commit()
        head = replace(head, offset=offset, chain=chained(head.chain, data))
        self._store.write(dict(applying.apply(self._store, genesis, place.partition)) | put_head(head))
        return head

    def _check_genesis(self, row: GenesisRow) -> None:
        expected = (self._app, self._log.cluster_id, self._place.partitions, RULE)
        found = (row.application, row.cluster_id, row.partitions, row.routing)
        if expected != found:
            raise Application(
                f"expected application {expected[0]!r} with {expected[2]} partitions on log {expected[1]}, but this "
                f"log was created for {found[0]!r} with {found[2]} partitions on log {found[1]} ({found[3]}). "
                "Use the brokers it was created on, or another app"
            )

    async def _run(self, head: HeadRow, token: bytes, *, is_careful: bool) -> None:
        """Run until it is to be left, then release it.

        Raises:
            LogError: What a commit failed with.
        """
        wanted = asyncio.Event()
        live = LivePartition(
            self._around,
            token,
            head,
            self._store,
            self._backlog,
            self._watchers,
            wanted.set,
            self._suspicion,
            is_careful=is_careful,
        )
        pipeline = Pipeline(
            self._slots,
            self._around.options.slots_used,
            self._around.clock,
            wanted,
            open_batch=lambda: live.ledger.open_batch,
            is_full=lambda: live.ledger.is_full,
            seal=live.seal,
            committed=live.ledger.committed,
            failed=live.ledger.failed,
        )
        self._add_schemas(live)
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        name = f"partition-{self._place.partition}"
        commits = Tasks(name, lambda error: _fail(failed, error))
        shells = Tasks(name, lambda error: _fail(failed, error))
        self._live = live
        self._move(Happening.RESTORED)
        self.owned_times += 1
        self._watchers.touched_all()
        self._around.wakeup.signal()
        self._settled.set()
        try:
            commits.spawn("pipeline", pipeline.run())
            shells.spawn("upkeep", self._keep_up(live))
            if self._around.owners is not None:
                shells.spawn("rivals", self._watch_rivals(self._around.owners))
            if live.registry is not None:
                shells.spawn("registry", self._lanes.look_up(live, live.registry))
            for lane in TOPIC_LANES:
                shells.spawn(lane.value, self._lanes.read(lane, live))
            leaving = shells.spawn("leave", _wait(self._leaving))
            await asyncio.wait({failed, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not failed.done():
                await shells.aclose(self._around.clock, patience_ms=1_000)
                releasing = commits.spawn("release", self._release(live))
                await asyncio.wait({failed, releasing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await shells.aclose(self._around.clock, patience_ms=1_000)
            await commits.aclose(self._around.clock, patience_ms=1_000)
            error = failed.exception() if failed.done() else None
            # Everything that is not committed is dropped with it.
            self._live = None
            live.ledger.drop(OwnershipLost("commit", f"the last commits are in doubt: {error or type(error).__name__}"))
        if error is not None:
            raise error

    async def _watch_rivals(self, owners: Owners) -> None:
        """Learn that another node took the partition. Nothing is handed out any more: the owners topic names another.

        A commit under way is let come to its end: the broker's refusal is the proof that the fence holds.
        """
        rival = await owners.taken(self._place.partition, self._acquired_at)
        await self._around.clock.sleep_ms(FENCE_MS)
        raise Superseded(f"expected to own partition {self._place.partition}, but {rival.node} took it")

    def _add_schemas(self, live: LivePartition) -> None:
        """Before the first record that needs them."""
        texts = [text for text in codec.schema_texts().values() if self._store.get(keys.schema(text)) is None]
        if texts:
            live.add_schemas(texts)

    async def _keep_up(self, live: LivePartition) -> None:
        """Park what nobody consumes, cut what everybody consumed, flush the store: all now and then."""
        options, clock = self._around.options, self._around.clock
        cut_at_ms = flush_at_ms = clock.boot_ms()
        step_ms = max(1, min(options.input_age_max_ms // 2, options.cut_every_ms, options.flush_every_ms))
        while True:
            await clock.sleep_ms(step_ms)
            live.messages.park_overdue()
            if clock.boot_ms() - cut_at_ms >= options.cut_every_ms:
                cut_at_ms = clock.boot_ms()
                await self._cut_lanes()
            if clock.boot_ms() - flush_at_ms >= options.flush_every_ms:
                flush_at_ms = clock.boot_ms()
                await self._store.flush()

    async def _cut_lanes(self) -> None:
        # The worker topic too: on the embedded log nobody but this owner reads it, and nothing else bounds its size.
        for lane in TOPIC_LANES:
            watermark = self._committed_watermark(lane)
            if watermark > 0:
                try:
                    await self._log.delete_records(self._lanes.topic(lane), self._place.partition, watermark)
                except LogBroken:
                    raise
                except LogUnavailable:
                    return  # what is not cut now is cut later, and is no reason to give the partition up

    def _committed_watermark(self, lane: r.Lane) -> int:
        data = self._store.get(keys.named(Table.POSITION, lane.value))
        watermark = 0 if data is None else unpack(PositionRow, data).watermark
        # What others serve stays in the worker topic until it is answered.
        return self._live.work.answered_up_to(watermark) if lane is r.Lane.WORKER and self._live else watermark

    # Ends

    def _broke(self, error: BaseException) -> None:
        """An error that no second attempt mends."""
        kind = Fatal if isinstance(error, ClockDiffers | LogBroken | RecordTooLarge | Application) else StateCorrupted
        self._error = (
            error
            if isinstance(error, ProviderError)
            else kind("own", f"partition {self._place.partition}: {error or type(error).__name__}")
        )
        self._error.__cause__ = error if error is not self._error else error.__cause__
        self._tried = error.tried if isinstance(error, ChangelogBroken) else frozenset()
        self._phase = Phase.FAILED
        self._arrivals.fail_all(self._error)
        self._settled.set()
        self._around.wakeup.signal()

    async def _close_slots(self) -> None:
        slots, self._slots = self._slots, []
        for slot in slots:
            await slot.close()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _fail(future: "asyncio.Future[None]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
