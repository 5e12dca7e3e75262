"""What does the runtime do when a provider raises? One table by class, and the loop that repeats a call."""

import enum
from collections.abc import Awaitable, Callable
from typing import TypeVar

from engine.clock import Clock
from engine.errors import Fatal, InDoubt, OwnershipLost, Refused, Retryable, StateCorrupted
from engine.observe import Counters, known_marks, logger, mark
from engine.runtime.options import EngineOptions, back_off_ms

T = TypeVar("T")

log = logger("provider")
known_marks("provider.retryable")


class Reaction(enum.Enum):
    """What to do about an error of a provider."""

    REPEAT = "repeat"  # wait, and make the same call again: nothing was written, or the second one is known for it
    DROP = "drop"  # somebody else has the work, or it was refused: forget it
    STOP = "stop"  # the engine ends with the error


REACTIONS: tuple[tuple[type[BaseException], Reaction], ...] = (
    (Retryable, Reaction.REPEAT),
    (InDoubt, Reaction.REPEAT),
    (Refused, Reaction.DROP),
    (OwnershipLost, Reaction.DROP),
    (StateCorrupted, Reaction.STOP),
    (Fatal, Reaction.STOP),
    (BaseException, Reaction.STOP),  # not an error of the port at all: a defect, and the state behind it is unknown
)
"""The first class that fits decides."""

REPEATABLE = (Retryable, InDoubt)
"""Those the table says `REPEAT` for, as an `except` takes them."""


def reaction_to(error: BaseException) -> Reaction:
    """What to do about `error`."""
    return next(reaction for kind, reaction in REACTIONS if isinstance(error, kind))


async def repeated(call: Callable[[], Awaitable[T]], clock: Clock, options: EngineOptions, counters: Counters) -> T:
    """What `call` returns once no error asks for a repetition, with growing waits between; repeats until cancelled.

    Raises:
        ProviderError: Any that asks for something else, at once.
    """
    attempt = 0
    while True:
        try:
            return await call()
        except REPEATABLE as error:
            attempt += 1
            await pause_after(error, attempt, clock, options, counters)


async def pause_after(error: Exception, attempt: int, clock: Clock, options: EngineOptions, counters: Counters) -> None:
    """Count and log `error`, the `attempt`th in a row (from 1), and wait as long as that calls for."""
    mark("provider.retryable")
    counters.provider_errors += 1
    delay_ms = back_off_ms(options.error_delay_ms, options.error_delay_max_ms, attempt)
    log.warning("%s; next attempt in %d ms", error, delay_ms)
    await clock.sleep_ms(delay_ms)
