"""What lies between a log and its broker? A proxy that knows requests by name and loses what a test tells it to."""

import asyncio
import io
import struct
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from enum import Enum, IntEnum, auto

from aiokafka.protocol.coordination import FindCoordinatorResponse_v1
from aiokafka.protocol.metadata import MetadataResponse_v5


class Api(IntEnum):
    """Requests by Kafka's numbers."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    FIND_COORDINATOR = 10
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS = 24
    END_TXN = 26


_TRANSACTIONAL = (Api.PRODUCE, Api.INIT_PRODUCER_ID, Api.ADD_PARTITIONS, Api.END_TXN)
"""Requests whose first field is a transactional id."""


class Lose(Enum):
    """What becomes of one request; after all but SILENT its connection is cut."""

    REQUEST = auto()  # the broker never sees it
    REPLY = auto()  # the broker does it
    SILENT = auto()  # the broker does it, and nobody says so: the connection stays
    LATE = auto()  # the broker sees it when `Proxy.deliver` is called


class Proxy:
    """One broker seen through a proxy: it names the proxy wherever it would name itself.

    Attributes:
        seen: How many requests of each kind came.
        frozen: Whether `freeze_at` has happened.
        delays: Seconds that requests of a kind for a transactional id wait, and all behind them on their connection.
    """

    def __init__(self, broker: str) -> None:
        self._broker = broker
        self._faults: dict[int, list[Lose | None]] = {}
        self._late: list[tuple[asyncio.StreamWriter, bytes]] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._freeze_at: tuple[int, str] | None = None
        self.frozen = asyncio.Event()
        self.seen: Counter[int] = Counter()
        self.delays: dict[tuple[int, str], float] = {}
        self.host, self.port = "127.0.0.1", 0

    @property
    def bootstrap(self) -> str:
        return f"{self.host}:{self.port}"

    def lose(self, api: Api, *what: Lose | None) -> None:
        """Let `what` happen to the next requests of a kind, one each; None is nothing."""
        self._faults.setdefault(api, []).extend(what)

    def spare(self, api: Api) -> bool:
        """Take back what has not happened yet to requests of a kind; whether there was something."""
        return bool(self._faults.pop(api, []))

    def freeze_at(self, api: Api, transactional_id: str) -> None:
        """From the next such request on let nothing pass in either direction, as if the process behind were stopped."""
        self._freeze_at = (api, transactional_id)

    def thaw(self) -> None:
        """Let everything pass that waits."""
        self._flowing.set()

    def cut(self) -> None:
        """Cut every connection now."""
        for writer in self._writers:
            writer.close()

    async def reached(self, api: Api, count: int) -> None:
        """Return when `count` requests of a kind have come in all."""
        while self.seen[api] < count:
            self._came.clear()
            await self._came.wait()

    async def deliver(self) -> None:
        """Let late requests arrive now."""
        for writer, frame in self._late:
            writer.write(frame)
            await writer.drain()
        self._late.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        host, port = self._broker.rsplit(":", 1)
        broker_reader, broker_writer = await asyncio.open_connection(host, int(port))
        self._writers |= {writer, broker_writer}
        pending: list[tuple[int, Lose | None]] = []
        ways = {
            asyncio.ensure_future(self._requests(reader, broker_writer, pending)),
            asyncio.ensure_future(self._replies(broker_reader, writer, pending)),
        }
        self._tasks |= ways
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        if not any(late is broker_writer for late, _ in self._late):
            broker_writer.close()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        broker: asyncio.StreamWriter,
        pending: list[tuple[int, Lose | None]],
    ) -> None:
        with suppress(OSError, EOFError):
            while True:
                frame = await _frame(reader)
                (api,) = struct.unpack_from(">h", frame, 4)
                self.seen[api] += 1
                self._came.set()
                if api in _TRANSACTIONAL:
                    name = _transactional_id(frame)
                    if self._freeze_at == (api, name):
                        self._freeze_at = None
                        self._flowing.clear()
                        self.frozen.set()
                    await asyncio.sleep(self.delays.get((api, name), 0))
                await self._flowing.wait()
                faults = self._faults.get(api)
                fault = faults.pop(0) if faults else None
                if fault is Lose.REQUEST:
                    return
                if fault is Lose.LATE:
                    self._late.append((broker, frame))
                    return
                pending.append((api, fault))
                broker.write(frame)
                await broker.drain()

    async def _replies(
        self, broker: asyncio.StreamReader, writer: asyncio.StreamWriter, pending: list[tuple[int, Lose | None]]
    ) -> None:
        with suppress(OSError, EOFError):
            while True:
                frame = await _frame(broker)
                await self._flowing.wait()
                api, fault = pending.pop(0)  # a broker answers the requests of a connection in order
                if fault is Lose.REPLY:
                    return
                if fault is not Lose.SILENT:
                    writer.write(self._renamed(api, frame))
                    await writer.drain()

    def _renamed(self, api: int, frame: bytes) -> bytes:
        """The reply, with the proxy's address for the broker's."""
        correlation, body = frame[4:8], io.BytesIO(frame[8:])
        if api == Api.METADATA:
            found = MetadataResponse_v5.decode(body)
            brokers = [(node, self.host, self.port, rack) for node, _, _, rack in found.brokers]
            data = MetadataResponse_v5(
                found.throttle_time_ms, brokers, found.cluster_id, found.controller_id, found.topics
            ).encode()
        elif api == Api.FIND_COORDINATOR:
            answer = FindCoordinatorResponse_v1.decode(body)
            data = FindCoordinatorResponse_v1(
                answer.throttle_time_ms,
                answer.error_code,
                answer.error_message,
                answer.coordinator_id,
                self.host,
                self.port,
            ).encode()
        else:
            return frame
        return struct.pack(">i", 4 + len(data)) + correlation + data


@asynccontextmanager
async def proxied(broker: str) -> AsyncGenerator[Proxy]:
    """A proxy of the first broker of a bootstrap list."""
    proxy = Proxy(broker.split(",", maxsplit=1)[0])
    server = await asyncio.start_server(proxy.serve, proxy.host, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "big"))


def _transactional_id(frame: bytes) -> str:
    """The first field after a request's header; empty if there is none."""
    (client,) = struct.unpack_from(">h", frame, 12)
    at = 14 + max(0, client)
    (length,) = struct.unpack_from(">h", frame, at)
    return frame[at + 2 : at + 2 + max(0, length)].decode()
