"""What happens when code passes a bound, and when the engine ends an instance itself?"""

import asyncio

import pytest

from engine.model.events import AnyEvent, OrchestrationFailed
from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.messages import FailSubOrchestration
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.port import OrchestrationItem
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.turn import Committed, TurnOptions, Waiting, end_turn
from engine.testing import replay
from tests.replay.given import LIFE, NOW_MS, Instance, StoredHistory, kinds


def failure_of(result: TurnResult) -> Failure:
    assert result.metadata.status is Status.FAILED
    assert result.metadata.failure is not None
    return result.metadata.failure


@orchestration
async def greedy(ctx: OrchestrationContext, size: int) -> None:
    ctx.schedule_activity("before")
    await ctx.wait_event("go")
    ctx.set_custom_status("s" * size)
    ctx.schedule_activity("dropped", "x" * size)
    await ctx.wait_event("never")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (TurnOptions(custom_status_bytes_max=99), "expected a custom status of at most 99 bytes, but it has 100"),
        (TurnOptions(payload_bytes_max=101), "expected payloads of at most 101 bytes, but that of ActivityScheduled"),
        (TurnOptions(turn_events_max=3), "expected a turn of at most 3 events, but the code asked for more"),
    ],
    ids=["status", "payload", "events"],
)
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
def test_passing_a_bound_fails_the_instance_and_drops_what_the_step_asked_for(
    options: TurnOptions, message: str, keep: bool
) -> None:
    instance = Instance(greedy, options=options, keep=keep)
    instance.start(100, parent=ParentLink("p", 1, 1, 1))
    result = instance.give(instance.raised("go"))
    failure = failure_of(result)
    assert failure.category is Category.LIMIT
    assert message in failure.message
    assert kinds(result.history_delta) == ["ExternalEventReceived", "ActivityCancelRequested", "OrchestrationFailed"]
    assert [ref.activity_id for ref in result.cancelled_activities] == [2]
    assert result.work_items == ()
    assert result.metadata.set_custom_status is False
    assert [type(told) for told in result.messages] == [FailSubOrchestration]
    replay(greedy, instance.history, instance="i")


def test_a_bound_in_the_first_turn_fails_the_instance_too() -> None:
    @orchestration
    async def at_once(ctx: OrchestrationContext) -> None:
        await ctx.schedule_activity("a", "x" * 1000)

    result = Instance(at_once, options=TurnOptions(payload_bytes_max=100)).start()
    assert kinds(result.history_delta) == ["OrchestrationStarted", "OrchestrationFailed"]
    assert (result.metadata.orchestration_name, result.metadata.incarnation) == ("at_once", LIFE)


@pytest.mark.parametrize("again", [False, True], ids=["output", "next input"])
def test_a_last_step_that_passes_a_bound_fails_the_instance_instead(again: bool) -> None:
    @orchestration
    async def too_much(ctx: OrchestrationContext) -> str:
        await ctx.wait_event("go")
        return ctx.continue_as_new("x" * 1000) if again else "x" * 1000

    instance = Instance(too_much, options=TurnOptions(payload_bytes_max=100))
    instance.start()
    result = instance.give(instance.raised("go"), instance.raised("go"))
    assert failure_of(result).category is Category.LIMIT
    assert result.metadata.output is None
    assert result.messages == ()
    assert kinds(result.history_delta) == ["ExternalEventReceived", "OrchestrationFailed"]
    replay(too_much, instance.history, instance="i")


def test_what_earlier_steps_of_the_turn_asked_for_is_sent_once() -> None:
    @orchestration
    async def later(ctx: OrchestrationContext) -> None:
        child = ctx.schedule_sub_orchestration("child", instance="c")
        await ctx.wait_event("go")
        child.cancel()
        await ctx.wait_event("go")
        ctx.set_custom_status("s" * 100)

    instance = Instance(later, options=TurnOptions(custom_status_bytes_max=99))
    instance.start()
    other = instance.start_message(parent=ParentLink("q", 1, 1, 1))
    result = instance.give(instance.raised("go"), other, instance.raised("go"))
    assert failure_of(result).category is Category.LIMIT
    assert [(type(sent).__name__, sent.instance) for sent in result.messages] == [
        ("CancelInstance", "c"),
        ("FailSubOrchestration", "q"),
    ]


def test_code_that_keeps_itself_busy_is_stopped() -> None:
    @orchestration
    async def spins(ctx: OrchestrationContext) -> None:
        await ctx.wait_event("go")
        while await asyncio.sleep(0, result=True):
            pass

    instance = Instance(spins, options=TurnOptions(callbacks_max=1_000))
    instance.start()
    failure = failure_of(instance.give(instance.raised("go")))
    assert failure.category is Category.LIMIT
    assert "within 1000 callbacks" in failure.message


def test_exactly_at_the_bound_is_within_it() -> None:
    instance = Instance(greedy, options=TurnOptions(custom_status_bytes_max=100, payload_bytes_max=102))
    instance.start(100)
    assert instance.give(instance.raised("go")).metadata.status is None


def item(history: list[AnyEvent]) -> OrchestrationItem:
    return OrchestrationItem(
        instance="i",
        orchestration_name="greedy",
        version="1.0.0",
        execution_id=1,
        incarnation=LIFE,
        history=StoredHistory(history),
        messages=(Instance.raised("poison"),),
        lock_token="t",
        attempt_count=11,
        lineage=1,
        now_ms=NOW_MS,
    )


def test_the_engine_ends_an_instance_without_running_its_code() -> None:
    instance = Instance(greedy)
    instance.start(1, parent=ParentLink("p", 1, 1, 1))
    poison = Failure(category=Category.POISON, type="Poison", message="expected an answer, but 10 deliveries had none")
    outcome = end_turn(item(instance.history), poison)
    assert isinstance(outcome, Committed)
    result = outcome.result
    assert kinds(result.history_delta) == [
        "ActivityCancelRequested",
        "ExternalSubscriptionCancelled",
        "OrchestrationFailed",
    ]
    end = result.history_delta[-1]
    assert isinstance(end, OrchestrationFailed)
    assert end.failure == poison
    (told,) = result.messages
    assert isinstance(told, FailSubOrchestration)
    assert told.failure == poison
    replay(greedy, [*instance.history, *result.history_delta], instance="i")


def test_what_has_not_begun_or_has_ended_cannot_be_ended() -> None:
    failure = Failure(category=Category.POISON, type="Poison", message="m")
    assert isinstance(end_turn(item([]), failure), Waiting)
    instance = Instance(greedy, options=TurnOptions(turn_events_max=0))
    instance.start(1)
    assert isinstance(end_turn(item(instance.history), failure), Waiting)
