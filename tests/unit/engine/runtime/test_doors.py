"""Do the doors of chance, tasks and threads keep what they promise?"""

import asyncio
import contextvars
import gc
import threading

import pytest

from engine.clock import ManualClock, SystemClock
from engine.errors import UsageError
from engine.runtime.doors import Chance, Tasks, Threads, within

pytestmark = pytest.mark.anyio


async def cycles(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_seed_repeats_every_value() -> None:
    one, other = Chance(seed=7), Chance(seed=7)
    assert [one.incarnation(), one.token(), one.random_bytes(3), one.uniform(0, 1)] == [
        other.incarnation(),
        other.token(),
        other.random_bytes(3),
        other.uniform(0, 1),
    ]


def test_without_a_seed_nothing_repeats() -> None:
    assert len({Chance().token() for _ in range(100)}) == 100


def test_an_incarnation_fits_a_signed_long_and_is_never_zero() -> None:
    chance = Chance(seed=1)
    assert all(0 < chance.incarnation() < 2**63 for _ in range(1_000))


async def test_an_owner_sees_the_error_of_its_task_and_not_its_cancellation() -> None:
    seen: list[BaseException] = []
    tasks = Tasks("owner", seen.append)

    async def fail() -> None:
        raise ValueError("boom")

    failing = tasks.spawn("failing", fail())
    waiting = tasks.spawn("waiting", asyncio.Event().wait())
    assert (failing.get_name(), waiting.get_name()) == ("owner/failing", "owner/waiting")
    await asyncio.wait({failing})
    assert await tasks.aclose(SystemClock(), patience_ms=1_000) == []
    assert [str(error) for error in seen] == ["boom"]
    assert len(tasks) == 0


async def test_a_task_is_held_by_its_owner_through_a_collection() -> None:
    tasks = Tasks("owner", lambda _: None)
    finished: list[str] = []

    async def wait_for_something_only_it_knows() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            await future
        finally:
            finished.append("finally")

    tasks.spawn("lonely", wait_for_something_only_it_knows())
    await asyncio.sleep(0)
    gc.collect()
    assert finished == []
    await tasks.aclose(SystemClock(), patience_ms=1_000)
    assert finished == ["finally"]


async def test_a_task_that_refuses_to_end_is_named() -> None:
    tasks = Tasks("owner", lambda _: None)
    clock = ManualClock()
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    tasks.spawn("stubborn", stubborn())
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(tasks.aclose(clock, patience_ms=500))
    await asyncio.sleep(0)
    await cycles(3)
    clock.advance(500)
    assert await closing == ["owner/stubborn"]
    release.set()
    await tasks.settle()
    assert len(tasks) == 0


async def test_within_gives_the_result_or_times_out_and_leaves_nothing_running() -> None:
    clock = ManualClock()

    async def seven() -> int:
        return 7

    before = asyncio.all_tasks()
    assert await within(clock, seven(), timeout_ms=1) == 7
    endless = asyncio.ensure_future(asyncio.Event().wait())
    timing_out = asyncio.ensure_future(within(clock, endless, timeout_ms=10))
    await cycles(3)
    clock.advance(10)
    with pytest.raises(TimeoutError):
        await timing_out
    assert endless.cancelled()
    assert asyncio.all_tasks() == before


async def test_what_fails_just_as_its_waiter_is_cancelled_is_not_reported_as_an_error_nobody_saw() -> None:
    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))

    async def cancels_its_waiter_and_fails() -> None:
        waiting.cancel()
        raise OSError("refused")

    waiting = asyncio.ensure_future(within(SystemClock(), cancels_its_waiter_and_fails(), 60_000))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await cycles(5)
    gc.collect()

    assert reports == []


async def test_offload_returns_raises_and_carries_context_variables() -> None:
    threads = Threads("pool", threads_max=2)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")
    assert await threads.offload(variable.get) == "of the caller"
    assert await threads.offload(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await threads.offload(lambda: 1 / 0)
    assert threads.close(patience_ms=5_000) == 0


async def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    threads = Threads("pool", threads_max=2)
    both_inside = threading.Barrier(2, timeout=5)
    lock = threading.Lock()
    inside = 0
    most = 0

    def call() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        both_inside.wait()
        with lock:
            inside -= 1

    await asyncio.gather(*(threads.offload(call) for _ in range(6)))
    assert most == 2
    assert len(threads) == 2
    assert threads.close(patience_ms=5_000) == 0


async def test_a_call_whose_caller_left_before_it_began_never_runs() -> None:
    threads = Threads("pool", threads_max=1)
    release = threading.Event()
    ran: list[str] = []
    first = asyncio.ensure_future(threads.offload(release.wait, 5))
    second = asyncio.ensure_future(threads.offload(ran.append, "second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    release.set()
    assert await first is True
    assert await threads.offload(lambda: "third") == "third"
    assert ran == []
    assert threads.close(patience_ms=5_000) == 0


async def test_a_thread_inside_a_call_outlives_close_and_ends_after_it() -> None:
    threads = Threads("pool", threads_max=1)
    entered, release = threading.Event(), threading.Event()

    def call() -> None:
        entered.set()
        release.wait(5)

    calling = asyncio.ensure_future(threads.offload(call))
    await asyncio.sleep(0)
    assert entered.wait(5)
    assert threads.close(patience_ms=5_000) == 1
    with pytest.raises(UsageError, match="expected open threads, but those of pool are closed"):
        await threads.offload(call)
    release.set()
    await calling
    assert threads.close(patience_ms=5_000) == 0
