# What provider_log/log/kafka and the tests use of aiokafka, which comes without types. The shapes of answers are those
# of the versions that a broker from 4.0 on is asked in.
from collections.abc import Mapping, Sequence

from aiokafka.structs import ConsumerRecord, RecordMetadata, TopicPartition

__version__: str

class AIOKafkaProducer:
    def __init__(self, *, bootstrap_servers: str, transactional_id: str | None = None) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def begin_transaction(self) -> None: ...
    async def abort_transaction(self) -> None: ...
    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        *,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> RecordMetadata: ...

class AIOKafkaConsumer:
    def __init__(
        self,
        *topics: str,
        bootstrap_servers: str,
        group_id: str | None = None,
        auto_offset_reset: str = "latest",
        enable_auto_commit: bool = True,
        isolation_level: str = "read_uncommitted",
    ) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def getone(self) -> ConsumerRecord: ...
    async def commit(self, offsets: Mapping[TopicPartition, int] | None = None) -> None: ...
