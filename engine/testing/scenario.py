"""How does an orchestration go, from its start to its end, with no server and no waiting?

`run` plays an orchestration with its children, activities and timers in memory. Time is skipped: it stands while
anything can run, and then jumps to the next timer or scripted message. By default no execution is kept between turns,
so every turn replays its history and code that is not deterministic is found here.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast, overload

from msgspec import Struct

from engine.converter import Converter
from engine.errors import OrchestrationFailed, UsageError
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.key_values import KeyValue
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    EnqueueMessage,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.status import Status
from engine.registry import ActivityDefinition, Registry, activity_definition, orchestration_definition
from engine.replay.arguments import milliseconds
from engine.replay.context import OrchestrationContext
from engine.replay.turn import TurnOptions
from engine.testing.world import START_MS, AnyFunction, InstanceOutcome, World

I = TypeVar("I")  # noqa: E741  # input, beside O for output
O = TypeVar("O")  # noqa: E741  # output, beside I for input

Activities = Iterable[AnyFunction] | Mapping[str, AnyFunction]


class Scripted(Struct, frozen=True):
    """Something that happens from outside, `at` so long after the start. Made by the functions below."""

    at: timedelta
    message: Callable[[Converter, str], AnyMessage]


def raise_event(
    name: str, data: object = None, *, at: timedelta = timedelta(0), instance: str | None = None, keep: bool = False
) -> Scripted:
    """External event `name`, for the orchestration under test or for `instance`; kept for the next wait, if asked."""
    return Scripted(
        at,
        lambda converter, root: RaiseEvent(
            instance=instance or root, name=name, data=converter.encode(data, f"data of event {name}"), keep=keep
        ),
    )


def enqueue(queue: str, data: object = None, *, at: timedelta = timedelta(0), instance: str | None = None) -> Scripted:
    """A message for `queue` of the orchestration under test or of `instance`."""
    return Scripted(
        at,
        lambda converter, root: EnqueueMessage(
            instance=instance or root, name=queue, data=converter.encode(data, f"message of queue {queue}")
        ),
    )


def cancel(
    reason: str = "the test asked for it", *, at: timedelta = timedelta(0), instance: str | None = None
) -> Scripted:
    """Ask the orchestration under test, or `instance`, to end."""
    return Scripted(at, lambda _, root: CancelInstance(instance=instance or root, reason=reason))


class ScenarioOutcome(Struct, Generic[O], kw_only=True):
    """What became of the orchestration under test, and of all that it started.

    Attributes:
        instance: The id it ran under.
        instances: Every instance by id, itself among them.
        elapsed: How much time was skipped until it ended, or until nothing could happen any more.
        value: What it returned; None unless it completed.
    """

    instance: str
    instances: dict[str, InstanceOutcome]
    elapsed: timedelta
    value: O | None

    @property
    def status(self) -> Status:
        """How it ended."""
        return self.instances[self.instance].status

    @property
    def failure(self) -> Failure | None:
        """What it ended with, if it failed or was cancelled."""
        return self.instances[self.instance].failure

    @property
    def history(self) -> list[AnyEvent]:
        """Of its last execution, which `execution_id` says; `instances` has those before."""
        return self.instances[self.instance].history

    @property
    def execution_id(self) -> int:
        """Of the last execution: 1, and one more for each continue-as-new."""
        return self.instances[self.instance].execution_id

    @property
    def custom_status(self) -> str | None:
        """What it showed last."""
        return self.instances[self.instance].custom_status

    @property
    def key_values(self) -> dict[str, KeyValue]:
        """What it keeps under its keys, by key, ascending."""
        return self.instances[self.instance].key_values

    @property
    def output(self) -> O:
        """What it returned.

        Raises:
            OrchestrationFailed: It did not complete.
        """
        if self.failure is not None:
            raise OrchestrationFailed(self.instance, self.failure)
        return self.value  # pyright: ignore[reportReturnType]  # None is the value of an orchestration that returns None


@overload
def run(
    orchestration: Callable[[OrchestrationContext, I], Coroutine[Any, Any, O]],
    input: I,
    /,
    *,
    activities: Activities = (),
    orchestrations: Iterable[AnyFunction] = (),
    script: Iterable[Scripted] = (),
    durations: Mapping[str, timedelta] | None = None,
    instance: str = "test",
    deadline: timedelta | None = None,
    replay_always: bool = True,
) -> ScenarioOutcome[O]: ...
@overload
def run(
    orchestration: Callable[[OrchestrationContext], Coroutine[Any, Any, O]],
    /,
    *,
    activities: Activities = (),
    orchestrations: Iterable[AnyFunction] = (),
    script: Iterable[Scripted] = (),
    durations: Mapping[str, timedelta] | None = None,
    instance: str = "test",
    deadline: timedelta | None = None,
    replay_always: bool = True,
) -> ScenarioOutcome[O]: ...
def run(orchestration: AnyFunction, value: object = None, /, **scenario: Any) -> ScenarioOutcome[Any]:
    """Run `orchestration` until it ends; what can still happen then without time passing happens too.

    Args:
        orchestration: Decorated with `@orchestration`.
        value: Its input.
        scenario: As for `run_async`.

    Raises:
        ScenarioFailed: It is not deterministic, reaches outside, or waits for what will never come.
        UsageError: As of `run_async`; or called on a running event loop, which `run_async` is for.
    """
    return asyncio.run(run_async(orchestration, value, **scenario))


async def run_async(
    orchestration: AnyFunction,
    value: object = None,
    /,
    *,
    activities: Activities = (),
    orchestrations: Iterable[AnyFunction] = (),
    script: Iterable[Scripted] = (),
    durations: Mapping[str, timedelta] | None = None,
    instance: str = "test",
    deadline: timedelta | None = None,
    replay_always: bool = True,
) -> ScenarioOutcome[Any]:
    """`run` on the running event loop.

    Args:
        orchestration: Decorated with `@orchestration`.
        value: Its input.
        activities: Decorated functions; or any functions by the name of the activity they stand in for. A
            stand-in takes the input, or nothing.
        orchestrations: Those that it starts.
        script: What happens from outside, and when.
        durations: How long each call of an activity takes, by name; no time if absent.
        instance: The id to run under.
        deadline: As of `Client.start`.
        replay_always: Whether every turn replays its history, under the profile net that refuses the clock and chance
            of the host; if not, executions are kept between turns and the net is not there.

    Raises:
        ScenarioFailed: It is not deterministic, reaches outside, or waits for what will never come.
        UsageError: A function is not decorated, a duration is no timedelta or of an activity that is not given, or the
            script has something that is not `Scripted`.
    """
    given = _definitions(activities)
    steps = _steps(script)
    world = World(
        Registry(orchestrations=[orchestration, *(one for one in orchestrations if one is not orchestration)]),
        given,
        _durations(durations or {}, given),
        TurnOptions(replay_always=replay_always),
    )
    definition = orchestration_definition(orchestration)
    world.send(
        StartOrchestration(
            instance=instance,
            name=definition.name,
            version=definition.version,
            input=world.converter.encode(value, f"input of orchestration {definition.name}"),
            deadline_ms=None if deadline is None else milliseconds(deadline),
        )
    )
    for scripted in steps:
        world.send(scripted.message(world.converter, instance), scripted.at)
    await world.play(instance)
    ended = world.instances[instance]
    output = ended.output
    return ScenarioOutcome(
        instance=instance,
        instances=world.instances,
        elapsed=timedelta(milliseconds=world.now_ms - START_MS),
        value=None
        if output is None
        else world.converter.decode(output, definition.output_type, f"output of orchestration {definition.name}"),
    )


def _steps(script: object) -> list[Scripted]:
    if not isinstance(script, Iterable):
        raise UsageError(f"expected script to be a list of what happens, but it is {script!r}")
    steps = list(cast("Iterable[object]", script))
    for step in steps:
        if not isinstance(step, Scripted):
            raise UsageError(f"expected a script of raise_event(…), enqueue(…) and cancel(…), but it has {step!r}")
        if not isinstance(cast("object", step.at), timedelta):
            raise UsageError(f"expected `at` of a step of the script to be a timedelta, but it is {step.at!r}")
    return cast("list[Scripted]", steps)


def _durations(durations: object, given: Mapping[str, ActivityDefinition]) -> Mapping[str, timedelta]:
    if not isinstance(durations, Mapping):
        raise UsageError(f"expected durations by the name of the activity, but they are {durations!r}")
    for name, duration in cast("Mapping[str, object]", durations).items():
        if name not in given:
            among = ", ".join(sorted(given)) or "none"
            raise UsageError(f"expected durations of activities among those given ({among}), but got {name!r}")
        if not isinstance(duration, timedelta):
            raise UsageError(f"expected the duration of activity {name} to be a timedelta, but it is {duration!r}")
    return cast("Mapping[str, timedelta]", durations)


def _definitions(activities: Activities) -> dict[str, ActivityDefinition]:
    if isinstance(activities, Mapping):
        stand_ins = cast("Mapping[str, AnyFunction]", activities)
        return {name: ActivityDefinition(function, name) for name, function in stand_ins.items()}
    definitions = [activity_definition(function) for function in activities]
    if len({definition.name for definition in definitions}) < len(definitions):
        raise UsageError("expected activities of different names, but two have the same")
    return {definition.name: definition for definition in definitions}
