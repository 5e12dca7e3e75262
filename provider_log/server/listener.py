"""How does a node listen? A bound socket, and uvicorn as one more task of the node's loop."""

import contextlib
import socket
from collections.abc import AsyncGenerator, Generator

import anyio
import uvicorn

from engine.errors import UsageError
from provider_log.server.address import Address, is_loopback
from provider_log.server.app import create_app
from provider_log.server.asking import Measure, Served

KEEP_ALIVE_S = 30
FINISH_S = 5
"""How long requests may take to end once the node stops; long polls end at once."""


def bind(address: Address, *, token: str | None) -> socket.socket:
    """A socket that listens at `address`.

    Raises:
        UsageError: It is not loopback and there is no token, or it cannot be had.
    """
    if token is None and not is_loopback(address.host):
        raise UsageError(
            f"expected a token for a node that listens on {address.host}, where others reach it, but there is none; "
            "set TURNLOG_TOKEN, or listen on 127.0.0.1"
        )
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            # From here on callers queue up: who connects while the node restores is answered, not refused.
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"expected to listen on {address.host}:{address.port}, but {(error.strerror or str(error)).lower()}; "
            "is another node running? --listen takes another address"
        ) from None
    return listener


def address_of(listener: socket.socket) -> Address:
    """Where `listener` listens, with the port it was given."""
    host, port = listener.getsockname()[:2]
    return Address(str(host), int(port))


class _Server(uvicorn.Server):
    """Signals belong to the node: it drains before it stops answering."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    served: Served,
    listener: socket.socket,
    *,
    here: Served | None = None,
    token: str | None = None,
    measure: Measure | None = None,
) -> AsyncGenerator[None]:
    """Answers requests while inside; on the way out ends long polls, finishes the rest, and closes `listener`."""
    closing = anyio.Event()
    app = create_app(served, here=here, token=token, closing=closing, measure=measure)
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            lifespan="off",
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=FINISH_S,
        )
    )
    with listener:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            try:
                yield
            finally:
                closing.set()
                server.should_exit = True
