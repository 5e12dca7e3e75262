"""How do parents and children find each other, and what when the id is taken?"""

import pytest

from engine.errors import SubOrchestrationError, UsageError
from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.messages import CompleteSubOrchestration, ContinueInstance, FailSubOrchestration, StartOrchestration
from engine.model.status import Status
from engine.model.turn import Disposition
from engine.registry import orchestration
from engine.replay.call_options import ChildOptions
from engine.replay.context import OrchestrationContext
from tests.replay.given import LIFE, Instance, kinds, payload
from tests.upstream import upstream


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> int:
    return number * 2


@orchestration
async def waiting_child(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("never")


@orchestration
async def parent(ctx: OrchestrationContext) -> str:
    try:
        return str(await ctx.schedule_sub_orchestration(child, 21))
    except SubOrchestrationError as error:
        return f"{error.failure.type}: {error.failure.message}"


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_child_is_started_with_an_id_of_its_call_and_a_link_back() -> None:
    (sent,) = Instance(parent).start().messages
    assert sent == StartOrchestration(
        instance="i::sub::2", name="child", input=payload(21), parent=ParentLink("i", LIFE, 1, 2)
    )


def test_the_childs_answer_reaches_the_call(keep: bool) -> None:
    instance = Instance(parent, keep=keep)
    instance.start()
    instance.give(instance.child_completed(2, 42))
    assert instance.output == "42"


def test_a_child_answers_its_parent() -> None:
    result = Instance(child).start(4, parent=ParentLink("p", 9, 3, 7))
    assert result.messages == (
        CompleteSubOrchestration(instance="p", incarnation=9, execution_id=3, event_id=7, result=payload(8)),
    )
    assert result.metadata.parent_instance == "p"


def test_a_failed_child_is_an_exception_with_the_failure_inside(keep: bool) -> None:
    instance = Instance(parent, keep=keep)
    instance.start()
    failure = Failure(category=Category.APPLICATION, type="ValueError", message="bad")
    instance.give(FailSubOrchestration(instance="i", incarnation=LIFE, execution_id=1, event_id=2, failure=failure))
    assert instance.output == "ValueError: bad"


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    "caller",
    [ParentLink("q", 8, 4, 6), ParentLink("p", 9, 1, 3), ParentLink("p", 9, 2, 2), ParentLink("p", 8, 1, 2)],
    ids=["another parent", "another call", "a later execution", "another life"],
)
@upstream(
    "can_abandon_failure",
    "live_collision_ignores_only_the_same_known_parent_call",
    differs="A link always says which execution called.",
)
def test_a_start_of_what_exists_tells_the_other_caller(ended: bool, caller: ParentLink) -> None:
    instance = Instance(child if ended else waiting_child)
    instance.give(instance.start_message(1 if ended else None, parent=ParentLink("p", 9, 1, 2)))
    result = instance.give(instance.start_message(1, parent=caller))
    assert result.dispositions == (Disposition.DUPLICATE,)
    assert result.history_delta == ()
    (told,) = result.messages
    assert isinstance(told, FailSubOrchestration)
    assert ParentLink(told.instance, told.incarnation, told.execution_id, told.event_id) == caller
    assert told.failure.message == "expected no instance 'i', but it already exists"
    if not ended:
        instance.give(instance.raised("never"))
        assert instance.status is Status.COMPLETED


@pytest.mark.parametrize("ended", [False, True])
@upstream("can_abandon_failure", "live_collision_ignores_only_the_same_known_parent_call")
def test_the_very_same_call_is_just_a_duplicate(ended: bool) -> None:
    instance = Instance(child if ended else waiting_child)
    start = instance.start_message(1 if ended else None, parent=ParentLink("p", 9, 1, 2))
    instance.give(start)
    result = instance.give(start)
    assert (result.dispositions, result.messages) == ((Disposition.DUPLICATE,), ())


def test_a_clients_second_start_is_a_duplicate_and_nobody_is_told() -> None:
    instance = Instance(waiting_child)
    result = instance.give(instance.start_message(), instance.start_message())
    assert (result.dispositions, result.messages) == ((Disposition.APPLIED, Disposition.DUPLICATE), ())


