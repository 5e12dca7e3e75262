from collections.abc import Sequence
from io import BytesIO
from typing import Self, TypeAlias

from aiokafka.protocol.api import Request

_Brokers: TypeAlias = Sequence[tuple[int, str, int, str | None]]
# (error code, name, internal, [(error code, partition, leader, replicas, in sync, offline)])
_Topics: TypeAlias = Sequence[
    tuple[int, str, bool, Sequence[tuple[int, int, int, Sequence[int], Sequence[int], Sequence[int]]]]
]

class MetadataResponse_v5:
    throttle_time_ms: int
    brokers: _Brokers
    cluster_id: str | None
    controller_id: int
    topics: _Topics
    def __init__(
        self, throttle_time_ms: int, brokers: _Brokers, cluster_id: str | None, controller_id: int, topics: _Topics
    ) -> None: ...
    @classmethod
    def decode(cls, data: BytesIO) -> Self: ...
    def encode(self) -> bytes: ...

class MetadataRequest(Request[MetadataResponse_v5]):
    def __init__(self, topics: list[str] | None = None, allow_auto_topic_creation: bool | None = None) -> None: ...
