"""What holds for every test of the core: no execution is left to the collector, whose time is another test's."""

from collections.abc import Generator

import pytest

from tests.replay.given import Instance


@pytest.fixture(autouse=True)
def executions_are_put_away() -> Generator[None]:
    yield
    for instance in Instance.made:
        instance.forget()
    Instance.made.clear()
