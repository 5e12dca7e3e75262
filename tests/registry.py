"""What is a schema registry, as far as anybody asks it here? `GET /schemas/ids/{id}`, in a thread of the test."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeRegistry:
    """Answers on one port whenever it runs.

    Attributes:
        answers: By path, a status and a body; what is not there is not known.
        asked: Every path that was asked for.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        with self.running() as port:  # it is nobody's afterwards, and ours again when we run
            self._port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def register(self, number: int, schema: str, **more: str) -> None:
        self.answers[f"/schemas/ids/{number}"] = (200, json.dumps({"schema": schema, **more}).encode())

    @contextmanager
    def running(self) -> Generator[int]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the library's name
                registry.asked.append(self.path)
                status, body = registry.answers.get(self.path, (404, b'{"error_code": 40403}'))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # likewise
                pass

        server = ThreadingHTTPServer(("127.0.0.1", getattr(self, "_port", 0)), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
