"""What can be seen of a fleet from outside? What a client is told, and what is in the fleet's home."""

import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from activities import listening, pid_of, stop_process
from engine import Client, InstanceInfo, Status
from plan import Plan
from screen import Screen

LOOK_EVERY_S = 0.05
PATIENCE_S = 60.0
PROVISIONING = {Status.COMPLETED: "ready", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}

WORTH_SAYING = {
    "failed": "never came up; what was begun for it is undone",
    "restarting": "is dead, its watch has noticed, and starts it again",
}

States = Mapping[str, str]
"""By service, what is known of it; one that nobody has begun with is absent."""


class Broken(Exception):
    """Something is not as the demo promises."""


class Seen:
    """The fleet of `plan`, looked at through `client` and shown on `screen`."""

    def __init__(self, client: Client, plan: Plan, home: Path, screen: Screen) -> None:
        self.client = client
        self.plan = plan
        self.home = home
        self.screen = screen
        self.ports: set[int] = set()
        self._before: States = {}

    async def states(self) -> States:
        """How provisioning stands, and from then on what the watch says."""
        found: dict[str, str] = {}
        for info in await self.client.list_instances(name="provision"):
            found[info.instance.removeprefix("provision-")] = _provisioning(info)
        for info in await self.client.list_instances(name="watch"):
            found[info.instance.removeprefix("watch-")] = info.custom_status or "ready"
        self.ports |= set(self.book("ports").values())
        for name, state in found.items():
            if state in WORTH_SAYING and self._before.get(name) != state:
                self.screen.say(f"{name} {WORTH_SAYING[state]}")
        self._before = found
        self.screen.show(found)
        return found

    async def until(self, what: str, condition: Callable[[States], bool]) -> States:
        """The states as soon as they are so.

        Raises:
            Broken: They are not within `PATIENCE_S`.
        """
        give_up_at = time.monotonic() + PATIENCE_S
        while not condition(states := await self.states()):
            if time.monotonic() > give_up_at:
                raise Broken(f"expected {what} within {PATIENCE_S:.0f} s, but the fleet is {dict(states)}")
            await anyio.sleep(LOOK_EVERY_S)
        return states

    def lives(self, name: str) -> int:
        """How many processes the service has had."""
        file = self.home / f"{name}.lives"
        return len(file.read_text().split()) if file.exists() else 0

    def alive(self) -> list[str]:
        """The services that have a process now."""
        return [service.name for service in self.plan.services if pid_of(service) is not None]

    def book(self, name: str) -> dict[str, int]:
        """The fleet's list of ports, or its registry."""
        file = self.home / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def processes(self) -> list[int]:
        """Pids of all that has the fleet's home among its arguments: services, those about to be one, nodes."""
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if self._mentions_home(path)]

    def left(self) -> list[str]:
        """What should be gone in the end."""
        return [
            *(f"the process of {name}" for name in self.alive()),
            *(f"process {pid}" for pid in self.processes()),
            *(f"port {port}, which is listened on" for port in sorted(self.ports) if listening(port)),
            *(f"the port of {name}" for name in self.book("ports")),
            *(f"the entry of {name}" for name in self.book("registry")),
        ]

    def clear(self) -> None:
        """Stop every service, those too that a node began to start before it was killed."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            for service in self.plan.services:
                stop_process(service)
            if not self.processes() or time.monotonic() > give_up_at:
                return
            time.sleep(LOOK_EVERY_S)

    def _mentions_home(self, command_line: Path) -> bool:
        try:
            return str(self.home).encode() in command_line.read_bytes()
        except OSError:  # it has ended meanwhile
            return False


def free_port() -> int:
    """One that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _provisioning(info: InstanceInfo) -> str:
    return PROVISIONING.get(info.status) or info.custom_status or "starting"
