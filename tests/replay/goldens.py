"""Which histories must replay for ever, on every Python minor? Orchestrations, and how their recordings were made.

`python -m tests.replay.goldens` records those that have no file yet. A file is never written again: what one release
recorded, the next must replay. `asyncio.wait_for` over a coroutine is not among them: it starts the coroutine later
on Python 3.11 than after, which is why the history records the minor.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from engine.activity_context import ActivityContext
from engine.errors import ActivityError
from engine.model.events import AnyEvent
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.retry import RetryPolicy
from engine.testing import Scripted, cancel, enqueue, raise_event, run

HERE = Path(__file__).parent / "golden"
DECODER = msgspec.json.Decoder(list[AnyEvent])


class Recording(msgspec.Struct):
    """How one history is made."""

    code: Callable[..., Any]
    value: object
    script: Iterable[Scripted] = ()
    deadline: timedelta | None = None


@activity
async def work(name: str) -> str:
    if name == "fails":
        raise ValueError("as told")
    return name.upper()


@orchestration
async def doubled(ctx: OrchestrationContext, number: int) -> int:
    await asyncio.sleep(number)
    return number * 2


@orchestration
async def sequence(ctx: OrchestrationContext, names: list[str]) -> list[str]:
    ctx.set_custom_status("begun")
    done = [await ctx.schedule_activity(work, name) for name in names]
    return [*done, str(ctx.new_guid()), ctx.utc_now().isoformat()]


@orchestration
async def crowd(ctx: OrchestrationContext, width: int) -> list[object]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.activity(work, f"t{number}")) for number in range(width)]
    gathered = await asyncio.gather(*(ctx.activity(work, f"g{number}") for number in range(width)))
    joined = await ctx.join(*(ctx.schedule_activity(work, f"j{number}") for number in range(width)))
    futures = [ctx.schedule_sub_orchestration(doubled, width - number) for number in range(width)]
    completed = [await future async for future in ctx.as_completed(*futures)]
    return [[task.result() for task in tasks], gathered, joined, completed]


@orchestration
async def races(ctx: OrchestrationContext) -> list[object]:
    first = await ctx.select(ctx.schedule_timer(timedelta(seconds=5)), ctx.wait_event("go", str))
    try:
        async with asyncio.timeout(3):
            await ctx.wait_event("never")
    except TimeoutError:
        ctx.set_custom_status("timed out")
    queue = [await ctx.dequeue("q", int), (await ctx.select(ctx.dequeue("q", int), ctx.dequeue("q", int))).value]
    return [first.index, queue, await ctx.dequeue("q", int)]


@orchestration
async def compensates(ctx: OrchestrationContext) -> str:
    reserved: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            for name in ("hotel", "flight", "fails"):
                group.create_task(_reserve(ctx, name, reserved))
    except* ActivityError:
        reserved.append("failed")
    try:
        await ctx.wait_event("never")
    finally:
        for name in reversed(reserved):
            await ctx.schedule_activity(work, f"undo {name}")
    return "unreachable"


async def _reserve(ctx: OrchestrationContext, name: str, reserved: list[str]) -> None:
    reserved.append(await ctx.activity(work, name))


@orchestration
async def insists(ctx: OrchestrationContext) -> str:
    policy = RetryPolicy(attempts=3, delay=timedelta(seconds=1), jitter=0.5)
    try:
        await ctx.schedule_activity(work, "fails", retry=policy, timeout=timedelta(seconds=9))
    except ActivityError as error:
        ctx.start_detached("doubled", 1, instance="detached")
        raise RuntimeError("gave up") from error
    return "unreachable"


@orchestration
async def keeps(ctx: OrchestrationContext) -> list[object]:
    seen: list[object] = [ctx.get_key_value("a"), ctx.get_keys()]
    ctx.set_key_value("a", {"count": 1})
    ctx.set_key_value("b", None)
    await ctx.schedule_activity(work, "a")
    ctx.clear_key_value("b")
    seen += [ctx.get_key_values(), ctx.get_key_value("b"), ctx.get_key_value("c")]
    ctx.clear_key_values()
    return [*seen, ctx.get_keys()]


@activity(raises=LookupError)
async def resumes(ctx: ActivityContext, until: int) -> int:
    done = (ctx.heartbeat_details(int) or 0) + 1
    ctx.heartbeat(done)
    if done < until:
        raise LookupError(f"after {done}")
    return done


@orchestration
async def lasts(ctx: OrchestrationContext) -> list[object]:
    """All that came with limits, heartbeats, kept events, abandoned children, delays and deadlines."""
    seen: list[object] = []
    ctx.schedule_sub_orchestration(doubled, 9, on_parent_end="abandon")
    ctx.start_detached("doubled", 1, instance="later", delay=timedelta(hours=1))
    policy = RetryPolicy(attempts=5, delay=timedelta(seconds=1))
    seen.append(
        await ctx.schedule_activity(
            resumes,
            3,
            retry=policy,
            queue_timeout=timedelta(hours=1),
            run_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=30),
        )
    )
    try:
        await ctx.schedule_activity(resumes, 2)
    except LookupError as error:
        seen.append(str(error))
    seen += [await ctx.wait_event("kept", str), await ctx.get_key_value_of(ctx.instance, "nothing")]
    try:
        await ctx.wait_event("never")
    except asyncio.CancelledError:
        return seen
    return []


RECORDINGS: dict[str, Recording] = {
    "sequence": Recording(sequence, ["a", "b", "c"]),
    "crowd": Recording(crowd, 4),
    "races": Recording(
        races,
        None,
        [
            raise_event("go", "now", at=timedelta(seconds=2)),
            *(enqueue("q", number, at=timedelta(seconds=number)) for number in range(1, 4)),
        ],
    ),
    "compensates": Recording(compensates, None, [cancel("the user left", at=timedelta(minutes=1))]),
    "insists": Recording(insists, None),
    "keeps": Recording(keeps, None),
    "lasts": Recording(lasts, None, [raise_event("kept", "early", keep=True)], timedelta(minutes=5)),
}


def record(name: str) -> list[AnyEvent]:
    """The history of `name` on the Python this runs on."""
    recording = RECORDINGS[name]
    arguments = () if recording.value is None else (recording.value,)
    outcome = run(
        recording.code,
        *arguments,
        activities=[work, resumes],
        orchestrations=[doubled],
        script=recording.script,
        deadline=recording.deadline,
    )
    return outcome.history


if __name__ == "__main__":
    for name in RECORDINGS:
        path = HERE / f"{name}.json"
        if not path.exists():
            recorded = msgspec.json.format(msgspec.json.encode(record(name)), indent=1) + b"\n"
            path.write_bytes(recorded.replace(f"{HERE.parents[2]}/".encode(), b""))  # tracebacks hold paths
            print(f"recorded {path.name}")
