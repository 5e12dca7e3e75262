from collections.abc import Sequence

from aiokafka.protocol.api import Request

class CreateTopicsResponse_v3:
    topic_errors: Sequence[tuple[str, int, str | None]]

class CreateTopicsRequest(Request[CreateTopicsResponse_v3]):
    def __init__(
        self,
        create_topic_requests: list[tuple[str, int, int, list[tuple[int, list[int]]], list[tuple[str, str]]]],
        timeout: int,
        validate_only: bool,
    ) -> None: ...

class DeleteRecordsResponse_v2:
    # (name, [(partition, low watermark, error code, tags)], tags)
    topics: Sequence[tuple[str, Sequence[tuple[int, int, int, object]], object]]

class DeleteRecordsRequest(Request[DeleteRecordsResponse_v2]):
    def __init__(self, topics: list[tuple[str, list[tuple[int, int]]]], timeout_ms: int) -> None: ...

class DescribeConfigsResponse_v2:
    # (error code, message, kind, name, [(setting, value, read only, source, sensitive, synonyms)])
    resources: Sequence[tuple[int, str | None, int, str, Sequence[tuple[str, str, bool, int, bool, object]]]]

class DescribeConfigsRequest(Request[DescribeConfigsResponse_v2]):
    def __init__(self, resources: list[tuple[int, str, list[str]]]) -> None: ...
