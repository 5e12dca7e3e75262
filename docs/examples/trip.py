"""A saga: what was booked is cancelled in reverse when a later booking fails.

Prints:
    booked the flight to Turin
    booked the hotel to Turin
    cancelled the hotel to Turin
    cancelled the flight to Turin
    no trip: ValueError: no car to Turin
"""

import asyncio
import tempfile
from dataclasses import dataclass

from engine import (
    ActivityError,
    Client,
    Engine,
    OrchestrationContext,
    OrchestrationFailed,
    Registry,
    activity,
    orchestration,
)
from provider_log import LogProvider


@dataclass
class Booking:
    what: str
    to: str


@activity
def book(booking: Booking) -> None:
    if booking.what == "car":
        raise ValueError(f"no car to {booking.to}")
    print(f"booked the {booking.what} to {booking.to}")


@activity
def cancel(booking: Booking) -> None:
    print(f"cancelled the {booking.what} to {booking.to}")


@orchestration
async def trip(ctx: OrchestrationContext, to: str) -> str:
    booked: list[Booking] = []
    try:
        for what in ("flight", "hotel", "car"):
            await ctx.schedule_activity(book, Booking(what, to))
            booked.append(Booking(what, to))
    except ActivityError:
        for booking in reversed(booked):
            await ctx.schedule_activity(cancel, booking)
        raise
    return f"on the way to {to}"


async def main() -> None:
    registry = Registry(orchestrations=[trip], activities=[book, cancel])
    with tempfile.TemporaryDirectory() as data:
        async with LogProvider.embedded(data) as provider, Engine(provider, registry):
            to_turin = await Client(provider).start(trip, "Turin")
            try:
                print(await to_turin.wait())
            except OrchestrationFailed as error:
                print("no trip:", error.failure.message)


if __name__ == "__main__":
    asyncio.run(main())
