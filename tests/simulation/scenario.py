"""What do the timelines share? Programs, strangers who send them input, and how a scenario is run and looked at."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import timedelta

from engine import (
    OrchestrationContext,
    Registry,
    activity,
    orchestration,
)
from engine.converter import JsonConverter
from engine.model.messages import AnyMessage, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.observe import logger
from engine.runtime.doors import within
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.partition.restore import head_of
from provider_log.routing import partition_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import APP, World
from provider_log.topics import Topics

K_MAX = 400
SLOTS = [f"turnlog.{APP}.0.{slot}" for slot in range(4)]
TOPICS = Topics.of(APP)
LONG_MS = 200_000
STEP_MS = 500


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def letters(ctx: OrchestrationContext, count: int) -> list[int]:
    """What strangers sent, in the order it came, with messages of its own between."""
    came = list[int]()
    for _ in range(count):
        came.append(await ctx.dequeue("letters", int))
        await ctx.schedule_activity(double, 1)
    return came


@orchestration
async def parent(ctx: OrchestrationContext, number: int) -> int:
    """Its child lives where its own id says: on another partition, maybe."""
    return await ctx.schedule_sub_orchestration("child", number, instance=f"child-of-{number}")


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, number)


@orchestration
async def waits(ctx: OrchestrationContext) -> list[int]:
    return [await ctx.wait_event("e", int) for _ in range(3)]


@orchestration
async def bulky(ctx: OrchestrationContext, size: int) -> str:
    await ctx.schedule_timer(timedelta(milliseconds=1))
    return "x" * size


@orchestration
async def steps(ctx: OrchestrationContext, number: int) -> int:
    number = await ctx.schedule_activity(double, number)
    number = await ctx.schedule_sub_orchestration("child", number)
    await ctx.schedule_timer(timedelta(milliseconds=5))
    return await ctx.schedule_activity(double, number)


REGISTRY = Registry(orchestrations=[letters, parent, child, waits, bulky, steps], activities=[double])


def run(world: World, scenario: Callable[[], Awaitable[None]], about: str = "") -> None:
    """Run it; what has no end within three minutes of its time has failed."""

    async def bounded() -> None:
        running = asyncio.ensure_future(scenario())
        while not running.done() and world.clock.boot_ms() < LONG_MS:
            # In small steps: the world lets time pass after some rounds of the loop, whoever is still at work.
            with contextlib.suppress(TimeoutError):
                await within(world.clock, asyncio.wait({running}), STEP_MS)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            raise AssertionError(f"expected an end within {LONG_MS} ms")
        await running

    try:
        world.run(bounded)
    except BaseException as error:
        error.add_note(about)
        raise


@contextlib.contextmanager
def told(name: str) -> Generator[list[str]]:
    """What a logger says while the context is open."""
    lines = list[str]()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Noting()
    logger(name).addHandler(handler)
    try:
        yield lines
    finally:
        logger(name).removeHandler(handler)


async def never(_partition: int) -> bool:
    return False


async def send(world: World, message: AnyMessage, partitions: int = 1) -> int:
    """Append it as a stranger would."""
    partition = partition_of(message.instance, partitions)
    value, key = codec.encode_message(message), message.instance.encode()
    return await world.log.append(LogRecord(topic=TOPICS.orchestrator, partition=partition, key=key, value=value))


def start_of(name: str, instance: str, value: object) -> StartOrchestration:
    return StartOrchestration(instance=instance, name=name, input=JsonConverter().encode(value, "input"))


def letter(instance: str, number: int) -> EnqueueMessage:
    """Without an id: nothing but the position of its lane says whether it was consumed."""
    return EnqueueMessage(instance=instance, name="letters", data=JsonConverter().encode(number, "message"))


def event(instance: str, number: int) -> RaiseEvent:
    return RaiseEvent(instance=instance, name="e", data=JsonConverter().encode(number, "event"))


async def died(line: Line, life: Coroutine[None, None, None]) -> bool:
    """Let a node live until it is done, or until its line freezes, and is cut: whether it was."""
    living, freezing = asyncio.ensure_future(life), asyncio.ensure_future(line.frozen.wait())
    await asyncio.wait({living, freezing}, return_when=asyncio.FIRST_COMPLETED)
    freezing.cancel()
    if living.done():
        await living
        return False
    line.cut()
    living.cancel()
    await asyncio.wait({living})
    return True


async def is_fold(world: World, partition: int = 0) -> None:
    """Every store is what its log says."""
    for (_, number), store in world.stores.items():
        if number == partition:
            assert store.rows == await world.rebuilt(partition, until=head_of(store).offset)


async def owners(world: World) -> int:
    return sum(isinstance(record, r.OwnershipAcquired) for record in await world.records())
