"""Does `turnlog dev kafka` give a broker, and is nothing left of it?"""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest

from provider_log.dev.jars import cache_directory, kafka_jars, locked, sha256_of
from provider_log.log.kafka import KafkaLog

TURNLOG = Path(sys.executable).with_name("turnlog")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_broker_of_the_command_answers_and_ends_with_it(number: signal.Signals) -> None:
    command = await asyncio.create_subprocess_exec(TURNLOG, "dev", "kafka", stdout=asyncio.subprocess.PIPE)
    assert command.stdout is not None
    address = (await command.stdout.readline()).decode().strip()
    log = await KafkaLog.open(address)
    assert log.cluster_id
    await log.close()

    command.send_signal(number)

    assert await command.wait() == 0
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def test_every_jar_is_the_one_that_was_locked() -> None:
    assert [sha256_of(jar) for jar in kafka_jars(cache_directory())] == list(locked().values())


def test_the_lock_names_no_host() -> None:
    assert all(":" in coordinate and "/" not in coordinate for coordinate in locked())
