"""Does an instance that another engine takes over go on by the code and the input that it was begun with?"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from engine import OrchestrationContext, Status, activity, orchestration
from engine.errors import InDoubt, Refused
from engine.model.events import (
    ActivityScheduled,
    ExternalEventReceived,
    ExternalSubscribed,
    OrchestrationStarted,
    QueueMessageReceived,
    QueueSubscribed,
)
from engine.model.payload import NULL
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import EngineVersion
from engine.runtime.options import EngineOptions
from tests.replay.given import payload
from tests.unit.engine.runtime.running import Bench, ScriptedProvider, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
NOTHING_KEPT = EngineOptions(cache_bytes_max=0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Versions and inputs


class Prunes:
    """Two versions of an orchestration whose histories do not fit each other; `calls` has who ran, and with what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, str]] = []

        @orchestration(name="prunes", version="1.0.2")
        async def old(ctx: OrchestrationContext, value: str) -> str:
            self.calls.append((ctx.version, ctx.execution_id, value))
            if value.startswith("continue to "):
                version = value.removeprefix("continue to ")
                return ctx.continue_as_new(f"asked for {version}", version=version)
            return await ctx.schedule_activity("prune", value, output=str)

        @orchestration(name="prunes", version="1.0.3")
        async def new(ctx: OrchestrationContext, value: str) -> str:
            self.calls.append((ctx.version, ctx.execution_id, value))
            return await ctx.schedule_activity("prune_otherwise", value, output=str)

        self.orchestrations = [old, new]


@activity
async def prune(value: str) -> str:
    return f"pruned: {value}"


@activity
async def prune_otherwise(value: str) -> str:
    return f"pruned otherwise: {value}"


@pytest.mark.parametrize(
    ("value", "ran", "output"),
    [
        ("x", [("1.0.2", 1, "x")] * 2, "pruned: x"),
        (
            "continue to 1.0.2",
            [("1.0.2", 1, "continue to 1.0.2"), *[("1.0.2", 2, "asked for 1.0.2")] * 2],
            "pruned: asked for 1.0.2",
        ),
        (
            "continue to 1.0.3",
            [("1.0.2", 1, "continue to 1.0.3"), *[("1.0.3", 2, "asked for 1.0.3")] * 2],
            "pruned otherwise: asked for 1.0.3",
        ),
    ],
)
@upstream(
    "scenarios/version_replay_bug",
    "e2e_replay_completion_only_must_use_version_from_history",
    "e2e_replay_completion_only_after_can_must_use_version_from_history",
    "e2e_can_input_preserved_during_completion_only_replay",
)
async def test_an_answer_alone_goes_on_with_the_version_and_the_input_of_its_execution(
    bench: Bench, value: str, ran: list[tuple[str, int, str]], output: str
) -> None:
    prunes = Prunes()
    handle = await bench.client.start("prunes", value, version="1.0.2")
    async with nothing_left(), bench.engine(orchestrations=prunes.orchestrations):
        await cycles()  # the activity is not registered here
    activities = [prune, prune_otherwise]
    async with nothing_left(), bench.engine(orchestrations=prunes.orchestrations, activities=activities):
        assert await ends(bench.clock, handle.wait()) == output
    assert prunes.calls == ran


# Histories of engines before this one


@orchestration(name="upgrades")
async def collects(ctx: OrchestrationContext) -> str:
    collected = [await ctx.wait_event("approval", str) for _ in range(3)]
    return ctx.continue_as_new(",".join(collected), version="2.0.0")


@orchestration(name="upgrades", version="2.0.0")
async def collects_from_a_queue(ctx: OrchestrationContext, so_far: str) -> str:
    return "+".join([*so_far.split(","), await ctx.dequeue("orders", str), await ctx.dequeue("orders", str)])


BOTH: dict[str, Any] = {"orchestrations": [collects, collects_from_a_queue]}
OLD_KINDS = {ExternalSubscribed, ExternalEventReceived}
NEW_KINDS = {QueueSubscribed, QueueMessageReceived}


async def kinds_of(bench: Bench, execution_id: int) -> set[type]:
    return {type(event) for event in await bench.client.history("i", execution_id)} & (OLD_KINDS | NEW_KINDS)


@upstream(
    "scenarios/replay_versioning",
    "e2e_eternal_orch_v1_to_v2_event_upgrade",
    differs="The second version uses a kind of event that the first does not: no kind is there for the test alone.",
)
async def test_an_upgrade_begins_a_history_without_anything_of_the_old_one(bench: Bench) -> None:
    async with nothing_left(), bench.engine(**BOTH, options=NOTHING_KEPT):
        handle = await bench.client.start("upgrades", instance="i", version="1.0.0")
        for data in ("a", "b", "c"):
            await cycles()
            await handle.raise_event("approval", data)
        for data in ("d", "e"):
            await cycles()
            await handle.enqueue_message("orders", data)
        assert await handle.wait() == "a+b+c+d+e"
    assert (await kinds_of(bench, 1), await kinds_of(bench, 2)) == (OLD_KINDS, NEW_KINDS)


