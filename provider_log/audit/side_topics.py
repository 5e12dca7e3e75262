"""Do the topics beside a history say what it says? Outcomes, owners, and how far the lanes are consumed.

They are written in one transaction with the history record they belong to, so they may not differ at any moment.
"""

from collections.abc import Iterator

from provider_log import codec
from provider_log import records as r
from provider_log.audit.checker import Checker
from provider_log.audit.findings import Finding, Findings, Kind
from provider_log.log.embedded import LogSnapshot
from provider_log.log.port import LogCorrupted, StoredRecord
from provider_log.topics import Topics


def check_outcomes(log: LogSnapshot, topics: Topics, partition: int, checker: Checker, findings: Findings) -> None:
    """The last outcome of every instance is how its history ended, and every ended instance has one."""

    def found(kind: Kind, offset: int | None, key: str, sentence: str) -> None:
        findings.add(_finding(kind, topics.outcomes, partition, offset, key, sentence))

    said: dict[str, tuple[int, r.Outcome]] = {}
    for record in _records(log, topics.outcomes, partition, findings):
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            said.pop(key, None)
            continue
        try:
            outcome = codec.decode_outcome(record.value)
        except (codec.Malformed, codec.UnknownSchema) as error:
            found(Kind.UNDECODABLE, record.offset, key, str(error))
            continue
        if outcome.instance != key:
            found(Kind.KEY, record.offset, key, f"expected an outcome of {key!r}, but it is of {outcome.instance!r}")
        said[key] = (record.offset, outcome)
    for instance, ended in checker.ended.items():
        offset, outcome = said.pop(instance, (None, None))
        if outcome != ended.outcome:
            what = "there is none" if outcome is None else f"it says {outcome.status.value} in {outcome.execution_id}"
            found(
                Kind.OUTCOME,
                offset,
                instance,
                f"expected the outcome that history offset {ended.offset} says ({ended.outcome.status.value}, "
                f"execution {ended.outcome.execution_id}), but {what}",
            )
    for instance, (offset, outcome) in said.items():
        if instance not in checker.deleted:
            found(
                Kind.OUTCOME,
                offset,
                instance,
                f"expected no outcome, for the history has no such end, but it says {outcome.status.value}",
            )


def check_owners(log: LogSnapshot, topics: Topics, partition: int, checker: Checker, findings: Findings) -> None:
    """The last owner of the owners topic is the newest one of the history."""
    last: StoredRecord | None = None
    for record in _records(log, topics.owners, partition, findings):
        last = record
    if last is None or last.value is None:
        if checker.owner_token is not None:
            findings.add(_finding(Kind.OWNER, topics.owners, partition, None, "", "expected an owner, but it has none"))
        return
    try:
        owner = codec.decode_owner(last.value)
    except (codec.Malformed, codec.UnknownSchema) as error:
        findings.add(_finding(Kind.UNDECODABLE, topics.owners, partition, last.offset, "", str(error)))
        return
    if owner.owner_token != checker.owner_token:
        findings.add(
            _finding(
                Kind.OWNER,
                topics.owners,
                partition,
                last.offset,
                "",
                f"expected the newest owner of the history, but it names {owner.node} under another token",
            )
        )


def check_positions(log: LogSnapshot, topics: Topics, partition: int, checker: Checker, findings: Findings) -> None:
    """What is consumed is there, and what is not consumed has not been cut away."""
    topic_of = {
        r.Lane.ORCHESTRATOR: topics.orchestrator,
        r.Lane.MESSAGES: topics.messages,
        r.Lane.WORKER: topics.worker,
    }
    for lane, watermark in checker.watermarks.items():
        topic = topic_of[lane]
        bounds = log.bounds(topic, partition)
        if not bounds.first <= watermark <= bounds.end:
            findings.add(
                _finding(
                    Kind.POSITION,
                    topic,
                    partition,
                    watermark,
                    "",
                    f"expected a lane kept from offset {watermark} on, to which it is consumed, "
                    f"but it is kept from {bounds.first} to {bounds.end}",
                )
            )


def _records(log: LogSnapshot, topic: str, partition: int, findings: Findings) -> Iterator[StoredRecord]:
    for record in log.read(topic, partition):
        if isinstance(record, LogCorrupted):
            findings.add(_finding(Kind.UNREADABLE, topic, partition, record.offset, "", str(record)))
        else:
            yield record


def _finding(kind: Kind, topic: str, partition: int, offset: int | None, key: str, sentence: str) -> Finding:
    return Finding(kind=kind, where=topic, partition=partition, offset=offset, key=key, sentence=sentence)
