"""What does a log on three brokers refuse?"""

import uuid
from collections.abc import Generator

import pytest

from provider_log.dev.broker import Broker, Extra, running_brokers
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogNotOpened, TopicSpec
from tests.kafka.by_hand import make_topic

MORE = 20
_SOON_DEAD = Extra(properties="broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n")
"""Else everybody waits nine seconds for a broker that is gone."""


@pytest.fixture(scope="module")
def brokers() -> Generator[list[Broker]]:
    with running_brokers(3, _SOON_DEAD) as brokers:
        yield brokers


def bootstrap_of(brokers: list[Broker]) -> str:
    return ",".join(broker.bootstrap for broker in brokers)


async def test_a_topic_that_one_broker_alone_may_acknowledge_is_refused(brokers: list[Broker]) -> None:
    name, bootstrap = f"made-by-hand-{uuid.uuid4().hex}", bootstrap_of(brokers)
    spec = TopicSpec(name=name, partitions=1, record_bytes_max=10_000)
    await make_topic(bootstrap, spec, replicas=3, wrong={"min.insync.replicas": "1"})
    log = await KafkaLog.open(bootstrap)

    with pytest.raises(LogNotOpened, match=rf"{name} with min.insync.replicas=2, but it is 1: .*kafka-configs.sh"):
        await log.create_topics([spec])

    await log.close()
