"""Does an instance that has continued as new get its next execution, whatever comes or fails in between?"""

from collections.abc import Awaitable
from typing import Any

import pytest
from msgspec import structs

from engine.clock import ManualClock
from engine.errors import LeaseLost, OrchestrationFailed, Refused, TurnTooLarge
from engine.model.events import (
    ExternalSubscribed,
    OrchestrationContinuedAsNew,
    OrchestrationStarted,
    QueueMessageReceived,
)
from engine.model.events import (
    OrchestrationFailed as Failed,
)
from engine.model.failure import Category
from engine.model.ids import ParentLink
from engine.model.messages import (
    AnyMessage,
    CompleteActivity,
    ContinueInstance,
    FailSubOrchestration,
    StartOrchestration,
)
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from tests.replay.given import payload
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

LIFE = 7


@orchestration
async def moves_on(ctx: OrchestrationContext) -> str:
    if ctx.execution_id == 1:
        return ctx.continue_as_new()
    return await ctx.dequeue("q", str)


@orchestration
async def ends_at_once(ctx: OrchestrationContext) -> str:
    return f"execution {ctx.execution_id}"


@orchestration
async def goes_to_a_version_that_nobody_has(ctx: OrchestrationContext) -> str:
    return ctx.continue_as_new(version="9.9.9")


@orchestration
async def parent(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(goes_to_a_version_that_nobody_has, instance="child")


@orchestration
async def waits(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("never")


async def between(bench: Bench, code: Any, start_in_ms: int | None) -> None:
    """Bring `i` to the end of its first execution; the message that starts the second is seen after that time."""
    name = code.__name__
    await bench.client.start(code, instance="i")
    (item,) = await bench.provider.fetch_orchestration_items(1, 30_000, 0)
    at_ms = item.now_ms
    started = OrchestrationStarted(
        event_id=1, timestamp_ms=at_ms, name=name, version="1.0.0", input=NULL, incarnation=LIFE
    )
    metadata = ExecutionMetadata(
        status=Status.CONTINUED_AS_NEW, orchestration_name=name, orchestration_version="1.0.0", incarnation=LIFE
    )
    end = OrchestrationContinuedAsNew(event_id=2, timestamp_ms=at_ms, input=NULL)
    await bench.provider.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=(started, end), metadata=metadata)
    )
    if start_in_ms is not None:
        await start_of_the_next(bench, name, start_in_ms)


async def start_of_the_next(bench: Bench, name: str, delay_ms: int = 0) -> None:
    message = ContinueInstance(instance="i", incarnation=LIFE, name=name, input=NULL, version="1.0.0")
    await bench.provider.enqueue_for_orchestrator(message, delay_ms)


async def abandoned(bench: Bench) -> int:
    """How often the messages of an instance were given back."""
    await cycles()
    return bench.provider.calls.get("abandon_orchestration_item", 0)


# The start of the next execution is late


@upstream("can_abandon_failure", "delayed_can_start_defers_inputs_with_counted_backoff")
async def test_what_comes_before_the_next_execution_waits_for_it_and_longer_each_time(bench: Bench) -> None:
    await between(bench, moves_on, start_in_ms=6_000)
    before = await bench.provider.read_with_execution("i", 1)
    await bench.client.enqueue_message("i", "q", "early")
    async with nothing_left(), bench.engine(orchestrations=[moves_on]):
        for times, wait_ms in ((1, 1_000), (2, 2_000)):
            assert await abandoned(bench) == times
            assert bench.provider.max_attempt_count("i") == times  # each counts
            bench.clock.advance(wait_ms - 1)
            assert await abandoned(bench) == times
            bench.clock.advance(1)
        assert await ends(bench.clock, bench.client.wait("i")) == "early"
    assert await bench.provider.read_with_execution("i", 1) == before


