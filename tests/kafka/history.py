"""What does somebody see who reads the history of an application, and knows nothing else of it?"""

from collections import Counter
from typing import NamedTuple

from engine.converter import JsonConverter
from engine.model.messages import StartOrchestration
from engine.model.status import TERMINAL
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import Log, LogRecord
from provider_log.partition.head import follow
from provider_log.store.tables import HeadRow
from provider_log.topics import Topics

ACTIVITIES = 3  # of hello3


class Seen(NamedTuple):
    """How many owners there were, and how many answers of activities each instance that ended had."""

    owners: int
    answers: Counter[str]


async def start_hello3(log: Log, app: str, instance: str) -> None:
    """Start it as a stranger would, through the topic."""
    message = StartOrchestration(
        instance=instance, name="hello3", input=JsonConverter().encode("log", "input"), message_id=instance
    )
    topic = Topics.of(app).orchestrator
    await log.append(LogRecord(topic=topic, partition=0, key=instance.encode(), value=codec.encode_message(message)))


async def read_history(log: Log, app: str) -> Seen:
    """Read partition 0 from its beginning: nothing is void, every end and every answer is there once."""
    reader = await log.open_reader(Topics.of(app).history, 0, 0)
    head, seen, owners = HeadRow(), Counter[tuple[str, object]](), 0
    while stored := await reader.read(1_000, 0):
        for one in stored:
            assert one.value is not None
            record = codec.decode_record(one.value)
            followed = follow(head, one.offset, record, one.value)  # raises for a batch number that is used twice
            head = followed.head
            assert not followed.void, f"expected no record of a former owner, but {record} is one"
            owners += isinstance(record, r.OwnershipAcquired)
            if isinstance(record, r.WorkItemAcked):
                seen[record.instance, record.activity_id] += 1
            if isinstance(record, r.TurnCommitted) and record.status in TERMINAL:
                seen[record.instance, "end"] += 1
    await reader.close()
    assert {what: count for what, count in seen.items() if count != 1} == {}
    answers = Counter(instance for instance, what in seen if what != "end")
    assert answers.keys() == {instance for instance, what in seen if what == "end"}
    return Seen(owners, answers)