async def begun_by(bench: Bench, pin: EngineVersion) -> Sequence[object]:
    """The history of `i`, written down by an engine of that version: two events have come, and it waits for one."""
    await bench.client.start("upgrades", instance="i", version="1.0.0")
    item = await bench.provider.fetch_orchestration_item(30_000, 0)
    assert item is not None
    at_ms = item.now_ms
    history = [
        OrchestrationStarted(
            event_id=1, timestamp_ms=at_ms, name="upgrades", version="1.0.0", input=NULL, incarnation=7
        ),
        ExternalSubscribed(event_id=2, timestamp_ms=at_ms, name="approval"),
        ExternalEventReceived(event_id=3, timestamp_ms=at_ms, name="approval", data=payload("old-0")),
        ExternalSubscribed(event_id=4, timestamp_ms=at_ms, name="approval"),
        ExternalEventReceived(event_id=5, timestamp_ms=at_ms, name="approval", data=payload("old-1")),
        ExternalSubscribed(event_id=6, timestamp_ms=at_ms, name="approval"),
    ]
    metadata = ExecutionMetadata(
        orchestration_name="upgrades", orchestration_version="1.0.0", incarnation=7, pinned_version=pin
    )
    await bench.provider.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=tuple(history), metadata=metadata)
    )
    return history


@upstream("scenarios/replay_versioning", "e2e_upgrade_with_preexisting_v1_history")
async def test_a_history_of_an_older_engine_is_gone_on_with_and_stays_as_it_is(bench: Bench) -> None:
    old = EngineVersion(0, 1, 10)
    written = await begun_by(bench, old)
    async with nothing_left(), bench.engine(**BOTH):
        await bench.client.raise_event("i", "approval", "new")
        await cycles()
        for data in ("d", "e"):
            await bench.client.enqueue_message("i", "orders", data)
        assert await bench.client.wait("i") == "old-0+old-1+new+d+e"
    first = await bench.client.history("i", 1)
    assert list(first[:6]) == written
    assert (await kinds_of(bench, 1), await kinds_of(bench, 2)) == (OLD_KINDS, NEW_KINDS)
    assert (await bench.client.status("i")).pinned_version != old


# Races


@orchestration
async def races(ctx: OrchestrationContext, with_queue: bool) -> list[str]:
    arms = [ctx.wait_event("s", str), *([ctx.dequeue("q", str)] if with_queue else []), ctx.schedule_timer(SECOND)]
    won = await ctx.select(*arms)
    said = [won.value or "timer", await ctx.wait_event("s", str)]
    return [*said, await ctx.dequeue("q", str)] if with_queue else said


@pytest.mark.parametrize("with_queue", [False, True], ids=["s1", "s3"])
@upstream(
    "cancellation_corner_cases",
    "sqlite_s1_positional_same_batch_replays_after_restart",
    "sqlite_s3_mixed_same_batch_replays_after_restart",
    differs="Messages are looked at one by one: the event behind the timer finds the wait asked for meanwhile.",
)
async def test_what_came_with_the_timer_that_won_is_read_the_same_way_by_the_next_engine(
    bench: Bench, with_queue: bool
) -> None:
    async with nothing_left(), bench.engine(orchestrations=[races]):
        handle = await bench.client.start(races, with_queue)
        await cycles()
    bench.clock.advance(1_000)  # nobody is there: the timer and what follows come in one batch
    await handle.raise_event("s", "first")
    async with nothing_left(), bench.engine(orchestrations=[races], options=NOTHING_KEPT):
        await cycles()
    async with nothing_left(), bench.engine(orchestrations=[races]):
        if with_queue:
            await handle.enqueue_message("q", "first of q")
        assert await handle.wait() == ["timer", "first", *(["first of q"] if with_queue else [])]


# Rolling deployments


