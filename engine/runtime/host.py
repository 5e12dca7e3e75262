"""How is an engine started, watched and stopped?

running ── request_stop ──▶ draining ── request_stop ──▶ stopping ──▶ stopped
   │                           └── all ended, or drain_ms ──▲
   └── an error that ends the engine ───────────────────────┘
"""

import asyncio
import enum
from types import TracebackType
from typing import Any, Self

import anyio
from msgspec import structs

from engine.clock import Clock, SystemClock
from engine.converter import Converter, JsonConverter
from engine.errors import EngineError, UsageError
from engine.metrics import Metrics
from engine.observe import Counters, logger
from engine.port import Provider
from engine.registry import Registry
from engine.runtime.activities import ActivityDispatcher
from engine.runtime.doors import Chance, Tasks, settled_within
from engine.runtime.options import EngineOptions
from engine.runtime.orchestrations import OrchestrationDispatcher
from engine.runtime.provided import Provided
from engine.runtime.shared import Shared
from engine.runtime.tally import Tally

log = logger("engine")


class Stage(enum.Enum):
    """How far an engine is. It only moves down this list."""

    NEW = "new"
    RUNNING = "running"
    DRAINING = "draining"  # nothing new is begun; what was begun ends and becomes durable
    STOPPING = "stopping"  # what was begun is interrupted
    STOPPED = "stopped"


class Engine:
    """Runs the registered orchestrations and activities over a provider.

        async with Engine(provider, Registry(orchestrations=[greet_all], activities=[greet])):
            ...

    Inside the block the engine works in the background; leaving the block drains it. An error that ends the engine
    cancels the block and is raised from it. Use `run` for a process that does nothing else.

    Args:
        provider: Storage and queues. The engine does not close it.
        registry: What can be run here; messages for anything else wait for an engine that knows it.
        options: Numbers.
        converter: Between values and payloads; the same for every engine and client of an application.
        clock: Of waits inside the engine; instants come from the provider.
        chance: Of ids.

    Attributes:
        counters: What it has done since it was made.
    """

    def __init__(
        self,
        provider: Provider,
        registry: Registry,
        options: EngineOptions | None = None,
        *,
        converter: Converter | None = None,
        clock: Clock | None = None,
        chance: Chance | None = None,
    ) -> None:
        self.counters = Counters()
        self._shared = Shared(
            provider=provider,
            registry=registry,
            converter=converter or JsonConverter(),
            options=options or EngineOptions(),
            clock=clock or SystemClock(),
            chance=chance or Chance(),
            counters=self.counters,
            tally=Tally(self.counters, registry),
            fail=self._fail,
        )
        self._provided = Provided(provider, self._shared.clock, self._shared.options.gauge_age_ms_max)
        self._orchestrations = OrchestrationDispatcher(self._shared)
        self._activities = ActivityDispatcher(self._shared)
        self._tasks = Tasks("turnlog.engine", self._fail)
        self._scope = anyio.CancelScope()
        self._stage = Stage.NEW
        self._moved = asyncio.Event()
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    @property
    def stage(self) -> Stage:
        """How far it is."""
        return self._stage

    async def metrics(self) -> Metrics:
        """All counters and gauges, at any stage.

        Those for which the provider has to look at every instance are as old as `gauge_age_ms_max` lets them be.
        """
        provided = await self._provided.gauges()
        here: dict[str, Any] = structs.asdict(self.counters) | self.gauges()
        tally = self._shared.tally
        return Metrics(**here, **provided, activities=tally.activities(), orchestrations=tally.orchestrations())

    def gauges(self) -> dict[str, int]:
        """What is in its hands now, by name; `metrics` has all of it."""
        return {
            "activities_running": self._activities.running,
            "live_bytes_estimate": self._orchestrations.live_bytes_estimate,
            "live_executions": self._orchestrations.live_executions,
            "sessions_under_way": self._activities.sessions.under_way,
            "turns_in_flight": self._orchestrations.in_flight,
            "work_items_leased": self._activities.leased,
        }

    async def run(self) -> None:
        """Work until `request_stop`, then return when everything has ended.

        Raises:
            ProviderError: What ended the engine.
            UsageError: It was started before.
        """
        async with self:
            await self._moved.wait()

    def request_stop(self) -> None:
        """First call: drain. Second call: stop at once. Further calls, and calls before the start, do nothing.

        Call it on the loop: `loop.add_signal_handler(SIGINT, engine.request_stop)`.
        """
        if self._stage is Stage.RUNNING:
            self._move(Stage.DRAINING)
        elif self._stage is Stage.DRAINING:
            self._stop_at_once()

    async def __aenter__(self) -> Self:
        if self._stage is not Stage.NEW:
            raise UsageError(f"expected an engine that was never started, but this one is {self._stage.value}")
        self._scope.__enter__()
        self._move(Stage.RUNNING)
        pins = self._shared.options.supported_pins
        log.info("takes executions that were begun by the rules %s to %s", pins.first, pins.last)
        self._moved.clear()
        self._tasks.spawn("serve", self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Only a failure cancels the scope, and then the failure is what its user sees.
        self._scope.__exit__(kind, error, trace)
        if self._stage is Stage.RUNNING:
            self._move(Stage.DRAINING)
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            self._stop_at_once()
            with anyio.CancelScope(shield=True):
                await self._ended.wait()
            raise
        if self._failure is not None:
            raise self._failure

    def _move(self, stage: Stage) -> None:
        self._stage = stage
        self._moved.set()
        log.info("%s", stage.value)

    def _stop_at_once(self) -> None:
        if self._stage in {Stage.RUNNING, Stage.DRAINING}:
            self._move(Stage.STOPPING)
            if self._draining is not None:
                self._draining.cancel()

    def _fail(self, error: BaseException) -> None:
        """End the engine with `error`; the first one is what its user sees."""
        # An error of ours is told by its sentence; where in our code it came up helps nobody who has a full disk.
        log.critical("the engine ends: %s", error, exc_info=None if isinstance(error, EngineError) else error)
        self._failure = self._failure or error
        self._stop_at_once()

    async def _serve(self) -> None:
        try:
            await self._work()
        finally:
            if self._failure is not None:
                self._scope.cancel()
            self._move(Stage.STOPPED)
            self._ended.set()

    async def _work(self) -> None:
        fetching = {
            self._tasks.spawn("orchestrations", self._orchestrations.run()),
            self._tasks.spawn("activities", self._activities.run()),
        }
        leasing = {
            self._tasks.spawn("leases", self._activities.leases.run()),
            self._tasks.spawn("sessions", self._activities.sessions.renew()),
            self._tasks.spawn("orphaned sessions", self._activities.sessions.clean_up()),
        }
        await self._moved.wait()
        for task in fetching:
            task.cancel()
        await asyncio.wait(fetching)
        if self._stage is Stage.DRAINING:
            self._draining = self._tasks.spawn("drain", self._drain())
            await settled_within(self._shared.clock, {self._draining}, self._shared.options.drain_ms)
            self._draining.cancel()
        give_back = self._stage is Stage.DRAINING
        left = await self._activities.aclose(give_back=give_back) + await self._orchestrations.aclose()
        for task in leasing:
            task.cancel()
        await asyncio.wait(leasing)
        if left:
            log.warning("left behind: %s", ", ".join(left))

    async def _drain(self) -> None:
        await self._orchestrations.drain()
        await self._activities.drain()
