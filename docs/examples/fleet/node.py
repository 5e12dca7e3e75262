"""How do the demos run the engine? As processes of their own: `turnlog node`, which can be killed and started again."""

import signal
import subprocess
import sys
from pathlib import Path

import anyio

from engine.errors import Retryable, Unreachable
from provider_log.server.remote import RemoteProvider
from seen import Broken

COMMAND = str(Path(sys.executable).with_name("turnlog"))
READY_WITHIN_S = 60
STOPPED_WITHIN_S = 20


class Node:
    """One node after the other over the same data directory.

    Args:
        name: What it is called.
        port: Where it listens, on 127.0.0.1.
        data: What survives.
        log: File that gets what it says.
        flags: More of the command's.

    Attributes:
        app: Which release it runs from its next start on.
    """

    def __init__(self, name: str, port: int, data: Path, log: Path, *flags: str) -> None:
        self.name = name
        self.port = port
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self.app = "app:registry"
        self._options = ["--data", str(data), "--listen", f"127.0.0.1:{port}", *flags]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `ready` says when it answers."""
        with self._log.open("ab") as log:
            # In a session of its own: Ctrl-C is for the demo, which stops the node in its own time.
            command = [COMMAND, "node", "--app-module", self.app, *self._options]
            self._process = subprocess.Popen(
                command, cwd=Path(__file__).parent, stdout=log, stderr=log, start_new_session=True
            )

    async def ready(self, remote: RemoteProvider) -> None:
        """Return when it has restored what was there, and answers.

        Raises:
            Broken: It ended instead, or takes too long.
        """
        with anyio.move_on_after(READY_WITHIN_S):
            while self._process is not None and self._process.poll() is None:
                try:
                    await remote.node_info()
                    return
                except (Unreachable, Retryable):
                    await anyio.sleep(0.05)
        raise Broken(f"expected a node at {self.url}, but there is none. It said:\n{self._log.read_text()}")

    def kill(self) -> None:
        """SIGKILL: no time to finish or to write anything down. Nothing happens if it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int | None:
        """Ask it to finish what it began and end; its exit code."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOPPED_WITHIN_S)
