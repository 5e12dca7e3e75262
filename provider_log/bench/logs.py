"""On which log is a workload measured? Each as a node would use it, and bare, as a yardstick."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from engine.clock import SystemClock
from engine.runtime.doors import Chance
from provider_log.bench.load import Load, by_topics, in_process
from provider_log.bench.nodes import PARTITIONS_A_NODE, placed, running_nodes
from provider_log.bench.workloads import Workload
from provider_log.log.embedded import EmbeddedLog
from provider_log.log.port import Log
from provider_log.log_provider import LogProvider

if TYPE_CHECKING:
    from provider_log.log.kafka import ClientSettings

_SUFFIX_BYTES = 4


class MeasuredLog(Struct, frozen=True, kw_only=True):
    """A log to measure on.

    Attributes:
        name: What it is called in the figures.
        app: Of the application that is measured; nobody else's.
        nodes: Processes of nodes; 0 is a node in the process that measures.
        partitions: Of the application.
        load: Runs what is measured, and puts work in.
        open_log: Opens the log that was written, once the nodes have let go.
        open_bare: Opens a log with nothing in it but what it is asked to create.
        slots: Transactional ids that a partition takes in turn, so the bare transactions do too.
    """

    name: str
    app: str
    nodes: int
    partitions: int
    load: Callable[[Workload], AbstractAsyncContextManager[Load]]
    open_log: Callable[[], Awaitable[Log]]
    open_bare: Callable[[], Awaitable[Log]]
    slots: int


def embedded(directory: Path) -> MeasuredLog:
    """The embedded log, in a `directory` that is fresh."""

    async def opened(path: Path) -> Log:
        return await EmbeddedLog.open(path, clock=SystemClock())

    app = "bench"
    return MeasuredLog(
        name="embedded",
        app=app,
        nodes=0,
        partitions=1,
        load=partial(in_process, lambda: LogProvider.embedded(directory / "data", app=app)),
        open_log=lambda: opened(directory / "data" / "log"),
        open_bare=lambda: opened(directory / "bare"),
        slots=1,
    )


def kafka(bootstrap: str, directory: Path, settings: "ClientSettings | None" = None, *, nodes: int = 0) -> MeasuredLog:
    """Topics of their own on the brokers at `bootstrap`; the stores go to `directory`, which is fresh.

    With `nodes`, so many processes share the partitions, and work is put in by the topics.
    """
    from provider_log.log.kafka import KafkaLog

    async def opened() -> Log:
        return await KafkaLog.open(bootstrap, settings=settings)

    app = f"bench-{Chance().random_bytes(_SUFFIX_BYTES).hex()}"

    @asynccontextmanager
    async def shared(workload: Workload) -> AsyncGenerator[Load]:
        async with running_nodes(bootstrap, app, directory, nodes):
            log = await opened()
            try:
                partitions = await placed(log, app, nodes)
                async with by_topics(log, app, partitions, workload) as load:
                    yield load
            finally:
                await log.close()

    alone = partial(in_process, lambda: LogProvider.kafka(bootstrap, directory, app=app, kafka=settings))
    return MeasuredLog(
        name="kafka",
        app=app,
        nodes=nodes,
        partitions=max(1, nodes * PARTITIONS_A_NODE),
        load=shared if nodes else alone,
        open_log=opened,
        open_bare=opened,
        slots=2,
    )
