"""How does one request reach one broker, once, and what is known when no answer comes?

aiokafka's own producer and consumer repeat requests by themselves, EndTxn among them: here a request is sent once.
What is used of aiokafka are its connection, its messages and its record batches; they are not public, so its version
is pinned exactly.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request

from engine.clock import Clock
from engine.runtime.doors import within
from provider_log.log.kafka.security import Credentials, refusal_in, was_closed
from provider_log.log.port import LogBroken

Answer = TypeVar("Answer")

# Below the ten minutes after which a broker closes a silent connection, maybe just when a request is on its way.
_IDLE_MS = 540_000

_CLOSE_MS = 1_000
_NEVER_MS = 3_600_000
"""aiokafka's own bound of a request; the one that counts is that of `ask`, which knows what a missing answer means."""


class Address(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int


class Unsent(Exception):
    """There was no connection: the broker has never seen the request."""


class Unanswered(Exception):
    """The request was sent and no answer came: the broker may have done what was asked, may do it later, or never."""


class Links:
    """Connections of one user, one to each broker it asks; a broker answers the requests of one in turn.

    Args:
        credentials: How to be let in.
        clock: The bound of every wait.
        answer_ms: How long to wait for a connection, and for an answer.
        closed: Told of `close`.
    """

    def __init__(
        self, credentials: Credentials, clock: Clock, answer_ms: int, closed: "Callable[[Links], None]"
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._answer_ms = answer_ms
        self._closed = closed
        self._is_closed = False
        self._connections: dict[Address, AIOKafkaConnection] = {}
        self._connecting: dict[Address, asyncio.Lock] = {}
        self._closing: set[asyncio.Future[None]] = set()  # TLS says goodbye, and waits for the broker's

    async def ask(self, address: Address, request: Request[Answer], longer_ms: int = 0) -> Answer:
        """Send `request` once and return its answer.

        Args:
            address: Of the broker.
            request: One of aiokafka's, in whichever version the broker speaks.
            longer_ms: How much longer than usual the broker may take, because it was told to wait.

        Raises:
            Unsent: No connection could be made.
            Unanswered: No answer came, in time or at all. The connection is given up.
            LogBroken: The broker does not let us in, and will not until a setting is another one.
        """
        connection = await self._connected(address)
        try:
            return await within(self._clock, connection.send(request), self._answer_ms + longer_ms)
        except (KafkaError, OSError, EOFError, TimeoutError) as error:
            self._give_up(connection)
            raise Unanswered(
                f"expected an answer of {address.host}:{address.port} to {type(request).__name__}, "
                f"but: {self._said(error)}"
            ) from error

    async def close(self) -> None:
        """Close every connection; what was asked and not answered stays so. Never raises."""
        self._is_closed = True
        self._closed(self)
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            self._give_up(connection)
        if self._closing:
            with contextlib.suppress(TimeoutError):
                await within(self._clock, asyncio.wait(self._closing), _CLOSE_MS)

    async def _connected(self, address: Address) -> AIOKafkaConnection:
        async with self._connecting.setdefault(address, asyncio.Lock()):
            if self._is_closed:
                raise Unsent(f"expected open connections, but that to {address.host}:{address.port} was closed")
            known = self._connections.get(address)
            if known is not None:
                if known.connected():
                    return known
                self._give_up(known)  # the broker has closed it, which it does not notice by itself
            connection = AIOKafkaConnection(
                address.host,
                address.port,
                request_timeout_ms=_NEVER_MS,
                max_idle_ms=_IDLE_MS,
                **self._credentials,
            )
            try:
                await within(self._clock, connection.connect(), self._answer_ms)
            except (KafkaError, OSError, EOFError, TimeoutError) as error:
                if isinstance(error, KafkaError):  # else there is nothing to close, and nobody would say that it is
                    self._give_up(connection)
                if (refusal := refusal_in(error)) is not None:
                    protocol = self._credentials["security_protocol"]
                    raise LogBroken(
                        f"expected {address.host}:{address.port} to let us in with security_protocol={protocol}, "
                        f"but {refusal}"
                    ) from error
                raise Unsent(f"expected a broker at {address.host}:{address.port}, but: {self._said(error)}") from error
            except BaseException:
                self._give_up(connection)  # whoever waited for it is gone
                raise
            if self._is_closed:  # while it was made: nobody would close it
                self._give_up(connection)
                raise Unsent(f"expected open connections, but that to {address.host}:{address.port} was closed")
            self._connections[address] = connection
            return connection

    def _give_up(self, connection: AIOKafkaConnection) -> None:
        closing = connection.close()
        if closing is not None and not closing.done():
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _said(self, error: BaseException) -> str:
        if was_closed(error):
            return (
                "it closed the connection, as brokers do that go down, or whose listener speaks another "
                f"security_protocol than {self._credentials['security_protocol']}"
            )
        return str(error) or type(error).__name__
