"""Does `/metrics` say what the engine of the node counts, in a form that collectors read?"""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from engine.client import Client
from engine.clock import ManualClock
from engine.metrics import ActivityMetrics, OrchestrationMetrics
from engine.registry import Registry, activity, orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.host import Engine
from provider_log.server import exposition
from provider_log.server.app import create_app
from tests.unit.provider_log.served import ServedMemory

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[4] / "docs" / "metrics.md"
SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\d+(?:\.\d+)?)$')


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration(name='says "hello"\n')
async def doubles(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, number)


@orchestration
async def waits(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


async def asked(engine: Engine | None, served: ServedMemory, **options: Any) -> httpx.Response:
    app = create_app(served, measure=engine.metrics if engine else None, **options)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8620") as http:
        return await http.get("/metrics")


def samples(text: str) -> dict[str, float]:
    """Every line of the page that is a number, by name and labels."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            match = SAMPLE.match(line)
            assert match, line
            assert f"{match[1]}{{{match[2] or ''}}}" not in found, line
            found[f"{match[1]}{{{match[2] or ''}}}"] = float(match[3])
    return found


async def test_the_page_has_every_counter_and_gauge_and_what_was_done_by_name() -> None:
    clock = ManualClock()
    served = ServedMemory(clock)
    client = Client(served, clock=clock)
    engine = Engine(served, Registry(orchestrations=[doubles, waits], activities=[double]), clock=clock)
    async with engine:
        for number in range(3):
            assert await (await client.start(doubles, number)).wait() == 2 * number
        await client.start(waits, instance="i")
        await served.changed("i", 0)
        answer = await asked(engine, served)
    assert (answer.status_code, answer.headers["content-type"]) == (200, exposition.CONTENT_TYPE)
    found = samples(answer.text)
    assert {f"{name}{{}}" for name in exposition.helps()} <= set(found)
    assert found["turnlog_orchestrations_completed_total{}"] == 3
    assert found["turnlog_instances_active{}"] == 1
    said = r'{orchestration="says \"hello\"\n",version="1.0.0",outcome="completed"}'
    assert found[f"turnlog_orchestration_outcomes_total{said}"] == 3
    assert found['turnlog_orchestration_outcomes_total{orchestration="waits",version="1.0.0",outcome="started"}'] == 1
    assert found['turnlog_activity_outcomes_total{activity="double",outcome="completed"}'] == 3
    assert found['turnlog_activity_duration_seconds_bucket{activity="double",le="0.01"}'] == 3


async def test_durations_are_told_in_seconds_and_end_with_all_of_them() -> None:
    metrics = await Engine(ServedMemory(ManualClock()), Registry()).metrics()
    of_slow = ActivityMetrics(name="slow", completed=4, failed=1, took_ms=712_500, within=(0, 1, 1, 3, 4, 4))
    of_ship = OrchestrationMetrics(
        name="ship", version="2.0.0", started=5, completed=4, failed=3, cancelled=2, continued_as_new=1
    )
    page = exposition.page(structs.replace(metrics, activities=(of_slow,), orchestrations=(of_ship,)))
    duration = "turnlog_activity_duration_seconds"
    assert [line for line in page.splitlines() if line.startswith(duration)] == [
        f'{duration}_bucket{{activity="slow",le="0.01"}} 0',
        f'{duration}_bucket{{activity="slow",le="0.1"}} 1',
        f'{duration}_bucket{{activity="slow",le="1"}} 1',
        f'{duration}_bucket{{activity="slow",le="10"}} 3',
        f'{duration}_bucket{{activity="slow",le="60"}} 4',
        f'{duration}_bucket{{activity="slow",le="600"}} 4',
        f'{duration}_bucket{{activity="slow",le="+Inf"}} 5',
        f'{duration}_sum{{activity="slow"}} 712.5',
        f'{duration}_count{{activity="slow"}} 5',
    ]
    outcomes = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith("turnlog_orchestration_out")]
    assert outcomes == ["5", "4", "3", "2", "1"]


async def test_what_the_provider_does_not_tell_is_left_out() -> None:
    metrics = await Engine(ServedMemory(ManualClock()), Registry()).metrics()
    found = samples(exposition.page(structs.replace(metrics, instances_active=None)))
    assert "turnlog_instances_active{}" not in found
    assert "turnlog_instances_held{}" in found


async def test_every_metric_has_a_help_and_a_type_of_its_own() -> None:
    page = exposition.page(await Engine(ServedMemory(ManualClock()), Registry()).metrics())
    helped = re.findall(r"^# HELP (\S+) .+$", page, re.MULTILINE)
    typed = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, re.MULTILINE))
    assert helped == list(typed)
    assert len(helped) == len(set(helped))
    counters = {name for name, kind in typed.items() if kind == "counter"}
    assert counters == {name for name in typed if name.endswith("_total")}


async def test_a_node_without_an_engine_has_no_metrics_and_one_with_a_token_asks_for_it() -> None:
    served = ServedMemory(ManualClock())
    refused = await asked(None, served)
    assert refused.status_code == 400
    assert refused.json()["detail"] == "expected a node with an engine, but this one has none"
    assert (await asked(Engine(served, Registry()), served, token="t")).status_code == 401


def test_the_page_of_the_docs_is_what_the_numbers_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == exposition.document(), (
        "make it anew: python -m provider_log.server.exposition > docs/metrics.md"
    )
