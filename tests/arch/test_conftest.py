"""Does the test suite itself refuse a test that does not run?"""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = (Path(__file__).parents[1] / "conftest.py").read_text()


@pytest.mark.parametrize(
    ("name", "source", "failed", "errors"),
    [
        ("a skip inside a test", "import pytest\ndef test_it(): pytest.skip('not here')", 1, 0),
        ("a skip of a module", "import pytest\npytest.skip('not here', allow_module_level=True)", 0, 1),
        ("a missing package", "import pytest\npytest.importorskip('no_such_package')", 0, 1),
        ("a failure that was expected", "import pytest\ndef test_it(): pytest.xfail('known')", 1, 0),
    ],
)
def test_a_test_that_does_not_run_fails_the_suite(
    pytester: pytest.Pytester, name: str, source: str, failed: int, errors: int
) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(source)

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    assert result.ret != 0, name
    result.assert_outcomes(failed=failed, errors=errors)


def test_a_test_that_runs_and_passes_stays_green(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_it(): pass")

    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")

    assert result.ret == 0
    result.assert_outcomes(passed=1)
