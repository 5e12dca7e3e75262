"""What does an engine log: of itself, of its orchestrations, and of its activities?"""

import logging

import pytest

from engine.activity_context import ActivityContext
from engine.model.version import RULES, EngineVersion, VersionRange
from engine.registry import activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, cycles, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio

LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]


@activity
async def says_all(ctx: ActivityContext) -> None:
    for level in LEVELS:
        ctx.logger.log(level, "said at %d", level)


@orchestration
async def asks_it(ctx: OrchestrationContext) -> None:
    await ctx.schedule_activity(says_all)


@orchestration
async def says_all_itself(ctx: OrchestrationContext) -> str:
    for level in LEVELS:
        ctx.logger.log(level, "said at %d", level)
    return await ctx.wait_event("go", str)


def said(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == name]


@upstream(
    "observability_tests",
    "activity_tracing_emits_all_levels",
    differs="The activity is in the name of the logger; which orchestration asked, the instance says.",
)
async def test_an_activity_logs_at_every_level_and_every_record_says_whose_it_is(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with nothing_left(), bench.engine(orchestrations=[asks_it], activities=[says_all]):
        await (await bench.client.start(asks_it, instance="order-1")).wait()
    records = said(caplog, "turnlog.activity.says_all")
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (level, f"said at {level}") for level in LEVELS
    ]
    assert {(record.__dict__["instance"], record.__dict__["execution_id"]) for record in records} == {("order-1", 1)}


@upstream(
    "observability_tests",
    "orchestration_tracing_emits_all_levels",
    differs="Which orchestration it is, the instance says.",
)
async def test_an_orchestration_logs_at_every_level_and_once_however_often_it_is_replayed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options = EngineOptions(cache_bytes_max=0)
    async with nothing_left(), bench.engine(orchestrations=[says_all_itself], options=options) as engine:
        handle = await bench.client.start(says_all_itself, instance="order-1")
        await cycles()
        await handle.raise_event("go", "x")
        await handle.wait()
    assert engine.counters.live_misses == 2
    records = said(caplog, "turnlog.orchestration")
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (level, f"said at {level}") for level in LEVELS
    ]
    assert {(record.__dict__["instance"], record.__dict__["execution_id"]) for record in records} == {("order-1", 1)}


@upstream("capability_filtering_tests", "runtime_logs_capability_declaration_at_startup")
async def test_an_engine_says_at_its_start_which_executions_it_takes(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = EngineOptions(supported_pins=VersionRange(EngineVersion(0, 9, 0), RULES))
    async with nothing_left(), bench.engine(options=options):
        pass
    told = [record.getMessage() for record in said(caplog, "turnlog.engine")]
    assert told[:2] == ["running", f"takes executions that were begun by the rules 0.9.0 to {RULES}"]
