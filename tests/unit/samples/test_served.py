"""Does an application with clients and workers of several kinds do what a newcomer writes, on the memory provider?"""

from datetime import timedelta
from typing import Any

import pytest

from engine import ActivityContext, OrchestrationContext, Status, activity, orchestration
from engine.model.events import ActivityScheduled
from engine.model.tags import TagFilter
from engine.runtime.options import EngineOptions
from engine.testing.scenario import run_async
from tests.unit.engine.runtime.running import Bench, cycles, ends
from tests.unit.samples.watching import kept
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@orchestration
async def naps(ctx: OrchestrationContext) -> str:
    await ctx.schedule_timer(SECOND)
    return "done"


@upstream("e2e_samples", "sample_status_polling_fs")
async def test_who_asks_for_the_status_sees_it_run_and_complete(bench: Bench) -> None:
    async with bench.engine(orchestrations=[naps]):
        handle = await bench.client.start(naps)
        await cycles()
        assert (await handle.status()).status is Status.RUNNING
        assert await ends(bench.clock, handle.wait()) == "done"
        assert (await handle.status()).status is Status.COMPLETED


@orchestration(name="versioned")
async def versioned_v1(ctx: OrchestrationContext) -> str:
    return "v1"


@orchestration(name="versioned", version="2.0.0")
async def versioned_v2(ctx: OrchestrationContext) -> str:
    return "v2"


@upstream(
    "e2e_samples",
    "sample_versioning_start_latest_vs_exact_fs",
    differs="The start says which version it wants; there is no policy to set beside it.",
)
async def test_a_start_takes_the_latest_version_or_the_one_it_names(bench: Bench) -> None:
    async with bench.engine(orchestrations=[versioned_v1, versioned_v2]):
        assert await (await bench.client.start("versioned")).wait() == "v2"
        assert await (await bench.client.start("versioned", version="1.0.0")).wait() == "v1"


@upstream(
    "e2e_samples",
    "sample_self_pruning_eternal_orchestration",
    differs="An activity has no client of its own; it closes over one.",
)
async def test_an_orchestration_that_runs_for_ever_forgets_its_past(bench: Bench) -> None:
    pruned: list[int] = []

    @activity
    async def prune_self(ctx: ActivityContext) -> None:
        pruned.append((await bench.client.prune(ctx.instance, keep_last=1)).executions)

    @orchestration
    async def batches(ctx: OrchestrationContext, number: int) -> str:
        await ctx.schedule_activity(prune_self)
        return ctx.continue_as_new(number + 1) if number < 4 else "5 batches"

    async with bench.engine(orchestrations=[batches], activities=[prune_self]):
        handle = await bench.client.start(batches, 0, instance="eternal")
        assert await handle.wait() == "5 batches"
    assert pruned == [0, 1, 1, 1, 1]
    assert [one.execution_id for one in await bench.client.list_executions("eternal")] == [5]


@activity
async def render(frame: str) -> str:
    return f"rendered {frame}"


@activity
async def encode(frame: str) -> str:
    return f"encoded {frame}"


@activity
async def upload(frame: str) -> str:
    return f"uploaded {frame}"


@orchestration
async def video(ctx: OrchestrationContext, frame: str) -> str:
    rendered = await ctx.schedule_activity(render, frame, tag="gpu")
    encoded = await ctx.schedule_activity(encode, rendered, tag="cpu")
    return await ctx.schedule_activity(upload, encoded)


PIPELINE: dict[str, Any] = {"orchestrations": [video], "activities": [render, encode, upload]}
TAGS = [("render", "gpu"), ("encode", "cpu"), ("upload", None)]


async def tags_of(bench: Bench, instance: str) -> list[tuple[str, str | None]]:
    history = await bench.client.history(instance)
    return [(event.name, event.tag) for event in history if isinstance(event, ActivityScheduled)]


@upstream("e2e_samples", "sample_heterogeneous_workers_with_tags")
async def test_one_worker_serves_several_tags_and_none(bench: Bench) -> None:
    options = EngineOptions(worker_tags=TagFilter.default_and(["gpu", "cpu"]))
    async with bench.engine(**PIPELINE, options=options):
        handle = await bench.client.start(video, "42", instance="video")
        assert await handle.wait() == "uploaded encoded rendered 42"
    assert await tags_of(bench, "video") == TAGS


@upstream("e2e_samples", "sample_dual_runtime_tag_cooperation")
async def test_workers_of_different_tags_work_on_one_orchestration(bench: Bench) -> None:
    tagged = EngineOptions(worker_tags=TagFilter.only(["gpu", "cpu"]))
    async with bench.engine(**PIPELINE) as plain, bench.engine(activities=[render, encode], options=tagged) as special:
        handle = await bench.client.start(video, "42", instance="video")
        assert await ends(bench.clock, handle.wait()) == "uploaded encoded rendered 42"
        assert (plain.counters.activities_completed, special.counters.activities_completed) == (1, 2)
    assert await tags_of(bench, "video") == TAGS


@activity
def says_its_tag(ctx: ActivityContext) -> str | None:
    return ctx.tag


@orchestration
async def asks_for_tags(ctx: OrchestrationContext) -> list[str | None]:
    return [await ctx.schedule_activity(says_its_tag, tag="gpu"), await ctx.schedule_activity(says_its_tag)]


@upstream(
    "tag_serde_tests", "e2e_activity_context_tag_visible_in_handler", "e2e_activity_context_tag_none_for_untagged"
)
async def test_an_activity_sees_its_tag(bench: Bench) -> None:
    options = EngineOptions(worker_tags=TagFilter.default_and(["gpu"]))
    async with bench.engine(orchestrations=[asks_for_tags], activities=[says_its_tag], options=options):
        handle = await bench.client.start(asks_for_tags)
        assert await handle.wait() == ["gpu", None]
    assert (await run_async(asks_for_tags, activities=[says_its_tag])).output == ["gpu", None]


