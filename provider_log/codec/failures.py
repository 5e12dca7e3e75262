"""How does a failure that holds failures become flat, and nested again?

The contract has no type that holds itself: a reader of such a type, fastavro's too, calls itself as deep as the input
says, and a small input ends the process. So a failure travels with all that is inside it in one list, `inner`, in
which an outer failure comes before those it holds.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.model.failure import Failure

NESTING_MAX = 32
"""How many failures may be inside each other, the outermost included."""

CUT = f" (what it was raised from is left out: {NESTING_MAX} failures inside each other are kept)"


def alone(failure: Failure) -> Failure:
    """`failure` without those inside it."""
    return msgspec.structs.replace(failure, cause=None, others=())


def inner(failure: Failure) -> list[tuple[int, bool, Failure]]:
    """Every failure inside `failure`, alone, with the number of the one that holds it and whether it is its cause.

    What is deeper than NESTING_MAX is left out, and the message of the one that held it says so: whoever fails must
    be able to say so, however deep the reason is.
    """
    found: list[tuple[int, bool, Failure]] = []
    level = [(0, failure)]  # those of one depth, with their numbers
    for depth in range(2, NESTING_MAX + 1):
        deeper: list[tuple[int, Failure]] = []
        for outer, holder in level:
            for is_cause, held in _held(holder):
                cut = depth == NESTING_MAX and (held.cause is not None or held.others)
                kept = msgspec.structs.replace(held, message=held.message + CUT) if cut else held
                found.append((outer, is_cause, alone(kept)))
                deeper.append((len(found), held))
        level = deeper
    return found


def _held(failure: Failure) -> Iterator[tuple[bool, Failure]]:
    if failure.cause is not None:
        yield True, failure.cause
    for other in failure.others:
        yield False, other


def nest(flat: dict[str, Any]) -> None:
    """Put each failure of `flat["inner"]` into the one that holds it, as its `cause` or one of its `others`.

    Raises:
        ValueError: The list is none that was made of a failure.
    """
    failures, depths = [flat], [1]
    inside: list[dict[str, Any]] = flat.pop("inner")
    for number, failure in enumerate(inside, 1):
        outer: int = failure.pop("outer")
        if not 0 <= outer < number:
            raise ValueError(f"expected failure {number} to be inside one before it, but it is inside {outer}")
        depth = depths[outer] + 1
        if depth > NESTING_MAX:
            raise ValueError(f"expected at most {NESTING_MAX} failures inside each other, but here are more")
        holder = failures[outer]
        if not failure.pop("is_cause"):
            holder.setdefault("others", []).append(failure)
        elif holder.setdefault("cause", failure) is not failure:
            raise ValueError(f"expected at most one cause of failure {outer}, but here are two")
        failures.append(failure)
        depths.append(depth)
