"""What did the code ask for? Actions come out of a turn in the order the code asked, and become events."""

from msgspec import Struct

from engine.model.limits import ActivityLimits
from engine.model.payload import Payload
from engine.model.policies import OnParentEnd


class CallActivity(Struct, frozen=True, kw_only=True):
    """Run activity `name`; `heartbeat` is what the attempt before left."""

    name: str
    input: Payload
    session_id: str | None = None
    tag: str | None = None
    limits: ActivityLimits | None = None
    heartbeat: Payload | None = None


class CreateTimer(Struct, frozen=True, kw_only=True):
    """Wake the code at `fire_at_ms`."""

    fire_at_ms: int


class WaitExternal(Struct, frozen=True, kw_only=True):
    """Wait for external event `name`."""

    name: str


class DequeueMessage(Struct, frozen=True, kw_only=True):
    """Read the next message of queue `name`."""

    name: str


class StartSubOrchestration(Struct, frozen=True, kw_only=True):
    """Start a child; `instance` None asks for the automatic id."""

    name: str
    input: Payload
    instance: str | None = None
    version: str | None = None
    on_parent_end: OnParentEnd | None = None


class StartDetached(Struct, frozen=True, kw_only=True):
    """Start an orchestration of its own, after `delay_ms` if that is set."""

    name: str
    instance: str
    input: Payload
    version: str | None = None
    delay_ms: int | None = None


class UpdateCustomStatus(Struct, frozen=True, kw_only=True):
    """Show `status` in queries, or nothing."""

    status: str | None


class SetKeyValue(Struct, frozen=True, kw_only=True):
    """Put `value` under `key`."""

    key: str
    value: Payload


class ClearKeyValue(Struct, frozen=True, kw_only=True):
    """Clear `key`."""

    key: str


class ClearKeyValues(Struct, frozen=True, kw_only=True):
    """Clear every key."""


class ReadKeyValue(Struct, frozen=True, kw_only=True):
    """Read what earlier executions left under `key`."""

    key: str


class ReadKeys(Struct, frozen=True, kw_only=True):
    """Read under which keys earlier executions left something."""


class CancelAsked(Struct, frozen=True, kw_only=True):
    """Take back what event `source_event_id` recorded as asked for."""

    source_event_id: int
    reason: str


class ContinueAsNew(Struct, frozen=True, kw_only=True):
    """End this execution and start the next with `input`."""

    input: Payload
    version: str | None = None


AnyAction = (
    CallActivity
    | CreateTimer
    | WaitExternal
    | DequeueMessage
    | StartSubOrchestration
    | StartDetached
    | UpdateCustomStatus
    | SetKeyValue
    | ClearKeyValue
    | ClearKeyValues
    | ReadKeyValue
    | ReadKeys
    | CancelAsked
    | ContinueAsNew
)