def test_children_of_later_executions_have_ids_of_their_own_and_the_parent_link_is_kept() -> None:
    @orchestration
    async def again(ctx: OrchestrationContext, number: int) -> None:
        if number == 0:
            return ctx.continue_as_new(1)
        await ctx.schedule_sub_orchestration(child, 1)
        return None

    link = ParentLink("p", 9, 1, 2)
    instance = Instance(again)
    (sent,) = instance.start(0, parent=link).messages
    assert isinstance(sent, ContinueInstance)
    assert sent.parent == link
    (started,) = instance.give(sent).messages
    assert started.instance == "i::sub::2_2"


def test_detached_starts_have_no_parent_and_count_even_in_the_last_turn() -> None:
    @orchestration
    async def launches(ctx: OrchestrationContext) -> str:
        ctx.start_detached(child, 5, instance="other")
        return "launched"

    result = Instance(launches).start()
    assert result.messages == (StartOrchestration(instance="other", name="child", input=payload(5)),)


@upstream("instance_id_validation_tests", "schedule_orchestration_accepts_normal_id")
def test_a_detached_start_takes_the_id_as_it_is() -> None:
    @orchestration
    async def launches(ctx: OrchestrationContext) -> str:
        ctx.start_detached(child, 5, instance="tenant-7::order-42")
        return "launched"

    instance = Instance(launches)
    (started,) = instance.start().messages
    assert (started.instance, instance.output) == ("tenant-7::order-42", "launched")


BAD_IDS = ["", "a::sub::1", "sub::squatter", "sub::pending_99", "x" * 600, "a\nb"]


@pytest.mark.parametrize("bad", BAD_IDS)
@upstream(
    "instance_id_validation_tests",
    "schedule_orchestration_rejects_reserved_infix",
    "schedule_orchestration_rejects_reserved_prefix",
)
def test_an_id_that_cannot_be_one_is_refused_in_the_code(bad: str) -> None:
    @orchestration
    async def launches(ctx: OrchestrationContext) -> None:
        ctx.start_detached(child, 5, instance=bad)

    result = Instance(launches).start()
    failure = result.metadata.failure
    assert failure is not None
    assert failure.type == "UsageError"
    assert failure.message.startswith("expected ")
    assert result.messages == ()


@pytest.mark.parametrize("options", [ChildOptions(), ChildOptions(version="1.0.0")])
@pytest.mark.parametrize("bad", BAD_IDS)
@upstream(
    "instance_id_validation_tests",
    "sub_orchestration_with_id_rejects_leading_reserved_marker",
    "sub_orchestration_with_id_rejects_pending_placeholder_prefix",
    "sub_orchestration_versioned_with_id_rejects_leading_reserved_marker",
    "rejected_explicit_id_writes_no_scheduling_event",
)
@upstream(
    "instance_id_validation_tests",
    "sub_orchestration_with_id_allows_reserved_marker_infix",
    differs="No id that a call names may look like the one of an automatic child.",
)
@upstream(
    "scenarios/suborch_id_collision",
    "explicit_sub_orchestration_id_allows_reserved_marker_infix",
    differs="No id that a call names may look like the one of an automatic child.",
)
def test_so_is_one_of_a_child_and_nothing_of_it_is_recorded(bad: str, options: ChildOptions) -> None:
    named: ChildOptions = {**options, "instance": bad}

    @orchestration
    async def calls(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_sub_orchestration(child, 5, **named)
        except UsageError as error:
            return str(error)
        return "scheduled"

    instance = Instance(calls)
    result = instance.start()
    assert str(instance.output).startswith("expected ")
    assert result.messages == ()
    assert kinds(result.history_delta) == ["OrchestrationStarted", "OrchestrationCompleted"]


def test_an_answer_for_another_life_of_the_parent_is_dropped(keep: bool) -> None:
    instance = Instance(parent, keep=keep)
    instance.start()
    result = instance.give(
        CompleteSubOrchestration(instance="i", incarnation=LIFE + 1, execution_id=1, event_id=2, result=payload(1))
    )
    assert (result.dispositions, result.history_delta) == ((Disposition.OTHER_INCARNATION,), ())
