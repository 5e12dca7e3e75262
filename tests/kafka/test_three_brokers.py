"""What becomes of work when one of three brokers dies, whichever it is, and what does a log on three brokers refuse?"""

import os
import signal
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import Client, Engine
from engine.clock import SystemClock
from engine.runtime.doors import Threads
from provider_log import LogProvider
from provider_log.bench.workloads import REGISTRY
from provider_log.dev.broker import Broker, Extra, running_brokers
from provider_log.log.kafka import KafkaLog
from provider_log.log.kafka.cluster import Cluster
from provider_log.log.kafka.link import Address, Links
from provider_log.log.kafka.security import credentials_of
from provider_log.log.port import LogNotOpened, TopicSpec
from provider_log.topics import Topics
from tests.kafka.by_hand import make_topic
from tests.kafka.load import loaded
from tests.kafka.nodes import ANSWERS
from tests.kafka.written import written

MORE = 20
_SOON_DEAD = Extra(properties="broker.session.timeout.ms=4000\nbroker.heartbeat.interval.ms=500\n")
"""Else everybody waits nine seconds for a broker that is gone."""


@pytest.fixture(scope="module")
def brokers() -> Generator[list[Broker]]:
    with running_brokers(3, _SOON_DEAD) as brokers:
        yield brokers


def bootstrap_of(brokers: list[Broker]) -> str:
    return ",".join(broker.bootstrap for broker in brokers)


@asynccontextmanager
async def metadata(brokers: list[Broker]) -> AsyncGenerator[Cluster]:
    """Who leads what."""
    addresses = [Address(host, int(port)) for host, port in (broker.bootstrap.split(":") for broker in brokers)]
    links = Links(credentials_of({}), SystemClock(), 5_000, lambda _: None)
    yield Cluster(addresses, links, SystemClock())
    await links.close()


async def test_work_goes_on_when_leader_and_coordinator_die_and_nothing_is_lost_or_twice(
    brokers: list[Broker], tmp_path: Path
) -> None:
    app, bootstrap, threads = f"a{uuid.uuid4().hex}", bootstrap_of(brokers), Threads("brokers", 1)
    by_address = {broker.bootstrap: broker for broker in brokers}

    async def leader_of_history(cluster: Cluster) -> Address | None:
        return await cluster.leader(Topics.of(app).history, 0)

    async def coordinator(cluster: Cluster) -> Address | None:
        return await cluster.coordinator(f"turnlog.{app}.0.0")

    async with (
        LogProvider.kafka(bootstrap, tmp_path, app=app) as provider,
        Engine(provider, REGISTRY),
        loaded(Client(provider)) as load,
    ):
        for victim in (leader_of_history, coordinator):
            await load.more(MORE)
            async with metadata(brokers) as cluster:
                address = await victim(cluster)
            assert address is not None
            broker = by_address[f"{address.host}:{address.port}"]

            os.kill(broker.pid, signal.SIGKILL)
            await load.more(MORE)

            await threads.offload(broker.stop)
            await threads.offload(broker.start)
    threads.close(patience_ms=1_000)

    log = await KafkaLog.open(bootstrap)
    seen = await written(log, app)
    await log.close()
    assert seen.answered.keys() >= set(load.ended)
    assert set(seen.answered.values()) == {ANSWERS}
    assert seen.owners > 1, "expected commits in doubt, but nothing was under way when a broker died"


async def test_a_topic_that_one_broker_alone_may_acknowledge_is_refused(brokers: list[Broker]) -> None:
    name, bootstrap = f"made-by-hand-{uuid.uuid4().hex}", bootstrap_of(brokers)
    spec = TopicSpec(name=name, partitions=1, record_bytes_max=10_000)
    await make_topic(bootstrap, spec, replicas=3, wrong={"min.insync.replicas": "1"})
    log = await KafkaLog.open(bootstrap)

    with pytest.raises(LogNotOpened, match=rf"{name} with min.insync.replicas=2, but it is 1: .*kafka-configs.sh"):
        await log.create_topics([spec])

    await log.close()
