"""What may orchestration code not do on its loop, and what does it use instead?

Every public method of `asyncio.AbstractEventLoop` that the deterministic loop does not implement is refused with a
sentence. The methods come from asyncio's own class, so that one added in a later Python is refused as well.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol, TypeVar

from engine.errors import UsageError


class OutsideRefused(UsageError):
    """Orchestration code reached outside its history: the turn ends, whatever the code makes of this exception."""


ACTIVITY = "call an activity"
NODE = "nothing: the loop of an orchestration is driven by its turns"
FAILURES = "let the exception end the orchestration"

INSTEAD: dict[str, str] = {
    "run_in_executor": "an activity: `await ctx.schedule_activity(f, input)`",
    "to_thread": "an activity: `await ctx.schedule_activity(f, input)`",
    "set_default_executor": ACTIVITY,
    "shutdown_default_executor": ACTIVITY,
    "call_soon_threadsafe": "an external event: `client.raise_event(...)` outside, `await ctx.wait_event(name)` here",
    "as_completed": "`ctx.as_completed`: asyncio puts the coroutines in a set, whose order changes with every replay",
    "asyncio.wait over gather": "`asyncio.wait` over tasks: a set of gathers has another order on every replay",
    "create_task(eager_start=True)": "`create_task` without `eager_start`: it is not on every Python we replay on",
    "set_task_factory": "`asyncio.create_task`: tasks are numbered by the loop",
    "run_forever": NODE,
    "run_until_complete": "`await`",
    "stop": NODE,
    "close": NODE,
    "set_debug": NODE,
    "shutdown_asyncgens": "nothing: generators are closed when the orchestration ends",
    "set_exception_handler": FAILURES,
    "get_exception_handler": FAILURES,
    "default_exception_handler": FAILURES,
    "add_signal_handler": "`await ctx.wait_event(name)`: signals belong to the node",
    "remove_signal_handler": "`await ctx.wait_event(name)`: signals belong to the node",
    **dict.fromkeys(
        [
            "add_reader", "remove_reader", "add_writer", "remove_writer",
            "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe", "create_connection",
            "create_datagram_endpoint", "create_server", "create_unix_connection", "create_unix_server",
            "getaddrinfo", "getnameinfo", "sendfile", "start_tls", "subprocess_exec", "subprocess_shell",
            "sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
            "sock_sendall", "sock_sendfile", "sock_sendto",
        ],
        "an activity that does the I/O",
    ),
}  # fmt: skip
"""What to use instead, by the name of what is refused."""


def refusal(name: str, instead: str | None = None) -> OutsideRefused:
    """The exception that says both halves; without `instead`, what `INSTEAD` says."""
    return OutsideRefused(
        f"expected an orchestration that touches only its history, but it used {name}; "
        f"use {instead or INSTEAD.get(name, 'an activity')}"
    )


class Refusing(Protocol):
    """A loop that can end its turn over a call."""

    def refuse(self, name: str, instead: str | None = None) -> NoReturn:
        """Raise `refusal(name, instead)`, and remember it as what ended the turn."""
        ...


AnyLoop = TypeVar("AnyLoop", bound=type)


def refusing_the_rest(loop_class: AnyLoop) -> AnyLoop:
    """Give a loop class a refusing method for every public one of `AbstractEventLoop` it lacks."""
    for name in _abstract_methods():
        if name not in vars(loop_class):
            setattr(loop_class, name, _refusing_method(name))
    return loop_class


def _abstract_methods() -> Iterator[str]:
    for name, value in vars(asyncio.AbstractEventLoop).items():
        if callable(value) and not name.startswith("_"):
            yield name


def _refusing_method(name: str) -> Callable[..., NoReturn]:
    def refused(self: Refusing, *_args: Any, **_options: Any) -> NoReturn:
        self.refuse(name)

    refused.__name__ = refused.__qualname__ = name
    refused.__doc__ = f"Refused; use {INSTEAD.get(name, 'an activity')}."
    return refused
