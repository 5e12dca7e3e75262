"""What is one service of the fleet? A process of its own that answers GET /health on 127.0.0.1.

    python service.py NAME PORT SIZE FAULT HOME

It is a daemon, so it lives on when the engine is killed. For all its life it holds the lock of its pid file: however
often a name is started, and by whom, at most one process has the lock, and the others leave. A lock cannot be left
behind: it goes with the process.
"""

import fcntl
import itertools
import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WARM_UP_S = 0.35
ANSWERS_MAX = 10
"""How often a service with the fault "dies" answers before it does. No time: while no node looks, nothing happens."""


def main(name: str, port: str, size: str, fault: str, home: str) -> None:
    """Become the process of `name`, or return if there is one."""
    with Path(home, f"{name}.pid").open("a") as pid_file:
        if not lock(pid_file.fileno()):
            return
        pid_file.truncate(0)
        # The daemon inherits the lock. Its parent writes the pid, so that it is there once the parent has ended.
        if daemon := os.fork():
            pid_file.write(str(daemon))
            return
        with Path(home, f"{name}.lives").open("a") as lives:
            lives.write(f"{os.getpid()}\n")
        time.sleep(int(size) * WARM_UP_S)
        if fault == "never listens":
            signal.pause()
        server = ThreadingHTTPServer(
            ("127.0.0.1", int(port)), answers_for(name, ANSWERS_MAX if fault == "dies" else None)
        )
        server.serve_forever()


def lock(file: int) -> bool:
    """Whether the lock could be had. Who only looks whether it is taken has it for a moment, too: try for longer."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def answers_for(name: str, answers_max: int | None) -> type[BaseHTTPRequestHandler]:
    """How `name` answers, and for how long, if not for ever."""
    numbers = itertools.count(1)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"service": name, "pid": os.getpid()}).encode()
            self.send_response(200 if self.path == "/health" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if next(numbers) == answers_max:
                os._exit(1)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nobody reads it."""

    return Answers


if __name__ == "__main__":
    main(*sys.argv[1:])
