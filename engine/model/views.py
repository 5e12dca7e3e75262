"""What does a query say? Of an instance, of an execution, and of all there is."""

from msgspec import Struct

from engine.model.failure import Failure
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.version import EngineVersion


class InstanceInfo(Struct, frozen=True, kw_only=True):
    """What a query knows about an instance.

    Attributes:
        revision: Grows with every commit that touched the instance; what `changed` compares.
        failure: Set when status is FAILED, CANCELLED or HELD.
        output: Set when status is COMPLETED.
        parent_instance: Set once when a life of the instance starts, never changed.
        suspend_reason: Set when status is SUSPENDED.
        pinned_version: Of the engine's rules by which the current execution runs; None if nobody said.
        start_id: Message id of the start that began the current life of the instance; None if that had none.
    """

    instance: str
    orchestration_name: str
    orchestration_version: str
    current_execution_id: int
    status: Status
    revision: int
    created_at_ms: int
    updated_at_ms: int
    output: Payload | None = None
    failure: Failure | None = None
    custom_status: str | None = None
    custom_status_version: int = 0
    parent_instance: str | None = None
    incarnation: int | None = None
    history_events: int = 0
    pinned_version: EngineVersion | None = None
    suspend_reason: str | None = None
    start_id: str | None = None


class ExecutionInfo(Struct, frozen=True, kw_only=True):
    """What a query knows about one execution. `completed_at_ms` is None while it runs."""

    instance: str
    execution_id: int
    status: Status
    started_at_ms: int
    completed_at_ms: int | None = None
    output: Payload | None = None
    failure: Failure | None = None
    event_count: int = 0


class InstanceTree(Struct, frozen=True):
    """An instance and all of its automatic children, their children included.

    A child that was started under an id of its own is no part of it, but the root of a tree of its own.

    Attributes:
        root: Whose tree it is; it need not be a root itself.
        instances: Everybody's id, ascending, `root` first.
    """

    root: str
    instances: tuple[str, ...]


class InstanceStats(Struct, frozen=True, kw_only=True):
    """How large the current execution of an instance is.

    Attributes:
        history_events: How many events its history has.
        history_bytes: What they take as the provider stores them.
        queue_pending: Queue messages that the execution before left unread and handed on to it.
        keys: How many keys the instance keeps something under.
        key_value_bytes: What is kept there, in bytes, the keys apart.
    """

    history_events: int
    history_bytes: int
    queue_pending: int
    keys: int = 0
    key_value_bytes: int = 0


class SystemMetrics(Struct, frozen=True, kw_only=True):
    """How much there is in all. `by_status` counts instances; a status that none is in is left out."""

    instances: int
    executions: int
    events: int
    by_status: dict[Status, int]


class QueueDepths(Struct, frozen=True):
    """Messages and work items that nobody has locked, visible or put off, and timers that have not fired."""

    orchestrator_queue: int
    worker_queue: int
    timer_queue: int
