"""How does a command open the log it was told about? One door, for those that look and those that prepare Kafka."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import UsageError
from provider_log.cli.settings import KAFKA, Settings
from provider_log.log.port import LogView

if TYPE_CHECKING:
    from provider_log.log.kafka import KafkaLog

App = Annotated[
    str | None, typer.Option("--app", metavar="NAME", help="Whose data it is. [default: turnlog]", show_default=False)
]
LogName = Annotated[
    str | None,
    typer.Option("--log", metavar="LOG", help="embedded or kafka. [default: embedded]", show_default=False),
]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap", metavar="HOST:PORT,…", help="Brokers to begin with; else TURNLOG_BOOTSTRAP.", show_default=False
    ),
]


@asynccontextmanager
async def open_log(settings: Settings) -> AsyncGenerator[LogView]:
    """The log of `settings` (`Resolved.for_log`), to read: an embedded one as it is now, beside a running node too.

    Raises:
        LogError: It cannot be opened.
    """
    if settings.log == KAFKA:
        async with open_kafka(settings) as log:
            yield log
        return
    from provider_log.log.embedded import SnapshotView

    snapshot = SnapshotView(Path(settings.data) / "log")
    try:
        yield snapshot
    finally:
        await snapshot.close()


@asynccontextmanager
async def open_kafka(settings: Settings, replication_factor: int | None = None) -> "AsyncGenerator[KafkaLog]":
    """The log of `settings` (`Resolved.for_log`), which is on Kafka.

    Raises:
        UsageError: What lets one in is not such.
        LogUnavailable: No broker lets us in.
    """
    # Only who uses Kafka loads its client.
    from provider_log.log.kafka import KafkaLog

    assert settings.bootstrap is not None, "`for_log` says that there are brokers"
    log = await KafkaLog.open(settings.bootstrap, settings=settings.client(), replication_factor=replication_factor)
    try:
        yield log
    finally:
        await log.close()


def stores_of(settings: Settings) -> Path:
    """Where the stores of this log are, as far as they are here.

    Raises:
        UsageError: The directory is that of another log or application.
    """
    root = Path(settings.data)
    if settings.log == KAFKA:
        claim = root / "application"
        owner = claim.read_text().strip() if claim.exists() else settings.app
        if owner != settings.app or (root / "log").exists():
            of = f"application {owner!r}" if owner != settings.app else "an embedded log"
            raise UsageError(
                f"expected stores of application {settings.app!r} on Kafka in {root}, or none, but it is the data of "
                f"{of}; --data names another directory"
            )
    return root / "store"
