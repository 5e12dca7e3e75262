"""The first orchestration: one activity, called once. Its data is a directory here, `hello-data`.

Prints:
    Hello, Ada!
"""

import asyncio

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from provider_log import LogProvider


@activity
def greet(name: str) -> str:
    return f"Hello, {name}!"


@orchestration
async def hello(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(greet, name)


registry = Registry(orchestrations=[hello], activities=[greet])


async def main() -> None:
    async with LogProvider.embedded("hello-data") as provider, Engine(provider, registry):
        hello_ada = await Client(provider).start(hello, "Ada")
        print(await hello_ada.wait())


if __name__ == "__main__":
    asyncio.run(main())
