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
long history is many steps. Looks are counted and no clock is read: a process that stood still has not looped. The
thread itself looks at nothing but which turn is on; one that it meets twice it interrupts, and that thread looks at its
own frames. From another thread CPython 3.11 was seen to give what is no frame at all: that is left for a turn on a
thread that hears no signals. A normal turn pays two attribute writes and one read.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from engine.observe import Subject, known_marks, logger, mark
from engine.port import OrchestrationItem
from engine.replay import loop
from engine.replay.asyncio_private import running_loop
from engine.replay.failures import OWN_PACKAGES
from engine.replay.loop import DeterministicLoop
from engine.runtime.doors import Beat, hear_interrupts, interrupt, this_thread

T = TypeVar("T")

log = logger("watchdog")
known_marks("turn.overran")

LOOKS = 10  # in the time of a turn: one that passes it is found at most two tenths later
LOOK_MS_MAX = 1_000
BROKEN_OFF = "it is broken off and held. An orchestration must not loop or block: move that code to an activity"
STAYS = (
    "nothing else runs meanwhile, and nothing can break it off. An orchestration must not loop or block: end this "
    "process, move that code to an activity, and start again"
)

LOOP = loop.__name__
CALLS_CODE = ("_drain", "_close")
"""The functions of the loop that call orchestration code."""

_asking: dict[int, "Watchdog"] = {}
"""Who interrupts a thread."""


def _interrupted(_signal: int, frame: FrameType | None) -> None:
    """In the turn's thread. What is raised here is raised in `frame`; if that is of others, the next look may do."""
    watchdog = _asking.pop(this_thread(), None)
    turn = running_loop()
    if watchdog is not None and watchdog.overran(frame) and isinstance(turn, DeterministicLoop) and _is_users(frame):
        allowed = f"{watchdog.turn_ms_max / 1000:g} s after one event without coming to rest"
        turn.refuse(allowed, "an activity for what takes long")


class Watchdog:
    """Watches the turns of one loop.

    Args:
        turn_ms_max: How long code may go on after one event before it is told and broken off.
    """

    def __init__(self, turn_ms_max: int) -> None:
        self.turn_ms_max = turn_ms_max
        self._look_ms = max(1, min(LOOK_MS_MAX, turn_ms_max // LOOKS))
        self._looks_max = max(1, turn_ms_max // self._look_ms)
        self._thread = 0
        self._is_heard = False
        self._turn: object = None
        self._met: object = None
        self._step: FrameType | None = None
        self._looks = 0
        self._report: tuple[OrchestrationItem | None, list[str]] | None = None
        self._beat = Beat("turnlog-watchdog", self._look)

    def start(self) -> None:
        """Begin to watch the turns that this thread takes."""
        self._thread = this_thread()
        self._is_heard = hear_interrupts(_interrupted)
        self._beat.start()

    def close(self) -> None:
        """Watch no more. No turn may be under way."""
        self._beat.close()
        self._tell()

    def watched(self, item: OrchestrationItem | None, take: Callable[[], T]) -> T:
        """What `take` makes of the turn of `item`; of code that it puts away, if there is none."""
        self._turn = take if item is None else item
        try:
            return take()
        finally:
            self._turn = None
            if self._step is not None:
                self._step = None  # it holds all of the code's frames

    def overran(self, frame: FrameType | None) -> bool:
        """Whether the step that `frame` is in has been on for too many looks, this one included. Tells it once."""
        stack = _stack(frame)
        if not stack:
            self._step = None
            return False
        if stack[-1] is not self._step:
            self._step, self._looks = stack[-1], 0
        self._looks += 1
        if self._looks == self._looks_max:
            item = self._turn if isinstance(self._turn, OrchestrationItem) else None
            # Not logged here: this may be in the middle of writing to the very stream that the log goes to.
            self._report = item, [_line(one) for one in stack[:-1] if _is_users(one)]
        return self._looks >= self._looks_max

    # In the watchdog's thread.

    def _look(self) -> int:
        """Look once; the milliseconds to the next look."""
        self._tell()
        turn = self._turn
        if turn is not None and turn is self._met:
            if self._is_heard:
                _asking[self._thread] = self
                interrupt(self._thread)
            else:
                self.overran(_frame_of(self._thread))
        self._met = turn
        return self._look_ms

    def _tell(self) -> None:
        report, self._report = self._report, None
        if report is None:
            return
        item, lines = report
        mark("turn.overran")
        log.error(
            "expected %s to end within %g s, but it is still in %s; %s. Its stack, innermost first:\n  %s",
            "code that is put away" if item is None else f"a turn of {item.instance}",
            self.turn_ms_max / 1000,
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


def _is_users(frame: FrameType | None) -> bool:
    return frame is not None and _module(frame).partition(".")[0] not in OWN_PACKAGES


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
