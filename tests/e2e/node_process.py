"""What is a node to these tests? A process of the installed command, its directory, and what it says on stderr."""

import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import anyio
import anyio.to_thread
import httpx
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from engine import Client
from provider_log.server.remote import RemoteProvider

T = TypeVar("T")

TURNLOG = Path(sys.executable).with_name("turnlog")
PATIENCE_S = 30
"""How long anything here may take before it counts as stuck; nothing waits that long when all is well."""

SHOP = '''
import os
from pathlib import Path

from engine import OrchestrationContext, Registry, activity, orchestration

HERE = Path(__file__).parent


@activity
def weigh(item: str) -> str:
    """Says that it began, then waits until somebody says that it may end."""
    with (HERE / "runs").open("a") as runs:
        runs.write(item + "\\n")
    with (HERE / "began").open("w") as began:
        began.write(item)
    with (HERE / "release").open() as release:
        return release.read()


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@activity
def refuse(item: str) -> None:
    raise LookupError(f"no {item} left")


@activity
async def hash_seed() -> str:
    return os.environ["PYTHONHASHSEED"]


@orchestration
async def welcome(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(greet, name)


@orchestration
async def ship(ctx: OrchestrationContext, item: str) -> str:
    return await ctx.schedule_activity(weigh, item)


@orchestration
async def fails(ctx: OrchestrationContext, item: str) -> None:
    await ctx.schedule_activity(refuse, item)


@orchestration
async def approval(ctx: OrchestrationContext) -> object:
    return await ctx.wait_event("decision")


@orchestration
async def seed(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity(hash_seed)


registry = Registry(orchestrations=[welcome, ship, fails, approval, seed], activities=[greet, weigh, refuse, hash_seed])
'''


class Ran(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


class Node(NamedTuple):
    """A node that runs."""

    process: Process
    lines: BufferedByteReceiveStream
    directory: Path
    url: str
    client: Client

    async def says(self, part: str) -> str:
        """The next line on stderr with `part` in it."""
        return await next_line(self.lines, part)

    async def turnlog(self, *arguments: str) -> Ran:
        """A command that asks this node."""
        return await turnlog(*arguments, directory=self.directory, environment={"TURNLOG_URL": self.url})

    async def ends(self) -> int:
        """Its exit code."""
        with anyio.fail_after(PATIENCE_S):
            return await self.process.wait()

    async def weighs(self) -> str:
        """The item that `weigh` begins with, as soon as it does."""
        return await _in_thread((self.directory / "began").read_text)

    async def may_end(self, text: str) -> None:
        """Let `weigh` return `text`."""
        await _in_thread(lambda: (self.directory / "release").write_text(text))

    @property
    def runs(self) -> list[str]:
        """What `weigh` was run for, over all lives of the node."""
        return (self.directory / "runs").read_text().split()


async def _in_thread(function: Callable[[], T]) -> T:
    """Pipes block until both ends are open; a test that gives up leaves the thread behind."""
    with anyio.fail_after(PATIENCE_S):
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)


def make_shop(directory: Path) -> None:
    """The user's code, and two pipes to hold an activity where a test wants it."""
    (directory / "shop.py").write_text(SHOP)
    for name in ("began", "release"):
        os.mkfifo(directory / name)


def clean_environment() -> dict[str, str]:
    """This process's, without what would reach the settings or the hash seed of a node."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURNLOG_") and name != "PYTHONHASHSEED"
    }


async def turnlog(
    *arguments: str, directory: Path, environment: Mapping[str, str] | None = None, patience_s: float = PATIENCE_S
) -> Ran:
    """Run the command in `directory` until it ends."""
    with anyio.fail_after(patience_s):
        ran = await anyio.run_process(
            [TURNLOG, *arguments],
            cwd=directory,
            env={**clean_environment(), **(environment or {})},
            check=False,
        )
    return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


@asynccontextmanager
async def running(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[tuple[Process, BufferedByteReceiveStream]]:
    """The command and its stderr while it runs; killed on the way out."""
    process = await anyio.open_process(
        [TURNLOG, *arguments], cwd=directory, env={**clean_environment(), **(environment or {})}
    )
    assert process.stderr is not None
    try:
        yield process, BufferedByteReceiveStream(process.stderr)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


@asynccontextmanager
async def running_node(directory: Path, *arguments: str, **environment: str) -> AsyncGenerator[Node]:
    """A node that serves the shop in `directory`, ready."""
    command = ("node", "--app-module", "shop:registry", "--listen", "127.0.0.1:0", *arguments)
    async with running(command, directory, environment) as (process, lines):
        ready = await next_line(lines, "ready at ")
        found = re.search(r"http://[^:]+:\d+", ready)
        assert found is not None, ready
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(found[0] + "/readyz")).json() == {"ready": True}
            token = environment.get("TURNLOG_TOKEN")
            bearer = {} if token is None else {"authorization": f"Bearer {token}"}
            page = await http.get(found[0] + "/metrics", headers=bearer)
            assert "\nturnlog_provider_errors_total 0\n" in page.text
        async with RemoteProvider(found[0]) as remote:
            yield Node(process, lines, directory, found[0], Client(remote, admin=remote))


async def next_line(lines: BufferedByteReceiveStream, part: str) -> str:
    """The next line with `part` in it; an error with all that was said before the end if there is none."""
    said: list[str] = []
    try:
        with anyio.fail_after(PATIENCE_S):
            while True:
                line = (await lines.receive_until(b"\n", 65_536)).decode()
                said.append(line)
                if part in line:
                    return line
    except (anyio.EndOfStream, anyio.IncompleteRead, TimeoutError):
        raise AssertionError(f"expected a line with {part!r}, but the node said: {''.join(said)}") from None
