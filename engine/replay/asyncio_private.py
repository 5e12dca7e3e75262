"""Which private names of asyncio does the loop need, and why? All of them are here, typed, and nowhere else.

The first four are named in asyncio's documentation or its `__all__` as what a loop written elsewhere may use; uvloop
uses them too. The attributes below have no public form. `tests/replay/test_loop_asyncio_private.py` fails on the Python
that takes one of them away.
"""

import asyncio
import ctypes
from asyncio.events import _get_running_loop, _set_running_loop
from asyncio.tasks import _enter_task, _leave_task, _unregister_task, _wait  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]  # typeshed leaves it out
from types import CodeType
from typing import Any

running_loop = _get_running_loop
"""The loop that runs in this thread, or None; unlike `get_running_loop` it does not raise."""

set_running_loop = _set_running_loop
"""Makes a loop the one that runs in this thread. A turn runs inside the host's loop, so it is set and put back."""

enter_task = _enter_task
"""Makes a task current for its loop."""

leave_task = _leave_task
"""The reverse. From 3.14 a thread has one current task, so the host's has to leave while a turn runs."""

unregister_task = _unregister_task
"""Takes a task out of asyncio's process-wide WeakSet: numbered hashes of many instances would collide there."""


WAIT_CODE: CodeType = _wait.__code__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # as above
"""Of `asyncio.wait`, once its set is made: the loop looks there at what is waited for, as `fs`."""


def silence_pending(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from logging when the task is dropped unfinished, as every put-away does."""
    task._log_destroy_pending = False  # pyright: ignore[reportAttributeAccessIssue]  # typeshed leaves it out


def failure_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a finished task raised, without marking it as retrieved; None if it returned or was cancelled."""
    return task._exception


def retrieved(task: asyncio.Task[Any]) -> bool:
    """Whether somebody has looked at what the task raised."""
    return not task._log_traceback


def mark_retrieved(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from logging an exception nobody looked at when the task is collected, whenever that is."""
    task._log_traceback = False


def keep_for_good(leaked: object) -> None:
    """Keep something from ever being freed, at the end of the process too.

    A coroutine that cannot be closed would be closed once more when it is freed: in somebody's turn, or for ever while
    the process ends and takes the modules, and any list of theirs, apart.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(leaked))
