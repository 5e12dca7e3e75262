"""What state can an instance be in?"""

import enum


class Status(enum.Enum):
    """State of an instance, or of one of its executions.

    `HELD`: its code left the recorded path or reached outside; it waits for an operator and for code that fits.
    `SUSPENDED`: an operator paused it; its messages wait until it is resumed.
    `CONTINUED_AS_NEW`: of an execution only, its successor goes on.
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
"""Nothing is left to wait for: the instance has ended, or its code must be mended. A pause is none of it."""

PAUSED = frozenset({Status.HELD, Status.SUSPENDED})
"""It takes no turns until somebody resumes it; its messages wait."""
