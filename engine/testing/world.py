"""What is there of a provider, a worker and a clock when an orchestration runs in memory, with time skipped?"""

import asyncio
import heapq
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from itertools import count
from typing import Any

from msgspec import Struct

from engine.client import Client
from engine.converter import JsonConverter
from engine.errors import ConversionError
from engine.model.answers import completed, failed
from engine.model.builtins import GET_KEY_VALUE, KeyOf
from engine.model.events import AnyEvent, OrchestrationStarted
from engine.model.failure import Failure
from engine.model.key_values import KeyValue, changed, merged
from engine.model.messages import (
    AnyMessage,
    StartOrchestration,
    due_at_ms,
)
from engine.model.payload import NULL, Payload
from engine.model.status import EXECUTION_ENDS, TERMINAL, Status
from engine.model.work import WorkItem
from engine.port import OrchestrationItem
from engine.registry import ActivityDefinition, Registry, orchestration_definition
from engine.replay.failures import failure_of, not_convertible
from engine.replay.history import open_work, require_well_formed
from engine.replay.live import LiveExecution
from engine.replay.matching import Nondeterminism, shown
from engine.replay.matching import replay as replay_history
from engine.replay.nets import ProfileNet
from engine.replay.refusals import OutsideRefused
from engine.replay.time_outs import ran_too_long, silent_too_long
from engine.replay.turn import Committed, TurnOptions, Unregistered, run_turn
from engine.runtime.calls import RAISED_BY_CODE

START_MS = 1_700_000_000_000
TURNS_MAX = 100_000
LOGGER = logging.getLogger("turnlog.testing")

AnyFunction = Callable[..., Any]


class ScenarioFailed(AssertionError):
    """The orchestration left its recorded path, reached outside, or waits for what will never come."""


class InstanceOutcome(Struct, kw_only=True):
    """What became of one instance.

    Attributes:
        name: Of its orchestration.
        status: Its last one.
        output: What it returned, as JSON bytes in a payload; None unless it completed.
        failure: What it ended with, if it failed or was cancelled.
        custom_status: What it showed last.
        executions: The history of each execution, first to last.
        began_with, changed: Keys that stood when the last execution began, and what it did to them.
    """

    name: str
    status: Status = Status.RUNNING
    output: Payload | None = None
    failure: Failure | None = None
    custom_status: str | None = None
    incarnation: int | None = None
    executions: list[list[AnyEvent]] = []
    began_with: dict[str, KeyValue] = {}
    changed: dict[str, KeyValue | None] = {}

    @property
    def key_values(self) -> dict[str, KeyValue]:
        """What it keeps under its keys."""
        return merged(self.began_with, self.changed)

    @property
    def history(self) -> list[AnyEvent]:
        """Of the last execution."""
        return self.executions[-1]

    @property
    def execution_id(self) -> int:
        """Of the last execution: 1, and one more for each continue-as-new."""
        return len(self.executions)


def replay(
    code: AnyFunction | Registry, history: Sequence[AnyEvent], *, instance: str = "test", execution_id: int = 1
) -> None:
    """Take `code` through a recorded history, as a node would that has just got the instance.

    Args:
        code: The orchestration; or all there are, to be found by the recorded name and version.
        history: Of one execution, from its first event on.
        instance: Whose it is: automatic ids of children are made from it.
        execution_id: Which execution. What the context draws, guids and the jitter of retries, depends on it; the
            history does not have it.

    Raises:
        ScenarioFailed: The code does not do what is recorded, or reaches outside; says expected and found.
        HistoryCorrupted: The history breaks its own rules.
        NotRegistered: `code` is a registry without the recorded name and version.
    """
    require_well_formed(history)
    started = history[0]
    assert isinstance(started, OrchestrationStarted)
    found = code.orchestration(started.name, started.version) if isinstance(code, Registry) else None
    converter = JsonConverter()
    live = LiveExecution(
        instance,
        execution_id,
        started,
        found or orchestration_definition(code),  # pyright: ignore[reportArgumentType]  # found is None for functions only
        converter,
        callbacks_max=TurnOptions().callbacks_max,
        lineage=0,
    )
    try:
        replay_history(live, history, converter)
    except (Nondeterminism, OutsideRefused) as error:
        raise ScenarioFailed(str(error)) from error
    finally:
        live.put_away()


class _History:
    """A history in memory, as the port wants it."""

    def __init__(self, events: list[AnyEvent], began_with: Mapping[str, KeyValue]) -> None:
        self._events = events
        self._began_with = dict(began_with)

    @property
    def last_event_id(self) -> int:
        return self._events[-1].event_id if self._events else 0

    def load(self) -> Sequence[AnyEvent]:
        return tuple(self._events)

    def key_values(self) -> Mapping[str, KeyValue]:
        return self._began_with


