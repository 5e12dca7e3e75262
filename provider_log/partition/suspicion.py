"""Which turn is it that the log does not take? Batches that fail again and again are halved until one turn is alone.

It outlives doubts, which nothing else does that knows of a batch. It is not written down: a node that takes the
partition over finds out by itself, and nobody is blamed for what happened to another node's log.
"""

from collections import Counter
from collections.abc import Sequence

from provider_log.log.port import Fenced, LogError, LogUnavailable

_INNOCENT = (Fenced, LogUnavailable)
"""Says nothing about the batch: somebody took the partition, or the log was away and nothing was sent."""


_TURNS_MAX = 512
"""Batches of so many turns are what nobody suspects."""


class Suspicion:
    """Of one partition, as long as it lives on this node.

    Attributes:
        turns_max: How many turns a batch may have now; None while nothing is suspected.
    """

    def __init__(self) -> None:
        self.turns_max: int | None = None
        self._failures = Counter[str]()
        self._attempts = Counter[str]()

    def attempts(self, instance: str) -> int:
        """How often a turn of the instance failed alone: deliveries that nobody else counted."""
        return self._attempts[instance]

    def failed(self, turns: Sequence[str], error: LogError) -> None:
        """A batch with turns of these instances was not committed, as far as is known."""
        if isinstance(error, _INNOCENT) or not turns:
            return
        self._failures.update(turns)
        if self._failures.most_common(1)[0][1] < 2:
            return  # once is no reason: an answer was lost
        if len(turns) == 1:
            self._attempts[turns[0]] += 1
        self.turns_max = max(1, len(turns) // 2)

    def committed(self, turns: Sequence[str]) -> None:
        """A batch with turns of these instances is in the log."""
        for instance in turns:
            self._failures.pop(instance, None)
            self._attempts.pop(instance, None)
        if turns and self.turns_max is not None:
            # Little by little: what is guilty may be behind what was innocent.
            self.turns_max *= 2
            if self.turns_max > _TURNS_MAX:
                self.turns_max = None
                self._failures.clear()  # some of what is left was committed after all, or will never run again
