"""How far is an input lane consumed? A low watermark, and the consumed offsets above it."""

from collections.abc import Iterable

from provider_log.records import Lane, Position


class LanePosition:
    """Tracks one lane. Offsets below the watermark are done; those read and not yet consumed hold it back."""

    def __init__(self, lane: Lane, watermark: int = 0, above: Iterable[int] = ()) -> None:
        self._lane = lane
        self._next = watermark  # the first offset not read yet
        self._waiting: dict[int, None] = {}  # read, not consumed; ascending, because reading is
        self._above = set(above)
        self._written = Position(lane, watermark, tuple(sorted(self._above)))

    @property
    def start(self) -> int:
        """Where a reader begins."""
        return self._written.watermark

    @property
    def waiting(self) -> int:
        """How many offsets were read and are not consumed."""
        return len(self._waiting)

    @property
    def passed(self) -> int:
        """How many offsets were consumed above the one that holds the watermark back: what a position must name."""
        oldest = self.oldest
        if oldest is None:
            return 0
        self._above = {offset for offset in self._above if offset > oldest}
        return len(self._above)

    @property
    def oldest(self) -> int | None:
        """The offset that holds the watermark back."""
        return next(iter(self._waiting), None)

    def read(self, offset: int) -> bool:
        """Note that the record at `offset` was read; offsets skipped on the way were never records.

        Returns:
            False if it was consumed before a restart: the caller drops it.
        """
        self._next = offset + 1
        if offset in self._above:
            return False
        self._waiting[offset] = None
        return True

    def pass_over(self, offset: int) -> None:
        """Note that the record at `offset` is nobody's input."""
        self._next = offset + 1

    def consume(self, offset: int) -> None:
        """The record at `offset` is done with, as of the open batch."""
        del self._waiting[offset]
        self._above.add(offset)

    def moved(self) -> Position | None:
        """The position to write with a batch, or None if it is as last written."""
        watermark = next(iter(self._waiting), self._next)
        if watermark > self._written.watermark:
            self._above = {offset for offset in self._above if offset >= watermark}
        position = Position(self._lane, watermark, tuple(sorted(self._above)))
        if position == self._written:
            return None
        self._written = position
        return position
