"""What does one turn do? Messages and history in, one TurnResult out; no clock, no chance, no waiting."""

import functools
from collections.abc import Sequence

from msgspec import Struct, structs

from engine.converter import Converter
from engine.errors import HistoryCorrupted, NotRegistered
from engine.model.events import (
    ActivityScheduled,
    AnyEvent,
    CarriedMessage,
    ExecutionEnd,
    OrchestrationContinuedAsNew,
    OrchestrationStarted,
    SubOrchestrationScheduled,
)
from engine.model.failure import Category, Failure
from engine.model.ids import FIRST_EVENT, INSTANT_MS_MAX
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    ContinueInstance,
    EnqueueMessage,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.policies import ReusePolicy
from engine.model.status import TERMINAL
from engine.model.turn import Disposition, TurnResult
from engine.model.version import RULES
from engine.port import OrchestrationItem
from engine.registry import OrchestrationDefinition, Registry
from engine.replay.admission import admit, collision
from engine.replay.bounds import TurnOptions, require_within_bounds
from engine.replay.effects import NO_SESSION, Effects
from engine.replay.ending import closing
from engine.replay.failures import failure_of
from engine.replay.history import require_well_formed
from engine.replay.keys import nothing
from engine.replay.live import BoundPassed, LiveExecution
from engine.replay.matching import PYTHON, Nondeterminism, replay
from engine.replay.refusals import OutsideRefused

ENGINE_LEVEL = str(RULES.major)
"""Stamped on every execution: what an engine that changes the rules of replay will tell old executions by."""


class Committed(Struct, frozen=True):
    """The turn is to be committed. `live` is the execution to keep, None if it ended or is not to be kept."""

    result: TurnResult
    live: LiveExecution | None


class Held(Struct, frozen=True):
    """The instance is to be held: nothing of this turn may be committed."""

    failure: Failure


class Unregistered(Struct, frozen=True):
    """This node has no code for the instance: give it back, with a pause."""

    name: str
    version: str | None


class Waiting(Struct, frozen=True):
    """There is nothing to do before another message is there: give it back, with a pause."""

    reason: str


TurnOutcome = Committed | Held | Unregistered | Waiting


def run_turn(
    item: OrchestrationItem,
    registry: Registry,
    converter: Converter,
    options: TurnOptions,
    *,
    live: LiveExecution | None,
    new_incarnation: int,
) -> TurnOutcome:
    """Take an instance through its messages. Never raises for what user code does.

    Args:
        item: The instance, its messages and its history.
        registry: The code there is.
        converter: How payloads are read and compared.
        options: Bounds and choices.
        live: The execution kept from the turn before, if any. It is used if it stands for exactly the item's history,
            else put away; either way the caller has it no more.
        new_incarnation: Identifies this life of the instance, if this turn starts it.

    Returns:
        With `Committed.live`, an execution that stands for the history after the commit.
    """
    turn = _Turn(item, registry, converter, options, new_incarnation)
    try:
        return turn.run(live)
    except HistoryCorrupted as error:
        turn.drop_live()
        return Held(_failure(Category.INFRASTRUCTURE, error))
    except (Nondeterminism, OutsideRefused) as error:
        turn.drop_live()
        failure = _failure(Category.NONDETERMINISM, error)
        return Held(failure) if options.on_nondeterminism == "hold" else end_turn(item, failure)
    except BaseException:
        turn.drop_live()
        raise


def end_turn(item: OrchestrationItem, failure: Failure) -> TurnOutcome:
    """Fail the instance without running its code: a poisonous message, nondeterminism that is not held.

    What is open is cancelled, the parent is told, all messages are consumed.

    Returns:
        `Waiting` if the instance has not started or is between executions: there is nothing to end yet.
    """
    history = item.history.load()
    if not history:
        return Waiting("expected a history to end, but the instance has none")
    require_well_formed(history)
    if isinstance(history[-1], ExecutionEnd):
        return Waiting("expected a running execution to end, but it has ended")
    started = _first(history)
    events = closing(history, failure, max(item.now_ms, history[-1].timestamp_ms))
    effects = _effects_of(item.instance, item.execution_id, started, history)
    effects.add(events)
    dispositions, replies = settled(item.messages, started)
    effects.replies += replies
    return Committed(effects.result(dispositions, None), None)


