"""What is an owner that another one takes everything from? A process that does so again each time it is told to.

`python -m tests.kafka.taken_owner BROKER APP NODE PARTITIONS` acquires every partition for each line of its input, says
`owns`, works, and says `lost N` once others have them all, N being how many of its commits were refused.
"""

import asyncio
import sys

from engine import Engine
from engine.clock import SystemClock
from engine.runtime.doors import Threads
from provider_log import LogProvider, LogProviderOptions
from provider_log.bench.workloads import REGISTRY
from provider_log.log.kafka import KafkaLog
from provider_log.log.port import Log
from provider_log.partition.ownership import Phase
from provider_log.store.memory import DictStore
from provider_log.store.port import Store


class PlacedNowhere:
    """`Shared` of a node that may take no partition by itself."""

    generation = 0
    placed = frozenset[int]()

    def __init__(self, node: str) -> None:
        self.address = node

    async def is_placed_here(self, partition: int) -> bool:
        return partition in self.placed


async def own_and_lose(bootstrap: str, app: str, node: str, partitions: int) -> None:
    async def open_log() -> Log:
        return await KafkaLog.open(bootstrap)

    def open_store(_partition: int, _threads: Threads) -> Store:
        return DictStore()

    provider = LogProvider(
        app=app,
        partitions=partitions,
        open_log=open_log,
        open_store=open_store,
        node=node,
        options=LogProviderOptions(slots_used=2),
        shared=PlacedNowhere(node),
    )
    clock = SystemClock()
    async with provider, Engine(provider, REGISTRY):
        holding = [asyncio.ensure_future(provider.held.hold(number, 0)) for number in range(partitions)]
        while set(provider.phases().values()) != {Phase.RUNNING}:
            await clock.sleep_ms(20)
        say("owns")
        await asyncio.gather(*holding)
        say(f"lost {provider.fenced_commits}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(bootstrap: str, app: str, node: str, partitions: str) -> None:
    for _ in sys.stdin:
        asyncio.run(own_and_lose(bootstrap, app, node, int(partitions)))


if __name__ == "__main__":
    main(*sys.argv[1:])
