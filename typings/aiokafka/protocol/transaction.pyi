from collections.abc import Sequence

from aiokafka.protocol.api import Request

class InitProducerIdResponse_v0:
    error_code: int
    producer_id: int
    producer_epoch: int

class InitProducerIdRequest(Request[InitProducerIdResponse_v0]):
    def __init__(self, transactional_id: str | None, transaction_timeout_ms: int) -> None: ...

class AddPartitionsToTxnResponse_v0:
    errors: Sequence[tuple[str, Sequence[tuple[int, int]]]]

class AddPartitionsToTxnRequest(Request[AddPartitionsToTxnResponse_v0]):
    def __init__(
        self, transactional_id: str, producer_id: int, producer_epoch: int, topics: list[tuple[str, list[int]]]
    ) -> None: ...

class EndTxnResponse_v0:
    error_code: int

class EndTxnRequest(Request[EndTxnResponse_v0]):
    def __init__(
        self, transactional_id: str, producer_id: int, producer_epoch: int, transaction_result: bool
    ) -> None: ...
