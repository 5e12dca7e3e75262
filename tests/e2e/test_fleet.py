"""Is the fleet real, and are its effects had once, however often an activity runs? Processes, locks and ports."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import activities
import service as service_process
from engine import Client
from engine.clock import SystemClock
from engine.testing.memory import MemoryProvider
from plan import Plan, Service
from screen import Screen
from seen import Seen

SOON_S = 10.0
"""Far more than any of this takes."""


@pytest.fixture
def service(tmp_path: Path) -> Generator[Service]:
    service = activities.reserve_port(Service("stock", size=0, home=str(tmp_path)))
    yield service
    activities.stop_process(service)


def until(condition: Callable[[], bool]) -> None:
    """Return when it is so; processes that are nobody's children can only be asked."""
    give_up_at = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < give_up_at, "it took too long"
        time.sleep(0.01)


def answers(service: Service) -> bool:
    try:
        activities.check_health(service)
    except activities.NotHealthy:
        return False
    return True


def seen_of(service: Service) -> Seen:
    screen = Screen(Console(quiet=True), [service.name])
    return Seen(Client(MemoryProvider(SystemClock())), Plan([service], parallel=1), Path(service.home), screen)


def test_a_started_service_answers_and_a_stopped_one_does_not(service: Service) -> None:
    activities.start_process(service)
    until(lambda: answers(service))
    activities.stop_process(service)

    assert not answers(service)


def test_a_service_started_many_times_at_once_has_one_process(service: Service) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(activities.start_process, [service] * 8))
    until(lambda: seen_of(service).lives(service.name) > 0)

    assert seen_of(service).lives(service.name) == 1


def test_who_only_looks_keeps_no_service_from_starting_and_who_runs_does(tmp_path: Path) -> None:
    with (tmp_path / "stock.pid").open("a") as looked_at, (tmp_path / "stock.pid").open("a") as wanted:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert not service_process.lock(wanted.fileno())

        threading.Timer(0.05, fcntl.flock, args=[looked_at, fcntl.LOCK_UN]).start()
        assert service_process.lock(wanted.fileno())


def test_a_service_outlives_the_process_that_started_it(service: Service) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:2]; import activities, os, plan, signal;"
        "activities.start_process(plan.Service(*sys.argv[2:3], size=0, port=int(sys.argv[3]), home=sys.argv[4]));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    fleet = str(Path(activities.__file__).parent)
    starter = subprocess.run(
        [sys.executable, "-c", code, fleet, service.name, str(service.port), service.home], check=False
    )

    assert starter.returncode == -signal.SIGKILL
    until(lambda: answers(service))


def test_a_dead_service_is_seen_as_such_and_can_be_started_again(service: Service) -> None:
    activities.start_process(service)
    until(lambda: answers(service))
    pid = activities.pid_of(service)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: activities.pid_of(service) is None)
    activities.start_process(service)
    until(lambda: answers(service))

    assert activities.pid_of(service) != pid


def test_a_service_that_will_not_end_is_made_to(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activities, "TERMINATED_WITHIN_S", 0.2)
    activities.start_process(service)
    pid = activities.pid_of(service)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    activities.stop_process(service)

    assert activities.pid_of(service) is None


def test_stopping_and_releasing_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    nothing = Service("nothing", size=1, home=str(tmp_path))
    activities.stop_process(nothing)
    activities.release_port(nothing)
    activities.deregister(nothing)


def test_a_port_is_reserved_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    asked = [Service(f"service-{number % 5}", size=1, home=str(tmp_path)) for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        reserved = list(threads.map(activities.reserve_port, asked))

    ports = {service.name: service.port for service in reserved}
    assert len(set(ports.values())) == 5
    assert all(service.port == ports[service.name] for service in reserved)


def test_a_port_that_somebody_listens_on_is_not_given_away(service: Service) -> None:
    activities.start_process(service)
    until(lambda: answers(service))
    wants_the_same = replace(service, name="other")
    activities.release_port(service)

    with pytest.raises(OSError, match="expected a port for other among 1, but none is free"):
        activities.reserve_port(wants_the_same)


def test_a_service_behind_another_ones_port_is_not_healthy(service: Service) -> None:
    activities.start_process(service)
    until(lambda: answers(service))

    with pytest.raises(activities.NotHealthy, match=r"expected other to answer at port \d+, but stock does"):
        activities.check_health(replace(service, name="other"))


def test_what_is_left_is_found(service: Service) -> None:
    seen = seen_of(service)
    seen.ports.add(service.port)
    activities.start_process(service)
    until(lambda: answers(service))
    activities.register(service)
    pid = activities.pid_of(service)

    assert seen.left() == [
        "the process of stock",
        f"process {pid}",
        f"port {service.port}, which is listened on",
        "the port of stock",
        "the entry of stock",
    ]

    activities.deregister(service)
    activities.stop_process(service)
    activities.release_port(service)

    assert seen.left() == []
