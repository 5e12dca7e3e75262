"""Which exit code says what? One table from the classes of `engine.errors`."""

import enum

from engine.errors import (
    EngineError,
    HistoryCorrupted,
    InstanceExists,
    InstanceNotFound,
    OrchestrationFailed,
    OrchestrationHeld,
    Refused,
    StateCorrupted,
    UsageError,
    WaitTimedOut,
)
from provider_log.log.port import LogCorrupted, LogError, LogNotOpened


class Exit(enum.IntEnum):
    """Exit codes of every command; scripts rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMED_OUT = 4
    UNREACHABLE = 5
    DIFFERS = 6
    INTERRUPTED = 130


SAYS: dict[Exit, str] = {
    Exit.OK: "it worked",
    Exit.FAILED: "the orchestration failed, was cancelled or is held",
    Exit.USAGE: "the call is wrong, or was refused",
    Exit.NOT_FOUND: "no such instance",
    Exit.TIMED_OUT: "not done in the time given",
    Exit.UNREACHABLE: "no node answers, or the node cannot go on",
    Exit.DIFFERS: "log, store and code do not agree, a history is damaged, or a check found something",
    Exit.INTERRUPTED: "ended by Ctrl-C",
}

EXIT_OF: dict[type[EngineError | LogError], Exit] = {
    OrchestrationFailed: Exit.FAILED,
    OrchestrationHeld: Exit.FAILED,
    UsageError: Exit.USAGE,
    Refused: Exit.USAGE,
    InstanceExists: Exit.USAGE,
    InstanceNotFound: Exit.NOT_FOUND,
    WaitTimedOut: Exit.TIMED_OUT,
    HistoryCorrupted: Exit.DIFFERS,
    StateCorrupted: Exit.DIFFERS,
    EngineError: Exit.UNREACHABLE,
    LogNotOpened: Exit.USAGE,
    LogCorrupted: Exit.DIFFERS,
    LogError: Exit.UNREACHABLE,
}
"""The nearest class among an error's own decides; what is left is a node or a log that is away for now or for good."""


def exit_of(error: EngineError | LogError) -> Exit:
    """The exit code that says `error`."""
    return next(EXIT_OF[kind] for kind in type(error).__mro__ if kind in EXIT_OF)