class _Turn:
    """One turn under way."""

    def __init__(
        self,
        item: OrchestrationItem,
        registry: Registry,
        converter: Converter,
        options: TurnOptions,
        new_incarnation: int,
    ) -> None:
        self._item = item
        self._registry = registry
        self._converter = converter
        self._options = options
        self._new_incarnation = new_incarnation
        self._live: LiveExecution | None = None
        self._history: Sequence[AnyEvent] | None = None
        self._dispositions = [Disposition.STALE] * len(item.messages)

    def drop_live(self) -> None:
        """Put the execution away, if there is one."""
        if self._live is not None:
            self._live.put_away()
            self._live = None

    def run(self, live: LiveExecution | None) -> TurnOutcome:
        item = self._item
        self._live = live
        if live is not None and (self._options.replay_always or not live.fits(item)):
            self.drop_live()
        if self._live is not None:
            return self._go_on(self._live, first=None)
        if item.history.last_event_id == 0:
            return self._begin()
        history = item.history.load()
        require_well_formed(history)
        end = history[-1]
        if isinstance(end, OrchestrationContinuedAsNew):
            return self._continue(_first(history))
        if isinstance(end, ExecutionEnd) or item.status in TERMINAL:
            return self._after_the_end(_first(history))
        return self._resume(history)

    # Four ways to come by an execution.

    def _begin(self) -> TurnOutcome:
        place = self._find(StartOrchestration)
        if place is None:
            return Waiting("expected a start message, but there is none for an instance that does not exist")
        start = self._item.messages[place]
        assert isinstance(start, StartOrchestration)
        definition = self._definition(start.name, start.version)
        if definition is None:
            return Unregistered(start.name, start.version)
        started = self._first_event(start, definition)
        self._dispositions[place] = Disposition.APPLIED
        return self._go_on(self._new_live(started, definition, self._item.execution_id), first=place)

    def _continue(self, before: OrchestrationStarted) -> TurnOutcome:
        place = self._find(ContinueInstance, incarnation=before.incarnation)
        if place is None:
            return Waiting("expected the message that starts the next execution, but it is not there yet")
        message = self._item.messages[place]
        assert isinstance(message, ContinueInstance)
        definition = self._definition(message.name, message.version)
        if definition is None:
            return Unregistered(message.name, message.version)
        started = OrchestrationStarted(
            event_id=FIRST_EVENT,
            timestamp_ms=self._item.now_ms,
            name=definition.name,
            version=definition.version,
            input=message.input,
            incarnation=message.incarnation,
            parent=message.parent,
            carried=message.carried,
            custom_status=message.custom_status,
            python=PYTHON,
            engine=ENGINE_LEVEL,
            traceparent=before.traceparent,
            deadline_at_ms=message.deadline_at_ms,
        )
        self._dispositions[place] = Disposition.APPLIED
        return self._go_on(self._new_live(started, definition, self._item.execution_id + 1), first=place)

    def _resume(self, history: Sequence[AnyEvent]) -> TurnOutcome:
        started = _first(history)
        definition = self._definition(started.name, started.version)
        if definition is None:
            return Unregistered(started.name, started.version)
        live = self._new_live(started, definition, self._item.execution_id)
        replay(live, history, self._converter)
        return self._go_on(live, first=None)

    def _after_the_end(self, started: OrchestrationStarted) -> TurnOutcome:
        place = restart_among(self._item.messages)
        if place is not None:
            return self._begin_anew(started, place)
        dispositions, replies = settled(self._item.messages, started)
        result = TurnResult(
            execution_id=self._item.execution_id, messages=tuple(replies), dispositions=tuple(dispositions)
        )
        return Committed(result, None)

    def _begin_anew(self, ended: OrchestrationStarted, place: int) -> TurnOutcome:
        """Another life, which begins with the start at `place`. What came before that was for the life that ended."""
        start = self._item.messages[place]
        assert isinstance(start, StartOrchestration)
        definition = self._definition(start.name, start.version)
        if definition is None:
            return Unregistered(start.name, start.version)
        started = self._first_event(start, definition)
        before, replies = settled(self._item.messages[:place], ended)
        self._dispositions[: place + 1] = [*before, Disposition.APPLIED]
        live = self._new_live(started, definition, self._item.execution_id + 1)
        return self._go_on(live, first=place, settled=place, replies=replies, is_new_life=True)

    def _first_event(self, start: StartOrchestration, definition: OrchestrationDefinition) -> OrchestrationStarted:
        return OrchestrationStarted(
            event_id=FIRST_EVENT,
            timestamp_ms=self._item.now_ms,
            name=definition.name,
            version=definition.version,
            input=start.input,
            incarnation=self._new_incarnation,
            parent=start.parent,
            python=PYTHON,
            engine=ENGINE_LEVEL,
            message_id=start.message_id,
            traceparent=start.traceparent,
            deadline_at_ms=_deadline_at_ms(start, self._item.now_ms),
        )

    def _definition(self, name: str, version: str | None) -> OrchestrationDefinition | None:
        try:
            return self._registry.orchestration(name, version)
        except NotRegistered:
            return None

    def _new_live(
        self, started: OrchestrationStarted, definition: OrchestrationDefinition, execution_id: int
    ) -> LiveExecution:
        self._live = LiveExecution(
            self._item.instance,
            execution_id,
            started,
            definition,
            self._converter,
            callbacks_max=self._options.callbacks_max,
            lineage=self._item.lineage,
        )
        return self._live

    def _find(self, kind: type[AnyMessage], incarnation: int | None = None) -> int | None:
        for place, message in enumerate(self._item.messages):
            if type(message) is kind and (incarnation is None or getattr(message, "incarnation", None) == incarnation):
                return place
        return None

    # The messages.

    def _go_on(
        self,
        live: LiveExecution,
        first: int | None,
        *,
        settled: int = 0,
        replies: Sequence[AnyMessage] = (),
        is_new_life: bool = False,
    ) -> TurnOutcome:
        """Give `live` its messages in order of arrival; the one at `first`, which made it, before all others.

        The first `settled` of them are done with, and `replies` is what came of that.
        """
        ledger = live.ledger
        # All keys are read at once, so once a turn; between two turns the item's view of the store may be gone.
        ledger.keys.begun_with = nothing if is_new_life else functools.cache(self._item.history.key_values)
        effects = Effects(
            live.instance,
            live.execution_id,
            live.started,
            instance_of=ledger.cancelled_children.__getitem__,
            queue_of=lambda source: ledger.cancelled_sessions.get(source, NO_SESSION),
            is_new_life=is_new_life,
        )
        effects.replies += replies
        try:
            if first is not None:
                self._step(live, live.started, effects)
            for place, message in enumerate(self._item.messages):
                if place == first or place < settled:
                    continue
                if live.end is not None:
                    self._dispositions[place] = self._after(live, message, effects)
                    continue
                if isinstance(message, StartOrchestration) and (told := collision(message, live.started.parent)):
                    effects.replies.append(told)
                timestamp_ms = max(self._item.now_ms, ledger.now_ms)
                self._dispositions[place], event = admit(message, live, ledger.last_event_id + 1, timestamp_ms)
                if event is not None:
                    self._step(live, event, effects)
        except BoundPassed as passed:
            return self._end_by_engine(live, effects, _failure(Category.LIMIT, passed, "LimitPassed"))
        except OutsideRefused as refused:
            if self._options.on_nondeterminism == "hold":
                raise
            return self._end_by_engine(live, effects, _failure(Category.NONDETERMINISM, refused))
        ledger.keys.begun_with = nothing
        live.lineage = self._item.lineage
        keep = live if live.end is None and not self._options.replay_always else None
        result = effects.result(self._dispositions, ledger.custom_status)
        if keep is None:
            self.drop_live()
        return Committed(result, keep)

    def _step(self, live: LiveExecution, arrival: AnyEvent, effects: Effects) -> None:
        """One arrival and its outcome: both become part of the turn, or only the arrival, if the engine ends it."""
        try:
            outcome = live.apply(arrival)
            require_within_bounds(outcome, len(effects.delta), self._options, live.ledger.keys.count)
        except (BoundPassed, OutsideRefused):
            effects.add([arrival])
            raise
        effects.add([arrival, *outcome])
        if isinstance(live.end, OrchestrationContinuedAsNew):
            effects.carried = live.unread

    def _after(self, live: LiveExecution, message: AnyMessage, effects: Effects) -> Disposition:
        """A message behind the end of the code, in the same batch: what the next execution needs is kept for it."""
        if isinstance(live.end, OrchestrationContinuedAsNew):
            if isinstance(message, EnqueueMessage):
                # Not sent again: behind its back a later message of the queue may be there already.
                if message.message_id is not None and message.message_id in live.ledger.message_ids:
                    return Disposition.DUPLICATE
                effects.carried += (CarriedMessage(message.name, message.data, message.message_id),)
                return Disposition.APPLIED
            if isinstance(message, (RaiseEvent, CancelInstance)):
                effects.resent.append(message)
                return Disposition.FORWARDED
        (disposition,), replies = settled((message,), live.started)
        effects.replies += replies
        return disposition

    def _end_by_engine(self, live: LiveExecution, effects: Effects, failure: Failure) -> TurnOutcome:
        """The code did what ends it: what it asked for in that step is dropped, and the instance fails."""
        started, execution_id = live.started, live.execution_id
        self.drop_live()
        before: Sequence[AnyEvent] = () if effects.delta[0].event_id == FIRST_EVENT else self._item.history.load()
        so_far = [*before, *effects.delta]
        ended = _effects_of(live.instance, execution_id, started, so_far, is_new_life=effects.is_new_life)
        ended.add([*effects.delta, *closing(so_far, failure, effects.delta[-1].timestamp_ms)])
        ended.replies = effects.replies
        return Committed(ended.result(self._dispositions, None), None)


