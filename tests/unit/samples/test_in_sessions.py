"""Do activities with a session, with a tag and with neither go together in one orchestration?"""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from engine import ActivityContext, OrchestrationContext, activity, orchestration
from engine.model.events import ActivityScheduled
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

Call = tuple[str, str | None]


@activity
async def work(ctx: ActivityContext, text: str) -> str:
    return f"{text} in {ctx.session_id}"


def schedule(ctx: OrchestrationContext, call: Call) -> Any:
    text, session = call
    if session is None:
        return ctx.schedule_activity(work, text)
    return ctx.schedule_activity(work, text, session_id=session)


@orchestration
async def one_by_one(ctx: OrchestrationContext, calls: list[Call]) -> list[str]:
    return [await schedule(ctx, call) for call in calls]


@orchestration
async def at_once(ctx: OrchestrationContext, calls: list[Call]) -> list[str]:
    return list(await ctx.join(*(schedule(ctx, call) for call in calls)))


@pytest.mark.parametrize("node", [None, "pod"], ids=["nameless", "named"])
@pytest.mark.parametrize("code", [one_by_one, at_once])
@pytest.mark.parametrize("sessions", [["s", "s"], ["s", None, "s", None], ["a", "b", "a", "b", None], ["a", "b", "c"]])
@upstream(
    "session_e2e_tests",
    "test_session_activity_basic_e2e",
    "test_session_id_visible_in_activity_context",
    "test_mixed_session_and_regular_activities",
    "test_multiple_sessions_in_orchestration",
    "test_session_with_worker_node_id_completes",
    "test_session_with_worker_node_id_activity_context_has_session_id",
    "test_session_worker_node_id_multiple_sessions_parallel",
    "test_ephemeral_session_still_works",
    "test_session_fan_out_fan_in",
    "test_session_fan_out_mixed_with_regular",
    "test_fan_out_multiple_per_session_mixed",
)
async def test_every_activity_runs_and_sees_its_session(
    sessions: list[str | None], code: Any, node: str | None
) -> None:
    bench = Bench()
    calls: list[Call] = [(str(number), session) for number, session in enumerate(sessions)]
    async with bench.engine(orchestrations=[code], activities=[work], options=EngineOptions(worker_node_id=node)):
        handle = await bench.client.start(code, calls)
        assert await handle.wait() == [f"{text} in {session}" for text, session in calls]


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration(name="goes_on")
async def goes_on_v1(ctx: OrchestrationContext, number: int) -> int:
    doubled = await ctx.schedule_activity(double, number, session_id="kept")
    return ctx.continue_as_new(doubled, version="2.0.0")


@orchestration(name="goes_on", version="2.0.0")
async def goes_on_v2(ctx: OrchestrationContext, number: int) -> int:
    doubled = await ctx.schedule_activity(double, number, session_id="kept")
    return ctx.continue_as_new(doubled) if doubled < 100 else doubled


@upstream(
    "session_e2e_tests",
    "test_session_activity_typed",
    "test_session_survives_continue_as_new",
    "test_session_continue_as_new_versioned_upgrade",
)
async def test_a_session_outlives_an_execution_and_a_version() -> None:
    bench = Bench()
    async with bench.engine(orchestrations=[goes_on_v1, goes_on_v2], activities=[double]):
        handle = await bench.client.start(goes_on_v1, 21, version="1.0.0", instance="goes on")
        assert await handle.wait() == 168
    assert len(await bench.client.list_executions("goes on")) == 3
    assert bench.provider.known_sessions() == {"kept"}


@orchestration
async def tagged(ctx: OrchestrationContext, again: bool) -> str:
    plain = await ctx.schedule_activity(work, "plain")
    with_tag = await ctx.schedule_activity(work, "tagged", tag="gpu")
    return ctx.continue_as_new(False) if again else f"{plain}, {with_tag}"


@upstream("tag_serde_tests", "e2e_tag_routing_survives_continue_as_new", "e2e_two_workers_different_tags_no_overlap")
async def test_tags_are_served_by_their_workers_in_every_execution() -> None:
    bench = Bench()
    only_gpu = EngineOptions(worker_tags=TagFilter.only(["gpu"]))
    async with (
        bench.engine(orchestrations=[tagged], activities=[work]) as plain,
        bench.engine(orchestrations=[tagged], activities=[work], options=only_gpu) as gpu,
    ):
        handle = await bench.client.start(tagged, True, instance="tagged")
        assert await handle.wait() == "plain in None, tagged in None"
        assert plain.counters.activities_completed == gpu.counters.activities_completed == 2
    for execution_id in (1, 2):
        history = await handle.history(execution_id)
        assert [event.tag for event in history if isinstance(event, ActivityScheduled)] == [None, "gpu"]


