"""Who gets an external event, and who a queue message?"""

import asyncio
from datetime import timedelta

import pytest

from engine.model.events import CarriedMessage, OrchestrationStarted
from engine.model.messages import ContinueInstance
from engine.model.turn import Disposition
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from tests.replay.given import LIFE, Instance, kinds, payload
from tests.upstream import upstream


@pytest.fixture(params=[True, False], ids=["kept", "replayed"])
def keep(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_the_nth_wait_of_a_name_gets_the_nth_event_of_that_name(keep: bool) -> None:
    @orchestration
    async def two(ctx: OrchestrationContext) -> list[int]:
        first, second = ctx.wait_event("n", int), ctx.wait_event("n", int)
        return [await second, await first]

    instance = Instance(two, keep=keep)
    instance.start()
    instance.give(instance.raised("other", 0))
    instance.give(instance.raised("n", 1))
    instance.give(instance.raised("n", 2))
    assert instance.output == [2, 1]


@upstream("replay_engine/history_corruption", "orphan_external_event")
@upstream("replay_engine/completion_messages", "external_without_subscription")
@upstream("continue_as_new_tests", "event_drop_then_retry_after_subscribe")
def test_an_event_nobody_waits_for_is_recorded_and_lost(keep: bool) -> None:
    @orchestration
    async def later(ctx: OrchestrationContext) -> int:
        await ctx.wait_event("go")
        return await ctx.wait_event("n", int)

    instance = Instance(later, keep=keep)
    instance.start()
    early = instance.give(instance.raised("n", 1))
    assert early.dispositions == (Disposition.EARLY,)
    assert kinds(early.history_delta) == ["ExternalEventReceived"]
    instance.give(instance.raised("go"))
    instance.give(instance.raised("n", 2))
    assert instance.output == 2


def test_a_wait_opened_in_answer_to_an_earlier_message_of_the_batch_is_open(keep: bool) -> None:
    @orchestration
    async def again(ctx: OrchestrationContext) -> list[int]:
        return [await ctx.wait_event("n", int) for _ in range(3)]

    instance = Instance(again, keep=keep)
    instance.start()
    instance.give(*(instance.raised("n", number) for number in (1, 2, 3)))
    assert instance.output == [1, 2, 3]


def test_a_cancelled_wait_leaves_its_place_to_the_next(keep: bool) -> None:
    @orchestration
    async def second_wins(ctx: OrchestrationContext) -> int:
        first, second = ctx.wait_event("n", int), ctx.wait_event("n", int)
        first.cancel()
        return await second

    instance = Instance(second_wins, keep=keep)
    instance.start()
    instance.give(instance.raised("n", 1))
    assert instance.output == 1


def test_queue_messages_are_kept_until_they_are_read_in_order(keep: bool) -> None:
    @orchestration
    async def reads(ctx: OrchestrationContext) -> list[str]:
        await ctx.wait_event("go")
        return [await ctx.dequeue("q", str) for _ in range(3)]

    instance = Instance(reads, keep=keep)
    instance.start()
    instance.give(instance.enqueued("q", "a"), instance.enqueued("other", "x"), instance.enqueued("q", "b"))
    instance.give(instance.raised("go"))
    instance.give(instance.enqueued("q", "c"))
    assert instance.output == ["a", "b", "c"]


@upstream("cancellation_corner_cases", "q3_same_queue_select2_fifo")
def test_a_reader_that_loses_a_race_leaves_the_message_where_it_was(keep: bool) -> None:
    @orchestration
    async def reads_one(ctx: OrchestrationContext) -> list[str]:
        await ctx.wait_event("go")
        won = await ctx.select(ctx.dequeue("q", str), ctx.dequeue("q", str))
        return [won.value, await ctx.dequeue("q", str), await ctx.dequeue("q", str)]

    instance = Instance(reads_one, keep=keep)
    instance.start()
    instance.give(*(instance.enqueued("q", letter) for letter in "abc"))
    instance.give(instance.raised("go"))
    assert instance.output == ["a", "b", "c"]


def test_messages_given_back_keep_their_order(keep: bool) -> None:
    @orchestration
    async def gives_back(ctx: OrchestrationContext) -> list[str]:
        await ctx.wait_event("go")
        first, second = ctx.dequeue("q", str), ctx.dequeue("q", str)
        first.cancel()
        second.cancel()
        return [await ctx.dequeue("q", str), await ctx.dequeue("q", str)]

    instance = Instance(gives_back, keep=keep)
    instance.start()
    instance.give(instance.enqueued("q", "a"), instance.enqueued("q", "b"))
    instance.give(instance.raised("go"))
    assert instance.output == ["a", "b"]


def test_a_message_given_back_goes_to_a_reader_that_waits(keep: bool) -> None:
    @orchestration
    async def hands_on(ctx: OrchestrationContext) -> str:
        first, second = ctx.dequeue("q", str), ctx.dequeue("q", str)
        await ctx.wait_event("go")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    instance = Instance(hands_on, keep=keep)
    instance.start()
    instance.give(instance.enqueued("q", "a"))
    instance.give(instance.raised("go"))
    assert instance.output == "a"


@upstream("cancellation_corner_cases", "q10_explicit_bound_drop_followed_by_message")
def test_a_reader_whose_task_is_cancelled_before_it_looks_loses_nothing(keep: bool) -> None:
    @orchestration
    async def cancelled_reader(ctx: OrchestrationContext) -> str:
        async def read() -> str:
            return await ctx.dequeue("q", str)

        loop = asyncio.get_running_loop()
        reader = loop.create_task(read())
        await ctx.wait_event("go")
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        return await ctx.dequeue("q", str)

    instance = Instance(cancelled_reader, keep=keep)
    instance.start()
    instance.give(instance.raised("go"))
    instance.give(instance.enqueued("q", "a"))
    assert instance.output == "a"


def test_a_queue_message_with_the_id_of_an_earlier_one_is_a_duplicate(keep: bool) -> None:
    @orchestration
    async def reads_two(ctx: OrchestrationContext) -> list[str]:
        return [await ctx.dequeue("q", str), await ctx.dequeue("q", str)]

    instance = Instance(reads_two, keep=keep)
    instance.start()
    instance.give(instance.enqueued("q", "a", "m1"))
    again = instance.give(instance.enqueued("q", "a", "m1"))
    assert (again.dispositions, again.history_delta) == ((Disposition.DUPLICATE,), ())
    instance.give(instance.enqueued("q", "b", "m2"))
    assert instance.output == ["a", "b"]


@upstream("errors_tests", "typed_event_decode_error_fs")
def test_data_of_the_wrong_type_is_the_codes_to_handle(keep: bool) -> None:
    @orchestration
    async def wants_int(ctx: OrchestrationContext) -> str:
        try:
            await ctx.wait_event("n", int)
        except Exception as error:
            return str(error)
        return "fine"

    instance = Instance(wants_int, keep=keep)
    instance.start()
    instance.give(instance.raised("n", "one"))
    assert instance.output == "expected external event n of type int, but Expected `int`, got `str`"


@orchestration
async def counter(ctx: OrchestrationContext, total: int) -> int:
    number = await ctx.dequeue("n", int)
    if number == 0:
        return total
    return ctx.continue_as_new(total + number)


@upstream("replay_engine/fresh_execution", "continue_as_new")
@upstream("cancellation_corner_cases", "ms4_sqlite_continue_as_new_preserves_unconsumed_queue_messages")
def test_continuing_as_new_sends_the_next_start_with_unread_messages_and_status() -> None:
    @orchestration
    async def once(ctx: OrchestrationContext, number: int) -> int:
        ctx.set_custom_status(f"run {number}")
        await ctx.wait_event("go")
        return ctx.continue_as_new(number + 1)

    instance = Instance(once)
    instance.start(1)
    instance.give(instance.enqueued("b", 1, "m1"), instance.enqueued("a", 2))
    result = instance.give(instance.raised("go"))
    (sent,) = result.messages
    assert isinstance(sent, ContinueInstance)
    assert sent.carried == (CarriedMessage("b", payload(1), "m1"), CarriedMessage("a", payload(2)))
    assert (sent.input, sent.custom_status, sent.incarnation) == (payload(2), "run 1", LIFE)


@upstream(
    "cancellation_corner_cases",
    "sqlite_unread_messages_carry_across_two_continue_as_new_for_both_policies",
    differs="There is one policy.",
)
def test_executions_follow_one_another_and_read_on_in_order(keep: bool) -> None:
    instance = Instance(counter, keep=keep)
    instance.start(0)
    (sent,) = instance.give(instance.enqueued("n", 1), instance.enqueued("n", 2), instance.enqueued("n", 0)).messages
    assert isinstance(sent, ContinueInstance)
    assert [message.data for message in sent.carried] == [payload(2), payload(0)]
    (sent,) = instance.give(sent).messages
    started = instance.history[0]
    assert isinstance(started, OrchestrationStarted)
    assert (instance.execution_id, started.event_id) == (2, 1)
    instance.give(sent)
    assert (instance.execution_id, instance.output) == (3, 3)


def test_between_executions_messages_stay_until_the_next_start_is_there() -> None:
    instance = Instance(counter)
    instance.start(0)
    (sent,) = instance.give(instance.enqueued("n", 5)).messages
    waiting = instance.turn(instance.enqueued("n", 0))
    assert type(waiting).__name__ == "Waiting"
    instance.give(instance.enqueued("n", 0), sent)
    assert instance.output == 5


def test_a_second_start_of_the_next_execution_is_a_duplicate() -> None:
    instance = Instance(counter)
    instance.start(0)
    (sent,) = instance.give(instance.enqueued("n", 5)).messages
    instance.give(sent)
    assert instance.give(sent).dispositions == (Disposition.DUPLICATE,)


@upstream(
    "continue_as_new_tests",
    "continue_as_new_event_drop_then_process",
    differs="An event behind the end of an execution is for the next one, and is lost only if nobody waits there.",
)
def test_events_and_cancels_behind_the_end_of_an_execution_reach_the_next() -> None:
    @orchestration
    async def twice(ctx: OrchestrationContext, number: int) -> str:
        got = await ctx.wait_event("n", str)
        return got if number else ctx.continue_as_new(1)

    instance = Instance(twice)
    instance.start(0)
    result = instance.give(instance.raised("n", "a"), instance.raised("n", "b"), instance.enqueued("q", 1))
    assert result.dispositions == (Disposition.APPLIED, Disposition.FORWARDED, Disposition.APPLIED)
    instance.give(*result.messages)
    assert instance.output == "b"


def test_a_continue_as_new_that_is_not_returned_is_a_failure() -> None:
    @orchestration
    async def forgets_return(ctx: OrchestrationContext) -> str:
        getattr(ctx, "continue_as_new")(1)  # noqa: B009  # to a type checker nothing can follow the call itself
        return "done"

    failure = Instance(forgets_return).start().metadata.failure
    assert failure is not None
    assert "expected `return ctx.continue_as_new(...)`" in failure.message


@upstream("continue_as_new_tests", "old_execution_completions_are_ignored")
@upstream("nondeterminism_tests", "execution_id_filtering_prevents_cross_execution_completions")
def test_an_answer_to_an_earlier_execution_is_stale(keep: bool) -> None:
    @orchestration
    async def restarts(ctx: OrchestrationContext, number: int) -> None:
        ctx.schedule_activity("slow")
        await ctx.schedule_timer(timedelta(seconds=1))
        if number == 0:
            return ctx.continue_as_new(1)
        return await ctx.wait_event("never")

    instance = Instance(restarts, keep=keep)
    instance.start(0)
    late = instance.completed(2)
    (sent,) = instance.give(instance.fired(3)).messages
    instance.give(sent)
    assert instance.give(late).dispositions == (Disposition.STALE,)


@upstream(
    "queue_event_tests",
    "continue_as_new_carries_the_oldest_100_unread_arrivals_across_names",
    differs="The oldest 1000 are carried.",
)
def test_of_very_many_unread_messages_the_oldest_are_carried_and_the_loss_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @orchestration
    async def swamped(ctx: OrchestrationContext) -> None:
        await ctx.wait_event("go")
        return ctx.continue_as_new()

    instance = Instance(swamped)
    instance.start()
    instance.give(*(instance.enqueued(f"q{number % 3}", number) for number in range(1_003)))
    (sent,) = instance.give(instance.raised("go")).messages
    assert isinstance(sent, ContinueInstance)
    assert [message.data for message in sent.carried] == [payload(number) for number in range(1_000)]
    assert "the newest 3 are lost" in caplog.text
