"""Does the log on Kafka keep every promise of the port?"""

from collections.abc import Awaitable, Callable

import pytest

from tests.conformance.log.contract import PROMISES
from tests.conformance.log.factory import LogFactory
from tests.kafka.factory import kafka


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_a_log_on_kafka_keeps_its_promise(
    bootstrap: str, promise: Callable[[LogFactory], Awaitable[None]]
) -> None:
    async with kafka(bootstrap) as factory:
        await promise(factory)
