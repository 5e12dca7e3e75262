"""How is an orchestration started, and its end seen? In the process that runs it, or by whoever has the topics."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from engine import Client, Engine
from engine.clock import SystemClock
from engine.converter import JsonConverter
from engine.model.messages import StartOrchestration
from engine.model.status import Status
from engine.runtime.doors import Tasks, within
from provider_log import codec
from provider_log.bench.workloads import REGISTRY, Workload
from provider_log.log.port import Log, LogRecord
from provider_log.log_provider import LogProvider
from provider_log.routing import partition_of
from provider_log.topics import Topics

_WAIT_S = 120
_RECORDS_AT_ONCE = 500
_POLL_MS = 1_000


class Load(Protocol):
    """Puts work in."""

    async def output_of(self, instance: str) -> str:
        """Start `instance`, wait for its end, and return what it returned.

        Raises:
            EngineError, TimeoutError, AssertionError: It did not end well.
        """
        ...


class _Client:
    """A client in the process of the engine."""

    def __init__(self, client: Client, workload: Workload) -> None:
        self._client = client
        self._workload = workload

    async def output_of(self, instance: str) -> str:
        await self._client.start(self._workload.name, self._workload.input, instance=instance)
        return await self._client.wait(instance, _WAIT_S, output=str)


@asynccontextmanager
async def in_process(provider: Callable[[], LogProvider], workload: Workload) -> AsyncGenerator[Load]:
    """A node with its engine and its client, all in this process."""
    async with provider() as entered, Engine(entered, REGISTRY):
        yield _Client(Client(entered), workload)


class _Outsider:
    """Starts by a record of the orchestrator topic, and reads the end in the outcomes topic."""

    def __init__(self, log: Log, app: str, partitions: int, workload: Workload) -> None:
        self._log = log
        self._topics = Topics.of(app)
        self._partitions = partitions
        self._workload = workload
        self._input = JsonConverter().encode(workload.input, "the input of the workload")
        self._clock = SystemClock()
        self._ends: dict[str, asyncio.Future[str]] = {}
        self._error: BaseException | None = None

    async def output_of(self, instance: str) -> str:
        if self._error is not None:
            raise self._error
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ends[instance] = end
        start = StartOrchestration(instance=instance, name=self._workload.name, input=self._input, message_id=instance)
        record = LogRecord(
            topic=self._topics.orchestrator,
            partition=partition_of(instance, self._partitions),
            key=instance.encode(),
            value=codec.encode_message(start),
        )
        await self._log.append(record)
        return await within(self._clock, end, _WAIT_S * 1000)

    async def follow(self, partition: int) -> None:
        """Read how instances end, until cancelled."""
        reader = await self._log.open_reader(self._topics.outcomes, partition, 0)
        try:
            while True:
                for stored in await reader.read(_RECORDS_AT_ONCE, _POLL_MS):
                    outcome = codec.decode_outcome(stored.value or b"")
                    assert outcome.status is Status.COMPLETED, f"expected {outcome.instance} to complete: {outcome}"
                    assert outcome.output is not None
                    self._ends.pop(outcome.instance).set_result(msgspec.json.decode(outcome.output.data, type=str))
        finally:
            await reader.close()

    def fail(self, error: BaseException) -> None:
        """Nobody is told an end any more: whoever waits for one gets `error`, and so does whoever comes."""
        self._error = self._error or error
        for end in self._ends.values():
            if not end.done():
                end.set_exception(error)


@asynccontextmanager
async def by_topics(log: Log, app: str, partitions: int, workload: Workload) -> AsyncGenerator[Load]:
    """A producer and a consumer as anybody would write them; the nodes are elsewhere."""
    outsider = _Outsider(log, app, partitions, workload)
    tasks = Tasks("outcomes", outsider.fail)
    try:
        for partition in range(partitions):
            tasks.spawn(str(partition), outsider.follow(partition))
        yield outsider
    finally:
        await tasks.aclose(SystemClock(), patience_ms=2 * _POLL_MS)
