"""How does a node live? Listen, restore, work until asked to stop, drain, let go."""

import asyncio
import logging
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

import anyio
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from engine.observe import log_to, logger
from engine.registry import Registry
from engine.replay.nets import install_audit_net
from engine.runtime.host import Engine, Stage
from provider_log.cli import show
from provider_log.cli.calling import note
from provider_log.cli.collector import tune_collector
from provider_log.cli.settings import Settings
from provider_log.log_provider import LogProvider
from provider_log.server.address import parse_address
from provider_log.server.listener import address_of, bind, serving

log = logger("node")

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """What the signals of an operator mean: the first drains, the second stops; before there is work, each ends it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self._engine: Engine | None = None

    def works_for(self, engine: Engine) -> None:
        """From here on there is work to drain."""
        self._engine = engine

    def __call__(self) -> None:
        if self._engine is None:
            self.scope.cancel()
            return
        stage = self._engine.stage
        self._engine.request_stop()
        match stage:
            case Stage.NEW | Stage.RUNNING:
                note("draining: what has begun may end; once more stops at once")
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
        self._bars = Progress(
            TextColumn("restoring partition {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=show.console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
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
            self._bar_of[partition] = self._bars.add_task(str(partition), total=end)
        self._bars.update(self._bar_of[partition], completed=reached, total=end)


async def run(settings: Settings, registry: Registry, *, accept_loss: bool = False) -> None:
    """Be a node until it is asked to stop.

    Raises:
        UsageError: The address cannot be had.
        ProviderError: What ended the node.
        LogError: The log cannot be opened.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # what it says below that, the node says better
    log_to(sys.stderr, level=LEVELS[settings.log_level], json_lines=settings.log_json)
    install_audit_net()
    listener = bind(parse_address(settings.listen), token=settings.token)
    url = address_of(listener).url
    with listener, Stop().on_signals() as stop, RestoreProgress() as progress:
        provider = LogProvider.embedded(
            settings.data,
            app=settings.app,
            partitions=settings.partitions,
            node=url,
            accept_loss=accept_loss,
            progress=progress,
        )
        log.info("listening at %s, restoring %s", url, settings.data)
        async with serving(provider, listener, token=settings.token), provider:
            progress.end()
            tune_collector()
            engine = Engine(provider, registry)
            stop.works_for(engine)
            _say_ready(registry, settings, url, provider.partitions)
            await engine.run()
    note("stopped")


def _say_ready(registry: Registry, settings: Settings, url: str, partitions: int) -> None:
    names = sorted({each.name for each in registry.orchestrations()})
    note(f"ready at {url}: application {settings.app}, data in {settings.data}, partitions {partitions}")
    note(f"serving {', '.join(names) or 'no orchestration'}; activities: {len(registry.activities())}")
    elsewhere = "" if url == Settings().url else f" --url {url}"
    note(f"next: turnlog start {names[0] if names else 'NAME'}{elsewhere}    Ctrl-C drains, twice stops")
