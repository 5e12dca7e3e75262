"""What do all calls of the context share? Each is recorded as the next event, and a future waits for the answer."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from engine.converter import Converter
from engine.model.actions import AnyAction, CallActivity
from engine.model.payload import Payload
from engine.replay import arguments
from engine.replay.call_options import TrialOptions
from engine.replay.futures import AskedFuture, DurableFuture
from engine.replay.ledger import Ledger
from engine.replay.loop import DeterministicLoop
from engine.replay.raised import Raises, declared
from engine.replay.retry import ONCE, Attempts, AttemptsFuture


class Asking:
    """A context that asks: the books it writes into, the loop its futures live on, and how values become payloads."""

    def __init__(self, *, ledger: Ledger, loop: DeterministicLoop, converter: Converter) -> None:
        self._ledger = ledger
        self._loop = loop
        self._converter = converter

    def schedule_timer(self, delay: timedelta) -> DurableFuture[None]:
        """A future that is done `delay` from now, rounded up to milliseconds. `asyncio.sleep` is its coroutine.

        Raises:
            UsageError: `delay` is no timedelta, or ends after the year 9999.
        """
        self._loop.require_turn()
        event_id = self._ledger.create_timer(self._ledger.now_ms + arguments.milliseconds(delay))
        return self._asked(event_id, None, "a timer's nothing")

    def _tried(
        self,
        what: str,
        action: AnyAction,
        output: Any,
        options: TrialOptions,
        raises: Raises,
        on_cancel: Callable[[int], None] | None = None,
    ) -> AskedFuture[Any] | Attempts[Any]:
        """Ask once, or as often as the options say. `on_cancel` in place of taking the work back."""

        def call(heartbeat: Payload | None = None) -> AskedFuture[Any]:
            asked = action
            if heartbeat is not None and isinstance(action, CallActivity):
                asked = replace(action, heartbeat=heartbeat)
            return self._asked(self._ask(asked), output, f"output of {what}", raises=raises, on_cancel=on_cancel)

        if "raises" in options:
            raises = (*raises, *declared(options["raises"], what))
        retry = arguments.policy(options.get("retry"))
        timeout = arguments.duration(options.get("timeout"), "timeout")
        deadline = arguments.duration(options.get("deadline"), "deadline")
        if retry is None and timeout is None and deadline is None:
            return call()
        return Attempts(
            what,
            call=call,
            pause=self.schedule_timer,
            policy=retry or ONCE,
            timeout=timeout,
            deadline=deadline,
            chance=self._chance,
        )

    def _future_of(self, tried: AskedFuture[Any] | Attempts[Any]) -> DurableFuture[Any]:
        if isinstance(tried, DurableFuture):
            return tried
        return AttemptsFuture(self._loop, tried, lambda: self._ledger.last_event_id)

    def _ask(self, action: AnyAction) -> int:
        self._loop.require_turn()
        return self._ledger.ask(action)

    def _asked(
        self,
        event_id: int,
        expected: Any,
        what: str,
        *,
        on_read: Callable[[int], None] | None = None,
        raises: Raises = (),
        on_cancel: Callable[[int], None] | None = None,
    ) -> AskedFuture[Any]:
        def decode(payload: Payload) -> Any:
            return self._converter.decode(payload, expected, what)

        future: AskedFuture[Any] = AskedFuture(
            self._loop,
            event_id,
            decode,
            on_cancel=on_cancel or self._ledger.cancel,
            on_read=on_read,
            raises=raises,
        )
        self._ledger.futures[event_id] = future
        return future

    def _chance(self, failed_attempts: int) -> float:
        self._ledger.settle()  # recorded histories drew their share behind what the same callback took back
        derived = self._derived(f"jitter {self._ledger.last_event_id} {failed_attempts}")
        return int.from_bytes(derived[:6], "big") / 2**48

    def _derived(self, what: str) -> bytes:
        """16 bytes that depend on this execution of this life, and on `what`."""
        seed = f"{self._ledger.incarnation} {self._ledger.execution_id} {what}".encode()
        return hashlib.blake2b(seed, digest_size=16).digest()
