"""What does the fleet do to the world? Ports, processes and the registry: real ones, on this machine.

An activity runs at least once: the engine may be killed after the effect and before anybody knows of it. So each of
these may run twice, one after the other or at the same time, and has its effect once. The files in `home` are the
memory for that: `ports.json` says who reserved which port, `registry.json` who answers where, and `<name>.pid` is
locked by its process for as long as it lives (service.py).
"""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from engine import activity
from plan import Service

PORTS = range(20_000, 30_000)  # below those that the kernel lends to outgoing connections
ANSWER_S = 1.0
TERMINATED_WITHIN_S = 5.0
SERVICE = Path(__file__).with_name("service.py")


class NotHealthy(Exception):
    """Nothing answers at the service's port, or not as that service."""


@activity
def reserve_port(service: Service) -> Service:
    """The service with a port that is its own until `release_port`: the one it asks for, or any free one."""
    with book(service.home, "ports") as ports:
        if service.name not in ports:
            # Each fleet begins somewhere else, so that two on one machine rarely meet.
            first = zlib.crc32(service.home.encode()) % len(PORTS)
            wanted = [service.port] if service.port else [*PORTS[first:], *PORTS[:first]]
            taken = set(ports.values())
            port = next((port for port in wanted if port not in taken and not listening(port)), None)
            if port is None:
                raise OSError(f"expected a port for {service.name} among {len(wanted)}, but none is free")
            ports[service.name] = port
        return replace(service, port=ports[service.name])


@activity
def release_port(service: Service) -> None:
    """The service has no port any more."""
    with book(service.home, "ports") as ports:
        ports.pop(service.name, None)


@activity
def start_process(service: Service) -> None:
    """There is a process for the service. It need not answer yet."""
    arguments = [service.name, str(service.port), str(service.size), service.fault, service.home]
    subprocess.run(
        # -I -S: nothing but the standard library, so that twenty of them start in a moment.
        [sys.executable, "-I", "-S", str(SERVICE), *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C for the engine is not one for the fleet
    )


@activity
def stop_process(service: Service) -> None:
    """There is no process for the service: asked to end, and made to if it does not."""
    give_up_at = time.monotonic() + TERMINATED_WITHIN_S
    while (pid := pid_of(service)) is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM if time.monotonic() < give_up_at else signal.SIGKILL)
        time.sleep(0.02)


@activity(raises=NotHealthy)
def check_health(service: Service) -> None:
    """The service answers, or NotHealthy is raised."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/health")
        answers = json.load(connection.getresponse())["service"]
    except (OSError, http.client.HTTPException) as error:
        raise NotHealthy(f"expected {service.name} to answer at port {service.port}, but {error}") from error
    finally:
        connection.close()
    if answers != service.name:
        raise NotHealthy(f"expected {service.name} to answer at port {service.port}, but {answers} does")


@activity
def register(service: Service) -> None:
    """The registry says where the service answers."""
    with book(service.home, "registry") as registry:
        registry[service.name] = service.port


@activity
def deregister(service: Service) -> None:
    """The registry knows nothing of the service."""
    with book(service.home, "registry") as registry:
        registry.pop(service.name, None)


@contextlib.contextmanager
def book(home: str, name: str) -> Generator[dict[str, int]]:
    """A file of names and ports, for one writer at a time; written whole, or not at all if the engine is killed."""
    file = Path(home, f"{name}.json")
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        yield entries
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(entries, indent=2))
        draft.replace(file)


def listening(port: int) -> bool:
    """Whether anything listens at `port` of this machine."""
    with socket.socket() as probe:
        probe.settimeout(ANSWER_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def pid_of(service: Service) -> int | None:
    """Of the process that has the lock of the service's pid file; None if nobody has it."""
    file = Path(service.home, f"{service.name}.pid")
    while file.exists():
        with file.open() as pid_file:
            try:
                fcntl.flock(pid_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if pid := pid_file.read():
                    return int(pid)
                time.sleep(0.01)  # it is about to write it
            else:
                return None
    return None
