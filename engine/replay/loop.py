"""How does asyncio code run so that every replay takes the same path? On a loop without I/O, clock or threads.

One loop drives one execution. Between two calls of `run` nothing moves: time stands at the event last applied, timers
are durable ones, and what is ready was made ready by events. The rules of this file, each with a test that
fails without it:

1. Order never comes from an address. Tasks are numbered and hash by number, and what one callback caused goes in order
   of number: the wake-ups of tasks, the callbacks of futures, the work it took back. TaskGroup, anyio and
   `asyncio.wait` iterate sets.
2. Nothing of the host reaches the code: an empty context, own task names, own hooks for async generators.
3. Nothing is left to the collector: unfinished tasks are held here, in order of creation, until `put_away`.
4. What asyncio would log ends the turn: `run` raises TurnAborted, and the loop runs no more.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from inspect import currentframe
from itertools import count
from math import ceil, isinf, isnan
from types import AsyncGeneratorType
from typing import Any, NoReturn, Protocol, TypeVar, cast

from engine.errors import UsageError
from engine.replay.asyncio_private import (
    WAIT_CODE,
    enter_task,
    failure_of,
    keep_for_good,
    leave_task,
    mark_retrieved,
    retrieved,
    running_loop,
    set_running_loop,
    silence_pending,
    unregister_task,
)
from engine.replay.handles import SALT_MASK, SALT_SHIFT, LoopTimer, NumberedFuture, NumberedTask, ReadyHandle
from engine.replay.refusals import refusal, refusing_the_rest

DEADLINE_SLACK_MS = 0.001  # a sum of two floats near 1.7e9 seconds is off by less; 100 ms must stay 100 ms
REARM_PASSES_MAX = 256  # so often may a callback that only re-arms itself count down to something
EVICTIONS_MAX = 100  # so often do calls raise Evicting to one task
CLOSES_MAX = 100  # so often is it thrown at what one task awaits
FUTURES_FROM = 1 << 40  # numbers of futures that no event stands for begin above those of events
NO_FAILURE = (asyncio.CancelledError, Exception)

AnyResult = TypeVar("AnyResult")
AnyAsyncGenerator = AsyncGeneratorType[Any, Any]

_salts = count(1)


class Books(Protocol):
    """Who records what the code asks for, the loop's timers among it."""

    def create_timer(self, fire_at_ms: int) -> int:
        """Ask for a timer at that instant, milliseconds since 1970; returns a token for it."""
        ...

    def cancel_timer(self, token: int) -> None:
        """The code stopped waiting for a timer that has not fired."""
        ...

    def settle(self) -> None:
        """A callback has ended: what it took back is recorded now, in an order that does not come from its own."""
        ...


class Evicting(BaseException):
    """The execution is being put away: unwind. Every call of the context and the loop raises it meanwhile."""


class CallbacksBoundPassed(UsageError):
    """The code keeps itself busy: it did not come to rest within the bound on callbacks."""


