"""What does the memory provider keep? Mutable rows, and how a query sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from engine.errors import HistoryCorrupted
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.key_values import KeyValue, changed, merged
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.status import EXECUTION_ENDS, Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import EngineVersion
from engine.model.views import ExecutionInfo, InstanceInfo
from engine.model.work import WorkItem

UNNAMED = "unknown"
"""Name and version of an instance that neither a turn nor a start message named."""


@dataclass(slots=True, kw_only=True, eq=False)
class QueuedMessage:
    """One row of the orchestrator queue.

    Attributes:
        position: When it arrived and a counter; the order of the queue. A delay counts as a later arrival, a
            delayed abandon does not.
        visible_at_ms: Not fetched before.
        locked_by: Token of the fetch that last tagged it; means nothing once that lock is gone.
    """

    message: AnyMessage
    position: tuple[int, int]
    visible_at_ms: int
    attempts: int = 0
    locked_by: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class QueuedWork:
    """One row of the worker queue; `token` is that of the last fetch, kept when its lease runs out.

    `heartbeat` is the newest that a worker sent.
    """

    item: WorkItem
    visible_at_ms: int
    attempts: int = 0
    token: str | None = None
    leased_until_ms: int = 0
    heartbeat: Payload | None = None
    revoked: anyio.Event = field(default_factory=anyio.Event)

    @property
    def start_by_ms(self) -> int | None:
        """When it is for anybody to fail, unless it was delivered before. A delivery then does not count."""
        return None if self.attempts or self.item.limits is None else self.item.limits.start_by_ms


@dataclass(slots=True)
class InstanceLock:
    """Who may ack a turn of an instance, and until when."""

    token: str
    until_ms: int


@dataclass(slots=True)
class ExecutionRow:
    """One execution with its history, which a test may have made undecodable."""

    execution_id: int
    started_at_ms: int
    status: Status = Status.RUNNING
    completed_at_ms: int | None = None
    output: Payload | None = None
    failure: Failure | None = None
    pin: EngineVersion | None = None
    events: dict[int, AnyEvent] = field(default_factory=dict[int, AnyEvent])
    corrupted: bool = False

    def history(self, began_with: Mapping[str, KeyValue] | None = None) -> "MemoryHistory":
        events = tuple(self.events[event_id] for event_id in sorted(self.events))
        return MemoryHistory(events, self.corrupted, dict(began_with or {}))

    def update(self, metadata: ExecutionMetadata, now_ms: int) -> None:
        """Take over what `metadata` says about the execution; None leaves what is there."""
        self.output = metadata.output or self.output
        self.failure = metadata.failure or self.failure
        self.pin = metadata.pinned_version or self.pin
        if metadata.status is not None:
            self.status = metadata.status
            ended = metadata.status in EXECUTION_ENDS
            self.completed_at_ms = now_ms if ended else None

    def info(self, instance: str) -> ExecutionInfo:
        return ExecutionInfo(
            instance=instance,
            execution_id=self.execution_id,
            status=self.status,
            started_at_ms=self.started_at_ms,
            completed_at_ms=self.completed_at_ms,
            output=self.output,
            failure=self.failure,
            event_count=len(self.events),
        )


@dataclass(slots=True)
class MemoryHistory:
    """The events of one execution at the time of the call, and the keys it began with. A `HistoryView`."""

    events: Sequence[AnyEvent] = ()
    corrupted: bool = False
    began_with: Mapping[str, KeyValue] = field(default_factory=dict[str, KeyValue])

    @property
    def last_event_id(self) -> int:
        return self.events[-1].event_id if self.events else 0

    def load(self) -> Sequence[AnyEvent]:
        if self.corrupted:
            raise HistoryCorrupted("expected stored events that can be decoded, but a test corrupted this history")
        return self.events

    def key_values(self) -> Mapping[str, KeyValue]:
        return self.began_with


@dataclass(slots=True, kw_only=True)
class InstanceRow:
    """One instance with all its executions.

    `held` is why it was set aside, `suspend_reason` why it was suspended, None while it may run.
    `began_with` and `changed` are the keys: those the current execution began with, and what it changed.
    """

    instance: str
    created_at_ms: int
    updated_at_ms: int
    name: str = UNNAMED
    version: str = UNNAMED
    parent_instance: str | None = None
    incarnation: int | None = None
    start_id: str | None = None
    revision: int = 0
    custom_status: str | None = None
    custom_status_version: int = 0
    held: Failure | None = None
    suspend_reason: str | None = None
    current_execution_id: int
    executions: dict[int, ExecutionRow] = field(default_factory=dict[int, ExecutionRow])
    began_with: dict[str, KeyValue] = field(default_factory=dict[str, KeyValue])
    changed: dict[str, KeyValue | None] = field(default_factory=dict[str, "KeyValue | None"])

    @property
    def current(self) -> ExecutionRow:
        return self.executions[self.current_execution_id]

    @property
    def status(self) -> Status:
        """Of the instance: an execution that continued as new leaves it running, being paused hides all else."""
        if self.held is not None:
            return Status.HELD
        if self.suspend_reason is not None:
            return Status.SUSPENDED
        return Status.RUNNING if self.current.status is Status.CONTINUED_AS_NEW else self.current.status

    def touch(self, now_ms: int) -> None:
        """A commit changed this instance: `changed` wakes."""
        self.revision += 1
        self.updated_at_ms = now_ms

    def execution(self, execution_id: int, now_ms: int) -> ExecutionRow:
        """That execution, made if it is new. A newer one becomes the current one."""
        self.current_execution_id = max(self.current_execution_id, execution_id)
        return self.executions.setdefault(execution_id, ExecutionRow(execution_id, now_ms))

    def record(self, result: TurnResult, now_ms: int) -> None:
        """Take over the history and the metadata of a turn."""
        execution = self.execution(result.execution_id, now_ms)
        execution.events.update((event.event_id, event) for event in result.history_delta)
        metadata = result.metadata
        if metadata.new_life:
            self.parent_instance = self.start_id = self.custom_status = None
            self.began_with, self.changed = {}, {}
        self.start_id = metadata.start_id or self.start_id
        execution.update(metadata, now_ms)
        self.name = metadata.orchestration_name or self.name
        self.version = metadata.orchestration_version or self.version
        self.parent_instance = self.parent_instance or metadata.parent_instance
        self.incarnation = self.incarnation if metadata.incarnation is None else metadata.incarnation
        if metadata.set_custom_status:
            self.custom_status = metadata.custom_status
            self.custom_status_version += 1
        self._keep(result, now_ms)
        self.touch(now_ms)

    def _keep(self, result: TurnResult, now_ms: int) -> None:
        """Take over what a turn puts under keys; the end of its execution makes it what the next one begins with."""
        self.changed = changed(self.began_with, self.changed, result.key_values, now_ms)
        if result.metadata.status in EXECUTION_ENDS:
            self.began_with, self.changed = merged(self.began_with, self.changed), {}

    def info(self) -> InstanceInfo:
        status, current = self.status, self.current
        return InstanceInfo(
            instance=self.instance,
            orchestration_name=self.name,
            orchestration_version=self.version,
            current_execution_id=self.current_execution_id,
            status=status,
            revision=self.revision,
            created_at_ms=self.created_at_ms,
            updated_at_ms=self.updated_at_ms,
            output=current.output if status is Status.COMPLETED else None,
            failure=self.held or current.failure,
            custom_status=self.custom_status,
            custom_status_version=self.custom_status_version,
            parent_instance=self.parent_instance,
            incarnation=self.incarnation,
            history_events=len(current.events),
            pinned_version=current.pin,
            suspend_reason=self.suspend_reason,
            start_id=self.start_id,
        )
