"""How does a node live? Listen, restore, work until asked to stop, drain, let go."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from socket import socket
from typing import TYPE_CHECKING, Self

import anyio
from rich.progress import TaskID

from engine.errors import UsageError
from engine.observe import log_to, logger
from engine.registry import Registry
from engine.replay.nets import install_audit_net
from engine.runtime.host import Engine, Stage
from engine.runtime.options import EngineOptions
from provider_log.cli import show
from provider_log.cli.calling import note
from provider_log.cli.collector import tune_collector
from provider_log.cli.settings import KAFKA, Settings
from provider_log.log_provider import LogProvider
from provider_log.options import SLOTS_ON_KAFKA, LogProviderOptions
from provider_log.server.address import parse_address
from provider_log.server.listener import address_of, bind, serving

if TYPE_CHECKING:
    from provider_log.cluster.provider import ClusterProvider

log = logger("node")

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
EVERYWHERE = {"0.0.0.0", "::"}
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """What the signals of an operator mean: the first drains, the second stops; before there is work, each ends it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._engine: Engine | None = None
        self._drain_ms = 0
        self._hand_over: Callable[[], None] = _nobody_else

    def works_for(self, engine: Engine, drain_ms: int, hand_over: Callable[[], None]) -> None:
        """From here on there is work to drain, for at most `drain_ms`, and partitions to let go of meanwhile."""
        self._engine = engine
        self._drain_ms = drain_ms
        self._hand_over = hand_over

    def __call__(self) -> None:
        if self._engine is None:
            self.scope.cancel()
            return
        stage = self._engine.stage
        self._engine.request_stop()
        match stage:
            case Stage.NEW | Stage.RUNNING:
                self._hand_over()
                note(
                    f"draining: what has begun may end, for at most {self._drain_ms / 1000:g} s; "
                    "once more stops at once"
                )
            case Stage.DRAINING:
                note("stopping at once: what has begun is done again after the next start")
            case Stage.STOPPING | Stage.STOPPED:
                self.scope.cancel()

    @contextmanager
    def on_signals(self) -> Generator[Self]:
        """Inside, the signals come here."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self)
        try:
            with self.scope:
                yield self
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)


class RestoreProgress:
    """A bar a partition, on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._bars = show.progress()
        self._bar_of: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Everything is restored: leave the terminal to others."""
        self._bars.stop()

    def __call__(self, partition: int, reached: int, end: int) -> None:
        if partition not in self._bar_of:
            self._bar_of[partition] = self._bars.add_task(f"restoring partition {partition}", total=end)
        self._bars.update(self._bar_of[partition], completed=reached, total=end)


def _nobody_else() -> None:
    pass


async def run(settings: Settings, registry: Registry, *, accept_loss: bool = False) -> None:
    """Be a node until it is asked to stop.

    Raises:
        UsageError: The address cannot be had.
        ProviderError: What ended the node.
        LogError: The log cannot be opened.
    """
    for name in ("uvicorn", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)  # what they say below that, the node says better
    log_to(sys.stderr, level=LEVELS[settings.log_level], json_lines=settings.log_json)
    install_audit_net()
    listener = bind(parse_address(settings.listen), token=settings.token)
    with listener, Stop().on_signals() as stop, RestoreProgress() as progress:
        if settings.log == KAFKA:
            await _share(settings, registry, listener, stop, progress)
        else:
            await _be_alone(settings, registry, listener, stop, progress, accept_loss=accept_loss)
    note("stopped")


def engine_options(settings: Settings) -> EngineOptions:
    """What the node's engine runs with.

    Raises:
        UsageError: See `Settings.served`; or the name of its sessions' holder is too long.
    """
    return EngineOptions(
        worker_tags=settings.served(), max_sessions=settings.max_sessions, worker_node_id=settings.worker_node_id
    )


async def _be_alone(
    settings: Settings,
    registry: Registry,
    listener: socket,
    stop: Stop,
    progress: RestoreProgress,
    *,
    accept_loss: bool,
) -> None:
    """Own every partition of an embedded log."""
    options = engine_options(settings)
    url = address_of(listener).url
    provider = LogProvider.embedded(
        settings.data,
        app=settings.app,
        partitions=settings.partitions,
        node=url,
        accept_loss=accept_loss,
        options=LogProviderOptions(topic_tags=settings.tags(), schema_registry=settings.schema_registry),
        progress=progress,
    )
    engine = Engine(provider, registry, options)
    log.info("listening at %s, restoring %s", url, settings.data)
    async with serving(provider, listener, token=settings.token, measure=engine.metrics), provider:
        progress.end()
        tune_collector()
        stop.works_for(engine, options.drain_ms, _nobody_else)
        say_ready(registry, settings, url, f"data in {settings.data}, partitions {provider.partitions}")
        await engine.run()


async def _share(
    settings: Settings, registry: Registry, listener: socket, stop: Stop, progress: RestoreProgress
) -> None:
    """Be one of the nodes that share the partitions of a log on Kafka."""
    from provider_log.cluster.kafka import cluster_on_kafka
    from provider_log.cluster.sharing import SharingOptions

    options = engine_options(settings)
    assert settings.bootstrap is not None, "`for_log` says that there are brokers"
    url = address_of(listener).url
    cluster = cluster_on_kafka(
        settings.bootstrap,
        settings.data,
        address=_advertised(settings, listener),
        app=settings.app,
        partitions=settings.partitions,
        kafka=settings.client(),
        token=settings.token,
        options=LogProviderOptions(
            slots_used=SLOTS_ON_KAFKA, topic_tags=settings.tags(), schema_registry=settings.schema_registry
        ),
        sharing=SharingOptions(session_ms=settings.session_ms),
        progress=progress,
    )
    engine = Engine(cluster.local, registry, options)
    log.info("listening at %s, joining the nodes of %s", url, settings.app)
    serves = serving(cluster, listener, here=cluster.local, token=settings.token, measure=engine.metrics)
    async with serves, cluster:
        tune_collector()
        stop.works_for(engine, options.drain_ms, cluster.hand_over)
        async with anyio.create_task_group() as group:
            group.start_soon(_say_when_ready, cluster, registry, settings, url)
            await engine.run()
            group.cancel_scope.cancel()


def _advertised(settings: Settings, listener: socket) -> str:
    """Where other nodes reach this one.

    Raises:
        UsageError: Nobody reaches a node at the address it listens on, and there is no other.
    """
    if settings.advertise is not None:
        return parse_address(settings.advertise).text
    address = address_of(listener)
    if address.host in EVERYWHERE:
        raise UsageError(
            f"expected --advertise HOST:PORT, where other nodes reach one that listens on {address.host}, "
            "but there is none"
        )
    return address.text


async def _say_when_ready(cluster: "ClusterProvider", registry: Registry, settings: Settings, url: str) -> None:
    await cluster.settled()
    here = ", ".join(str(number) for number in cluster.phases()) or "none"
    say_ready(registry, settings, url, f"stores in {settings.data}, {cluster.partitions} partitions, here {here}")


def say_ready(registry: Registry, settings: Settings, url: str, where: str) -> None:
    """Where it answers, what it serves, and what to do next, on standard error."""
    names = sorted({each.name for each in registry.orchestrations()})
    note(f"ready at {url}: application {settings.app}, {where}")
    note(f"serving {', '.join(names) or 'no orchestration'}; activities: {len(registry.activities())}")
    elsewhere = "" if url == Settings().url else f" --url {url}"
    note(f"next: turnlog start {_example(registry)}{elsewhere}    Ctrl-C drains, twice stops")


def _example(registry: Registry) -> str:
    """An orchestration that can be started, with a place for its input if it takes one."""
    first = min(registry.orchestrations(), key=lambda each: each.name, default=None)
    if first is None:
        return "NAME"
    return f"{first.name} '<JSON>'" if registry.orchestration(first.name, None).takes_input else first.name
