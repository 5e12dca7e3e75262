"""What was sent and could not be used, and how does it get another chance? `turnlog dead-letter`."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from msgspec import Struct
from rich import box
from rich.table import Table

from engine.clock import SystemClock
from engine.errors import UsageError
from provider_log.cli import show
from provider_log.cli.audit_commands import Data
from provider_log.cli.calling import AsJson, print_json, resolved
from provider_log.cli.logs import App, Bootstrap, LogName, open_kafka, open_log
from provider_log.cli.settings import KAFKA, Settings
from provider_log.log.port import Log

if TYPE_CHECKING:
    from provider_log.audit.dead_letters import StoredLetter

dead_letter = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Input that could not be used.")

PLACE = re.compile(r"(\d{1,6})/(\d{1,18})")


class Source(Struct, frozen=True):
    """Where a record was read."""

    topic: str
    partition: int
    offset: int


class Listed(Struct, frozen=True, kw_only=True):
    """A letter as `list` answers it.

    Attributes:
        letter: What names it, `partition/offset`.
        at_ms, source, key: None if the letter cannot be read; then the reason is why.
        size: Of the value in bytes; None if it was not kept.
    """

    letter: str
    reason: str
    at_ms: int | None = None
    source: Source | None = None
    key: str | None = None
    size: int | None = None


class SentAgain(Struct, frozen=True, kw_only=True):
    """What became of a letter."""

    letter: str
    sent_to: Source


@dead_letter.command("list")
def list_letters(
    data: Data = None, app: App = None, log: LogName = None, bootstrap: Bootstrap = None, as_json: AsJson = False
) -> None:
    """Every letter, with where it came from and why it could not be used; nodes running or not."""
    settings = resolved(data=data, app=app, log=log, bootstrap=bootstrap).for_log()
    found = anyio.run(_listed, settings)
    if as_json:
        print_json(found)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("letter", "when", "from", "key", "bytes", "reason"):
        table.add_column(heading, overflow="fold")
    now_ms = SystemClock().now_ms()
    for one in found:
        when = "" if one.at_ms is None else show.ago(one.at_ms, now_ms)
        source = "" if one.source is None else f"{one.source.topic}/{one.source.partition}/{one.source.offset}"
        table.add_row(one.letter, when, source, one.key or "", "" if one.size is None else str(one.size), one.reason)
    show.console().print(table)


@dead_letter.command("retry")
def retry(
    letters: Annotated[
        list[str], typer.Argument(metavar="PARTITION/OFFSET…", help="Which, as `list` names them.", show_default=False)
    ],
    data: Data = None,
    app: App = None,
    log: LogName = None,
    bootstrap: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send letters again, to where they came from; one sent twice counts once. An embedded log's node must be down."""
    settings = resolved(data=data, app=app, log=log, bootstrap=bootstrap).for_log()
    sent = anyio.run(_sent_again, settings, [_place(text) for text in letters])
    if as_json:
        print_json(sent)
        return
    for one in sent:
        to = one.sent_to
        show.console().print(f"{one.letter} sent again: {to.topic}/{to.partition}/{to.offset}", soft_wrap=True)


def _place(text: str) -> tuple[int, int]:
    match = PLACE.fullmatch(text)
    if match is None:
        raise UsageError(f"expected a letter as PARTITION/OFFSET, like 0/12, but it is {text!r}")
    return int(match[1]), int(match[2])


async def _listed(settings: Settings) -> list[Listed]:
    from provider_log.audit.dead_letters import read_letters

    async with open_log(settings) as log, aclosing(read_letters(log, settings.app)) as letters:
        return [_as_listed(stored) async for stored in letters]


def _as_listed(stored: "StoredLetter") -> Listed:
    place, letter = f"{stored.partition}/{stored.offset}", stored.letter
    if letter is None:
        return Listed(letter=place, reason=stored.problem)
    return Listed(
        letter=place,
        reason=letter.reason,
        at_ms=letter.at_ms,
        source=Source(letter.topic, letter.partition, letter.offset),
        key=None if letter.key is None else letter.key.decode(errors="replace"),
        size=None if letter.value is None else len(letter.value),
    )


async def _sent_again(settings: Settings, places: Sequence[tuple[int, int]]) -> list[SentAgain]:
    from provider_log.audit.dead_letters import letter_at, send_again

    async with open_log(settings) as log:  # all of them are looked up before the first one is sent
        letters = [await letter_at(log, settings.app, *place) for place in places]
    sent: list[SentAgain] = []
    async with _open_to_append(settings) as log:
        for stored in letters:
            offset = await send_again(log, stored)
            assert stored.letter is not None, "what cannot be read is not sent"
            to = Source(stored.letter.topic, stored.letter.partition, offset)
            sent.append(SentAgain(letter=f"{stored.partition}/{stored.offset}", sent_to=to))
    return sent


@asynccontextmanager
async def _open_to_append(settings: Settings) -> AsyncGenerator[Log]:
    if settings.log == KAFKA:
        async with open_kafka(settings) as log:
            yield log
        return
    from provider_log.log.embedded import EmbeddedLog

    log = await EmbeddedLog.open(Path(settings.data) / "log", clock=SystemClock())
    try:
        yield log
    finally:
        await log.close()
