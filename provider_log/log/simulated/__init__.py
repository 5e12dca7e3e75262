"""What would Kafka do, on virtual time and with faults to order? A log in memory for tests and simulations."""

from provider_log.log.simulated.faults import (
    Damage,
    Delay,
    Fault,
    Faults,
    Late,
    LoseReply,
    LoseRequest,
    Operation,
    Resend,
    TimeOut,
    Unavailable,
)
from provider_log.log.simulated.log import SimulatedLog

__all__ = [
    "Damage",
    "Delay",
    "Fault",
    "Faults",
    "Late",
    "LoseReply",
    "LoseRequest",
    "Operation",
    "Resend",
    "SimulatedLog",
    "TimeOut",
    "Unavailable",
]
