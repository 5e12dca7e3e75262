"""Does an activity run once per delivery, under its lease, and always end with a message or without one on purpose?"""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from engine.activity_context import ActivityContext
from engine.errors import ActivityError, InDoubt, LeaseLost, OwnershipLost, Refused, Retryable, TurnTooLarge
from engine.model.failure import Category, Failure
from engine.model.messages import CompleteActivity, FailActivity
from engine.model.payload import NULL, Payload
from engine.model.tags import TagFilter
from engine.model.work import WorkItem
from engine.observe import recorded_marks, subject
from engine.registry import activity, orchestration
from engine.replay.bounds import TurnOptions
from engine.replay.context import OrchestrationContext
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

LEASE_MS = EngineOptions().activity_lease_ms


@activity
async def echo(value: int) -> int:
    return value


def work_item(name: str, data: bytes = b"null", activity_id: int = 2) -> WorkItem:
    return WorkItem(
        instance="order-1",
        incarnation=7,
        execution_id=1,
        activity_id=activity_id,
        name=name,
        input=Payload(data),
        orchestration="ship",
        version="1.2.0",
        traceparent="00-1-2-01",
    )


async def completion_of(
    bench: Bench, activities: Sequence[Any], item: WorkItem, options: EngineOptions | None = None
) -> CompleteActivity | FailActivity:
    """What an engine with `activities` says about one work item."""
    async with nothing_left(), bench.engine(activities=activities, options=options):
        await bench.provider.enqueue_for_worker(item)
        await ends(bench.clock, acked(bench))
    [completion] = bench.provider.completions
    assert isinstance(completion, (CompleteActivity, FailActivity))
    assert (completion.instance, completion.incarnation, completion.activity_id) == ("order-1", 7, item.activity_id)
    return completion


async def acked(bench: Bench) -> None:
    while not bench.provider.completions:
        await bench.provider.acked.wait()


async def failure_of_work(
    bench: Bench, activities: Sequence[Any], item: WorkItem, options: EngineOptions | None = None
) -> Failure:
    completion = await completion_of(bench, activities, item, options)
    assert isinstance(completion, FailActivity)
    return completion.failure


# What a call is given and what it gives


@upstream("registry_tests", "activity_context_metadata")
async def test_the_context_says_whose_call_it_is_and_records_carry_it(bench: Bench) -> None:
    seen: list[object] = []

    @activity
    async def look(ctx: ActivityContext, value: int) -> int:
        about = subject.get()
        seen.extend([ctx.instance, ctx.execution_id, ctx.activity_id, ctx.name, ctx.orchestration, ctx.version])
        seen.extend([ctx.attempt, ctx.is_cancelled(), about and about.instance, ctx.logger.extra, ctx.traceparent])
        return value

    await completion_of(bench, [look], work_item("look", b"3"))
    about = {"instance": "order-1", "execution_id": 1}
    assert seen == ["order-1", 1, 2, "look", "ship", "1.2.0", 1, False, "order-1", about, "00-1-2-01"]


async def test_a_thread_has_the_context_too(bench: Bench) -> None:
    @activity
    def look(ctx: ActivityContext) -> str:
        about = subject.get()
        ctx.raise_if_cancelled()
        return f"{about and about.instance} {threading.current_thread() is threading.main_thread()}"

    completion = await completion_of(bench, [look], work_item("look"))
    assert completion == CompleteActivity(
        instance="order-1", incarnation=7, execution_id=1, activity_id=2, result=Payload(b'"order-1 False"')
    )


async def test_an_activity_without_an_input_ignores_none_and_returns_null(bench: Bench) -> None:
    @activity
    async def tidy_up() -> None:
        return

    completion = await completion_of(bench, [tidy_up], work_item("tidy_up"))
    assert isinstance(completion, CompleteActivity)
    assert completion.result == NULL


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit("boom"), asyncio.CancelledError("boom")])
async def test_whatever_async_code_raises_is_its_failure_and_the_engine_lives(
    bench: Bench, error: BaseException
) -> None:
    @activity
    async def fail() -> None:
        raise error

    failure = await failure_of_work(bench, [fail], work_item("fail"))
    assert (failure.category, failure.type, failure.message) == (Category.APPLICATION, type(error).__name__, "boom")


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit("boom"), StopIteration("boom")])
async def test_whatever_a_thread_raises_is_its_failure_too(bench: Bench, error: BaseException) -> None:
    @activity
    def fail() -> None:
        raise error

    failure = await failure_of_work(bench, [fail], work_item("fail"))
    assert failure.category is Category.APPLICATION
    assert type(error).__name__ in f"{failure.type} {failure.cause and failure.cause.type}"


