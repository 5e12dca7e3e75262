from io import BytesIO
from typing import Self

from aiokafka.protocol.api import Request

class FindCoordinatorResponse_v1:
    throttle_time_ms: int
    error_code: int
    error_message: str | None
    coordinator_id: int
    host: str
    port: int
    def __init__(
        self,
        throttle_time_ms: int,
        error_code: int,
        error_message: str | None,
        coordinator_id: int,
        host: str,
        port: int,
    ) -> None: ...
    @classmethod
    def decode(cls, data: BytesIO) -> Self: ...
    def encode(self) -> bytes: ...

class FindCoordinatorRequest(Request[FindCoordinatorResponse_v1]):
    def __init__(self, coordinator_key: str, coordinator_type: int) -> None: ...
