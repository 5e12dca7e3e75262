"""Does the provider keep the contract of the port on a broker?"""

import pytest

from engine.testing.conformance import GROUPS, ConformanceTest
from tests.kafka.provider_factory import providers


@pytest.mark.parametrize("partitions", [1, 8])
@pytest.mark.parametrize(
    "conformance_test",
    [pytest.param(test, id=f"{group}-{test.__name__}") for group, tests in GROUPS.items() for test in tests],
)
async def test_provider_on_kafka(bootstrap: str, conformance_test: ConformanceTest, partitions: int) -> None:
    async with providers(bootstrap, partitions)() as factory:
        await conformance_test(factory)
