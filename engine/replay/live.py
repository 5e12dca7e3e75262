"""What is kept of an execution between its turns? The suspended code, and the books of what it waits for."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from engine.converter import Converter
from engine.errors import ActivityError, SubOrchestrationError, TimedOut, UsageError
from engine.model.events import (
    ActivityCompleted,
    ActivityFailed,
    AnyEvent,
    CarriedMessage,
    ExecutionEnd,
    ExternalEventReceived,
    OrchestrationCancelled,
    OrchestrationCancelRequested,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
    OrchestrationStarted,
    QueueMessageReceived,
    SubOrchestrationCompleted,
    SubOrchestrationFailed,
    TimerFired,
)
from engine.model.failure import Category, Failure
from engine.model.payload import NULL
from engine.port import OrchestrationItem
from engine.registry import OrchestrationDefinition
from engine.replay.context import OrchestrationContext
from engine.replay.failures import failure_of
from engine.replay.ledger import Ledger
from engine.replay.loop import CallbacksBoundPassed, DeterministicLoop, TurnAborted
from engine.replay.refusals import OutsideRefused
from engine.replay.time_outs import TIMED_OUT

BYTES_BASE = 6_144  # measured: loop, root task, context and ledger of an execution that waits for nothing
BYTES_OPEN = 1_280  # measured: a future and its event
BYTES_TASK = 1_792  # measured: 1 030 for a task that awaits one future, 2 750 for that of a retried activity
BYTES_ANSWERED = 64  # an entry in a set of integers


_UNPLACED: dict[str, int] = {"event_id": 0, "timestamp_ms": 0}
"""An end gets its place when everything that was open is closed: the ledger knows it."""


class BoundPassed(Exception):
    """The code passed a bound of the engine: the engine ends the execution."""


class LiveExecution:
    """One execution: its loop, its code, its ledger. `apply` is the only thing that moves it.

    Attributes:
        instance: Whose execution it is.
        execution_id: Which.
        started: Its first event.
        lineage: Of the provider, when the last turn was run.
        end: How the code ended, once it has.
        unread: Queue messages nobody had read when the code ended.
    """

    def __init__(
        self,
        instance: str,
        execution_id: int,
        started: OrchestrationStarted,
        definition: OrchestrationDefinition,
        converter: Converter,
        *,
        callbacks_max: int,
        lineage: int,
    ) -> None:
        self.instance = instance
        self.execution_id = execution_id
        self.started = started
        self.lineage = lineage
        self.end: ExecutionEnd | None = None
        self.unread: tuple[CarriedMessage, ...] = ()
        self.ledger = Ledger(instance, started.incarnation, execution_id, raise_if_evicting=self._raise_if_evicting)
        self._loop = DeterministicLoop(self.ledger, callbacks_max=callbacks_max)
        self._converter = converter
        self._definition = definition
        self._context = OrchestrationContext(
            started.name, started.version, ledger=self.ledger, loop=self._loop, converter=converter
        )
        self._root: asyncio.Task[Any] | None = None
        self._cancel_reason: str | None = None
        self._is_out_of_time = False

    @property
    def incarnation(self) -> int:
        """This life of the instance."""
        return self.started.incarnation

    @property
    def last_event_id(self) -> int:
        """The history it stands for ends with this event."""
        return self.ledger.last_event_id

    @property
    def cancel_requested(self) -> bool:
        """Whether the code has been told to end."""
        return self._cancel_reason is not None

    @property
    def bytes_estimate(self) -> int:
        """About how much memory it holds, payloads that user code keeps not included."""
        ledger = self.ledger
        return (
            BYTES_BASE
            + BYTES_OPEN * len(ledger.open)
            + BYTES_ANSWERED * len(ledger.answered)
            + BYTES_TASK * self._loop.unfinished
            + ledger.unread_bytes()
            + ledger.keys.bytes_held
        )

    def fits(self, item: OrchestrationItem) -> bool:
        """Whether it stands for exactly the history of `item`."""
        return (
            self.execution_id == item.execution_id
            and self.incarnation == item.incarnation
            and self.last_event_id == item.history.last_event_id
            and self.lineage == item.lineage
        )

    def replaying(self, replaying: bool) -> None:
        """Say whether what follows has happened before: the code's logger is silent then."""
        self._context.logger.replaying = replaying

    def apply(self, arrival: AnyEvent) -> list[AnyEvent]:
        """Let the code see `arrival`, run it until it waits, and return what it asked for: the step's outcome.

        If the code has ended, the outcome ends with what closes what was open, and with `end`.

        Raises:
            BoundPassed: The code did not come to rest. Put the execution away.
            OutsideRefused: The code reached outside, and a net caught it. Put the execution away.
        """
        ledger = self.ledger
        ledger.last_event_id = arrival.event_id
        ledger.now_ms = max(ledger.now_ms, arrival.timestamp_ms)
        self._loop.advance_to(ledger.now_ms)
        self._apply_as[type(arrival)](self, arrival)
        try:
            self._loop.run()
        except TurnAborted as aborted:
            ledger.keys.raise_trouble()
            if isinstance(aborted.cause, CallbacksBoundPassed):
                raise BoundPassed(str(aborted.cause)) from aborted.cause
            if isinstance(aborted.cause, (OutsideRefused, KeyboardInterrupt)):  # no end of the code's: a net, a Ctrl-C
                raise aborted.cause from None
            failure = failure_of(aborted.cause)
            self._finish(lambda: self._failed(failure))
        else:
            ledger.keys.raise_trouble()
            if self._root is not None and self._root.done():
                self._finish(self._ending)
        return ledger.take_outcome()

    def put_away(self) -> int:
        """Forget the code without a trace: no action, event or log line comes of it.

        Returns:
            How many coroutines could not be closed; they stay in memory.
        """
        self.ledger.shut = True
        self._context.logger.replaying = True
        return self._loop.put_away()

    def _raise_if_evicting(self) -> None:
        self._loop.raise_if_evicting()

    # How an execution ends.

    def _finish(self, ending: Callable[[], ExecutionEnd]) -> None:
        for task in self._loop.unretrieved():
            if task is not self._root:
                self._context.logger.warning(
                    "%s failed and nothing awaited it", task.get_name(), exc_info=task.exception()
                )
        end = ending()
        self.ledger.close_all()
        self.unread = self.ledger.unread()
        self.end = self.ledger.finish(end)
        self.put_away()

    def _ending(self) -> ExecutionEnd:
        assert self._root is not None
        if self._root.cancelled():
            return self._cancelled()
        error = self._root.exception()
        if error is not None:
            return self._failed(failure_of(error))
        result = self._root.result()
        asked = self._context.continued
        if asked is None:
            return self._completed(result)
        if result is asked:
            return OrchestrationContinuedAsNew(**_UNPLACED, input=asked.input, version=asked.version)
        return self._failed(
            failure_of(
                UsageError(
                    "expected `return ctx.continue_as_new(...)`, but the orchestration returned something else after it"
                )
            )
        )

    def _completed(self, result: object) -> ExecutionEnd:
        try:
            output = self._converter.encode(result, f"output of orchestration {self.started.name}")
        except UsageError as error:
            return self._failed(failure_of(error))
        return OrchestrationCompleted(**_UNPLACED, output=output)

    def _cancelled(self) -> ExecutionEnd:
        if self._cancel_reason is not None and self._is_out_of_time:
            return self._failed(Failure(Category.APPLICATION, "TimedOut", self._cancel_reason))
        if self._cancel_reason is not None:
            return OrchestrationCancelled(**_UNPLACED, reason=self._cancel_reason)
        message = (
            "expected the orchestration to return or raise, but it let a CancelledError through that nobody sent it"
        )
        return self._failed(Failure(category=Category.APPLICATION, type="CancelledError", message=message))

    @staticmethod
    def _failed(failure: Failure) -> ExecutionEnd:
        return OrchestrationFailed(**_UNPLACED, failure=failure)

    # How each kind of arrival reaches the code.

    def _start(self, event: OrchestrationStarted) -> None:
        self.ledger.custom_status = event.custom_status
        self.ledger.carry(event.carried)
        self._root = self._loop.start(self._main())

    async def _main(self) -> Any:
        definition = self._definition
        if not definition.takes_input:
            if self.started.input != NULL:
                raise UsageError(
                    f"expected no input for orchestration {definition.name}, which takes none, but it got one"
                )
            return await definition.function(self._context)
        what = f"input of orchestration {definition.name}"
        value = self._converter.decode(self.started.input, definition.input_type, what)
        return await definition.function(self._context, value)

    def _cancel(self, event: OrchestrationCancelRequested) -> None:
        self._cancel_reason = event.reason
        self._is_out_of_time = event.is_deadline
        self.ledger.is_ending = True
        if self._root is not None:
            self._root.cancel()

    def _complete(self, event: ActivityCompleted | SubOrchestrationCompleted) -> None:
        future = self.ledger.answer(event.source_event_id)
        if future is not None:
            future.deliver(event.result, event.event_id)

    def _fail_activity(self, event: ActivityFailed) -> None:
        future = self.ledger.answer(event.source_event_id)
        if future is not None:
            future.heartbeat = event.heartbeat
            kind = TimedOut if event.failure.type == TIMED_OUT else ActivityError
            future.fail(kind, event.failure, event.event_id)

    def _fail_child(self, event: SubOrchestrationFailed) -> None:
        future = self.ledger.answer(event.source_event_id)
        if future is not None:
            future.fail(SubOrchestrationError, event.failure, event.event_id)

    def _fire(self, event: TimerFired) -> None:
        future = self.ledger.answer(event.source_event_id)
        if future is None:
            self._loop.fire_timer(event.source_event_id)
        else:
            future.succeed(None, event.event_id)

    def _receive_event(self, event: ExternalEventReceived) -> None:
        self.ledger.event_arrived(event)

    def _receive_message(self, event: QueueMessageReceived) -> None:
        self.ledger.message_arrived(event.event_id, CarriedMessage(event.name, event.data, event.message_id))

    _apply_as: ClassVar[dict[type, Callable[["LiveExecution", Any], None]]] = {
        OrchestrationStarted: _start,
        OrchestrationCancelRequested: _cancel,
        ActivityCompleted: _complete,
        ActivityFailed: _fail_activity,
        SubOrchestrationCompleted: _complete,
        SubOrchestrationFailed: _fail_child,
        TimerFired: _fire,
        ExternalEventReceived: _receive_event,
        QueueMessageReceived: _receive_message,
    }
