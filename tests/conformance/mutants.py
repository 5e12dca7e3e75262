"""Which test notices which fault? The suite against the mutants, as a matrix.

`python -m tests.conformance.mutants` looks at so much of it that no test and no mutant is left out that has a place in
it, prints that, and writes it down in `kills.tsv`, which `test_mutants` holds to be true.
"""

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from engine.testing.conformance import GROUPS, ConformanceTest
from tests.conformance import (
    mutants_of_kept_keys,
    mutants_of_keys,
    mutants_of_limits,
    mutants_of_lives,
    mutants_of_pins,
    mutants_of_queries,
    mutants_of_queues,
    mutants_of_removal,
    mutants_of_sessions,
    mutants_of_suspending,
    mutants_of_turns,
    mutants_of_work,
)
from tests.conformance.factories import MemoryFactory
from tests.conformance.mutant import Mutant

REAL_SECONDS_MAX = 1.0
"""A test that a fault makes wait for ever has failed after this long; all tests side by side take some of it."""

MUTANTS: tuple[type[Mutant], ...] = tuple(
    mutant
    for module in (
        mutants_of_turns,
        mutants_of_queries,
        mutants_of_queues,
        mutants_of_work,
        mutants_of_removal,
        mutants_of_pins,
        mutants_of_sessions,
        mutants_of_suspending,
        mutants_of_keys,
        mutants_of_kept_keys,
        mutants_of_limits,
        mutants_of_lives,
    )
    for name, mutant in vars(module).items()
    if isinstance(mutant, type) and issubclass(mutant, Mutant) and mutant is not Mutant and not name.startswith("_")
)

TESTS: dict[str, ConformanceTest] = {
    f"{group}.{test.__name__}": test for group, tests in GROUPS.items() for test in tests
}

_AT_ONCE = 30

KILLS = Path(__file__).with_name("kills.tsv")

KillMatrix = dict[str, set[str]]
"""For each test of the suite the names of the mutants it fails on."""


async def fails(test: ConformanceTest, mutant: type[Mutant]) -> bool:
    """Whether `test` notices the fault, by whatever it raises or by waiting for ever."""
    try:
        with anyio.fail_after(REAL_SECONDS_MAX):
            await test(MemoryFactory(mutant))
    except Exception:
        return True
    return False


async def failing(mutant: type[Mutant], names: Sequence[str]) -> set[str]:
    """Which of these tests notice the fault. They run side by side, since many of them then only wait."""
    noticed = await asyncio.gather(*(fails(TESTS[name], mutant) for name in names))
    return {name for name, failed in zip(names, noticed, strict=True) if failed}


async def enough_of_the_matrix() -> KillMatrix:
    """So much of it that no test and no mutant is left out that has a place in it: a minute or two.

    On each mutant those tests run first that no mutant failed yet, then those that noticed something last, since
    faults of a kind stand together; and no more once one of them has noticed.
    """
    matrix: KillMatrix = {name: set() for name in TESTS}
    latest = list(TESTS)
    for mutant in MUTANTS:
        todo = [name for name in latest if not matrix[name]]
        todo += [name for name in latest if matrix[name]]
        unkilled = sum(not kills for kills in matrix.values())
        noticed: set[str] = set()
        for first in range(0, len(todo), _AT_ONCE):
            if noticed and first >= unkilled:
                break
            failed = await failing(mutant, todo[first : first + _AT_ONCE])
            noticed |= {name for name in failed if await fails(TESTS[name], mutant)}  # alone: not for want of time
        for name in noticed:
            matrix[name].add(mutant.__name__)
        latest = [*noticed, *(name for name in latest if name not in noticed)]
    return matrix


def thinned(matrix: KillMatrix) -> KillMatrix:
    """A pair for each mutant and for each test, and no more than that takes."""
    thin: KillMatrix = {name: set() for name in TESTS}
    for mutant in MUTANTS:
        noticing = [name for name, kills in matrix.items() if mutant.__name__ in kills]
        for name in sorted(noticing, key=lambda name: len(thin[name]))[:1]:
            thin[name].add(mutant.__name__)
    for name, kills in matrix.items():
        thin[name] = thin[name] or set(sorted(kills)[:1])
    return thin


def write_down(matrix: KillMatrix) -> None:
    """Keep it, a line a pair."""
    lines = [f"{name}\t{mutant}\n" for name, kills in matrix.items() for mutant in sorted(kills)]
    KILLS.write_text("".join(lines), encoding="utf-8")


def written_down() -> KillMatrix:
    """What `write_down` kept."""
    matrix: KillMatrix = {}
    for line in KILLS.read_text(encoding="utf-8").splitlines():
        name, mutant = line.split("\t")
        matrix.setdefault(name, set()).add(mutant)
    return matrix


def printed(matrix: KillMatrix) -> str:
    """A row a mutant with the number of tests that notice it, then a row a test with the mutants it notices."""
    rows = [f"{len(MUTANTS)} mutants, {len(matrix)} tests", ""]
    rows += [f"{sum(mutant.__name__ in kills for kills in matrix.values()):4} {mutant.__name__}" for mutant in MUTANTS]
    rows += ["", *(f"{len(kills):4} {test}: {', '.join(sorted(kills))}" for test, kills in matrix.items())]
    return "\n".join(rows)


if __name__ == "__main__":
    logging.disable()
    found = thinned(asyncio.run(enough_of_the_matrix()))
    write_down(found)
    sys.stdout.write(printed(found) + "\n")
