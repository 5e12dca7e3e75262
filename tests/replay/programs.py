"""Which orchestrations are there? Programs as data, an orchestration that runs them, and a world that answers it."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import anyio
from hypothesis import strategies as st

from engine.errors import ActivityError
from engine.model.events import AnyEvent
from engine.model.key_values import KeyValue
from engine.model.messages import AnyMessage, FireTimer, StartOrchestration
from engine.model.turn import TurnResult
from engine.registry import orchestration
from engine.replay.call_options import ChildOptions
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from tests.replay.given import Instance, payload

Step = list[Any]
Program = list[Step]

LEAVES = st.sampled_from(
    [
        ["call"],
        ["retried"],
        ["sleep", 1],
        ["sleep", 2],
        ["event"],
        ["read"],
        ["child"],
        ["retried child"],
        ["abandoned child"],
        ["abandoned unseen"],
        ["status"],
        ["guid"],
        ["spare"],
        ["keep"],
        ["forget"],
    ]
)
CHILDREN: dict[str, ChildOptions] = {
    "child": {},
    "abandoned child": {"on_parent_end": "abandon"},
    "abandoned unseen": {"on_parent_end": "abandon"},
    "retried child": {"retry": RetryPolicy(attempts=2, delay=timedelta(seconds=1)), "timeout": timedelta(seconds=2)},
}
BLOCKS = ("join", "select", "completed", "gather", "group", "anyio", "wait")


def programs(depth: int = 2) -> st.SearchStrategy[Program]:
    step: st.SearchStrategy[Step] = LEAVES
    for _ in range(depth):
        inner = st.lists(step, max_size=3)
        step = st.one_of(
            LEAVES,
            st.tuples(st.sampled_from(BLOCKS), st.lists(inner, min_size=1, max_size=4)).map(list),
            st.tuples(st.sampled_from(["timeout", "finally", "shielded"]), inner, inner).map(list),
        )
    return st.lists(step, min_size=1, max_size=5)


@orchestration
async def interprets(ctx: OrchestrationContext, program: Program) -> list[Any]:
    log: list[Any] = []
    await _run(ctx, program, log, "0")
    return log


async def _run(ctx: OrchestrationContext, program: Program, log: list[Any], path: str) -> str:
    for number, (kind, *rest) in enumerate(program):
        place = f"{path}.{number}"
        log.append([place, await _step(ctx, kind, rest, log, place)])
    return path


async def _step(ctx: OrchestrationContext, kind: str, rest: list[Any], log: list[Any], place: str) -> Any:
    match kind:
        case "call":
            return await _outcome(ctx.schedule_activity("a", place))
        case "retried":
            policy = RetryPolicy(attempts=2, delay=timedelta(seconds=1), jitter=0.5)
            return await _outcome(ctx.schedule_activity("a", place, retry=policy, deadline=timedelta(seconds=3)))
        case "sleep":
            await asyncio.sleep(rest[0])
            return ctx.utc_now().isoformat()
        case "event":
            return await ctx.wait_event("e")
        case "read":
            return await ctx.dequeue("q")
        case "child" | "retried child" | "abandoned child" | "abandoned unseen":
            child = ctx.schedule_sub_orchestration("c", place, **CHILDREN[kind])
            return None if kind == "abandoned unseen" else await _outcome(child)
        case "status":
            return ctx.set_custom_status(place)
        case "guid":
            return str(ctx.new_guid())
        case "keep" | "forget":
            return _keys(ctx, kind, place)
        case "spare":
            ctx.schedule_activity("spare", place).cancel()
            return None
        case "timeout" | "finally" | "shielded":
            return await _guarded(ctx, kind, rest, log, place)
        case _:
            return await _block(ctx, kind, rest[0], log, place)


def _keys(ctx: OrchestrationContext, kind: str, place: str) -> Any:
    if kind == "forget":
        ctx.clear_key_value("left")
        return ctx.get_key_values()
    before = ctx.get_key_value("k")
    ctx.set_key_value("k", place)
    return [before, ctx.get_key_value("left"), ctx.get_key_value("nothing")]


async def _outcome(future: "asyncio.Future[Any]") -> Any:
    try:
        return await future
    except ActivityError as error:
        return str(error)


async def _guarded(ctx: OrchestrationContext, kind: str, rest: list[Any], log: list[Any], place: str) -> Any:
    body, cleanup = (lambda: _run(ctx, rest[0], log, f"{place}b")), (lambda: _run(ctx, rest[1], log, f"{place}c"))
    match kind:
        case "timeout":
            try:
                async with asyncio.timeout(2):
                    return await body()
            except TimeoutError:
                return await cleanup()
        case "finally":
            try:
                return await body()
            finally:
                await cleanup()
        case _:
            return await asyncio.shield(body())


async def _block(ctx: OrchestrationContext, kind: str, parts: list[Program], log: list[Any], place: str) -> Any:
    bodies = [_run(ctx, part, log, f"{place}/{number}") for number, part in enumerate(parts)]
    match kind:
        case "join":
            return await ctx.join(*bodies)
        case "select":
            won = await ctx.select(*bodies)
            return [won.index, won.value]
        case "completed":
            return [await future async for future in ctx.as_completed(*bodies)]
        case "gather":
            return await asyncio.gather(*bodies)
        case "group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(body) for body in bodies]
            return [task.result() for task in tasks]
        case "anyio":
            return await _in_anyio(bodies)
        case _:
            loop = asyncio.get_running_loop()
            done, left = await asyncio.wait(
                [loop.create_task(body) for body in bodies], return_when=asyncio.FIRST_COMPLETED
            )
            for task in left:
                task.cancel()
            return [task.result() for task in done if not task.cancelled()]


async def _in_anyio(bodies: Sequence[Coroutine[Any, Any, str]]) -> list[str]:
    said: list[str] = []

    async def says(body: Coroutine[Any, Any, str]) -> None:
        said.append(await body)

    async with anyio.create_task_group() as group:
        for body in bodies:
            group.start_soon(says, body)
    return said


def begun(*, keep: bool = True) -> Instance:
    """An instance that interprets a program; earlier executions left something under two keys."""
    instance = Instance(interprets, keep=keep)
    instance.began_with = {key: KeyValue(payload(key), 5) for key in ("k", "left")}
    return instance


class World:
    """Answers an instance that interprets a program; the choices alone decide in which order.

    Args:
        evict_every: After so many turns the execution is put away, again and again; 0 is never.
    """

    def __init__(
        self, program: Program, choices: Sequence[int], *, keep: bool, batch: int = 1, evict_every: int = 0
    ) -> None:
        self.instance = begun(keep=keep)
        self.results: list[TurnResult] = []
        self.given: list[AnyMessage] = []
        self._choices = list(choices)
        self._open: list[AnyMessage] = []
        self._batch = batch
        self._evict_every = evict_every
        self._numbers = 0
        self._give([self.instance.start_message(program)])

    def run(self) -> list[AnyEvent]:
        """Answer until the choices are used up or the code has ended; the history."""
        queued: list[AnyMessage] = []
        while self._choices and self.instance.status is not None and self.instance.status.value == "running":
            queued.append(self._choose(self._choices.pop(0)))
            if len(queued) >= self._batch:
                self._give(queued)
                queued = []
        if queued:
            self._give(queued)
        return self.instance.history

    def _choose(self, choice: int) -> AnyMessage:
        self._numbers += 1
        number = self._numbers
        instance = self.instance
        match choice % 8:
            case 0:
                return instance.raised("e", number, keep=choice % 3 == 0)
            case 1:
                return instance.enqueued("q", number, f"m{number}")
            case 2 if choice % 5 == 0:
                return instance.cancelled(f"reason {number}")
            case _:
                if not self._open:
                    return instance.raised("e", number)
                return self._open.pop(choice % len(self._open))

    def _give(self, messages: Sequence[AnyMessage]) -> None:
        result = self.instance.give(*messages)
        self.given += messages
        self.results.append(result)
        if self._evict_every and len(self.results) % self._evict_every == 0:
            self.instance.forget()
        taken_back = {ref.activity_id for ref in result.cancelled_activities}
        taken_back |= {ref.timer_id for ref in result.cancelled_timers}
        self._open = [
            message
            for message in self._open
            if getattr(message, "activity_id", None) not in taken_back
            and getattr(message, "timer_id", None) not in taken_back
        ]
        for item in result.work_items:
            fails = item.activity_id % 4 == 0
            answer = self.instance.failed if fails else self.instance.completed
            self._open.append(answer(item.activity_id))
        for message in result.messages:
            if isinstance(message, FireTimer):
                self._open.append(message)
            elif isinstance(message, StartOrchestration) and message.parent is not None:
                fails = message.parent.event_id % 4 == 0
                answer = self.instance.child_failed if fails else self.instance.child_completed
                self._open.append(answer(message.parent.event_id))