class _Call:
    """The context of one call of an activity. A call runs while time stands, so nobody cancels it meanwhile.

    Attributes:
        details: What its newest heartbeat said, or the attempt before it.
        has_beaten: Whether it gave a sign of life; one that does is taken to do so often enough.
    """

    def __init__(self, item: WorkItem, converter: JsonConverter) -> None:
        self._converter = converter
        self.details = item.heartbeat
        self.has_beaten = False
        self.instance = item.instance
        self.execution_id = item.execution_id
        self.activity_id = item.activity_id
        self.name = item.name
        self.orchestration = item.orchestration
        self.version = item.version
        self.traceparent = item.traceparent
        self.session_id = item.session_id
        self.tag = item.tag
        self.attempt = 1
        self.logger = logging.LoggerAdapter(LOGGER, {"instance": item.instance, "activity": item.name})

    @property
    def client(self) -> Client:
        raise ScenarioFailed(
            f"expected activity {self.name} to need no client, for there is no node; give a stand-in for it"
        )

    def heartbeat(self, details: object = None) -> None:
        self.has_beaten = True
        if details is not None:
            self.details = self._converter.encode(details, f"details of a heartbeat of activity {self.name}")

    def heartbeat_details(self, expected: Any = object, /) -> Any:
        if self.details is None:
            return None
        return self._converter.decode(self.details, expected, f"details of a heartbeat of activity {self.name}")

    def is_cancelled(self) -> bool:
        return False

    async def cancelled(self) -> None:
        raise ScenarioFailed(f"expected activity {self.name} to end by itself, but it waits to be cancelled")

    def raise_if_cancelled(self) -> None:
        return


