"""What do the commands talk to in these tests? A node of this process: real HTTP, a real engine, a store in memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from engine import Engine, OrchestrationContext, Registry, activity, orchestration
from engine.clock import SystemClock
from provider_log.server.address import parse_address
from provider_log.server.listener import address_of, bind, serving
from tests.unit.provider_log.served import ServedMemory


class OutOfStock(Exception):
    pass


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@activity
async def reserve(item: str) -> None:
    raise OutOfStock(f"no {item} left")


@orchestration
async def welcome(ctx: OrchestrationContext, name: str) -> dict[str, str]:
    ctx.set_custom_status("greeting")
    return {"said": await ctx.schedule_activity(greet, name)}


@orchestration
async def order(ctx: OrchestrationContext, item: str) -> None:
    await ctx.schedule_activity(reserve, item)


@orchestration
async def approval(ctx: OrchestrationContext) -> object:
    return await ctx.wait_event("decision")


@orchestration
async def reaches_out(ctx: OrchestrationContext) -> None:
    asyncio.get_running_loop().stop()


@orchestration
async def reader(ctx: OrchestrationContext) -> object:
    return await ctx.dequeue("lines")


@orchestration
async def keeps(ctx: OrchestrationContext, value: object) -> None:
    if value is not None:
        ctx.set_key_value("last [red]", value)
        ctx.set_key_value("first", [1, 2])


@orchestration
async def parent(ctx: OrchestrationContext) -> int:
    for name in ("Ann", "Bob"):
        await ctx.schedule_sub_orchestration(child, name)
    return 2


@orchestration
async def child(ctx: OrchestrationContext, name: str) -> object:
    return await ctx.schedule_sub_orchestration(welcome, name)


@orchestration
async def countdown(ctx: OrchestrationContext, left: int) -> int:
    return ctx.continue_as_new(left - 1) if left else left


REGISTRY = Registry(
    orchestrations=[welcome, order, approval, reaches_out, reader, keeps, parent, child, countdown],
    activities=[greet, reserve],
)


@asynccontextmanager
async def live_node() -> AsyncGenerator[str]:
    """Serves `REGISTRY`; gives its URL."""
    served = ServedMemory(SystemClock())
    listener = bind(parse_address("127.0.0.1:0"), token=None)
    url = address_of(listener).url
    async with serving(served, listener), Engine(served, REGISTRY):
        yield url
