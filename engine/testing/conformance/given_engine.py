"""How does a test of the suite let an engine work on a provider, and how does it see how far that came?"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from engine.clock import SystemClock
from engine.converter import JsonConverter
from engine.model.events import AnyEvent
from engine.model.messages import EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.views import InstanceInfo
from engine.port import Provider
from engine.registry import Registry
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions
from engine.testing.conformance.given import REAL_SECONDS_MAX

_LOOK_AGAIN_MS = 2
_REAL_TIME = SystemClock()
_CONVERTER = JsonConverter()


def payload(value: object) -> Payload:
    """`value` as the engine would send it."""
    return _CONVERTER.encode(value, "a value of the suite")


def start(instance: str, name: str, value: object, version: str | None = None) -> StartOrchestration:
    """Start `instance` as `name`, of the latest version unless told."""
    return StartOrchestration(instance=instance, name=name, version=version, input=payload(value))


def raised(instance: str, name: str, data: object) -> RaiseEvent:
    """An external event with data."""
    return RaiseEvent(instance=instance, name=name, data=payload(data))


def enqueued(instance: str, queue: str, data: object) -> EnqueueMessage:
    """A queue message with data."""
    return EnqueueMessage(instance=instance, name=queue, data=payload(data))


@asynccontextmanager
async def served(
    provider: Provider, orchestrations: Sequence[Callable[..., Any]], options: EngineOptions | None = None
) -> AsyncGenerator[Engine]:
    """An engine that has nothing but this code works for the block; what it began is durable when the block is left."""
    async with Engine(provider, Registry(orchestrations=orchestrations), options) as engine:
        yield engine


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look until it is so. For what the port has no wait for."""
    with anyio.fail_after(REAL_SECONDS_MAX):
        while not await holds():
            await _REAL_TIME.sleep_ms(_LOOK_AGAIN_MS)


async def recorded(provider: Provider, instance: str, kind: type[AnyEvent], times: int = 1) -> None:
    """Return when the instance's current execution has so many events of that kind."""
    seen = 0
    with anyio.fail_after(REAL_SECONDS_MAX):
        while sum(isinstance(event, kind) for event in await provider.read(instance)) < times:
            before, seen = seen, (await provider.changed(instance, seen)).revision
            assert seen > before, f"expected to hear of a change after {before}, but it is {seen}"


async def ended(provider: Provider, instance: str) -> InstanceInfo:
    """What it says of itself when it goes no further."""
    with anyio.fail_after(REAL_SECONDS_MAX):
        return await provider.ended(instance)


async def output(provider: Provider, instance: str) -> object:
    """What it returned; it must complete."""
    info = await ended(provider, instance)
    assert info.status is Status.COMPLETED, f"expected {instance} to complete, but it is {info.status}: {info.failure}"
    assert info.output is not None, f"expected {instance} to have an output"
    return _CONVERTER.decode(info.output, object, f"the output of {instance}")
