"""How do leases hold while activities run? Each is renewed at a third of its length, which leaves time to repeat it."""

import asyncio
from collections.abc import Callable

from engine.errors import OwnershipLost, Refused
from engine.observe import known_marks, logger, mark
from engine.runtime.calls import Call
from engine.runtime.doors import Tasks
from engine.runtime.reactions import repeated
from engine.runtime.shared import Shared

log = logger("activities")
known_marks("lease.lost")

RENEWALS_A_LEASE = 3


class Renewals:
    """Renews the leases of the calls it is given, until they are forgotten or lost.

    Args:
        tasks: Own the renewals that are on their way; an error that ends the engine reaches their owner.
        on_lost: Called once when the provider says that a lease is not ours any more.
    """

    def __init__(self, shared: Shared, tasks: Tasks, on_lost: Callable[[Call], None]) -> None:
        self._shared = shared
        self._tasks = tasks
        self._on_lost = on_lost
        self._every_ms = max(1, shared.options.activity_lease_ms // RENEWALS_A_LEASE)
        # Every lease has the same length, so the order of insertion is the order of time.
        self._due_ms: dict[Call, int] = {}
        self._added = asyncio.Event()

    def add(self, call: Call) -> None:
        """Renew the lease of `call` from now on."""
        self._due_ms[call] = self._shared.clock.boot_ms() + self._every_ms
        self._added.set()

    def forget(self, call: Call) -> None:
        """Renew it no more."""
        self._due_ms.pop(call, None)

    async def run(self) -> None:
        """Renew what is due until cancelled."""
        clock = self._shared.clock
        while True:
            if not self._due_ms:
                self._added.clear()
                await self._added.wait()
            call, due_ms = next(iter(self._due_ms.items()))
            if (wait_ms := due_ms - clock.boot_ms()) > 0:
                await clock.sleep_ms(wait_ms)
                continue
            # Each on its own: one renewal that hangs must not cost the others their leases.
            del self._due_ms[call]
            self._tasks.spawn(f"renew {call.instance}/{call.activity_id}", self._renew(call))

    async def _renew(self, call: Call) -> None:
        shared, options = self._shared, self._shared.options
        try:
            await repeated(
                lambda: shared.provider.renew_work_item_lock(call.lock_token, options.activity_lease_ms),
                shared.clock,
                options,
                shared.counters,
            )
        except (Refused, OwnershipLost) as error:
            if not call.settled:
                mark("lease.lost")
                shared.counters.leases_lost += 1
                log.info("%s", error, extra=call.about.as_extra())
                self._on_lost(call)
            return
        shared.counters.leases_renewed += 1
        if not call.settled:
            self.add(call)
