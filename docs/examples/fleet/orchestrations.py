"""How is a fleet run? Three orchestrations: the fleet provisions, each service is provisioned, and then watched."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from activities import (
    NotHealthy,
    check_health,
    deregister,
    register,
    release_port,
    reserve_port,
    start_process,
    stop_process,
)
from engine import ActivityError, OrchestrationContext, RetryPolicy, SubOrchestrationError, orchestration
from plan import Plan, Provisioned, Service, Watch

UNTIL_READY = RetryPolicy(attempts=1_000, backoff="fixed", delay=timedelta(milliseconds=200))
READY_WITHIN = timedelta(seconds=15)
PERSISTENTLY = RetryPolicy(attempts=10)

CHECK_EVERY = timedelta(milliseconds=500)
MISSES_MAX = 3

Undo = Callable[[Service], None]
TAKE_DOWN: tuple[Undo, ...] = (deregister, stop_process, release_port)
"""The way back, in the order opposite to the way there."""


@orchestration
async def fleet(ctx: OrchestrationContext, plan: Plan) -> list[Provisioned]:
    """Provision every service, `plan.parallel` at a time, and say what became of each."""
    slots = asyncio.Semaphore(plan.parallel)

    async def place(service: Service) -> Provisioned:
        async with slots:
            try:
                ready = await ctx.schedule_sub_orchestration(provision, service, instance=f"provision-{service.name}")
            except SubOrchestrationError as error:
                return Provisioned(service.name, port=0, why=error.failure.message)
            return Provisioned(service.name, ready.port)

    return await asyncio.gather(*(place(service) for service in plan.services))


@orchestration
async def provision(ctx: OrchestrationContext, service: Service) -> Service:
    """The service as it runs and is registered, under watch from now on; or an error, and no trace of it."""
    undo: list[Undo] = []
    try:
        # What is undone is noted before it is done: an activity that failed or was cancelled may have had its effect.
        undo.append(release_port)
        service = await ctx.schedule_activity(reserve_port, service)
        undo.append(stop_process)
        await bring_up(ctx, service)
        undo.append(deregister)
        await ctx.schedule_activity(register, service, retry=PERSISTENTLY)
    except (Exception, asyncio.CancelledError):
        ctx.set_custom_status("undoing")
        await take_down(ctx, service, undo[::-1])
        raise
    ctx.start_detached(watch, Watch(service), instance=f"watch-{service.name}")
    return service


@orchestration
async def watch(ctx: OrchestrationContext, watched: Watch) -> Watch:
    """Check the service for ever and start it again when it is dead; a message in queue `delete` ends it."""
    # A queue keeps what comes while nobody waits, between two rounds too; an event would be lost.
    order = await ctx.select(ctx.dequeue("delete"), ctx.schedule_timer(CHECK_EVERY))
    return await look_after(ctx, watched, delete=order.index == 0)


async def look_after(ctx: OrchestrationContext, watched: Watch, *, delete: bool) -> Watch:
    """The round of a watch, of whatever version, once it knows what it is for."""
    if delete:
        show(ctx, "deleting")
        await take_down(ctx, watched.service, TAKE_DOWN)
        show(ctx, "deleted")
        return watched
    try:
        await ctx.schedule_activity(check_health, watched.service)
        watched = replace(watched, checks=watched.checks + 1, misses=0)
        show(ctx, "healthy")
    except NotHealthy:
        watched = replace(watched, checks=watched.checks + 1, misses=watched.misses + 1)
        show(ctx, f"missed {watched.misses}")
    if watched.misses == MISSES_MAX:
        ctx.logger.warning("%s is dead; starting it again", watched.service.name)
        show(ctx, "restarting")
        await start_again(ctx, watched.service)
        watched = replace(watched, misses=0, restarts=watched.restarts + 1)
    return ctx.continue_as_new(watched)


async def bring_up(ctx: OrchestrationContext, service: Service) -> None:
    """Start the process and wait until it answers."""
    await ctx.schedule_activity(start_process, service, retry=PERSISTENTLY)
    await ctx.schedule_activity(check_health, service, retry=UNTIL_READY, deadline=READY_WITHIN)


async def start_again(ctx: OrchestrationContext, service: Service) -> None:
    """One more try; whether it helped is for the next checks to find out."""
    await ctx.schedule_activity(stop_process, service, retry=PERSISTENTLY)
    try:
        await bring_up(ctx, service)
    except ActivityError as error:
        ctx.logger.warning("%s did not come back: %s", service.name, error)


async def take_down(ctx: OrchestrationContext, service: Service, undo: Sequence[Undo]) -> None:
    for activity in undo:
        await ctx.schedule_activity(activity, service, retry=PERSISTENTLY)


def show(ctx: OrchestrationContext, status: str) -> None:
    """Let queries see `status`; said once, however many rounds it lasts."""
    if ctx.custom_status != status:
        ctx.set_custom_status(status)