def restart_among(messages: Sequence[AnyMessage]) -> int | None:
    """Place of the first start that lets an instance which has ended begin anew, or None.

    Only a client's may: a parent that meets an instance of another has to hear so.
    """
    for place, message in enumerate(messages):
        is_start = isinstance(message, StartOrchestration)
        if is_start and message.parent is None and message.if_exists is ReusePolicy.RESTART_ENDED:
            return place
    return None


def _deadline_at_ms(start: StartOrchestration, now_ms: int) -> int | None:
    """When an instance that begins now has to have ended; one after the end of time is as good as that."""
    return None if start.deadline_ms is None else min(now_ms + start.deadline_ms, INSTANT_MS_MAX)


def _first(history: Sequence[AnyEvent]) -> OrchestrationStarted:
    started = history[0]
    assert isinstance(started, OrchestrationStarted)
    return started


def _effects_of(
    instance: str,
    execution_id: int,
    started: OrchestrationStarted,
    history: Sequence[AnyEvent],
    *,
    is_new_life: bool = False,
) -> Effects:
    """Effects that know children and sessions from the history."""
    children = {event.event_id: event.instance for event in history if isinstance(event, SubOrchestrationScheduled)}
    asked = (event for event in history if isinstance(event, ActivityScheduled))
    queues = {event.event_id: (event.session_id, event.tag) for event in asked}
    return Effects(
        instance,
        execution_id,
        started,
        instance_of=children.__getitem__,
        queue_of=queues.__getitem__,
        is_new_life=is_new_life,
    )


def settled(
    messages: Sequence[AnyMessage], started: OrchestrationStarted
) -> tuple[list[Disposition], list[AnyMessage]]:
    """Messages for an instance that has ended: too late, or starts of what exists already."""
    dispositions: list[Disposition] = []
    replies: list[AnyMessage] = []
    for message in messages:
        incarnation = getattr(message, "incarnation", None)
        if isinstance(message, StartOrchestration):
            dispositions.append(Disposition.DUPLICATE)
            if told := collision(message, started.parent):
                replies.append(told)
        elif incarnation is not None and incarnation != started.incarnation:
            dispositions.append(Disposition.OTHER_INCARNATION)
        else:
            dispositions.append(Disposition.STALE)
    return dispositions, replies


def _failure(category: Category, error: Exception, name: str | None = None) -> Failure:
    """What ends or holds an instance, called `name` or as its exception, and where in the user's code it was."""
    found = failure_of(error, category)
    return structs.replace(found, type=name or found.type, retryable=False, cause=None)
