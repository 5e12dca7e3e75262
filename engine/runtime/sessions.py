"""Whose sessions are this engine's, how many may be under way, and how do they stay its own?

All activities of an engine run under one name, so a session that it holds is held for each of them. It is renewed as
long as it is used: see `session_idle_timeout_ms`.
"""

from collections import Counter

from engine.errors import OwnershipLost, Refused
from engine.model.sessions import SessionClaim
from engine.observe import known_marks, logger, mark
from engine.runtime.options import RENEWALS_A_LEASE
from engine.runtime.reactions import repeated
from engine.runtime.shared import Shared

log = logger("activities")
known_marks("sessions.full")

FULL_POLL_MS = 100
"""How long one fetch waits while no session may be taken: by then one may."""


class Sessions:
    """Counts sessions whose activities are under way, and renews all that the engine holds."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._under_way = Counter[str]()
        self._may_hold = False  # since the last renewal that found one, or since an item of one was fetched
        options = shared.options
        owner = options.worker_node_id or f"engine-{shared.chance.token()}"
        self._claim = SessionClaim(owner, options.session_lock_timeout_ms)

    @property
    def under_way(self) -> int:
        """Sessions of which an activity runs or its completion is not durable."""
        return len(self._under_way)

    def claim(self) -> SessionClaim | None:
        """What the next fetch claims; None while as many sessions are under way as may be."""
        return self._claim if len(self._under_way) < self._shared.options.max_sessions else None

    def poll_ms(self, claim: SessionClaim | None) -> int:
        """How long a fetch that claims this may wait."""
        options = self._shared.options
        if claim is not None or options.max_sessions == 0:
            return options.poll_ms
        mark("sessions.full")
        return min(options.poll_ms, FULL_POLL_MS)

    def add(self, session_id: str | None) -> None:
        """An item was fetched."""
        if session_id is not None:
            self._under_way[session_id] += 1
            self._may_hold = True

    def forget(self, session_id: str | None) -> None:
        """An item is done with."""
        if session_id is not None:
            self._under_way[session_id] -= 1
            if not self._under_way[session_id]:
                del self._under_way[session_id]

    async def renew(self) -> None:
        """Renew what is held, until cancelled.

        Raises:
            ProviderError: One that ends the engine.
        """
        shared, options = self._shared, self._shared.options
        while True:
            await shared.clock.sleep_ms(options.session_lock_timeout_ms // RENEWALS_A_LEASE)
            if not self._may_hold:
                continue
            self._may_hold = False  # before the call: what is fetched meanwhile may not be in its answer
            try:
                renewed = await repeated(
                    lambda: shared.provider.renew_session_lock(
                        [self._claim.owner], options.session_lock_timeout_ms, options.session_idle_timeout_ms
                    ),
                    shared.clock,
                    options,
                    shared.counters,
                )
            except (Refused, OwnershipLost) as error:
                log.info("sessions may lapse: %s", error)
                renewed = 1
            self._may_hold = self._may_hold or renewed > 0 or bool(self._under_way)

    async def clean_up(self) -> None:
        """Let the provider forget what nobody needs, until cancelled. Raises as `renew` does."""
        shared, options = self._shared, self._shared.options
        while True:
            await shared.clock.sleep_ms(options.session_cleanup_interval_ms)
            try:
                await repeated(
                    lambda: shared.provider.cleanup_orphaned_sessions(options.session_idle_timeout_ms),
                    shared.clock,
                    options,
                    shared.counters,
                )
            except (Refused, OwnershipLost) as error:
                log.info("sessions are forgotten later: %s", error)
