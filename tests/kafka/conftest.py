"""What do the tests on Kafka share? One broker for all of them, and names nobody else has."""

from collections.abc import Generator

import pytest

from provider_log.dev.broker import bootstrap_servers


@pytest.fixture(scope="session")
def bootstrap() -> Generator[str]:
    with bootstrap_servers() as servers:
        yield servers
