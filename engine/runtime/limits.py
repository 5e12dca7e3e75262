"""How does an activity that runs too long, or is silent for too long, come to its end? By the worker that runs it.

A worker that died is no matter of this: its lease ends. This is for code that hangs, and for code that is slow.
"""

import asyncio
from collections.abc import Callable

from engine.model.failure import Failure
from engine.model.work import WorkItem
from engine.replay.time_outs import ran_too_long, silent_too_long
from engine.runtime.calls import Call
from engine.runtime.doors import Tasks
from engine.runtime.shared import Shared

Passed = Callable[[WorkItem], Failure]
"""What an item fails with, one of whose limits is passed."""


class Limits:
    """Watches the calls that have a limit, each in a task of its own; others cost nothing.

    Args:
        tasks: Own the watches.
        on_passed: Called at most once a call, with the failure it ends with.
    """

    def __init__(self, shared: Shared, tasks: Tasks, on_passed: Callable[[Call, Failure], None]) -> None:
        self._shared = shared
        self._tasks = tasks
        self._on_passed = on_passed
        self._watches: dict[Call, asyncio.Task[None]] = {}

    def watch(self, call: Call) -> None:
        """The code of `call` has begun; it may have ended since, or lost its lease."""
        if not call.finished and not call.settled:
            name = f"limits of {call.instance}/{call.activity_id}"
            self._watches[call] = self._tasks.spawn(name, self._watch(call))

    def forget(self, call: Call) -> None:
        """Its code has ended, or nobody waits for it."""
        if self._watches and (watch := self._watches.pop(call, None)) is not None:
            watch.cancel()

    async def _watch(self, call: Call) -> None:
        clock = self._shared.clock
        while True:
            due_ms, passed = min(_dues(call), key=lambda due: due[0])
            if (wait_ms := due_ms - clock.boot_ms()) <= 0:
                break
            await clock.sleep_ms(wait_ms)
        self._watches.pop(call, None)
        if not call.settled:
            self._on_passed(call, passed(call.item))


def _dues(call: Call) -> list[tuple[int, Passed]]:
    """When each limit of a call will be passed, as far as is known now."""
    limits = call.item.limits
    assert limits is not None, "only who has limits is watched"
    dues: list[tuple[int, Passed]] = []
    if limits.run_timeout_ms is not None:
        dues.append((call.begun_at_ms + limits.run_timeout_ms, ran_too_long))
    if limits.heartbeat_timeout_ms is not None:
        dues.append((call.beat_at_ms + limits.heartbeat_timeout_ms, silent_too_long))
    return dues
