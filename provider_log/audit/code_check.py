"""Which instances would new code hold? Every history that it has to go on with, replayed before it is deployed.

The log is read once and nothing is written. No activity runs: a replay gives the code its recorded answers.
"""

from collections.abc import Iterator
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from engine.clock import SystemClock
from engine.errors import UsageError
from engine.model.events import ActivityScheduled, ExecutionEnd
from engine.model.ids import CHILD_MARK
from engine.registry import Registry
from engine.replay.history import open_work
from provider_log import codec
from provider_log import records as r
from provider_log.audit.reading import read_all
from provider_log.audit.replay import RECORDS_A_BREATH, Answer, Progress, Recorded, ReplayedExecution, replayed
from provider_log.log.port import LogCorrupted, LogView, StoredRecord
from provider_log.topics import Topics

EXECUTIONS_A_BREATH = 20


class Departure(Struct, frozen=True, kw_only=True):
    """An execution that the code does not agree with.

    Attributes:
        ended: Whether it had ended; one that has not is held when the code goes on with it.
        event_id: Where the code leaves the recorded path; None if that is no event's matter.
        sentence: What was expected and what was found.
        events: How many are recorded.
        partition, last_offset: Where the history lies that was recorded last.
    """

    instance: str
    execution_id: int
    name: str
    version: str
    ended: bool
    answer: Answer
    event_id: int | None
    sentence: str
    events: int
    partition: int
    last_offset: int


class Unreadable(Struct, frozen=True):
    """A record that nobody can read, so that nobody knows whose history it is missing from."""

    partition: int
    offset: int


class CodeCheck(Struct, frozen=True, kw_only=True):
    """What the code says to the histories of a log.

    Attributes:
        agrees: There is no departure, and everything could be read.
        instances: Of how many instances histories were replayed.
        executions: How many histories; `events` counts what is in them.
        departures: In order of partition and instance.
    """

    agrees: bool
    partitions: int
    instances: int
    executions: int
    events: int
    departures: tuple[Departure, ...]
    unreadable: tuple[Unreadable, ...]


async def check_code(
    log: LogView,
    registry: Registry,
    *,
    app: str,
    ended: bool = False,
    reading: Progress | None = None,
    replaying: Progress | None = None,
) -> CodeCheck:
    """Take `registry` through every execution that has not ended.

    Args:
        log: Where they are.
        registry: The code.
        app: Name of the application.
        ended: Take it through those that have ended, too.
        reading: Told how many records were read, of how many.
        replaying: Told how many executions were replayed, of how many.

    Raises:
        LogNotOpened, LogCorrupted: The log cannot be opened.
        UsageError: The log has no such application.
    """
    topic = Topics.of(app).history
    partitions = await log.partition_count(topic)
    if partitions is None:
        raise UsageError(f"expected the log of application {app!r}, but it has no topic {topic}")
    bounds = [await log.bounds(topic, partition) for partition in range(partitions)]
    total = sum(each.end - each.first for each in bounds)
    read: list[_Histories] = []
    before = 0
    for partition, each in enumerate(bounds):
        histories = _Histories(partition, ended)
        read.append(histories)
        done = before
        async with aclosing(read_all(log, topic, partition, each)) as records:
            async for record in records:
                histories.take(record)
                done += 1
                if done % RECORDS_A_BREATH == 0:
                    _tell(reading, done, total)
                    await SystemClock().sleep_ms(0)
        before += each.end - each.first  # more offsets than records: some are markers
        _tell(reading, before, total)
    return await _replayed(read, registry, partitions, replaying)


async def _replayed(
    read: "list[_Histories]", registry: Registry, partitions: int, progress: Progress | None
) -> CodeCheck:
    total = sum(len(executions) for histories in read for executions in histories.executions.values())
    departures: list[Departure] = []
    done = events = 0
    for histories in read:
        for instance, recorded in histories.of_instances():
            found = _asked(instance, recorded, registry, histories.has_ended(instance, recorded))
            events += len(recorded.blobs)
            if found.answer is not Answer.AGREES:
                departures.append(_departure(instance, found, histories, recorded))
            done += 1
            if done % EXECUTIONS_A_BREATH == 0:
                _tell(progress, done, total)
                await SystemClock().sleep_ms(0)
    _tell(progress, total, total)
    unreadable = tuple(Unreadable(each.partition, offset) for each in read for offset in each.unreadable)
    return CodeCheck(
        agrees=not departures and not unreadable,
        partitions=partitions,
        instances=sum(len(histories.executions) for histories in read),
        executions=total,
        events=events,
        departures=tuple(departures),
        unreadable=unreadable,
    )


