"""Which test notices which fault? The whole suite against every mutant, as a matrix.

`python -m tests.conformance.mutants` prints it.
"""

import asyncio
import sys
from collections.abc import Sequence

import anyio

from engine.testing.conformance import GROUPS, ConformanceTest
from tests.conformance import (
    mutants_of_kept_keys,
    mutants_of_keys,
    mutants_of_pins,
    mutants_of_queries,
    mutants_of_queues,
    mutants_of_removal,
    mutants_of_sessions,
    mutants_of_turns,
    mutants_of_work,
)
from tests.conformance.factories import MemoryFactory
from tests.conformance.mutant import Mutant

REAL_SECONDS_MAX = 0.5
"""A test that a fault makes wait for ever has failed after this long; all tests side by side take a tenth of it."""

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
        mutants_of_keys,
        mutants_of_kept_keys,
    )
    for name, mutant in vars(module).items()
    if isinstance(mutant, type) and issubclass(mutant, Mutant) and mutant is not Mutant and not name.startswith("_")
)

TESTS: dict[str, ConformanceTest] = {
    f"{group}.{test.__name__}": test for group, tests in GROUPS.items() for test in tests
}

_AT_ONCE = 30

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


async def kill_matrix() -> KillMatrix:
    """Every test on every mutant: some two minutes."""
    matrix: KillMatrix = {name: set() for name in TESTS}
    for mutant in MUTANTS:
        for name in await failing(mutant, list(TESTS)):
            matrix[name].add(mutant.__name__)
    return matrix


async def enough_of_the_matrix() -> KillMatrix:
    """So much of it that no test and no mutant is left out that has a place in it.

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
            noticed |= await failing(mutant, todo[first : first + _AT_ONCE])
        for name in noticed:
            matrix[name].add(mutant.__name__)
        latest = [*noticed, *(name for name in latest if name not in noticed)]
    return matrix


def printed(matrix: KillMatrix) -> str:
    """A row a mutant with the number of tests that notice it, then a row a test with the mutants it notices."""
    rows = [f"{len(MUTANTS)} mutants, {len(matrix)} tests", ""]
    rows += [f"{sum(mutant.__name__ in kills for kills in matrix.values()):4} {mutant.__name__}" for mutant in MUTANTS]
    rows += ["", *(f"{len(kills):4} {test}: {', '.join(sorted(kills))}" for test, kills in matrix.items())]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(printed(asyncio.run(kill_matrix())) + "\n")
