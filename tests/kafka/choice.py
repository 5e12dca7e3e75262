"""Which broker do the tests talk to? One that runs, else a container, else one from Python packages."""

import os
import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from enum import Enum, auto

from engine.errors import UsageError
from provider_log.dev.broker import java, running_broker

BOOTSTRAP = "KAFKA_BOOTSTRAP"
"""Names brokers that run already, host:port with commas between them."""

_ASK_DAEMON = ("docker", "version", "--format", "{{.Server.Version}}")
_DAEMON_S = 10


class Source(Enum):
    """Where a broker comes from."""

    RUNNING = auto()
    CONTAINER = auto()
    PACKAGES = auto()


def daemon_answers() -> bool:
    """Whether a Docker daemon does. That its command is installed says nothing: machines have it and no daemon."""
    try:
        asked = subprocess.run(_ASK_DAEMON, capture_output=True, check=False, timeout=_DAEMON_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def source_of(environment: Mapping[str, str], daemon: Callable[[], bool] = daemon_answers) -> Source:
    """What to use."""
    if environment.get(BOOTSTRAP):
        return Source.RUNNING
    return Source.CONTAINER if daemon() else Source.PACKAGES


def reason_for_none(environment: Mapping[str, str], daemon: Callable[[], bool] = daemon_answers) -> str | None:
    """Why no broker can be had on this machine; None if one can."""
    if source_of(environment, daemon) is Source.PACKAGES:
        try:
            java()
        except UsageError as error:
            return str(error)
    return None


@contextmanager
def bootstrap_servers() -> Generator[str]:
    """Addresses of a broker, for as long as the block runs."""
    match source_of(os.environ):
        case Source.RUNNING:
            yield os.environ[BOOTSTRAP]
        case Source.CONTAINER:
            from tests.kafka.container import container_broker

            with container_broker() as servers:
                yield servers
        case Source.PACKAGES:
            with running_broker() as broker:
                yield broker.bootstrap
