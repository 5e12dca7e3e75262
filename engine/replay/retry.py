"""When is an activity or a child tried again, and how long may it take? The policy, and the loop that follows it.

Each attempt is an activity or a child of its own and each pause a timer of its own, all events: the loop below is
orchestration code and replays like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from itertools import count
from typing import Any, Generic, Literal, TypeVar, cast, get_args

from msgspec import Struct

from engine.errors import ActivityError, TimedOut, UsageError
from engine.model.failure import Failure
from engine.model.payload import Payload
from engine.replay.failures import type_of
from engine.replay.futures import AskedFuture, DurableFuture
from engine.replay.time_outs import timed_out

T = TypeVar("T")

Backoff = Literal["fixed", "linear", "exponential"]
BACKOFFS: tuple[str, ...] = get_args(Backoff)


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often, and after which pause, a failed activity or child is tried again.

    Attributes:
        attempts: Calls in all, the first included; at least 1.
        backoff: Pause after failed attempt n: `fixed` delay, `linear` n * delay, `exponential` delay * factor**(n-1).
        delay: The pause to start from.
        delay_max: No pause is longer.
        factor: Of the exponential backoff.
        jitter: Pauses are shortened by up to this share of themselves, so that many instances do not retry in step.
            Replays of one instance draw the same share.
        non_retryable: Exception classes, or their names as a Failure has them, that end the trying. Compared by name:
            subclasses are other names.
    """

    attempts: int = 3
    backoff: Backoff = "exponential"
    delay: timedelta = timedelta(milliseconds=100)
    delay_max: timedelta = timedelta(seconds=30)
    factor: float = 2.0
    jitter: float = 0.0
    non_retryable: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a policy that cannot be followed: what slips through would replace the failure it is for.

        Raises:
            UsageError: A value is of another type than its annotation says, or out of bounds.
        """
        _require("attempts", self.attempts, int, "an int")
        _require("delay", self.delay, timedelta, "a timedelta")
        _require("delay_max", self.delay_max, timedelta, "a timedelta")
        _require("factor", self.factor, (int, float), "a number")
        _require("jitter", self.jitter, (int, float), "a number")
        _require_kinds(self.non_retryable)
        if self.backoff not in BACKOFFS:
            raise UsageError(f"expected backoff to be one of {', '.join(BACKOFFS)}, but it is {self.backoff!r}")
        if self.attempts < 1:
            raise UsageError(f"expected at least 1 attempt, but a policy has {self.attempts}")
        if self.delay < timedelta(0) or self.delay_max < timedelta(0):
            raise UsageError(f"expected pauses of no less than 0, but they are {self.delay} and {self.delay_max}")
        if not self.factor >= 1.0:  # so that NaN is refused too
            raise UsageError(f"expected a factor of at least 1, but it is {self.factor}")
        if not 0.0 <= self.jitter <= 1.0:
            raise UsageError(f"expected a jitter from 0 to 1, but it is {self.jitter}")

    def pause(self, failed_attempts: int, chance: float) -> timedelta:
        """How long to wait after so many failed attempts; `chance` from 0 to 1 decides the jitter."""
        match self.backoff:
            case "fixed":
                pause = self.delay
            case "linear":
                pause = min(self.delay * failed_attempts, self.delay_max)
            case "exponential":
                grown = self.delay.total_seconds() * _power(self.factor, failed_attempts - 1) if self.delay else 0.0
                pause = timedelta(seconds=min(grown, self.delay_max.total_seconds()))
        return min(pause, self.delay_max) * (1.0 - self.jitter * chance)

    def tries_again(self, failed_attempts: int, failure: Failure) -> bool:
        """Whether there is another attempt after this failure."""
        final = {kind if isinstance(kind, str) else type_of(kind) for kind in self.non_retryable}
        return failed_attempts < self.attempts and failure.retryable and failure.type not in final


def _require(name: str, value: object, kind: type[object] | tuple[type[object], ...], what: str) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"expected {name} of a policy to be {what}, but it is {value!r}")


def _require_kinds(kinds: object) -> None:
    if not isinstance(kinds, Collection) or isinstance(kinds, str):
        raise UsageError(f"expected non_retryable to be a tuple of exception classes and names, but it is {kinds!r}")
    for kind in cast("Collection[object]", kinds):
        if not isinstance(kind, str) and not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise UsageError(f"expected exception classes and names in non_retryable, but it has {kind!r}")


def _power(base: float, exponent: int) -> float:
    """`base ** exponent`, to the last bit the same on every machine, which the C library's `pow` is not.

    A node that computes another pause than the one that is recorded would hold the instance.
    """
    result = 1.0
    while exponent:
        if exponent % 2:
            result *= base
        base *= base
        exponent //= 2
    return result


ONCE = RetryPolicy(attempts=1)


class Attempts(Generic[T]):
    """One activity or child called until it succeeds, fails for good, or time is up. The first call is made at once.

    Args:
        name: What is called, for messages.
        call: Asks for one attempt, with what the last one that failed had said of how far it was.
        pause: Asks for a timer.
        policy: How often, and when.
        timeout: For each attempt; one that takes longer is cancelled and counts as failed with type `TimedOut`.
        deadline: For all attempts and pauses together; passing it raises TimedOut at once.
        chance: From the number of a failed attempt, the share of jitter.
    """

    def __init__(
        self,
        name: str,
        *,
        call: Callable[[Payload | None], AskedFuture[T]],
        pause: Callable[[timedelta], Awaitable[None]],
        policy: RetryPolicy,
        timeout: timedelta | None,
        deadline: timedelta | None,
        chance: Callable[[int], float],
    ) -> None:
        self._name = name
        self._call = call
        self._pause = pause
        self._policy = policy
        self._timeout = timeout
        self._deadline = deadline
        self._chance = chance
        self._last_failure: Failure | None = None
        self._heartbeat: Payload | None = None
        self.current = call(None)

    async def run(self) -> T:
        """The result of the attempt that succeeded.

        Raises:
            ActivityError: The last attempt failed, or one for good.
            TimedOut: The deadline has passed (the failure of the last attempt is the cause), or the last attempt took
                too long.
        """
        try:
            async with asyncio.timeout(_seconds(self._deadline)):
                return await self._until_success()
        except ActivityError:
            raise  # it may be a declared TimeoutError besides, which is not this one
        except TimeoutError:
            raise self._timed_out("deadline", self._deadline, self._last_failure) from None

    async def _until_success(self) -> T:
        for number in count(1):
            try:
                return await self._attempt()
            except ActivityError as error:
                if not self._policy.tries_again(number, error.failure):
                    raise
                self._last_failure = error.failure
            if self.current.heartbeat is not None:  # else the one before it was the last that said anything
                self._heartbeat = self.current.heartbeat
            pause = self._policy.pause(number, self._chance(number))
            if pause > timedelta(0):
                await self._pause(pause)
            self.current = self._call(self._heartbeat)
        raise AssertionError("count does not end")

    async def _attempt(self) -> T:
        try:
            async with asyncio.timeout(_seconds(self._timeout)):
                return await self.current
        except ActivityError:
            raise
        except TimeoutError:
            raise self._timed_out("timeout", self._timeout) from None

    def _timed_out(self, what: str, limit: timedelta | None, cause: Failure | None = None) -> TimedOut:
        message = f"expected {self._name} within its {what} of {limit}, but it took longer"
        if cause is not None:
            message += f"; its last attempt failed with {cause.type}: {cause.message}"
        return TimedOut(timed_out(message, cause))


class AttemptsFuture(DurableFuture[T]):
    """The result of `Attempts`, run by a task of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, attempts: Attempts[T], moment: Callable[[], int]) -> None:
        super().__init__(loop, attempts.current.event_id, 0)
        self._attempts = attempts
        self._moment = moment
        self._task: asyncio.Task[T] = loop.create_task(attempts.run())
        self._task.add_done_callback(self._copy)

    def cancel(self, msg: Any | None = None) -> bool:
        """Take back the attempt that is under way, and try no more."""
        if self.done():
            return False
        # First what is under way: a task that has not begun would never reach it, and one that has gives up a wait.
        self._attempts.current.cancel(msg)
        self._task.cancel(msg)
        return super().cancel(msg)

    def _copy(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            super().cancel()
            return
        error = task.exception()
        if self.done():
            return
        if isinstance(error, ActivityError):
            self.fail(type(error), error.failure, self._moment())
        elif error is not None:
            self.break_off(error, self._moment())
        else:
            self.succeed(task.result(), self._moment())


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
