"""Is nothing lost and nothing done twice when an engine stops inside a call to the provider?"""

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from engine.clock import ManualClock
from engine.errors import Retryable
from engine.model.events import OrchestrationCompleted
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.version import VersionRange
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.host import Engine, Stage
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

LEASE_MS = 3_000


class GatedProvider(ScriptedProvider):
    """The first call that comes to the place `gate` waits there until it is opened."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.gate = ""
        self.entered = anyio.Event()
        self.opened = anyio.Event()

    async def _at(self, place: str) -> None:
        if self.gate == place:
            self.entered.set()
            await self.opened.wait()

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> Sequence[OrchestrationItem]:
        items = await super().fetch_orchestration_items(items_max, lock_timeout_ms, poll_timeout_ms, pins)
        if items:
            await self._at("orchestration fetched")
        return items

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        fetched = await super().fetch_work_item(lock_timeout_ms, poll_timeout_ms, tags, session)
        if fetched is not None:
            await self._at("work fetched")
        return fetched

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        await self._at("before the answer")
        await super().ack_work_item(lock_token, completion)
        await self._at("after the answer")

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        await self._at("renewal")
        await super().renew_work_item_lock(lock_token, extend_for_ms, heartbeat)


class World:
    """A provider with a gate, and how often the activity ran."""

    def __init__(self) -> None:
        self.bench = Bench(GatedProvider)
        assert isinstance(self.bench.provider, GatedProvider)
        self.provider = self.bench.provider
        self.runs = 0
        self.may_end = anyio.Event()

        @activity
        async def work() -> str:
            self.runs += 1
            await self.may_end.wait()
            return "done"

        @orchestration
        async def works(ctx: OrchestrationContext) -> str:
            return await ctx.schedule_activity(work)

        self.work, self.works = work, works

    def engine(self, drain_ms: int = 10_000) -> Engine:
        options = EngineOptions(drain_ms=drain_ms, activity_lease_ms=LEASE_MS, turn_lease_ms=LEASE_MS)
        return self.bench.engine(orchestrations=[self.works], activities=[self.work], options=options)

    async def at_the_gate(self, gate: str, drain_ms: int = 10_000) -> tuple[Engine, "asyncio.Task[None]"]:
        """An engine that runs the orchestration and has come to the gate."""
        self.provider.gate = gate
        engine = self.engine(drain_ms)
        serving = asyncio.ensure_future(engine.run())
        await self.bench.client.start(self.works, instance="i")
        await cycles()
        return engine, serving

    async def another_ends_it(self) -> None:
        """What is there is enough for another engine, and there is one end."""
        self.provider.gate = ""
        async with nothing_left(), self.engine():
            assert await ends(self.bench.clock, self.bench.client.wait("i")) == "done"
        history = await self.bench.client.history("i")
        assert [isinstance(event, OrchestrationCompleted) for event in history].count(True) == 1


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("drain_ms", [0, 10_000])
@upstream(
    "shutdown_tests",
    "shutdown_stops_pollers_parked_in_long_poll",
    "shutdown_zero_aborts_immediately",
    "shutdown_works_in_single_threaded_runtime",
    "shutdown_returns_as_soon_as_tasks_drain",
    "shutdown_is_idempotent",
)
async def test_an_engine_that_only_waits_stops_without_any_time_passing(world: World, drain_ms: int) -> None:
    async with nothing_left():
        engine = world.engine(drain_ms)
        serving = asyncio.ensure_future(engine.run())
        await cycles()
        calls = [world.provider.calls.get(method) for method in ("fetch_orchestration_items", "fetch_work_item")]
        assert calls == [1, 1]
        engine.request_stop()
        await serving
    for _ in range(2):
        engine.request_stop()
        assert engine.stage is Stage.STOPPED


@pytest.mark.parametrize(
    ("gate", "runs"),
    [("orchestration fetched", 1), ("work fetched", 1), ("before the answer", 2), ("after the answer", 1)],
)
@upstream(
    "shutdown_tests",
    "shutdown_during_orchestration_fetch_recovers_an_acquired_lock",
    "shutdown_during_work_fetch_recovers_an_acquired_lock",
    "shutdown_before_work_ack_redelivers_the_activity",
    "shutdown_after_work_ack_does_not_repeat_the_activity",
)
async def test_an_engine_that_stops_inside_a_call_leaves_it_to_another(world: World, gate: str, runs: int) -> None:
    world.may_end.set()
    async with nothing_left():
        engine, serving = await world.at_the_gate(gate, drain_ms=25)
        await world.provider.entered.wait()
        engine.request_stop()
        await ends(world.bench.clock, serving, step_ms=25)
    await world.another_ends_it()
    assert world.runs == runs


@upstream("shutdown_tests", "shutdown_before_orchestration_ack_recovers_the_turn")
async def test_a_turn_that_was_not_taken_is_taken_by_another(world: World) -> None:
    world.may_end.set()
    world.provider.fail("ack_orchestration_item", *(Retryable("ack_orchestration_item", "busy") for _ in range(9)))
    async with nothing_left():
        engine, serving = await world.at_the_gate("", drain_ms=25)
        engine.request_stop()
        await ends(world.bench.clock, serving, step_ms=25)
    assert await world.provider.read("i") == ()
    world.provider.raises.clear()
    await world.another_ends_it()
    assert world.runs == 1


@upstream("shutdown_tests", "shutdown_after_orchestration_ack_preserves_the_commit")
async def test_a_turn_that_was_taken_stays_taken(world: World) -> None:
    world.may_end.set()
    world.provider.not_durable = []
    async with nothing_left():
        engine, serving = await world.at_the_gate("", drain_ms=25)
        before = await world.provider.read("i")
        engine.request_stop()
        await ends(world.bench.clock, serving, step_ms=25)
    world.provider.not_durable = None
    assert before
    assert (await world.provider.read("i"))[: len(before)] == before
    await world.another_ends_it()
    assert world.runs == 1


@upstream("shutdown_tests", "shutdown_renews_work_lock_through_graceful_acknowledgement")
async def test_an_answer_under_way_keeps_its_lease_while_the_engine_drains(world: World) -> None:
    world.may_end.set()
    async with nothing_left():
        engine, serving = await world.at_the_gate("before the answer")
        await world.provider.entered.wait()
        engine.request_stop()
        for _ in range(6):
            await cycles()
            world.bench.clock.advance(LEASE_MS // 3)
        await cycles()
        assert not serving.done()
        assert await ScriptedProvider.fetch_work_item(world.provider, LEASE_MS, 0) is None
        world.provider.opened.set()
        await serving
    await world.another_ends_it()
    assert world.runs == 1


@upstream("shutdown_tests", "graceful_shutdown_waits_for_activity_manager_cleanup")
async def test_a_drain_does_not_wait_for_a_renewal_that_hangs(world: World) -> None:
    async with nothing_left():
        engine, serving = await world.at_the_gate("renewal")
        world.bench.clock.advance(LEASE_MS // 3)
        await world.provider.entered.wait()
        engine.request_stop()
        await cycles()
        assert not serving.done()
        world.may_end.set()
        await serving
    assert len(world.provider.completions) == 1
    await world.another_ends_it()
    assert world.runs == 1
