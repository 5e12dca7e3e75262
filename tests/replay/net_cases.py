"""What does each net do with each way out of an orchestration? Run as a program: an audit hook stays for good.

    python -m tests.replay.net_cases loop|audit|profile

prints a JSON object: for each way out, and for each thing that is allowed, whether every use of it was refused (true),
none (false), or some ("mixed").
"""

import asyncio
import contextlib
import datetime
import gc
import importlib
import json
import linecache
import logging
import os
import pathlib
import random
import secrets
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine

import anyio.to_thread

from engine.replay.loop import TurnAborted
from engine.replay.nets import ProfileNet, install_audit_net
from engine.replay.refusals import OutsideRefused
from tests.replay.driving import Execution

Way = Callable[[], object]


async def server() -> None:
    await asyncio.start_server(print, "127.0.0.1", 0)


async def as_completed() -> None:
    for one in asyncio.as_completed([asyncio.sleep(0)]):
        await one


async def wait_over_gather() -> None:
    await asyncio.wait({asyncio.gather(asyncio.sleep(0))})


async def in_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)


def read_and_close() -> None:
    with open(os.devnull) as file:  # `open` is what is tried
        file.read()


# By the first cell of its row in docs/determinism.md. Each is harmless if nothing refuses it.
WAYS: dict[str, list[Way]] = {
    "`asyncio.to_thread`, `run_in_executor`": [lambda: asyncio.to_thread(int), in_executor],
    "`anyio.to_thread.run_sync`": [lambda: anyio.to_thread.run_sync(int)],
    "`asyncio.open_connection`, `start_server`": [lambda: asyncio.open_connection("127.0.0.1", 1), server],
    "`asyncio.create_subprocess_exec`": [lambda: asyncio.create_subprocess_exec("true")],
    "`asyncio.as_completed` over coroutines": [as_completed],
    "`asyncio.wait` over what `gather` returns": [wait_over_gather],
    "`socket.socket`, and so HTTP and database clients": [lambda: socket.socket().close()],
    "`open`, `Path.read_text`": [read_and_close, lambda: pathlib.Path(os.devnull).read_text()],
    "`os.listdir`, `os.remove`, `os.system`": [
        lambda: os.listdir("."),
        lambda: os.remove("no-such-file"),
        lambda: os.system("true"),  # pyright: ignore[reportDeprecated]  # it is tried because it is old
    ],
    "`subprocess.run`": [lambda: subprocess.run(["true"], check=True)],
    "`sqlite3.connect`": [lambda: sqlite3.connect(":memory:").close()],
    "`threading.Thread.start`": [lambda: threading.Thread(target=int).start()],
    "`time.sleep`": [lambda: time.sleep(0)],
    "`time.time`, `time.monotonic`": [time.time, time.monotonic, time.time_ns],
    "`datetime.now`, `date.today`": [
        lambda: datetime.datetime.now(datetime.UTC),
        datetime.date.today,
        datetime.datetime.today,
    ],
    "`os.urandom`, `uuid.uuid4`, `secrets`": [lambda: os.urandom(1), uuid.uuid4, lambda: secrets.randbits(8)],
    "functions of the module `random`": [
        random.random,
        lambda: random.randrange(9),
        lambda: random.choice("abc"),
        lambda: random.shuffle([1, 2, 3]),
        lambda: random.uniform(1, 2),
    ],
    "`random.Random()` without a seed": [lambda: random.Random().random()],
    "`os.environ`, module globals": [lambda: os.environ.get("HOME"), lambda: sys.argv],
    "the order of a set of strings, `id()`, `hash(object())`": [
        lambda: list({"a", "b"}),
        lambda: id(object()),
        lambda: hash(object()),
    ],
}


def log_an_error_to_a_file_opened_only_now() -> None:
    handler = logging.FileHandler(os.devnull, delay=True)
    logger = logging.getLogger("an orchestration")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        raise LookupError
    except LookupError:
        logger.exception("with the time and a traceback")
    handler.close()


class Finalized:
    """Touches a file when the collector finds it."""

    def __init__(self) -> None:
        self.ring = self

    def __del__(self) -> None:
        read_and_close()


def collect_what_belongs_to_somebody_else() -> None:
    Finalized()
    gc.callbacks.append(measure_the_collector)
    gc.collect()
    gc.callbacks.remove(measure_the_collector)


def measure_the_collector(phase: str, _: dict[str, int]) -> None:
    if phase == "start":
        time.perf_counter()


def format_a_traceback() -> None:
    linecache.clearcache()
    try:
        raise LookupError
    except LookupError:
        traceback.format_exc()


# What every net lets through.
ALLOWED: dict[str, list[Way]] = {
    "an import of a module that was not loaded": [lambda: importlib.import_module("colorsys")],
    "a traceback, which reads source lines": [format_a_traceback],
    "a log record": [log_an_error_to_a_file_opened_only_now],
    "random numbers from a seed": [lambda: random.Random(7).random(), lambda: random.Random(7).shuffle([1, 2])],
    "a finalizer that the collector calls": [collect_what_belongs_to_somebody_else],
    "a sleep": [lambda: asyncio.sleep(1), lambda: anyio.sleep(1)],
}


def refused(way: Way) -> bool:
    """Whether the turn that goes this way ends with OutsideRefused."""

    async def orchestration(_: Execution) -> None:
        answer = way()
        if isinstance(answer, Coroutine):
            await answer

    execution = Execution(orchestration)
    try:
        execution.run()
        if execution.root.done():
            with contextlib.suppress(OSError):
                execution.root.result()
    except TurnAborted as aborted:
        return isinstance(aborted.cause, OutsideRefused)
    finally:
        execution.loop.put_away()
    return False


def verdicts(net: str) -> dict[str, bool | str]:
    """For each way out, whether every use of it was refused, none, or some."""
    if net == "audit":
        install_audit_net()
        install_audit_net()
    found: dict[str, bool | str] = {}
    for name, ways in {**WAYS, **ALLOWED}.items():
        answers: set[bool] = set()
        for way in ways:
            with ProfileNet() if net == "profile" else contextlib.nullcontext():
                answers.add(refused(way))
        found[name] = "mixed" if len(answers) > 1 else answers.pop()
    return found


if __name__ == "__main__":
    print(json.dumps(verdicts(sys.argv[1])))
