"""What has happened in an execution? Its history is a list of these, in order of event id.

An event is past and is never changed. Completions name the event that asked for them in `source_event_id`.
The instance and execution are not in the event: they are where it is kept.
"""

from msgspec import Struct

from engine.model.failure import Failure
from engine.model.ids import ParentLink
from engine.model.limits import ActivityLimits
from engine.model.payload import Payload
from engine.model.policies import OnParentEnd


class Event(Struct, frozen=True, kw_only=True, tag=True):
    """The part every event has.

    Attributes:
        event_id: Position in the execution's history, from 1.
        timestamp_ms: Partition time of the turn that recorded it, milliseconds since 1970.
    """

    event_id: int
    timestamp_ms: int


class CarriedMessage(Struct, frozen=True):
    """A queue message that was unread when an execution continued as new."""

    name: str
    data: Payload
    message_id: str | None = None


class OrchestrationStarted(Event, frozen=True, kw_only=True):
    """Always first. `incarnation` identifies this life of the instance; `python` is the minor that first ran it.

    With `deadline_at_ms` a timer whose id is this event's fires then, and asks the code to end.
    """

    name: str
    version: str
    input: Payload
    incarnation: int
    parent: ParentLink | None = None
    carried: tuple[CarriedMessage, ...] = ()
    custom_status: str | None = None
    python: str = ""
    engine: str = ""
    message_id: str | None = None
    traceparent: str | None = None
    deadline_at_ms: int | None = None


class OrchestrationCompleted(Event, frozen=True, kw_only=True):
    """Terminal: the code returned `output`."""

    output: Payload


class OrchestrationFailed(Event, frozen=True, kw_only=True):
    """Terminal: the code raised, or a bound or the engine ended it."""

    failure: Failure


class OrchestrationCancelled(Event, frozen=True, kw_only=True):
    """Terminal: cancellation was asked for and the code let it through."""

    reason: str


class OrchestrationContinuedAsNew(Event, frozen=True, kw_only=True):
    """Terminal for the execution: the next one starts with `input` (and `version`, if the code named one)."""

    input: Payload
    version: str | None = None


class OrchestrationCancelRequested(Event, frozen=True, kw_only=True):
    """The code sees `CancelledError` from here on. At most one an execution.

    With `is_deadline` nobody asked for it but the instance's deadline: code that lets it through has failed.
    """

    reason: str
    is_deadline: bool = False


class ActivityScheduled(Event, frozen=True, kw_only=True):
    """An activity was asked for; its event id is the activity's id. `heartbeat` is what the attempt before left."""

    name: str
    input: Payload
    session_id: str | None = None
    tag: str | None = None
    limits: ActivityLimits | None = None
    heartbeat: Payload | None = None


class ActivityCompleted(Event, frozen=True, kw_only=True):
    """The activity `source_event_id` returned `result`."""

    source_event_id: int
    result: Payload


class ActivityFailed(Event, frozen=True, kw_only=True):
    """The activity `source_event_id` raised, or took too long. `heartbeat` is what it said last of how far it was."""

    source_event_id: int
    failure: Failure
    heartbeat: Payload | None = None


class ActivityCancelRequested(Event, frozen=True, kw_only=True):
    """The code stopped waiting for activity `source_event_id`; its work item was taken back."""

    source_event_id: int
    reason: str


class TimerCreated(Event, frozen=True, kw_only=True):
    """A timer that fires at `fire_at_ms` of partition time."""

    fire_at_ms: int


class TimerFired(Event, frozen=True, kw_only=True):
    """Timer `source_event_id` fired, at or after its time."""

    source_event_id: int


class TimerCancelled(Event, frozen=True, kw_only=True):
    """The code stopped waiting for timer `source_event_id`; it will not fire."""

    source_event_id: int


class ExternalSubscribed(Event, frozen=True, kw_only=True):
    """The code waits for the next external event `name`."""

    name: str


