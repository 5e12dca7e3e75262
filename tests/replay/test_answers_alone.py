"""What is an execution when nothing arrives but an answer? What the first event of its own history says, all of it."""

import pytest

from engine.model.events import ActivityScheduled, AnyEvent, OrchestrationStarted
from engine.model.ids import ParentLink
from engine.model.messages import CompleteSubOrchestration
from engine.model.status import Status
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.given import LIFE, NOW_MS, Instance, payload
from tests.upstream import upstream

PARENT = ParentLink("parent", 9, 3, 42)


@orchestration(name="prunes", version="1.0.2")
async def prunes_v102(ctx: OrchestrationContext, value: str) -> list[object]:
    result = await ctx.schedule_activity("prune", value, output=str)
    return [ctx.name, ctx.version, ctx.execution_id, value, result]


@orchestration(name="prunes", version="2.0.0")
async def prunes_v200(ctx: OrchestrationContext, value: str) -> list[object]:
    result = await ctx.schedule_activity("prune_otherwise", value, output=str)
    return [ctx.name, ctx.version, ctx.execution_id, value, result]


def history(version: str, value: str) -> list[AnyEvent]:
    """An execution that has asked for its activity."""
    asked = "prune" if version == "1.0.2" else "prune_otherwise"
    return [
        OrchestrationStarted(
            event_id=1,
            timestamp_ms=NOW_MS,
            name="prunes",
            version=version,
            input=payload(value),
            incarnation=LIFE,
            parent=PARENT,
        ),
        ActivityScheduled(event_id=2, timestamp_ms=NOW_MS, name=asked, input=payload(value)),
    ]


@pytest.mark.parametrize("execution_id", [1, 2, 7])
@pytest.mark.parametrize("version", ["1.0.2", "2.0.0"])
@upstream(
    "scenarios/version_replay_bug",
    "unit_completion_only_replay_uses_nth_execution_input",
    "unit_input_comes_from_extract_context_not_workitem_reader",
    "unit_nth_execution_history_starts_with_orchestration_started",
    "unit_workitem_reader_completion_only_must_preserve_version",
    "unit_workitem_reader_completion_only_tuple_field_analysis",
    "unit_workitem_reader_nth_execution_must_preserve_version",
)
def test_name_version_input_and_parent_are_those_of_the_history(version: str, execution_id: int) -> None:
    begun = history(version, "its own input")
    # What the item says of the instance is the version of its row, 1.0.0, which is no version of this code.
    instance = Instance(prunes_v102, prunes_v200, history=begun, execution_id=execution_id)
    result = instance.give(instance.completed(2, "pruned"))
    assert instance.status is Status.COMPLETED
    output = ["prunes", version, execution_id, "its own input", "pruned"]
    assert instance.output == output
    (told,) = result.messages
    assert told == CompleteSubOrchestration(
        instance=PARENT.instance,
        incarnation=PARENT.incarnation,
        execution_id=PARENT.execution_id,
        event_id=PARENT.event_id,
        result=payload(output),
    )
