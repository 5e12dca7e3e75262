"""What is a record of an input lane? A message to deliver, one to send on, or one that can never be used.

`arrive` decides for one record; `Lanes` is the shell that reads the topics of one owner.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence

from engine.clock import Clock
from engine.model.ids import instant_problem, root_instance_id_problem
from engine.model.messages import AnyMessage, External, StartOrchestration, due_at_ms
from engine.model.turn import Disposition
from engine.model.work import WorkItem
from engine.observe import known_marks, logger, mark
from provider_log import codec
from provider_log import records as r
from provider_log.answer_token import TOKEN_HEADER, Answer
from provider_log.log.port import (
    Log,
    LogError,
    LogRecord,
    LogUnavailable,
    OffsetOutOfRange,
    Reader,
    StoredRecord,
)
from provider_log.partition.effects import Arrivals
from provider_log.partition.inbox import Entry
from provider_log.partition.live import LivePartition
from provider_log.partition.look import instance_row
from provider_log.partition.plan import (
    ANSWER_BYTES_MAX,
    BLOB_BYTES_MAX,
    LETTER_ID,
    MESSAGE_ID,
    RECORD_BYTES_MAX,
    Place,
    is_here,
    letter_record,
    shelf_of,
)
from provider_log.routing import partition_of, partition_of_work
from provider_log.schema_registry import SchemaRegistry
from provider_log.store.keys import TERMINATOR
from provider_log.topics import HOP_HEADER, INPUT_BYTES_MAX, LETTER_HEADER, OWNER_HEADER, VISIBLE_HEADER

log = logger("lanes")
known_marks("lane.dead_letter", "lane.duplicate", "lane.forwarded", "lane.work_taken_back", "lane.work_taken_in")

_RECORDS_AT_ONCE = 500
_STALL_MS = 10_000
"""As long as a transaction may be open: a lane that brought nothing for so long is empty, or somebody holds it."""
_LOOK_UP_MS = 1_000
_SENT_AGAIN_BYTES_MAX = 4 * 1024 * 1024
_FULL_WAIT_MS = 10
_INSTANCE_BYTES_MAX = 16 * 1024  # a root's id and the marks of a thousand generations of children
_MESSAGE_ID_BYTES_MAX = 1024  # a thousand of them are kept an instance
_REASON_CHARACTERS_MAX = 2_000  # a reason quotes what was sent
_HEADER_BYTES = 16  # the lengths of its name and its value
_INSTANT_DIGITS_MAX = 15  # some thirty thousand years, and no more than a row or a record can hold


class InputMissing(LogError):
    """What an owner would read next of a lane is not kept any more: another owner consumed and cut it, or it is lost.

    Attributes:
        place: Lane and offset.
    """

    def __init__(self, lane: r.Lane, offset: int, error: OffsetOutOfRange) -> None:
        super().__init__(str(error))
        self.place = (lane, offset)


class Unusable(Exception):
    """An input that can never be delivered; the text is the reason its dead letter gives."""


def arrive(live: LivePartition, place: Place, lane: r.Lane, stored: StoredRecord, arrivals: Arrivals) -> None:
    """Take one record of a lane in: as a message that waits, or settled at once."""
    position = live.messages.position(lane)
    headers = dict(stored.headers)
    if lane is r.Lane.WORKER and OWNER_HEADER in headers:
        live.work.published(stored.offset, stored.key, headers.get(TOKEN_HEADER))
        if headers[OWNER_HEADER] == b"%d" % place.partition:
            if stored.offset >= position.start:
                position.pass_over(stored.offset)  # an export of what the partition's own changelog says
            return
    if stored.offset < position.start:
        return  # consumed; it was read once more for what lies beside it
    if not position.read(stored.offset):
        arrivals.advance(lane, stored.offset)
        return
    try:
        if lane is r.Lane.WORKER:
            _arrive_work(live, place, stored, arrivals, is_owners=OWNER_HEADER in headers)
            return
        _arrive_message(live, place, lane, stored, headers)
    except (Unusable, codec.Malformed) as unusable:
        mark("lane.dead_letter")
        letter = _dead_letter(live, place, stored, str(unusable)[:_REASON_CHARACTERS_MAX])
        instance = _key_text(stored)[:_INSTANCE_BYTES_MAX]
        live.messages.settle_input(lane, stored.offset, instance, Disposition.DEAD_LETTERED, letter)
    arrivals.advance(lane, stored.offset)


def _arrive_work(
    live: LivePartition, place: Place, stored: StoredRecord, arrivals: Arrivals, *, is_owners: bool
) -> None:
    """What clients enqueue, and what owners of other partitions send here because its session is here."""
    value = stored.value or b""
    try:
        item = codec.decode_work(value) if is_owners else codec.decode_work_item(value)
    except codec.UnknownSchema as unknown:
        # Without its instance it cannot wait in a table; the letter keeps its bytes.
        raise Unusable(str(unknown)) from unknown
    _check_size(value)
    _check_instance(r.Lane.WORKER, item.instance, None)
    if not isinstance(item, r.TreeTakenBack) and (item.execution_id < 0 or item.activity_id < 0):
        raise Unusable(
            f"expected an execution and an activity id from 0 on, but got {item.execution_id}, {item.activity_id}"
        )
    if isinstance(item, r.TakenBack):
        _arrive_taken_back(live, stored.offset, item, arrivals)
        return
    # What an owner sends is here for its session, even if the owner does not know yet that its tag is served otherwise.
    _check_routing(item, place, () if is_owners else live.work.topic_tags)

    def after() -> None:
        arrivals.advance(r.Lane.WORKER, stored.offset)

    if live.work.has((item.instance, item.execution_id, item.activity_id)):
        if not is_owners:
            live.messages.settle_input(r.Lane.WORKER, stored.offset, item.instance, Disposition.DUPLICATE, None)
            after()
            return
        # An owner sends an item once: what is there is a client's, or of a life before.
        live.work.take_back(
            r.WorkItemTakenBack(instance=item.instance, execution_id=item.execution_id, activity_id=item.activity_id)
        )
    if is_owners:
        mark("lane.work_taken_in")
    live.messages.position(r.Lane.WORKER).consume(stored.offset)
    live.work.enqueue(item, value, stored.offset, after)


def _arrive_taken_back(live: LivePartition, offset: int, taken: r.TakenBack, arrivals: Arrivals) -> None:
    was_there = live.work.take_back(taken) > 0
    if was_there:
        mark("lane.work_taken_back")
    disposition = Disposition.APPLIED if was_there else Disposition.STALE
    live.messages.settle_input(r.Lane.WORKER, offset, taken.instance, disposition, None)
    arrivals.advance(r.Lane.WORKER, offset)


def _arrive_message(
    live: LivePartition, place: Place, lane: r.Lane, stored: StoredRecord, headers: Mapping[str, bytes]
) -> None:
    value = stored.value
    if value is None:
        raise Unusable("expected a message, but the record has no value")
    _check_size(value)
    try:
        message = _decode(live, lane, value, stored.headers)
    except codec.UnknownSchema:
        message = None  # a newer version or a registry can read it: keep it, under the record's key
    instance = _kept_under(stored, place) if message is None else message.instance
    _check_instance(lane, instance, message)
    if not is_here(instance, place):
        _forward(live, place, lane, stored, instance, headers)
        return
    if lane is r.Lane.ORCHESTRATOR and isinstance(message, Answer):
        _check_answer(live, message, headers)
        if _settle_answer(live, stored.offset, message):
            return
    message_id = message.message_id if isinstance(message, External) else None
    if message is None and MESSAGE_ID in headers:
        message_id = headers[MESSAGE_ID].decode(errors="replace")
    if message_id is None and LETTER_HEADER in headers:
        message_id = LETTER_ID + headers[LETTER_HEADER].decode(errors="replace")
    if message_id is not None and len(message_id.encode()) > _MESSAGE_ID_BYTES_MAX:
        raise Unusable(
            f"expected a message id of at most {_MESSAGE_ID_BYTES_MAX} bytes, but it has {len(message_id.encode())}"
        )
    if message_id is not None and live.messages.is_seen(instance, message_id):
        mark("lane.duplicate")
        live.messages.settle_input(lane, stored.offset, instance, Disposition.DUPLICATE, None)
        return
    entry = Entry(
        instance=instance,
        lane=lane,
        place=stored.offset,
        message=message,
        raw=value,
        arrived_at_ms=live.ledger.now_ms(),
        visible_at_ms=max(_visible_at_ms(headers), 0 if message is None else due_at_ms(message)),
        message_id=message_id,
    )
    live.messages.take_in(entry)


def _decode(live: LivePartition, lane: r.Lane, value: bytes, headers: Sequence[tuple[str, bytes]]) -> AnyMessage:
    if lane is r.Lane.MESSAGES:
        return codec.decode_message(value)
    message = codec.decode_input(value, headers, None if live.registry is None else live.registry.known)
    if not isinstance(message, External | Answer):
        raise Unusable(
            "expected a start, event, queue message, cancel or an activity's answer, "
            f"but only an owner may send {type(message).__name__}"
        )
    return message


def _check_answer(live: LivePartition, answer: Answer, headers: Mapping[str, bytes]) -> None:
    """Refuse an answer of somebody who was not given the activity, and one that a turn has no room for."""
    token = headers.get(TOKEN_HEADER)
    if token is None or not live.work.has_issued(token, answer):
        what = "there is none" if token is None else f"it was never issued for activity {answer.activity_id}"
        raise Unusable(f"expected the header {TOKEN_HEADER} as the work item of an answer brought it, but {what}")
    size = len(codec.encode_message(answer))
    if size > ANSWER_BYTES_MAX:
        raise Unusable(f"expected an answer of at most {ANSWER_BYTES_MAX} bytes, but encoded it has {size}")


def _settle_answer(live: LivePartition, offset: int, answer: Answer) -> bool:
    """Let an answer from outside count, or drop it with the life of the instance it is of.

    False if it was answered already or taken back: the history knows which, and the turn that reads it says so.
    """
    lane, instance = r.Lane.ORCHESTRATOR, answer.instance
    if live.work.waits_for(answer):
        live.messages.settle_input(lane, offset, instance, Disposition.APPLIED, None)
        live.work.answer(answer)
        return True
    row = instance_row(live.ledger.overlay, instance)
    if row is None or row.incarnation != answer.incarnation:
        live.messages.settle_input(lane, offset, instance, Disposition.OTHER_INCARNATION, None)
        return True
    return False


def _check_instance(lane: r.Lane, instance: str, message: AnyMessage | None) -> None:
    if not instance or TERMINATOR.decode() in instance:
        raise Unusable(f"expected an instance id without NUL characters, but got {instance[:40]!r}")
    if len(instance.encode()) > _INSTANCE_BYTES_MAX:
        raise Unusable(
            f"expected an instance id of at most {_INSTANCE_BYTES_MAX} bytes, but {instance[:40]!r}… is longer"
        )
    if lane is r.Lane.ORCHESTRATOR and isinstance(message, StartOrchestration):
        problem = root_instance_id_problem(instance) or instant_problem(due_at_ms(message), "a start")
        if problem is not None:
            raise Unusable(problem)


def _check_size(value: bytes) -> None:
    if len(value) > BLOB_BYTES_MAX:
        raise Unusable(f"expected at most {BLOB_BYTES_MAX} bytes, which a changelog record holds, but got {len(value)}")


def _check_routing(item: WorkItem, place: Place, topic_tags: Collection[str]) -> None:
    target = partition_of_work(item, place.partitions, topic_tags)
    if target != place.partition:
        what = item.instance if item.session_id is None else f"session {item.session_id}"
        raise Unusable(f"expected work items of partition {place.partition}, but {what} lives in {target}")


def _forward(
    live: LivePartition,
    place: Place,
    lane: r.Lane,
    stored: StoredRecord,
    instance: str,
    headers: Mapping[str, bytes],
) -> None:
    """Send a record on to where its instance lives; once, because two nodes that disagree would never stop."""
    target = partition_of(instance, place.partitions)
    if HOP_HEADER in headers:
        raise Unusable(f"expected {instance} in partition {place.partition}, but it belongs to {target}, and it hopped")
    record = LogRecord(
        topic=place.topics.orchestrator if lane is r.Lane.ORCHESTRATOR else place.topics.messages,
        partition=target,
        key=instance.encode(),
        value=stored.value,
        headers=(*stored.headers, (HOP_HEADER, b"%d" % place.partition)),
    )
    if record.size_bytes > (INPUT_BYTES_MAX if lane is r.Lane.ORCHESTRATOR else RECORD_BYTES_MAX):
        raise Unusable(
            f"expected {instance} in partition {place.partition}, but it belongs to {target}, "
            f"and {record.size_bytes} bytes are too many to forward"
        )
    mark("lane.forwarded")
    live.messages.settle_input(lane, stored.offset, instance, Disposition.FORWARDED, record)


def _dead_letter(live: LivePartition, place: Place, stored: StoredRecord, reason: str) -> LogRecord:
    key, value, headers = stored.key, stored.value, tuple(r.Header(*header) for header in stored.headers)
    # The key is in the record twice, and the letter adds a little: what fits the input's topic may not fit this one.
    size = sum(len(header.name.encode()) + len(header.value) + _HEADER_BYTES for header in headers)
    if 2 * len(key or b"") + len(value or b"") + size > BLOB_BYTES_MAX:
        reason += f" (left out: a key of {len(key or b'')}, a value of {len(value or b'')} and headers of {size} bytes)"
        key, value, headers = None, None, ()
    letter = r.DeadLetter(
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        reason=reason,
        key=key,
        value=value,
        at_ms=live.ledger.now_ms(),
        headers=headers,
    )
    return letter_record(letter, place)


def _kept_under(stored: StoredRecord, place: Place) -> str:
    """The instance under which input waits that nobody here can read: most senders' key is their instance's."""
    try:
        key = (stored.key or b"").decode()
    except UnicodeDecodeError:
        return shelf_of(place)
    is_id = 0 < len(key.encode()) <= _INSTANCE_BYTES_MAX and TERMINATOR.decode() not in key
    return key if is_id else shelf_of(place)


def _told(live: LivePartition, registry: SchemaRegistry) -> list[Entry]:
    """Unread input whose schema is known by now, no more than goes in one transaction."""
    told: list[Entry] = []
    size = 0
    for number, entries in live.messages.unread().items():
        for entry in entries if number in registry.known else ():
            size += len(entry.raw)
            if told and (size > _SENT_AGAIN_BYTES_MAX or len(told) == _RECORDS_AT_ONCE):
                return told
            told.append(entry)
    return told


def _key_text(stored: StoredRecord) -> str:
    return (stored.key or b"").decode(errors="replace")


def _visible_at_ms(headers: Mapping[str, bytes]) -> int:
    text = headers.get(VISIBLE_HEADER, b"0")
    if not text.isdigit() or len(text) > _INSTANT_DIGITS_MAX:
        raise Unusable(f"expected header {VISIBLE_HEADER} to be milliseconds since 1970, but it is {text[:40]!r}")
    return int(text)


class Lanes:
    """Reads the input topics of one partition for one owner."""

    def __init__(self, log: Log, place: Place, clock: Clock, arrivals: Arrivals) -> None:
        self._log = log
        self._place = place
        self._clock = clock
        self._arrivals = arrivals

    def topic(self, lane: r.Lane) -> str:
        """The topic of a lane."""
        topics = self._place.topics
        return {
            r.Lane.ORCHESTRATOR: topics.orchestrator,
            r.Lane.MESSAGES: topics.messages,
            r.Lane.WORKER: topics.worker,
        }[lane]

    async def read(self, lane: r.Lane, live: LivePartition) -> None:
        """Take records in until cancelled, while there is room.

        Raises:
            InputMissing: What comes next has been cut away.
        """
        topic, partition, start = self.topic(lane), self._place.partition, live.messages.position(lane).start
        if lane is r.Lane.WORKER and live.work.publishes:
            # From the first one kept: what others serve is kept until it is answered, and this is how it is known.
            start = min(start, (await self._log.bounds(topic, partition)).first)
        reader: Reader = await self._log.open_reader(topic, partition, start)
        try:
            await self._read_on(lane, reader, live)
        except OffsetOutOfRange as error:
            raise InputMissing(lane, reader.position, error) from error
        finally:
            await reader.close()

    async def _read_on(self, lane: r.Lane, reader: Reader, live: LivePartition) -> None:
        while True:
            stored = await reader.read(min(_RECORDS_AT_ONCE, live.messages.room(lane)), _STALL_MS)
            if not stored:
                await self._tell_who_holds(lane)
            if lane is r.Lane.ORCHESTRATOR and live.registry is not None:
                # A moment, so that what is new keeps its order; what is not told by then waits beside the lane.
                ids = [codec.id_of(one.value) for one in stored if one.value and codec.is_framed(one.value)]
                await live.registry.learn(ids, _LOOK_UP_MS)
            for one in stored:
                arrive(live, self._place, lane, one, self._arrivals)
            while live.messages.room(lane) == 0:
                live.messages.park_overdue()
                if live.messages.room(lane) == 0:
                    await self._clock.sleep_ms(_FULL_WAIT_MS)

    async def _tell_who_holds(self, lane: r.Lane) -> None:
        topic, partition = self.topic(lane), self._place.partition
        with contextlib.suppress(LogUnavailable):  # asked again after the next empty read
            held = await self._log.open_transaction(topic, partition)
            if held is not None:
                log.warning(
                    "expected to read %s/%d, but from offset %d on it waits for the open transaction of %s",
                    topic,
                    partition,
                    held.offset,
                    held.producer,
                )

    async def look_up(self, live: LivePartition, registry: SchemaRegistry) -> None:
        """Ask for the schemas that unread input waits for, until cancelled, and let it come in again."""
        while True:
            await registry.learn(live.messages.unread(), _LOOK_UP_MS)
            while told := _told(live, registry):
                for entry in told:
                    live.messages.send_again(entry)
                await live.ledger.durable()
            await self._clock.sleep_ms(_LOOK_UP_MS)
