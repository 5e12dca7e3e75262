"""What does a node of the fleet's next release run? A watch that looks at once when told to, beside the old one.

Nothing is migrated. A watch ends an execution with every round, and begins the next with the latest version its node
has. What is in the middle of something goes on with the version it began with, so the old one stays in the registry.
"""

import orchestrations
from app import ACTIVITIES, ORCHESTRATIONS
from engine import OrchestrationContext, Registry, orchestration
from plan import Watch


@orchestration(name="watch", version="2.0.0")
async def watch(ctx: OrchestrationContext, watched: Watch) -> Watch:
    """As version 1.0.0; and event `check` brings the next check forward."""
    order = await ctx.select(
        ctx.dequeue("delete"), ctx.schedule_timer(orchestrations.CHECK_EVERY), ctx.wait_event("check")
    )
    return await orchestrations.look_after(ctx, watched, delete=order.index == 0)


registry = Registry(orchestrations=[*ORCHESTRATIONS, watch], activities=ACTIVITIES)
