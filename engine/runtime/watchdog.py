"""Who says which turn never ends? A thread that looks in now and then, and logs the code that does not come back.

A turn runs on the loop that everything of the node runs on, so `while True: pass` in one orchestration stops the
clients, the signals and every other instance, and does so again after each restart. From inside nobody can tell; this
thread can, once a turn, with the instance and the user's own lines.

It does not break the turn off. Raising an exception in another thread is possible and was tried: now and then it hits
the event loop between two steps and leaves it in pieces, which is worse than a stack and a `kill -9`.

What it measures is a step: how long the code goes on after one event, without coming back to its loop. A replay of a
long history is many steps. A normal turn pays two attribute writes and reads no clock.
"""

import sys
from collections.abc import Callable
from types import FrameType

from engine.clock import SystemClock
from engine.observe import Subject, known_marks, logger, mark
from engine.port import OrchestrationItem
from engine.replay import loop
from engine.replay.failures import OWN_PACKAGES
from engine.replay.turn import TurnOutcome
from engine.runtime.doors import Beat, this_thread

log = logger("watchdog")
known_marks("turn.overran")

LOOKS = 10  # in the time of a turn: one that passes it is found at most a tenth later
LOOK_MS_MAX = 1_000

LOOP = loop.__name__
CALLS_CODE = ("_drain", "_close")
"""The functions of the loop that call orchestration code."""


class Watchdog:
    """Watches the turns of one loop.

    Args:
        turn_ms_max: How long code may go on after one event before it is told.
    """

    def __init__(self, turn_ms_max: int) -> None:
        self._turn_ms_max = turn_ms_max
        self._look_ms = max(1, min(LOOK_MS_MAX, turn_ms_max // LOOKS))
        self._clock = SystemClock()  # also in a simulation: code that spins takes real time
        self._thread = 0
        self._item: OrchestrationItem | None = None
        self._told: OrchestrationItem | None = None
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
        """What `take` makes of the turn of `item`."""
        self._item = item
        try:
            return take()
        finally:
            self._item = None

    # In the watchdog's thread.

    def _look(self) -> int:
        """Look once; the milliseconds to the next look."""
        item = self._item
        stack = [] if item is None else _stack(self._thread)
        if item is None or not stack:
            self._step = None
            return self._look_ms
        now_ms = self._clock.boot_ms()
        if stack[-1] is not self._step:
            self._step, self._since_ms = stack[-1], now_ms
        elif now_ms - self._since_ms >= self._turn_ms_max and item is not self._told:
            self._told = item
            self._tell(item, stack[:-1])
        return self._look_ms

    def _tell(self, item: OrchestrationItem, stack: list[FrameType]) -> None:
        mark("turn.overran")
        lines = [_line(frame) for frame in stack if _is_users(frame)]
        log.error(
            "expected a turn of %s to end within %g s, but it is still in %s, and nothing else runs meanwhile: an "
            "orchestration must not loop or block; end this process, move that code to an activity, and start again; "
            "its stack, innermost first:\n  %s",
            item.instance,
            self._turn_ms_max / 1000,
            lines[0] if lines else "code of the engine",
            "\n  ".join(lines),
            extra=Subject(item.instance, item.execution_id).as_extra(),
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


def _is_users(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] not in OWN_PACKAGES


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
