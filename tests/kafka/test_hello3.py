"""Does an engine run on Kafka from end to end: start, turns, activities, doubt, restart?"""

import asyncio
import uuid
from pathlib import Path

from engine import Client, Engine
from provider_log import LogProvider
from provider_log.bench.workloads import REGISTRY
from tests.kafka.proxy import Api, Lose, proxied

WAIT_S = 60
OUTPUT = "hello hello hello log"


async def test_orchestrations_end_and_a_new_node_without_a_store_knows_them(bootstrap: str, tmp_path: Path) -> None:
    app = f"a{uuid.uuid4().hex}"
    instances = [f"i-{number}" for number in range(20)]
    async with LogProvider.kafka(bootstrap, tmp_path / "one", app=app, partitions=2) as provider:
        async with Engine(provider, REGISTRY):
            client = Client(provider)
            for instance in instances:
                await client.start("hello3", "log", instance=instance)
            outputs = [await client.wait(instance, WAIT_S, output=str) for instance in instances]
        before = [await provider.read(instance) for instance in instances]
    assert outputs == [OUTPUT] * len(instances)

    async with LogProvider.kafka(bootstrap, tmp_path / "two", app=app, partitions=2) as provider:
        assert [await provider.read(instance) for instance in instances] == before


async def test_orchestrations_end_right_while_answers_are_lost(bootstrap: str, tmp_path: Path) -> None:
    app = f"a{uuid.uuid4().hex}"
    instances = [f"i-{number}" for number in range(20)]
    lost = [(Api.END_TXN, Lose.REPLY), (Api.PRODUCE, Lose.REPLY), (Api.END_TXN, Lose.REQUEST), (Api.END_TXN, Lose.LATE)]
    async with (
        proxied(bootstrap) as proxy,
        LogProvider.kafka(proxy.bootstrap, tmp_path / "one", app=app) as provider,
    ):
        async with Engine(provider, REGISTRY):
            client = Client(provider)
            waiting = [asyncio.ensure_future(_run(client, instance)) for instance in instances]
            for api, what in lost:
                proxy.lose(api, what)
                await proxy.reached(api, proxy.seen[api] + 1)
            await proxy.deliver()
            outputs = await asyncio.gather(*waiting)
        before = [await provider.read(instance) for instance in instances]
    assert outputs == [OUTPUT] * len(instances)

    async with LogProvider.kafka(bootstrap, tmp_path / "two", app=app) as provider:
        assert [await provider.read(instance) for instance in instances] == before


async def _run(client: Client, instance: str) -> str:
    await client.start("hello3", "log", instance=instance)
    return await client.wait(instance, WAIT_S, output=str)
