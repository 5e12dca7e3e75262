"""What does a process do that opens a log and then dies, or meets a full disk? Run as `python -m`, see `COMMANDS`."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from engine.clock import SystemClock
from provider_log.log.embedded import EmbeddedLog
from provider_log.log.port import Doubtful, LogBroken, LogNotOpened, LogRecord, TopicSpec

ROOT = Path(__file__).parents[3]
TOPICS = ("history", "outcomes")
PARTITIONS = 2
PLACES = [(topic, partition) for topic in TOPICS for partition in range(PARTITIONS)]
COMMITTERS = 4
FULL_DISK_BYTES = 300_000


def start(command: str, path: Path) -> "subprocess.Popen[str]":
    """A child that runs `command` on the log at `path`; what it prints can be read, its errors lie beside the log."""
    arguments = [sys.executable, "-m", "tests.conformance.log.children", command, str(path)]
    with _errors(path).open("w") as errors:
        return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)


def next_line(child: "subprocess.Popen[str]", path: Path) -> str:
    """The next line that a child on the log at `path` prints; fails with its errors if it has ended instead."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, f"expected a line, but the child ended with {child.wait()}: {_errors(path).read_text()}"
    return line.strip()


def _errors(path: Path) -> Path:
    return path.with_name(path.name + ".stderr")


async def _open(path: str) -> EmbeddedLog:
    log = await EmbeddedLog.open(path, clock=SystemClock())
    await log.create_topics([TopicSpec(name=name, partitions=PARTITIONS, record_bytes_max=100_000) for name in TOPICS])
    return log


async def commit_until_killed(path: str) -> None:
    """Committers print `pid committer number` for each transaction that was acknowledged, one record a place."""
    log = await _open(path)

    async def committer(who: int) -> None:
        producer = await log.open_producer(f"committer-{who}")
        number = 0
        while True:
            number += 1
            name = f"{os.getpid()} {who} {number}"
            await producer.produce(
                [
                    LogRecord(topic=topic, partition=partition, key=None, value=name.encode().ljust(300))
                    for topic, partition in PLACES
                ]
            )
            await producer.commit()
            print(name, flush=True)

    await asyncio.gather(*(committer(who) for who in range(COMMITTERS)))


async def append_until_the_disk_is_full(path: str) -> None:
    """Prints each acknowledged record, then what the first error was, then what the next call raised."""
    log = await _open(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_DISK_BYTES, FULL_DISK_BYTES))
    number = 0
    try:
        while True:
            value = str(number).encode().ljust(1_000)
            await log.append(LogRecord(topic="history", partition=0, key=None, value=value))
            print(number, flush=True)
            number += 1
    except Doubtful as error:
        print(f"Doubtful {error}")
    try:
        await log.append(LogRecord(topic="history", partition=0, key=None, value=b"later"))
    except LogBroken as error:
        print(f"LogBroken {error}")
    print(f"broken {await log.broken()}", flush=True)
    await log.close()


async def append_and_die(path: str) -> None:
    """Acknowledges 1 500 records, more than lie between two end files, and is gone without closing."""
    log = await _open(path)
    for number in range(1_500):
        await log.append(LogRecord(topic="history", partition=number % 2, key=None, value=str(number).encode()))
    os.kill(os.getpid(), signal.SIGKILL)


async def open_second(path: str) -> None:
    """Prints why the log could not be opened."""
    try:
        await _open(path)
    except LogNotOpened as error:
        print(error)


COMMANDS: dict[str, Callable[[str], Awaitable[None]]] = {
    command.__name__: command
    for command in (commit_until_killed, append_until_the_disk_is_full, append_and_die, open_second)
}


async def _main() -> None:
    await COMMANDS[sys.argv[1]](sys.argv[2])


if __name__ == "__main__":
    asyncio.run(_main())
