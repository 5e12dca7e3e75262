"""What does a process do that holds a partition by an open transaction?

`python -m tests.kafka.holder BROKER ID TOPIC 0` says so on its standard output once the transaction is open, and then
does nothing until it is killed.
"""

import asyncio
import sys

from provider_log.log.kafka import KafkaLog
from provider_log.log.port import LogRecord


async def hold(bootstrap: str, transactional_id: str, topic: str, partition: int) -> None:
    log = await KafkaLog.open(bootstrap)
    producer = await log.open_producer(transactional_id)
    await producer.produce([LogRecord(topic=topic, partition=partition, key=b"x", value=b"x")])
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
