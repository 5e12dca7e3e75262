"""A data directory with a bit of everything in it: what the tests of the audit damage copies of.

Two partitions; instances that complete, fail, are cancelled, continue as new and wait; children, timers, events,
queues; retries, time-outs and heartbeats; sessions in the partition of their instance and in the other one; two owners,
of which the first stopped while work was under way; trees that were deleted, one of them while it ran and started again
since, and an execution that was pruned.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine import (
    ActivityContext,
    Client,
    Engine,
    EngineOptions,
    Handle,
    OrchestrationContext,
    OrchestrationFailed,
    Registry,
    RetryPolicy,
    activity,
    orchestration,
)
from engine.clock import SystemClock
from engine.model.removal import PruneOptions
from engine.runtime.doors import Chance
from provider_log import LogProvider

PARTITIONS = 2
SHORT = timedelta(milliseconds=5)
OPTIONS = EngineOptions(drain_ms=20, stop_ms=500, cancel_grace_ms=0)
"""Some activities never end: nobody waits for them."""


@activity
async def pack(lamp: int) -> str:
    return f"lamp {lamp}"


@activity
async def break_down(ctx: ActivityContext, lamp: int) -> str:
    ctx.heartbeat({"lamp": lamp, "heard of": ctx.heartbeat_details()})
    raise ValueError(f"lamp {lamp} fell")


@activity
async def never(ctx: ActivityContext) -> None:
    ctx.heartbeat(ctx.activity_id)
    await asyncio.Event().wait()


@orchestration
async def ship(ctx: OrchestrationContext, lamps: int) -> list[str]:
    packed = await asyncio.gather(*(ctx.schedule_activity(pack, lamp) for lamp in range(lamps)))
    await ctx.schedule_timer(SHORT)
    ctx.set_custom_status("packed")
    return packed


@orchestration
async def lose(ctx: OrchestrationContext, lamp: int) -> str:
    return await ctx.schedule_activity(
        break_down,
        lamp,
        retry=RetryPolicy(attempts=2, delay=SHORT),
        queue_timeout=timedelta(hours=1),
        run_timeout=timedelta(hours=1),
    )


@orchestration
async def family(ctx: OrchestrationContext) -> int:
    shipped = await ctx.schedule_sub_orchestration(ship, 2)
    try:
        await ctx.schedule_sub_orchestration(lose, 1)
    except Exception:  # whatever became of the child
        return len(shipped)
    return 0


@orchestration
async def turn_over(ctx: OrchestrationContext, left: int) -> str:
    letter = await ctx.dequeue("letters", str)
    ctx.set_key_value("turned over", (ctx.get_key_value("turned over", int) or 0) + 1)
    await asyncio.gather(*(ctx.schedule_activity(pack, left, session_id=f"shelf-{shelf}") for shelf in range(3)))
    if left:
        return ctx.continue_as_new(left - 1)
    return letter


@orchestration
async def wait_for_word(ctx: OrchestrationContext) -> str:
    async with asyncio.timeout(3600):
        return await ctx.wait_event("word", str)


@orchestration
async def linger(ctx: OrchestrationContext) -> None:
    ctx.set_key_value("desk", "taken")
    ctx.set_custom_status("lingering")
    try:
        await asyncio.gather(ctx.schedule_activity(never), ctx.schedule_activity(never, session_id="desk"))
    finally:
        ctx.clear_key_values()
        await ctx.schedule_activity(pack, 0)


def registry() -> Registry:
    """All the code there is."""
    return Registry(
        orchestrations=[ship, lose, family, turn_over, wait_for_word, linger], activities=[pack, break_down, never]
    )


async def make_data(path: Path, *, rounds: int = 3, seed: int = 1) -> None:
    """Run two owners one after the other in `path`; both have let go on return."""
    async with open_provider(path, seed) as provider, Engine(provider, registry(), OPTIONS) as engine:
        client = Client(provider)
        done = [await client.start(ship, number % 4, instance=f"ship-{number}") for number in range(rounds)]
        done += [await client.start(family, instance=f"family-{number}") for number in range(rounds)]
        lost = await client.start(lose, 7, instance="lost")
        await client.start(linger, instance="lingers")
        gone = await client.start(linger, instance="gone")
        over = await client.start(turn_over, 2, instance="over")
        await client.start(wait_for_word, instance="waits")
        told = await client.start(wait_for_word, instance="told")
        for number in range(2):
            await over.enqueue_message("letters", f"letter {number}")
        await _shows(provider, "gone", "lingering")
        await gone.cancel("enough")
        await told.raise_event("word", "now")
        await told.raise_event("word", "too late")
        for handle in (*done, gone, told, lost):
            await _ended(handle)
        engine.request_stop()
    async with open_provider(path, seed + 1) as provider, Engine(provider, registry(), OPTIONS):
        client = Client(provider)
        await client.enqueue_message("over", "letters", "letter 2")
        await _ended(client.handle("over"))
        await _ended(await client.start(family, instance="after"))
        await _removed(provider, client)


async def _removed(provider: LogProvider, client: Client) -> None:
    """Delete what ended and what runs; start one of them again; prune what continued as new."""
    await _ended(await client.start(family, instance="buried"))
    await provider.delete_instance("buried")
    for _ in range(2):
        doomed = await client.start(linger, instance="doomed")
        await _shows(provider, "doomed", "lingering")
        await doomed.raise_event("word", "unheard")
        await provider.delete_instance("doomed", force=True)
    await client.start(wait_for_word, instance="doomed")
    cut = await client.start(turn_over, 2, instance="cut")
    for number in range(3):
        await cut.enqueue_message("letters", f"letter {number}")
    await _ended(cut)
    await provider.prune_executions("cut", PruneOptions())


def open_provider(path: Path, seed: int = 1) -> LogProvider:
    """The provider that the data is made with."""
    return LogProvider.embedded(path, partitions=PARTITIONS, clock=SystemClock(), chance=Chance(seed), node="n1")


async def _ended(handle: Handle[Any]) -> None:
    try:
        await handle.wait(30)
    except OrchestrationFailed:
        return


async def _shows(provider: LogProvider, instance: str, status: str) -> None:
    info = await provider.changed(instance, 0)
    while info.custom_status != status:
        info = await provider.changed(instance, info.revision)
