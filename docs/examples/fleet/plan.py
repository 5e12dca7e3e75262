"""What is a fleet? The values that travel between its client, orchestrations and activities."""

from dataclasses import dataclass
from typing import Literal

Fault = Literal["none", "never listens", "dies"]


@dataclass(frozen=True)
class Service:
    """One line of the fleet file.

    Attributes:
        size: How long it takes to warm up, in units of `service.WARM_UP_S`.
        port: 0 for any free one.
        fault: What is wrong with it, so that there is something to see.
        home: Directory in which the fleet keeps its files.
    """

    name: str
    size: int
    port: int = 0
    fault: Fault = "none"
    home: str = ""


@dataclass(frozen=True)
class Plan:
    """What `fleet` is asked for; at most `parallel` services are provisioned at once."""

    services: list[Service]
    parallel: int


@dataclass(frozen=True)
class Provisioned:
    """What became of one service of the plan. `why` is empty if it is ready."""

    name: str
    port: int
    why: str = ""


@dataclass(frozen=True)
class Watch:
    """A service under watch, and what was seen so far. `misses` are the failed checks since the last good one."""

    service: Service
    checks: int = 0
    misses: int = 0
    restarts: int = 0
