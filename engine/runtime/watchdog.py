"""What becomes of a turn that never ends? It is told by its stack, broken off, and its instance is held.

A turn runs on the loop that everything of the node runs on, so `while True: pass` in one orchestration would stop the
clients, the signals and every other instance, and again after each restart. One daemon thread looks in now and then.
What it measures is a step: how long the code goes on after one event, without coming back to its loop. A replay of a
long history is many steps. A normal turn reads no clock.

It raises only while the innermost frame of the thread is the user's code under the deterministic loop: the engine's
own code is never cut in the middle, nor are imports and logging, which hold locks. Code inside a C call (`time.sleep`,
a socket) is told at once and broken off when that call returns. Code that catches even BaseException in a loop is hit
again and again, until it is hit outside its `try`; how long that takes is luck, and code that never leaves its `try`
stays. A normal turn pays 0.2 µs, measured.
"""

import sys
from collections.abc import Callable
from types import FrameType

from engine.clock import SystemClock
from engine.model.failure import Category, Failure
from engine.observe import Subject, known_marks, logger, mark
from engine.port import OrchestrationItem
from engine.replay import loop
from engine.replay.failures import OWN_PACKAGES
from engine.replay.nets import EXEMPT
from engine.replay.turn import Committed, Held, TurnOutcome
from engine.runtime.doors import Beat, this_thread
from engine.runtime.interrupt import Turn, TurnOverran, absorb, break_off

log = logger("watchdog")
known_marks("turn.overran")

LOOKS = 10  # in the time of a turn: one that passes it is found at most a tenth later
LOOK_MS_MAX = 1_000
EAGER_S = 0.000_02
BURST = 1_000
BETWEEN_BURSTS_MS = 50
"""Code that catches what is raised is hit again until it is hit outside its `try`. Threads change places every 5 ms at
best, so for a burst they do so more often."""

LOOP = loop.__name__
CALLS_CODE = ("_drain", "_close")
"""The functions of the loop that call orchestration code. What that raises ends there."""
HOLD_LOCKS = EXEMPT | {"threading"}
"""Code that is not cut in the middle, nor what it calls."""


class Watchdog:
    """Watches the turns of one loop.

    Args:
        turn_ms_max: How long code may go on after one event.
    """

    def __init__(self, turn_ms_max: int) -> None:
        self._turn_ms_max = turn_ms_max
        self._look_ms = max(1, min(LOOK_MS_MAX, turn_ms_max // LOOKS))
        self._clock = SystemClock()  # also in a simulation: code that spins takes real time
        self._thread = 0
        self._turn: Turn | None = None
        self._step: FrameType | None = None
        self._since_ms = 0
        self._beat = Beat("turnlog-watchdog", self._look)

    def start(self) -> None:
        """Begin to watch the turns that this thread takes."""
        self._thread = this_thread()
        self._beat.start()

    def close(self) -> None:
        """Watch no more. No turn may be under way."""
        self._beat.close()

    def watched(self, item: OrchestrationItem, take: Callable[[], TurnOutcome]) -> TurnOutcome:
        """What `take` makes of the turn of `item`; `Held` if it had to be broken off, whatever it returns."""
        turn = self._turn = Turn(item.instance, item.execution_id, self._thread)
        outcome: TurnOutcome | None = None
        try:
            outcome = take()
        except TurnOverran:
            pass  # `still_in` says so
        finally:
            turn.goes_on = False
            self._turn = None
            if turn.still_in is not None:
                try:  # noqa: SIM105  # the call of `suppress` would be where it is raised
                    absorb(turn)
                except TurnOverran:
                    pass
        if outcome is not None and turn.still_in is None:
            return outcome
        # Code that caught the exception may have come to rest: what it did after that would never happen again.
        if isinstance(outcome, Committed) and outcome.live is not None:
            outcome.live.put_away()
        return Held(Failure(category=Category.LIMIT, type="LimitPassed", message=self._says(turn), retryable=False))

    def _says(self, turn: Turn) -> str:
        return (
            f"expected a turn to end within {self._turn_ms_max / 1000:g} s, but it was still in {turn.still_in}; "
            "an orchestration must not loop or block: move it to an activity"
        )

    # In the watchdog's thread.

    def _look(self) -> int:
        """Look once; the milliseconds to the next look."""
        turn = self._turn
        stack = [] if turn is None else _stack(turn.thread)
        if turn is None or not stack:
            self._step = None
            return self._look_ms
        step = stack[-1]
        if turn.still_in is not None:
            _burst(turn)
            return BETWEEN_BURSTS_MS
        now_ms = self._clock.boot_ms()
        if step is not self._step:
            self._step, self._since_ms = step, now_ms
        elif now_ms - self._since_ms >= self._turn_ms_max:
            self._tell(turn, stack[:-1])
            return 0
        return self._look_ms

    def _tell(self, turn: Turn, stack: list[FrameType]) -> None:
        mark("turn.overran")
        lines = [_line(frame) for frame in stack if _is_users(frame)]
        turn.still_in = lines[0] if lines else "code of its own"
        log.error(
            "%s; its stack, innermost first:\n  %s",
            self._says(turn),
            "\n  ".join(lines),
            extra=Subject(turn.instance, turn.execution_id).as_extra(),
        )


def _stack(thread: int) -> list[FrameType]:
    """The frames of orchestration code in `thread`, innermost first, and the loop's that called it; empty outside."""
    stack: list[FrameType] = []
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # documented, and has no other name
    while frame is not None:
        stack.append(frame)
        if _module(frame) == LOOP and frame.f_code.co_name in CALLS_CODE:
            return stack
        frame = frame.f_back
    return []


def _burst(turn: Turn) -> None:
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(EAGER_S)
    try:
        for _ in range(BURST):
            if not turn.goes_on:
                break
            _break_off_in_user_code(turn)
    finally:
        sys.setswitchinterval(usual_s)


def _break_off_in_user_code(turn: Turn) -> None:
    stack = _stack(turn.thread)
    if len(stack) > 1 and _is_users(stack[0]) and not any(_module(frame) in HOLD_LOCKS for frame in stack):
        break_off(turn)


def _is_users(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] not in OWN_PACKAGES


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
