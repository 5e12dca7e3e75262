from collections.abc import Sequence

from aiokafka.protocol.api import Request

class OffsetResponse_v3:
    topics: Sequence[tuple[str, Sequence[tuple[int, int, int, int]]]]

class OffsetRequest(Request[OffsetResponse_v3]):
    def __init__(
        self, replica_id: int, isolation_level: int, topics: list[tuple[str, list[tuple[int, int]]]]
    ) -> None: ...