class World:
    """Instances, both queues and a clock."""

    def __init__(
        self,
        registry: Registry,
        activities: Mapping[str, ActivityDefinition],
        durations: Mapping[str, timedelta],
        options: TurnOptions,
    ) -> None:
        self.now_ms = START_MS
        self.instances: dict[str, InstanceOutcome] = {}
        self.converter = JsonConverter()
        self._registry = registry
        self._activities = activities
        self._durations = durations
        self._options = options
        self._order = count()
        self._incarnations = count(1)
        self._later: list[tuple[int, int, AnyMessage]] = []
        self._mail: dict[str, list[AnyMessage]] = {}
        self._work: list[WorkItem] = []
        self._live: dict[str, LiveExecution] = {}

    def send(self, message: AnyMessage, delay: timedelta = timedelta(0)) -> None:
        """Deliver `message` after `delay`; a timer or a start when it is due."""
        at_ms = max(self.now_ms + delay // timedelta(milliseconds=1), due_at_ms(message))
        heapq.heappush(self._later, (at_ms, next(self._order), message))

    async def play(self, root: str) -> None:
        """Until `root` has ended and nothing more can happen at that time; then replay all that happened."""
        try:
            await self._play(root)
        finally:  # else the collector ends their coroutines, perhaps in the middle of somebody else's turn
            for live in self._live.values():
                live.put_away()
        for instance, outcome in self.instances.items():
            for execution_id, history in enumerate(outcome.executions, start=1):
                with self._net():
                    replay(self._registry, history, instance=instance, execution_id=execution_id)

    async def _play(self, root: str) -> None:
        turns = 0
        while True:
            self._deliver()
            ready = next((instance for instance in self._mail if self._is_ready(instance)), None)
            if ready is not None:
                turns += 1
                if turns > TURNS_MAX:
                    raise ScenarioFailed(f"expected {root} to end within {TURNS_MAX} turns, but it goes on")
                self._turn(ready, self._mail.pop(ready))
            elif self._work:
                await self._execute(self._work.pop(0))
            elif root in self.instances and self.instances[root].status in TERMINAL:
                break
            elif self._later:
                self.now_ms = max(self.now_ms, self._later[0][0])
            else:
                waiting = ", ".join(shown(event) for event in open_work(self.instances[root].history))
                raise ScenarioFailed(f"expected {root} to end, but it waits for ever: {waiting or 'for nothing'}")

    def _net(self) -> AbstractContextManager[None]:
        return ProfileNet() if self._options.replay_always else nullcontext()

    def _is_ready(self, instance: str) -> bool:
        """Messages for an instance that does not exist wait for its start, as at a provider."""
        return instance in self.instances or any(isinstance(one, StartOrchestration) for one in self._mail[instance])

    def _deliver(self) -> None:
        while self._later and self._later[0][0] <= self.now_ms:
            _, _, message = heapq.heappop(self._later)
            self._mail.setdefault(message.instance, []).append(message)

    def _turn(self, instance: str, messages: list[AnyMessage]) -> None:
        outcome = self.instances.get(instance)
        item = OrchestrationItem(
            instance=instance,
            orchestration_name=outcome.name if outcome else "",
            version="",
            execution_id=len(outcome.executions) if outcome else 1,
            incarnation=outcome.incarnation if outcome else None,
            history=_History(outcome.history if outcome else [], outcome.began_with if outcome else {}),
            messages=tuple(messages),
            lock_token="",
            attempt_count=1,
            lineage=0,
            now_ms=self.now_ms,
            status=outcome.status if outcome else None,
        )
        with self._net():
            turn = run_turn(
                item,
                self._registry,
                self.converter,
                self._options,
                live=self._live.pop(instance, None),
                new_incarnation=next(self._incarnations),
            )
        if isinstance(turn, Unregistered):
            raise ScenarioFailed(self._missing(turn))
        if not isinstance(turn, Committed):
            raise ScenarioFailed(getattr(turn, "reason", None) or getattr(turn, "failure").message)  # noqa: B009
        self._commit(instance, turn)

    def _missing(self, turn: Unregistered) -> str:
        given = [one.version for one in self._registry.orchestrations() if one.name == turn.name]
        if turn.version is None or not given:
            return f"expected orchestration {turn.name!r} among those given, but it is not"
        return (
            f"expected version {turn.version} of orchestration {turn.name!r} among those given, "
            f"but they have {', '.join(given)}"
        )

    def _commit(self, instance: str, turn: Committed) -> None:
        result = turn.result
        metadata = result.metadata
        if instance not in self.instances:
            self.instances[instance] = InstanceOutcome(name=metadata.orchestration_name or "", executions=[])
        outcome = self.instances[instance]
        if result.execution_id > len(outcome.executions):
            outcome.executions.append([])
        outcome.history.extend(result.history_delta)
        if metadata.new_life:
            outcome.failure = outcome.output = outcome.custom_status = None
            outcome.began_with, outcome.changed = {}, {}
        outcome.status = metadata.status or outcome.status
        outcome.incarnation = metadata.incarnation or outcome.incarnation
        outcome.failure = metadata.failure or outcome.failure
        outcome.output = metadata.output if metadata.status is Status.COMPLETED else outcome.output
        if metadata.set_custom_status:
            outcome.custom_status = metadata.custom_status
        outcome.changed = changed(outcome.began_with, outcome.changed, result.key_values, self.now_ms)
        if metadata.status in EXECUTION_ENDS:
            outcome.began_with, outcome.changed = outcome.key_values, {}
        if turn.live is not None:
            self._live[instance] = turn.live
        self._work += result.work_items
        taken_back = {(ref.instance, ref.execution_id, ref.activity_id) for ref in result.cancelled_activities}
        self._work = [
            item for item in self._work if (item.instance, item.execution_id, item.activity_id) not in taken_back
        ]
        for message in result.messages:
            self.send(message)

    async def _execute(self, item: WorkItem) -> None:
        if item.name == GET_KEY_VALUE:
            self.send(completed(item, self._kept(self.converter.decode(item.input, KeyOf, item.name))))
            return
        definition = self._activities.get(item.name)
        if definition is None:
            raise ScenarioFailed(f"expected activity {item.name!r} among those given, but it is not")
        call = _Call(item, self.converter)
        message = await self._performed(item, definition, call)
        duration = self._durations.get(item.name, timedelta(0))
        for limit, passed in _limits(item, call):
            if limit < duration:
                message, duration = failed(item, passed(item), call.details), limit
        self.send(message, duration)

    async def _performed(self, item: WorkItem, definition: ActivityDefinition, call: _Call) -> AnyMessage:
        """How one call ended, as a node says it: whatever the code raises is a failure."""
        value: object = None
        try:
            if definition.takes_input:
                value = self.converter.decode(item.input, definition.input_type, f"input of activity {item.name}")
        except ConversionError as error:
            return failed(item, not_convertible(error), call.details)
        playing = asyncio.current_task()
        cancels = playing.cancelling() if playing else 0
        try:
            returned = definition.call(call, value)
            result = await returned if definition.is_async else returned
        except ScenarioFailed:
            raise
        except RAISED_BY_CODE as error:
            if playing is not None and playing.cancelling() > cancels:  # it is the test that was cancelled
                raise
            return failed(item, failure_of(error), call.details)
        try:
            return completed(item, self.converter.encode(result, f"output of activity {item.name}"))
        except ConversionError as error:
            return failed(item, not_convertible(error), call.details)

    def _kept(self, asked: KeyOf) -> Payload:
        """What an instance of this world keeps under a key; null for nothing and for nobody."""
        outcome = self.instances.get(asked.instance)
        kept = None if outcome is None else outcome.key_values.get(asked.key)
        return NULL if kept is None else kept.value


def _limits(item: WorkItem, call: _Call) -> Iterator[tuple[timedelta, Callable[[WorkItem], Failure]]]:
    """What the call may take, and what it fails with if it takes longer. It is always begun in time."""
    limits = item.limits
    if limits is not None and limits.run_timeout_ms is not None:
        yield timedelta(milliseconds=limits.run_timeout_ms), ran_too_long
    if limits is not None and limits.heartbeat_timeout_ms is not None and not call.has_beaten:
        yield timedelta(milliseconds=limits.heartbeat_timeout_ms), silent_too_long
