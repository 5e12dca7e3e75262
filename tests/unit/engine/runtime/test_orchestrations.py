"""Does an instance get its turns, whatever the provider answers and whatever the code does?"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from engine.client import Client
from engine.errors import (
    Fatal,
    InDoubt,
    LeaseLost,
    OrchestrationFailed,
    OwnershipLost,
    Refused,
    Retryable,
    StateCorrupted,
    TurnTooLarge,
)
from engine.model.events import OrchestrationFailed as Failed
from engine.model.events import OrchestrationStarted
from engine.model.failure import Category
from engine.model.ids import ParentLink
from engine.model.messages import StartOrchestration
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.version import VersionRange
from engine.observe import recorded_marks
from engine.port import OrchestrationItem
from engine.registry import Registry, activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def twice_doubled(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, await ctx.schedule_activity(double, number))


@orchestration
async def wait_for_go(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


SERVED: dict[str, Any] = {"orchestrations": [twice_doubled, wait_for_go], "activities": [double]}


# Errors of the provider, by class


@pytest.mark.parametrize(
    "error",
    [
        Retryable("fetch", "away"),
        InDoubt("fetch", "no answer"),
        OwnershipLost("fetch", "moved"),
        Refused("fetch", "no"),
    ],
)
@pytest.mark.parametrize("method", ["fetch_orchestration_items", "fetch_work_item"])
async def test_a_fetch_that_fails_is_repeated_after_a_pause(bench: Bench, method: str, error: Exception) -> None:
    bench.provider.fail(method, error, error, error)
    async with nothing_left(), bench.engine(**SERVED) as engine:
        handle = await bench.client.start(twice_doubled, 3)
        await cycles()
        assert bench.provider.calls[method] == 1  # nobody hammers a provider that is away
        assert await ends(bench.clock, handle.wait()) == 12
    assert engine.counters.provider_errors == 3


@pytest.mark.parametrize("kind", [Fatal, StateCorrupted])
@pytest.mark.parametrize(
    "method", ["fetch_orchestration_items", "fetch_work_item", "ack_orchestration_item", "ack_work_item"]
)
async def test_an_error_that_ends_the_engine_is_raised_from_its_block(
    bench: Bench, method: str, kind: type[Fatal] | type[StateCorrupted]
) -> None:
    error = kind(method, "the disk is gone")
    bench.provider.fail(method, error)

    async def serve() -> None:
        async with bench.engine(**SERVED):
            handle = await bench.client.start(twice_doubled, 3)
            await handle.wait()

    async with nothing_left():
        with pytest.raises(kind, match="the disk is gone") as caught:
            await serve()
    assert caught.value is error


@pytest.mark.parametrize("kind", [Retryable, InDoubt])
async def test_a_turn_the_provider_cannot_take_now_is_offered_again(
    bench: Bench, kind: type[Retryable] | type[InDoubt]
) -> None:
    bench.provider.fail("ack_orchestration_item", *(kind("ack_orchestration_item", "busy") for _ in range(3)))
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(**SERVED) as engine:
            handle = await bench.client.start(twice_doubled, 3)
            assert await ends(bench.clock, handle.wait(), step_ms=20) == 12
    assert "turn.ack_repeated" in reached
    assert engine.counters.live_hits == 2  # the coroutine waited too


async def test_a_stop_while_a_turn_is_offered_again_leaves_nothing(bench: Bench) -> None:
    bench.provider.fail("ack_orchestration_item", *(Retryable("ack_orchestration_item", "busy") for _ in range(9)))
    async with nothing_left():
        engine = bench.engine(**SERVED)
        serving = asyncio.ensure_future(engine.run())
        await bench.client.start(wait_for_go)
        await cycles()
        engine.request_stop()
        await cycles()
        assert not serving.done()  # the turn was taken, so a drain tries to keep it
        engine.request_stop()
        await serving
    assert (engine.counters.turns_admitted, engine.gauges()["live_executions"]) == (0, 0)


async def test_a_stop_before_a_turn_is_offered_again_leaves_nothing_either(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    @orchestration
    async def waits(ctx: OrchestrationContext) -> None:
        try:
            await ctx.wait_event("go")
        finally:
            ended.append("here")

    async with nothing_left():
        engine = bench.engine(orchestrations=[waits])

        def ack(*_: object) -> None:
            engine.request_stop()
            engine.request_stop()
            raise Retryable("ack_orchestration_item", "busy")

        monkeypatch.setattr(bench.provider, "ack_orchestration_item", ack)
        serving = asyncio.ensure_future(engine.run())
        await bench.client.start(waits)
        await serving
        assert ended == ["here"]


@pytest.mark.parametrize(
    "error", [LeaseLost("ack_orchestration_item", "late"), OwnershipLost("ack_orchestration_item", "moved")]
)
async def test_a_turn_that_comes_too_late_is_dropped_and_taken_again(bench: Bench, error: Exception) -> None:
    bench.provider.fail("ack_orchestration_item", error)
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(**SERVED) as engine:
            handle = await bench.client.start(twice_doubled, 3)
            # The lock was not given up, so the messages come again when it expires.
            assert await ends(bench.clock, handle.wait()) == 12
    assert "turn.ack_lease_lost" in reached
    assert (engine.counters.turns_lost, engine.counters.live_misses) == (1, 2)


async def test_a_turn_lost_after_it_was_admitted_puts_the_coroutine_away(bench: Bench) -> None:
    bench.provider.not_durable = []
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(**SERVED) as engine:
            handle = await bench.client.start(wait_for_go, instance="waiter")
            await bench.provider.changed("waiter", 0)
            await cycles()
            [durable] = bench.provider.not_durable
            durable.set_exception(OwnershipLost("ack_orchestration_item", "moved"))
            await cycles()
            bench.provider.not_durable = None
            await handle.raise_event("go", "gone")
            assert await handle.wait() == "gone"
    assert "turn.lost" in reached
    assert (engine.counters.turns_lost, engine.counters.live_put_away, engine.counters.live_misses) == (1, 1, 2)


async def test_a_fatal_error_of_a_turn_admitted_long_ago_ends_the_engine(bench: Bench) -> None:
    durable: list[asyncio.Future[None]] = []
    bench.provider.not_durable = durable

    async def serve() -> None:
        async with bench.engine(**SERVED):
            await bench.client.start(wait_for_go, instance="waiter")
            await bench.provider.changed("waiter", 0)
            await cycles()
            durable[0].set_exception(Fatal("ack_orchestration_item", "the log is full"))
            await asyncio.Event().wait()

    async with nothing_left():
        with pytest.raises(Fatal, match="the log is full"):
            await serve()


async def test_the_next_turn_does_not_wait_for_the_last_to_be_durable(bench: Bench) -> None:
    bench.provider.not_durable = []
    async with bench.engine(**SERVED) as engine:
        handle = await bench.client.start(twice_doubled, 3)
        assert await handle.wait() == 12
        assert (engine.counters.turns_admitted, engine.counters.turns_durable) == (3, 0)
        for durable in bench.provider.not_durable:
            durable.set_result(None)
    assert engine.counters.turns_durable == 3


async def test_fetching_pauses_while_too_many_turns_are_in_flight(bench: Bench) -> None:
    bench.provider.not_durable = []
    options = EngineOptions(turns_in_flight_max=2, turns_max=1)
    with recorded_marks() as reached:
        async with bench.engine(**SERVED, options=options) as engine:
            for number in range(5):
                await bench.client.start(wait_for_go, instance=f"waiter-{number}")
            await cycles(50)
            assert engine.counters.turns_admitted == 2
            bench.provider.not_durable[0].set_result(None)
            await cycles(50)
            assert engine.counters.turns_admitted == 3
            for durable in bench.provider.not_durable:
                if not durable.done():
                    durable.set_result(None)
            bench.provider.not_durable = None
    assert "turn.in_flight_bound" in reached


async def test_a_turn_that_is_refused_is_tried_again_and_at_last_fails_the_instance(bench: Bench) -> None:
    refused = Refused("ack_orchestration_item", "expected new events, but event 1 exists already")
    bench.provider.fail("ack_orchestration_item", *([refused] * 3))
    with recorded_marks() as reached:
        async with bench.engine(**SERVED, options=EngineOptions(attempts_max=3)) as engine:
            handle = await bench.client.start(twice_doubled, 3)
            with pytest.raises(OrchestrationFailed, match="expected a turn within 3 deliveries, but this is number 4"):
                await ends(bench.clock, handle.wait())
    assert {"turn.ack_refused", "turn.poisoned"} <= reached
    assert (engine.counters.turns_abandoned, engine.counters.orchestrations_poisoned) == (3, 1)


@pytest.mark.parametrize("turns_before", [0, 1])
async def test_a_turn_that_is_too_large_fails_the_instance_at_once(bench: Bench, turns_before: int) -> None:
    with recorded_marks() as reached:
        async with bench.engine(**SERVED) as engine:
            if not turns_before:
                bench.provider.fail("ack_orchestration_item", TurnTooLarge("large", 1_000, 10))
            handle = await bench.client.start(wait_for_go, instance="large")
            await bench.provider.changed("large", 0)
            if turns_before:
                bench.provider.fail("ack_orchestration_item", TurnTooLarge("large", 1_000, 10))
                await handle.raise_event("go", "x")
            with pytest.raises(OrchestrationFailed, match="expected a turn of at most 10 bytes") as caught:
                await handle.wait()
    assert caught.value.failure.category is Category.LIMIT
    assert "turn.too_large" in reached
    assert engine.counters.orchestrations_failed == 1


# Code that is missing, or does not fit


async def test_an_orchestration_nobody_registered_waits_for_an_engine_that_has_it(bench: Bench) -> None:
    handle = await bench.client.start(twice_doubled, 3)
    async with bench.engine() as without:
        for turns_abandoned, wait_ms in ((1, 1_000), (2, 2_000), (3, 4_000)):
            await cycles()
            assert without.counters.turns_abandoned == turns_abandoned
            bench.clock.advance(wait_ms - 1)
            await cycles()
            assert without.counters.turns_abandoned == turns_abandoned
            bench.clock.advance(1)
    async with bench.engine(**SERVED):
        assert await ends(bench.clock, handle.wait()) == 12


@upstream("unregistered_backoff_tests", "unknown_orchestration_fails_with_poison")
async def test_an_orchestration_nobody_ever_registers_fails_as_poison_and_its_parent_hears_of_it(bench: Bench) -> None:
    @orchestration
    async def parent(ctx: OrchestrationContext) -> None:
        await ctx.schedule_sub_orchestration("unheard_of")

    async with bench.engine(orchestrations=[parent], options=EngineOptions(attempts_max=4)) as engine:
        handle = await bench.client.start(parent, instance="family")
        with pytest.raises(OrchestrationFailed, match="expected a turn within 4 deliveries") as caught:
            await ends(bench.clock, handle.wait())
    assert caught.value.failure.cause is not None
    assert caught.value.failure.cause.category is Category.POISON
    assert caught.value.failure.cause.message == (
        "expected a turn within 4 deliveries, but this is number 5; "
        "expected orchestration 'unheard_of' to be registered, but only these are: parent"
    )
    child = await bench.client.status("family::sub::2")
    assert (child.status, child.orchestration_name, child.parent_instance) == (Status.FAILED, "unheard_of", "family")
    events = [type(event) for event in await bench.client.history("family::sub::2")]
    assert events == [OrchestrationStarted, Failed]
    assert engine.counters.orchestrations_poisoned == 1


async def test_a_running_instance_whose_code_went_away_fails_as_poison_and_takes_its_work_back(bench: Bench) -> None:
    @orchestration
    async def long_running(ctx: OrchestrationContext) -> None:
        await asyncio.gather(ctx.schedule_activity("nobody_serves_this"), ctx.wait_event("go"))

    parent = ParentLink("caller", 1, 1, 2)
    await bench.provider.enqueue_for_orchestrator(
        StartOrchestration(instance="orphaned", name="long_running", input=NULL, parent=parent)
    )
    async with bench.engine(orchestrations=[long_running]):
        await bench.provider.changed("orphaned", 0)
    await bench.client.raise_event("orphaned", "go")
    async with bench.engine(options=EngineOptions(attempts_max=2)):
        with pytest.raises(OrchestrationFailed, match="expected a turn within 2 deliveries"):
            await ends(bench.clock, bench.client.wait("orphaned"))
        await cycles()
        assert (await bench.provider.get_queue_depths()).worker_queue == 0


@upstream("unregistered_backoff_tests", "continue_as_new_to_missing_version_fails_with_poison")
async def test_an_execution_whose_next_version_is_missing_fails_as_poison(bench: Bench) -> None:
    @orchestration
    async def move_on(ctx: OrchestrationContext) -> None:
        return ctx.continue_as_new(version="9.9.9")

    async with bench.engine(orchestrations=[move_on], options=EngineOptions(attempts_max=2)):
        handle = await bench.client.start(move_on, instance="moving")
        with pytest.raises(OrchestrationFailed, match="expected a turn within 2 deliveries"):
            await ends(bench.clock, handle.wait())
    executions = [execution.status for execution in await bench.client.list_executions("moving")]
    assert executions == [Status.CONTINUED_AS_NEW, Status.FAILED]


def two_versions_of_one_orchestration() -> tuple[Any, Any]:
    def written(first_wait: str) -> Any:
        @orchestration(name="changed")
        async def changed(ctx: OrchestrationContext) -> str:
            first = await ctx.wait_event(first_wait, str)
            return first + await ctx.wait_event("second", str)

        return changed

    return written("first"), written("another")


@upstream("nondeterminism_tests", "code_swap_triggers_nondeterminism", differs="The instance is held, not failed.")
async def test_code_that_left_the_recorded_path_holds_the_instance_until_fixed_code_resumes_it(bench: Bench) -> None:
    good, bad = two_versions_of_one_orchestration()
    async with bench.engine(orchestrations=[good]):
        handle = await bench.client.start(good, instance="changed-1")
        await handle.raise_event("first", "1")
        await bench.provider.changed("changed-1", 0)
    async with bench.engine(orchestrations=[bad]) as engine:
        await handle.raise_event("second", "2")
        while (info := await bench.client.status("changed-1")).status is not Status.HELD:
            await bench.provider.changed("changed-1", info.revision)
        assert info.failure is not None
        assert info.failure.category is Category.NONDETERMINISM
        assert "expected" in info.failure.message
        assert engine.counters.turns_held == 1
    async with bench.engine(orchestrations=[good]):
        await cycles()
        assert (await handle.status()).status is Status.HELD  # nobody resumed it yet
        await bench.client.resume("changed-1")
        assert await handle.wait() == "12"


async def test_a_history_that_cannot_be_read_holds_its_instance_alone(bench: Bench) -> None:
    async with bench.engine(**SERVED, options=EngineOptions(cache_bytes_max=0)):
        broken = await bench.client.start(wait_for_go, instance="broken")
        sound = await bench.client.start(wait_for_go, instance="sound")
        await bench.provider.changed("broken", 0)
        await bench.provider.changed("sound", 0)
        bench.provider.corrupt_history("broken")
        await broken.raise_event("go", "x")
        await sound.raise_event("go", "x")
        assert await sound.wait() == "x"
        await cycles()
        status = await broken.status()
    assert status.status is Status.HELD
    assert status.failure is not None
    assert status.failure.category is Category.INFRASTRUCTURE


async def test_a_hold_is_repeated_until_the_provider_takes_it(bench: Bench) -> None:
    bench.provider.fail("hold_orchestration_item", Retryable("hold_orchestration_item", "away"))
    async with nothing_left(), bench.engine(**SERVED, options=EngineOptions(cache_bytes_max=0)):
        handle = await bench.client.start(wait_for_go, instance="broken")
        await bench.provider.changed("broken", 0)
        bench.provider.corrupt_history("broken")
        await handle.raise_event("go", "x")
        await cycles()
        assert (await handle.status()).status is Status.RUNNING
        bench.clock.advance(20)
        await cycles()
        assert (await handle.status()).status is Status.HELD


async def test_a_defect_in_a_turn_stays_with_its_instance(bench: Bench) -> None:
    bench.provider.defective.add("odd")
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(**SERVED) as engine:
            odd = await bench.client.start(twice_doubled, 1, instance="odd")
            sound = await bench.client.start(twice_doubled, 3, instance="sound")
            assert await sound.wait() == 12
            assert engine.counters.turns_abandoned == 1
            bench.provider.defective.clear()
            assert await ends(bench.clock, odd.wait()) == 4
    assert "turn.raised" in reached


async def test_an_unreadable_history_is_held_even_when_its_messages_are_poison(bench: Bench) -> None:
    async with bench.engine(**SERVED):
        handle = await bench.client.start(wait_for_go, instance="broken")
        await bench.provider.changed("broken", 0)
    await handle.raise_event("go", "x")
    async with bench.engine(options=EngineOptions(attempts_max=1)):
        await cycles()
        bench.provider.corrupt_history("broken")
        bench.clock.advance(1_000)
        await cycles()
        status = await handle.status()
    assert status.status is Status.HELD
    assert status.failure is not None
    assert status.failure.type == "HistoryCorrupted"


async def test_a_message_for_an_ended_instance_is_consumed_however_often_it_was_delivered(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**SERVED, options=EngineOptions(attempts_max=2)) as engine:
        handle = await bench.client.start(twice_doubled, 3, instance="ended")
        assert await handle.wait() == 12
        late = LeaseLost("ack_orchestration_item", "late")
        bench.provider.fail("ack_orchestration_item", late, late, late)
        await handle.raise_event("go")
        for _ in range(200):
            await cycles()
            bench.clock.advance(1_000)
        assert bench.provider.max_attempt_count("ended") == 0
    assert engine.counters.turns_lost == 3
    assert engine.counters.orchestrations_poisoned == 0
    assert (await handle.status()).status is Status.COMPLETED


async def test_a_provider_that_never_suspends_does_not_starve_the_loop(bench: Bench) -> None:
    class Eager(ScriptedProvider):
        stale: Sequence[OrchestrationItem] = ()

        async def fetch_orchestration_items(
            self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
        ) -> Sequence[OrchestrationItem]:
            if not self.stale:
                self.stale = await super().fetch_orchestration_items(items_max, lock_timeout_ms, poll_timeout_ms, pins)
            return self.stale  # its lock is gone after the first turn, so it can be fetched for ever

    provider = Eager(bench.clock)
    async with nothing_left(), Engine(provider, Registry(**SERVED), clock=bench.clock) as engine:
        await Client(provider, clock=bench.clock).start(wait_for_go)
        await cycles()
    assert engine.counters.turns_lost > 1
