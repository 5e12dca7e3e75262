import asyncio
import ssl
from collections.abc import Awaitable
from typing import TypeVar

from aiokafka.protocol.api import Request

_Answer = TypeVar("_Answer")

class AIOKafkaConnection:
    def __init__(
        self,
        host: str,
        port: int,
        *,
        request_timeout_ms: int = ...,
        max_idle_ms: int | None = ...,
        client_id: str = ...,
        security_protocol: str = ...,
        ssl_context: ssl.SSLContext | None = ...,
        sasl_mechanism: str | None = ...,
        sasl_plain_username: str | None = ...,
        sasl_plain_password: str | None = ...,
    ) -> None: ...
    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...
    def connected(self) -> bool: ...
    def send(self, request: Request[_Answer]) -> Awaitable[_Answer]: ...
    def close(self) -> asyncio.Future[None] | None: ...
