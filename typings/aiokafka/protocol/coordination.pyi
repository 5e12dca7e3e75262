from aiokafka.protocol.api import Request

class FindCoordinatorResponse_v1:
    error_code: int
    host: str
    port: int

class FindCoordinatorRequest(Request[FindCoordinatorResponse_v1]):
    def __init__(self, coordinator_key: str, coordinator_type: int) -> None: ...
