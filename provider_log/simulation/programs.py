"""Which orchestrations does a seed stand for, and how must each of them end? Programs as data, and their oracle.

A program is a list of steps; its result is a number that depends on every value and on their order.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Literal

from msgspec import Struct

from engine import (
    ActivityContext,
    OrchestrationContext,
    Registry,
    RetryPolicy,
    Status,
    TimedOut,
    activity,
    orchestration,
)
from engine.runtime.doors import Chance

MODULUS = 1_000_003
UNSERVED = "nobody"
"""A tag that no worker takes."""

_WIDTH = {"fan": 3, "session": 2}  # how many activities at once
_TOP = 2
_RETRY = RetryPolicy(attempts=_TOP + 1, delay=timedelta(milliseconds=20))

Kind = Literal[
    "activity", "fan", "session", "race", "climb", "hang", "unserved",
    "timer", "child", "event", "queue", "keep", "forget", "again", "never",
]  # fmt: skip


class Step(Struct, frozen=True):
    """One step.

    Attributes:
        number: What the activity doubles, what the fan begins at, or milliseconds.
        inside: The child's program.
        name: Of the session, the event, the queue or the key; which time the activity that hangs passes; what ends who
            waits for what never comes.
    """

    kind: Kind
    number: int = 0
    inside: "tuple[Step, ...]" = ()
    name: str = ""


class Plan(Struct, frozen=True):
    """What is left to do, and the result so far."""

    steps: tuple[Step, ...]
    result: int = 0


def fold(result: int, value: int) -> int:
    """The result with one more value; order matters."""
    return (result * 31 + value) % MODULUS


def value_of_event(name: str) -> int:
    """What everybody who raises the event sends."""
    return sum(name.encode())


@activity
async def double(_ctx: ActivityContext, number: int) -> int:
    """What most activities of a program do."""
    return 2 * number


@activity
async def climb(ctx: ActivityContext, number: int) -> int:
    """Fails on every stage but the top; who tries again begins where the one before failed."""
    stage = ctx.heartbeat_details(int) or 0
    if stage < _TOP:
        ctx.heartbeat(stage + 1)
        raise RuntimeError(f"expected stage {_TOP}, but this is {stage}")
    return 2 * number


@activity
async def hang(ctx: ActivityContext, number: int) -> int:
    """Does nothing until it is told to end."""
    await ctx.cancelled()
    return number


def registry_with(begun: Callable[[ActivityContext], None]) -> Registry:
    """The programs, with activities that say when their code begins."""

    def noted(code: Callable[[ActivityContext, int], Awaitable[int]], name: str) -> Callable[..., object]:
        @activity(name=name)
        async def says(ctx: ActivityContext, number: int) -> int:
            begun(ctx)
            return await code(ctx, number)

        return says

    activities = [noted(double, "double"), noted(climb, "climb"), noted(hang, "hang")]
    return Registry(orchestrations=[run], activities=activities)


@orchestration
async def run(ctx: OrchestrationContext, plan: Plan) -> int:
    """The steps of a program, one after another."""
    result = plan.result
    for at, step in enumerate(plan.steps):
        match step.kind:
            case "again":
                return ctx.continue_as_new(Plan(plan.steps[at + 1 :], result))
            case "keep" | "forget":
                result = _with_key(ctx, step, result)
            case _:
                for value in await _values(ctx, step):
                    result = fold(result, value)
    return result


async def _values(ctx: OrchestrationContext, step: Step) -> Sequence[int]:
    match step.kind:
        case "activity":
            return [await ctx.schedule_activity(double, step.number)]
        case "climb":
            return [await ctx.schedule_activity(climb, step.number, retry=_RETRY)]
        case "fan" | "session":
            return await _side_by_side(ctx, step)
        case "race":  # whoever wins: the result does not depend on it
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(step.number / 1_000):
                    await ctx.schedule_activity(double, step.number, session_id=step.name)
        case "hang" | "unserved":
            with contextlib.suppress(TimedOut):
                await _passes_its_time(ctx, step)
            return [step.number]
        case "timer":
            await ctx.schedule_timer(timedelta(milliseconds=step.number))
        case "child":
            return [await ctx.schedule_sub_orchestration(run, Plan(step.inside))]
        case "event":
            return [await ctx.wait_event(step.name, int)]
        case "queue":
            return [await ctx.dequeue(step.name, int)]
        case _:
            await ctx.wait_event("never")
    return []


async def _passes_its_time(ctx: OrchestrationContext, step: Step) -> None:
    limit = timedelta(milliseconds=10 * (1 + step.number))
    if step.kind == "unserved":
        await ctx.schedule_activity(double, step.number, tag=UNSERVED, queue_timeout=limit)
    elif step.name == "run":
        await ctx.schedule_activity(hang, step.number, run_timeout=limit)
    else:
        await ctx.schedule_activity(hang, step.number, heartbeat_timeout=limit)
    raise AssertionError(f"expected {step} to time out, but it was answered")


async def _side_by_side(ctx: OrchestrationContext, step: Step) -> list[int]:
    numbers = range(step.number, step.number + _WIDTH[step.kind])
    if step.kind == "session":
        calls = [ctx.schedule_activity(double, number, session_id=step.name) for number in numbers]
    else:
        calls = [ctx.schedule_activity(double, number) for number in numbers]
    return await asyncio.gather(*calls)


def _with_key(ctx: OrchestrationContext, step: Step, result: int) -> int:
    if step.kind == "forget":
        result = fold(result, len(ctx.get_keys()))
        ctx.clear_key_value(step.name)
    else:
        result = fold(result, ctx.get_key_value(step.name, int) or 0)
        ctx.set_key_value(step.name, result)
    return result


def outcome(steps: tuple[Step, ...]) -> tuple[Status, int | None]:
    """How the program must end, and with which result."""
    if steps[-1].kind == "never":
        return (Status.CANCELLED if steps[-1].name == "cancel" else Status.FAILED), None
    return Status.COMPLETED, expected(steps)


def expected(steps: tuple[Step, ...]) -> int:
    """The result of a program that completes. The n-th message of a queue is n."""
    result, taken, kept = 0, dict[str, int](), dict[str, int]()
    for step in steps:
        match step.kind:
            case "activity" | "climb":
                result = fold(result, 2 * step.number)
            case "hang" | "unserved":
                result = fold(result, step.number)
            case "fan" | "session":
                for n in range(_WIDTH[step.kind]):
                    result = fold(result, 2 * (step.number + n))
            case "child":
                result = fold(result, expected(step.inside))
            case "event":
                result = fold(result, value_of_event(step.name))
            case "queue":
                taken[step.name] = taken.get(step.name, 0) + 1
                result = fold(result, taken[step.name])
            case "keep":
                result = kept[step.name] = fold(result, kept.get(step.name, 0))
            case "forget":
                result = fold(result, len(kept))
                kept.pop(step.name, None)
            case "race" | "timer" | "again" | "never":
                pass
    return result


def drawn_whole(chance: Chance) -> tuple[Step, ...]:
    """A program that somebody starts: most complete, some are ended by their deadline or by a client."""
    steps = drawn(chance, steps=3 + below(chance, 6))
    fate = ("cancel", "deadline", "", "", "", "", "", "")[below(chance, 8)]
    return (*steps, Step("never", 100 * (1 + below(chance, 30)), name=fate)) if fate else steps


def drawn(chance: Chance, *, steps: int, is_child: bool = False) -> tuple[Step, ...]:
    """A program of `steps` steps."""
    return tuple(_drawn_step(chance, is_child) for _ in range(steps))


def _drawn_step(chance: Chance, is_child: bool) -> Step:
    number = below(chance, 100)
    kinds: list[Callable[[], Step]] = [
        lambda: Step("activity", number),
        lambda: Step("fan", number),
        lambda: Step("session", number, name=f"s{below(chance, 4)}"),
        lambda: Step("race", below(chance, 30), name=f"s{below(chance, 4)}"),
        lambda: Step("climb", number),
        lambda: Step("hang", number, name=("run", "heartbeat")[below(chance, 2)]),
        lambda: Step("unserved", number),
        lambda: Step("timer", 20 * number),
        lambda: Step("keep", name=f"k{below(chance, 2)}"),
        lambda: Step("forget", name=f"k{below(chance, 2)}"),
        lambda: Step("again"),
    ]
    if not is_child:
        kinds += [
            lambda: Step("child", inside=drawn(chance, steps=1 + below(chance, 2), is_child=True)),
            lambda: Step("event", name=f"e{below(chance, 2)}"),
            lambda: Step("queue", name=f"q{below(chance, 2)}"),
        ]
    return kinds[below(chance, len(kinds))]()


def below(chance: Chance, bound: int) -> int:
    """A number from 0 up to, not including, `bound`."""
    return min(bound - 1, int(chance.uniform(0, bound)))
