class DefaultRecordBatch:
    base_offset: int
    producer_id: int
    is_transactional: bool
    is_control_batch: bool

class DefaultRecordBatchBuilder:
    def __init__(
        self,
        *,
        magic: int,
        compression_type: int,
        is_transactional: int,
        producer_id: int,
        producer_epoch: int,
        base_sequence: int,
        batch_size: int,
    ) -> None: ...
    def append(
        self,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
    ) -> object | None: ...
    def build(self) -> bytearray: ...
