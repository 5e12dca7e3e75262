"""What happened to one instance, from the log alone, and does today's code still do it?

No store is opened. The records of other instances are passed over by their key, undecoded.
"""

import enum
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from engine.clock import SystemClock
from engine.errors import HistoryCorrupted, InstanceNotFound, NotRegistered, UsageError
from engine.model.events import AnyEvent, OrchestrationStarted
from engine.registry import Registry
from engine.replay.matching import Nondeterminism
from engine.testing import ScenarioFailed
from engine.testing import replay as replay_code
from provider_log import codec
from provider_log import records as r
from provider_log.audit.reading import read_all
from provider_log.log.embedded import SnapshotView
from provider_log.log.port import LogCorrupted, LogView, StoredRecord
from provider_log.routing import partition_of, root_of
from provider_log.topics import Topics

RECORDS_A_BREATH = 1_000

Progress = Callable[[int, int], None]
"""Called with the history records read and those there are."""


class Answer(enum.Enum):
    """What the code says to a recorded execution."""

    AGREES = "agrees"
    NONDETERMINISM = "nondeterminism"
    NOT_REGISTERED = "not_registered"
    CORRUPTED = "corrupted"  # the history breaks its own rules, or an event cannot be decoded
    NOT_ASKED = "not_asked"  # no code was given


class Said(NamedTuple):
    """An answer, why, and of which event that is said."""

    answer: Answer
    sentence: str = ""
    event_id: int | None = None


class ReplayedExecution(Struct, frozen=True, kw_only=True):
    """One execution.

    Attributes:
        events: In order of event id, those up to the first that cannot be decoded.
        answer: What the code says; `sentence` says why, empty if it agrees.
        event_id: Where the code left the recorded path; None if it did not, or that is no event's matter.
        first_offset, last_offset: Of the history records that hold its events.
    """

    execution_id: int
    name: str
    version: str
    events: tuple[AnyEvent, ...]
    answer: Answer
    sentence: str
    event_id: int | None
    first_offset: int
    last_offset: int


class Replayed(Struct, frozen=True, kw_only=True):
    """One instance.

    Attributes:
        until_offset: The last history offset that was looked at.
        deleted: The instance was deleted there or before, and not started again.
        unreadable: Offsets of the partition that could not be read, so that nobody knows whose they were.
    """

    instance: str
    partition: int
    until_offset: int
    deleted: bool
    unreadable: tuple[int, ...]
    executions: tuple[ReplayedExecution, ...]

    @property
    def agrees(self) -> bool:
        """Whether no execution got an answer other than that it agrees, or that nobody was asked."""
        return not self.unreadable and all(
            execution.answer in (Answer.AGREES, Answer.NOT_ASKED) for execution in self.executions
        )


