"""What does a history on a broker say, read as a stranger would read it? The log alone, and the state it makes."""

from collections import Counter

from msgspec import Struct

from engine.model.status import TERMINAL
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import Log
from provider_log.partition.head import follow
from provider_log.partition.restore import put_head
from provider_log.store.apply import apply
from provider_log.store.memory import DictStore
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics


class Written(Struct, frozen=True):
    """What a history partition comes to.

    Attributes:
        owners: How many it had.
        ended: How many executions ended, each once.
        answered: How many activities of each instance were answered, each once.
        rows: The state it makes.
    """

    owners: int
    ended: int
    answered: Counter[str]
    rows: dict[bytes, bytes]


async def written(log: Log, app: str, partition: int = 0) -> Written:
    """Read it to its end: no record is void, no batch number is used twice, nothing ends or is answered twice."""
    reader = await log.open_reader(Topics.of(app).history, partition, 0)
    head, store, owners = HeadRow(), DictStore(), 0
    ended, answered = Counter[tuple[str, int]](), Counter[tuple[str, int, int]]()
    while stored := await reader.read(1_000, 100):
        for one in stored:
            assert one.value is not None
            record = codec.decode_record(one.value)
            followed = follow(head, one.offset, record, one.value)  # raises for a gap, a step back, a torn batch
            head = followed.head
            assert not followed.void, f"expected no record of a former owner, but {record} is one"
            store.write(apply(store, record, partition))
            owners += isinstance(record, r.OwnershipAcquired)
            if isinstance(record, r.WorkItemAcked):
                answered[record.instance, record.execution_id, record.activity_id] += 1
            if isinstance(record, r.TurnCommitted):
                ended[record.instance, record.execution_id] += record.status in TERMINAL
    await reader.close()
    twice = {what: count for what, count in (*ended.items(), *answered.items()) if count > 1}
    assert twice == {}
    store.write(put_head(head))
    return Written(owners, ended.total(), Counter(instance for instance, _, _ in answered), store.rows)
