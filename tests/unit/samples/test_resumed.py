"""Does an import go on where it was, over the end of the engine, of the data's owner, and of an attempt?"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from engine import (
    ActivityContext,
    Client,
    Engine,
    EngineOptions,
    OrchestrationContext,
    Registry,
    RetryPolicy,
    activity,
    orchestration,
)
from provider_log import LogProvider

pytestmark = pytest.mark.anyio

ROWS = 10


class Import:
    """Writes rows; stands still at one of them, fails at another, and tells how far it is."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.begun_at: list[int] = []
        self.stands = asyncio.Event()

        @activity
        async def write(ctx: ActivityContext) -> int:
            start = ctx.heartbeat_details(int) or 0
            self.begun_at.append(start)
            for row in range(start, ROWS):
                if row == 4 and len(self.begun_at) == 1:
                    self.stands.set()
                    await asyncio.Event().wait()
                if row == 7 and len(self.begun_at) == 2:
                    raise ConnectionError("away")
                self.written.append(row)
                ctx.heartbeat(row + 1)
            return ROWS

        @orchestration
        async def load(ctx: OrchestrationContext) -> int:
            policy = RetryPolicy(attempts=3, delay=timedelta(0))
            return await ctx.schedule_activity(write, retry=policy, run_timeout=timedelta(hours=1))

        self.load = load
        self.registry = Registry(orchestrations=[load], activities=[write])


async def test_an_import_goes_on_where_it_was(tmp_path: Path) -> None:
    importing = Import()
    options = EngineOptions(drain_ms=0)
    async with LogProvider.embedded(tmp_path) as provider:
        engine = Engine(provider, importing.registry, options)
        running = asyncio.ensure_future(engine.run())
        await Client(provider).start(importing.load, instance="import")
        await importing.stands.wait()
        engine.request_stop()
        await running
    async with LogProvider.embedded(tmp_path) as provider, Engine(provider, importing.registry, options):
        assert await Client(provider).handle("import").wait(30) == ROWS
    assert importing.begun_at == [0, 4, 7]
    assert importing.written == list(range(ROWS))
