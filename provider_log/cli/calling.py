"""How does a command ask a node? One connection, one answer, printed for people or for programs."""

import enum
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import msgspec
import typer

from engine.client import Client, require_completed
from engine.errors import InstanceNotFound, UsageError, WaitTimedOut
from engine.model.status import STANDSTILL
from engine.model.views import InstanceInfo
from provider_log.cli.durations import duration
from provider_log.cli.settings import Resolved, resolve
from provider_log.server import wire
from provider_log.server.remote import RemoteProvider

T = TypeVar("T")


class Reuse(enum.Enum):
    """The choices of `--if-exists`."""

    IGNORE = "ignore"
    REFUSE = "refuse"
    RESTART_ENDED = "restart_ended"


def reuse(text: str) -> Reuse:
    """The choice that `text` names; a hyphen stands for an underscore.

    Raises:
        typer.BadParameter: It names none.
    """
    try:
        return Reuse(text.replace("-", "_"))
    except ValueError:
        choices = ", ".join(each.value for each in Reuse)
        raise typer.BadParameter(f"expected one of {choices}, but it is {text!r}") from None


APPEARS_S = 1.0
"""An instance shows up with its first turn; a command that follows a start waits that long for it."""

PUT_OFF = "; --not-begun is for one whose start is put off"
"""What the commands say that reach an instance before it begins."""

Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where the node answers; else TURNLOG_URL.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
InstanceId = Annotated[str, typer.Argument(metavar="ID", help="Id of the instance.", show_default=False)]
Data = Annotated[
    str | None, typer.Argument(metavar="[JSON]", help="JSON, @FILE, or - for standard input.", show_default=False)
]
MessageId = Annotated[
    str | None,
    typer.Option(
        "--message-id", metavar="ID", help="One per logical call: a second one with it is dropped.", show_default=False
    ),
]
Delay = Annotated[
    timedelta | None,
    typer.Option("--delay", metavar="10s", parser=duration, help="Begin so much later.", show_default=False),
]
Deadline = Annotated[
    timedelta | None,
    typer.Option("--deadline", metavar="10m", parser=duration, help="End it when it takes longer.", show_default=False),
]
NotBegun = Annotated[
    bool, typer.Option("--not-begun", help="Its start is put off: do not ask whether it exists, it need not yet.")
]
IfExists = Annotated[
    Reuse | None,
    typer.Option(
        "--if-exists",
        metavar="WHAT",
        parser=reuse,
        help="Where the instance exists: ignore, refuse, or restart_ended, which lets one that has ended begin anew.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, metavar="SECONDS", help="Give up after.", show_default=False)
]


class Node:
    """A connection to a node: the client, and the provider under it."""

    def __init__(self, provider: RemoteProvider) -> None:
        self.provider = provider
        self.client = Client(provider)

    async def existing(self, instance: str, *, hint: str = "") -> InstanceInfo:
        """The state of `instance`, which may have been started this moment; `hint` is said where it is not there.

        Raises:
            InstanceNotFound: There is none, also not after `APPEARS_S`.
        """
        try:
            return await self.client.status(instance)
        except InstanceNotFound:
            with anyio.move_on_after(APPEARS_S):
                return await self.provider.changed(instance, 0)
            raise InstanceNotFound(
                f"expected an instance {instance!r}, but there is none; `turnlog list` shows those there are, and "
                f"one that was started shows up once its node has the orchestration registered{hint}"
            ) from None

    async def addressed(self, instance: str, *, not_begun: bool) -> InstanceInfo | None:
        """The state of `instance`; None, and nobody is asked, if it is said that its start is put off.

        Raises:
            InstanceNotFound: There is none.
        """
        return None if not_begun else await self.existing(instance, hint=PUT_OFF)

    async def ended(
        self, instance: str, timeout_s: float | None, *, absent: str = "is its orchestration registered?"
    ) -> InstanceInfo:
        """The state of `instance` once it has completed; `absent` is said where it has not begun in time.

        Raises:
            OrchestrationFailed: It failed or was cancelled.
            OrchestrationHeld: It is held, and so goes no further by itself.
            WaitTimedOut: It has not ended in time.
        """
        info: InstanceInfo | None = None
        with anyio.move_on_after(timeout_s):
            info = await self.provider.ended(instance)
        if info is None:
            info = await self.provider.get_instance_info(instance)
        if info is None or info.status not in STANDSTILL:
            seen = f"it is {info.status.value}" if info else f"it has not begun; {absent}"
            raise WaitTimedOut(f"expected {instance!r} to end within {timeout_s:g} s, but {seen}")
        require_completed(info)
        return info


def resolved(**flags: object | None) -> Resolved:
    """Settings from `flags` (None where not given), the environment, and the file in the working directory."""
    return resolve(flags, os.environ, Path.cwd())


def ask(url: str | None, question: Callable[[Node], Awaitable[T]]) -> T:
    """What `question` returns, asked of the node that `url`, the environment or the settings file name."""
    settings = resolved(url=url).settings

    async def asked() -> T:
        async with RemoteProvider(settings.url, token=settings.token) as provider:
            return await question(Node(provider))

    return anyio.run(asked)


def print_json(value: object) -> None:
    """One line of JSON on standard output: structs with their field names, payloads as they are."""
    typer.echo(wire.encode(value))


def note(text: str) -> None:
    """A line for people on standard error, so that standard output holds the answer alone."""
    typer.echo(text, err=True)


def value_of(text: str | None) -> object:
    """The value that an argument gives: JSON, `@file`, or `-` for standard input; None if there is none.

    Raises:
        UsageError: It is not JSON, or the file cannot be read.
    """
    if text is None:
        return None
    try:
        data = sys.stdin.buffer.read() if text == "-" else Path(text[1:]).read_bytes() if text[:1] == "@" else text
        return msgspec.json.decode(data)
    except OSError as error:
        raise UsageError(f"expected JSON in {text[1:]}, but it cannot be read: {error.strerror}") from None
    except wire.UNREADABLE as error:
        raise UsageError(f"expected JSON (text goes in quotes: '\"text\"'), but {text!r} is none: {error}") from None
