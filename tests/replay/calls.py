"""Which calls of the context ask for something, and which event is each?"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from engine.model.events import (
    ActivityScheduled,
    AnyEvent,
    ExternalSubscribed,
    OrchestrationChained,
    QueueSubscribed,
    SubOrchestrationScheduled,
    TimerCreated,
)
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.given import NOW_MS, payload

Call = Callable[[OrchestrationContext], object]
MINUTE = timedelta(minutes=1)
PLACED: dict[str, Any] = {"event_id": 2, "timestamp_ms": NOW_MS}

CALLS: dict[str, tuple[Call, AnyEvent]] = {
    "activity": (
        lambda ctx: ctx.schedule_activity("work", "in"),
        ActivityScheduled(**PLACED, name="work", input=payload("in")),
    ),
    "activity with an empty input": (
        lambda ctx: ctx.schedule_activity("work", ""),
        ActivityScheduled(**PLACED, name="work", input=payload("")),
    ),
    "activity of a session": (
        lambda ctx: ctx.schedule_activity("work", "in", session_id="s1"),
        ActivityScheduled(**PLACED, name="work", input=payload("in"), session_id="s1"),
    ),
    "activity with a tag": (
        lambda ctx: ctx.schedule_activity("work", "in", tag="gpu"),
        ActivityScheduled(**PLACED, name="work", input=payload("in"), tag="gpu"),
    ),
    "timer": (lambda ctx: ctx.schedule_timer(MINUTE), TimerCreated(**PLACED, fire_at_ms=NOW_MS + 60_000)),
    "timer of no time": (lambda ctx: ctx.schedule_timer(timedelta(0)), TimerCreated(**PLACED, fire_at_ms=NOW_MS)),
    "external event": (lambda ctx: ctx.wait_event("approval"), ExternalSubscribed(**PLACED, name="approval")),
    "queue": (lambda ctx: ctx.dequeue("orders"), QueueSubscribed(**PLACED, name="orders")),
    "child": (
        lambda ctx: ctx.schedule_sub_orchestration("child", "in"),
        SubOrchestrationScheduled(**PLACED, name="child", instance="i::sub::2", input=payload("in")),
    ),
    "child with an id": (
        lambda ctx: ctx.schedule_sub_orchestration("child", "in", instance="mine"),
        SubOrchestrationScheduled(**PLACED, name="child", instance="mine", input=payload("in")),
    ),
    "detached": (
        lambda ctx: ctx.start_detached("other", "in", instance="theirs"),
        OrchestrationChained(**PLACED, name="other", instance="theirs", input=payload("in")),
    ),
}


def asks(call: Call) -> Any:
    """An orchestration that makes the call first, and then waits."""

    @orchestration
    async def code(ctx: OrchestrationContext) -> None:
        call(ctx)
        await ctx.wait_event("never")

    return code
