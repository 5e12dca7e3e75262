"""Orchestrations that call orchestrations: each child has a history of its own, and its error comes to the parent.

Prints:
    north: 2 parcels delivered
    south: stays closed (ValueError: no driver)
"""

import asyncio
import tempfile

from engine import Client, Engine, OrchestrationContext, Registry, SubOrchestrationError, activity, orchestration
from provider_log import LogProvider


@activity
def deliver(parcel: str) -> str:
    if parcel == "anvil":
        raise ValueError("no driver")
    return parcel


@orchestration
async def tour(ctx: OrchestrationContext, parcels: list[str]) -> int:
    for parcel in parcels:
        await ctx.schedule_activity(deliver, parcel)
    return len(parcels)


@orchestration
async def day(ctx: OrchestrationContext, tours: dict[str, list[str]]) -> list[str]:
    under_way = {name: ctx.schedule_sub_orchestration(tour, parcels) for name, parcels in tours.items()}
    report: list[str] = []
    for name, delivered in under_way.items():
        try:
            report.append(f"{name}: {await delivered} parcels delivered")
        except SubOrchestrationError as error:
            report.append(f"{name}: stays closed ({error.failure.message})")
    return report


async def main() -> None:
    registry = Registry(orchestrations=[day, tour], activities=[deliver])
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, registry):
            monday = await Client(provider).start(day, {"north": ["book", "lamp"], "south": ["anvil"]})
            print("\n".join(await monday.wait()))


if __name__ == "__main__":
    asyncio.run(main())
