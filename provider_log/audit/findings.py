"""What does an audit find? Values: what is wrong, where, and the sentence that says so to an operator."""

import enum

from msgspec import Struct


class Kind(enum.Enum):
    """What is wrong, coarsely: what a script may branch on. The sentence says the rest."""

    # The log as bytes and as a sequence.
    UNREADABLE = "unreadable"  # the log's own checksums, lengths or offsets do not hold
    SHORTER = "shorter"  # the log ends before it was recorded to end
    UNDECODABLE = "undecodable"  # the bytes are no record, event, message or work item of any known schema
    NEWER = "newer"  # a record of a schema that was released after this version: nothing behind it can be judged
    VOID = "void"  # written under an owner token that was not the newest: an alarm, for it should have been fenced
    BATCH = "batch"  # a batch has a gap, a repetition, or lacks its end
    CHAIN = "chain"  # a record before this one is not the one that was hashed, or one is missing
    TIME = "time"  # partition time went back
    VERSION = "version"  # an apply version nobody knows
    GENESIS = "genesis"  # none, a second one, or another application's
    KEY = "key"  # a record lies under another instance's key, or in another partition, than it belongs to
    POSITION = "position"  # how far a lane is consumed went back, or says other than what was consumed
    # What the records say happened.
    EXECUTION = "execution"  # starts, ends and event ids of an execution
    ANSWER = "answer"  # a completion without a schedule, a second one, or one that nobody gave
    LEFT_OPEN = "left_open"  # an execution ended, and what it asked for was neither answered nor taken back
    TIMER = "timer"
    INBOX = "inbox"
    WORK = "work"
    OUTCOME = "outcome"  # the outcomes topic says other than the history
    OWNER = "owner"  # the owners topic says other than the history
    # What the software's own `apply` makes of the log, against what the checker read in it.
    APPLY = "apply"
    # The store against the log.
    ROW = "row"  # differs from what the log makes of it
    ROW_MISSING = "row_missing"
    ROW_EXTRA = "row_extra"
    ROW_UNREADABLE = "row_unreadable"
    STORE = "store"  # cannot be opened, or stands past the end of the log
    DIGEST = "digest"  # an owner's answer differs from what the log makes of it
    # The code against the log.
    NONDETERMINISM = "nondeterminism"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be.

    Attributes:
        where: The topic, or the table of the store.
        offset: Of the record at which it shows, None for a row. Where the chain breaks, what is wrong lies at or
            before it; the sentence says since where.
        key: Instance, or the key of a row; empty if it is about the partition.
        sentence: "expected …, but …".
    """

    kind: Kind
    where: str
    partition: int
    offset: int | None
    key: str
    sentence: str

    def __str__(self) -> str:
        place = f"{self.where}/{self.partition}" + ("" if self.offset is None else f" offset {self.offset}")
        return f"{place}{f' [{self.key}]' if self.key else ''}: {self.sentence}"


class Findings:
    """Collects findings: all are counted, the first ones are kept, so that a ruined log cannot exhaust memory.

    Args:
        kept_max: How many are kept.
    """

    def __init__(self, kept_max: int = 1_000) -> None:
        self._kept_max = kept_max
        self.kept: list[Finding] = []
        self.total = 0

    def add(self, finding: Finding) -> None:
        """Count `finding`, and keep it while there is room."""
        self.total += 1
        if len(self.kept) < self._kept_max:
            self.kept.append(finding)


class Place:
    """Where the record under examination lies; rules report findings through it.

    Args:
        findings: Where they go.
        topic, partition: What is examined.
    """

    def __init__(self, findings: Findings, topic: str, partition: int) -> None:
        self._findings = findings
        self.topic = topic
        self.partition = partition
        self.offset: int | None = None
        self.total = 0

    def found(self, kind: Kind, key: str, sentence: str) -> None:
        """The record at `offset` breaks a rule."""
        self.total += 1
        self._findings.add(
            Finding(
                kind=kind, where=self.topic, partition=self.partition, offset=self.offset, key=key, sentence=sentence
            )
        )