@upstream("can_abandon_failure", "stale_only_batch_waits_for_the_can_start")
async def test_an_answer_to_the_last_execution_waits_too_and_is_dropped_by_the_next(bench: Bench) -> None:
    await between(bench, ends_at_once, start_in_ms=500)
    before = await bench.provider.read_with_execution("i", 1)
    late = CompleteActivity(instance="i", incarnation=LIFE, execution_id=1, activity_id=99, result=payload("late"))
    await bench.provider.enqueue_for_orchestrator(late)
    async with nothing_left(), bench.engine(orchestrations=[ends_at_once]):
        assert await abandoned(bench) == 1
        assert await ends(bench.clock, bench.client.wait("i")) == "execution 2"
        await ends(bench.clock, no_message_left(bench))
    assert await bench.provider.read_with_execution("i", 1) == before
    assert len(await bench.provider.read_with_execution("i", 2)) == 2


@upstream("can_abandon_failure", "failed_can_abandon_leaves_waiting_inputs_for_lease_redelivery")
async def test_what_cannot_be_given_back_comes_again_when_its_lock_expires(bench: Bench) -> None:
    await between(bench, moves_on, start_in_ms=None)
    before = await bench.provider.read_with_execution("i", 1)
    await bench.client.enqueue_message("i", "q", "early")
    refused = Refused("abandon_orchestration_item", "no")
    bench.provider.fail("abandon_orchestration_item", refused, refused)
    options = EngineOptions(turn_lease_ms=3_000)
    async with nothing_left(), bench.engine(orchestrations=[moves_on], options=options):
        for times in (1, 2):
            assert await abandoned(bench) == times
            assert bench.provider.max_attempt_count("i") == times
            bench.clock.advance(2_999)
            assert await abandoned(bench) == times
            bench.clock.advance(1)
        await start_of_the_next(bench, "moves_on")
        assert await ends(bench.clock, bench.client.wait("i")) == "early"
    assert await bench.provider.read_with_execution("i", 1) == before
    received = [event for event in await bench.client.history("i") if isinstance(event, QueueMessageReceived)]
    assert [event.data for event in received] == [payload("early")]


@orchestration
async def waits_in_the_second(ctx: OrchestrationContext) -> str:
    if ctx.execution_id == 1:
        return ctx.continue_as_new()
    return await ctx.wait_event("done", str)


@upstream("capability_filtering_tests", "activity_completion_after_continue_as_new_is_discarded")
async def test_an_answer_to_the_last_execution_that_comes_in_the_next_is_dropped(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=[waits_in_the_second]):
        handle = await bench.client.start(waits_in_the_second, instance="i")
        await cycles()
        begun = await handle.history(2)
        assert [type(event) for event in begun] == [OrchestrationStarted, ExternalSubscribed]
        assert isinstance(begun[0], OrchestrationStarted)
        life = begun[0].incarnation
        late = CompleteActivity(instance="i", incarnation=life, execution_id=1, activity_id=999, result=payload("x"))
        await bench.provider.enqueue_for_orchestrator(late)
        await ends(bench.clock, no_message_left(bench))
        assert await handle.history(2) == begun
        await handle.raise_event("done", "done")
        assert await handle.wait() == "done"


# The next execution cannot be started


async def no_message_left(bench: Bench) -> None:
    while (await bench.provider.get_queue_depths()).orchestrator_queue or bench.provider.max_attempt_count("i"):
        await cycles()


async def nothing_more_happens(bench: Bench, instance: str) -> None:
    """Whatever is sent to an instance that has failed is consumed and changes nothing."""
    before = [await bench.client.history(instance, execution_id) for execution_id in (1, 2)]
    await bench.client.enqueue_message(instance, "q", "late")
    await bench.client.raise_event(instance, "signal", "late")
    await bench.client.cancel(instance, "late")
    await ends(bench.clock, no_message_left(bench))
    assert [await bench.client.history(instance, execution_id) for execution_id in (1, 2)] == before
    assert (await bench.client.status(instance)).status is Status.FAILED