@orchestration
async def in_two_executions(ctx: OrchestrationContext, before: list[str]) -> list[str]:
    if not before:
        calls: list[Call] = [("a", "alpha"), ("b", "alpha"), ("c", "beta"), ("d", None)]
        return ctx.continue_as_new(list(await ctx.join(*(schedule(ctx, call) for call in calls))))
    return before + [await schedule(ctx, call) for call in (("e", "alpha"), ("f", "beta"))]


@orchestration
async def three_sessions(ctx: OrchestrationContext) -> list[str]:
    return list(await ctx.join(*(schedule(ctx, (text, text)) for text in ("x", "y", "z"))))


class Workers:
    """Two engines; what each was asked to do, and in which session."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.did: dict[str, list[Call]] = {"one": [], "other": []}
        self.may_end = anyio.Event()

    def engine(self, name: str, max_sessions: int) -> Engine:
        @activity(name="work")
        async def work_here(ctx: ActivityContext, text: str) -> str:
            self.did[name].append((text, ctx.session_id))
            await self.may_end.wait()
            return f"{text} in {ctx.session_id}"

        return self.bench.engine(
            orchestrations=[in_two_executions, three_sessions],
            activities=[work_here],
            options=EngineOptions(worker_node_id=name, max_sessions=max_sessions),
        )


@upstream("session_e2e_tests", "test_multi_worker_complex_orchestration")
async def test_two_workers_share_the_work_and_each_session_stays_with_one() -> None:
    workers = Workers()
    workers.may_end.set()
    async with workers.engine("one", 4), workers.engine("other", 4):
        nothing: list[str] = []
        handle = await workers.bench.client.start(in_two_executions, nothing)
        calls = [("a", "alpha"), ("b", "alpha"), ("c", "beta"), ("d", None), ("e", "alpha"), ("f", "beta")]
        assert await handle.wait() == [f"{text} in {session}" for text, session in calls]
    assert sorted(workers.did["one"] + workers.did["other"]) == calls
    held = {name: {session for _, session in did if session} for name, did in workers.did.items()}
    assert held["one"] & held["other"] == set()


@upstream("session_e2e_tests", "test_multi_worker_heterogeneous_config")
async def test_the_sessions_that_one_worker_may_not_take_go_to_the_other() -> None:
    workers = Workers()
    async with workers.engine("one", 1), workers.engine("other", 10):
        handle = await workers.bench.client.start(three_sessions)
        await cycles()
        assert len(workers.did["one"]) <= 1
        assert sorted(workers.did["one"] + workers.did["other"]) == [("x", "x"), ("y", "y"), ("z", "z")]
        workers.may_end.set()
        assert await handle.wait() == ["x in x", "y in y", "z in z"]


# Tags


@orchestration
async def gives_up_on(ctx: OrchestrationContext, tags: list[str | None]) -> list[str]:
    outcomes: list[str] = []
    for tag in tags:
        called = ctx.schedule_activity(work, "work", tag=tag) if tag else ctx.schedule_activity(work, "work")
        won = await ctx.select(called, ctx.schedule_timer(timedelta(seconds=1)))
        outcomes.append(won.value or "nobody came")
    return outcomes


@pytest.mark.parametrize(
    ("served", "outcomes"),
    [
        (TagFilter.only(["gpu"]), ["work in None", "nobody came"]),
        (TagFilter.default_and(["gpu"]), ["work in None", "work in None"]),
        (DEFAULT_ONLY, ["nobody came", "work in None"]),
    ],
)
@upstream(
    "tag_serde_tests",
    "e2e_tagged_activity_runs_on_matching_worker",
    "e2e_tagged_activity_starvation_times_out",
    "e2e_with_tag_persists_tag_in_event_history",
)
async def test_a_worker_takes_what_it_serves_and_the_rest_waits(served: TagFilter, outcomes: list[str]) -> None:
    bench = Bench()
    options = EngineOptions(worker_tags=served)
    async with nothing_left(), bench.engine(orchestrations=[gives_up_on], activities=[work], options=options):
        handle = await bench.client.start(gives_up_on, ["gpu", None])
        assert await ends(bench.clock, handle.wait()) == outcomes
    scheduled = [event for event in await handle.history() if isinstance(event, ActivityScheduled)]
    assert [event.tag for event in scheduled] == ["gpu", None]


@upstream("tag_serde_tests", "e2e_dropped_tagged_future_triggers_cancellation")
async def test_one_with_a_tag_that_nobody_waits_for_any_more_is_cancelled() -> None:
    bench = Bench()
    told: list[str] = []

    @activity(name="work")
    async def for_ever(ctx: ActivityContext, text: str) -> str:
        await ctx.cancelled()
        told.append(text)
        return "too late"

    options = EngineOptions(worker_tags=TagFilter.default_and(["gpu"]))
    async with nothing_left(), bench.engine(orchestrations=[gives_up_on], activities=[for_ever], options=options):
        handle = await bench.client.start(gives_up_on, ["gpu"])
        assert await ends(bench.clock, handle.wait()) == ["nobody came"]
        await cycles()
        assert told == ["work"]
