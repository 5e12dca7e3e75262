"""What can only the provider count? Depths of the queues, and the instances that have not ended."""

from typing import Any

import anyio

from engine.clock import Clock
from engine.errors import ProviderError
from engine.model.status import TERMINAL, Status
from engine.model.views import SystemMetrics
from engine.observe import logger
from engine.port import Provider, ProviderAdmin

log = logger("provider")

GAUGES = ("instances_active", "instances_held", "messages_waiting", "timers_waiting", "work_items_waiting")


class Provided:
    """Asks the provider, if it can be asked, whenever somebody wants to know.

    Args:
        age_ms_max: How old an answer may be that takes a look at every instance.
    """

    def __init__(self, provider: Provider, clock: Clock, age_ms_max: int) -> None:
        self._admin = provider if isinstance(provider, ProviderAdmin) else None
        self._clock = clock
        self._age_ms_max = age_ms_max
        self._counted: SystemMetrics | None = None
        self._counted_at_ms = 0
        self._counting = anyio.Lock()

    async def gauges(self) -> dict[str, Any]:
        """All of `GAUGES`; None each if the provider does not say."""
        if self._admin is None:
            return dict.fromkeys(GAUGES)
        try:
            depths = await self._admin.get_queue_depths()
            by_status = (await self._instances(self._admin)).by_status
        except ProviderError as error:
            log.info("expected the provider to count what waits, but %s", error)
            return dict.fromkeys(GAUGES)
        return {
            "instances_active": sum(count for status, count in by_status.items() if status not in TERMINAL),
            "instances_held": by_status.get(Status.HELD, 0),
            "messages_waiting": depths.orchestrator_queue,
            "timers_waiting": depths.timer_queue,
            "work_items_waiting": depths.worker_queue,
        }

    async def _instances(self, admin: ProviderAdmin) -> SystemMetrics:
        async with self._counting:  # who asks meanwhile gets the same answer
            now_ms = self._clock.boot_ms()
            if self._counted is None or now_ms - self._counted_at_ms >= self._age_ms_max:
                self._counted = await admin.get_system_metrics()
                self._counted_at_ms = now_ms
            return self._counted
