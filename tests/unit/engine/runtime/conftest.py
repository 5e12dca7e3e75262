"""What does every test of the runtime start from?"""

import threading
from collections.abc import Iterator

import pytest

from tests.unit.engine.runtime.running import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """No test leaves a thread of an engine behind."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("turnlog")] == []
