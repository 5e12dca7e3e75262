"""How does code wait for several things at once? `join`, `select` and `as_completed`, in the order of the history.

They take any number of durable futures, tasks and coroutines, nest in each other, and decide by order of completion,
never by order of asking. Of things that had finished before the call, durable futures come in the order in which the
history finished them, then tasks in the order of the arguments.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, Generic, TypeVar, cast, overload

from msgspec import Struct

from engine.errors import UsageError
from engine.replay.futures import DurableFuture
from engine.replay.handles import giving_up_waits

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class Selected(Struct, Generic[T], frozen=True):
    """What `select` waited for.

    Attributes:
        index: Place of the winner among the arguments, from 0.
        value: Its result.
    """

    index: int
    value: T


class Combinators:
    """What a context waits with. Its methods are written here: `staticmethod(f)` keeps one overload of a function."""

    @overload
    @staticmethod
    async def join(a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
    @overload
    @staticmethod
    async def join(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...
    @overload
    @staticmethod
    async def join(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /) -> tuple[A, B, C, D]: ...
    @overload
    @staticmethod
    async def join(*awaitables: Awaitable[T]) -> tuple[T, ...]: ...
    @staticmethod
    async def join(*awaitables: Awaitable[Any]) -> tuple[Any, ...]:
        """Wait for all and return their results in the order of the arguments.

        The first failure is raised at once, and the others are cancelled, so that nothing is left running unseen.

        Raises:
            UsageError: An argument is nothing to wait for, as a list is.
        """
        futures = _as_futures(awaitables)
        try:
            await _all_done(futures)
            return tuple(future.result() for future in futures)
        except asyncio.CancelledError:
            _give_up(futures)
            raise
        except Exception:
            _cancel(futures)
            raise

    @overload
    @staticmethod
    async def select(a: Awaitable[A], b: Awaitable[B], /) -> Selected[A | B]: ...
    @overload
    @staticmethod
    async def select(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> Selected[A | B | C]: ...
    @overload
    @staticmethod
    async def select(*awaitables: Awaitable[T]) -> Selected[T]: ...
    @staticmethod
    async def select(*awaitables: Awaitable[Any]) -> Selected[Any]:
        """Wait for the first to finish, cancel all others, and say which it was.

        If the winner failed, its exception is raised. A queue message that a loser had got goes back to its queue.

        Raises:
            UsageError: There is nothing to wait for, or an argument is nothing of the kind, as a list is.
        """
        if not awaitables:
            raise UsageError("expected something to select from, but there are no arguments")
        futures = _as_futures(awaitables)
        losers = futures
        try:
            winner = await _first_done(futures)
        except asyncio.CancelledError:
            _give_up(futures)
            raise
        try:
            losers = [future for future in futures if future is not futures[winner]]
            return Selected(winner, futures[winner].result())
        finally:
            _cancel(losers)

    @staticmethod
    def as_completed(*awaitables: Awaitable[T]) -> "Completions[T]":
        """`async for future in ctx.as_completed(...)`: each future, done, in order of completion.

        Coroutines come back as the tasks they were made. Leaving the loop early cancels nothing.

        Raises:
            UsageError: An argument is nothing to wait for, as a list is.
        """
        return Completions(_as_futures(awaitables))


class Completions(Generic[T]):
    """An iterator over futures as they are done."""

    def __init__(self, futures: list[asyncio.Future[T]]) -> None:
        self._left = len(futures)
        self._done: deque[asyncio.Future[T]] = deque()
        self._arrived = asyncio.Event()
        for future in sorted((future for future in futures if future.done()), key=_finished_at):
            self._done.append(future)
        for future in futures:
            if not future.done():
                future.add_done_callback(self._note)

    def __aiter__(self) -> "Completions[T]":
        return self

    async def __anext__(self) -> asyncio.Future[T]:
        while not self._done:
            if self._left == 0:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()  # several tasks may take from one iterator
        self._left -= 1
        return self._done.popleft()

    def _note(self, future: asyncio.Future[T]) -> None:
        self._done.append(future)
        self._arrived.set()


def _as_futures(awaitables: Sequence[Awaitable[T]]) -> list[asyncio.Future[T]]:
    try:
        return [_as_future(awaitable) for awaitable in awaitables]
    except BaseException:  # put away: coroutines that nobody will await must not complain about it
        for awaitable in awaitables:
            if isinstance(awaitable, Coroutine):
                cast("Coroutine[Any, Any, T]", awaitable).close()
        raise


def _as_future(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    if isinstance(awaitable, asyncio.Future):
        return awaitable
    if isinstance(awaitable, Coroutine):
        return asyncio.get_running_loop().create_task(cast("Coroutine[Any, Any, T]", awaitable))
    if not isinstance(awaitable, Awaitable):  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers
        raise UsageError(
            "expected each argument to be something to await, as in `ctx.join(*futures)`, "
            f"but one is a {type(awaitable).__qualname__}"
        )
    return asyncio.get_running_loop().create_task(_await(awaitable))


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _finished_at(future: asyncio.Future[Any]) -> int:
    return future.finished_at if isinstance(future, DurableFuture) else sys.maxsize


async def _first_done(futures: list[asyncio.Future[Any]]) -> int:
    done = [index for index, future in enumerate(futures) if future.done()]
    if done:
        return min(done, key=lambda index: _finished_at(futures[index]))
    waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def note(future: asyncio.Future[Any]) -> None:
        if not waiter.done():
            waiter.set_result(next(index for index, one in enumerate(futures) if one is future))

    for future in futures:
        future.add_done_callback(note)
    try:
        return await waiter
    finally:
        for future in futures:
            future.remove_done_callback(note)


async def _all_done(futures: list[asyncio.Future[Any]]) -> None:
    """Return when all are done, or one has failed: raise what it failed with."""
    finished = sorted((future for future in futures if future.done()), key=_finished_at)
    for future in finished:
        if future.cancelled() or future.exception() is not None:
            future.result()
    # One future may stand among the arguments more than once; it is waited for once.
    left = {id(future): future for future in futures if not future.done()}
    if not left:
        return
    waiter: asyncio.Future[asyncio.Future[Any] | None] = asyncio.get_running_loop().create_future()

    def note(future: asyncio.Future[Any]) -> None:
        left.pop(id(future), None)
        if waiter.done():
            return
        if future.cancelled() or future.exception() is not None:
            waiter.set_result(future)
        elif not left:
            waiter.set_result(None)

    for future in list(left.values()):
        future.add_done_callback(note)
    failed = await waiter
    if failed is not None:
        failed.result()


def _give_up(futures: list[asyncio.Future[Any]]) -> None:
    """Whoever waited for them was cancelled."""
    with giving_up_waits(asyncio.get_running_loop()):
        _cancel(futures)


def _cancel(futures: list[asyncio.Future[Any]]) -> None:
    for future in futures:
        future.cancel()
