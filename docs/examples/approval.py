"""An event raced by a timer: who does not answer in time has answered, too. The loser of `select` is cancelled.

Prints:
    the chair: approved by Grace
    the yacht: nobody decided in time
"""

import asyncio
import tempfile
from datetime import timedelta

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from provider_log import LogProvider


@orchestration
async def purchase(ctx: OrchestrationContext, patience_ms: int) -> str:
    decision = ctx.wait_event("approved", str)
    too_late = ctx.schedule_timer(timedelta(milliseconds=patience_ms))
    first = await ctx.select(decision, too_late)
    return f"approved by {first.value}" if first.index == 0 else "nobody decided in time"


async def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, Registry(orchestrations=[purchase])):
            client = Client(provider)
            chair = await client.start(purchase, 60_000)
            yacht = await client.start(purchase, 50)
            # An event is for whoever waits for it, and lost if nobody does: let the first turn come to its wait.
            await chair.changed()
            await chair.raise_event("approved", "Grace")
            print("the chair:", await chair.wait())
            print("the yacht:", await yacht.wait())


if __name__ == "__main__":
    asyncio.run(main())
