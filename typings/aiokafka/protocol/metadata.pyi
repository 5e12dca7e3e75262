from collections.abc import Sequence

from aiokafka.protocol.api import Request

class MetadataResponse_v5:
    brokers: Sequence[tuple[int, str, int, str | None]]
    cluster_id: str | None
    topics: Sequence[tuple[int, str, bool, Sequence[tuple[int, int, int, Sequence[int], Sequence[int], Sequence[int]]]]]

class MetadataRequest(Request[MetadataResponse_v5]):
    def __init__(self, topics: list[str] | None = None, allow_auto_topic_creation: bool | None = None) -> None: ...
