"""What can go wrong between a client and its log, and when does it?

Faults(script={("commit", 3): LoseReply()})                   the third commit is done, and nobody hears of it
Faults(odds={"commit": ((0.01, LoseReply()),)}, chance=chance) one in a hundred, the same ones for one seed
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from engine.errors import UsageError
from engine.runtime.doors import Chance

Operation = Literal[
    "create_topics", "open_producer", "begin", "produce", "commit", "append", "read", "bounds", "delete_records"
]
"""The requests a fault can meet. A read that waits for records is one request."""


class LoseReply(Struct, frozen=True):
    """The log does it; the answer is lost."""


class LoseRequest(Struct, frozen=True):
    """The log never hears of it; no answer comes."""


class Late(Struct, frozen=True):
    """No answer comes; the log does it `delay_ms` later, if it still may: a later epoch refuses it.

    A late open_producer fences whoever has the id by then.
    """

    delay_ms: int


class Resend(Struct, frozen=True):
    """Done and answered; a copy arrives `delay_ms` later and is judged by its epoch alone.

    So a copied commit ends the next transaction of the same epoch wherever that one is (KAFKA-17754).
    """

    delay_ms: int


class Delay(Struct, frozen=True):
    """Done at once; the answer takes `delay_ms`."""

    delay_ms: int


class Unavailable(Struct, frozen=True):
    """The log does not answer, and the client knows that nothing was sent."""


class TimeOut(Struct, frozen=True):
    """The log times the open transaction out, if there is one, just before the request comes."""


class Damage(Struct, frozen=True):
    """What is read at the reader's position is not what was written."""


Fault: TypeAlias = LoseReply | LoseRequest | Late | Resend | Delay | Unavailable | TimeOut | Damage

_ONLY_AT: Mapping[type[Fault], frozenset[Operation]] = {
    Resend: frozenset({"commit"}),
    TimeOut: frozenset({"produce", "commit"}),  # what a begin times out has nothing in it
    Damage: frozenset({"read"}),
    # A read has no effect that could outlive its answer.
    Late: frozenset(get_args(Operation)) - {"read", "bounds"},
}


class Faults:
    """Which request fails, and how.

    Args:
        script: By operation and its number, counted from 1 over the whole log.
        odds: For requests the script says nothing about: by operation, probabilities and faults, tried in order.
        chance: Draws for `odds`; the caller's, so that one seed gives one run.

    Raises:
        UsageError: A fault stands where it cannot happen, or there are odds and no chance.
    """

    def __init__(
        self,
        script: Mapping[tuple[Operation, int], Fault] | None = None,
        *,
        odds: Mapping[Operation, Sequence[tuple[float, Fault]]] | None = None,
        chance: Chance | None = None,
    ) -> None:
        self._script = dict(script or {})
        self._odds = dict(odds or {})
        self._chance = chance
        self._seen: Counter[Operation] = Counter()
        if self._odds and chance is None:
            raise UsageError("expected a chance to draw from beside the odds, but there is none")
        for operation, fault in [
            *((operation, fault) for (operation, _), fault in self._script.items()),
            *((operation, fault) for operation, tries in self._odds.items() for _, fault in tries),
        ]:
            if operation not in (fits := _ONLY_AT.get(type(fault), get_args(Operation))):
                name = type(fault).__name__
                raise UsageError(f"expected {name} at one of {', '.join(sorted(fits))}, but it is at {operation}")

    def draw(self, operation: Operation) -> Fault | None:
        """Count a request, and say what happens to it."""
        self._seen[operation] += 1
        if fault := self._script.get((operation, self._seen[operation])):
            return fault
        for probability, fault in self._odds.get(operation, ()):
            if self._chance is not None and self._chance.uniform(0, 1) < probability:
                return fault
        return None

    def seen(self, operation: Operation) -> int:
        """How many requests there were, so that a test can tell whether its script was reached."""
        return self._seen[operation]
