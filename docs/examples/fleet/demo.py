"""What does `make demo` do? It runs a fleet, kills the engine in the middle, and lets the log tell what happened.

The exit code is that of `turnlog audit verify`, or 1 if anything else was not as it should be.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import NamedTuple

import anyio
from rich.console import Console

from engine import Client, Status
from node import COMMAND, Node
from orchestrations import fleet
from plan import Plan, Provisioned, Service, Watch
from provider_log.audit.timeline import Mark, timeline
from provider_log.server.remote import RemoteProvider
from screen import Row, Screen, table
from seen import LOOK_EVERY_S, Broken, Seen, States, free_port

LEAST = 5
"""So many services have to be ready, starting and untouched at the SIGKILL, or it proves little."""

NEVER_STARTS = "07-forecast"
DIES = "12-mailer"
PICTURED = ("fleet", f"provision-{NEVER_STARTS}")
ENDS_WITHIN_S = 30.0


class Ended(NamedTuple):
    """How a story ended: what became of each service, and the options that tell `turnlog` where its log is."""

    rows: Sequence[Row]
    log: Sequence[str]


def main() -> int:
    return told(story)


def told(story: Callable[[Plan, Path, Screen], Coroutine[None, None, Ended]]) -> int:
    """Let a story happen to the fleet, show what came of it, and let the log judge; the exit code."""
    home = Path(tempfile.mkdtemp(prefix="turnlog-fleet-"))
    plan = plan_of(Path(__file__).with_name("fleet.json"), home)
    console = Console()
    try:
        with Screen(console, [service.name for service in plan.services]) as screen:
            ended = asyncio.run(story(plan, home, screen))
    except Broken as broken:
        console.print(str(broken), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print(f"interrupted; its processes are stopped, its files are in {home}", soft_wrap=True)
        return 130
    console.print(table(ended.rows))
    verified = subprocess.run([COMMAND, "audit", "verify", *ended.log], check=False)
    console.print(f"The pictures, the data and what the nodes said are in {home}", soft_wrap=True, highlight=False)
    return verified.returncode


def plan_of(file: Path, home: Path) -> Plan:
    """The fleet file, with its services at home in `home`."""
    fields = json.loads(file.read_text())
    return Plan([Service(**service, home=str(home)) for service in fields["services"]], fields["parallel"])


async def story(plan: Plan, home: Path, screen: Screen) -> Ended:
    """All that happens, in its order.

    Raises:
        Broken: Something is not as it should be.
    """
    node = Node("the node", free_port(), home / "data", home / "node.log")
    async with RemoteProvider(node.url) as remote:
        seen = Seen(Client(remote), plan, home, screen)
        seen.ports.add(node.port)
        try:
            await started(node, remote)
            screen.say(f"a node is at {node.url}, its data in {home / 'data'}")
            await seen.client.start(fleet, plan, instance="fleet")
            screen.say(f"{len(plan.services)} services are asked for, {plan.parallel} at a time")
            at_kill = await killed_in_the_middle(seen, node)
            away = await started(node, remote)
            screen.say(f"the node is back after {away.until_ms - away.from_ms} ms, and goes on where the log ends")
            provisioned = await up_and_watched(seen)
            await upgraded(seen, node, remote)
            rows = await brought_to_its_end(seen, at_kill, provisioned)
            await pictured(seen, away)
            stopped(seen, node)
            nothing_left(seen)
        finally:
            # However the story ended, nothing of it goes on.
            node.kill()
            seen.clear()
    return Ended(rows, ["--data", str(home / "data")])


async def up_and_watched(seen: Seen) -> list[Provisioned]:
    """What follows once the engine is back: the fleet is ready, and its watches do what they are for."""
    provisioned = await all_provisioned(seen)
    await death_noticed(seen)
    return provisioned


async def upgraded(seen: Seen, node: Node, remote: RemoteProvider) -> None:
    """Start the node with the next release: the watches, which never end, go on in it.

    Raises:
        Broken: A watch was lost, or began anew.
    """
    before = {info.instance: info for info in await seen.client.list_instances(name="watch")}
    stopped(seen, node)
    node.app = "upgraded:registry"
    await started(node, remote)

    async def versions() -> Counter[str]:
        return Counter(info.orchestration_version for info in await seen.client.list_instances(name="watch"))

    while (found := await versions())["2.0.0"] < len(before):
        if found.total() != len(before):
            raise Broken(f"expected {len(before)} watches, but there are {dict(found)}")
        await anyio.sleep(LOOK_EVERY_S)
    for info in await seen.client.list_instances(name="watch"):
        if info.incarnation != before[info.instance].incarnation:
            raise Broken(f"expected {info.instance} to go on, but it began anew")
        await seen.client.raise_event(info.instance, "check")
    seen.screen.say(f"{len(before)} watches, which never end, went on as version 2.0.0")


async def brought_to_its_end(seen: Seen, at_kill: States, provisioned: list[Provisioned]) -> list[Row]:
    """The fleet is deleted; what became of each service."""
    watched = await all_deleted(seen, provisioned)
    return [
        Row(
            name=result.name,
            at_kill=stage(at_kill, result.name),
            became="failed" if result.why else "ready",
            port=result.port,
            lives=seen.lives(result.name),
            watched=watched.get(result.name),
        )
        for result in provisioned
    ]


async def started(node: Node, remote: RemoteProvider) -> Mark:
    """Start the node, and say how long that took."""
    from_ms = time.time_ns() // 1_000_000
    node.start()
    await node.ready(remote)
    return Mark("SIGKILL, no node", from_ms, time.time_ns() // 1_000_000)


async def killed_in_the_middle(seen: Seen, node: Node) -> States:
    """Kill the node as soon as it has most to lose; how the fleet was.

    Raises:
        Broken: There was no such moment.
    """

    def most_to_lose(states: States) -> bool:
        count = Counter(stage(states, service.name) for service in seen.plan.services)
        if count["untouched"] < LEAST:
            raise Broken(f"expected a moment with {LEAST} services ready, starting and untouched, but it is {count}")
        return count["ready"] >= LEAST and count["starting"] >= LEAST

    states = await seen.until("a moment worth a SIGKILL", most_to_lose)
    node.kill()
    count = Counter(stage(states, service.name) for service in seen.plan.services)
    seen.screen.say(
        ("SIGKILL", "bold red"),
        f" for {node.name}: ",
        (f"{count['ready']} ready, {count['starting']} starting, {count['untouched']} untouched", "bold"),
        f"; {len(seen.alive())} processes live on",
    )
    return states


async def all_provisioned(seen: Seen) -> list[Provisioned]:
    """What `fleet` returned: all services but one.

    Raises:
        Broken: Other services failed, or a process was started twice.
    """
    await seen.until(
        "the end of provisioning",
        lambda states: all(stage(states, service.name) in {"ready", "failed"} for service in seen.plan.services),
    )
    provisioned = await seen.client.wait("fleet", ENDS_WITHIN_S, output=list[Provisioned])
    failed = {result.name: result.why for result in provisioned if result.why}
    if list(failed) != [NEVER_STARTS]:
        raise Broken(f"expected only {NEVER_STARTS} to fail, but these did: {failed}")
    seen.screen.say(f"{len(provisioned) - 1} services are ready; {NEVER_STARTS} failed with {failed[NEVER_STARTS]}")
    return provisioned


async def death_noticed(seen: Seen) -> None:
    """Return when the service that dies has died, and answers again because its watch has noticed."""
    await seen.until(
        f"the death of {DIES} and its next life", lambda states: seen.lives(DIES) > 1 and states[DIES] == "healthy"
    )
    seen.screen.say(f"{DIES} is healthy in its life number {seen.lives(DIES)}")


async def all_deleted(seen: Seen, provisioned: list[Provisioned]) -> dict[str, Watch]:
    """Tell every watch to delete its service; what each had seen by then.

    Raises:
        Broken: An instance still runs, or a service had more processes than its watch knows of.
    """
    names = [result.name for result in provisioned if not result.why]
    for name in names:
        await seen.client.enqueue_message(f"watch-{name}", "delete")
    seen.screen.say(f"{len(names)} watches are told to delete their service")
    await seen.until("the end of all watches", lambda states: all(states[name] == "deleted" for name in names))
    watched = {name: await seen.client.wait(f"watch-{name}", ENDS_WITHIN_S, output=Watch) for name in names}
    if running := await seen.client.list_instances(status=Status.RUNNING):
        raise Broken(f"expected every instance to have ended, but {[info.instance for info in running]} run")
    twice = [name for name, watch in watched.items() if seen.lives(name) != 1 + watch.restarts]
    if twice:
        raise Broken(f"expected a process a service and one more a restart, but not so for {twice}")
    seen.screen.say("every instance has ended; no process was started twice")
    return watched


async def pictured(seen: Seen, away: Mark) -> None:
    """Draw what the log tells of two instances."""
    for instance in PICTURED:
        file = seen.home / f"{instance}.svg"
        file.write_text(timeline(instance, await seen.client.history(instance), [away]), encoding="utf-8")
        seen.screen.say(f"a timeline of {instance} is in {file}")


def stopped(seen: Seen, node: Node) -> None:
    """Ask the node to end.

    Raises:
        Broken: It ends with an error.
    """
    exit_code = node.stop()
    if exit_code:
        raise Broken(f"expected {node.name} to stop with exit code 0, but it is {exit_code}")
    seen.screen.say(f"{node.name} has stopped, with exit code {exit_code}")


def nothing_left(seen: Seen) -> None:
    """Say so.

    Raises:
        Broken: It is not so.
    """
    if left := seen.left():
        raise Broken(f"expected nothing to be left, but there is {', '.join(left)}")
    seen.screen.say("no process, no listening port and no entry is left")


def stage(states: States, name: str) -> str:
    """`untouched`, `starting`, `failed`, or `ready`, whatever its watch says of it since."""
    state = states.get(name, "untouched")
    return {"undoing": "starting"}.get(state, state if state in {"untouched", "starting", "failed"} else "ready")


if __name__ == "__main__":
    sys.exit(main())
