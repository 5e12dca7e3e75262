"""What is a node under load, in a process of its own? It prints how many orchestrations ended, until its input ends."""

import asyncio
import sys
from pathlib import Path

from engine import Client, Engine
from provider_log import LogProvider
from provider_log.bench.workloads import REGISTRY
from tests.kafka.load import Load, loaded


async def main(bootstrap: str, directory: str, app: str) -> None:
    provider = LogProvider.kafka(bootstrap, Path(directory), app=app)
    async with provider, Engine(provider, REGISTRY), loaded(Client(provider), clients=100) as load:
        telling = asyncio.ensure_future(tell(load))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        telling.cancel()


async def tell(load: Load) -> None:
    while True:
        await load.more(1)
        print(len(load.ended), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