async def replay(
    data_dir: Path,
    instance: str,
    *,
    app: str = "turnlog",
    until_offset: int | None = None,
    until_ms: int | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Rebuild an instance from the embedded log in `data_dir`, of a node that runs or not. See `replay_log`."""
    log = SnapshotView(data_dir / "log")
    try:
        return await replay_log(
            log,
            instance,
            app=app,
            until_offset=until_offset,
            until_ms=until_ms,
            registry=registry,
            progress=progress,
        )
    finally:
        await log.close()


async def replay_log(
    log: LogView,
    instance: str,
    *,
    app: str,
    until_offset: int | None = None,
    until_ms: int | None = None,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Rebuild the history of `instance`, all executions, and take `registry` through it.

    Args:
        log: Where it is.
        instance: Whose history.
        app: Name of the application.
        until_offset: Nothing after this history offset.
        until_ms: Nothing after this partition time, milliseconds since 1970.
        registry: The code to replay it against.
        progress: Told how far it is.

    Raises:
        LogNotOpened, LogCorrupted: The log cannot be opened.
        UsageError: The log has no such application.
        InstanceNotFound: Nothing was recorded of the instance until then.
    """
    topic = Topics.of(app).history
    partitions = await log.partition_count(topic)
    if partitions is None:
        raise UsageError(f"expected the log of application {app!r}, but it has no topic {topic}")
    partition = partition_of(instance, partitions)
    bounds = await log.bounds(topic, partition)
    reading = _Reading(instance, until_ms)
    done = 0
    async with aclosing(read_all(log, topic, partition, bounds)) as records:
        async for record in records:
            offset = record.offset
            assert offset is not None
            if (until_offset is not None and offset > until_offset) or not reading.take(offset, record):
                break
            done += 1
            if done % RECORDS_A_BREATH == 0:
                if progress is not None:
                    progress(offset - bounds.first, bounds.end - bounds.first)
                await SystemClock().sleep_ms(0)
    if progress is not None:
        progress(bounds.end - bounds.first, bounds.end - bounds.first)
    if not reading.is_known:
        raise InstanceNotFound(f"expected records of instance {instance!r} in {topic}/{partition}, but there is none")
    return Replayed(
        instance=instance,
        partition=partition,
        until_offset=reading.offset,
        deleted=reading.is_deleted,
        unreadable=tuple(reading.unreadable),
        executions=tuple(replayed(instance, one, registry) for one in reading.executions.values()),
    )


class Recorded:
    """The events of one execution as they lie in the log.

    Attributes:
        first_offset, last_offset: Of the history records that hold them.
        blobs: The events, encoded.
    """

    def __init__(self, execution_id: int, offset: int) -> None:
        self.execution_id = execution_id
        self.first_offset = offset
        self.last_offset = offset
        self.blobs: list[r.EventBlob] = []


class _Reading:
    """Picks the events of one instance out of its partition's history."""

    def __init__(self, instance: str, until_ms: int | None) -> None:
        self._key = instance.encode()
        self._root_key = root_of(instance).encode()  # its deletion is one with the root's
        self._until_ms = until_ms
        self._token: bytes | None = None
        self._parts: list[r.EventBlob] = []
        self.offset = -1
        self.is_known = False
        self.is_deleted = False
        self.unreadable: list[int] = []
        self.executions: dict[int, Recorded] = {}

    def take(self, offset: int, record: StoredRecord | LogCorrupted) -> bool:
        """Look at the next record; False if it is after the time asked for."""
        if isinstance(record, LogCorrupted):
            self.unreadable.append(offset)
        elif record.key in {None, self._key, self._root_key}:
            try:
                decoded = codec.decode_record(record.value or b"")
            except (codec.Malformed, codec.UnknownSchema):
                self.unreadable.append(offset)
            else:
                if isinstance(decoded, r.OwnershipAcquired):
                    self._token = decoded.owner_token
                elif not isinstance(decoded, r.Genesis) and not self._take(offset, decoded):
                    return False
        self.offset = offset
        return True

    def _take(self, offset: int, record: r.EnvelopedRecord) -> bool:
        if record.envelope.owner_token != self._token:
            return True  # void: it never happened
        if self._until_ms is not None and record.envelope.time_ms > self._until_ms:
            return False
        if isinstance(record, r.TurnCommitted) and record.instance.encode() == self._key:
            self.is_known, self.is_deleted = True, False
            self._turn(offset, record)
        elif isinstance(record, r.InstanceDeleted):
            self.is_deleted = True
            self.executions.clear()
        return True

    def _turn(self, offset: int, record: r.TurnCommitted) -> None:
        """A turn counts as a whole: code is not asked in the middle of a step."""
        if record.part == 0:
            self._parts = []
        self._parts += record.events
        if record.part + 1 < record.parts or not self._parts:
            return
        execution = self.executions.setdefault(record.execution_id, Recorded(record.execution_id, offset))
        execution.blobs += self._parts
        execution.last_offset = offset
        self._parts = []


def replayed(instance: str, recorded: Recorded, registry: Registry | None) -> ReplayedExecution:
    """One execution, with what `registry` says to it."""
    events: list[AnyEvent] = []
    said = Said(Answer.NOT_ASKED)
    for blob in recorded.blobs:
        try:
            events.append(codec.decode_event(blob.data))
        except (codec.Malformed, codec.UnknownSchema) as error:
            said = Said(Answer.CORRUPTED, f"event {blob.event_id}: {error}", blob.event_id)
            break
    else:
        if registry is not None:
            said = _asked(instance, recorded.execution_id, events, registry)
    started = events[0] if events and isinstance(events[0], OrchestrationStarted) else None
    return ReplayedExecution(
        execution_id=recorded.execution_id,
        name="" if started is None else started.name,
        version="" if started is None else started.version,
        events=tuple(events),
        answer=said.answer,
        sentence=said.sentence,
        event_id=said.event_id,
        first_offset=recorded.first_offset,
        last_offset=recorded.last_offset,
    )


def _asked(instance: str, execution_id: int, events: Sequence[AnyEvent], registry: Registry) -> Said:
    try:
        replay_code(registry, events, instance=instance, execution_id=execution_id)
    except ScenarioFailed as error:
        # One that reached outside is none of any event's: its sentence names the call.
        event_id = error.__cause__.event_id if isinstance(error.__cause__, Nondeterminism) else None
        return Said(Answer.NONDETERMINISM, str(error), event_id)
    except NotRegistered as error:
        return Said(Answer.NOT_REGISTERED, str(error))
    except HistoryCorrupted as error:
        return Said(Answer.CORRUPTED, str(error))
    return Said(Answer.AGREES)
