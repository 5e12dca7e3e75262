"""When does a detached orchestration begin that was asked for with a delay?"""

from datetime import timedelta
from typing import Any, cast

import pytest

from engine.errors import UsageError
from engine.model.events import OrchestrationChained
from engine.model.messages import StartOrchestration
from engine.model.status import Status
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.testing import ScenarioFailed, replay, run
from tests.replay.given import NOW_MS, Instance, payload


def starting(delay: Any) -> Any:
    @orchestration(name="starts")
    async def starts(ctx: OrchestrationContext) -> None:
        ctx.start_detached("c", 5, instance="other", delay=delay)
        await ctx.wait_event("go")

    return starts


@pytest.mark.parametrize(
    ("delay", "delay_ms"),
    [(timedelta(seconds=10), 10_000), (timedelta(microseconds=1), 1), (timedelta(0), 0), (timedelta(seconds=-1), 0)],
)
def test_the_start_that_leaves_says_when_and_the_event_how_much_later(delay: timedelta, delay_ms: int) -> None:
    instance = Instance(starting(delay))
    (sent,) = instance.start().messages
    assert sent == StartOrchestration(
        instance="other", name="c", input=payload(5), start_at_ms=instance.history[0].timestamp_ms + delay_ms
    )
    assert isinstance(chained := instance.history[1], OrchestrationChained)
    assert chained.delay_ms == delay_ms
    replay(starting(delay), instance.history)


def test_another_delay_than_recorded_is_refused() -> None:
    instance = Instance(starting(timedelta(seconds=1)))
    instance.start()
    for other in (None, timedelta(seconds=2)):
        with pytest.raises(
            ScenarioFailed, match=r"event 2: expected OrchestrationChained\(.*delay_ms=1000\) as recorded"
        ):
            replay(starting(other), instance.history)


@pytest.mark.parametrize("delay", [timedelta.max, cast("timedelta", 5)])
def test_what_is_no_delay_is_refused(delay: timedelta) -> None:
    result = Instance(starting(delay)).start()
    assert result.metadata.failure is not None
    assert result.metadata.failure.type == UsageError.__name__
    assert result.messages == ()


def test_in_a_scenario_it_begins_in_its_time() -> None:
    @orchestration
    async def late(ctx: OrchestrationContext) -> str:
        return ctx.utc_now().isoformat()

    @orchestration
    async def root(ctx: OrchestrationContext) -> None:
        ctx.start_detached(late, instance="late", delay=timedelta(hours=1))
        await ctx.schedule_timer(timedelta(hours=2))

    outcome = run(root, orchestrations=[late])
    assert outcome.instances["late"].status is Status.COMPLETED
    assert outcome.instances["late"].history[0].timestamp_ms == NOW_MS + 3_600_000
