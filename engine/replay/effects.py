"""What does a turn leave behind? New events become one TurnResult: work, messages, what is taken back, what shows.

Work that was asked for and taken back in the same turn is never handed out at all.
"""

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from engine.model.events import (
    ActivityCancelRequested,
    ActivityScheduled,
    AnyEvent,
    CarriedMessage,
    CustomStatusUpdated,
    KeyValueCleared,
    KeyValuesCleared,
    KeyValueSet,
    OrchestrationCancelled,
    OrchestrationCancelRequested,
    OrchestrationChained,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
    OrchestrationStarted,
    SubOrchestrationCancelRequested,
    SubOrchestrationScheduled,
    TimerCancelled,
    TimerCreated,
)
from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.key_values import KeyValueChange
from engine.model.limits import ActivityLimits, WorkLimits
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    CompleteSubOrchestration,
    ContinueInstance,
    FailSubOrchestration,
    FireTimer,
    StartOrchestration,
)
from engine.model.status import Status
from engine.model.turn import ActivityRef, Disposition, ExecutionMetadata, TimerRef, TurnResult
from engine.model.version import RULES
from engine.model.work import WorkItem

LOGGER = logging.getLogger("turnlog.turn")
CARRIED_MESSAGES_MAX = 1_000
"""So many unread queue messages survive a continue-as-new: the oldest."""


Queue = tuple[str | None, str | None]
"""Session id and tag of an activity."""

NO_SESSION: Queue = (None, None)