def _asked(instance: str, recorded: Recorded, registry: Registry, ended: bool) -> ReplayedExecution:
    found = replayed(instance, recorded, registry)
    if ended or found.answer is not Answer.AGREES:
        return found
    activities = {each.name for each in registry.activities()}
    # A registry without any is that of nodes that run none; what has a tag may be for others as well.
    for work in open_work(found.events) if activities else ():
        if isinstance(work, ActivityScheduled) and work.tag is None and work.name not in activities:
            sentence = (
                f"event {work.event_id}: expected activity {work.name!r}, which is under way, to be registered, "
                f"but only these are: {', '.join(sorted(activities))}"
            )
            return replace(found, answer=Answer.NOT_REGISTERED, sentence=sentence, event_id=work.event_id)
    return found


def _departure(instance: str, found: ReplayedExecution, histories: "_Histories", recorded: Recorded) -> Departure:
    return Departure(
        instance=instance,
        execution_id=found.execution_id,
        name=found.name,
        version=found.version,
        ended=histories.has_ended(instance, recorded),
        answer=found.answer,
        event_id=found.event_id,
        sentence=found.sentence,
        events=len(recorded.blobs),
        partition=histories.partition,
        last_offset=found.last_offset,
    )


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


class _Histories:
    """The executions of a partition, as its records are read; what has ended is forgotten unless it is asked for.

    Attributes:
        executions: By instance and number.
        unreadable: Offsets.
    """

    def __init__(self, partition: int, keep_ended: bool) -> None:
        self.partition = partition
        self.executions: dict[str, dict[int, Recorded]] = {}
        self.unreadable: list[int] = []
        self._keep_ended = keep_ended
        self._ended: set[tuple[str, int]] = set()
        self._parts: dict[str, list[r.EventBlob]] = {}
        self._token: bytes | None = None

    def of_instances(self) -> Iterator[tuple[str, Recorded]]:
        """Every execution, in order of instance and number."""
        for instance in sorted(self.executions):
            for number in sorted(self.executions[instance]):
                yield instance, self.executions[instance][number]

    def has_ended(self, instance: str, recorded: Recorded) -> bool:
        """Whether an execution has."""
        return (instance, recorded.execution_id) in self._ended

    def take(self, record: StoredRecord | LogCorrupted) -> None:
        """Look at the next record."""
        offset = record.offset
        assert offset is not None
        if isinstance(record, LogCorrupted):
            self.unreadable.append(offset)
            return
        try:
            decoded = codec.decode_record(record.value or b"")
        except (codec.Malformed, codec.UnknownSchema):
            self.unreadable.append(offset)
            return
        if isinstance(decoded, r.OwnershipAcquired):
            self._token = decoded.owner_token
        elif not isinstance(decoded, r.Genesis) and decoded.envelope.owner_token == self._token:
            self._take(offset, decoded)  # else void: it never happened

    def _take(self, offset: int, record: r.EnvelopedRecord) -> None:
        match record:
            case r.TurnCommitted():
                self._turn(offset, record)
            case r.InstanceDeleted(instance=deleted):
                below = deleted + CHILD_MARK
                for instance in [each for each in self.executions if each == deleted or each.startswith(below)]:
                    for number in self.executions.pop(instance):
                        self._ended.discard((instance, number))
            case r.ExecutionsPruned(instance=instance, execution_ids=numbers):
                for number in numbers:
                    self._forget(instance, number)
            case _:
                pass

    def _turn(self, offset: int, record: r.TurnCommitted) -> None:
        """A turn counts as a whole: code is not asked in the middle of a step."""
        parts = self._parts.setdefault(record.instance, []) if record.part else []
        self._parts[record.instance] = parts
        parts += record.events
        if record.part + 1 < record.parts:
            return
        del self._parts[record.instance]
        if not parts:
            return
        number = record.execution_id
        execution = self.executions.setdefault(record.instance, {}).setdefault(number, Recorded(number, offset))
        execution.blobs += parts
        execution.last_offset = offset
        if _ends(parts[-1]):
            self._ended.add((record.instance, number))
            if not self._keep_ended:
                self._forget(record.instance, number)

    def _forget(self, instance: str, number: int) -> None:
        executions = self.executions.get(instance, {})
        executions.pop(number, None)
        self._ended.discard((instance, number))
        if not executions:
            self.executions.pop(instance, None)


def _ends(blob: r.EventBlob) -> bool:
    try:
        return isinstance(codec.decode_event(blob.data), ExecutionEnd)
    except (codec.Malformed, codec.UnknownSchema):
        return False
