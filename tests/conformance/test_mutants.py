"""Can every test of the suite fail, and does the suite notice every fault we could think of?"""

import pytest

from tests.conformance.mutant import Mutant
from tests.conformance.mutants import MUTANTS, TESTS, failing, fails, printed, written_down

RECORD = "make it anew: python -m tests.conformance.mutants"


async def test_a_mutant_without_a_fault_fails_nothing() -> None:
    assert [name for name, test in TESTS.items() if await fails(test, Mutant)] == []


def test_every_test_has_a_mutant_and_every_mutant_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    matrix = written_down()
    with capsys.disabled():
        print("\n" + printed(matrix))
    assert sorted(matrix) == sorted(TESTS), RECORD
    assert sorted(set[str]().union(*matrix.values())) == sorted(mutant.__name__ for mutant in MUTANTS), RECORD


@pytest.mark.parametrize("module", sorted({mutant.__module__.rpartition(".")[2] for mutant in MUTANTS}))
async def test_each_mutant_is_noticed_by_the_tests_that_are_written_down(module: str) -> None:
    matrix = written_down()
    for mutant in MUTANTS:
        if mutant.__module__.endswith(f".{module}"):
            expected = {name for name, kills in matrix.items() if mutant.__name__ in kills}
            assert await failing(mutant, sorted(expected)) == expected, f"{mutant.__name__}: {RECORD}"
