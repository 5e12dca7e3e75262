"""What is a provider on a log? The composition root: it names the adapters, and routes each call to a partition."""

import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import anyio

from engine.clock import Clock, SystemClock
from engine.errors import Fatal, InDoubt, OwnershipLost, Refused, Retryable, UsageError
from engine.model.failure import Failure
from engine.model.ids import CHILD_MARK
from engine.model.messages import AnyMessage, External, due_at_ms
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import TurnResult
from engine.model.version import VersionRange
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.runtime.doors import Chance, Threads, within
from provider_log import codec
from provider_log import records as r
from provider_log.administration import Administration
from provider_log.data_directory import claimed, stores_in
from provider_log.log.embedded import EmbeddedLog
from provider_log.log.port import Doubtful, Log, LogBroken, LogRecord, LogUnavailable, RecordTooLarge
from provider_log.log.wakeup import Wakeup
from provider_log.options import SLOTS_ON_KAFKA, LogProviderOptions
from provider_log.partition.live import LivePartition
from provider_log.partition.ownership import Phase
from provider_log.partitions import Alone, Partitions, RestoreProgress, Shared
from provider_log.queries import Queries
from provider_log.routing import partition_of, partition_of_work
from provider_log.store.port import Store
from provider_log.topics import INPUT_BYTES_MAX, VISIBLE_HEADER, Topics, partitions_found

if TYPE_CHECKING:
    from provider_log.log.kafka import ClientSettings

Found = TypeVar("Found")

APP_FORM = re.compile("[a-z][a-z0-9-]{0,40}")  # it is part of topic names and of transactional ids
_STORE_THREADS_MAX = 4
ARRIVAL_MS = 5_000
"""How long a sender waits for its durable message to be read here. A lane is held no longer than a transaction lasts,
but its partition may be in doubt for as long as the brokers are away."""