async def failed_as_poison(bench: Bench, instance: str) -> OrchestrationStarted:
    """The execution that failed is the second one; how it was begun."""
    first, second = [await bench.client.history(instance, execution_id) for execution_id in (1, 2)]
    assert isinstance(first[-1], OrchestrationContinuedAsNew)
    assert [type(event) for event in second] == [OrchestrationStarted, Failed]
    failure = (await bench.client.status(instance)).failure
    assert failure is not None
    assert failure.category is Category.POISON
    assert isinstance(second[0], OrchestrationStarted)
    return second[0]


class LosesSecondExecutions(ScriptedProvider):
    """No turn of a second execution is in time."""

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        if result.execution_id == 2 and result.history_delta and result.metadata.status is not Status.FAILED:
            raise LeaseLost("ack_orchestration_item", "late")
        return super().ack_orchestration_item(lock_token, result)


@upstream("can_abandon_failure", "successor_first_turn_must_obey_poison_budget")
async def test_the_first_turn_of_the_next_execution_is_not_tried_for_ever() -> None:
    bench = Bench(LosesSecondExecutions)
    options = EngineOptions(attempts_max=1)
    async with nothing_left(), bench.engine(orchestrations=[moves_on], options=options):
        handle = await bench.client.start(moves_on, instance="i")
        with pytest.raises(OrchestrationFailed, match="expected a turn within 1 deliveries, but this is number 2"):
            await ends(bench.clock, handle.wait())
        await failed_as_poison(bench, "i")
        await nothing_more_happens(bench, "i")


@upstream("can_abandon_failure", "unregistered_can_successor_poison_must_drain_late_inputs")
async def test_an_execution_that_nobody_can_start_fails_and_what_comes_later_is_consumed(bench: Bench) -> None:
    options = EngineOptions(attempts_max=1)
    async with nothing_left(), bench.engine(orchestrations=[goes_to_a_version_that_nobody_has], options=options):
        handle = await bench.client.start(goes_to_a_version_that_nobody_has, instance="i")
        await bench.client.enqueue_message("i", "q", "early")
        with pytest.raises(OrchestrationFailed, match="expected a turn within 1 deliveries"):
            await ends(bench.clock, handle.wait())
        await failed_as_poison(bench, "i")
        await nothing_more_happens(bench, "i")


@upstream(
    "can_abandon_failure",
    "poisoned_child_successor_fails_its_parent",
    differs="The parent gets an exception, which it may catch.",
)
async def test_a_parent_hears_of_a_child_whose_next_execution_nobody_can_start(bench: Bench) -> None:
    served = [parent, goes_to_a_version_that_nobody_has]
    async with nothing_left(), bench.engine(orchestrations=served, options=EngineOptions(attempts_max=1)):
        handle = await bench.client.start(parent, instance="family")
        with pytest.raises(OrchestrationFailed) as caught:
            await ends(bench.clock, handle.wait())
    assert caught.value.failure.cause is not None
    assert caught.value.failure.cause.category is Category.POISON
    link = (await failed_as_poison(bench, "child")).parent
    assert link is not None
    assert (link.instance, link.execution_id, link.event_id) == ("family", 1, 2)


# The start of the next execution is lost


