"""In which order do transactions go out? The rules of a commit, over as many slots as are used.

- A free slot takes a batch; none free, nothing is begun. One that cannot begin is put aside, and a spare one takes it.
- Batch n+1 is produced only after every record of n is acknowledged, else the log's order is not the batches' order.
- The end of n+1 is asked for only after the end of n was answered with success.
- The first error ends the pipeline; what was sealed after it must never be ended, and what became of the failed batch
  only the log knows.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from engine.clock import Clock
from engine.observe import known_marks, logger, mark
from engine.runtime.doors import Tasks
from provider_log.log.port import LogBroken, LogError, LogUnavailable, Producer
from provider_log.partition.batch import Batch, Sealed

T = TypeVar("T")

log = logger("pipeline")
known_marks("pipeline.put_aside")

_IDLE_LOOPS = 4
"""Turns of the event loop without a new record after which a batch is closed.

An activity's answer, the turn it wakes and the end of that turn are three callbacks; with less, each would be a
transaction of its own, which is what one orchestration alone would wait for.
"""


class Pipeline:
    """Carries sealed batches into the log, one owner's life long.

    Args:
        slots: All the owner has; one that cannot begin is replaced by one that is not used yet.
        slots_used: How many of them carry batches at a time.
        failed: Told the batch that failed first, and how.
        wanted: Set by whoever adds to the open batch.
        open_batch: The batch that collects now.
        is_full: Whether it must be closed.
        seal: Closes the open batch and starts the next one.
        committed: Told each batch in order, with the offsets of its records.
    """

    def __init__(
        self,
        slots: Sequence[Producer],
        slots_used: int,
        clock: Clock,
        wanted: asyncio.Event,
        open_batch: Callable[[], Batch],
        is_full: Callable[[], bool],
        seal: Callable[[], Sealed],
        committed: Callable[[Sealed, Sequence[int]], None],
        failed: Callable[[Sealed, LogError], None],
    ) -> None:
        self._clock = clock
        self._open_batch = open_batch
        self._is_full = is_full
        self._seal = seal
        self._committed = committed
        self._batch_failed = failed
        self._free: asyncio.Queue[Producer] = asyncio.Queue()
        for slot in slots[:slots_used]:
            self._free.put_nowait(slot)
        self._spare = deque(slots[slots_used:])
        self._left = len(slots)
        self._wanted = wanted
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_told = False

    async def run(self) -> None:
        """Commit batches until cancelled.

        Raises:
            LogError: A batch failed; see the error for what is known.
        """
        commits = Tasks("commit", self._fail)
        carrying = commits.spawn("carry", self._carry(commits))
        try:
            await self._failed
        finally:
            carrying.cancel()
            await commits.aclose(self._clock, patience_ms=1_000)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    async def _carry(self, commits: Tasks) -> None:
        before: asyncio.Task[None] | None = None
        while True:
            await self._wanted.wait()
            slot = await self._free.get()
            await self._fill()
            sealed = self._seal()
            self._wanted.clear()  # after: what sealing itself adds is in this batch, and an empty one cannot be sealed
            slot = await self._begun(slot, sealed)
            await self._told(sealed, slot.produce(sealed.log_records))
            before = commits.spawn("end", self._end(slot, sealed, before))

    async def _begun(self, slot: Producer, sealed: Sealed) -> Producer:
        """A slot with a transaction for the batch: `slot`, or another if it cannot begin one.

        One whose coordinator is away for seconds must not stop the others. Nothing was produced on it, so nothing is in
        doubt.
        """
        places = {(record.topic, record.partition) for record in sealed.log_records}
        while True:
            try:
                await slot.begin(places)
            except LogBroken:
                raise
            except LogUnavailable as error:
                self._left -= 1
                if not self._left:
                    raise
                mark("pipeline.put_aside")
                log.warning("a transactional id is put aside until the partition is taken anew: %s", error)
                await slot.close()
                slot = self._spare.popleft() if self._spare else await self._free.get()
            else:
                return slot

    async def _told(self, sealed: Sealed, call: Awaitable[T]) -> T:
        try:
            return await call
        except LogError as error:
            if not self._is_told:  # what fails after the first failure says nothing about its own batch
                self._is_told = True
                self._batch_failed(sealed, error)
            raise

    async def _fill(self) -> None:
        """Let what is about to happen anyway happen in this batch."""
        idle_loops = 0
        while idle_loops < _IDLE_LOOPS and not self._is_full():
            before = len(self._open_batch().records)
            await self._clock.sleep_ms(0)
            idle_loops = 0 if len(self._open_batch().records) > before else idle_loops + 1

    async def _end(self, slot: Producer, sealed: Sealed, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before  # raises here too if it failed, and this batch is never ended
        offsets = await self._told(sealed, slot.commit())
        self._committed(sealed, offsets)
        self._free.put_nowait(slot)