class LogProvider(Queries, Administration):
    """`Provider` and `ProviderAdmin` of `engine.port` on a log. Use as an async context manager.

    Entering acquires and restores every partition, or, where nodes share them, none: `held.hold` then holds one.
    Leaving commits what was admitted and releases what is owned.

    Args:
        app: Name of the application: letters, digits and dashes.
        partitions: How many; fixed for the application's life. None: what the log has, or 1 if it is new.
        open_log: Makes the log; it is closed on leaving.
        open_store: Makes the store of a partition.
        clock, chance: The doors to time and randomness.
        options: Numbers.
        node: Who this is, for people who read the log.
        is_placed_here: Whether a partition that was fenced off shall be taken again; without it, always.
        progress: Told how far each partition is restored.
        shared: How this node is one of several; None for a node that has every partition.
    """

    def __init__(
        self,
        *,
        app: str,
        partitions: int | None,
        open_log: Callable[[], Awaitable[Log]],
        open_store: Callable[[int, Threads], Store],
        clock: Clock | None = None,
        chance: Chance | None = None,
        options: LogProviderOptions | None = None,
        node: str = "node",
        is_placed_here: Callable[[int], Awaitable[bool]] | None = None,
        progress: RestoreProgress | None = None,
        shared: Shared | None = None,
    ) -> None:
        if not APP_FORM.fullmatch(app) or (partitions is not None and partitions < 1):
            raise UsageError(
                "expected an application name of small letters, digits and dashes, and at least one partition, "
                f"but they are {app!r} and {partitions}"
            )
        self.app = app
        self.partitions = partitions or 1
        self._partitions_asked = partitions
        self._open_log = open_log
        self._open_store = open_store
        self._clock = clock or SystemClock()
        self._chance = chance or Chance()
        self._options = options or LogProviderOptions()
        self._node = node
        self._shared = shared or Alone(is_placed_here)
        self._shares = shared is not None
        self._progress = progress
        self._wakeup = Wakeup()
        self._threads = Threads("store", _STORE_THREADS_MAX)
        self._log: Log | None = None
        self._held: Partitions | None = None

    @classmethod
    def embedded(
        cls,
        path: str | Path,
        *,
        app: str = "turnlog",
        partitions: int | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        options: LogProviderOptions | None = None,
        node: str = "node",
        accept_loss: bool = False,
        progress: RestoreProgress | None = None,
    ) -> "LogProvider":
        """A provider for one process, its log and its stores in the directory `path`.

        `partitions` counts for new data, and must agree with what is there; None takes what is there, or 1.
        `accept_loss` opens a log that is shorter than it was; what was lost is lost.
        """
        root = Path(path)
        used_clock = clock or SystemClock()

        async def open_log() -> Log:
            return await claimed(
                await EmbeddedLog.open(root / "log", clock=used_clock, accept_loss=accept_loss, chance=chance),
                root,
                app,
            )

        return cls(
            app=app,
            partitions=partitions,
            open_log=open_log,
            open_store=stores_in(root),
            clock=used_clock,
            chance=chance,
            options=options,
            node=node,
            progress=progress,
        )

    @classmethod
    def kafka(
        cls,
        bootstrap: str,
        path: str | Path,
        *,
        app: str = "turnlog",
        partitions: int | None = None,
        kafka: "ClientSettings | None" = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
        options: LogProviderOptions | None = None,
        node: str = "node",
        progress: RestoreProgress | None = None,
        shared: Shared | None = None,
    ) -> "LogProvider":
        """A provider whose log is the topics of `app` on Apache Kafka.

        Without `shared` it is for one process, which has every partition; for several see `provider_log.cluster`.

        Args:
            bootstrap: One or more brokers, `host:port`, with commas between them.
            path: The directory of the stores: they are built from the topics anew where they are missing.
            app: Name of the application; its topics are created if they are not there.
            partitions: How many, for new topics; must agree with those that are there. None takes them, or 1.
            kafka: How to be let in by the brokers: `{"security_protocol": …}`, see docs/kafka.md.
            clock: The door to time.
            chance: The door to randomness.
            options: Numbers; two transactional ids of each partition are used if not given.
            node: Who this is, for people who read the log.
            progress: Told how far each partition is restored.
            shared: How this node is one of several.
        """
        # Only who uses Kafka loads its client.
        from provider_log.log.kafka import KafkaLog

        root = Path(path)
        used_clock = clock or SystemClock()

        async def open_log() -> Log:
            log = await KafkaLog.open(bootstrap, clock=used_clock, settings=kafka)
            return await claimed(log, root, app, is_elsewhere=True)

        return cls(
            app=app,
            partitions=partitions,
            open_log=open_log,
            open_store=stores_in(root),
            clock=used_clock,
            chance=chance,
            options=options or LogProviderOptions(slots_used=SLOTS_ON_KAFKA),
            node=node,
            progress=progress,
            shared=shared,
        )

    # Life

    @property
    def name(self) -> str:
        """What it is, for logs."""
        return f"log/{self.app}"

    @property
    def ready(self) -> bool:
        """Whether every partition that is to be here is owned and restored."""
        phases = self.phases().values()
        return all(phase is Phase.RUNNING for phase in phases) and (bool(phases) or self._shares)

    @property
    def answers(self) -> bool:
        """Whether queries can be answered: where nodes share partitions, for those that are owned here."""
        return self.ready or (self._shares and self._held is not None)

    def phases(self) -> Mapping[int, Phase]:
        """Where each partition stands that this node owns or is about to."""
        return self._held.phases() if self._held else {}

    @property
    def fenced_commits(self) -> int:
        """How many commits were refused because another node had taken the partition."""
        return self._held.fenced_commits if self._held else 0

    @property
    def clock(self) -> Clock:
        """The door to time."""
        return self._clock

    @property
    def held(self) -> Partitions:
        """The partitions of this node. Only between entering and leaving."""
        assert self._held is not None, "expected an entered provider"
        return self._held

    async def __aenter__(self) -> Self:
        """Open, acquire, restore.

        Raises:
            ProviderError: It cannot run; the sentence says what to do.
            LogError: The log cannot be opened.
        """
        self._log = await self._open_log()
        try:
            await self._start(self._log)
        except BaseException:
            await self._stop()
            raise
        return self

    async def _start(self, log: Log) -> None:
        topics = Topics.of(self.app)
        found = await partitions_found(log, topics)
        asked = self._partitions_asked
        if found is not None and asked is not None and found != asked:
            raise UsageError(
                f"expected {asked} partitions of application {self.app!r}, but the log has {found}; "
                "their number is fixed"
            )
        self.partitions = found or self.partitions
        await log.create_topics(topics.specs(self.partitions))
        self._held = Partitions(
            self.app,
            self.partitions,
            log,
            self._open_store,
            threads=self._threads,
            clock=self._clock,
            chance=self._chance,
            options=self._options,
            wakeup=self._wakeup,
            node=self._node,
            progress=self._progress,
            shared=self._shared,
            follow_owners=self._shares,
        )
        if not self._shares:
            await self._held.own_all()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what was admitted and release every partition."""
        await self._stop()

    async def _stop(self) -> None:
        # Also when the node is cancelled: a thread left inside RocksDB when Python ends takes the process down with it.
        with anyio.CancelScope(shield=True):
            async with AsyncExitStack() as stack:  # whatever one of them raises, the others end too, the log last
                if self._log is not None:
                    stack.push_async_callback(self._log.close)
                stack.callback(self._threads.close, patience_ms=5_000)
                if self._held is not None:
                    stack.push_async_callback(self._held.close)

    async def _poll(
        self, take: Callable[[], Found | None], due_ms: Callable[[LivePartition], int | None], poll_timeout_ms: int
    ) -> Found | None:
        """What `take` finds, within the time; `due_ms` says when it is worth another look, unless woken before."""
        deadline_ms = self._clock.boot_ms() + poll_timeout_ms
        while True:
            found = take()
            if found is not None:
                return found
            left_ms = deadline_ms - self._clock.boot_ms()
            if left_ms <= 0:
                return None
            due = [due for live in self.held.running() if (due := due_ms(live)) is not None]
            with contextlib.suppress(TimeoutError):
                await within(self._clock, self._wakeup.wait(), min([left_ms, *due]))

    # Mailbox

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        """See `engine.port.Mailbox`. Clients' messages take the outsiders' lane, all others the owners'."""
        topics = Topics.of(self.app)
        is_external = isinstance(message, External) and CHILD_MARK not in message.instance
        lane = r.Lane.ORCHESTRATOR if is_external else r.Lane.MESSAGES
        number = partition_of(message.instance, self.partitions)
        visible_at_ms = max(self._now_ms(number) + delay_ms if delay_ms > 0 else 0, due_at_ms(message))
        record = LogRecord(
            topic=topics.orchestrator if is_external else topics.messages,
            partition=number,
            key=message.instance.encode(),
            value=codec.encode_message(message),
            headers=((VISIBLE_HEADER, b"%d" % visible_at_ms),) if visible_at_ms else (),
        )
        await self._arrived(lane, number, await self._append("enqueue_for_orchestrator", record))

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        """See `engine.port.Mailbox`."""
        number = partition_of_work(item, self.partitions, self._options.topic_tags)
        record = LogRecord(
            topic=Topics.of(self.app).worker,
            partition=number,
            key=(item.session_id or item.instance).encode(),
            value=codec.encode_work_item(item),
        )
        await self._arrived(r.Lane.WORKER, number, await self._append("enqueue_for_worker", record))

    def _now_ms(self, partition: int) -> int:
        """Partition time where the partition is owned here, else this node's, from which it is not far."""
        part = self.held.get(partition)
        return self._clock.now_ms() if part is None else part.live("enqueue_for_orchestrator").ledger.now_ms()

    async def _arrived(self, lane: r.Lane, partition: int, offset: int) -> None:
        part = self.held.get(partition)
        if part is not None:
            with contextlib.suppress(TimeoutError):  # it is durable, and arrives when whatever holds its lane is over
                await within(self._clock, part.arrived(lane, offset), ARRIVAL_MS)

    async def _append(self, operation: str, record: LogRecord) -> int:
        assert self._log is not None
        size = len(record.value or b"")
        try:
            return await self._log.append(record)
        except RecordTooLarge as error:
            raise Refused(
                operation,
                f"expected a message of at most {INPUT_BYTES_MAX} bytes, but this one has {size}; "
                "keep large values elsewhere and pass a reference",
            ) from error
        except LogBroken as error:
            raise Fatal(operation, str(error)) from error
        except LogUnavailable as error:
            raise Retryable(operation, str(error)) from error
        except Doubtful as error:
            raise InDoubt(operation, str(error)) from error

    # The orchestrator queue

    async def fetch_orchestration_item(
        self, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> OrchestrationItem | None:
        """See `engine.port.Provider`."""
        items = await self.fetch_orchestration_items(1, lock_timeout_ms, poll_timeout_ms, pins)
        return items[0] if items else None

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> Sequence[OrchestrationItem]:
        """See `engine.port.Provider`."""

        def take() -> Sequence[OrchestrationItem] | None:
            return self._take_items(items_max, lock_timeout_ms, pins)

        return await self._poll(take, _message_due_ms, poll_timeout_ms) or ()

    def _take_items(
        self, items_max: int, lock_timeout_ms: int, pins: VersionRange | None
    ) -> Sequence[OrchestrationItem] | None:
        items: list[OrchestrationItem] = []
        for live in self.held.running():
            while len(items) < items_max and (item := live.messages.take(lock_timeout_ms, pins)) is not None:
                items.append(item)
        return items or None

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        """See `engine.port.Provider`."""
        return self.held.by_token("ack_orchestration_item", lock_token).ack_turn(lock_token, result)

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        """See `engine.port.Provider`."""
        live = self.held.by_token("abandon_orchestration_item", lock_token)
        live.messages.abandon(lock_token, delay_ms, ignore_attempt=ignore_attempt)

    async def renew_orchestration_item_lock(self, lock_token: str, extend_for_ms: int) -> None:
        """See `engine.port.Provider`."""
        self.held.by_token("renew_orchestration_item_lock", lock_token).messages.renew(lock_token, extend_for_ms)

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        """See `engine.port.Provider`."""
        await self.held.by_token("hold_orchestration_item", lock_token).messages.hold(lock_token, failure)

    # The worker queue

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        """See `engine.port.Provider`."""
        taken = await self._poll(lambda: self._take_work(lock_timeout_ms, tags, session), _work_due_ms, poll_timeout_ms)
        if taken is None:
            return None
        fetched, recorded = taken
        if recorded is not None:
            try:
                await recorded
            except OwnershipLost:
                return None  # its lease ends by itself: nobody begins what may not be written down
        return fetched

    def _take_work(
        self, lock_timeout_ms: int, tags: TagFilter, session: SessionClaim | None
    ) -> tuple[FetchedWorkItem, Awaitable[None] | None] | None:
        for live in self.held.running():
            item = live.work.take(lock_timeout_ms, tags, session)
            if item is not None:
                return item, live.work.recorded_first(item.item)
        return None

    async def renew_session_lock(self, owners: Sequence[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        """See `engine.port.Provider`. Over the sessions of all partitions that are here."""
        return sum(live.work.renew_sessions(owners, extend_for_ms, idle_timeout_ms) for live in self.held.running())

    async def cleanup_orphaned_sessions(self, idle_timeout_ms: int) -> int:
        """See `engine.port.Provider`. Over the sessions of all partitions that are here."""
        del idle_timeout_ms  # what is forgotten comes again with its next item
        return sum(live.work.forget_sessions() for live in self.held.running())

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        """See `engine.port.Provider`."""
        admitted = self.held.work_by_token("ack_work_item", lock_token).ack(lock_token, completion)
        try:
            await admitted
        except OwnershipLost as error:
            # The lease outlives the doubt unless the answer is in the log: asking again tells.
            raise InDoubt("ack_work_item", str(error)) from error

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        """See `engine.port.Provider`."""
        work = self.held.work_by_token("renew_work_item_lock", lock_token)
        kept = work.renew(lock_token, extend_for_ms, heartbeat)
        if kept is not None:
            try:
                await kept
            except OwnershipLost as error:
                raise InDoubt("renew_work_item_lock", str(error)) from error  # the lease outlives the doubt

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        """See `engine.port.Provider`."""
        self.held.work_by_token("abandon_work_item", lock_token).abandon(
            lock_token, delay_ms, ignore_attempt=ignore_attempt
        )

    # Proof

    def store_of(self, instance: str) -> Store:
        """The committed state of the partition an instance lives in, for tools that look at rows."""
        return self.held.of("store_of", instance).store

    def max_attempt_count(self, instance: str) -> int:
        """The largest number of fetches among the messages that wait for an instance; 0 without any."""
        return (
            self.held.of("max_attempt_count", instance).live("max_attempt_count").messages.max_attempt_count(instance)
        )


def _message_due_ms(live: LivePartition) -> int | None:
    return live.in_ms(live.messages.next_due_ms())


def _work_due_ms(live: LivePartition) -> int | None:
    return live.in_ms(live.work.next_due_ms())
