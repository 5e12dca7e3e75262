"""How do leases hold while activities run, and how does the worker learn that one is lost?

A provider that takes a lease back says so in the item's `revoked`, or at the next renewal.
"""

import asyncio
from collections.abc import Callable

import anyio

from engine.errors import LeaseLost, OwnershipLost, Refused
from engine.model.payload import Payload
from engine.observe import known_marks, logger, mark
from engine.runtime.calls import Call
from engine.runtime.doors import Tasks
from engine.runtime.options import RENEWALS_A_LEASE
from engine.runtime.reactions import repeated
from engine.runtime.shared import Shared

log = logger("activities")
known_marks("lease.details_refused", "lease.lost", "lease.revoked")

WATCHED_AFTER_MS = 20
"""An activity this old gets a task that waits for its revocation: 16 µs, a tenth of all that a short one costs."""


class Leases:
    """Keeps the leases of the calls it is given, until they are forgotten or lost.

    Args:
        tasks: Own what is on its way; an error that ends the engine reaches their owner.
        on_lost: Called at most once a call, when its lease is not ours any more.
    """

    def __init__(self, shared: Shared, tasks: Tasks, on_lost: Callable[[Call], None]) -> None:
        self._shared = shared
        self._tasks = tasks
        self._on_lost = on_lost
        self._every_ms = shared.options.activity_lease_ms // RENEWALS_A_LEASE
        # Every lease has the same length, so the order of insertion is the order of time.
        self._due_ms: dict[Call, int] = {}
        self._young: dict[Call, None] = {}
        self._watches: dict[Call, asyncio.Task[None]] = {}
        self._added = anyio.Event()

    def add(self, call: Call) -> None:
        """Keep the lease of `call` from now on."""
        self._young[call] = None
        self._renew_later(call)

    def forget(self, call: Call) -> None:
        """Keep it no more."""
        self._due_ms.pop(call, None)
        self.unwatch(call)

    def unwatch(self, call: Call) -> None:
        """Renew it still, but its code has ended: if it is taken away, the provider says so to whoever answers."""
        self._young.pop(call, None)
        if (watch := self._watches.pop(call, None)) is not None:
            watch.cancel()

    async def run(self) -> None:
        """Renew what is due and watch what is old enough, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._renew_due)
            group.start_soon(self._watch_old)

    def _renew_later(self, call: Call) -> None:
        self._due_ms[call] = self._shared.clock.boot_ms() + self._every_ms
        self._added.set()

    async def _renew_due(self) -> None:
        clock = self._shared.clock
        while True:
            if not self._due_ms:
                await self._next_added()
                continue
            call, due_ms = next(iter(self._due_ms.items()))
            if (wait_ms := due_ms - clock.boot_ms()) > 0:
                await clock.sleep_ms(wait_ms)
                continue
            del self._due_ms[call]
            self._renew_now(call)

    def send(self, call: Call) -> None:
        """Renew the lease now, for the call has something to say; it goes with what is on its way, or after that."""
        if self._due_ms.pop(call, None) is not None:
            self._renew_now(call)

    def _renew_now(self, call: Call) -> None:
        # Each on its own: one renewal that hangs must not cost the others their leases.
        self._tasks.spawn(f"renew {call.instance}/{call.activity_id}", self._renew(call))

    async def _renew(self, call: Call) -> None:
        if (details := call.news()) is not None:
            # It is over when the provider keeps the details, and the lease must not wait for that.
            self._renew_later(call)
            await self._keep(call, details)
        elif await self._renewed(call, None) and not call.settled:
            if call.has_sent or call.news() is None:
                self._renew_later(call)
            else:
                self._renew_now(call)  # its first details, and they came while this was on its way

    async def _keep(self, call: Call, details: Payload) -> None:
        call.is_sending = True
        try:
            if await self._renewed(call, details):
                call.kept, call.has_sent = details, True
        finally:
            call.is_sending = False

    async def _renewed(self, call: Call, details: Payload | None) -> bool:
        """Renew, however long that takes; False, and whoever needs to know is told, if there is no lease to renew."""
        shared, options = self._shared, self._shared.options
        try:
            await repeated(
                lambda: shared.provider.renew_work_item_lock(call.lock_token, options.activity_lease_ms, details),
                shared.clock,
                options,
                shared.counters,
            )
        except (Refused, OwnershipLost) as error:
            if details is not None and not isinstance(error, LeaseLost | OwnershipLost):
                mark("lease.details_refused")
                log.warning("details of a heartbeat are not kept: %s", error, extra=call.about.as_extra())
                return True
            if not call.settled:
                mark("lease.lost")
                shared.counters.leases_lost += 1
                log.info("%s", error, extra=call.about.as_extra())
                self._on_lost(call)
            return False
        shared.counters.leases_renewed += 1
        return True

    async def _watch_old(self) -> None:
        while True:
            if not self._young:
                await self._next_added()
            await self._shared.clock.sleep_ms(WATCHED_AFTER_MS)
            for call in self._young:
                name = f"watch {call.instance}/{call.activity_id}"
                self._watches[call] = self._tasks.spawn(name, self._watch(call))
            self._young.clear()

    async def _watch(self, call: Call) -> None:
        await call.revoked.wait()
        mark("lease.revoked")
        if not call.settled:
            self._on_lost(call)

    async def _next_added(self) -> None:
        self._added = anyio.Event() if self._added.is_set() else self._added
        await self._added.wait()