@upstream("errors_tests", "typed_activity_decode_error_fs")
async def test_an_input_of_another_type_fails_with_both_halves(bench: Bench) -> None:
    failure = await failure_of_work(bench, [echo], work_item("echo", b'"seven"'))
    assert failure.message.startswith("expected the input of activity echo of type int, but")
    assert not failure.retryable


async def test_a_result_without_a_form_fails_with_both_halves(bench: Bench) -> None:
    @activity
    async def connect() -> object:
        return object()

    failure = await failure_of_work(bench, [connect], work_item("connect"))
    assert failure.message.startswith(
        "expected the result of activity connect to have a JSON form, but object has none"
    )
    assert not failure.retryable


async def test_a_result_that_is_too_large_fails_with_both_halves(bench: Bench) -> None:
    @activity
    async def dump() -> str:
        return "x" * 100

    options = EngineOptions(turn=TurnOptions(payload_bytes_max=50))
    failure = await failure_of_work(bench, [dump], work_item("dump"), options)
    assert failure.message == "expected the result of activity dump to have at most 50 bytes, but it has 102"
    assert (failure.category, failure.type, failure.retryable) == (Category.APPLICATION, "ResultTooLarge", False)


async def test_a_result_that_the_provider_refuses_becomes_a_failure(bench: Bench) -> None:
    bench.provider.fail("ack_work_item", Refused("ack_work_item", "expected at most 7 bytes, but it has 8"))
    with recorded_marks() as reached:
        failure = await failure_of_work(bench, [echo], work_item("echo", b"1"))
    assert "activity.completion_refused" in reached
    assert (failure.type, failure.retryable) == ("ResultRefused", False)
    assert "expected at most 7 bytes" in failure.message


async def test_a_result_that_no_record_holds_says_so_of_the_result(bench: Bench) -> None:
    bench.provider.fail("ack_work_item", TurnTooLarge("i", 8, 7))
    failure = await failure_of_work(bench, [echo], work_item("echo", b"1"))
    assert failure.message == "expected the result of activity echo to have at most 7 bytes, but encoded it has 8"
    assert (failure.type, failure.retryable) == ("ResultTooLarge", False)


# Deliveries


async def test_an_activity_nobody_registered_waits_for_an_engine_that_has_it(bench: Bench) -> None:
    await bench.provider.enqueue_for_worker(work_item("echo", b"5"))
    async with bench.engine() as without:
        await cycles()
        assert (without.counters.activities_unregistered, bench.provider.completions) == (1, [])
        bench.clock.advance(999)
        await cycles()
        assert without.counters.activities_unregistered == 1  # the first wait is a second
        bench.clock.advance(1)
        await cycles()
        assert without.counters.activities_unregistered == 2
    async with bench.engine(activities=[echo]):
        await ends(bench.clock, acked(bench))
    assert isinstance(bench.provider.completions[0], CompleteActivity)


@upstream(
    "errors_tests",
    "unknown_activity_fails_fs",
    differs="The activity fails as poison, and what awaits it may catch that.",
)
@upstream(
    "unregistered_backoff_tests",
    "unknown_activity_fails_with_poison",
    differs="The activity fails as poison, and what awaits it may catch that.",
)
async def test_an_activity_delivered_too_often_is_poison(bench: Bench) -> None:
    options = EngineOptions(attempts_max=3)
    await bench.provider.enqueue_for_worker(work_item("unheard_of"))
    with recorded_marks() as reached:
        async with bench.engine(options=options) as engine:
            await ends(bench.clock, acked(bench))
    [completion] = bench.provider.completions
    assert isinstance(completion, FailActivity)
    assert completion.failure.category is Category.POISON
    assert completion.failure.message == (
        "expected activity unheard_of to end within 3 deliveries, but this is number 4; "
        "expected activity 'unheard_of' to be registered, but none is"
    )
    assert (engine.counters.activities_unregistered, engine.counters.activities_poisoned) == (3, 1)
    assert "activity.poisoned" in reached