class Effects:
    """Collects a turn.

    Args:
        instance: Whose turn it is.
        execution_id: Which execution the events belong to.
        started: Its first event.
        instance_of: The id of the child that a recorded call started, for cancelling it.
        queue_of: Session and tag of the activity that a recorded call asked for, for taking it back; the tag is of use
            with a session alone.
        is_new_life: Whether its first event is in the turn, and the instance had ended before.

    Attributes:
        delta: The new events so far.
        replies: Told to callers whose starts met this instance.
        carried: Unread queue messages for the next execution.
        resent: Messages of this batch that are for the next execution, to be delivered again.
    """

    def __init__(
        self,
        instance: str,
        execution_id: int,
        started: OrchestrationStarted,
        instance_of: Callable[[int], str],
        queue_of: Callable[[int], Queue],
        *,
        is_new_life: bool = False,
    ) -> None:
        self.instance = instance
        self.execution_id = execution_id
        self.started = started
        self.delta: list[AnyEvent] = []
        self.replies: list[AnyMessage] = []
        self.carried: tuple[CarriedMessage, ...] = ()
        self.resent: list[AnyMessage] = []
        self._messages: list[AnyMessage] = []
        self._instance_of = instance_of
        self._queue_of = queue_of
        self._work: dict[int, WorkItem] = {}
        self._timers: dict[int, FireTimer] = {}
        self._starts: dict[int, StartOrchestration] = {}
        self._cancelled_activities: list[ActivityRef] = []
        self._cancelled_timers: list[TimerRef] = []
        self._metadata: dict[str, Any] = {}
        self._has_passed_deadline = False
        self.is_new_life = is_new_life
        self._key_values: list[KeyValueChange] = []
        self._continued: OrchestrationContinuedAsNew | None = None

    def add(self, events: list[AnyEvent]) -> None:
        """These happened next."""
        self.delta += events
        for event in events:
            effect = self._effects.get(type(event))
            if effect is not None:
                effect(self, event)

    def result(self, dispositions: list[Disposition], custom_status: str | None) -> TurnResult:
        """All of it. `custom_status` is what the next execution begins with, if there is one."""
        messages: list[AnyMessage] = [*self._starts.values(), *self._messages, *self._timers.values()]
        if self._continued is not None:
            messages.append(self._continuation(self._continued, custom_status))
        return TurnResult(
            execution_id=self.execution_id,
            history_delta=tuple(self.delta),
            work_items=tuple(self._work.values()),
            messages=(*messages, *self.replies, *self.resent),
            metadata=ExecutionMetadata(**self._metadata) if self._metadata else NO_METADATA,
            cancelled_activities=tuple(self._cancelled_activities),
            cancelled_timers=tuple(self._cancelled_timers),
            dispositions=tuple(dispositions),
            key_values=tuple(self._key_values),
        )

    def _continuation(self, event: OrchestrationContinuedAsNew, custom_status: str | None) -> ContinueInstance:
        lost = len(self.carried) - CARRIED_MESSAGES_MAX
        if lost > 0:
            LOGGER.warning(
                "%s continues as new with more than %d unread queue messages; the newest %d are lost",
                self.instance,
                CARRIED_MESSAGES_MAX,
                lost,
            )
        return ContinueInstance(
            instance=self.instance,
            incarnation=self.started.incarnation,
            name=self.started.name,
            input=event.input,
            version=event.version,
            parent=self.started.parent,
            carried=self.carried[:CARRIED_MESSAGES_MAX],
            custom_status=custom_status,
            deadline_at_ms=self.started.deadline_at_ms,
        )

    def _start(self, event: OrchestrationStarted) -> None:
        if self.is_new_life:
            self._metadata.update(new_life=True, set_custom_status=True, custom_status=None)
        self._metadata.update(
            start_id=event.message_id,
            status=Status.RUNNING,
            orchestration_name=event.name,
            orchestration_version=event.version,
            parent_instance=event.parent.instance if event.parent else None,
            incarnation=event.incarnation,
            pinned_version=RULES,
        )
        if event.deadline_at_ms is not None:
            self._put_timer(event.event_id, event.deadline_at_ms)

    def _ask_to_end(self, event: OrchestrationCancelRequested) -> None:
        self._has_passed_deadline = event.is_deadline

    def _take_back_deadline(self) -> None:
        """The execution ends: its deadline has nothing more to say."""
        if self.started.deadline_at_ms is not None and not self._has_passed_deadline:
            self._drop_timer(self.started.event_id)

    def _hand_out(self, event: ActivityScheduled) -> None:
        self._work[event.event_id] = WorkItem(
            instance=self.instance,
            incarnation=self.started.incarnation,
            execution_id=self.execution_id,
            activity_id=event.event_id,
            name=event.name,
            input=event.input,
            orchestration=self.started.name,
            version=self.started.version,
            session_id=event.session_id,
            tag=event.tag,
            traceparent=self.started.traceparent,
            limits=None if event.limits is None else _limits_from(event.limits, event.timestamp_ms),
            heartbeat=event.heartbeat,
        )

    def _take_back_activity(self, event: ActivityCancelRequested) -> None:
        source = event.source_event_id
        if self._work.pop(source, None) is None:
            session_id, tag = self._queue_of(source)
            self._cancelled_activities.append(ActivityRef(self.instance, self.execution_id, source, session_id, tag))

    def _set_timer(self, event: TimerCreated) -> None:
        self._put_timer(event.event_id, event.fire_at_ms)

    def _put_timer(self, timer_id: int, fire_at_ms: int) -> None:
        self._timers[timer_id] = FireTimer(
            instance=self.instance,
            incarnation=self.started.incarnation,
            execution_id=self.execution_id,
            timer_id=timer_id,
            fire_at_ms=fire_at_ms,
        )

    def _take_back_timer(self, event: TimerCancelled) -> None:
        self._drop_timer(event.source_event_id)

    def _drop_timer(self, timer_id: int) -> None:
        if self._timers.pop(timer_id, None) is None:
            self._cancelled_timers.append(TimerRef(self.execution_id, timer_id))

    def _start_child(self, event: SubOrchestrationScheduled) -> None:
        caller = ParentLink(self.instance, self.started.incarnation, self.execution_id, event.event_id)
        self._send_start(event, caller)

    def _start_detached(self, event: OrchestrationChained) -> None:
        start_at_ms = None if event.delay_ms is None else event.timestamp_ms + event.delay_ms
        self._send_start(event, None, start_at_ms)

    def _send_start(
        self,
        event: SubOrchestrationScheduled | OrchestrationChained,
        parent: ParentLink | None,
        start_at_ms: int | None = None,
    ) -> None:
        self._starts[event.event_id] = StartOrchestration(
            instance=event.instance,
            name=event.name,
            input=event.input,
            version=event.version,
            parent=parent,
            traceparent=self.started.traceparent,
            start_at_ms=start_at_ms,
        )

    def _cancel_child(self, event: SubOrchestrationCancelRequested) -> None:
        source = event.source_event_id
        if self._starts.pop(source, None) is None:
            reason = f"{self.instance}: {event.reason}"
            self._messages.append(CancelInstance(instance=self._instance_of(source), reason=reason))

    def _set_status(self, event: CustomStatusUpdated) -> None:
        self._metadata.update(set_custom_status=True, custom_status=event.status)

    def _change_key(self, event: KeyValueSet | KeyValueCleared) -> None:
        value = event.value if isinstance(event, KeyValueSet) else None
        self._key_values.append(KeyValueChange(event.key, value))

    def _clear_keys(self, _event: KeyValuesCleared) -> None:
        self._key_values.append(KeyValueChange())

    def _complete(self, event: OrchestrationCompleted) -> None:
        self._metadata.update(status=Status.COMPLETED, output=event.output)
        self._take_back_deadline()
        parent = self.started.parent
        if parent is not None:
            self._messages.append(
                CompleteSubOrchestration(
                    instance=parent.instance,
                    incarnation=parent.incarnation,
                    execution_id=parent.execution_id,
                    event_id=parent.event_id,
                    result=event.output,
                )
            )

    def _fail(self, event: OrchestrationFailed) -> None:
        self._end_without_result(Status.FAILED, event.failure)

    def _cancelled(self, event: OrchestrationCancelled) -> None:
        failure = Failure(category=Category.CANCELLED, type="Cancelled", message=event.reason, retryable=False)
        self._end_without_result(Status.CANCELLED, failure)

    def _end_without_result(self, status: Status, failure: Failure) -> None:
        self._metadata.update(status=status, failure=failure)
        self._take_back_deadline()
        parent = self.started.parent
        if parent is not None:
            self._messages.append(
                FailSubOrchestration(
                    instance=parent.instance,
                    incarnation=parent.incarnation,
                    execution_id=parent.execution_id,
                    event_id=parent.event_id,
                    failure=failure,
                )
            )

    def _continue(self, event: OrchestrationContinuedAsNew) -> None:
        self._metadata.update(status=Status.CONTINUED_AS_NEW, output=event.input)
        self._take_back_deadline()
        self._continued = event

    _effects: ClassVar[dict[type, Callable[["Effects", Any], None]]] = {
        OrchestrationStarted: _start,
        OrchestrationCancelRequested: _ask_to_end,
        ActivityScheduled: _hand_out,
        ActivityCancelRequested: _take_back_activity,
        TimerCreated: _set_timer,
        TimerCancelled: _take_back_timer,
        SubOrchestrationScheduled: _start_child,
        SubOrchestrationCancelRequested: _cancel_child,
        OrchestrationChained: _start_detached,
        CustomStatusUpdated: _set_status,
        KeyValueSet: _change_key,
        KeyValueCleared: _change_key,
        KeyValuesCleared: _clear_keys,
        OrchestrationCompleted: _complete,
        OrchestrationFailed: _fail,
        OrchestrationCancelled: _cancelled,
        OrchestrationContinuedAsNew: _continue,
    }


def _limits_from(limits: ActivityLimits, asked_at_ms: int) -> WorkLimits:
    queue_timeout_ms = limits.queue_timeout_ms
    return WorkLimits(
        queue_timeout_ms=queue_timeout_ms,
        run_timeout_ms=limits.run_timeout_ms,
        heartbeat_timeout_ms=limits.heartbeat_timeout_ms,
        start_by_ms=None if queue_timeout_ms is None else asked_at_ms + queue_timeout_ms,
    )


NO_METADATA = ExecutionMetadata()
