"""Does `turnlog dev kafka` give brokers, and is nothing left of them?"""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest

from provider_log.dev.jars import cache_directory, kafka_jars, locked, sha256_of
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import TopicSpec

TURNLOG = Path(sys.executable).with_name("turnlog")


@pytest.mark.parametrize(("brokers", "number"), [(1, signal.SIGINT), (3, signal.SIGTERM)])
async def test_the_brokers_of_the_command_answer_and_end_with_it(brokers: int, number: signal.Signals) -> None:
    command = await asyncio.create_subprocess_exec(
        TURNLOG, "dev", "kafka", "--brokers", str(brokers), stdout=asyncio.subprocess.PIPE
    )
    assert command.stdout is not None
    addresses = (await command.stdout.readline()).decode().strip().split(",")
    assert len(addresses) == brokers
    log = await KafkaLog.open(addresses[0], replication_factor=brokers)
    await log.create_topics([TopicSpec(name="everywhere", partitions=1, record_bytes_max=10_000)])
    await log.close()

    command.send_signal(number)

    assert await command.wait() == 0
    for address in addresses:
        host, port = address.rsplit(":", 1)
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


def test_every_jar_is_the_one_that_was_locked() -> None:
    assert [sha256_of(jar) for jar in kafka_jars(cache_directory())] == list(locked().values())


def test_the_lock_names_no_host() -> None:
    assert all(":" in coordinate and "/" not in coordinate for coordinate in locked())
