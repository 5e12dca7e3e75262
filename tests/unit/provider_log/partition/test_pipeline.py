"""Do transactions go out in the order that keeps the log's order the batches' order, whatever the log answers when?"""

import asyncio
from collections.abc import Collection, Sequence

import pytest

from engine.clock import SystemClock
from provider_log import records as r
from provider_log.log.port import Doubtful, LogError, LogRecord, LogUnavailable
from provider_log.partition.batch import Batch, Sealed
from provider_log.partition.pipeline import Pipeline
from provider_log.store.tables import HeadRow

pytestmark = pytest.mark.anyio


class Slot:
    """A producer that answers when the test says, and writes down what it was asked."""

    def __init__(self, asked: list[str], name: str) -> None:
        self.asked = asked
        self.name = name
        self.batch = ""
        self.is_away = False
        self.produced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def begin(self, places: Collection[tuple[str, int]]) -> None:
        assert list(places) == [("t", 0)]
        if self.is_away:
            self.asked.append(f"begin on {self.name}")
            raise LogUnavailable("its coordinator is away")

    async def produce(self, records: Sequence[LogRecord]) -> None:
        self.batch = (records[0].value or b"").decode()
        self.asked.append(f"produce {self.batch} on {self.name}")
        self.produced = asyncio.get_running_loop().create_future()
        await self.produced

    async def commit(self) -> Sequence[int]:
        self.asked.append(f"end {self.batch}")
        self.committed = asyncio.get_running_loop().create_future()
        await self.committed
        return [int(self.batch)]

    async def close(self) -> None:
        self.asked.append(f"close {self.name}")


