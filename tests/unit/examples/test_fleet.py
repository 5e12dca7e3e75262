"""Do the fleet's orchestrations do what they promise, whatever fails? Time is skipped, and nothing real is started."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

import upgraded
from activities import NotHealthy
from engine import OrchestrationFailed
from engine.model.events import CustomStatusUpdated, SubOrchestrationCompleted, SubOrchestrationScheduled
from engine.model.status import Status
from engine.testing import InstanceOutcome, cancel, enqueue, raise_event, run
from orchestrations import CHECK_EVERY, MISSES_MAX, READY_WITHIN, fleet, provision, watch
from plan import Plan, Provisioned, Service, Watch

STOCK = Service("stock", size=1)
PLACED = replace(STOCK, port=20_001)


@dataclass
class World:
    """Stands in for ports, processes and the registry.

    Attributes:
        broken: Activities that fail.
        down: Which checks of which service fail, counted from 1.
        called: The activities in order, checks in a row as one.
    """

    broken: set[str] = field(default_factory=set[str])
    down: dict[str, range] = field(default_factory=dict[str, range])
    called: list[str] = field(default_factory=list[str])
    checks: dict[str, int] = field(default_factory=dict[str, int])

    def reserve_port(self, service: Service) -> Service:
        self._call("reserve_port")
        return replace(service, port=20_001)

    def release_port(self) -> None:
        self._call("release_port")

    def start_process(self, service: Service) -> None:
        assert service.port, "a process needs its port"
        self._call("start_process")

    def stop_process(self) -> None:
        self._call("stop_process")

    def register(self) -> None:
        self._call("register")

    def deregister(self) -> None:
        self._call("deregister")

    def check_health(self, service: Service) -> None:
        self.checks[service.name] = number = self.checks.get(service.name, 0) + 1
        if self.called[-1:] != ["check_health"]:
            self.called.append("check_health")
        if number in self.down.get(service.name, range(0)):
            raise NotHealthy(service.name)

    def _call(self, name: str) -> None:
        self.called.append(name)
        if name in self.broken:
            raise OSError(f"no {name}")

    @property
    def activities(self) -> dict[str, Callable[..., object]]:
        names = (
            "reserve_port",
            "release_port",
            "start_process",
            "stop_process",
            "register",
            "deregister",
            "check_health",
        )
        return {name: getattr(self, name) for name in names}


FOR_EVER = range(1, 10_000)


def test_a_service_is_reserved_started_awaited_registered_and_then_watched() -> None:
    world = World()
    outcome = run(provision, STOCK, activities=world.activities, orchestrations=[watch])

    assert outcome.output == PLACED
    assert world.called == ["reserve_port", "start_process", "check_health", "register"]
    assert outcome.instances["watch-stock"].status is Status.RUNNING


def test_a_service_that_takes_its_time_is_waited_for() -> None:
    world = World(down={"stock": range(1, 4)})
    outcome = run(provision, STOCK, activities=world.activities, orchestrations=[watch])

    assert outcome.elapsed == timedelta(milliseconds=600)
    assert world.called[-1] == "register"


def test_a_service_that_never_answers_is_undone_in_reverse_and_leaves_no_watch() -> None:
    world = World(down={"stock": FOR_EVER})
    outcome = run(provision, STOCK, activities=world.activities, orchestrations=[watch])

    assert outcome.status is Status.FAILED
    assert outcome.elapsed == READY_WITHIN
    assert world.called == ["reserve_port", "start_process", "check_health", "stop_process", "release_port"]
    assert "watch-stock" not in outcome.instances


@pytest.mark.parametrize(
    ("broken", "undone"),
    [
        ("reserve_port", ["release_port"]),
        ("start_process", ["stop_process", "release_port"]),
        ("register", ["deregister", "stop_process", "release_port"]),
    ],
)
def test_what_may_have_happened_is_undone_in_reverse(broken: str, undone: list[str]) -> None:
    world = World(broken={broken})
    outcome = run(provision, STOCK, activities=world.activities, orchestrations=[watch])

    assert outcome.status is Status.FAILED
    assert world.called[-len(undone) - 1 :] == [broken, *undone]


def test_cancelling_undoes_as_failing_does() -> None:
    world = World(down={"stock": FOR_EVER})
    outcome = run(
        provision,
        STOCK,
        activities=world.activities,
        orchestrations=[watch],
        script=[cancel("not needed", at=timedelta(seconds=1))],
    )

    assert outcome.status is Status.CANCELLED
    assert outcome.elapsed == timedelta(seconds=1)
    assert world.called[-2:] == ["stop_process", "release_port"]


def test_a_fleet_provisions_no_more_at_once_than_it_may() -> None:
    plan = Plan([Service(f"service-{number}", size=1) for number in range(10)], parallel=3)
    outcome = run(
        fleet,
        plan,
        activities=World().activities,
        orchestrations=[provision, watch],
        durations={"start_process": timedelta(milliseconds=300)},
    )

    under_way, most = 0, 0
    for event in outcome.history:
        under_way += isinstance(event, SubOrchestrationScheduled) - isinstance(event, SubOrchestrationCompleted)
        most = max(most, under_way)
    assert most == 3
    assert outcome.output == [Provisioned(service.name, port=20_001) for service in plan.services]


def test_a_service_that_fails_is_a_line_of_the_result_and_stops_no_other() -> None:
    world = World(down={"bad": FOR_EVER})
    plan = Plan([Service("bad", size=1), Service("good", size=1)], parallel=1)
    bad, good = run(fleet, plan, activities=world.activities, orchestrations=[provision, watch]).output

    assert (bad.port, good) == (0, Provisioned("good", 20_001))
    assert "expected activity check_health within its deadline of 0:00:15" in bad.why


def test_cancelling_a_fleet_undoes_what_is_under_way() -> None:
    world = World(down={"stock": FOR_EVER})
    outcome = run(
        fleet,
        Plan([STOCK], parallel=1),
        activities=world.activities,
        orchestrations=[provision, watch],
        script=[cancel(at=timedelta(seconds=1))],
    )

    assert outcome.status is Status.CANCELLED
    assert outcome.instances["provision-stock"].status is Status.CANCELLED
    assert world.called[-2:] == ["stop_process", "release_port"]


def test_a_watch_checks_in_rounds_until_it_is_told_to_delete() -> None:
    world = World()
    outcome = run(
        watch,
        Watch(PLACED),
        activities=world.activities,
        script=[enqueue("delete", at=CHECK_EVERY * 4 + CHECK_EVERY / 2)],
    )

    assert outcome.output == Watch(PLACED, checks=4)
    assert len(outcome.instances["test"].executions) == 5
    assert world.called == ["check_health", "deregister", "stop_process", "release_port"]


def test_an_order_to_delete_that_comes_during_a_check_is_not_lost() -> None:
    check = timedelta(milliseconds=200)
    outcome = run(
        watch,
        Watch(PLACED),
        activities=World().activities,
        durations={"check_health": check},
        script=[enqueue("delete", at=CHECK_EVERY + check / 2)],
    )

    assert outcome.output == Watch(PLACED, checks=1)
    assert outcome.elapsed == CHECK_EVERY + check


def test_a_service_that_misses_a_check_or_two_is_left_alone() -> None:
    world = World(down={"stock": range(1, MISSES_MAX)})
    outcome = run(watch, Watch(PLACED), activities=world.activities, script=[enqueue("delete", at=CHECK_EVERY * 5)])

    assert outcome.output.restarts == 0
    assert "start_process" not in world.called


def test_a_dead_service_is_started_again() -> None:
    world = World(down={"stock": range(2, 2 + MISSES_MAX)})
    outcome = run(watch, Watch(PLACED), activities=world.activities, script=[enqueue("delete", at=CHECK_EVERY * 8)])

    assert outcome.output.restarts == 1
    assert world.called[:4] == ["check_health", "stop_process", "start_process", "check_health"]
    assert said(outcome.instances["test"]) == [
        "healthy", "missed 1", "missed 2", "missed 3", "restarting", "healthy", "deleting", "deleted",
    ]  # fmt: skip


def test_a_service_that_does_not_come_back_stays_under_watch_and_can_be_deleted() -> None:
    world = World(down={"stock": FOR_EVER})
    outcome = run(watch, Watch(PLACED), activities=world.activities, script=[enqueue("delete", at=READY_WITHIN * 3)])

    assert outcome.output.restarts >= 2
    assert world.called[-3:] == ["deregister", "stop_process", "release_port"]


def test_taking_down_goes_on_until_it_is_done_or_says_why_not() -> None:
    world = World(broken={"stop_process"})
    outcome = run(watch, Watch(PLACED), activities=world.activities, script=[enqueue("delete")])

    assert world.called.count("stop_process") == 10
    with pytest.raises(OrchestrationFailed, match="OSError: no stop_process"):
        _ = outcome.output


def said(instance: InstanceOutcome) -> list[str | None]:
    """Every status text, in order, over all executions."""
    events = (event for execution in instance.executions for event in execution)
    return [event.status for event in events if isinstance(event, CustomStatusUpdated)]


def test_a_watch_of_the_next_release_looks_at_once_when_it_is_told_to() -> None:
    world = World()
    script = [raise_event("check", at=CHECK_EVERY / 5), enqueue("delete", at=CHECK_EVERY / 2)]
    outcome = run(upgraded.watch, Watch(PLACED), activities=world.activities, script=script)
    assert (outcome.output.checks, world.checks) == (1, {PLACED.name: 1})
    assert outcome.elapsed == CHECK_EVERY / 2
