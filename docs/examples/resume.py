"""An import that fails half way and goes on where it was: what a heartbeat said, the next attempt reads.

Prints:
    attempt 1 begins at row 0
    attempt 2 begins at row 3
    imported 5 rows, each once
"""

import asyncio
import tempfile
from datetime import timedelta

from engine import ActivityContext, Client, Engine, OrchestrationContext, Registry, RetryPolicy, activity, orchestration
from provider_log import LogProvider

ROWS = ["lamp", "desk", "chair", "shelf", "clock"]
imported: list[str] = []
begun_at: list[int] = []


@activity
async def import_rows(ctx: ActivityContext) -> int:
    start = ctx.heartbeat_details(int) or 0
    begun_at.append(start)
    print(f"attempt {len(begun_at)} begins at row {start}")
    for row in range(start, len(ROWS)):
        if row == 3 and len(begun_at) == 1:
            raise ConnectionError("the database went away")
        imported.append(ROWS[row])
        ctx.heartbeat(row + 1)
    return len(ROWS)


@orchestration
async def load(ctx: OrchestrationContext) -> int:
    return await ctx.schedule_activity(
        import_rows,
        retry=RetryPolicy(attempts=3),
        run_timeout=timedelta(hours=1),
        heartbeat_timeout=timedelta(minutes=1),
    )


async def main() -> None:
    registry = Registry(orchestrations=[load], activities=[import_rows])
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, registry):
            count = await (await Client(provider).start(load)).wait()
            assert imported == ROWS
            print(f"imported {count} rows, each once")


if __name__ == "__main__":
    asyncio.run(main())