class Batches:
    """Batches that hold nothing but their number, one slot or more, and the pipeline between them."""

    def __init__(self, slots: int, spare: int = 0) -> None:
        self.asked: list[str] = []
        self.done: list[tuple[int, Sequence[int]]] = []
        self.number = 1
        self.wanted = asyncio.Event()
        self.failed: list[tuple[int, str]] = []
        self.slots = [Slot(self.asked, name) for name in "ABCD"[: slots + spare]]
        pipeline = Pipeline(
            self.slots,
            slots,
            SystemClock(),
            self.wanted,
            open_batch=lambda: self.batch(self.number),
            is_full=lambda: False,
            seal=self.seal,
            committed=lambda sealed, offsets: self.done.append((sealed.batch.number, offsets)),
            failed=self.note_failure,
        )
        self.running = asyncio.ensure_future(pipeline.run())

    def batch(self, number: int) -> Batch:
        return Batch(number=number)

    def seal(self) -> Sealed:
        record = LogRecord(topic="t", partition=0, key=None, value=b"%d" % self.number)
        sealed = Sealed(batch=self.batch(self.number), log_records=(record,), history_count=1, head=HeadRow())
        self.number += 1
        return sealed

    def note_failure(self, sealed: Sealed, error: LogError) -> None:
        self.failed.append((sealed.batch.number, str(error)))

    async def want(self) -> None:
        self.wanted.set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def answer(self, future: "asyncio.Future[None]", error: Exception | None = None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        await self.settle()

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.wait({self.running})


async def test_the_next_batch_is_produced_only_when_the_one_before_is_acknowledged() -> None:
    batches = Batches(slots=2)
    await batches.want()
    await batches.want()
    assert batches.asked == ["produce 1 on A"]
    await batches.answer(batches.slots[0].produced)
    assert batches.asked == ["produce 1 on A", "end 1", "produce 2 on B"]
    await batches.stop()


async def test_the_end_of_a_batch_is_asked_for_only_when_that_of_the_one_before_was_answered() -> None:
    batches = Batches(slots=2)
    await batches.want()
    await batches.answer(batches.slots[0].produced)
    await batches.want()
    await batches.answer(batches.slots[1].produced)
    assert "end 2" not in batches.asked
    await batches.answer(batches.slots[0].committed)
    assert batches.asked[-1] == "end 2"
    assert batches.done == [(1, [1])]
    await batches.answer(batches.slots[1].committed)
    assert batches.done == [(1, [1]), (2, [2])]
    await batches.stop()


@pytest.mark.parametrize("fails_first", [True, False])
async def test_after_a_failure_nothing_is_ended(fails_first: bool) -> None:
    batches = Batches(slots=3)
    await batches.want()
    await batches.answer(batches.slots[0].produced)
    await batches.want()
    if fails_first:
        await batches.answer(batches.slots[0].committed, Doubtful("no answer"))
    else:
        await batches.answer(batches.slots[1].produced)
        await batches.answer(batches.slots[0].committed, Doubtful("no answer"))
    await batches.want()
    assert [asked for asked in batches.asked if asked.startswith("end")] == ["end 1"]
    assert batches.done == []
    assert batches.failed == [(1, "no answer")]
    with pytest.raises(Doubtful, match="no answer"):
        await batches.running


async def test_a_batch_that_cannot_be_produced_ends_the_pipeline_and_is_never_ended() -> None:
    batches = Batches(slots=1)
    await batches.want()
    await batches.answer(batches.slots[0].produced, Doubtful("no answer"))
    assert batches.asked == ["produce 1 on A"]
    with pytest.raises(Doubtful, match="no answer"):
        await batches.running


async def test_without_a_free_slot_nothing_is_begun_and_any_free_one_will_do() -> None:
    batches = Batches(slots=2)
    for slot in batches.slots:
        await batches.want()
        await batches.answer(slot.produced)
    await batches.want()
    assert batches.number == 3, "expected the third batch to go on collecting"
    await batches.answer(batches.slots[0].committed)
    assert batches.asked[-1] == "produce 3 on A"
    await batches.stop()


async def test_a_slot_that_cannot_begin_is_put_aside_and_a_spare_one_takes_its_batch_and_its_place() -> None:
    batches = Batches(slots=2, spare=1)
    batches.slots[0].is_away = True
    for number, slot in enumerate("CBC", 1):
        await batches.want()
        await batches.answer(batches.slots["ABC".index(slot)].produced)
        await batches.answer(batches.slots["ABC".index(slot)].committed)
        assert batches.done[-1] == (number, [number])
    assert [asked for asked in batches.asked if "end" not in asked] == [
        "begin on A", "close A", "produce 1 on C", "produce 2 on B", "produce 3 on C",
    ]  # fmt: skip
    assert batches.failed == []
    await batches.stop()


async def test_without_a_spare_one_the_batch_waits_for_any_slot_and_without_any_it_fails() -> None:
    batches = Batches(slots=2)
    await batches.want()
    await batches.answer(batches.slots[0].produced)
    batches.slots[1].is_away = True
    await batches.want()
    assert batches.asked[-1] == "close B"
    batches.slots[0].is_away = True
    await batches.answer(batches.slots[0].committed)
    with pytest.raises(LogUnavailable, match="its coordinator is away"):
        await batches.running
    assert batches.done == [(1, [1])]


async def test_a_cancelled_pipeline_ends_no_batch() -> None:
    batches = Batches(slots=2)
    await batches.want()
    await batches.answer(batches.slots[0].produced)
    await batches.want()
    await batches.answer(batches.slots[1].produced)
    await batches.stop()
    assert batches.slots[0].committed.cancelled()
    assert [asked for asked in batches.asked if asked.startswith("end")] == ["end 1"]
    assert batches.done == []


async def test_what_happens_while_a_batch_fills_is_in_it() -> None:
    clock_turns = 0

    class Filling(Batches):
        def batch(self, number: int) -> Batch:
            nonlocal clock_turns
            clock_turns += 1
            batch = super().batch(number)
            record = r.InstanceResumed(envelope=ENVELOPE, instance="i")
            batch.records = [record] * min(clock_turns, 9)
            return batch

    batches = Filling(slots=1)
    await batches.want()
    assert clock_turns > 9
    await batches.stop()


ENVELOPE = r.Envelope(
    owner_token=b"o" * 16, batch=1, index=0, count=1, last=True, apply_version=1, chain=bytes(16), time_ms=1, node="n"
)
