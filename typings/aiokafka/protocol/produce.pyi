from collections.abc import Sequence

from aiokafka.protocol.api import Request

class ProduceResponse_v7:
    topics: Sequence[tuple[str, Sequence[tuple[int, int, int, int, int]]]]

class ProduceRequest(Request[ProduceResponse_v7]):
    def __init__(
        self,
        transactional_id: str | None,
        required_acks: int,
        timeout: int,
        topics: list[tuple[str, list[tuple[int, bytes | bytearray]]]],
    ) -> None: ...