@orchestration
async def needs_new_code(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_activity("new_activity", "input", output=str)


@activity
async def new_activity(value: str) -> str:
    return f"new: {value}"


@upstream("scenarios/rolling_deployment", "e2e_rolling_deployment_three_nodes")
async def test_a_call_of_new_code_finds_the_node_that_has_it_among_old_ones(bench: Bench) -> None:
    old: dict[str, Any] = {"orchestrations": [needs_new_code]}
    new: dict[str, Any] = {**old, "activities": [new_activity]}
    options = EngineOptions(attempts_max=50)
    async with bench.engine(**old, options=options) as one, bench.engine(**old, options=options) as other:
        handle = await bench.client.start(needs_new_code)
        await cycles()
        assert one.counters.activities_unregistered + other.counters.activities_unregistered == 1
        async with bench.engine(**new, options=options):
            one.request_stop()
            await cycles()
            async with bench.engine(**new, options=options):
                assert await ends(bench.clock, handle.wait()) == "new: input"


@orchestration(name="upgraded")
async def continues_to_v2(ctx: OrchestrationContext) -> str:
    return ctx.continue_as_new("upgraded", version="2.0.0")


@orchestration(name="upgraded", version="2.0.0")
async def upgraded_v2(ctx: OrchestrationContext, value: str) -> str:
    return f"v2: {value}"


@upstream("scenarios/rolling_deployment", "e2e_rolling_deployment_version_upgrade")
async def test_an_execution_of_a_new_version_waits_among_old_nodes_for_one_that_has_it(bench: Bench) -> None:
    old: dict[str, Any] = {"orchestrations": [continues_to_v2]}
    new: dict[str, Any] = {"orchestrations": [continues_to_v2, upgraded_v2]}
    options = EngineOptions(attempts_max=50)
    async with bench.engine(**old, options=options) as one, bench.engine(**old, options=options) as other:
        handle = await bench.client.start("upgraded", version="1.0.0")
        for _ in range(3):
            await cycles()
            bench.clock.advance(5_000)
        assert one.counters.turns_abandoned + other.counters.turns_abandoned >= 2
        assert (await handle.status()).status not in {Status.FAILED, Status.COMPLETED}
        one.request_stop()
        async with bench.engine(**new, options=options):
            assert await ends(bench.clock, handle.wait()) == "v2: upgraded"
    assert (await handle.status()).current_execution_id == 2


# Answers that are lost


class SaysNothingOnce(ScriptedProvider):
    """The first answer of an activity arrives, and the worker is not told."""

    lost = 0

    async def ack_work_item(self, lock_token: str, completion: Any) -> None:
        await super().ack_work_item(lock_token, completion)
        if not self.lost:
            self.lost = 1
            raise InDoubt("ack_work_item", "expected an answer, but the connection is gone")


@upstream(
    "worker_reliability_test",
    "worker_abandon_on_ack_failure_enables_retry",
    differs="The worker says it again, and hears that it is done; nothing is given back or executed twice.",
)
async def test_an_answer_in_doubt_is_given_again_and_the_activity_not_executed_again() -> None:
    bench = Bench(SaysNothingOnce)
    ran: list[str] = []

    @activity(name="new_activity")
    async def counting(value: str) -> str:
        ran.append(value)
        return "done"

    served: dict[str, Any] = {"orchestrations": [needs_new_code], "activities": [counting]}
    async with nothing_left(), bench.engine(**served) as engine:
        handle = await bench.client.start(needs_new_code)
        assert await handle.wait() == "done"
        await cycles()
        bench.clock.advance(20)
        await cycles()
    assert ran == ["input"]
    assert engine.counters.provider_errors == 1
    assert bench.provider.calls["ack_work_item"] == 2
    assert bench.provider.calls.get("abandon_work_item", 0) == 0


# Trees


@orchestration
async def parent(ctx: OrchestrationContext) -> str:
    return await ctx.schedule_sub_orchestration(needs_new_code)


@upstream("deletion_integration_tests", "test_delete_orphan_race_condition_detection")
async def test_nobody_deletes_a_root_without_the_child_it_got_meanwhile(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=[parent, needs_new_code], activities=[new_activity]):
        await (await bench.client.start(parent, instance="p")).wait()
    family = (await bench.client.tree("p")).instances
    assert len(family) == 2
    with pytest.raises(Refused, match="expected"):
        await bench.provider.delete_instances_atomic(["p"])
    assert (await bench.client.status("p")).status is Status.COMPLETED
    assert (await bench.provider.delete_instances_atomic(family)).instances == 2
    assert await bench.client.list_instances() == []


# Waiting


@upstream("long_poll_tests", "test_dispatcher_uses_long_polling")
async def test_an_engine_asks_once_and_is_woken(bench: Bench) -> None:
    served: dict[str, Any] = {"orchestrations": [needs_new_code], "activities": [new_activity]}
    async with nothing_left(), bench.engine(**served, options=EngineOptions(poll_ms=1_000)):
        await cycles()
        before = dict(bench.provider.calls)
        assert (before["fetch_orchestration_items"], before["fetch_work_item"]) == (1, 1)
        bench.clock.advance(999)
        await cycles()
        assert bench.provider.calls == before
        handle = await bench.client.start(needs_new_code)
        assert await handle.wait() == "new: input"
        asked = [event for event in await handle.history() if isinstance(event, ActivityScheduled)]
        assert [structs.replace(event, timestamp_ms=0).name for event in asked] == ["new_activity"]
        bench.clock.advance(1_000)
        await cycles()
        assert bench.provider.calls["fetch_orchestration_items"] <= 5