@orchestration
async def renders_or_encodes(ctx: OrchestrationContext, frame: str) -> str:
    won = await ctx.select(ctx.schedule_activity(render, frame, tag="gpu"), ctx.schedule_timer(SECOND))
    return won.value or await ctx.schedule_activity(encode, frame)


@upstream("e2e_samples", "sample_starvation_safe_tagged_activity")
async def test_an_activity_whose_tag_nobody_serves_loses_to_a_timer(bench: Bench) -> None:
    async with bench.engine(orchestrations=[renders_or_encodes], activities=[render, encode]):
        handle = await bench.client.start(renders_or_encodes, "42")
        assert await ends(bench.clock, handle.wait()) == "encoded 42"


@activity
async def reverse(text: str) -> str:
    return text[::-1]


@orchestration
async def serves_requests(ctx: OrchestrationContext) -> str:
    ctx.set_key_value("status", "ready")
    for _ in range(3):
        number, text = await ctx.wait_event("request", tuple[str, str])
        ctx.set_key_value("status", "busy")
        ctx.set_key_value(f"response {number}", await ctx.schedule_activity(reverse, text))
        ctx.set_key_value("status", "ready")
    ctx.set_key_value("status", "over")
    return "served 3"


@upstream(
    "e2e_samples",
    "sample_kv_request_response",
    differs="A client reads a key again until it is there; there is no call that waits for one.",
)
async def test_requests_as_events_and_responses_as_keys(bench: Bench) -> None:
    async with bench.engine(orchestrations=[serves_requests], activities=[reverse]):
        handle = await bench.client.start(serves_requests, instance="server")
        for number, text in (("1", "hello"), ("2", "world"), ("3", "python")):
            await kept(bench, "server", "status", "ready")
            await handle.raise_event("request", (number, text))
            await kept(bench, "server", f"response {number}", text[::-1])
        assert await handle.wait() == "served 3"
    responses = {f"response {number}": text for number, text in (("1", "olleh"), ("2", "dlrow"), ("3", "nohtyp"))}
    assert await bench.client.get_key_values("server") == {**responses, "status": "over"}


@orchestration
async def produces(ctx: OrchestrationContext, number: int) -> str:
    ctx.set_key_value("status", "computing")
    await ctx.schedule_timer(SECOND)
    ctx.set_key_value("result", number * number)
    ctx.set_key_value("status", "done")
    await ctx.wait_event("ack")
    return f"produced {number * number}"


@upstream(
    "e2e_samples",
    "sample_kv_cross_orchestration_read",
    differs="Another instance's keys are read by an activity that has a client.",
)
async def test_one_orchestration_reads_what_another_keeps(bench: Bench) -> None:
    @activity
    async def look(where: tuple[str, str]) -> object:
        return await bench.client.get_key_value(*where)

    @orchestration
    async def consumes(ctx: OrchestrationContext, producer: str) -> str:
        while await ctx.schedule_activity(look, (producer, "status")) != "done":
            await ctx.schedule_timer(SECOND / 10)
        return f"consumed {await ctx.schedule_activity(look, (producer, 'result'))}"

    async with bench.engine(orchestrations=[produces, consumes], activities=[look]):
        producer = await bench.client.start(produces, 7, instance="producer")
        await kept(bench, "producer", "status", "computing")
        consumer = await bench.client.start(consumes, "producer")
        assert await ends(bench.clock, consumer.wait(), step_ms=100) == "consumed 49"
        await producer.raise_event("ack")
        assert await producer.wait() == "produced 49"
    assert await bench.client.get_key_values("producer") == {"result": 49, "status": "done"}


@orchestration
async def counts_batches(ctx: OrchestrationContext) -> int | None:
    for batch in ("alpha", "beta", "gamma"):
        count = ctx.get_key_value("count", int) or 0
        ctx.set_key_value("last", await ctx.schedule_activity(reverse, batch))
        ctx.set_key_value("count", count + 1)
    return ctx.get_key_value("count", int)


@upstream("e2e_samples", "sample_kv_read_modify_write_counter")
async def test_a_counter_that_is_read_and_set_in_every_turn(bench: Bench) -> None:
    options = EngineOptions(cache_bytes_max=0)
    async with bench.engine(orchestrations=[counts_batches], activities=[reverse], options=options):
        assert await (await bench.client.start(counts_batches, instance="batches")).wait() == 3
    assert await bench.client.get_key_values("batches") == {"count": 3, "last": "ammag"}


@orchestration
async def leaves_traces(ctx: OrchestrationContext) -> None:
    ctx.set_key_value("status", "over")
    await ctx.schedule_activity(reverse, "x")
    await ctx.wait_event("end")


@upstream("e2e_samples", "sample_orchestration_stats")
async def test_an_instance_says_how_large_it_is(bench: Bench) -> None:
    async with bench.engine(orchestrations=[leaves_traces], activities=[reverse]):
        handle = await bench.client.start(leaves_traces, instance="traces")
        await ends(bench.clock, _answered(bench, "traces"))
        stats = await bench.provider.get_instance_stats("traces")
        await handle.raise_event("end")
        await handle.wait()
    assert stats is not None
    assert (stats.history_events, stats.queue_pending, stats.keys) == (5, 0, 1)
    assert stats.key_value_bytes == len('"over"')
    assert stats.history_bytes > 0


async def _answered(bench: Bench, instance: str) -> None:
    """Return once the activity is answered and the code waits again."""
    while len(await bench.client.history(instance)) < 5:
        await cycles(1)
