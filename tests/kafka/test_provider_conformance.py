"""Does the provider keep the contract of the port on a broker?"""

from collections.abc import Generator
from contextlib import ExitStack

import pytest

from engine.testing.conformance import GROUPS, ConformanceTest
from tests.kafka.choice import bootstrap_servers
from tests.kafka.provider_factory import providers

TESTS_A_BROKER = 80
"""An application each makes some two and a half thousand partitions. Under twenty thousand, of all tests together, the
last ones took four seconds each, and some of them timed out."""


class Brokers:
    """A broker for so many tests, then another."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._servers = ""
        self._used = 0

    def bootstrap(self) -> str:
        """Of the broker for the next test."""
        if self._used % TESTS_A_BROKER == 0:
            self._stack.close()
            self._servers = self._stack.enter_context(bootstrap_servers())
        self._used += 1
        return self._servers


@pytest.fixture(scope="module")
def brokers() -> Generator[Brokers]:
    with ExitStack() as stack:
        yield Brokers(stack)


@pytest.fixture
def bootstrap(brokers: Brokers) -> str:
    return brokers.bootstrap()


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize(
    "conformance_test",
    [pytest.param(test, id=f"{group}-{test.__name__}") for group, tests in GROUPS.items() for test in tests],
)
async def test_provider_on_kafka(bootstrap: str, conformance_test: ConformanceTest, partitions: int) -> None:
    async with providers(bootstrap, partitions)() as factory:
        await conformance_test(factory)
