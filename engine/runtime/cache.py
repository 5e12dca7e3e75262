"""Which suspended coroutines are kept between turns? The most recently used, within bounds of bytes and of count.

An entry is a shortcut, never the truth: whatever is missing here is replayed from the history.
"""

from typing import Generic, Protocol, TypeVar

from engine.observe import Counters


class Live(Protocol):
    """A suspended execution that can be kept and put away."""

    @property
    def bytes_estimate(self) -> int:
        """Estimate of the memory it holds."""
        ...

    def put_away(self) -> object:
        """Close its coroutines without any trace in histories or logs. It is of no use afterwards."""
        ...


L = TypeVar("L", bound=Live)


class LiveCache(Generic[L]):
    """Live executions by instance, at most one each, at most `bytes_max` and `executions_max` in all.

    Args:
        bytes_max: 0 keeps nothing.
        executions_max: 0 keeps nothing. Bytes are an estimate; this bound holds whatever they really are.
    """

    def __init__(self, bytes_max: int, executions_max: int, counters: Counters) -> None:
        self._bytes_max = bytes_max
        self._executions_max = executions_max
        self._counters = counters
        self._kept: dict[str, tuple[L, int]] = {}  # in order of use, the least recent first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes_estimate(self) -> int:
        """Sum of the kept estimates."""
        return self._bytes

    def take(self, instance: str) -> L | None:
        """The live execution of `instance`, which now belongs to the caller; None if there is none."""
        kept = self._kept.pop(instance, None)
        if kept is None:
            self._counters.live_misses += 1
            return None
        self._counters.live_hits += 1
        self._bytes -= kept[1]
        return kept[0]

    def keep(self, instance: str, live: L) -> None:
        """Keep `live`, and put others away, the least recently used first, until all fit; it too if it is too big."""
        self.drop(instance)
        bytes_estimate = live.bytes_estimate
        self._kept[instance] = (live, bytes_estimate)
        self._bytes += bytes_estimate
        while self._bytes > self._bytes_max or len(self._kept) > self._executions_max:
            self.drop(next(iter(self._kept)))

    def drop(self, instance: str) -> None:
        """Put the live execution of `instance` away, if there is one."""
        kept = self._kept.pop(instance, None)
        if kept is not None:
            self._bytes -= kept[1]
            self._counters.live_put_away += 1
            kept[0].put_away()

    def clear(self) -> None:
        """Put everything away, the youngest first: what started last ends first."""
        for instance in reversed(list(self._kept)):
            self.drop(instance)
