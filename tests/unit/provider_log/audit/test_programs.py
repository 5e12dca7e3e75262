"""Does the checker accept every history that the software writes? Programs nobody chose, run for real."""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Client, ClientOptions, Engine, EngineOptions, OrchestrationContext, Registry, activity, orchestration
from engine.errors import InstanceExists, WaitTimedOut
from provider_log import LogProvider
from provider_log.audit.verify import verify
from provider_log.options import LogProviderOptions

PATIENCE_MS = 150
"""How long a program may run; what then waits for ever is a history like any other."""


@activity
async def work(number: int) -> int:
    return number


@activity
async def fail(number: int) -> int:
    raise ValueError(number)


async def _raced(ctx: OrchestrationContext) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.002):
            await ctx.wait_event("never")


async def _leave(ctx: OrchestrationContext) -> None:
    """Asked for and never awaited: taken back at the end."""
    ctx.schedule_activity(work, 0)
    ctx.schedule_activity(work, 0, session_id="left")
    ctx.schedule_timer(timedelta(hours=1))
    ctx.wait_event("never")


async def _show(ctx: OrchestrationContext) -> None:
    ctx.set_custom_status("shown")


async def _keep(ctx: OrchestrationContext) -> None:
    ctx.set_key_value("count", [*ctx.get_key_values(), ctx.get_key_value("count")])
    ctx.clear_key_value("nothing")
    ctx.clear_key_values()
    ctx.set_key_value("last", "x")


async def _abandon(ctx: OrchestrationContext) -> None:
    ctx.schedule_sub_orchestration(interpret, ["timer", "activity"], on_parent_end="abandon")


async def _detach(ctx: OrchestrationContext) -> None:
    ctx.start_detached(interpret, ["timer"], instance=f"{ctx.new_guid()}")


async def _detach_later(ctx: OrchestrationContext) -> None:
    ctx.start_detached(interpret, ["activity"], instance=f"{ctx.new_guid()}", delay=timedelta(milliseconds=20))


DOES: dict[str, Callable[[OrchestrationContext], Awaitable[object]]] = {
    "activity": lambda ctx: ctx.schedule_activity(work, 1),
    "broken": lambda ctx: asyncio.gather(ctx.schedule_activity(fail, 1), return_exceptions=True),
    "both": lambda ctx: asyncio.gather(*(ctx.schedule_activity(work, each) for each in range(3))),
    "session": lambda ctx: asyncio.gather(
        *(ctx.schedule_activity(work, each, session_id=f"s{each}") for each in range(3))
    ),
    "keys": _keep,
    "timer": lambda ctx: ctx.schedule_timer(timedelta(milliseconds=2)),
    "raced": _raced,
    "left": _leave,
    "child": lambda ctx: ctx.schedule_sub_orchestration(interpret, ["activity"]),
    "lost child": lambda ctx: asyncio.gather(
        ctx.schedule_sub_orchestration(interpret, ["raise"]), return_exceptions=True
    ),
    "abandoned child": _abandon,
    "detached later": _detach_later,
    "detached": _detach,
    "event": lambda ctx: ctx.wait_event("event"),
    "letter": lambda ctx: ctx.dequeue("letters"),
    "status": _show,
}


@orchestration
async def interpret(ctx: OrchestrationContext, program: list[str]) -> int:
    """Does what `program` says, one after the other; "again" and "raise" end it."""
    for number, op in enumerate(program):
        if op == "again":
            return ctx.continue_as_new(program[number + 1 :])
        if op == "raise":
            raise ValueError(op)
        await DOES[op](ctx)
    return len(program)


programs = st.lists(st.sampled_from([*DOES, "again", "raise"]), max_size=6)
disturbances = st.lists(
    st.sampled_from(["event", "letter", "cancel", "start again", "begin anew", "nothing"]), max_size=4
)


@settings(max_examples=12)
@given(
    instances=st.lists(st.tuples(programs, disturbances), min_size=1, max_size=4),
    partitions=st.integers(1, 3),
    batch_records_max=st.sampled_from([1, 3, 512]),
    age_max_ms=st.sampled_from([4, 5_000]),
)
def test_what_any_program_leaves_behind_agrees(
    instances: list[tuple[list[str], list[str]]], partitions: int, batch_records_max: int, age_max_ms: int
) -> None:
    """Small batches split turns from what answers them; a small age parks what waits."""
    options = LogProviderOptions(batch_records_max=batch_records_max, input_age_max_ms=age_max_ms)
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(2):
            asyncio.run(_live(Path(directory), partitions, options, instances))
        verdict = asyncio.run(verify(Path(directory)))
    assert verdict.findings == ()
    assert verdict.owners == 2 * partitions


async def _live(
    data: Path, partitions: int, options: LogProviderOptions, instances: list[tuple[list[str], list[str]]]
) -> None:
    registry = Registry(orchestrations=[interpret], activities=[work, fail])
    engine_options = EngineOptions(drain_ms=5, stop_ms=200, cancel_grace_ms=0)
    async with (
        LogProvider.embedded(data, partitions=partitions, options=options) as provider,
        Engine(provider, registry, engine_options),
    ):
        client = Client(provider, options=ClientOptions(start_ms_max=PATIENCE_MS))
        for number, (program, disturbed) in enumerate(instances):
            deadline = timedelta(milliseconds=40) if number % 2 else None
            handle = await client.start(interpret, program, instance=f"i{number}", deadline=deadline)
            for what in disturbed:
                match what:
                    case "event":
                        await handle.raise_event("event", keep=number % 2 == 0)
                    case "letter":
                        await handle.enqueue_message("letters")
                    case "cancel":
                        await handle.cancel()
                    case "start again":
                        await client.start(interpret, ["status"], instance=f"i{number}")
                    case "begin anew":
                        with contextlib.suppress(InstanceExists, WaitTimedOut):
                            await client.start(
                                interpret, ["keys", "activity"], instance=f"i{number}", if_exists="restart_ended"
                            )
                    case _:
                        await client.enqueue_message(f"nobody {number}", "letters")
        await _quiet(provider)


async def _quiet(provider: LogProvider) -> None:
    """Until nothing is queued any more, or for as long as our patience lasts."""
    for _ in range(PATIENCE_MS // 10):
        depths = await provider.get_queue_depths()
        if not any((depths.orchestrator_queue, depths.worker_queue, depths.timer_queue)):
            return
        await asyncio.sleep(0.01)
