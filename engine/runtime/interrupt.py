"""How is code broken off that never returns, in a thread that is not ours to end? An exception raised from outside.

`PyThreadState_SetAsyncExc` is the only way there is, and has one slot a thread. The interpreter raises what is in it
when that thread next calls, returns from a call, or jumps backwards; code that is inside a C call notices after it.
This file is the only user of it, and `Watchdog` the only user of this file.
"""

import ctypes

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
_set_async_exc.restype = ctypes.c_int


class TurnOverran(BaseException):
    """Raised in the middle of orchestration code whose turn passed its time; no `except Exception` catches it."""


_TURN_OVERRAN = id(TurnOverran)  # its address; the call takes a reference of its own


class Turn:
    """One turn that is watched: whether it goes on, and whether it was broken off.

    Attributes:
        instance: Whose turn it is.
        execution_id: Of which execution.
        thread: The one it runs in.
        goes_on: True until its end; nothing is raised in its thread after that.
        still_in: Where it was when it was broken off, as "file:line"; None if it was not.
    """

    __slots__ = ("execution_id", "goes_on", "instance", "still_in", "thread")

    def __init__(self, instance: str, execution_id: int, thread: int) -> None:
        self.instance = instance
        self.execution_id = execution_id
        self.thread = thread
        self.goes_on = True
        self.still_in: str | None = None


def break_off(turn: Turn) -> None:
    """Raise TurnOverran in the turn's thread, if the turn goes on. From any other thread.

    The look and the deed are one: no bytecode between them gives the interpreter lock away (that happens on calls of
    Python functions, after calls of C functions, and on backward jumps), and the call itself keeps it. So once a turn
    has set `goes_on` to False, nothing more is raised in its thread.
    """
    thread = turn.thread
    if turn.goes_on:
        _set_async_exc(thread, _TURN_OVERRAN)


def absorb(turn: Turn) -> None:
    """In the turn's own thread, after its end, when it was broken off: raise what may be left in the slot, once.

    The slot is filled and raised, not emptied: Python 3.11 never forgets that it was to look at an emptied one.

    Raises:
        TurnOverran: Always. After it the slot is empty.
    """
    _set_async_exc(turn.thread, _TURN_OVERRAN)
    while True:  # ends at the first jump back at the latest
        pass
