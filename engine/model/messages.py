"""What can arrive for an instance? The messages of the orchestrator queue.

Every message names the instance it is for. Completions carry the incarnation and execution that asked, so that an
answer to a deleted life or an earlier execution is recognised and dropped.
"""

from msgspec import Struct

from engine.model.events import CarriedMessage
from engine.model.failure import Failure
from engine.model.ids import ParentLink
from engine.model.payload import Payload
from engine.model.policies import ReusePolicy


class Message(Struct, frozen=True, kw_only=True, tag=True):
    """The part every message has: the instance it is for."""

    instance: str


class External(Message, frozen=True, kw_only=True):
    """The part every message of a client has.

    Attributes:
        message_id: One per logical call, kept over retries: the second with the same id is dropped.
        traceparent: W3C trace context of the caller.
    """

    message_id: str | None = None
    traceparent: str | None = None


class StartOrchestration(External, frozen=True, kw_only=True):
    """Start `name` as a new instance. If the instance exists, it is ignored and recorded as a duplicate.

    Attributes:
        if_exists: With `RESTART_ENDED`, an instance that has ended begins anew: another life under the same id.
        start_at_ms: Not visible before this instant, in milliseconds since 1970; at once if None.
        deadline_ms: So long after its first turn it has to have ended; without a bound if None.
    """

    name: str
    input: Payload
    version: str | None = None
    parent: ParentLink | None = None
    start_at_ms: int | None = None
    deadline_ms: int | None = None
    if_exists: ReusePolicy | None = None


class ContinueInstance(Message, frozen=True, kw_only=True):
    """Start the next execution of an instance that continued as new."""

    incarnation: int
    name: str
    input: Payload
    version: str | None = None
    parent: ParentLink | None = None
    carried: tuple[CarriedMessage, ...] = ()
    custom_status: str | None = None
    deadline_at_ms: int | None = None


class CompleteActivity(Message, frozen=True, kw_only=True):
    """Activity `activity_id` returned `result`."""

    incarnation: int
    execution_id: int
    activity_id: int
    result: Payload


class FailActivity(Message, frozen=True, kw_only=True):
    """Activity `activity_id` raised, or took too long. `heartbeat` is what it said last of how far it was."""

    incarnation: int
    execution_id: int
    activity_id: int
    failure: Failure
    heartbeat: Payload | None = None


class FireTimer(Message, frozen=True, kw_only=True):
    """Timer `timer_id` is due. Not visible before `fire_at_ms`. That of the first event is the instance's deadline."""

    incarnation: int
    execution_id: int
    timer_id: int
    fire_at_ms: int


class RaiseEvent(External, frozen=True, kw_only=True):
    """External event `name`: delivered to the oldest open wait of its name, recorded and dropped if there is none.

    With `keep` it is not dropped: the next wait of its name in this execution gets it.
    """

    name: str
    data: Payload
    keep: bool = False


class EnqueueMessage(External, frozen=True, kw_only=True):
    """A message for queue `name` of the instance: kept until it is read."""

    name: str
    data: Payload


class CompleteSubOrchestration(Message, frozen=True, kw_only=True):
    """To the parent: the child of call `event_id` returned `result`."""

    incarnation: int
    execution_id: int
    event_id: int
    result: Payload


class FailSubOrchestration(Message, frozen=True, kw_only=True):
    """To the parent: the child of call `event_id` ended without a result."""

    incarnation: int
    execution_id: int
    event_id: int
    failure: Failure


class CancelInstance(External, frozen=True, kw_only=True):
    """Ask the instance to end. `incarnation` is set when only that life is meant (a parent's cancel)."""

    reason: str
    incarnation: int | None = None


def due_at_ms(message: "AnyMessage") -> int:
    """When `message` says that it is for, in milliseconds since 1970: not visible before. 0 if it says nothing."""
    match message:
        case FireTimer(fire_at_ms=at_ms):
            return at_ms
        case StartOrchestration(start_at_ms=int(at_ms)):
            return at_ms
        case _:
            return 0


Completion = CompleteActivity | FailActivity | CompleteSubOrchestration | FailSubOrchestration
"""What comes back to a life of an instance that asked. For one that does not exist it is of a life that was deleted."""

AnyMessage = (
    StartOrchestration
    | ContinueInstance
    | CompleteActivity
    | FailActivity
    | FireTimer
    | RaiseEvent
    | EnqueueMessage
    | CompleteSubOrchestration
    | FailSubOrchestration
    | CancelInstance
)
