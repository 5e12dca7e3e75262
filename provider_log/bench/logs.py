"""On which log is a workload measured? Each as a node would use it, and bare, as a yardstick."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from engine.clock import SystemClock
from engine.runtime.doors import Chance
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
        provider: Makes the provider.
        open_log: Opens the log that the provider wrote, once it has let go.
        open_bare: Opens a log with nothing in it but what it is asked to create.
        slots: Transactional ids that a partition takes in turn, so the bare transactions do too.
    """

    name: str
    app: str
    provider: Callable[[], LogProvider]
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
        provider=lambda: LogProvider.embedded(directory / "data", app=app),
        open_log=lambda: opened(directory / "data" / "log"),
        open_bare=lambda: opened(directory / "bare"),
        slots=1,
    )


def kafka(bootstrap: str, directory: Path, settings: "ClientSettings | None" = None) -> MeasuredLog:
    """Topics of their own on the brokers at `bootstrap`; the stores go to `directory`, which is fresh."""
    from provider_log.log.kafka import KafkaLog

    async def opened() -> Log:
        return await KafkaLog.open(bootstrap, settings=settings)

    app = f"bench-{Chance().random_bytes(_SUFFIX_BYTES).hex()}"
    return MeasuredLog(
        name="kafka",
        app=app,
        provider=lambda: LogProvider.kafka(bootstrap, directory, app=app, kafka=settings),
        open_log=opened,
        open_bare=opened,
        slots=2,
    )
