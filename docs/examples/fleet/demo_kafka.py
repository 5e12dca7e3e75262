"""What does `make demo-kafka` do? The fleet on three nodes that share a log on Kafka; one is killed and stays away.

The exit code is that of `turnlog audit verify`, or 1 if anything else was not as it should be. `KAFKA_BOOTSTRAP` names
brokers that run already; else one is started.
"""

import os
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import anyio

from demo import Ended, brought_to_its_end, killed_in_the_middle, nothing_left, pictured, stopped, told, up_and_watched
from engine import Client
from engine.errors import UsageError
from node import Node
from orchestrations import fleet
from plan import Plan
from provider_log.audit.timeline import Mark
from provider_log.dev.broker import running_broker
from provider_log.routing import partition_of
from provider_log.server.remote import RemoteProvider
from screen import Screen
from seen import LOOK_EVERY_S, PATIENCE_S, Broken, Seen, free_port

NODES = ("node-1", "node-2", "node-3")
PARTITIONS = 8

Places = Mapping[str, Sequence[int]]
"""By node, the partitions that run there."""


class Member(NamedTuple):
    """A node, and the way to it."""

    node: Node
    remote: RemoteProvider


def main() -> int:
    try:
        with kafka() as bootstrap:
            return told(partial(story, bootstrap))
    except UsageError as error:
        print(error)
        return 1


@contextmanager
def kafka() -> Generator[str]:
    """Where brokers answer."""
    if bootstrap := os.environ.get("KAFKA_BOOTSTRAP"):
        yield bootstrap
        return
    print("A Kafka broker starts, for this demo alone.", flush=True)
    with running_broker() as broker:
        yield broker.bootstrap


async def story(bootstrap: str, plan: Plan, home: Path, screen: Screen) -> Ended:
    """All that happens, in its order.

    Raises:
        Broken: Something is not as it should be.
    """
    log = ("--log", "kafka", "--bootstrap", bootstrap, "--app", f"fleet-{os.urandom(4).hex()}")
    async with members_in(home, *log, "--partitions", f"{PARTITIONS}") as members:
        before = await shared_out(members)
        screen.say(f"three nodes share {PARTITIONS} partitions: {spoken(before)}")
        # Who dies is who has most to lose: it runs the orchestration that waits for all the others.
        dies = next(each for each in members if partition_of("fleet", PARTITIONS) in before[each.node.name])
        other, last = (each for each in members if each is not dies)
        seen = Seen(Client(last.remote), plan, home, screen)
        seen.ports.update(each.node.port for each in members)
        try:
            await Client(dies.remote).start(fleet, plan, instance="fleet")
            screen.say(f"{dies.node.name} is asked for {len(plan.services)} services, {plan.parallel} at a time")
            at_kill = await killed_in_the_middle(seen, dies.node)
            away = await taken_over(seen, dies, before, [other, last])
            rows = await brought_to_its_end(seen, at_kill, await up_and_watched(seen))
            await pictured(seen, away)
            stopped(seen, other.node)
            screen.say(f"it has handed over what it had: {spoken(await shared_out([last]))}")
            stopped(seen, last.node)
            nothing_left(seen)
        finally:
            # However the story ended, nothing of it goes on.
            for node, _ in members:
                node.kill()
            seen.clear()
    return Ended(rows, [*log, "--data", str(last.node.data)])


@asynccontextmanager
async def members_in(home: Path, *flags: str) -> AsyncGenerator[list[Member]]:
    """Three nodes that answer; those that still run in the end are killed."""
    members: list[Member] = []
    async with AsyncExitStack() as stack:
        for name in NODES:
            node = Node(name, free_port(), home / name, home / f"{name}.log", *flags)
            stack.callback(node.kill)
            node.start()
            members.append(Member(node, await stack.enter_async_context(RemoteProvider(node.url))))
        for node, remote in members:
            await node.ready(remote)
        yield members


async def taken_over(seen: Seen, dead: Member, before: Places, living: Sequence[Member]) -> Mark:
    """Return when the living have the partitions of the dead; how long that took."""
    from_ms = now_ms()
    after = await shared_out(living)
    away = Mark(f"SIGKILL, no {dead.node.name}", from_ms, now_ms())
    seen.screen.say(
        f"{listed(before[dead.node.name])} of {dead.node.name} run elsewhere after {away.until_ms - from_ms} ms: ",
        spoken(after),
    )
    return away


async def shared_out(members: Sequence[Member]) -> Places:
    """Who has what, as soon as every partition runs on one of them and none has two more than another.

    Raises:
        Broken: It does not come to that.
    """
    places: dict[str, list[int]] = {}
    with anyio.move_on_after(PATIENCE_S):
        while True:
            for node, remote in members:
                phases = (await remote.node_info()).phases
                places[node.name] = [number for number, phase in phases.items() if phase == "running"]
            counts = [len(numbers) for numbers in places.values()]
            if sorted(chain(*places.values())) == [*range(PARTITIONS)] and max(counts) - min(counts) < 2:
                return places
            await anyio.sleep(LOOK_EVERY_S)
    raise Broken(f"expected {PARTITIONS} partitions that run, evenly shared, but there is {spoken(places)}")


def spoken(places: Places) -> str:
    """Who has what."""
    return ", ".join(f"{name} has {listed(numbers)}" for name, numbers in places.items())


def listed(partitions: Sequence[int]) -> str:
    return " ".join(map(str, partitions)) or "none"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
