"""What does code hold while work is under way? A durable future."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, NoReturn, TypeVar, cast

from engine.errors import ActivityError
from engine.model.failure import Failure
from engine.model.payload import Payload
from engine.replay.handles import NumberedFuture
from engine.replay.raised import Raises, kind_of

T = TypeVar("T")

Decode = Callable[[Payload], Any]
"""How a payload becomes the future's result; raises ConversionError."""


class DurableFuture(NumberedFuture[T], Generic[T]):
    """The result of something an orchestration asked for. Await it, as often as you like; `cancel()` takes it back.

    It is asked for when this object is made, not when it is awaited. Losing the last reference does nothing.

    Attributes:
        event_id: The event that recorded what was asked for; of a retried activity its first attempt.
        finished_at: The event that finished it, 0 while it is open: what decides who came first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int, event_id: int) -> None:
        super().__init__(loop=loop)
        self.number = number
        self.event_id = event_id
        self.finished_at = 0
        self._failure: tuple[type[ActivityError], Failure] | None = None
        # Durable failures are in the history; asyncio need not complain that nobody looked at one.
        self._log_traceback = False

    def __bool__(self) -> NoReturn:
        """A future is neither true nor false: `if ctx.wait_event(...)` without await would take the branch, always."""
        raise TypeError("expected a result, but this is the future of one: await it, or ask its done()")

    def __await__(self) -> Generator[Any, None, T]:
        """As asyncio's own, but the result is read through `result`, which may build a fresh exception."""
        if not self.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    __iter__ = __await__

    def result(self) -> T:
        """The result, or a fresh exception that says why there is none."""
        if self._failure is not None:
            kind, failure = self._failure
            raise kind(failure)
        return super().result()

    def succeed(self, value: T, finished_at: int) -> None:
        """The work was done."""
        self.finished_at = finished_at
        self.set_result(value)

    def fail(self, kind: type[ActivityError], failure: Failure, finished_at: int) -> None:
        """The work failed: whoever awaits gets `kind`, built anew each time."""
        self.finished_at = finished_at
        self._failure = (kind, failure)
        self.set_exception(kind(failure))
        self._log_traceback = False

    def break_off(self, error: BaseException, finished_at: int) -> None:
        """The work was done, but its result cannot be had."""
        self.finished_at = finished_at
        self.set_exception(error)
        self._log_traceback = False


class AskedFuture(DurableFuture[T]):
    """A future of one recorded ask, which is told when it is taken back and when its result is looked at.

    Attributes:
        heartbeat: What a failed activity said last of how far it was.
    """

    heartbeat: Payload | None = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        event_id: int,
        decode: Decode,
        *,
        on_cancel: Callable[[int], None],
        on_read: Callable[[int], None] | None = None,
        raises: Raises = (),
    ) -> None:
        super().__init__(loop, event_id, event_id)
        self._raises = raises
        self._decode = decode
        self._on_cancel = on_cancel
        self._on_read = on_read
        self._given_back = False

    def deliver(self, payload: Payload, finished_at: int) -> None:
        """The answer is there."""
        try:
            value = cast("T", self._decode(payload))
        except Exception as error:  # decoding runs the user's validators, and a refusal is the code's to handle
            self.break_off(error, finished_at)
        else:
            self.succeed(value, finished_at)

    def fail(self, kind: type[ActivityError], failure: Failure, finished_at: int) -> None:
        """The work failed: whoever awaits gets what was declared for this failure, else `kind`."""
        super().fail(kind_of(failure, self._raises, kind), failure, finished_at)

    def lend(self, payload: Payload, finished_at: int, on_read: Callable[[int], None]) -> None:
        """What was kept for it is there, until it is looked at: `on_read` is told then."""
        self._on_read = on_read
        self.deliver(payload, finished_at)

    def cancel(self, msg: Any | None = None) -> bool:
        """Take the work back. What was kept, and delivered but never looked at, goes back to its place.

        Returns:
            Whether it was still open.
        """
        if self.done():
            if self._on_read is not None and not self.cancelled():
                self._on_read = None
                self._given_back = True
                self._on_cancel(self.event_id)
            return False
        self._on_cancel(self.event_id)
        return super().cancel(msg)

    def result(self) -> T:
        """The result; a queue message or a kept event counts as read from here on."""
        if self._given_back:
            raise asyncio.CancelledError("the message went back to its queue")
        if self._on_read is not None and self.done() and not self.cancelled():
            on_read, self._on_read = self._on_read, None
            on_read(self.event_id)
        return super().result()
