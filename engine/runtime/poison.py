"""How does an instance end that cannot take its turn? By the engine, from its history or its start message alone."""

from collections.abc import Sequence

from engine.errors import HistoryCorrupted
from engine.model.events import (
    AnyEvent,
    ExecutionEnd,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
    OrchestrationStarted,
)
from engine.model.failure import Category, Failure
from engine.model.ids import FIRST_EVENT
from engine.model.messages import ContinueInstance, StartOrchestration
from engine.model.turn import Disposition
from engine.port import OrchestrationItem
from engine.replay.effects import NO_SESSION, Effects
from engine.replay.matching import PYTHON
from engine.replay.turn import ENGINE_LEVEL, Committed, Held, Waiting, end_turn, restart_among, settled


def ended_by_engine(item: OrchestrationItem, failure: Failure, new_incarnation: int) -> Committed | Held | Waiting:
    """End the instance of `item` with `failure`, without running its code.

    What is open is cancelled and the parent is told. An instance (or execution) that has not started is recorded as
    started and failed, so that whoever waits for it hears of it. An execution whose start message never came begins as
    the one before it left it.

    Returns:
        Held if the history cannot be read: nobody can tell then what is open. Waiting if there is nothing to end.
    """
    try:
        outcome = end_turn(item, failure)
    except HistoryCorrupted as error:
        return Held(Failure(category=Category.INFRASTRUCTURE, type="HistoryCorrupted", message=str(error)))
    if isinstance(outcome, Waiting) and (start := _start(item)) is not None:
        return _ended_at_its_start(item, start, failure, new_incarnation)
    assert isinstance(outcome, (Committed, Waiting))
    return outcome


def _start(item: OrchestrationItem) -> StartOrchestration | ContinueInstance | None:
    history = item.history.load()
    if not history:
        return next((message for message in item.messages if isinstance(message, StartOrchestration)), None)
    if not isinstance(history[-1], OrchestrationContinuedAsNew):
        place = restart_among(item.messages) if isinstance(history[-1], ExecutionEnd) else None
        again = None if place is None else item.messages[place]
        return again if isinstance(again, StartOrchestration) else None
    continuing = (message for message in item.messages if isinstance(message, ContinueInstance))
    return next((message for message in continuing if message.incarnation == item.incarnation), None) or _lost_start(
        item.instance, history
    )


def _lost_start(instance: str, history: Sequence[AnyEvent]) -> ContinueInstance:
    """The message that should have started the next execution; what it carried of queues is lost with it."""
    before, end = history[0], history[-1]
    assert isinstance(before, OrchestrationStarted)
    assert isinstance(end, OrchestrationContinuedAsNew)
    return ContinueInstance(
        instance=instance,
        incarnation=before.incarnation,
        name=before.name,
        input=end.input,
        version=end.version or before.version,
        parent=before.parent,
    )


def _ended_at_its_start(
    item: OrchestrationItem, start: StartOrchestration | ContinueInstance, failure: Failure, new_incarnation: int
) -> Committed:
    is_new_life = isinstance(start, StartOrchestration) and item.history.last_event_id > 0
    if isinstance(start, ContinueInstance):
        execution_id, incarnation = item.execution_id + 1, start.incarnation
    else:
        execution_id, incarnation = item.execution_id + is_new_life, new_incarnation
    started = OrchestrationStarted(
        event_id=FIRST_EVENT,
        timestamp_ms=item.now_ms,
        name=start.name,
        version=start.version or item.version,
        input=start.input,
        incarnation=incarnation,
        parent=start.parent,
        python=PYTHON,
        engine=ENGINE_LEVEL,
        message_id=start.message_id if isinstance(start, StartOrchestration) else None,
    )
    failed = OrchestrationFailed(event_id=FIRST_EVENT + 1, timestamp_ms=item.now_ms, failure=failure)
    effects = Effects(
        item.instance,
        execution_id,
        started,
        instance_of=str,
        queue_of=lambda _: NO_SESSION,
        is_new_life=is_new_life,
    )
    effects.add([started, failed])
    dispositions, effects.replies = settled(item.messages, started)
    if (place := next((at for at, message in enumerate(item.messages) if message is start), None)) is not None:
        dispositions[place] = Disposition.APPLIED
    return Committed(effects.result(dispositions, None), None)
