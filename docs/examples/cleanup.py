"""Cancellation reaches the code as `CancelledError`, so `finally` runs, and may call activities like all other code.

Prints:
    the lamp is on
    the lamp is off
    cancelled: bedtime
"""

import asyncio
import tempfile
from datetime import timedelta

from engine import Client, Engine, OrchestrationContext, OrchestrationFailed, Registry, activity, orchestration
from provider_log import LogProvider


@activity
def switch(on: bool) -> None:
    print(f"the lamp is {'on' if on else 'off'}")


@orchestration
async def evening(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity(switch, True)
    try:
        ctx.set_custom_status("reading")
        await ctx.schedule_timer(timedelta(hours=8))
    finally:
        await ctx.schedule_activity(switch, False)


async def main() -> None:
    registry = Registry(orchestrations=[evening], activities=[switch])
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, registry):
            tonight = await Client(provider).start(evening)
            seen = await tonight.changed()
            while seen.custom_status != "reading":
                seen = await tonight.changed(seen.revision)
            await tonight.cancel("bedtime")
            try:
                await tonight.wait()
            except OrchestrationFailed as error:
                print("cancelled:", error.failure.message)


if __name__ == "__main__":
    asyncio.run(main())
