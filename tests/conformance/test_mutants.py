"""Can every test of the suite fail, and does the suite notice every fault we could think of?"""

import pytest

from tests.conformance.mutant import Mutant
from tests.conformance.mutants import MUTANTS, TESTS, enough_of_the_matrix, fails, printed


async def test_a_mutant_without_a_fault_fails_nothing() -> None:
    assert [name for name, test in TESTS.items() if await fails(test, Mutant)] == []


async def test_every_conformance_test_fails_on_some_mutant_and_every_mutant_fails_some_test(
    capsys: pytest.CaptureFixture[str],
) -> None:
    matrix = await enough_of_the_matrix()
    with capsys.disabled():
        print("\n" + printed(matrix))
    assert [test for test, kills in matrix.items() if not kills] == [], "tests that no fault makes fail"
    noticed = set[str]().union(*matrix.values())
    assert [mutant.__name__ for mutant in MUTANTS if mutant.__name__ not in noticed] == [], "faults that no test sees"
