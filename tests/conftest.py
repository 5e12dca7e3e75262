"""What holds for every test: nothing is skipped, nothing is random, coroutines run on asyncio."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every run, so that a red gate is red for everybody; `explore` looks for new ones.
settings.register_profile("repeat", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile(
    "explore", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))

AnyReport = TypeVar("AnyReport", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-kafka", action="store_true", help="without a broker, fail: tests/kafka says what for")
    parser.addoption("--chaos-seconds", type=int, default=120, help="how long tests/cluster/test_chaos.py does harm")
    parser.addoption("--chaos-seed", type=int, default=0, help="and what harm it does")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that did not run proved nothing: a skip, and an expected failure, count as failures."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is imported."""
    return _refuse_skip((yield))


def _refuse_skip(report: AnyReport) -> AnyReport:
    if report.outcome == "skipped":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else vars(report).pop("wasxfail", "")
        report.outcome = "failed"
        report.longrepr = f"expected every test to run and to pass, but this one did not: {why}"
    return report
