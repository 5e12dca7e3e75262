"""What could not be used, and how does it get another chance? The dead letters of an application, read and sent again.

A letter is sent again as the record it was: same topic, partition, key, value and headers. Two headers differ: the one
that says that it was forwarded goes, since whoever disagreed about its place may be of one mind now; and one says which
letter it is, so that the same letter sent twice counts once.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct

from engine.errors import UsageError
from provider_log import codec
from provider_log import records as r
from provider_log.audit.reading import read_all
from provider_log.log.port import Bounds, Log, LogCorrupted, LogRecord, LogView
from provider_log.topics import HOP_HEADER, LETTER_HEADER, Topics


class StoredLetter(Struct, frozen=True, kw_only=True):
    """A record of the dead-letter topic.

    Attributes:
        partition, offset: Where it lies: what names it.
        letter: What it says; None if it cannot be read, then `problem` says why.
    """

    partition: int
    offset: int
    letter: r.DeadLetter | None
    problem: str = ""


async def read_letters(log: LogView, app: str) -> AsyncGenerator[StoredLetter]:
    """Every dead letter of an application, partition by partition, oldest first. Close it if you leave it early.

    Raises:
        UsageError: The log has no such application.
    """
    topic = Topics.of(app).dead_letter
    for partition in range(await _partitions(log, app)):
        bounds = await log.bounds(topic, partition)
        async with aclosing(read_all(log, topic, partition, bounds)) as records:
            async for record in records:
                if isinstance(record, LogCorrupted):
                    yield _unreadable(partition, record.offset or bounds.first, str(record))
                else:
                    yield _stored(partition, record.offset, record.value)


async def letter_at(log: LogView, app: str, partition: int, offset: int) -> StoredLetter:
    """The dead letter that lies at a place.

    Raises:
        UsageError: There is none.
    """
    topic = Topics.of(app).dead_letter
    if partition < await _partitions(log, app):
        bounds = await log.bounds(topic, partition)
        if bounds.first <= offset < bounds.end:
            async with aclosing(read_all(log, topic, partition, Bounds(offset, bounds.end))) as records:
                async for record in records:
                    if isinstance(record, LogCorrupted):
                        return _unreadable(partition, offset, str(record))
                    if record.offset == offset:
                        return _stored(partition, offset, record.value)
                    break
    raise UsageError(f"expected a dead letter at {partition}/{offset}, but there is none; `turnlog dead-letter list`")


async def send_again(log: Log, stored: StoredLetter) -> int:
    """Append the record that became this letter to the topic it came from; the offset it has now.

    Raises:
        UsageError: The letter does not have the record any more.
        LogError: It is not appended, or nobody knows.
    """
    letter, place = stored.letter, f"{stored.partition}/{stored.offset}"
    if letter is None:
        raise UsageError(f"expected a dead letter at {place}, but it cannot be read: {stored.problem}")
    if letter.value is None:
        raise UsageError(f"expected dead letter {place} to keep what was sent, but it has no value: {letter.reason}")
    headers = tuple((header.name, header.value) for header in letter.headers if header.name != HOP_HEADER)
    if not any(name == LETTER_HEADER for name, _ in headers):  # one that comes back stays the letter it was
        headers += ((LETTER_HEADER, place.encode()),)
    again = LogRecord(
        topic=letter.topic, partition=letter.partition, key=letter.key, value=letter.value, headers=headers
    )
    return await log.append(again)


async def _partitions(log: LogView, app: str) -> int:
    count = await log.partition_count(Topics.of(app).dead_letter)
    if count is None:
        raise UsageError(f"expected the topics of application {app!r} in this log, but they are not there")
    return count


def _stored(partition: int, offset: int, value: bytes | None) -> StoredLetter:
    try:
        return StoredLetter(partition=partition, offset=offset, letter=codec.decode_dead_letter(value or b""))
    except (codec.Malformed, codec.UnknownSchema) as error:
        return _unreadable(partition, offset, str(error))


def _unreadable(partition: int, offset: int, problem: str) -> StoredLetter:
    return StoredLetter(partition=partition, offset=offset, letter=None, problem=problem)