class LosesContinuations(ScriptedProvider):
    """What starts a next execution never arrives; whatever is told of failed children is kept."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.lost: list[AnyMessage] = []
        self.told: list[FailSubOrchestration] = []

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        self.lost += [message for message in result.messages if isinstance(message, ContinueInstance)]
        self.told += [message for message in result.messages if isinstance(message, FailSubOrchestration)]
        kept = tuple(message for message in result.messages if not isinstance(message, ContinueInstance))
        return super().ack_orchestration_item(lock_token, structs.replace(result, messages=kept))


@orchestration
async def calls(ctx: OrchestrationContext) -> None:
    await ctx.schedule_sub_orchestration(moves_on, instance="i")


@upstream("can_abandon_failure", "missing_can_start_poisons_waiting_inputs_after_max_attempts")
async def test_what_waits_for_an_execution_that_never_comes_is_consumed_when_it_was_given_back_too_often() -> None:
    bench = Bench(LosesContinuations)
    assert isinstance(bench.provider, LosesContinuations)
    async with nothing_left(), bench.engine(orchestrations=[moves_on], options=EngineOptions(attempts_max=3)) as engine:
        handle = await bench.client.start(moves_on, instance="i")
        await cycles()
        await bench.client.enqueue_message("i", "q", "early")
        with pytest.raises(OrchestrationFailed, match="expected a turn within 3 deliveries, but this is number 4"):
            await ends(bench.clock, handle.wait())
        assert await abandoned(bench) == 3
        assert engine.counters.orchestrations_poisoned == engine.counters.orchestrations_failed == 1
        begun = await failed_as_poison(bench, "i")
        await nothing_more_happens(bench, "i")
        (late,) = bench.provider.lost
        assert isinstance(late, ContinueInstance)
        assert (begun.name, begun.version) == ("moves_on", "1.0.0")
        assert (begun.input, begun.incarnation) == (late.input, late.incarnation)
        await bench.provider.enqueue_for_orchestrator(late)
        await nothing_more_happens(bench, "i")


@upstream(
    "can_abandon_failure",
    "missing_can_start_fails_successor_with_previous_parent_not_a_duplicate_start",
    differs="The parent and whoever asked for the id in vain are told.",
)
async def test_an_execution_that_never_comes_fails_as_the_child_of_who_called_the_one_before() -> None:
    bench = Bench(LosesContinuations)
    assert isinstance(bench.provider, LosesContinuations)
    served = [calls, moves_on]
    async with nothing_left(), bench.engine(orchestrations=served, options=EngineOptions(attempts_max=1)):
        handle = await bench.client.start(calls, instance="family")
        await cycles()
        impostor = StartOrchestration(
            instance="i", name="impostor", input=payload("other"), parent=ParentLink("another", LIFE, 1, 2)
        )
        await bench.provider.enqueue_for_orchestrator(impostor)
        await bench.client.enqueue_message("i", "q", "early")
        with pytest.raises(OrchestrationFailed) as caught:
            await ends(bench.clock, handle.wait())
        begun = await failed_as_poison(bench, "i")
        assert begun.name == "moves_on"
        assert begun.parent is not None
        assert (begun.parent.instance, begun.parent.execution_id, begun.parent.event_id) == ("family", 1, 2)
        assert caught.value.failure.cause is not None
        assert caught.value.failure.cause.category is Category.POISON
        told = {message.instance: message.failure for message in bench.provider.told}
        assert set(told) == {"family", "another"}
        assert told["another"].type == "InstanceExists"


# Somebody else asked for the same instance


class RefusesWhatTells(ScriptedProvider):
    """The turn that tells a caller of a taken id is too large, unless it also fails its instance."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.told: list[AnyMessage] = []

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        told = [message for message in result.messages if isinstance(message, FailSubOrchestration)]
        if told and result.metadata.status is not Status.FAILED:
            raise TurnTooLarge("i", 1_000, 10)
        self.told += told
        return super().ack_orchestration_item(lock_token, result)


@upstream("can_abandon_failure", "failure_commit_must_preserve_collision_notification")
async def test_an_instance_that_fails_instead_of_its_turn_still_tells_who_asked_for_its_id() -> None:
    bench = Bench(RefusesWhatTells)
    assert isinstance(bench.provider, RefusesWhatTells)
    async with nothing_left(), bench.engine(orchestrations=[waits]):
        await bench.client.start(waits, instance="i")
        await bench.provider.changed("i", 0)
        link = ParentLink("another", LIFE, 1, 2)
        await bench.provider.enqueue_for_orchestrator(
            StartOrchestration(instance="i", name="waits", input=NULL, parent=link)
        )
        with pytest.raises(OrchestrationFailed, match="expected a turn of at most 10 bytes"):
            await ends(bench.clock, bench.client.wait("i"))
    (told,) = bench.provider.told
    assert isinstance(told, FailSubOrchestration)
    assert (told.instance, told.execution_id, told.event_id) == ("another", 1, 2)
    assert told.failure.message == "expected no instance 'i', but it already exists"