class ExternalEventReceived(Event, frozen=True, kw_only=True):
    """An external event arrived. It is delivered to the oldest open wait of its name, if there is one.

    One that is `kept` stays until it is read: if nobody waits it is for the next wait of its name, and if its wait is
    taken back before the code looked at it, it goes back to its place.
    """

    name: str
    data: Payload
    kept: bool = False


class ExternalSubscriptionCancelled(Event, frozen=True, kw_only=True):
    """The code stopped waiting at subscription `source_event_id`."""

    source_event_id: int
    reason: str


class QueueSubscribed(Event, frozen=True, kw_only=True):
    """The code waits for the next unread message of queue `name`."""

    name: str


class QueueMessageReceived(Event, frozen=True, kw_only=True):
    """A message of queue `name` arrived; it stays until it is read."""

    name: str
    data: Payload
    message_id: str | None = None


class QueueSubscriptionCancelled(Event, frozen=True, kw_only=True):
    """The code stopped waiting at queue subscription `source_event_id` without reading."""

    source_event_id: int
    reason: str


class SubOrchestrationScheduled(Event, frozen=True, kw_only=True):
    """A child was asked for. If it is open when the parent ends it is cancelled, unless `on_parent_end` says else."""

    name: str
    instance: str
    input: Payload
    version: str | None = None
    on_parent_end: OnParentEnd | None = None


class SubOrchestrationCompleted(Event, frozen=True, kw_only=True):
    """Child `source_event_id` returned `result`."""

    source_event_id: int
    result: Payload


class SubOrchestrationFailed(Event, frozen=True, kw_only=True):
    """Child `source_event_id` failed, was cancelled, or could not start."""

    source_event_id: int
    failure: Failure


class SubOrchestrationCancelRequested(Event, frozen=True, kw_only=True):
    """The code stopped waiting for child `source_event_id`; the child was told."""

    source_event_id: int
    reason: str


class OrchestrationChained(Event, frozen=True, kw_only=True):
    """A detached orchestration was started, to begin after `delay_ms` if that is set; nothing comes back from it."""

    name: str
    instance: str
    input: Payload
    version: str | None = None
    delay_ms: int | None = None


class CustomStatusUpdated(Event, frozen=True, kw_only=True):
    """The code set (or, with None, cleared) the status text that queries show."""

    status: str | None


class KeyValueSet(Event, frozen=True, kw_only=True):
    """The code put `value` under `key`."""

    key: str
    value: Payload


class KeyValueCleared(Event, frozen=True, kw_only=True):
    """The code cleared `key`."""

    key: str


class KeyValuesCleared(Event, frozen=True, kw_only=True):
    """The code cleared every key."""


class KeyValueRead(Event, frozen=True, kw_only=True):
    """The code read what earlier executions had left under `key`: `value`, or nothing."""

    key: str
    value: Payload | None = None


class KeptKey(Struct, frozen=True):
    """A key, and when what stands under it was put there."""

    key: str
    updated_at_ms: int


class KeysRead(Event, frozen=True, kw_only=True):
    """The code read under which keys earlier executions had left something, ascending."""

    keys: tuple[KeptKey, ...] = ()


ExecutionEnd = OrchestrationCompleted | OrchestrationFailed | OrchestrationCancelled | OrchestrationContinuedAsNew
AnyEvent = (
    OrchestrationStarted
    | ExecutionEnd
    | OrchestrationCancelRequested
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelRequested
    | TimerCreated
    | TimerFired
    | TimerCancelled
    | ExternalSubscribed
    | ExternalEventReceived
    | ExternalSubscriptionCancelled
    | QueueSubscribed
    | QueueMessageReceived
    | QueueSubscriptionCancelled
    | SubOrchestrationScheduled
    | SubOrchestrationCompleted
    | SubOrchestrationFailed
    | SubOrchestrationCancelRequested
    | OrchestrationChained
    | CustomStatusUpdated
    | KeyValueSet
    | KeyValueCleared
    | KeyValuesCleared
    | KeyValueRead
    | KeysRead
)
