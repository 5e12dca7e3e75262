"""How does a test drive an execution on the deterministic loop? By hand: run, fire the next timer, look."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from engine.replay.loop import DeterministicLoop, TurnAborted

START_MS = 1_700_000_000_123


class ManualTimers:
    """A timer service that keeps what was asked for, in order, and fires nothing by itself."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.open: dict[int, int] = {}

    def create_timer(self, fire_at_ms: int) -> int:
        token = len(self.asked)
        self.asked.append(("create", fire_at_ms))
        self.open[token] = fire_at_ms
        return token

    def cancel_timer(self, token: int) -> None:
        self.asked.append(("cancel", self.open.pop(token)))

    def settle(self) -> None:
        return


class Execution:
    """One orchestration on a loop of its own. The orchestration takes the Execution, as others take a context."""

    def __init__(
        self, orchestration: "Callable[[Execution], Coroutine[Any, Any, Any]]", *, callbacks_max: int = 20_000
    ) -> None:
        self.timers = ManualTimers()
        self.loop = DeterministicLoop(self.timers, callbacks_max=callbacks_max)
        self.loop.advance_to(START_MS)
        self.said: list[Any] = []
        self.root = self.loop.start(orchestration(self))

    def say(self, what: Any) -> None:
        self.said.append(what)

    def run(self) -> "Execution":
        self.loop.run()
        return self

    def fire_next(self) -> int:
        """Fire the timer that is due first, at its time, and run; the time."""
        token = min(self.timers.open, key=lambda token: (self.timers.open[token], token))
        fire_at_ms = self.timers.open.pop(token)
        self.loop.advance_to(fire_at_ms)
        self.loop.fire_timer(token)
        self.loop.run()
        return fire_at_ms

    def to_end(self) -> Any:
        """Run and fire timers until the root task is done; what it returned."""
        self.run()
        while not self.root.done():
            self.fire_next()
        return self.root.result()

    def aborted(self) -> BaseException:
        """Run to the end of a turn that is aborted; its cause."""
        try:
            self.to_end()
        except TurnAborted as aborted:
            return aborted.cause
        raise AssertionError(f"expected an aborted turn, but the root task is {self.root}")


async def never() -> None:
    """Waits for what nobody sends, as an external event that does not come."""
    await asyncio.get_running_loop().create_future()


def begin(code: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
    """Begin a task; where the answer is not kept, nothing but the loop holds it."""
    return asyncio.create_task(code, name=name)
