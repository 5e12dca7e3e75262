"""What does a turn leave behind? One value that a provider commits whole or not at all."""

import enum

from msgspec import Struct

from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.key_values import KeyValueChange
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.version import EngineVersion
from engine.model.work import WorkItem


class Disposition(enum.Enum):
    """What became of a message that a turn consumed."""

    APPLIED = "applied"  # it became an event
    DUPLICATE = "duplicate"  # a start of an instance that exists, or an answer that was there already
    STALE = "stale"  # of an earlier execution, or after the end
    EARLY = "early"  # an external event nobody waited for; recorded, not delivered
    OTHER_INCARNATION = "other_incarnation"  # of a life of the instance that was deleted
    ORPHAN = "orphan"  # a queue message for an instance that does not exist
    PARKED = "parked"  # moved into the changelog, to be consumed later
    FORWARDED = "forwarded"  # sent on to the partition it belongs to
    DEAD_LETTERED = "dead_lettered"
    UNKNOWN = "unknown"  # written by a newer version than this one


class ActivityRef(Struct, frozen=True):
    """An activity of the instance whose turn this is (or, in a conformance test, of any instance).

    `session_id` and `tag` are those of its work item: they say where to look for it.
    """

    instance: str
    execution_id: int
    activity_id: int
    session_id: str | None = None
    tag: str | None = None


class TimerRef(Struct, frozen=True):
    """A timer of the instance whose turn this is."""

    execution_id: int
    timer_id: int


class ExecutionMetadata(Struct, frozen=True, kw_only=True):
    """What the engine tells a provider about the execution, so that it need not understand events.

    None leaves what is stored as it is. `output` goes with COMPLETED and CONTINUED_AS_NEW (the next input), `failure`
    with FAILED and CANCELLED. `start_id` is the message id of the start that began this life of the instance. With
    `new_life` the instance had ended and begins anew with this execution: keys, custom status, parent and what it ended
    with are those of the life before, and are forgotten before all else. `set_custom_status` says whether
    `custom_status` is meant. `pinned_version` says whose rules the execution is run by, as long as it lasts: engines
    that do not know them do not get it.
    """

    status: Status | None = None
    output: Payload | None = None
    failure: Failure | None = None
    orchestration_name: str | None = None
    orchestration_version: str | None = None
    parent_instance: str | None = None
    incarnation: int | None = None
    set_custom_status: bool = False
    custom_status: str | None = None
    pinned_version: EngineVersion | None = None
    start_id: str | None = None
    new_life: bool = False


class TurnResult(Struct, frozen=True, kw_only=True):
    """Everything one turn changes. The provider makes all of it true in one commit, or none of it.

    Attributes:
        execution_id: The execution the events belong to; it becomes the current one if it is newer.
        history_delta: New events, ascending ids. Ids may have gaps; an id that exists already is refused.
        work_items: Activities to hand out, inserted before `cancelled_activities` are taken back.
        messages: For this or other instances. Visible at once, or when a message says (`messages.due_at_ms`).
        metadata: What queries show.
        cancelled_activities: Work items to take back; those that are gone already are fine.
        cancelled_timers: Timers that must not fire any more; those that fired already are fine.
        dispositions: What became of each consumed message, in the order of `OrchestrationItem.messages`; may be
            empty, then all count as applied.
        key_values: What the code put under the instance's keys and cleared, in order.
    """

    execution_id: int
    history_delta: tuple[AnyEvent, ...] = ()
    work_items: tuple[WorkItem, ...] = ()
    messages: tuple[AnyMessage, ...] = ()
    metadata: ExecutionMetadata = ExecutionMetadata()
    cancelled_activities: tuple[ActivityRef, ...] = ()
    cancelled_timers: tuple[TimerRef, ...] = ()
    dispositions: tuple[Disposition, ...] = ()
    key_values: tuple[KeyValueChange, ...] = ()
