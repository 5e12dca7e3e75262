"""Is what happened to one instance a history? Starts, ends, event ids, one answer a question: the checker's own.

Deliberately not `engine.replay.history`, which refuses the first thing wrong with a whole history: this one goes event
by event, says all that is wrong, and looks at what closes an execution too.
"""

from collections.abc import Callable, Iterable, Mapping

from engine.model import events as on
from engine.model.ids import FIRST_EVENT, FIRST_EXECUTION
from engine.model.policies import OnParentEnd
from engine.model.status import EXECUTION_ENDS, Status
from provider_log import records as r
from provider_log.audit.findings import Kind

ANSWERS: Mapping[type, type] = {
    on.ActivityCompleted: on.ActivityScheduled,
    on.ActivityFailed: on.ActivityScheduled,
    on.TimerFired: on.TimerCreated,
    on.SubOrchestrationCompleted: on.SubOrchestrationScheduled,
    on.SubOrchestrationFailed: on.SubOrchestrationScheduled,
}
"""Which kind of event each answer answers."""

TAKES_BACK: Mapping[type, type] = {
    on.ActivityCancelRequested: on.ActivityScheduled,
    on.TimerCancelled: on.TimerCreated,
    on.SubOrchestrationCancelRequested: on.SubOrchestrationScheduled,
    on.ExternalSubscriptionCancelled: on.ExternalSubscribed,
    on.QueueSubscriptionCancelled: on.QueueSubscribed,
}
"""Which kind of event each cancellation takes back."""

ASKS = frozenset(TAKES_BACK.values())
"""What stays open until it is answered or taken back."""

CLOSED_AT_END = (on.ActivityScheduled, on.TimerCreated, on.SubOrchestrationScheduled, on.ExternalSubscribed)
"""What must be answered or taken back before an execution ends. A queue reader need not: what it got is no event; nor a
child that was started to go on without its parent."""

STATUS_OF: Mapping[type, Status] = {
    on.OrchestrationCompleted: Status.COMPLETED,
    on.OrchestrationFailed: Status.FAILED,
    on.OrchestrationCancelled: Status.CANCELLED,
    on.OrchestrationContinuedAsNew: Status.CONTINUED_AS_NEW,
}
"""The status of the record whose last event ends the execution."""

Found = Callable[[Kind, str], None]
"""Reports a sentence about the instance under examination."""


