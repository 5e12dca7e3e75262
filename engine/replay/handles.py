"""What does the deterministic loop hand out? Handles of ready callbacks, durable timers, numbered tasks and futures."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from operator import is_
from typing import Any, Protocol, TypeVar, cast

from engine.replay.refusals import Refusing

T = TypeVar("T")

AnyLoop = asyncio.AbstractEventLoop

SALT_SHIFT = 46
SALT_MASK = (1 << 15) - 1
"""A task's hash is its number, with its loop's salt far above it.

The number gives sets of tasks the same order in every replay. The salt keeps the numbers of thousands of instances
apart in weak maps of the whole process that are keyed by task (anyio has one); it is so far up that it reaches the
probing of a set only after more collisions than a set of one orchestration's tasks has.
"""


class GivesUpWaits(Protocol):
    """A loop that knows whether what is cancelled now is only no longer waited for."""

    waits_given_up: int


@contextmanager
def giving_up_waits(loop: AnyLoop) -> Generator[None]:
    """What is cancelled in here is cancelled because whoever waits for it is, not because the code cancels it."""
    known = cast("GivesUpWaits", loop)
    known.waits_given_up += 1
    try:
        yield
    finally:
        known.waits_given_up -= 1


class ReadyHandle(asyncio.Handle):
    """A callback that runs in this turn. `owner` is the task it steps, if it steps one."""

    __slots__ = ("args", "callback", "context", "owner")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, owner: "NumberedTask | None"
    ) -> None:
        # Not calling asyncio's own: it would fill slots that only its own loops read.
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context
        self.owner = owner

    def __repr__(self) -> str:
        return f"<ReadyHandle {self.callback!r}>"

    def cancel(self) -> None:
        """The callback will not run."""
        self.callback = None

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.callback is None

    def told_of(self) -> tuple[int, int] | None:
        """What orders it among callbacks that no task owns: the task or future it is told of; None if none of ours."""
        if self.owner is None and len(self.args) == 1:
            told = self.args[0]
            if isinstance(told, NumberedTask):
                return 0, told.number
            if isinstance(told, NumberedFuture):
                return 1, cast("NumberedFuture[Any]", told).number
        return None

    def repeats(self, callback: Callable[..., object], args: tuple[Any, ...]) -> bool:
        """Whether it is the same call again. Arguments by identity: their own `==` is not ours to call."""
        return self.callback == callback and len(self.args) == len(args) and all(map(is_, self.args, args))

    def get_context(self) -> Context:
        """The context the callback runs in."""
        return self.context


class LoopTimer(asyncio.TimerHandle):
    """A durable timer in asyncio's clothes. `token` is None when nothing durable stands behind it (any more).

    Cancelling it reaches the loop through `_timer_handle_cancelled`, asyncio's own way.
    """

    __slots__ = ("action", "token")

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: AnyLoop, context: Context
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.action = ReadyHandle(callback, args, context, None)
        self.token: int | None = None


class NumberedFuture(asyncio.Future[T]):
    """A future that hashes by its number, and whose callbacks run in that order where one callback woke many.

    Whoever makes one sets the number at once: an `__init__` of our own would double the cost of a future.
    """

    number: int

    def __hash__(self) -> int:
        return self.number


class NumberedTask(asyncio.Task[Any]):
    """A task that hashes by its number, so that sets of tasks have one order in every replay."""

    __slots__ = ("_hash", "context", "number")

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        number: int,
        salt: int,
        loop: AnyLoop,
        name: str | None,
        context: Context,
    ) -> None:
        self.number = number
        self.context = context  # asyncio's own `get_context` exists from 3.12 on
        self._hash = salt | number
        # A name of our own: asyncio's counts the tasks of the whole process, and users put names into payloads.
        super().__init__(coro, loop=loop, name=f"task-{number}" if name is None else name, context=context)

    def __hash__(self) -> int:
        return self._hash

    def cancel(self, msg: Any | None = None) -> bool:
        """As asyncio's; what the task waits for is given up, which says nothing of the work behind it."""
        with giving_up_waits(self.get_loop()):
            return super().cancel(msg)

    def add_done_callback(self, fn: Callable[["NumberedTask"], object], /, *, context: Context | None = None) -> None:
        """Call `fn` with the task when it is done; refuses to be what ends a thread of anyio's."""
        owner = getattr(fn, "__self__", None)
        if owner is not None and hasattr(owner, "native_id"):
            # anyio.to_thread has just started a thread and asks to be told when to end it. Before 3.12 nothing
            # else sees that thread, and the turn would wait for its answer for ever.
            fn(self)
            cast(Refusing, self.get_loop()).refuse("to_thread")
        super().add_done_callback(fn, context=context)
