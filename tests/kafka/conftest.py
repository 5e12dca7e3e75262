"""What do the tests on Kafka share? One broker for all of them, and names nobody else has.

Where no broker can be had (no network on a machine that never had one) these tests are left out, with a line that says
why; with `--require-kafka`, as `make test` has it, that is a failure instead.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.kafka.choice import bootstrap_servers, reason_for_none

HERE = Path(__file__).parent
LEFT_OUT = pytest.StashKey[str]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    if not ours or config.getoption("--require-kafka") or (reason := reason_for_none(os.environ)) is None:
        return
    config.stash[LEFT_OUT] = f"{len(ours)} tests on Kafka were left out, no broker can be had: {reason}"
    items[:] = [item for item in items if not item.path.is_relative_to(HERE)]
    config.hook.pytest_deselected(items=ours)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (left_out := config.stash.get(LEFT_OUT, None)) is not None:
        terminalreporter.section("tests/kafka", yellow=True)
        terminalreporter.write_line(left_out)


@pytest.fixture(scope="session")
def bootstrap() -> Generator[str]:
    with bootstrap_servers() as servers:
        yield servers