class Life:
    """One life of an instance: its executions, one after the other. Made at its first event."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.execution_id = 0
        self.unjudged = False  # a repair rewrote its rows, or a record of it is lost and that has been said
        self.end: on.ExecutionEnd | None = None
        self.open: dict[int, on.AnyEvent] = {}
        self._pruned: set[int] = set()
        self._answered: set[int] = set()
        self._waits: dict[str, list[int]] = {}
        self._kept: dict[str, list[int]] = {}
        self._lent: dict[int, int] = {}  # by wait: the kept event it got; whether the code looked is no event
        self._next_id = FIRST_EVENT
        self._cancels = 0
        self._time_ms = 0
        self._deadline_at_ms: int | None = None
        self._is_renewed = False  # the next execution is of another life
        self._is_first = True  # of this life

    @property
    def _goes_on(self) -> bool:
        """Whether the next execution follows one of the same life."""
        return self.execution_id >= FIRST_EXECUTION and not self._is_renewed

    @property
    def last_event_id(self) -> int:
        """Of the last execution; 0 before its first event."""
        return self._next_id - 1

    @property
    def is_over(self) -> bool:
        """Whether the last execution ended for good."""
        return self.end is not None and not isinstance(self.end, on.OrchestrationContinuedAsNew)

    def begin(self, execution_id: int, found: Found) -> None:
        """The next event belongs to `execution_id`, which is another than the last one."""
        expected = self.execution_id + 1
        if execution_id != expected:
            found(Kind.EXECUTION, f"expected execution {expected}, but the record is of execution {execution_id}")
        elif self._goes_on and not isinstance(self.end, on.OrchestrationContinuedAsNew):
            found(
                Kind.EXECUTION,
                f"expected execution {self.execution_id} to have continued as new, but execution {execution_id} "
                f"follows {_name(self.end) if self.end else 'while it runs'}",
            )
        if not self._goes_on:
            self._deadline_at_ms = None
        self._is_first, self._is_renewed = not self._goes_on, False
        self.execution_id = execution_id
        self.end = None
        self.open, self._answered = {}, set()
        self._waits, self._kept, self._lent = {}, {}, {}
        self._next_id, self._cancels, self._time_ms = FIRST_EVENT, 0, 0

    def renew(self, incarnation: int, found: Found) -> None:
        """The next execution begins another life under the same id: only what has ended may, and as another."""
        if not self.is_over:
            found(Kind.EXECUTION, f"expected execution {self.execution_id} to have ended, but a new life begins")
        if incarnation == self.incarnation:
            found(Kind.EXECUTION, f"expected another incarnation than {incarnation} for a new life, but it is the same")
        self.incarnation = incarnation
        self._is_renewed = True

    def prune(self, execution_ids: Iterable[int], found: Found) -> None:
        """These executions are forgotten: only earlier ones can be, each of them once."""
        for execution_id in execution_ids:
            if not FIRST_EXECUTION <= execution_id < self.execution_id:
                found(
                    Kind.EXECUTION,
                    f"expected an execution before {self.execution_id} to be pruned, but it is {execution_id}",
                )
            elif execution_id in self._pruned:
                found(Kind.EXECUTION, f"expected execution {execution_id} to be pruned once, but it is the second time")
            self._pruned.add(execution_id)

    def add(self, event: on.AnyEvent, time_ms: int, found: Found) -> None:
        """The next event, recorded at `time_ms`."""
        event_id = event.event_id
        if self.end is not None:
            found(Kind.EXECUTION, f"expected nothing after {_name(self.end)}, but event {event_id} follows it")
        if event_id != self._next_id:
            found(Kind.EXECUTION, f"expected event {self._next_id}, but it is event {event_id} ({_name(event)})")
        if isinstance(event, on.OrchestrationStarted) != (self._next_id == FIRST_EVENT):
            found(
                Kind.EXECUTION,
                f"expected one OrchestrationStarted, as the first event, but event {event_id} is {_name(event)}",
            )
        if not self._time_ms <= event.timestamp_ms <= time_ms:
            found(
                Kind.TIME,
                f"expected event {event_id} between {self._time_ms} and {time_ms}, but it is of {event.timestamp_ms}",
            )
        self._next_id = event_id + 1
        self._time_ms = max(self._time_ms, event.timestamp_ms)
        self._apply(event, found)

    def _apply(self, event: on.AnyEvent, found: Found) -> None:
        kind = type(event)
        if kind in ANSWERS:
            self._answer(event, ANSWERS[kind], found)
        elif kind in TAKES_BACK:
            self._answer(event, TAKES_BACK[kind], found)
        elif kind in ASKS:
            self.open[event.event_id] = event
        match event:
            case on.OrchestrationStarted(incarnation=incarnation) if incarnation != self.incarnation:
                found(Kind.EXECUTION, f"expected incarnation {self.incarnation}, but the start is of {incarnation}")
            case on.OrchestrationStarted(deadline_at_ms=deadline_at_ms):
                self._take_deadline(deadline_at_ms, found)
            case on.OrchestrationCancelRequested():
                self._ask_to_end(event, found)
            case on.ExternalSubscribed(event_id=event_id, name=name):
                self._waits.setdefault(name, []).append(event_id)
                self._lend(name)
            case on.ExternalEventReceived():
                self._receive(event)
            case _ if isinstance(event, on.ExecutionEnd):
                self._finish(event, found)
            case _:
                pass

    def _ask_to_end(self, event: on.OrchestrationCancelRequested, found: Found) -> None:
        self._cancels += 1
        if self._cancels > 1:
            found(Kind.EXECUTION, f"expected one cancel request an execution, but event {event.event_id} is another")
        if event.is_deadline and (self._deadline_at_ms is None or event.timestamp_ms < self._deadline_at_ms):
            found(
                Kind.TIMER,
                f"expected the deadline to pass at {self._deadline_at_ms} or later, but it passed at "
                f"{event.timestamp_ms}",
            )

    def _take_deadline(self, deadline_at_ms: int | None, found: Found) -> None:
        """A deadline is the instance's, so every execution of a life has the first one's."""
        if not self._is_first and deadline_at_ms != self._deadline_at_ms:
            found(
                Kind.EXECUTION,
                f"expected the deadline {self._deadline_at_ms} in every execution, but here it is {deadline_at_ms}",
            )
        self._deadline_at_ms = deadline_at_ms

    def _answer(self, event: on.AnyEvent, asked_kind: type, found: Found) -> None:
        source: int = getattr(event, "source_event_id", 0)
        asked = self.open.get(source)
        what = f"{_name(event)} (event {event.event_id})"
        if source in self._answered:
            found(Kind.ANSWER, f"expected one answer to event {source}, but {what} is another")
        elif asked is None:
            found(
                Kind.ANSWER,
                f"expected {what} to answer {asked_kind.__name__} of this execution, but no event {source} asked",
            )
        elif type(asked) is not asked_kind:
            found(Kind.ANSWER, f"expected {what} to answer {asked_kind.__name__}, but event {source} is {_name(asked)}")
        else:
            if isinstance(asked, on.TimerCreated) and isinstance(event, on.TimerFired):
                self._check_due(asked, event, found)
            self._close(source)
            if isinstance(asked, on.ExternalSubscribed):
                self._wait_no_more(asked)

    def _receive(self, event: on.ExternalEventReceived) -> None:
        """An event is for the oldest wait; one that is kept closes it not: it may come back."""
        if event.kept:
            self._kept.setdefault(event.name, []).append(event.event_id)
            self._lend(event.name)
        elif waits := self._waits.get(event.name):
            self._close(waits.pop(0))

    def _lend(self, name: str) -> None:
        waits, kept = self._waits.get(name), self._kept.get(name)
        if waits and kept:
            self._lent[waits.pop(0)] = kept.pop(0)

    def _wait_no_more(self, asked: on.ExternalSubscribed) -> None:
        """A kept event that was never looked at goes back to its place."""
        lent = self._lent.pop(asked.event_id, None)
        if lent is None:
            self._waits[asked.name].remove(asked.event_id)
        else:
            self._kept[asked.name] = sorted([*self._kept[asked.name], lent])
            self._lend(asked.name)

    def _check_due(self, asked: on.TimerCreated, event: on.TimerFired, found: Found) -> None:
        if event.timestamp_ms < asked.fire_at_ms:
            found(
                Kind.TIMER,
                f"expected timer {asked.event_id} to fire at {asked.fire_at_ms} or later, but it fired at "
                f"{event.timestamp_ms}",
            )

    def _close(self, event_id: int) -> None:
        del self.open[event_id]
        self._answered.add(event_id)

    def _finish(self, end: on.ExecutionEnd, found: Found) -> None:
        self.end = end
        for event_id, asked in self.open.items():
            if event_id in self._lent:
                continue
            if isinstance(asked, CLOSED_AT_END) and getattr(asked, "on_parent_end", None) is not OnParentEnd.ABANDON:
                found(
                    Kind.LEFT_OPEN,
                    f"expected {_name(asked)} (event {event_id}) to be answered or taken back before the execution "
                    f"ended, but it was neither",
                )
        self.open, self._answered = {}, set()
        self._waits, self._kept, self._lent = {}, {}, {}


def check_status(record: r.TurnCommitted, ended: on.ExecutionEnd | None, found: Found) -> None:
    """The status of a turn's last record against the event that ended the execution in this turn, if one did."""
    expected = None if ended is None else STATUS_OF[type(ended)]
    claims_end = record.status in EXECUTION_ENDS
    if expected is None and not claims_end:
        return
    if record.status is not expected:
        found(
            Kind.EXECUTION,
            f"expected status {_value(expected)} after {_name(ended) if ended else 'no end'}, "
            f"but the record says {_value(record.status)}",
        )
        return
    wanted: object = None
    said: object = None
    match ended:
        case on.OrchestrationCompleted():
            wanted, said = ended.output, record.output
        case on.OrchestrationContinuedAsNew():
            wanted, said = ended.input, record.output
        case on.OrchestrationFailed():
            wanted, said = ended.failure, record.failure
        case _:
            pass
    if wanted != said:
        found(Kind.EXECUTION, f"expected the record to repeat what {_name(ended)} says, but the two differ")


def _name(event: object) -> str:
    return type(event).__name__


def _value(status: Status | None) -> str:
    return "none" if status is None else status.value