async def test_a_lease_is_renewed_for_as_long_as_the_activity_runs(bench: Bench) -> None:
    release = asyncio.Event()
    runs: list[int] = []

    @activity
    async def slow(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)
        await release.wait()

    async with bench.engine(activities=[slow]) as engine:
        await bench.provider.enqueue_for_worker(work_item("slow"))
        for _ in range(30):
            await cycles()
            bench.clock.advance(LEASE_MS // 6)
        await cycles()
        release.set()
        await acked(bench)
    assert runs == [1]
    assert engine.counters.leases_renewed == 15


async def test_a_renewal_that_fails_is_repeated_while_the_lease_holds(bench: Bench) -> None:
    release = asyncio.Event()
    runs: list[int] = []

    @activity
    async def slow(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)
        await release.wait()

    async with bench.engine(activities=[slow]) as engine:
        bench.provider.fail("renew_work_item_lock", *(Retryable("renew_work_item_lock", "away") for _ in range(8)))
        await bench.provider.enqueue_for_worker(work_item("slow"))
        for _ in range(120):
            await cycles()
            bench.clock.advance(500)
        release.set()
        await acked(bench)
    assert engine.counters.provider_errors == 8
    assert (runs, engine.counters.leases_lost) == ([1], 0)


@pytest.mark.parametrize("error", [Retryable("ack_work_item", "away"), InDoubt("ack_work_item", "no answer")])
async def test_an_ack_is_repeated_until_it_is_taken(bench: Bench, error: Exception) -> None:
    runs: list[int] = []

    @activity
    async def count(ctx: ActivityContext) -> None:
        runs.append(ctx.attempt)

    bench.provider.fail("ack_work_item", error, error)
    completion = await completion_of(bench, [count], work_item("count"))
    assert isinstance(completion, CompleteActivity)
    assert (bench.provider.calls["ack_work_item"], runs) == (3, [1])


@pytest.mark.parametrize("error", [LeaseLost("ack_work_item", "late"), OwnershipLost("ack_work_item", "moved")])
async def test_a_result_that_comes_too_late_is_dropped_and_the_item_delivered_again(
    bench: Bench, error: Exception
) -> None:
    runs: list[int] = []

    @activity
    async def count(ctx: ActivityContext) -> int:
        runs.append(ctx.attempt)
        return len(runs)

    bench.provider.fail("ack_work_item", error)
    await completion_of(bench, [count], work_item("count"))
    assert runs == [1, 2]


async def test_no_more_activities_run_than_there_is_room_for(bench: Bench) -> None:
    release = asyncio.Event()
    running = 0
    most = 0

    @activity
    async def hold(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    async with bench.engine(activities=[hold], options=EngineOptions(activities_max=3, work_items_max=5)):
        for number in range(10):
            await bench.provider.enqueue_for_worker(work_item("hold", b"1", activity_id=number))
        await cycles(100)
        assert running == 3
        release.set()
        while len(bench.provider.completions) < 10:
            await bench.provider.acked.wait()
    assert most == 3


async def test_an_engine_takes_the_activities_whose_tags_it_serves(bench: Bench) -> None:
    """Two engines share what there is: what neither serves waits, and holds up nothing."""
    ran: list[tuple[str, int]] = []

    def engine_of(who: str, options: EngineOptions | None) -> Engine:
        @activity(name="draw")
        async def draw(frame: int) -> None:
            ran.append((who, frame))

        return bench.engine(activities=[draw], options=options)

    frames = {1: "video", 2: "gpu", 3: None, 4: "gpu", 5: None}
    for frame, tag in frames.items():
        item = work_item("draw", b"%d" % frame, activity_id=frame)
        await bench.provider.enqueue_for_worker(structs.replace(item, tag=tag))
    gpu = EngineOptions(worker_tags=TagFilter.only(["gpu"]))
    async with nothing_left(), engine_of("plain", None), engine_of("gpu", gpu):
        while len(bench.provider.completions) < 4:
            await bench.provider.acked.wait()
        await cycles()
    assert sorted(ran) == [("gpu", 2), ("gpu", 4), ("plain", 3), ("plain", 5)]
    assert (await bench.provider.get_queue_depths()).worker_queue == 1


# Cancellation


@orchestration
async def give_up_after_a_second(ctx: OrchestrationContext, name: str) -> str:
    try:
        async with asyncio.timeout(1):
            await ctx.schedule_activity(name)
    except TimeoutError:
        return "gave up"
    except ActivityError as error:
        return error.failure.message
    return "in time"


@upstream("cancellation_tests", "select2_loser_activity_receives_cancellation_signal")
@upstream("scenarios/single_thread", "single_thread_1x1_cooperative_activity_cancellation")
async def test_a_running_async_activity_is_told_at_once_that_nobody_waits_for_it(bench: Bench) -> None:
    told: list[str] = []

    @activity
    async def listen(ctx: ActivityContext) -> str:
        await ctx.cancelled()
        told.append(f"told {ctx.is_cancelled()}")
        return "too late"

    served: dict[str, Any] = {"orchestrations": [give_up_after_a_second], "activities": [listen]}
    async with nothing_left(), bench.engine(**served) as engine:
        handle = await bench.client.start(give_up_after_a_second, "listen", instance="impatient")
        with recorded_marks() as reached:
            assert await ends(bench.clock, handle.wait()) == "gave up"
            await cycles()
        assert told == ["told True"]
    assert "lease.revoked" in reached
    assert engine.counters.activities_cancelled == 1
    assert engine.counters.activities_completed == engine.counters.activities_failed == 0
    assert bench.provider.completions == []


@upstream("cancellation_tests", "activity_aborted_after_cancellation_grace")
@upstream("scenarios/single_thread", "single_thread_1x1_runaway_activity_aborted")
async def test_an_activity_that_does_not_listen_is_interrupted_after_the_grace(bench: Bench) -> None:
    ended: list[str] = []

    @activity
    async def deaf(ctx: ActivityContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("interrupted")

    options = EngineOptions(cancel_grace_ms=4_000)
    with recorded_marks() as reached:
        async with (
            nothing_left(),
            bench.engine(orchestrations=[give_up_after_a_second], activities=[deaf], options=options),
        ):
            handle = await bench.client.start(give_up_after_a_second, "deaf")
            await ends(bench.clock, handle.wait())
            await cycles()
            bench.clock.advance(3_999)
            await cycles()
            assert ended == []
            bench.clock.advance(1)
            await cycles()
            assert ended == ["interrupted"]
    assert "activity.cancelled_after_grace" in reached


async def test_an_activity_without_a_context_is_interrupted_at_once(bench: Bench) -> None:
    ended: list[str] = []

    @activity
    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("interrupted")

    async with nothing_left(), bench.engine(orchestrations=[give_up_after_a_second], activities=[deaf]):
        handle = await bench.client.start(give_up_after_a_second, "deaf")
        await ends(bench.clock, handle.wait())
        await cycles()
        assert ended == ["interrupted"]


async def test_a_synchronous_activity_sees_it_and_ends_itself(bench: Bench) -> None:
    running = threading.Event()
    raised: list[str] = []
    ended = threading.Event()

    @activity
    def dig(ctx: ActivityContext) -> None:
        running.set()
        try:
            while not ended.wait(0.001):
                ctx.raise_if_cancelled()
        except asyncio.CancelledError as error:
            raised.append(str(error))
            raise

    async with nothing_left(), bench.engine(orchestrations=[give_up_after_a_second], activities=[dig]) as engine:
        handle = await bench.client.start(give_up_after_a_second, "dig", instance="mine")
        await cycles()
        assert running.wait(5)
        assert await ends(bench.clock, handle.wait()) == "gave up"
    assert raised == ["activity dig of mine is cancelled"]
    assert engine.counters.activities_cancelled == 1
    assert bench.provider.completions == []


async def test_a_lease_lost_at_a_renewal_cancels_the_activity(bench: Bench) -> None:
    told: list[int] = []
    first_told = asyncio.Event()

    @activity
    async def listen(ctx: ActivityContext) -> int:
        if ctx.attempt == 1:
            await ctx.cancelled()
            told.append(ctx.attempt)
            first_told.set()
        return ctx.attempt

    bench.provider.fail("renew_work_item_lock", LeaseLost("renew_work_item_lock", "taken back"))
    with recorded_marks() as reached:
        async with nothing_left(), bench.engine(activities=[listen]) as engine:
            await bench.provider.enqueue_for_worker(work_item("listen"))
            await cycles()
            bench.clock.advance(LEASE_MS // 3)
            await first_told.wait()
            assert bench.provider.completions == []
            await ends(bench.clock, acked(bench))
    assert "lease.lost" in reached
    assert told == [1]
    assert (engine.counters.leases_lost, engine.counters.activities_cancelled) == (1, 1)
    [completion] = bench.provider.completions
    assert isinstance(completion, CompleteActivity)
    assert completion.result == Payload(b"2")


async def test_a_deadline_over_retries_ends_the_activity_and_the_waiting(bench: Bench) -> None:
    @activity
    async def never() -> None:
        await asyncio.Event().wait()

    @orchestration
    async def strict(ctx: OrchestrationContext) -> str:
        try:
            await ctx.schedule_activity(never, deadline=timedelta(seconds=3))
        except ActivityError as error:
            return type(error).__name__
        return "done"

    async with nothing_left(), bench.engine(orchestrations=[strict], activities=[never]) as engine:
        handle = await bench.client.start(strict)
        assert await ends(bench.clock, handle.wait()) == "TimedOut"
        await cycles()
        assert engine.counters.activities_cancelled == 1
