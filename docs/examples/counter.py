"""A loop without end and without a growing history: each round is an execution, and unread messages go along.

Prints:
    3 rounds, 42 in all
"""

import asyncio
import tempfile
from dataclasses import dataclass

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from provider_log import LogProvider


@dataclass
class Count:
    rounds: int = 0
    total: int = 0


@orchestration
async def counter(ctx: OrchestrationContext, so_far: Count) -> Count:
    number = await ctx.dequeue("numbers", int)
    if number == 0:
        return so_far
    return ctx.continue_as_new(Count(so_far.rounds + 1, so_far.total + number))


async def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, Registry(orchestrations=[counter])):
            count = await Client(provider).start(counter, Count())
            for number in (10, 12, 20, 0):
                await count.enqueue_message("numbers", number)
            end = await count.wait()
            print(f"{end.rounds} rounds, {end.total} in all")


if __name__ == "__main__":
    asyncio.run(main())
