"""Does the demo notice when it does not prove what it promises?"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from demo import Ended, killed_in_the_middle, main, plan_of, stage
from demo_kafka import PARTITIONS, Member, shared_out
from engine import Client
from engine.clock import SystemClock
from engine.testing.memory import MemoryProvider
from node import Node
from plan import Plan, Service
from provider_log.server.remote import RemoteProvider
from provider_log.server.shapes import NodeInfo
from screen import Screen
from seen import Broken, Seen, States

NAMES = [f"service-{number}" for number in range(20)]


class Scripted(Seen):
    """A fleet that looks as told, one look after the other."""

    def __init__(self, home: Path, looks: Iterable[States]) -> None:
        plan = Plan([Service(name, size=1, home=str(home)) for name in NAMES], parallel=7)
        self.console = Console(record=True, quiet=True)
        super().__init__(Client(MemoryProvider(SystemClock())), plan, home, Screen(self.console, NAMES))
        self._looks = iter(looks)

    async def states(self) -> States:
        return next(self._looks)


class Killable(Node):
    """A node that was never started, and counts how often it is killed."""

    def __init__(self, home: Path) -> None:
        super().__init__("the node", 0, home / "data", home / "node.log")
        self.killed = 0

    def kill(self) -> None:
        self.killed += 1


def look(ready: int, starting: int) -> States:
    return {name: "ready" if number < ready else "starting" for number, name in enumerate(NAMES[: ready + starting])}


async def test_the_node_is_killed_as_soon_as_five_services_are_ready_starting_and_untouched(tmp_path: Path) -> None:
    seen, node = Scripted(tmp_path, [look(0, 7), look(4, 7), look(5, 4), look(6, 7), look(9, 7)]), Killable(tmp_path)
    states = await killed_in_the_middle(seen, node)

    assert (states, node.killed) == (look(6, 7), 1)


async def test_a_fleet_that_is_never_in_the_middle_breaks_the_demo(tmp_path: Path) -> None:
    seen, node = Scripted(tmp_path, [look(4, 7), look(9, 7)]), Killable(tmp_path)

    with pytest.raises(Broken, match="expected a moment with 5 services ready, starting and untouched"):
        await killed_in_the_middle(seen, node)
    assert node.killed == 0


def member(name: str, home: Path) -> Member:
    return Member(Node(name, 0, home / name, home / f"{name}.log"), Running({"one": [0, 1, 2, 3], "two": [4, 5]}[name]))


class Running(RemoteProvider):
    """A way to a node on which these partitions run, and another one is being restored."""

    def __init__(self, partitions: Sequence[int]) -> None:
        super().__init__("http://127.0.0.1:0")
        self._phases = {**dict.fromkeys(partitions, "running"), 6: "restoring"}

    async def node_info(self) -> NodeInfo:
        return NodeInfo(app="fleet", partitions=PARTITIONS, phases=self._phases)


async def test_a_partition_that_runs_nowhere_breaks_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo_kafka.PATIENCE_S", 0.1)

    with pytest.raises(Broken, match="but there is one has 0 1 2 3, two has 4 5"):
        await shared_out([member("one", tmp_path), member("two", tmp_path)])


async def test_a_wait_that_takes_too_long_says_what_it_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seen.PATIENCE_S", 0.0)

    with pytest.raises(Broken, match=r"expected the end within 0 s, but the fleet is \{'service-0': 'starting'\}"):
        await Scripted(tmp_path, [look(0, 1)] * 2).until("the end", lambda _: False)


def test_the_exit_code_is_that_of_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = tmp_path / "turnlog"
    audit.write_text('#!/bin/sh\ntest "$1 $2 $3" = "audit verify --data" && test "$4" = here && exit 6\n')
    audit.chmod(0o755)

    async def story(*_: object) -> Ended:
        return Ended([], ["--data", "here"])

    monkeypatch.setattr("demo.story", story)
    monkeypatch.setattr("demo.COMMAND", str(audit))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert main() == 6


def test_a_broken_promise_is_exit_code_1_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story(*_: object) -> Ended:
        raise Broken("expected [nothing] to be left, but there is a process")

    monkeypatch.setattr("demo.story", story)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert main() == 1
    assert "expected [nothing] to be left, but there is a process" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "untouched"),
        ("starting", "starting"),
        ("undoing", "starting"),
        ("failed", "failed"),
        ("ready", "ready"),
        ("healthy", "ready"),
        ("missed 2", "ready"),
        ("restarting", "ready"),
    ],
)
def test_a_service_under_watch_was_ready_whatever_its_watch_says(state: str | None, said: str) -> None:
    assert stage({} if state is None else {"stock": state}, "stock") == said


def test_the_fleet_file_is_a_plan_with_one_service_that_never_starts_and_one_that_dies(tmp_path: Path) -> None:
    file = Path(__file__).parents[3] / "docs" / "examples" / "fleet" / "fleet.json"
    plan = plan_of(file, tmp_path)

    faults = {service.name: service.fault for service in plan.services if service.fault != "none"}
    assert faults == {"07-forecast": "never listens", "12-mailer": "dies"}
    assert len({service.name for service in plan.services}) == len(plan.services) == 20
    assert {service.home for service in plan.services} == {str(tmp_path)}
