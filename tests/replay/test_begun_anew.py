"""What does a start do to an instance that exists: does one that has ended begin anew, and as whom?"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from engine.model.events import OrchestrationStarted
from engine.model.ids import ParentLink
from engine.model.key_values import KeyValue, KeyValueChange
from engine.model.messages import FailSubOrchestration, StartOrchestration
from engine.model.policies import ReusePolicy
from engine.model.status import Status
from engine.model.turn import Disposition, TurnResult
from engine.port import OrchestrationItem
from engine.registry import Registry, orchestration
from engine.replay.context import OrchestrationContext
from engine.replay.turn import Committed, TurnOptions, Unregistered, run_turn
from tests.replay.given import CONVERTER, LIFE, NOW_MS, Instance, StoredHistory, kinds, payload

AGAIN = StartOrchestration(
    instance="i", name="tells", input=payload(2), message_id="again", if_exists=ReusePolicy.RESTART_ENDED
)


@orchestration
async def tells(ctx: OrchestrationContext, number: int) -> object:
    ctx.set_key_value("seen", [ctx.get_key_value("left"), ctx.custom_status, number])
    return [ctx.execution_id, await ctx.wait_event("go"), str(ctx.new_guid())]


@orchestration
async def ends(ctx: OrchestrationContext, how: str) -> None:
    await ctx.wait_event("go")
    if how == "fails":
        raise ValueError("as told")


def ended(how: str = "returns") -> Instance:
    instance = Instance(ends)
    instance.start(how)
    instance.give(instance.cancelled() if how == "cancelled" else instance.raised("go"))
    return instance


def anew(instance: Instance, *messages: Any, code: Callable[..., Any] = tells, new_incarnation: int = 99) -> Any:
    item = OrchestrationItem(
        instance="i",
        orchestration_name="ends",
        version="1.0.0",
        execution_id=instance.execution_id,
        incarnation=LIFE,
        history=StoredHistory(instance.history, {"left": KeyValue(payload("left"), 1)}),
        messages=messages,
        lock_token="lock",
        attempt_count=1,
        lineage=1,
        now_ms=NOW_MS + 7,
        status=instance.status,
    )
    return run_turn(
        item, Registry(orchestrations=[code]), CONVERTER, TurnOptions(), live=None, new_incarnation=new_incarnation
    )


def result_of(outcome: Any) -> TurnResult:
    assert isinstance(outcome, Committed), outcome
    if outcome.live is not None:
        outcome.live.put_away()
    return outcome.result


@pytest.mark.parametrize("how", ["returns", "fails", "cancelled"])
def test_an_instance_that_has_ended_begins_anew_as_another_life(how: str) -> None:
    result = result_of(anew(ended(how), AGAIN))
    assert result.execution_id == 2
    assert isinstance(started := result.history_delta[0], OrchestrationStarted)
    assert (started.incarnation, started.message_id, started.parent, started.carried) == (99, "again", None, ())
    metadata = result.metadata
    assert (metadata.status, metadata.incarnation, metadata.start_id) == (Status.RUNNING, 99, "again")
    assert (metadata.new_life, metadata.set_custom_status, metadata.custom_status) == (True, True, None)
    assert metadata.orchestration_name == "tells"
    assert result.key_values == (KeyValueChange("seen", payload([None, None, 2])),)
    assert result.dispositions == (Disposition.APPLIED,)


def test_what_came_before_the_start_was_for_the_life_that_ended_and_the_rest_is_for_the_next() -> None:
    instance = ended()
    late, stale = instance.raised("go", "late"), instance.completed(2)
    other = structs.replace(stale, incarnation=5)
    caller = ParentLink("p", 9, 1, 2)
    child = instance.start_message(parent=caller)
    result = result_of(anew(instance, instance.raised("go", "too early"), other, child, AGAIN, stale, late, AGAIN))
    assert result.dispositions == (
        Disposition.STALE,
        Disposition.OTHER_INCARNATION,
        Disposition.DUPLICATE,
        Disposition.APPLIED,
        Disposition.OTHER_INCARNATION,
        Disposition.APPLIED,
        Disposition.DUPLICATE,
    )
    assert [type(message) for message in result.messages] == [FailSubOrchestration]
    assert result.metadata.status is Status.COMPLETED
    assert b'"late"' in (result.metadata.output or payload(None)).data
    assert kinds(result.history_delta)[0] == "OrchestrationStarted"


@pytest.mark.parametrize("policy", [None, ReusePolicy.REFUSE, ReusePolicy.UNKNOWN])
def test_without_being_asked_to_it_does_not(policy: ReusePolicy | None) -> None:
    result = result_of(anew(ended(), structs.replace(AGAIN, if_exists=policy)))
    assert (result.history_delta, result.dispositions) == ((), (Disposition.DUPLICATE,))


def test_a_child_that_meets_what_has_ended_does_not_begin_it_anew() -> None:
    result = result_of(anew(ended(), structs.replace(AGAIN, parent=ParentLink("p", 9, 1, 2))))
    assert (result.history_delta, result.dispositions) == ((), (Disposition.DUPLICATE,))
    assert [type(message) for message in result.messages] == [FailSubOrchestration]


def test_one_that_runs_is_left_alone_also_if_it_ends_in_the_same_turn() -> None:
    instance = Instance(ends)
    instance.start("returns")
    assert instance.give(AGAIN).dispositions == (Disposition.DUPLICATE,)
    result = instance.give(instance.raised("go"), AGAIN)
    assert result.dispositions == (Disposition.APPLIED, Disposition.DUPLICATE)
    assert (instance.status, instance.execution_id) == (Status.COMPLETED, 1)


def test_an_instance_that_does_not_exist_is_begun_as_ever() -> None:
    instance = Instance(tells)
    result = instance.give(AGAIN)
    assert (result.execution_id, result.metadata.new_life, result.metadata.start_id) == (1, False, "again")


def test_code_that_is_not_there_is_waited_for() -> None:
    outcome = anew(ended(), AGAIN, code=ends)
    assert outcome == Unregistered("tells", None)


def test_a_life_that_ends_in_its_first_turn_is_one() -> None:
    @orchestration(name="tells")
    async def shows(ctx: OrchestrationContext, number: int) -> None:
        ctx.set_custom_status("x" * 1_000_000)

    result = result_of(anew(ended(), AGAIN, code=shows))
    assert (result.metadata.new_life, result.metadata.status) == (True, Status.FAILED)
    assert kinds(result.history_delta) == ["OrchestrationStarted", "OrchestrationFailed"]
