"""How does a test wait until an instance has come so far? It looks again whenever something on the loop has moved."""

import asyncio

from tests.unit.engine.runtime.running import Bench, cycles


async def kept(bench: Bench, instance: str, key: str, value: object) -> None:
    """Return once the instance keeps `value` there."""
    async with asyncio.timeout(30):
        while await bench.client.get_key_value(instance, key) != value:
            await cycles(1)
