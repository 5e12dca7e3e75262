"""Does a turn hold together? What it consumed became its events, and what its events ask for was handed out.

A turn may be several records. What it consumed stands on the last one, so it is judged when that has been read.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.model import events as on
from engine.model import messages as m
from engine.model.failure import Failure
from engine.model.ids import FIRST_EVENT
from engine.model.key_values import KeyValueChange
from engine.model.payload import Payload
from engine.model.turn import Disposition
from engine.model.work import WorkItem
from provider_log import records as r
from provider_log.audit.executions import ANSWERS, TAKES_BACK, Found, Life, check_status
from provider_log.audit.findings import Kind
from provider_log.audit.queues import Queues, Timer

Answer = tuple[type, int, tuple[Payload | Failure | None, ...]]
"""Kind of an answering event, the event it answers, and all that it says."""

_ANSWER_OF: Mapping[type, Callable[[Any], Answer]] = {
    m.CompleteActivity: lambda one: (on.ActivityCompleted, one.activity_id, (one.result,)),
    m.FailActivity: lambda one: (on.ActivityFailed, one.activity_id, (one.failure, one.heartbeat)),
    m.CompleteSubOrchestration: lambda one: (on.SubOrchestrationCompleted, one.event_id, (one.result,)),
    m.FailSubOrchestration: lambda one: (on.SubOrchestrationFailed, one.event_id, (one.failure,)),
    m.FireTimer: lambda one: (_fired(one.timer_id), one.timer_id, ()),
}
"""The event that each answering message must become, if it is applied."""

_SAYS: Mapping[type, tuple[str, ...]] = {
    on.ActivityCompleted: ("result",),
    on.ActivityFailed: ("failure", "heartbeat"),
    on.SubOrchestrationCompleted: ("result",),
    on.SubOrchestrationFailed: ("failure",),
}


class Turn:
    """One turn under way.

    Args:
        record: Its first record.
        life: The instance it belongs to.
    """

    def __init__(self, record: r.TurnCommitted, life: Life) -> None:
        self.instance = record.instance
        self.execution_id = record.execution_id
        self.parts = record.parts
        self.next_part = 0
        self._life = life
        self._asked: dict[int, on.AnyEvent] = {}
        self._closed: list[on.AnyEvent] = []
        self._answers: Counter[Answer] = Counter()
        self._ended: on.ExecutionEnd | None = None
        self._deadline_at_ms: int | None = None
        self._handed_out: set[int] = set()
        self._started_children: set[str] = set()
        self._keys_asked: list[KeyValueChange] = []
        self._keys_changed: list[KeyValueChange] = []

    def fits(self, record: r.TurnCommitted) -> bool:
        """Whether `record` is the next part."""
        return (self.instance, self.execution_id, self.parts, self.next_part) == (
            record.instance,
            record.execution_id,
            record.parts,
            record.part,
        )

    def add(self, event: on.AnyEvent) -> None:
        """An event of it."""
        kind = type(event)
        if kind in ANSWERS:
            said: tuple[Payload | Failure | None, ...] = tuple(getattr(event, name) for name in _SAYS.get(kind, ()))
            self._answers[kind, getattr(event, "source_event_id", 0), said] += 1
            self._closed.append(event)
        elif isinstance(event, on.OrchestrationCancelRequested) and event.is_deadline:
            self._answers[kind, FIRST_EVENT, ()] += 1
        elif isinstance(event, on.OrchestrationStarted):
            self._deadline_at_ms = event.deadline_at_ms
        elif kind in TAKES_BACK:
            self._closed.append(event)
        elif isinstance(event, on.ActivityScheduled | on.TimerCreated | on.SubOrchestrationScheduled):
            self._asked[event.event_id] = event
        elif isinstance(event, on.KeyValueSet | on.KeyValueCleared):
            self._keys_asked.append(KeyValueChange(event.key, getattr(event, "value", None)))
        elif isinstance(event, on.KeyValuesCleared):
            self._keys_asked.append(KeyValueChange())
        elif isinstance(event, on.ExecutionEnd):
            self._ended = event

    def hand_out(self, scheduled: r.Scheduled, item: WorkItem, found: Found) -> None:
        """A work item of it."""
        if scheduled.activity_id in self._handed_out:
            found(Kind.WORK, f"expected activity {scheduled.activity_id} to be handed out once, but it is twice")
        asked = self._asked.get(scheduled.activity_id)
        expected = (self.instance, self.execution_id, self._life.incarnation)
        if (
            item.instance,
            item.execution_id,
            item.incarnation,
        ) != expected or item.activity_id != scheduled.activity_id:
            found(
                Kind.WORK,
                f"expected a work item of this execution, but activity {item.activity_id} is of {item.instance}, "
                f"execution {item.execution_id}",
            )
        elif not isinstance(asked, on.ActivityScheduled) or _asked_for(asked) != _handed(item):
            found(
                Kind.WORK,
                f"expected activity {item.activity_id} ({item.name}) as its turn asked for it, but it did not",
            )
        self._handed_out.add(scheduled.activity_id)
        start_by_ms = (item.limits and item.limits.start_by_ms) or 0
        if scheduled.start_by_ms != start_by_ms:
            found(
                Kind.WORK,
                f"expected activity {item.activity_id} to wait until {start_by_ms} for a worker, as it says, "
                f"but the record says {scheduled.start_by_ms}",
            )

    def change_keys(self, changes: Sequence[KeyValueChange]) -> None:
        """Changes of keys that its records say."""
        self._keys_changed += changes

    def start_child(self, message: m.AnyMessage) -> None:
        """A message of it; starts with a parent are children that it asked for."""
        if isinstance(message, m.StartOrchestration) and message.parent is not None:
            self._started_children.add(message.instance)

    def finish(
        self, record: r.TurnCommitted, given: Counter[Answer], from_lanes: int, queues: Queues, found: Found
    ) -> None:
        """Its last record.

        Args:
            record: That record.
            given: Answers among the messages it consumed and applied.
            from_lanes: How many applied messages came by a topic, whose bytes are not in the history.
            queues: What waits after it.
            found: Where broken rules are reported.
        """
        timers = {timer.timer_id: timer for timer in record.timers}
        for event_id, asked in self._asked.items():
            if event_id in self._life.open:
                self._check_handed_out(event_id, asked, timers, found)
        self._check_deadline(timers, queues, found)
        for timer in record.timers:
            asked = self._asked.get(timer.timer_id)
            fire_at_ms = asked.fire_at_ms if isinstance(asked, on.TimerCreated) else None
            if timer.timer_id == FIRST_EVENT:
                fire_at_ms = self._deadline_at_ms
            is_asked = fire_at_ms == timer.fire_at_ms
            if timer.execution_id != self.execution_id or not is_asked:
                found(Kind.TIMER, f"expected timer {timer.timer_id} as its turn asked for it, but it did not")
        for event in self._closed:
            self._check_taken(event, queues, found)
        self._check_answers(given, from_lanes, found)
        if self._keys_changed != self._keys_asked:
            found(
                Kind.EXECUTION,
                f"expected the keys to be changed as its events say, {_about_keys(self._keys_asked)}, "
                f"but the record says {_about_keys(self._keys_changed)}",
            )
        check_status(record, self._ended, found)

    def _check_handed_out(
        self, event_id: int, asked: on.AnyEvent, timers: Mapping[int, r.TimerSet], found: Found
    ) -> None:
        match asked:
            case on.ActivityScheduled(name=name) if event_id not in self._handed_out:
                found(Kind.WORK, f"expected activity {event_id} ({name}) to be handed out, but the turn did not")
            case on.TimerCreated() if event_id not in timers:
                found(Kind.TIMER, f"expected timer {event_id} to be set, but the turn did not")
            case on.SubOrchestrationScheduled(instance=child) if child not in self._started_children:
                found(Kind.EXECUTION, f"expected child {child} (event {event_id}) to be started, but the turn did not")
            case _:
                pass

    def _check_deadline(self, timers: Mapping[int, r.TimerSet], queues: Queues, found: Found) -> None:
        """An instance with a deadline has the timer of its first event, from the start of an execution to its end."""
        if self._ended is None and self._deadline_at_ms is not None and FIRST_EVENT not in timers:
            found(Kind.TIMER, "expected the timer of the deadline to be set, but the turn did not")
        if self._ended is not None and (self.instance, self.execution_id, FIRST_EVENT) in queues.timers:
            found(Kind.TIMER, "expected the timer of the deadline not to wait after the end, but it does")

    def _check_taken(self, event: on.AnyEvent, queues: Queues, found: Found) -> None:
        """What is answered or taken back waits no more."""
        key = (self.instance, self.execution_id, getattr(event, "source_event_id", 0))
        what = f"after {type(event).__name__} (event {event.event_id})"
        if isinstance(event, on.ActivityCompleted | on.ActivityFailed | on.ActivityCancelRequested):
            if key in queues.work:
                found(Kind.WORK, f"expected activity {key[2]} not to wait {what}, but it does")
        elif isinstance(event, on.TimerFired | on.TimerCancelled) and key in queues.timers:
            found(Kind.TIMER, f"expected timer {key[2]} not to wait {what}, but it does")

    def _check_answers(self, given: Counter[Answer], from_lanes: int, found: Found) -> None:
        not_given = self._answers - given
        if not_given.total() > from_lanes:
            for kind, source, _ in not_given:
                found(
                    Kind.ANSWER,
                    f"expected {kind.__name__} for event {source} to say what a consumed message said, "
                    f"but no message of this turn said so",
                )
        for kind, source, _ in given - self._answers:
            found(
                Kind.ANSWER,
                f"expected an applied message to become {kind.__name__} for event {source}, but the turn has none",
            )


def _asked_for(asked: on.ActivityScheduled) -> tuple[object, ...]:
    """All of an activity that its work item must say too."""
    limits = asked.limits
    if limits is None:
        return asked.name, asked.input, asked.session_id, asked.heartbeat, None
    wait_ms = limits.queue_timeout_ms
    start_by_ms = None if wait_ms is None else asked.timestamp_ms + wait_ms
    said = (wait_ms, limits.run_timeout_ms, limits.heartbeat_timeout_ms, start_by_ms)
    return asked.name, asked.input, asked.session_id, asked.heartbeat, said


def _handed(item: WorkItem) -> tuple[object, ...]:
    """The same of a work item."""
    limits = item.limits
    said = limits and (
        limits.queue_timeout_ms,
        limits.run_timeout_ms,
        limits.heartbeat_timeout_ms,
        limits.start_by_ms,
    )
    return item.name, item.input, item.session_id, item.heartbeat, said


def _about_keys(changes: Sequence[KeyValueChange]) -> str:
    """Which keys, in order; what is put there may be large, or a secret."""
    return ", ".join("all" if change.key is None else repr(change.key) for change in changes) or "none"


def answer_of(message: m.AnyMessage, record: r.TurnCommitted) -> Answer | None:
    """What `message`, consumed and applied by `record`, says in answer to its execution; None if nothing."""
    build = _ANSWER_OF.get(type(message))
    asked_by = (getattr(message, "execution_id", 0), getattr(message, "incarnation", 0))
    if build is None or asked_by != (record.execution_id, record.incarnation):
        return None
    return build(message)


def answer_of_timer(consumed: r.Consumed, timer: Timer | None) -> Answer | None:
    """What a timer that was set, and consumed and applied, says."""
    is_applied = timer is not None and consumed.disposition is Disposition.APPLIED
    return (_fired(consumed.place), consumed.place, ()) if is_applied else None


def _fired(timer_id: int) -> type:
    """What a timer becomes: that of the first event is the deadline of the instance."""
    return on.OrchestrationCancelRequested if timer_id == FIRST_EVENT else on.TimerFired
