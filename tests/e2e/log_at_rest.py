"""What is in the log of a node that is down, and how does a test write what no node would write?"""

from pathlib import Path

from msgspec.structs import replace

from engine.clock import SystemClock
from provider_log import codec
from provider_log import records as r
from provider_log.log.embedded import EmbeddedLog
from provider_log.log.port import LogRecord, StoredRecord
from provider_log.partition.head import follow
from provider_log.partition.plan import unsealed
from provider_log.store.apply import VERSION
from provider_log.store.tables import HeadRow

HISTORY = "turnlog.history"
TOKEN = bytes(range(r.TOKEN_BYTES))


async def open_log(directory: Path) -> EmbeddedLog:
    """The log of the node in `directory`, which must be down."""
    return await EmbeddedLog.open(directory / "turnlog-data" / "log", clock=SystemClock())


async def read_all(log: EmbeddedLog, topic: str, partition: int = 0) -> list[StoredRecord]:
    """All that is kept."""
    bounds = await log.bounds(topic, partition)
    reader = await log.open_reader(topic, partition, bounds.first)
    found: list[StoredRecord] = []
    while some := await reader.read(1_000, 0):
        found.extend(some)
    return found


async def append_history(log: EmbeddedLog, value: bytes) -> int:
    """Append to partition 0 of the history, whatever it is."""
    return await log.append(LogRecord(topic=HISTORY, partition=0, key=None, value=value))


async def repair(log: EmbeddedLog, *rows: r.RowRepaired) -> None:
    """Take partition 0 and repair its state: the one record by which an owner may write any row."""
    head = HeadRow()
    for stored in await read_all(log, HISTORY):
        record = codec.decode_record(stored.value or b"")
        head = follow(head, stored.offset, record, stored.value or b"").head
    acquired = r.OwnershipAcquired(owner_token=TOKEN, node="a test", address="", generation=0, slots=4)
    data = codec.encode_record(acquired)
    head = follow(head, await append_history(log, data), acquired, data).head
    envelope = replace(unsealed(TOKEN, 1, head.time_ms, "a test", VERSION), chain=head.chain)
    await append_history(log, codec.encode_record(r.StateRepaired(envelope=envelope, reason="a test", rows=rows)))
