"""What does the demo show? The fleet while it changes, and what became of it."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from plan import Watch

COLUMNS = 3  # with these widths, in a terminal of 80
NAME_CHARS = 12
STATE_CHARS = 10
COLOURS = {
    "untouched": "dim",
    "starting": "yellow",
    "undoing": "magenta",
    "failed": "red",
    "ready": "green",
    "healthy": "green",
    "missed": "magenta",
    "restarting": "magenta",
    "deleting": "yellow",
    "deleted": "dim",
}


class Row(NamedTuple):
    """What happened to one service.

    Attributes:
        at_kill: Its stage when the engine was killed.
        became: What provisioning came to.
        lives: How many processes it had, one after the other.
        watched: What its watch saw; None if there was nothing to watch.
    """

    name: str
    at_kill: str
    became: str
    port: int
    lives: int
    watched: Watch | None


class Screen:
    """Lines that stay, above a picture of the fleet that changes."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self.console = console
        self._names = names
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=10, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, *parts: str | tuple[str, str]) -> None:
        """A line with the seconds since the beginning; a part may have a style."""
        seconds = f"{time.monotonic() - self._began:5.1f} s  "
        self.console.print(Text.assemble((seconds, "dim"), *parts), soft_wrap=True)

    def show(self, states: Mapping[str, str]) -> None:
        """The fleet as it is; a service that is not in `states` is untouched."""
        grid = Table.grid(padding=(0, 1, 0, 0))
        cells = [_cell(name, states.get(name, "untouched")) for name in self._names]
        for first in range(0, len(cells), COLUMNS):
            grid.add_row(*cells[first : first + COLUMNS])
        self._live.update(Group(Text(), grid, Text()))


def _cell(name: str, state: str) -> Text:
    colour = COLOURS.get(state.partition(" ")[0], "")
    return Text.assemble(("● ", colour), f"{name:{NAME_CHARS}} ", (f"{state:{STATE_CHARS}}", colour))


def table(rows: Sequence[Row]) -> Table:
    """What happened to each service."""
    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("service", "at SIGKILL", "became"):
        result.add_column(heading, no_wrap=True)
    for heading in ("port", "lives", "checks", "restarts"):
        result.add_column(heading, justify="right")
    result.add_column("in the end")
    for row in rows:
        restarts = row.watched.restarts if row.watched else 0
        result.add_row(
            row.name,
            Text(row.at_kill, COLOURS[row.at_kill]),
            Text(row.became, COLOURS[row.became]),
            str(row.port or ""),
            str(row.lives),
            str(row.watched.checks) if row.watched else "",
            str(restarts or ""),
            "deleted" if row.watched else "undone",
            style="bold" if row.lives > 1 or row.watched is None else "",
        )
    return result
