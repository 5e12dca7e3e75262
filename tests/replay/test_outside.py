"""What becomes of an instance whose code reaches outside, where a net sees it?"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from engine.errors import UsageError
from engine.model.failure import Category
from engine.model.ids import ParentLink
from engine.model.messages import FailSubOrchestration
from engine.model.status import Status
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.turn import Held, TurnOptions
from engine.testing import ScenarioFailed, replay
from tests.replay.given import Instance, kinds

FAILS = TurnOptions(on_nondeterminism="fail")


@orchestration(name="looks")
async def looks_outside(ctx: OrchestrationContext) -> str:
    await ctx.schedule_activity("first")
    try:
        await asyncio.to_thread(len, "outside")
    except Exception:  # the turn is over whatever the code makes of it
        ctx.set_custom_status("caught")
    return "unreachable"


@orchestration(name="looks")
async def asks_an_activity(ctx: OrchestrationContext) -> str:
    await ctx.schedule_activity("first")
    return await ctx.schedule_activity("second")


@orchestration
async def looks_at_once(ctx: OrchestrationContext) -> None:
    await asyncio.to_thread(len, "outside")


def test_the_instance_is_held_and_is_told_what_to_use_and_where() -> None:
    instance = Instance(looks_outside)
    instance.start()
    before = list(instance.history)

    outcome = instance.turn(instance.completed(2))

    assert isinstance(outcome, Held)
    failure = outcome.failure
    assert (failure.category, failure.type, failure.retryable) == (Category.NONDETERMINISM, "OutsideRefused", False)
    assert "but it used run_in_executor; use an activity: `await ctx.schedule_activity(f, input)`" in failure.message
    assert failure.stack is not None
    assert 'await asyncio.to_thread(len, "outside")' in failure.stack
    assert instance.history == before


def test_it_goes_on_once_code_that_fits_is_there() -> None:
    instance = Instance(looks_outside)
    instance.start()
    assert isinstance(instance.turn(instance.completed(2)), Held)

    fixed = Instance(asks_an_activity, history=instance.history)
    fixed.give(fixed.completed(2))
    fixed.give(fixed.completed(4, "inside"))

    assert fixed.output == "inside"


def test_it_is_held_before_its_first_turn_too() -> None:
    instance = Instance(looks_at_once)
    assert isinstance(instance.turn(instance.start_message()), Held)


def test_code_that_reaches_outside_in_what_was_recorded_is_held_too() -> None:
    instance = Instance(asks_an_activity)
    instance.start()
    instance.give(instance.completed(2))

    changed = Instance(looks_outside, history=instance.history)
    assert isinstance(changed.turn(changed.completed(4)), Held)
    with pytest.raises(ScenarioFailed, match="it used run_in_executor"):
        replay(looks_outside, instance.history)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "replayed"])
def test_with_the_option_it_fails_and_the_history_replays(keep: bool) -> None:
    instance = Instance(looks_outside, options=FAILS, keep=keep)
    instance.start(parent=ParentLink("p", 1, 1, 1))
    result = instance.give(instance.completed(2))

    assert result.metadata.status is Status.FAILED
    assert kinds(result.history_delta) == ["ActivityCompleted", "OrchestrationFailed"]
    assert result.metadata.failure is not None
    assert result.metadata.failure.category is Category.NONDETERMINISM
    assert [type(told) for told in result.messages] == [FailSubOrchestration]
    replay(looks_outside, instance.history)


def test_with_the_option_it_fails_in_its_first_turn_too() -> None:
    instance = Instance(looks_at_once, options=FAILS)
    instance.start()

    assert kinds(instance.history) == ["OrchestrationStarted", "OrchestrationFailed"]
    replay(looks_at_once, instance.history)


def test_a_context_that_leaked_out_of_its_turn_is_refused_and_the_history_is_as_it_was() -> None:
    leaked: list[OrchestrationContext] = []

    @orchestration
    async def leaks(ctx: OrchestrationContext) -> str:
        leaked.append(ctx)
        return await ctx.schedule_activity("first", output=str)

    instance = Instance(leaks)
    instance.start()
    (ctx,) = leaked
    uses: list[Callable[[], object]] = [
        lambda: ctx.schedule_activity("second"),
        lambda: ctx.schedule_sub_orchestration("child"),
        lambda: ctx.start_detached("other", instance="other"),
        lambda: ctx.schedule_timer(timedelta(seconds=1)),
        lambda: ctx.wait_event("event"),
        lambda: ctx.dequeue("queue"),
        lambda: ctx.set_custom_status("shown"),
        ctx.continue_as_new,
        ctx.utc_now,
        ctx.new_guid,
    ]
    for use in uses:
        with pytest.raises(UsageError, match="used from outside; an activity has an ActivityContext"):
            use()
    instance.give(instance.completed(2, "done"))

    assert instance.output == "done"
    assert kinds(instance.history)[1:] == ["ActivityScheduled", "ActivityCompleted", "OrchestrationCompleted"]
    with pytest.raises(UsageError, match="used from outside"):  # not Evicting, which would end the caller's thread
        ctx.utc_now()
