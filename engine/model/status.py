"""What state can an instance be in?"""

import enum


class Status(enum.Enum):
    """State of an instance, or of one of its executions.

    `HELD`: its code left the recorded path or reached outside; it waits for an operator and for code that fits.
    `SUSPENDED`: an operator paused it. `CONTINUED_AS_NEW`: of an execution only, its successor goes on.
    """

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CONTINUED_AS_NEW = "continued_as_new"
    HELD = "held"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"  # written by a newer version than this one


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""The instance has ended for good; nothing changes it but deletion."""

EXECUTION_ENDS = TERMINAL | {Status.CONTINUED_AS_NEW}
"""The execution has ended; after the last of them there is another one."""

STANDSTILL = TERMINAL | {Status.HELD}
"""The instance goes no further by itself: it has ended, or waits for an operator."""
