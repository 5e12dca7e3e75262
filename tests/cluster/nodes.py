"""What is a node of a cluster to these tests? A process of the installed command, with stores and a log of its own."""

import os
import signal
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process

from engine import Client
from engine.clock import SystemClock
from engine.errors import EngineError
from provider_log.server.remote import RemoteProvider
from tests.e2e.node_process import TURNLOG, Ran, clean_environment, turnlog

PATIENCE_S = 90
"""How long anything here may take before it counts as stuck."""

SESSION_MS = 6_000
"""So that a node that stands still is not waited for long: the least that brokers allow unless told otherwise."""

_LOOK_MS = 50


class ClusterNode:
    """One place for a node: its stores and its address stay when the process that lives there is another."""

    def __init__(self, cluster: "NodeCluster", number: int) -> None:
        self._cluster = cluster
        self._data = f"node-{number}"
        self._flags = cluster.node_flags
        self._log = cluster.directory / f"node-{number}.log"
        self._port = 0
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """A new process, ready: whatever is placed on it runs."""
        if not self._port:
            with anyio.fail_after(PATIENCE_S):
                self._port = await _free_port()
        with self._log.open("ab") as log:
            self._process = await anyio.open_process(
                [TURNLOG, "node", "--data", self._data, "--listen", self.url.removeprefix("http://"), *self._flags],
                cwd=self._cluster.directory,
                env={**clean_environment(), "TURNLOG_SESSION_MS": f"{SESSION_MS}", "PYTHONHASHSEED": "0"},
                stdin=None,
                stdout=log,
                stderr=log,
            )
        self._cluster.started(self.process)
        await self.until(self._is_ready, "is ready")

    async def _is_ready(self, remote: RemoteProvider) -> bool:
        assert self.process.returncode is None, self._log.read_text()
        phases = (await remote.node_info()).phases
        return bool(phases) and set(phases.values()) == {"running"}

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """Let it drain and hand over; its exit code."""
        self.signal(signal.SIGINT)
        with anyio.fail_after(PATIENCE_S):
            return await self.process.wait()

    async def until(self, holds: Callable[[RemoteProvider], Awaitable[bool]], what: str) -> None:
        """Return when the node says so; calls that it does not answer count as no."""
        clock = SystemClock()
        async with RemoteProvider(self.url) as remote:
            with anyio.move_on_after(PATIENCE_S):
                while True:
                    try:
                        if await holds(remote):
                            return
                    except EngineError:
                        pass
                    await clock.sleep_ms(_LOOK_MS)
        raise AssertionError(f"expected that {self._data} {what}, but: {self._log.read_text()[-4_000:]}")

    async def owns(self, count: int) -> None:
        """Return when it runs so many partitions."""

        async def as_many(remote: RemoteProvider) -> bool:
            phases = (await remote.node_info()).phases
            return len(phases) == count and set(phases.values()) == {"running"}

        await self.until(as_many, f"runs {count} partitions")

    async def turnlog(self, *arguments: str, patience_s: float = PATIENCE_S) -> Ran:
        """A command that asks this node."""
        return await turnlog(
            *arguments,
            directory=self._cluster.directory,
            environment={"TURNLOG_URL": self.url},
            patience_s=patience_s,
        )


class NodeCluster:
    """Nodes of one application on one broker, in one directory."""

    def __init__(self, bootstrap: str, directory: Path, code: str, partitions: int) -> None:
        self.bootstrap = bootstrap
        self.directory = directory
        self.partitions = partitions
        self.app = f"a{uuid.uuid4().hex}"
        self.log = ("--log", "kafka", "--bootstrap", bootstrap, "--app", self.app)
        self.node_flags = (
            *("--app-module", "work:registry", *self.log, "--partitions", f"{partitions}"),
            *("--log-level", "info"),
        )
        self._processes: list[Process] = []
        (directory / "work.py").write_text(code)

    def node(self, number: int) -> ClusterNode:
        return ClusterNode(self, number)

    def started(self, process: Process) -> None:
        self._processes.append(process)

    async def aclose(self) -> None:
        """No process is left, however the test ended."""
        for process in self._processes:
            if process.returncode is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


@asynccontextmanager
async def cluster_of(bootstrap: str, directory: Path, code: str, partitions: int) -> AsyncGenerator[NodeCluster]:
    cluster = NodeCluster(bootstrap, directory, code, partitions)
    try:
        yield cluster
    finally:
        await cluster.aclose()


@asynccontextmanager
async def client_of(node: ClusterNode) -> AsyncGenerator[Client]:
    async with AsyncExitStack() as stack:
        remote = await stack.enter_async_context(RemoteProvider(node.url))
        yield Client(remote, admin=remote)


async def _free_port() -> int:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        return int(listener.extra(anyio.abc.SocketAttribute.local_port))
