"""Who breaks off a turn that never ends? A thread that looks in now and then, and interrupts what does not come back.

A turn runs on the loop that everything of the node runs on, so `while True: pass` in one orchestration stops the
clients, the signals and every other instance, and would again after each restart. From inside nobody can tell; this
thread can: it logs the instance with the user's own lines, and interrupts the turn, whose instance is then held.

The interruption is a signal, not an exception raised in another thread. That was tried: now and then it hits the event
loop between two steps and leaves it in pieces. A handler of a signal sees the frame it interrupts, and raises only in
one of the user's code in a turn. A call into C that signals do not end (not `time.sleep`, which they do) is broken off
when it returns. Code that catches everything and goes on is interrupted at every look, and stays; so does a turn on
another thread than the main one, which hears no signals. Then the log says what to do.

What it measures is a step: how long the code goes on after one event, without coming back to its loop. A replay of a
long history is many steps. It counts its looks and reads no clock: a process that stood still has not looped. A normal
turn pays two attribute writes.
"""

import sys
from collections.abc import Callable
from types import FrameType

from engine.observe import Subject, known_marks, logger, mark
from engine.port import OrchestrationItem
from engine.replay import loop
from engine.replay.asyncio_private import running_loop
from engine.replay.failures import OWN_PACKAGES
from engine.replay.loop import DeterministicLoop
from engine.replay.turn import TurnOutcome
from engine.runtime.doors import Beat, hear_interrupts, interrupt, this_thread

log = logger("watchdog")
known_marks("turn.overran")

LOOKS = 10  # in the time of a turn: one that passes it is found at most a tenth later
LOOK_MS_MAX = 1_000
BROKEN_OFF = "it is broken off and held. An orchestration must not loop or block: move that code to an activity"
STAYS = (
    "nothing else runs meanwhile, and nothing can break it off. An orchestration must not loop or block: end this "
    "process, move that code to an activity, and start again"
)

LOOP = loop.__name__
CALLS_CODE = ("_drain", "_close")
"""The functions of the loop that call orchestration code."""

_overrun: dict[int, tuple[FrameType, float]] = {}
"""The step that is to be broken off, and the seconds it was allowed, by thread."""


def _break_off(_signal: int, frame: FrameType | None) -> None:
    """In the thread of the turn: what is raised here is raised in `frame`. In a frame of others, the next look may do.

    The step may have ended since the look, and another one begun.
    """
    step, allowed_s = _overrun.pop(this_thread(), (None, 0.0))
    turn = running_loop()
    stack = _stack(frame)
    if frame is not None and stack and stack[-1] is step and isinstance(turn, DeterministicLoop) and _is_users(frame):
        turn.refuse(f"{allowed_s:g} s after one event without coming to rest", "an activity for what takes long")


class Watchdog:
    """Watches the turns of one loop.

    Args:
        turn_ms_max: How long code may go on after one event before it is told and broken off.
    """

    def __init__(self, turn_ms_max: int) -> None:
        self._turn_ms_max = turn_ms_max
        self._look_ms = max(1, min(LOOK_MS_MAX, turn_ms_max // LOOKS))
        self._looks_max = max(1, turn_ms_max // self._look_ms)
        self._thread = 0
        self._is_heard = False
        self._item: OrchestrationItem | None = None
        self._told: FrameType | None = None
        self._step: FrameType | None = None
        self._looks = 0
        self._beat = Beat("turnlog-watchdog", self._look)

    def start(self) -> None:
        """Begin to watch the turns that this thread takes."""
        self._thread = this_thread()
        self._is_heard = hear_interrupts(_break_off)
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
        stack = _stack(_frame_of(self._thread))
        if not stack:
            self._step = None
            return self._look_ms
        if stack[-1] is not self._step:
            self._step, self._looks = stack[-1], 0
        self._looks += 1
        if self._looks > self._looks_max:
            if self._told is not self._step:
                self._told = self._step
                self._tell(self._item, stack[:-1])
            if self._is_heard:
                _overrun[self._thread] = stack[-1], self._turn_ms_max / 1000
                interrupt(self._thread)
        return self._look_ms

    def _tell(self, item: OrchestrationItem | None, stack: list[FrameType]) -> None:
        mark("turn.overran")
        lines = [_line(frame) for frame in stack if _is_users(frame)]
        log.error(
            "expected %s to end within %g s, but it is still in %s; %s. Its stack, innermost first:\n  %s",
            "code that is put away" if item is None else f"a turn of {item.instance}",
            self._turn_ms_max / 1000,
            lines[0] if lines else "code of the engine",
            BROKEN_OFF if self._is_heard else STAYS,
            "\n  ".join(lines),
            extra=None if item is None else Subject(item.instance, item.execution_id).as_extra(),
        )


def _frame_of(thread: int) -> FrameType | None:
    return sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # documented, and has no other name


def _stack(frame: FrameType | None) -> list[FrameType]:
    """From `frame`, the frames of orchestration code, innermost first, and the loop's that called it; empty outside."""
    stack: list[FrameType] = []
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
