"""How do parents and children find each other, and what when the id is taken?"""

import pytest

from engine.errors import SubOrchestrationError
from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.messages import CompleteSubOrchestration, ContinueInstance, FailSubOrchestration, StartOrchestration
from engine.model.turn import Disposition
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.given import LIFE, Instance, payload


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
def test_a_start_of_what_exists_tells_the_other_caller(ended: bool) -> None:
    instance = Instance(child if ended else waiting_child)
    instance.give(instance.start_message(1 if ended else None, parent=ParentLink("p", 9, 1, 2)))
    result = instance.give(instance.start_message(1, parent=ParentLink("q", 8, 4, 6)))
    assert result.dispositions == (Disposition.DUPLICATE,)
    assert result.history_delta == ()
    (told,) = result.messages
    assert isinstance(told, FailSubOrchestration)
    assert (told.instance, told.incarnation, told.execution_id, told.event_id) == ("q", 8, 4, 6)
    assert told.failure.message == "expected no instance 'i', but it already exists"


@pytest.mark.parametrize("ended", [False, True])
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


@pytest.mark.parametrize("bad", ["", "a::sub::1", "x" * 600, "a\nb"])
def test_an_id_that_cannot_be_one_is_refused_in_the_code(bad: str) -> None:
    @orchestration
    async def launches(ctx: OrchestrationContext) -> None:
        ctx.start_detached(child, 5, instance=bad)

    failure = Instance(launches).start().metadata.failure
    assert failure is not None
    assert failure.type == "UsageError"
    assert failure.message.startswith("expected ")


def test_an_answer_for_another_life_of_the_parent_is_dropped(keep: bool) -> None:
    instance = Instance(parent, keep=keep)
    instance.start()
    result = instance.give(
        CompleteSubOrchestration(instance="i", incarnation=LIFE + 1, execution_id=1, event_id=2, result=payload(1))
    )
    assert (result.dispositions, result.history_delta) == ((Disposition.OTHER_INCARNATION,), ())
