"""Where do chance, tasks and threads come from? The one door to each, so that a test or a simulation can hold it.

import-linter (pyproject.toml, "one door a dependency") and ruff's banned-api table refuse `random`, `secrets`,
`threading`, `concurrent`, `asyncio.create_task` and their kin everywhere else.
"""

import asyncio
import contextlib
import contextvars
import queue
import random
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from engine.clock import Clock
from engine.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

INCARNATION_BITS = 63  # positive in a signed 64-bit field
TOKEN_BYTES = 16


class Chance:
    """Randomness: from the operating system, or repeatable from a seed.

    Args:
        seed: None for the operating system's source; a number repeats the same values in the same order.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._source = random.SystemRandom() if seed is None else random.Random(seed)

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes."""
        return self._source.randbytes(count)

    def incarnation(self) -> int:
        """The id of a new life of an instance, never 0."""
        return self._source.getrandbits(INCARNATION_BITS) or 1

    def token(self) -> str:
        """32 hexadecimal digits that nobody guesses: instance ids, message ids, lock tokens."""
        return self._source.randbytes(TOKEN_BYTES).hex()

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`, to keep many waiters from moving in step."""
        return self._source.uniform(low, high)


class Tasks:
    """Owns asyncio tasks: each has a name, is held until it ends, and its error reaches the owner.

    Args:
        owner: First part of every task's name.
        on_error: Called on the loop with the error of each task that ends with one; a cancelled task has none.
    """

    def __init__(self, owner: str, on_error: Callable[[BaseException], None]) -> None:
        self._owner = owner
        self._on_error = on_error
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `coroutine` as a task named `owner/name` on the running loop."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._owner}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def settle(self) -> None:
        """Return when no task is left; those spawned meanwhile count too."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def aclose(self, clock: Clock, patience_ms: int) -> list[str]:
        """Cancel all tasks and wait for them, at most `patience_ms`; the names of those that refuse to end."""
        for task in self._tasks:
            task.cancel()
        await settled_within(clock, self._tasks, patience_ms)
        return sorted(task.get_name() for task in self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)


def future_of(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    """`awaitable` as a future: itself if it is one (no task is made then), else a task around it."""
    return asyncio.ensure_future(awaitable)


async def settled_within(clock: Clock, tasks: "set[asyncio.Task[Any]]", timeout_ms: int) -> bool:
    """Wait until all `tasks` have ended or `timeout_ms` have passed by `clock`; whether they have."""
    if not tasks:
        return True
    settled = asyncio.ensure_future(asyncio.wait(set(tasks)))
    await _first(clock, settled, timeout_ms)
    return settled.done() and not settled.cancelled()


async def within(clock: Clock, awaitable: Awaitable[T], timeout_ms: int) -> T:
    """The result of `awaitable` if it comes within `timeout_ms` by `clock`.

    Raises:
        TimeoutError: It did not; it has been cancelled and has ended.
    """
    future = asyncio.ensure_future(awaitable)
    await _first(clock, future, timeout_ms)
    if future.cancelled():
        raise TimeoutError
    return future.result()


async def _first(clock: Clock, future: "asyncio.Future[Any]", timeout_ms: int) -> None:
    """Wait for `future` or the time; whatever happens, `future` has ended, and the alarm is about to.

    Goes on two turns of the loop after `future` is done. `asyncio.wait` on both, and on their ends, took seven and
    three times as long, in the path of every message.
    """
    first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ring(_: "asyncio.Future[Any]") -> None:
        if not first.done():
            first.set_result(None)

    alarm = asyncio.ensure_future(clock.sleep_ms(timeout_ms))
    alarm.add_done_callback(ring)
    future.add_done_callback(ring)
    try:
        await first
    finally:
        alarm.cancel()
        if not future.done():
            future.cancel()
            await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # looked at: who is cancelled just as it fails does not ask, and it would be reported


class Threads:
    """A bounded set of threads for blocking calls.

    Threads start on demand. They are daemons: a call that never returns is left behind at the end of the process,
    where `concurrent.futures` would hang it.

    Args:
        name: First part of every thread's name.
        threads_max: Calls beyond it wait their turn.
    """

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._closed = False

    def __len__(self) -> int:
        """Threads that are alive."""
        return sum(thread.is_alive() for thread in self._threads)

    async def offload(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises, from a thread, in a copy of the caller's context variables.

        Cancelling the caller does not stop a function that has begun: its thread stays taken until it returns.

        Raises:
            UsageError: `close` was called.
        """
        if self._closed:
            raise UsageError(f"expected open threads, but those of {self._name} are closed")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        context = contextvars.copy_context()
        returned: list[T] = []
        raised: list[BaseException] = []

        def call() -> None:
            if not answered.cancelled():
                try:
                    returned.append(context.run(function, *args, **kwargs))
                except BaseException as error:
                    raised.append(error)
            # A closed loop is that of an engine stopped at once: nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, answered)

        self._unfinished += 1
        self._calls.put(call)
        if len(self._threads) < min(self._unfinished, self._threads_max):
            self._start_thread()
        await answered
        if raised:
            # Taken out of the list, or error, traceback and this frame keep each other until a collection.
            raise raised.pop()
        return returned[0]

    def close(self, patience_ms: int) -> int:
        """End the threads, those inside a call when it returns; how many live on after `patience_ms` a thread."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(0 if self._unfinished else patience_ms / 1000)
        return len(self)

    def _start_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _finish(self, answered: "asyncio.Future[None]") -> None:
        self._unfinished -= 1
        if not answered.done():
            answered.set_result(None)


class Beat:
    """Calls a function again and again, from a daemon thread of its own.

    Args:
        name: Of the thread.
        function: Returns the milliseconds until its next call. It must not raise.
    """

    def __init__(self, name: str, function: Callable[[], int]) -> None:
        self._function = function
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name=name, daemon=True)

    def start(self) -> None:
        """Call it now for the first time. Once."""
        self._thread.start()

    def close(self) -> None:
        """No call begins after this; one under way has a second to return."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(1)

    def _go_on(self) -> None:
        while not self._closed.wait(self._function() / 1000):
            pass


def this_thread() -> int:
    """What the interpreter calls the thread that asks."""
    return threading.get_ident()


def hear_interrupts(handler: Callable[[int, FrameType | None], None]) -> bool:
    """Have this thread call `handler` when it is interrupted, between two steps of whatever it runs.

    False if it cannot be: only the main thread hears signals, and only where they exist, and the signal may be somebody
    else's. It is SIGURG, as with Go's runtime, which interrupts for the same reason: who does not hear it ignores it.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGURG"):
        return False
    if signal.getsignal(signal.SIGURG) not in (signal.SIG_DFL, handler):
        return False
    signal.signal(signal.SIGURG, handler)
    return True


def interrupt(thread: int) -> None:
    """Interrupt a thread that hears it."""
    signal.pthread_kill(thread, signal.SIGURG)
