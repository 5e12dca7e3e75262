"""Who has which partition, and since when do we know? `{app}.owners`, read to its end and followed.

Every node follows all of it: to route queries, and to learn that another node took a partition of its own. An owner
is told nothing when it is fenced; without this it would go on handing out work until its next commit.
"""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from engine.clock import Clock
from engine.observe import logger
from engine.runtime.doors import Tasks
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import Log, LogBroken, LogUnavailable, OffsetOutOfRange, Reader, StoredRecord
from provider_log.log.wakeup import Wakeup

log = logger("owners")

SILENCE_MS = 3_000
"""An owner that has heard nothing for this long acts no more: by then another node may have its partition.

Three seconds are six times the interval at which a quiet log answers, and less than a group takes to place anew.
"""

_ANSWER_MS = 500
_RECORDS_AT_ONCE = 100
_RETRY_MS = 100


class Standing(Struct, frozen=True):
    """What the log said last of one partition: its owner, None once that one has left, and the record's offset."""

    owner: r.Owner | None
    offset: int


class Owners:
    """Follows the owners topic of an application.

    Args:
        log: Where it is.
        topic: Its name.
        partitions: How many it has.
        clock: Of the waits, and of how old an answer is.
        heard: Called when the log said something new, or answers again after a silence: who was not allowed to act
            may look again.
    """

    def __init__(self, log: Log, topic: str, partitions: int, clock: Clock, heard: Callable[[], None]) -> None:
        self._log = log
        self._topic = topic
        self._clock = clock
        self._heard = heard
        self._changes = Wakeup()
        self._standings = [Standing(None, -1)] * partitions
        self._heard_ms: list[int | None] = [None] * partitions

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            LogBroken: The log has failed for good.
        """
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks = Tasks("owners", lambda error: None if failed.done() else failed.set_exception(error))
        try:
            for partition in range(len(self._standings)):
                tasks.spawn(str(partition), self._follow(partition))
            await failed
        finally:
            await tasks.aclose(self._clock, patience_ms=1_000)

    def standing(self, partition: int) -> Standing:
        """What the log said last."""
        return self._standings[partition]

    def names(self, partition: int, token: bytes) -> bool:
        """Whether the log has lately said that the owner is the one with this token.

        Lately: by an answer to a question that was asked less than `SILENCE_MS` ago. The time of the question counts,
        not that of the answer, which may have lain in the socket of a process that was paused.
        """
        owner = self._standings[partition].owner
        return owner is not None and owner.owner_token == token and self._is_heard(partition)

    def _is_heard(self, partition: int) -> bool:
        heard_ms = self._heard_ms[partition]
        return heard_ms is not None and self._clock.boot_ms() - heard_ms < SILENCE_MS

    @property
    def is_known(self) -> bool:
        """Whether the end of every partition was reached once."""
        return None not in self._heard_ms

    async def changed(self) -> None:
        """Return when the log said something new of any partition."""
        await self._changes.wait()

    async def taken(self, partition: int, after: int) -> r.Owner:
        """The owner whose record comes after offset `after`: whoever acquired there has lost the partition."""
        while True:
            standing = self._standings[partition]
            if standing.offset > after and standing.owner is not None:
                return standing.owner
            await self._changes.wait()

    async def _follow(self, partition: int) -> None:
        reader: Reader | None = None
        try:
            while True:
                asked_ms = self._clock.boot_ms()
                try:
                    if reader is None:
                        bounds = await self._log.bounds(self._topic, partition)
                        position = max(bounds.first, self._standings[partition].offset + 1)
                        reader = await self._log.open_reader(self._topic, partition, position)
                        asked_ms = self._clock.boot_ms()
                    stored = await reader.read(_RECORDS_AT_ONCE, _ANSWER_MS)
                except LogBroken:
                    raise
                except OffsetOutOfRange:
                    reader = await _closed(reader)
                    continue
                except LogUnavailable:
                    await self._clock.sleep_ms(_RETRY_MS)
                    continue
                for one in stored:
                    self._standings[partition] = _after(self._standings[partition], one, partition)
                was_heard = self._is_heard(partition)
                if len(stored) < _RECORDS_AT_ONCE:
                    self._heard_ms[partition] = asked_ms
                if stored or not was_heard:
                    self._changes.signal()
                    self._heard()
        finally:
            await _closed(reader)


def _after(standing: Standing, stored: StoredRecord, partition: int) -> Standing:
    if stored.value is None:
        return Standing(None, stored.offset)
    try:
        return Standing(codec.decode_owner(stored.value), stored.offset)
    except (codec.Malformed, codec.UnknownSchema) as error:
        # Nobody becomes owner by it, and nobody ceases to be: what an owner may do, the history decides.
        log.error("expected an owner of partition %d at offset %d, but: %s", partition, stored.offset, error)
        return Standing(standing.owner, stored.offset)


async def _closed(reader: Reader | None) -> None:
    if reader is not None:
        await reader.close()
