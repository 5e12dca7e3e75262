"""Do the topics beside a history say what it says? Outcomes, owners, and how far the lanes are consumed.

They are written in one transaction with the history record they belong to, so they may not differ at any moment. They
are read after the history, though, and a log may move meanwhile: of what moved, nothing is said.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from provider_log import codec
from provider_log import records as r
from provider_log.audit.checker import Checker
from provider_log.audit.findings import Finding, Findings, Kind
from provider_log.audit.reading import read_all
from provider_log.log.port import Bounds, LogCorrupted, LogView, StoredRecord
from provider_log.routing import root_of
from provider_log.topics import Topics


class SideTopics:
    """Looks beside one history partition.

    Args:
        log: Where the topics are.
        topics: Their names.
        partition: Whose.
        findings: Where it reports.
    """

    def __init__(self, log: LogView, topics: Topics, partition: int, findings: Findings) -> None:
        self._log = log
        self._topics = topics
        self._partition = partition
        self._findings = findings
        self._kept_from: Mapping[r.Lane, int] = {}

    async def before(self) -> None:
        """Note, before the history is read, from where on the lanes are kept: consumed input is cut all the time."""
        self._kept_from = {
            lane: (await self._log.bounds(topic, self._partition)).first for lane, topic in self._lanes().items()
        }

    async def after(self, checker: Checker, end: int) -> None:
        """Compare with what `checker` read in the history up to the offset `end`."""
        outcomes = [one async for one in self._read(self._topics.outcomes)]
        owners = [one async for one in self._read(self._topics.owners)]
        roots, has_moved = await self._moved(end)
        self._check_outcomes(outcomes, checker, roots)
        if not has_moved:
            self._check_owner(owners[-1] if owners else None, checker)
        await self._check_positions(checker)

    async def _moved(self, end: int) -> tuple[set[str], bool]:
        """Whom the history speaks of after `end`, by their roots, and whether the owner changes."""
        bounds = Bounds(end, (await self._log.bounds(self._topics.history, self._partition)).end)
        roots: set[str] = set()
        has_moved = False
        async with aclosing(read_all(self._log, self._topics.history, self._partition, bounds)) as records:
            async for record in records:
                if isinstance(record, StoredRecord) and record.key is not None:
                    roots.add(root_of(record.key.decode(errors="replace")))
                elif isinstance(record, StoredRecord):
                    has_moved = has_moved or _changes_owner(record.value)
        return roots, has_moved

    async def _read(self, topic: str) -> AsyncGenerator[StoredRecord]:
        bounds = await self._log.bounds(topic, self._partition)
        async with aclosing(read_all(self._log, topic, self._partition, bounds)) as records:
            async for record in records:
                if isinstance(record, LogCorrupted):
                    self._found(Kind.UNREADABLE, topic, record.offset, "", str(record))
                else:
                    yield record

    def _check_outcomes(self, records: list[StoredRecord], checker: Checker, moved: set[str]) -> None:
        """The last outcome of every instance is how its history ended, and every ended instance has one."""
        topic = self._topics.outcomes
        said: dict[str, tuple[int, r.Outcome]] = {}
        for record in records:
            key = (record.key or b"").decode(errors="replace")
            if record.value is None:
                said.pop(key, None)
                continue
            try:
                outcome = codec.decode_outcome(record.value)
            except (codec.Malformed, codec.UnknownSchema) as error:
                self._found(Kind.UNDECODABLE, topic, record.offset, key, str(error))
                continue
            if outcome.instance != key:
                sentence = f"expected an outcome of {key!r}, but it is of {outcome.instance!r}"
                self._found(Kind.KEY, topic, record.offset, key, sentence)
            said[key] = (record.offset, outcome)
        for instance, ended in checker.ended.items():
            offset, outcome = said.pop(instance, (None, None))
            if outcome != ended.outcome and root_of(instance) not in moved:
                what = f"it says {outcome.status.value} in {outcome.execution_id}" if outcome else "there is none"
                self._found(
                    Kind.OUTCOME,
                    topic,
                    offset,
                    instance,
                    f"expected the outcome that history offset {ended.offset} says ({ended.outcome.status.value}, "
                    f"execution {ended.outcome.execution_id}), but {what}",
                )
        for instance, (offset, outcome) in said.items():
            if instance not in checker.deleted and root_of(instance) not in moved:
                self._found(
                    Kind.OUTCOME,
                    topic,
                    offset,
                    instance,
                    f"expected no outcome, for the history has no such end, but it says {outcome.status.value}",
                )

    def _check_owner(self, last: StoredRecord | None, checker: Checker) -> None:
        """The last owner of the owners topic is the newest one of the history, or nobody, if that has left."""
        topic = self._topics.owners
        if last is None or last.value is None:
            if checker.owner_token is not None:
                self._found(
                    Kind.OWNER, topic, None, "", "expected the newest owner of the history, but it names nobody"
                )
            return
        try:
            owner = codec.decode_owner(last.value)
        except (codec.Malformed, codec.UnknownSchema) as error:
            self._found(Kind.UNDECODABLE, topic, last.offset, "", str(error))
            return
        if owner.owner_token != checker.owner_token:
            sentence = (
                f"expected nobody, for the owner has left, but it names {owner.node}"
                if checker.owner_token is None
                else f"expected the newest owner of the history, but it names {owner.node} under another token"
            )
            self._found(Kind.OWNER, topic, last.offset, "", sentence)

    async def _check_positions(self, checker: Checker) -> None:
        """What is consumed is there, and what is not consumed has not been cut away."""
        for lane, topic in self._lanes().items():
            watermark = checker.watermarks[lane]
            first, end = self._kept_from[lane], (await self._log.bounds(topic, self._partition)).end
            if not first <= watermark <= end:
                self._found(
                    Kind.POSITION,
                    topic,
                    watermark,
                    "",
                    f"expected a lane kept from offset {watermark} on, to which it is consumed, "
                    f"but it is kept from {first} to {end}",
                )

    def _lanes(self) -> Mapping[r.Lane, str]:
        return {
            r.Lane.ORCHESTRATOR: self._topics.orchestrator,
            r.Lane.MESSAGES: self._topics.messages,
            r.Lane.WORKER: self._topics.worker,
        }

    def _found(self, kind: Kind, topic: str, offset: int | None, key: str, sentence: str) -> None:
        self._findings.add(
            Finding(kind=kind, where=topic, partition=self._partition, offset=offset, key=key, sentence=sentence)
        )


def _changes_owner(data: bytes | None) -> bool:
    try:
        return isinstance(codec.decode_record(data or b""), r.OwnershipAcquired | r.OwnershipReleased)
    except (codec.Malformed, codec.UnknownSchema):
        return False  # the next audit meets it
