"""When is an execution that was kept used, and what is left of one that is put away?"""

import asyncio
import gc
import logging
import tracemalloc
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest

from engine.model.events import AnyEvent
from engine.port import OrchestrationItem
from engine.registry import orchestration
from engine.replay.call_options import ActivityOptions
from engine.replay.context import OrchestrationContext
from engine.replay.live import LiveExecution
from engine.replay.retry import RetryPolicy
from engine.replay.turn import Committed, TurnOptions, run_turn
from tests.replay.given import CONVERTER, LIFE, Instance, StoredHistory

runs: list[str] = []


@orchestration
async def counted(ctx: OrchestrationContext) -> None:
    runs.append("began")
    try:
        while True:
            await ctx.wait_event("go")
            ctx.set_custom_status("woken")
    finally:
        runs.append("unwinding")
        ctx.logger.warning("never seen")
        ctx.schedule_activity("never asked")


@pytest.fixture(autouse=True)
def no_runs() -> None:
    runs.clear()


def item_of(instance: Instance, **changed: object) -> OrchestrationItem:
    item = OrchestrationItem(
        instance="i",
        orchestration_name="counted",
        version="1.0.0",
        execution_id=1,
        incarnation=LIFE,
        history=StoredHistory(instance.history),
        messages=(instance.raised("go"),),
        lock_token="t",
        attempt_count=1,
        lineage=1,
        now_ms=instance.now_ms,
    )
    return msgspec.structs.replace(item, **changed)


def turn(instance: Instance, item: OrchestrationItem, options: TurnOptions | None = None) -> Committed:
    live, instance.live = instance.live, None
    outcome = run_turn(
        item, instance.registry, CONVERTER, options or TurnOptions(), live=live, new_incarnation=LIFE + 1
    )
    assert isinstance(outcome, Committed)
    instance.live = outcome.live
    return outcome


class Unreadable(StoredHistory):
    def load(self) -> Sequence[AnyEvent]:
        raise AssertionError("a turn of a kept execution read the history")


def test_a_kept_execution_goes_on_without_reading_its_history() -> None:
    instance = Instance(counted)
    instance.start()
    kept = instance.live
    outcome = turn(instance, item_of(instance, history=Unreadable(instance.history)))
    assert runs == ["began"]
    assert outcome.live is kept


@pytest.mark.parametrize("changed", ["lineage", "last_event_id", "execution_id", "incarnation"])
def test_an_execution_that_stands_for_something_else_is_put_away_and_replayed(changed: str) -> None:
    instance = Instance(counted)
    instance.start()
    kept = instance.live
    assert isinstance(kept, LiveExecution)
    history = list(instance.history)
    item = item_of(instance)
    match changed:
        case "lineage":
            item = msgspec.structs.replace(item, lineage=2)
        case "last_event_id":
            longer = Instance(counted, history=history)
            longer.give(longer.raised("go"))
            longer.forget()
            item = msgspec.structs.replace(item, history=StoredHistory(longer.history))
        case "execution_id":
            item = msgspec.structs.replace(item, execution_id=2)
        case _:
            other = msgspec.structs.replace(history[0], incarnation=99)
            item = msgspec.structs.replace(item, incarnation=99, history=StoredHistory([other, *history[1:]]))
    runs.clear()
    outcome = turn(instance, item)
    assert runs == ["unwinding", "began"]
    assert outcome.live is not None
    assert outcome.live is not kept
    assert outcome.live.fits(
        msgspec.structs.replace(item, history=StoredHistory([*item.history.load(), *outcome.result.history_delta]))
    )


def test_putting_away_yields_no_action_and_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    instance = Instance(counted)
    instance.start()
    live = instance.live
    assert live is not None
    before = live.last_event_id
    assert live.put_away() == 0
    gc.collect()
    assert runs == ["began", "unwinding"]
    assert caplog.records == []
    assert live.last_event_id == before
    assert live.ledger.outcome == []


def test_with_replay_always_nothing_is_kept() -> None:
    instance = Instance(counted, options=TurnOptions(replay_always=True))
    instance.start()
    instance.give(instance.raised("go"))
    assert instance.live is None
    assert runs == ["began", "unwinding", "began", "unwinding"]


def test_an_execution_says_about_how_much_memory_it_holds() -> None:
    @orchestration
    async def holds(ctx: OrchestrationContext, width: int) -> None:
        _ = [ctx.schedule_activity("a") for _ in range(width)]
        await ctx.wait_event("never")

    narrow, wide = Instance(holds), Instance(holds)
    narrow.start(1)
    wide.start(1001)
    assert narrow.live is not None
    assert wide.live is not None
    assert wide.live.bytes_estimate - narrow.live.bytes_estimate >= 1_000_000
    before = narrow.live.bytes_estimate
    narrow.give(narrow.enqueued("q", "x" * 5_000))
    assert narrow.live.bytes_estimate - before >= 5_000


def test_a_task_that_failed_unseen_is_said_when_the_code_ends(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    @orchestration
    async def careless(ctx: OrchestrationContext) -> None:
        async def fails() -> None:
            raise ValueError("unseen")

        task = asyncio.get_running_loop().create_task(fails(), name="background")
        await ctx.wait_event("go")
        assert task.done()

    instance = Instance(careless)
    instance.start()
    instance.give(instance.raised("go"))
    assert [record.message for record in caplog.records] == ["background failed and nothing awaited it"]


@pytest.mark.parametrize("policy", [None, RetryPolicy()], ids=["plain", "retried"])
def test_the_estimate_counts_the_tasks_that_wait(policy: RetryPolicy | None) -> None:
    @orchestration
    async def fans_out(ctx: OrchestrationContext) -> None:
        options: ActivityOptions = {} if policy is None else {"retry": policy, "timeout": timedelta(minutes=1)}
        async with asyncio.TaskGroup() as group:
            for number in range(1_000):
                group.create_task(ctx.activity("a", number, **options))

    instance = Instance(fans_out)
    tracemalloc.start()
    try:
        instance.start()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert instance.live is not None
    assert 0.6 < instance.live.bytes_estimate / held < 1.5
