"""Does the provider keep the contract of the port on a broker?"""

from collections.abc import Generator

import pytest

from engine.testing.conformance import GROUPS, ConformanceTest
from tests.kafka.choice import bootstrap_servers
from tests.kafka.provider_factory import providers


@pytest.fixture(scope="module")
def bootstrap() -> Generator[str]:
    """A broker of their own: an application each makes some seven thousand partitions, and others would wait for it."""
    with bootstrap_servers() as servers:
        yield servers


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize(
    "conformance_test",
    [pytest.param(test, id=f"{group}-{test.__name__}") for group, tests in GROUPS.items() for test in tests],
)
async def test_provider_on_kafka(bootstrap: str, conformance_test: ConformanceTest, partitions: int) -> None:
    async with providers(bootstrap, partitions)() as factory:
        await conformance_test(factory)
