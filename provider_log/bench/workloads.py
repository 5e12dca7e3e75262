"""Which orchestrations are measured? Small ones whose cost is the engine's and not their own."""

from collections.abc import Mapping

from msgspec import Struct

from engine import OrchestrationContext, Registry, activity, orchestration


@activity
async def greet(name: str) -> str:
    """An activity that costs nothing."""
    return f"hello {name}"


@orchestration
async def hello3(ctx: OrchestrationContext, name: str) -> str:
    """Three activities in sequence: Durable Functions' HelloSequence3, the field's usual yardstick."""
    first = await ctx.schedule_activity(greet, name)
    second = await ctx.schedule_activity(greet, first)
    return await ctx.schedule_activity(greet, second)


class Workload(Struct, frozen=True):
    """What to start, and what it must return: a wrong answer is not a measurement."""

    name: str
    input: str
    output: str


REGISTRY = Registry(orchestrations=[hello3], activities=[greet])
WORKLOADS: Mapping[str, Workload] = {"hello3": Workload("hello3", "log", "hello hello hello log")}
