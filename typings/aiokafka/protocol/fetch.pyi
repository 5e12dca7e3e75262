from collections.abc import Sequence

from aiokafka.protocol.api import Request

class FetchResponse_v11:
    error_code: int
    topics: Sequence[
        tuple[str, Sequence[tuple[int, int, int, int, int, Sequence[tuple[int, int]] | None, int, bytes | None]]]
    ]

class FetchRequest(Request[FetchResponse_v11]):
    def __init__(
        self,
        max_wait_time: int,
        min_bytes: int,
        max_bytes: int,
        isolation_level: int,
        topics: list[tuple[str, list[tuple[int, int, int]]]],
        rack_id: str = "",
    ) -> None: ...
