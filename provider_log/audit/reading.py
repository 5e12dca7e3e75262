"""How is a partition read from end to end, past what is damaged? Offsets have gaps, and the log may move meanwhile."""

from collections.abc import AsyncGenerator

from provider_log.log.port import Bounds, LogCorrupted, LogUnavailable, LogView, StoredRecord

_RECORDS_AT_ONCE = 500
_PATIENCE_MS = 5_000


async def read_all(
    log: LogView, topic: str, partition: int, bounds: Bounds, *, known: int = -1
) -> AsyncGenerator[StoredRecord | LogCorrupted]:
    """Every record of `bounds`, in order, or why there is none. Close it if you leave it early.

    Args:
        log: Where it is.
        topic: Which topic.
        partition: Which of its partitions.
        bounds: As the log gave them.
        known: An offset that somebody has applied. It is waited for, since a commit is answered a moment before a
            reader may see what it committed.

    Raises:
        LogUnavailable: The log does not give what it said it has.
    """
    position = bounds.first
    end = max(bounds.end, known + 1)
    while position < end:
        reader = await log.open_reader(topic, partition, position)
        timeout_ms = 0  # most of it is there; who waits for records waits at the end for what is none, a marker
        try:
            while reader.position < end:
                before = reader.position
                for record in await reader.read(_RECORDS_AT_ONCE, timeout_ms):
                    if record.offset >= end:
                        return
                    yield record
                if reader.position > before:
                    timeout_ms = 0
                elif timeout_ms == 0:
                    timeout_ms = _PATIENCE_MS
                elif before < bounds.end:
                    raise LogUnavailable(
                        f"expected {topic}/{partition} up to offset {bounds.end}, but nothing comes from {before} on"
                    )
                else:
                    return
            return
        except LogCorrupted as error:
            position = reader.position + 1
            yield error
        finally:
            await reader.close()
