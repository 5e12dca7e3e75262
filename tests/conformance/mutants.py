"""Which test notices which fault? The whole suite against every mutant, as a matrix.

`python -m tests.conformance.mutants` prints it.
"""

import asyncio
import sys

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


async def failing(mutant: type[Mutant]) -> set[str]:
    """Names of the tests that notice the fault. They run side by side, since many of them then only wait."""
    noticed = await asyncio.gather(*(fails(test, mutant) for test in TESTS.values()))
    return {name for name, failed in zip(TESTS, noticed, strict=True) if failed}


async def kill_matrix() -> KillMatrix:
    """Every test on every mutant."""
    matrix: KillMatrix = {name: set() for name in TESTS}
    for mutant in MUTANTS:
        for name in await failing(mutant):
            matrix[name].add(mutant.__name__)
    return matrix


def printed(matrix: KillMatrix) -> str:
    """A row a mutant with the number of tests that notice it, then a row a test with the mutants it notices."""
    rows = [f"{len(MUTANTS)} mutants, {len(matrix)} tests", ""]
    rows += [f"{sum(mutant.__name__ in kills for kills in matrix.values()):4} {mutant.__name__}" for mutant in MUTANTS]
    rows += ["", *(f"{len(kills):4} {test}: {', '.join(sorted(kills))}" for test, kills in matrix.items())]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.stdout.write(printed(asyncio.run(kill_matrix())) + "\n")
