"""How does a client see the simulated brokers? Through a wire that takes its time, loses answers, and holds the clock.

Everything takes some turns of the event loop, drawn from the caller's chance: so two producers that do not wait for
each other may arrive in either order, and a commit's markers come after its answer. Only faults and time-outs take
time, by the caller's clock. One seed, one run.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

from engine.clock import Clock
from engine.runtime.doors import Chance, Tasks
from provider_log.log.port import (
    Bounds,
    Doubtful,
    LogCorrupted,
    LogError,
    LogRecord,
    LogUnavailable,
    OpenTransaction,
    TopicSpec,
)
from provider_log.log.simulated.broker import Broker, Transaction
from provider_log.log.simulated.client import SimulatedProducer, SimulatedReader
from provider_log.log.simulated.faults import (
    Damage,
    Delay,
    Faults,
    Late,
    LoseReply,
    LoseRequest,
    Operation,
    Resend,
    TimeOut,
    Unavailable,
)

T = TypeVar("T")

HOPS_MAX = 3
"""Turns of the event loop that one way over the wire takes, at most."""

# The two whose effect the caller cannot know from the error; the others may simply be asked again.
_WRITES = frozenset({"produce", "commit", "append"})


class SimulatedLog:
    """A log in memory that behaves like Kafka.

    Args:
        clock: Append times, transaction time-outs, delays of faults, time-outs of reads.
        chance: The order in which concurrent requests arrive, and the cluster id.
        faults: What goes wrong; nothing if not given.
        transaction_timeout_ms: An open transaction older than this is aborted and its producer fenced.
    """

    def __init__(
        self, clock: Clock, *, chance: Chance, faults: Faults | None = None, transaction_timeout_ms: int = 10_000
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._faults = faults or Faults()
        self._transaction_timeout_ms = transaction_timeout_ms
        self._cluster_id = str(uuid.UUID(bytes=chance.random_bytes(16), version=4))
        self._broker = Broker(clock.now_ms, self._watch, self._mark_later)
        self._marking: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._errors: list[BaseException] = []
        self._tasks = Tasks("simulated-log", self._errors.append)
        self._closed = False

    @property
    def cluster_id(self) -> str:
        return self._cluster_id

    async def create_topics(self, topics: Sequence[TopicSpec]) -> None:
        await self.request("create_topics", lambda: self._broker.create(topics))

    async def partition_count(self, topic: str) -> int | None:
        self.check_open()
        return self._broker.count(topic)

    async def open_producer(self, transactional_id: str) -> SimulatedProducer:
        epoch = await self.request("open_producer", lambda: self._broker.init_producer(transactional_id))
        await self.markers_written(transactional_id)
        return SimulatedProducer(self, self._broker, transactional_id, epoch)

    async def append(self, record: LogRecord) -> int:
        self._broker.check(record)
        return await self.request("append", lambda: self._broker.append(record))

    async def open_reader(self, topic: str, partition: int, position: int) -> SimulatedReader:
        self.check_open()
        return SimulatedReader(self, self._broker.partition(topic, partition), position, self._clock)

    async def bounds(self, topic: str, partition: int) -> Bounds:
        return await self.request("bounds", lambda: self._broker.bounds(topic, partition))

    async def open_transaction(self, topic: str, partition: int) -> OpenTransaction | None:
        self.check_open()
        return self._broker.partition(topic, partition).oldest_open()

    async def delete_records(self, topic: str, partition: int, before: int) -> None:
        await self.request("delete_records", lambda: self._broker.partition(topic, partition).cut(before))

    async def close(self) -> None:
        self._closed = True
        self._broker.wake_readers()
        await self._tasks.aclose(self._clock, patience_ms=1_000)
        if self._errors:
            raise self._errors[0]

    # What its producers and readers ask for, too.

    async def request(
        self,
        operation: Operation,
        arrive: Callable[[], T],
        *,
        open_transaction: Callable[[], Transaction | None] = lambda: None,
        damaged: Callable[[], LogCorrupted] | None = None,
    ) -> T:
        """Send a request over the wire: `arrive` is what it does on the other side, the result is its answer."""
        self.check_open()
        fault = self._faults.draw(operation)
        lost = Doubtful if operation in _WRITES else LogUnavailable
        no_answer = f"expected an answer to {operation}, but none came"
        await self._travel()
        match fault:
            case Unavailable():
                raise LogUnavailable(f"expected to reach the log for {operation}, but it is away")
            case LoseRequest():
                raise lost(no_answer)
            case Late(delay_ms):
                self._tasks.spawn(f"late-{operation}", self._arrive_later(arrive, delay_ms))
                raise lost(no_answer)
            case LoseReply():
                with contextlib.suppress(LogError):
                    arrive()
                raise lost(no_answer)
            case Damage() if damaged is not None:
                raise damaged()
            case TimeOut() if (transaction := open_transaction()) is not None:
                self._broker.time_out(transaction)
            case _:
                pass
        answer = arrive()
        if isinstance(fault, Resend):
            self._tasks.spawn(f"copy-of-{operation}", self._arrive_later(arrive, fault.delay_ms))
        if isinstance(fault, Delay):
            await self._clock.sleep_ms(fault.delay_ms)
        await self._travel()
        return answer

    async def markers_written(self, transactional_id: str) -> None:
        """Wait for the markers of the id's last transaction (what CONCURRENT_TRANSACTIONS makes clients do)."""
        marking = self._marking.get(transactional_id)
        if marking is not None:
            await asyncio.wait({marking})

    def check_open(self) -> None:
        """Raise LogUnavailable if it was closed."""
        if self._closed:
            raise LogUnavailable("expected an open log, but it was closed")

    async def _travel(self) -> None:
        for _ in range(round(self._chance.uniform(0, HOPS_MAX))):
            await self._clock.sleep_ms(0)

    async def _arrive_later(self, arrive: Callable[[], object], delay_ms: int) -> None:
        await self._clock.sleep_ms(delay_ms)
        with contextlib.suppress(LogError):  # a later epoch refuses it; nobody is there to hear that
            arrive()

    def _watch(self, transaction: Transaction) -> None:
        name = transaction.transactional_id
        self._timers[name] = self._tasks.spawn(f"time-out-{name}", self._time_out(transaction))

    async def _time_out(self, transaction: Transaction) -> None:
        await self._clock.sleep_ms(self._transaction_timeout_ms)
        self._broker.time_out(transaction)

    def _mark_later(self, transaction: Transaction) -> None:
        name = transaction.transactional_id
        self._timers.pop(name).cancel()
        self._marking[name] = self._tasks.spawn(f"markers-{name}", self._mark(transaction, self._marking.get(name)))

    async def _mark(self, transaction: Transaction, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        for partition in list(transaction.unmarked):
            await self._travel()
            partition.mark(transaction, self._clock.now_ms())