class TurnAborted(Exception):
    """The turn ended in the middle, and the execution has to be put away.

    Attributes:
        cause: What ended it: an exception that is no result of a task (SystemExit, a callback's error, one that
            reached `call_exception_handler`), OutsideRefused, or CallbacksBoundPassed.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the turn was ended by {type(cause).__name__}: {cause}")
        self.cause = cause


@refusing_the_rest
class DeterministicLoop(asyncio.AbstractEventLoop):
    """The loop of one execution.

    Args:
        books: Takes the loop's timers, and is told of the end of every callback.
        callbacks_max: How many callbacks one `run` may run.
    """

    __slots__ = (
        "_asyncgens", "_asyncgens_swept", "_books", "_callbacks_max", "_cause", "_evictions", "_failed", "_futures",
        "_numbers", "_ready", "_root", "_salt", "_time", "_unfinished", "_waiting", "evicting", "waits_given_up",
    )  # fmt: skip

    def __init__(self, books: Books, *, callbacks_max: int) -> None:
        self.evicting = False
        self.waits_given_up = 0
        self._books = books
        self._callbacks_max = callbacks_max
        self._time = 0.0
        self._ready: list[ReadyHandle] = []
        self._waiting: dict[int, LoopTimer] = {}
        self._unfinished: dict[int, NumberedTask] = {}
        self._failed: list[NumberedTask] = []
        self._asyncgens: list[AnyAsyncGenerator] = []
        self._asyncgens_swept = 32
        self._numbers = 0
        self._futures = 0
        self._salt = (next(_salts) & SALT_MASK) << SALT_SHIFT
        self._root: NumberedTask | None = None
        self._cause: BaseException | None = None
        self._evictions = 0

    # What the turn calls.

    def start(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Make the root task, in an empty context; it runs with the next `run`."""
        if self._root is not None:
            raise UsageError("expected one root task a loop, but this loop has one already")
        self._root = self.create_task(coro, context=Context())
        return self._root

    def advance_to(self, time_ms: int) -> None:
        """Loop time is `time_ms` from now on, unless it is later already (it never goes back)."""
        self._time = max(self._time, time_ms / 1000)

    def fire_timer(self, token: int) -> None:
        """Make the timer's callback ready; loop time is not below its deadline after this.

        Raises:
            KeyError: No timer with this token waits: it fired or was cancelled.
        """
        timer = self._waiting.pop(token)
        timer.token = None
        # anyio compares the time with its deadline when its timer fires, and re-arms for ever if it is below.
        self._time = max(self._time, timer.when())
        self._ready.append(timer.action)

    def run(self) -> None:
        """Run what is ready, and what that makes ready, until nothing is.

        When the root task is done, async generators that are still open are closed in the same run.

        Raises:
            TurnAborted: The turn ended in the middle. So does every later `run`.
        """
        if self._cause is None:
            self._running(self._settle)
        if self._cause is not None:
            raise TurnAborted(self._cause)

    def put_away(self) -> int:
        """Close every unfinished coroutine, youngest first; the loop is of no use after this.

        Cleanup code of the orchestration runs up to its first call of the context or the loop, which raises Evicting.
        No action, event or log line comes of it.

        Returns:
            How many coroutines could not be closed within the bound; they stay in memory for good.
        """
        self.evicting = True
        self._ready.clear()
        self._waiting.clear()
        leaked = self._running(self._close_all)
        self._ready.clear()
        for task in self._failed:
            mark_retrieved(task)
        return leaked

    def unretrieved(self) -> list[asyncio.Task[Any]]:
        """Tasks that failed and whose exception nobody has looked at, in order of failing: asyncio would log them."""
        self._failed = [task for task in self._failed if not retrieved(task)]
        return list(self._failed)

    @property
    def unfinished(self) -> int:
        """Tasks that have not ended, the root task among them."""
        return len(self._unfinished)

    def raise_if_evicting(self) -> None:
        """Raise Evicting while the execution is put away, at most `EVICTIONS_MAX` times a task.

        Code that catches everything in a loop would never end otherwise: past the bound the call goes on, its await
        suspends, and the coroutine is leaked. Whatever such a call asks for must be dropped.
        """
        if self.evicting:
            self._evictions += 1
            if self._evictions <= EVICTIONS_MAX:
                raise Evicting

    def require_turn(self) -> None:
        """Refuse a call of the context that does not come from this loop's own code.

        Raises:
            UsageError: It comes from another thread, an activity or another orchestration: replay would not see it.
            Evicting: As `raise_if_evicting`.
        """
        if running_loop() is not self:
            raise UsageError(
                "expected the context to be used by its own orchestration in its turn, but it is used from outside; "
                "an activity has an ActivityContext, everybody else a Client"
            )
        if self.evicting:
            self.raise_if_evicting()

    def refuse(self, name: str, instead: str | None = None) -> NoReturn:
        """End the turn because code used `name`, and raise it; `refusals.INSTEAD` says what to use if nothing is given.

        Raises:
            OutsideRefused: Always.
        """
        self.raise_if_evicting()
        refused = refusal(name, instead)
        if running_loop() is self:  # not when another thread calls: a turn must not end at that thread's time
            self._abort(refused)
        raise refused

    # What asyncio and libraries on it call.

    def time(self) -> float:
        self.raise_if_evicting()
        return self._time

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        if self.evicting:
            self.raise_if_evicting()
        owner = getattr(callback, "__self__", None)
        handle = ReadyHandle(
            callback,
            args,
            copy_context() if context is None else context,
            owner if type(owner) is NumberedTask else None,
        )
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.raise_if_evicting()
        if isnan(when):
            raise ValueError("expected a deadline in seconds, but it is NaN")
        timer = LoopTimer(when, callback, args, self, copy_context() if context is None else context)
        if when <= self._time:
            self._ready.append(timer.action)
        elif not isinf(when) and not self.evicting:
            timer.token = self._books.create_timer(ceil(when * 1000 - DEADLINE_SLACK_MS))
            self._waiting[timer.token] = timer
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, LoopTimer)
        handle.action.cancel()
        if handle.token is not None and self._waiting.pop(handle.token, None) is not None:
            self._books.cancel_timer(handle.token)

    def create_future(self) -> asyncio.Future[Any]:
        self.raise_if_evicting()
        frame = currentframe()
        caller = frame and frame.f_back
        if caller is not None and caller.f_code is WAIT_CODE and not _are_numbered(caller.f_locals["fs"]):
            self.refuse("asyncio.wait over gather")
        self._futures += 1
        future: NumberedFuture[Any] = NumberedFuture(loop=self)
        future.number = FUTURES_FROM + self._futures
        return future

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]  # 3.13 passes on whatever it is given
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> NumberedTask:
        try:
            self.raise_if_evicting()
        except Evicting:
            coro.close()  # else it complains that nobody awaited it
            raise
        if eager_start:
            coro.close()
            self.refuse("create_task(eager_start=True)")
        if _asked_by_as_completed():
            coro.close()
            self.refuse("as_completed")
        self._numbers = number = self._numbers + 1
        if context is None:
            context = copy_context()
        task = NumberedTask(coro, number=number, salt=self._salt, loop=self, name=name, context=context)
        unregister_task(task)
        silence_pending(task)
        self._unfinished[number] = task
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """End the turn: what asyncio would only log has no place in a history."""
        # Finalizers come at the collector's time: `unretrieved` names what they would have told.
        if running_loop() is self and not self.evicting and "never retrieved" not in context["message"]:
            self._abort(context.get("exception") or RuntimeError(context["message"]))

    def get_task_factory(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return running_loop() is self

    def is_closed(self) -> bool:
        return self.evicting

    # How a run goes.

    def _running(self, body: Callable[[], AnyResult]) -> AnyResult:
        """Call `body` with this loop running in this thread; the host's loop and task are put back after it."""
        host = running_loop()
        host_task = None if host is None else asyncio.current_task(host)
        firstiter, finalizer = sys.get_asyncgen_hooks()
        if host is not None and host_task is not None:
            leave_task(host, host_task)
        set_running_loop(self)
        sys.set_asyncgen_hooks(self._hold_asyncgen, _forget)
        try:
            return body()
        finally:
            sys.set_asyncgen_hooks(firstiter, finalizer)
            set_running_loop(host)
            if host is not None and host_task is not None:
                enter_task(host, host_task)

    def _settle(self) -> None:
        self._drain()
        if self._asyncgens and self._cause is None and self._root is not None and self._root.done():
            self.create_task(self._close_asyncgens(), context=Context())
            self._drain()

    def _drain(self) -> None:
        ready, settle = self._ready, self._books.settle
        rearmed = 0  # callbacks in a row that did nothing but arm themselves again
        ran = 0
        for ran, handle in enumerate(ready, start=1):
            callback = handle.callback
            if callback is None:
                continue
            if ran > self._callbacks_max:
                self._abort(self._bound_passed(callback))
                break
            before = len(ready)
            try:
                handle.context.run(callback, *handle.args)
            except BaseException as error:  # SystemExit in an orchestration must not take the node along
                self._abort(error)
            if handle.owner is not None and handle.owner.done():
                self._note_end(handle.owner)
            if self._cause is not None:
                break
            settle()
            added = len(ready) - before
            if added > 1:
                _sort_wake_ups(ready, before, handle.owner)
            if added == 1 and ready[-1].repeats(callback, handle.args):
                rearmed += 1
                if rearmed > REARM_PASSES_MAX * (len(ready) - ran):
                    break  # quiescent: anyio delivers a cancellation on every cycle until the tasks have left
            else:
                rearmed = 0
        del ready[:ran]

    def _bound_passed(self, callback: Callable[..., object]) -> CallbacksBoundPassed:
        owner = getattr(callback, "__self__", callback)
        return CallbacksBoundPassed(
            f"expected an orchestration that comes to rest within {self._callbacks_max} callbacks, "
            f"but it keeps itself busy; next would be {owner!r}"
        )

    def _note_end(self, task: NumberedTask) -> None:
        self._unfinished.pop(task.number, None)
        failure = failure_of(task)
        if failure is not None and not task.cancelled():
            if isinstance(failure, NO_FAILURE):
                self._failed.append(task)
            else:
                mark_retrieved(task)
                self._abort(failure)

    def _abort(self, cause: BaseException) -> None:
        if self._cause is None:
            self._cause = cause

    # Async generators, and the end.

    def _hold_asyncgen(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens.append(cast(AnyAsyncGenerator, generator))
        if len(self._asyncgens) > self._asyncgens_swept:
            self._asyncgens = [one for one in self._asyncgens if one.ag_frame is not None]
            self._asyncgens_swept = 32 + 2 * len(self._asyncgens)

    async def _close_asyncgens(self) -> None:
        """Youngest first. One that a task is inside of is left to that task."""
        generators, self._asyncgens = self._asyncgens, []
        for generator in reversed(generators):
            if not generator.ag_running:
                await generator.aclose()

    def _close_all(self) -> int:
        leaked = 0
        while self._unfinished:
            _, task = self._unfinished.popitem()
            if not self._close(task):
                keep_for_good(task)
                leaked += 1
        return leaked

    def _close(self, task: NumberedTask) -> bool:
        """Unwind a task's coroutine, as if what it awaits had raised Evicting; whether it has ended after that."""
        coro: Any = task.get_coro()
        self._evictions = 0
        enter_task(self, task)
        try:
            for _ in range(CLOSES_MAX):
                # Not `close`: where an inner coroutine stays, that ends the outer ones and leaves it to the collector.
                task.context.run(coro.throw, Evicting())
        except BaseException:  # Evicting, or whatever the cleanup code raised instead
            return True
        finally:
            leave_task(self, task)
        return False


def _forget(_generator: AsyncGenerator[Any, Any]) -> None:
    """Finalizer of async generators: their code never runs at the collector's time."""


def _sort_wake_ups(ready: list[ReadyHandle], start: int, yielding: NumberedTask | None) -> None:
    """Put the handles from `start` that belong to tasks in order of task number, in their own places.

    Not that of the task that ran: `await sleep(0)` after `create_task` lets the new task begin first, as everywhere.
    The callbacks that are told of a future with a number (gather's, say) are put in order of that likewise.
    """
    woken = [place for place in range(start, len(ready)) if ready[place].owner not in (None, yielding)]
    _sort_places(ready, woken, lambda handle: cast(NumberedTask, handle.owner).number)
    told = [place for place in range(start, len(ready)) if ready[place].told_of() is not None]
    _sort_places(ready, told, ReadyHandle.told_of)


def _sort_places(ready: list[ReadyHandle], places: list[int], key: Callable[[ReadyHandle], Any]) -> None:
    if len(places) > 1:
        handles = sorted((ready[place] for place in places), key=key)
        for place, handle in zip(places, handles, strict=True):
            ready[place] = handle


_ASYNCIO_TASKS = asyncio.tasks.__dict__


def _asked_by_as_completed() -> bool:
    """Whether asyncio is turning the coroutines of `as_completed` into tasks. It does so in the order of a set."""
    frame = currentframe()
    frame = frame and frame.f_back and frame.f_back.f_back  # past this function and create_task
    while frame is not None and frame.f_globals is _ASYNCIO_TASKS:
        if frame.f_code.co_qualname in {"as_completed", "_AsCompletedIterator.__init__"}:
            return True
        frame = frame.f_back
    return False


def _are_numbered(futures: Iterable[object]) -> bool:
    """Whether a set of `futures` has the same order on every replay. What `gather` returns has no number."""
    return all(isinstance(future, (NumberedTask, NumberedFuture)) for future in futures)
