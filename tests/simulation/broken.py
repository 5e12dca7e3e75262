"""Which rules of the protocol can be broken, and how? Each of these breaks one: a test of the rule must notice.

Most break it at the log's edge, where the code meets what it cannot change; so they stay broken however it is written.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence

import pytest
from msgspec.structs import replace

from engine.replay.live import LiveExecution
from engine.runtime.cache import LiveCache
from provider_log import log_provider
from provider_log import records as r
from provider_log.log.port import Doubtful, LogError, LogRecord, Producer, Reader, StoredRecord
from provider_log.partition.batch import Sealed
from provider_log.partition.inbox import Inbox
from provider_log.partition.ledger import Ledger
from provider_log.partition.orchestrator_queue import OrchestratorQueue
from provider_log.partition.partition import Partition
from provider_log.partition.pipeline import Pipeline
from provider_log.partition.positions import LanePosition
from provider_log.partition.suspicion import Suspicion
from provider_log.simulation.nodes import NodeLog

Break = Callable[[pytest.MonkeyPatch], None]


def _gives(value: object) -> Callable[..., object]:
    """A method that does nothing and returns `value`."""

    def given(*_: object) -> object:
        return value

    return given


class _Slot:
    """A producer that does what it is told; what is broken is overridden."""

    def __init__(self, inner: Producer, reopen: Callable[[], Awaitable[Producer]]) -> None:
        self.inner = inner
        self.reopen = reopen

    async def begin(self, places: Collection[tuple[str, int]]) -> None:
        await self.inner.begin(places)

    async def produce(self, records: Sequence[LogRecord]) -> None:
        await self.inner.produce(records)

    async def commit(self) -> Sequence[int]:
        return await self.inner.commit()

    async def close(self) -> None:
        await self.inner.close()


def _each_slot(patch: pytest.MonkeyPatch, kind: type[_Slot]) -> None:
    opened = NodeLog.open_producer

    async def open_producer(self: NodeLog, transactional_id: str) -> Producer:
        async def reopen() -> Producer:
            return await opened(self, transactional_id)

        return kind(await reopen(), reopen)

    patch.setattr(NodeLog, "open_producer", open_producer)


# 1


def ownership_is_written_on_the_last_slot(patch: pytest.MonkeyPatch) -> None:
    write = vars(Partition)["_write_acquired"]

    async def write_on_last(self: Partition, *args: object) -> None:
        slots: list[Producer] = vars(self)["_slots"]
        slots.reverse()
        await write(self, *args)
        slots.reverse()

    patch.setattr(Partition, "_write_acquired", write_on_last)


def every_node_has_ids_of_its_own(patch: pytest.MonkeyPatch) -> None:
    opened, names = NodeLog.open_producer, dict[NodeLog, int]()

    async def open_producer(self: NodeLog, transactional_id: str) -> Producer:
        return await opened(self, f"{transactional_id}-{names.setdefault(self, len(names))}")

    patch.setattr(NodeLog, "open_producer", open_producer)


class _TakenAgain(_Slot):
    """In doubt it takes its own id anew, and goes on as if nothing had happened."""

    records: Sequence[LogRecord] = ()

    async def produce(self, records: Sequence[LogRecord]) -> None:
        self.records = records
        try:
            await self.inner.produce(records)
        except LogError:
            self.inner = await self.reopen()
            await self.inner.produce(records)

    async def commit(self) -> Sequence[int]:
        try:
            return await self.inner.commit()
        except LogError:
            self.inner = await self.reopen()
            await self.inner.produce(self.records)
            return await self.inner.commit()


def one_slot_is_taken_again_in_doubt(patch: pytest.MonkeyPatch) -> None:
    _each_slot(patch, _TakenAgain)


# 2


class _Hasty(_Slot):
    """Says that records are acknowledged when they are sent."""

    sending: asyncio.Future[None] | None = None

    async def produce(self, records: Sequence[LogRecord]) -> None:
        self.sending = asyncio.ensure_future(self.inner.produce(records))

    async def commit(self) -> Sequence[int]:
        if self.sending is not None:
            await self.sending
        return await self.inner.commit()


def the_next_batch_does_not_wait_for_acknowledgements(patch: pytest.MonkeyPatch) -> None:
    _each_slot(patch, _Hasty)


def the_next_end_does_not_wait_for_the_one_before(patch: pytest.MonkeyPatch) -> None:
    end = vars(Pipeline)["_end"]

    async def end_at_once(self: Pipeline, slot: Producer, sealed: object, _before: object) -> None:
        await end(self, slot, sealed, None)

    patch.setattr(Pipeline, "_end", end_at_once)


# 3


def only_the_used_slots_are_taken(patch: pytest.MonkeyPatch) -> None:
    """By every node of a log but the first, which uses them all."""
    opened, first = NodeLog.open_producer, dict[object, NodeLog]()

    async def open_producer(self: NodeLog, transactional_id: str) -> Producer:
        is_taken = first.setdefault(vars(self)["_log"], self) is self or transactional_id.endswith(".0")
        return await opened(self, transactional_id if is_taken else f"nobody-{transactional_id}")

    patch.setattr(NodeLog, "open_producer", open_producer)


# 4


def live_coroutines_are_kept_in_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LiveCache, "drop", _gives(None))
    patch.setattr(LiveExecution, "fits", _gives(True))


def input_is_not_read_again_in_doubt(patch: pytest.MonkeyPatch) -> None:
    opened, reached = NodeLog.open_reader, dict[tuple[object, str], int]()

    class Forward:
        """A reader that notes how far it is."""

        def __init__(self, inner: Reader, place: tuple[object, str]) -> None:
            self._inner = inner
            self._place = place

        @property
        def position(self) -> int:
            return self._inner.position

        async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
            found = await self._inner.read(records_max, timeout_ms)
            reached[self._place] = max(self._inner.position, reached.get(self._place, 0))
            return found

        async def close(self) -> None:
            await self._inner.close()

    async def open_reader(self: NodeLog, topic: str, partition: int, position: int) -> Reader:
        if topic.endswith("history"):
            return await opened(self, topic, partition, position)
        place = (vars(self)["_log"], topic)
        return Forward(await opened(self, topic, partition, max(position, reached.get(place, 0))), place)

    patch.setattr(NodeLog, "open_reader", open_reader)


def answers_are_acknowledged_early(patch: pytest.MonkeyPatch) -> None:
    def durable(_self: Ledger) -> Awaitable[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    patch.setattr(Ledger, "durable", durable)


# 5


def _moved(patch: pytest.MonkeyPatch, change: Callable[[r.Position], r.Position]) -> None:
    moved = LanePosition.moved

    def changed(self: LanePosition) -> r.Position | None:
        position = moved(self)
        return None if position is None else change(position)

    patch.setattr(LanePosition, "moved", changed)


def the_position_passes_input_that_was_not_read(patch: pytest.MonkeyPatch) -> None:
    _moved(patch, lambda position: replace(position, watermark=position.watermark + 1))


def the_position_forgets_what_is_consumed_above_it(patch: pytest.MonkeyPatch) -> None:
    _moved(patch, lambda position: replace(position, above=()))


# 6


def nothing_is_parked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OrchestratorQueue, "park_overdue", _gives(None))


def the_window_has_no_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LanePosition, "passed", 0)


# 7


def no_batch_is_halved(patch: pytest.MonkeyPatch) -> None:
    failed = Suspicion.failed

    def noted(self: Suspicion, turns: Sequence[str], error: LogError) -> None:
        failed(self, turns, error)
        self.turns_max = None

    patch.setattr(Suspicion, "failed", noted)


def a_turn_that_fails_alone_counts_no_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Suspicion, "attempts", _gives(0))


# 8


def one_reader_reads_all_lanes(patch: pytest.MonkeyPatch) -> None:
    opened = NodeLog.open_reader

    class InTurn:
        """A reader that waits until the one before it has been asked and has answered."""

        def __init__(self, inner: Reader, turn: asyncio.Lock) -> None:
            self._inner = inner
            self._turn = turn

        @property
        def position(self) -> int:
            return self._inner.position

        async def read(self, records_max: int, timeout_ms: int) -> Sequence[StoredRecord]:
            async with self._turn:
                return await self._inner.read(records_max, timeout_ms)

        async def close(self) -> None:
            await self._inner.close()

    turns = dict[int, asyncio.Lock]()

    async def open_reader(self: NodeLog, topic: str, partition: int, position: int) -> Reader:
        reader = await opened(self, topic, partition, position)
        is_lane = topic.endswith(("orchestrator", "messages"))
        return InTurn(reader, turns.setdefault(partition, asyncio.Lock())) if is_lane else reader

    patch.setattr(NodeLog, "open_reader", open_reader)


def senders_wait_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(log_provider, "ARRIVAL_MS", 1_000_000_000)


# What the seeds must find, beside some of the others


def a_batch_is_applied_before_its_commit(patch: pytest.MonkeyPatch) -> None:
    """As many do who write to their store first: the rows are there even if nothing comes of the transaction."""
    seal = Ledger.seal

    def applied(self: Ledger, positions: Sequence[r.Position], deliveries: Sequence[r.Delivery]) -> Sealed:
        sealed = seal(self, positions, deliveries)
        self.store.write(sealed.batch.mutations)
        return sealed

    patch.setattr(Ledger, "seal", applied)


class _Deaf(_Slot):
    """Goes on when a send fails, and commits what was taken."""

    async def produce(self, records: Sequence[LogRecord]) -> None:
        with contextlib.suppress(LogError):
            await self.inner.produce(records)
        vars(vars(self.inner)["_producer"])["_finished"] = False


def a_failed_send_is_ignored(patch: pytest.MonkeyPatch) -> None:
    _each_slot(patch, _Deaf)


# 22


def orphans_are_given_up_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inbox, "_waits_until_ms", _gives(0))


def orphans_are_dropped(patch: pytest.MonkeyPatch) -> None:
    sends = Ledger.send

    def send(self: Ledger, *records: LogRecord) -> None:
        sends(self, *(record for record in records if not record.topic.endswith(".dead-letter")))

    patch.setattr(Ledger, "send", send)


# 25


class _Asking(_Slot):
    """Asks for the end of its transaction until it is told, as aiokafka's own producer does."""

    async def commit(self) -> Sequence[int]:
        for _ in itertools.count():
            try:
                return await self.inner.commit()
            except Doubtful:
                vars(vars(self.inner)["_producer"])["_finished"] = False
        raise AssertionError


def the_end_is_asked_for_again(patch: pytest.MonkeyPatch) -> None:
    _each_slot(patch, _Asking)


# 26


def slots_take_turns(patch: pytest.MonkeyPatch) -> None:
    async def begun(_self: Pipeline, slot: Producer, _sealed: object) -> Producer:
        return slot

    patch.setattr(Pipeline, "_begun", begun)
