from collections.abc import Sequence
from io import BytesIO
from typing import Self

from aiokafka.protocol.api import Request

class JoinGroupResponse_v5:
    error_code: int
    generation_id: int
    group_protocol: str
    leader_id: str
    member_id: str
    # (member id, group instance id, metadata)
    members: Sequence[tuple[str, str | None, bytes]]

class JoinGroupRequest(Request[JoinGroupResponse_v5]):
    def __init__(
        self,
        group: str,
        session_timeout: int,
        rebalance_timeout: int,
        member_id: str,
        group_instance_id: str | None,
        protocol_type: str,
        group_protocols: list[tuple[str, bytes]],
    ) -> None: ...

class SyncGroupResponse_v3:
    error_code: int
    member_assignment: bytes

class SyncGroupRequest(Request[SyncGroupResponse_v3]):
    def __init__(
        self,
        group: str,
        generation_id: int,
        member_id: str,
        group_instance_id: str | None,
        group_assignment: list[tuple[str, bytes]],
    ) -> None: ...

class HeartbeatResponse_v1:
    error_code: int

class HeartbeatRequest(Request[HeartbeatResponse_v1]):
    def __init__(self, group: str, generation_id: int, member_id: str) -> None: ...

class LeaveGroupResponse_v1:
    error_code: int

class LeaveGroupRequest(Request[LeaveGroupResponse_v1]):
    def __init__(self, group: str, member_id: str) -> None: ...

class ProtocolMetadata:
    version: int
    subscription: list[str]
    user_data: bytes
    def __init__(self, version: int, subscription: list[str], user_data: bytes) -> None: ...
    @classmethod
    def decode(cls, data: BytesIO | bytes) -> Self: ...
    def encode(self) -> bytes: ...

class MemberAssignment:
    version: int
    assignment: list[tuple[str, list[int]]]
    user_data: bytes
    def __init__(self, version: int, assignment: list[tuple[str, list[int]]], user_data: bytes) -> None: ...
    @classmethod
    def decode(cls, data: BytesIO | bytes) -> Self: ...
    def encode(self) -> bytes: ...
