"""What refuses the outside where orchestration code does not go through its loop? Two more nets.

The loop is the first net (`refusals`). `install_audit_net` puts up the second, for good and for the whole process: the
node does it. `ProfileNet` is the third; it costs every call of a turn, so only `replay_always` uses it. What each one
catches is in `AUDITED` and `PROFILED`, and in a table in docs/determinism.md; neither promises more.

Both know that a turn is on by the loop that runs in this thread: there is no flag to set, forget or leak.
"""

import gc
import sys
from contextlib import suppress
from inspect import currentframe
from types import FrameType, TracebackType
from typing import Any

from engine.replay.asyncio_private import running_loop
from engine.replay.loop import DeterministicLoop

AUDITED: dict[str, str] = {
    "open": "opening a file",
    "os.": "an operating-system call",
    "socket.": "a socket",
    "subprocess.": "a subprocess",
    "shutil.": "a change of files",
    "tempfile.": "a temporary file",
    "sqlite3.connect": "a database",
    "urllib.Request": "an HTTP request",
    "_thread.start_new_thread": "starting a thread",
    "_thread.start_joinable_thread": "starting a thread",
    "time.sleep": "time.sleep",
}
"""What the audit net refuses in a turn, by audit event; a name that ends in a dot stands for all that begin with it.

Threads raise audit events from Python 3.12 on, `time.sleep` from 3.13.
"""

PROFILED: dict[str, str] = {
    **{
        f"time.{name}": "ctx.utc_now(), asyncio.sleep()"
        for name in (
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
            "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "localtime",
            "gmtime", "ctime", "sleep",
        )
    },
    **dict.fromkeys(["datetime.now", "datetime.utcnow", "datetime.today", "date.today"], "ctx.utc_now()"),
    **dict.fromkeys(["_thread.start_new_thread", "_thread.start_joinable_thread"], "an activity"),
    **dict.fromkeys(["posix.urandom", "nt.urandom"], "ctx.new_guid()"),
    **dict.fromkeys(["Random.random", "Random.getrandbits"], "random.Random(ctx.new_guid().int)"),
}  # fmt: skip
"""What the profile net refuses in a turn, by the name of the built-in, and what to use instead.

Of `Random`, only the one object behind the functions of the module `random`: one with a seed of its own is welcome.
"""

EXEMPT = frozenset(
    {
        "_frozen_importlib", "_frozen_importlib_external",  # called so until importlib itself is imported
        "importlib._bootstrap", "importlib._bootstrap_external",
        "linecache", "logging", "traceback",
    }
)  # fmt: skip
"""Code in whose name the outside may be touched in a turn: nothing of it comes back to the orchestration.

Imports read files, a traceback reads its source lines, a log record takes the time and may roll its file over.
"""

_EXACT = {name: what for name, what in AUDITED.items() if not name.endswith(".")}
_FAMILIES = {name[:-1]: what for name, what in AUDITED.items() if name.endswith(".")}


class _Collector:
    """Whether the collector runs: finalizers, and what others have in `gc.callbacks`, are not the turn's code."""

    def __init__(self) -> None:
        self.running = False

    def watch(self) -> None:
        """Be told first when it starts and last when it stops."""
        for callback in (self._started, self._stopped):
            with suppress(ValueError):
                gc.callbacks.remove(callback)
        gc.callbacks.insert(0, self._started)
        gc.callbacks.append(self._stopped)

    def _started(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self.running = True

    def _stopped(self, phase: str, _: dict[str, int]) -> None:
        if phase == "stop":
            self.running = False


_collector = _Collector()
_audit_hooks: list[object] = []  # one or none: the interpreter gives no list of its hooks


def install_audit_net() -> None:
    """From now on, in every thread of this process, a turn that raises an event of `AUDITED` ends with OutsideRefused.

    It cannot be taken down again; a second call does nothing.
    """
    if not _audit_hooks:
        _collector.watch()
        _audit_hooks.append(_audit_hook)
        sys.addaudithook(_audit_hook)


def _audit_hook(event: str, _: tuple[Any, ...]) -> None:
    what = _EXACT.get(event) or _FAMILIES.get(event.partition(".")[0])
    if what is not None:
        loop = running_loop()
        if isinstance(loop, DeterministicLoop) and not _collector.running and not _exempt(currentframe()):
            loop.refuse(f"{what} ({event})")


class ProfileNet:
    """While it is entered, a turn of this thread that calls what is in `PROFILED` ends with OutsideRefused.

    It takes the place of another profile function meanwhile. After a refusal it watches no more: the turn is over.
    """

    def __enter__(self) -> None:
        _collector.watch()
        self._previous = sys.getprofile()
        sys.setprofile(_profile_hook)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sys.setprofile(self._previous)


def _profile_hook(frame: FrameType, event: str, called: Any) -> None:
    if event != "c_call" or called.__name__ not in _PROFILED_NAMES:
        return
    module = getattr(called, "__module__", None)
    name = f"{module}.{called.__qualname__}" if module else called.__qualname__
    instead = PROFILED.get(name)
    loop = running_loop()
    if instead is None or not isinstance(loop, DeterministicLoop):
        return
    if name.startswith("Random.") and called.__self__ is not sys.modules["random"].random.__self__:
        return
    if not _collector.running and not _exempt(frame):
        loop.refuse(name, instead)


_PROFILED_NAMES = frozenset(name.rpartition(".")[2] for name in PROFILED)


def _exempt(frame: FrameType | None) -> bool:
    """Whether, of the code between this frame and the loop, some acts in a name of `EXEMPT`."""
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in EXEMPT:
            return True
        if module == DeterministicLoop.__module__:
            return False
        frame = frame.f_back
    return False
