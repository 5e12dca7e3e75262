"""Which version runs, for whoever starts an orchestration: a client, a parent, or the execution before?"""

import pytest

from engine import OrchestrationContext, orchestration
from engine.model.events import OrchestrationCompleted, SubOrchestrationCompleted
from engine.testing import run
from tests.replay.given import payload
from tests.unit.engine.runtime.running import Bench
from tests.upstream import upstream


@orchestration(name="order")
async def order_v1(ctx: OrchestrationContext, number: int) -> str:
    return f"v1 {number}"


@orchestration(name="order", version="1.1.0")
async def order_v11(ctx: OrchestrationContext, number: int) -> str:
    return f"v1.1 {number}"


BOTH = [order_v1, order_v11]


@pytest.mark.anyio
@upstream(
    "versioning_tests",
    "runtime_start_versioned_string_uses_explicit_version",
    "runtime_start_versioned_typed_uses_explicit_version",
    "start_uses_latest_version",
)
async def test_a_start_takes_the_version_it_names_or_the_latest() -> None:
    bench = Bench()
    async with bench.engine(orchestrations=BOTH):
        latest = await bench.client.start(order_v1, 1)
        assert await latest.wait() == "v1.1 1"
        exact = await bench.client.start(order_v11, 2, version="1.0.0")
        assert await exact.wait() == "v1 2"
    assert (await exact.status()).orchestration_version == "1.0.0"
    assert isinstance((await latest.history())[-1], OrchestrationCompleted)


@orchestration
async def parent(ctx: OrchestrationContext, version: str) -> str:
    if version:
        return await ctx.schedule_sub_orchestration("order", 3, output=str, version=version)
    return await ctx.schedule_sub_orchestration(order_v1, 3)


@pytest.mark.parametrize(("version", "output"), [("", "v1.1 3"), ("1.0.0", "v1 3"), ("1.1.0", "v1.1 3")])
@upstream(
    "versioning_tests",
    "sub_orchestration_versioned_explicit_and_policy",
    "parent_calls_child_upgrade_child_and_verify_latest_used",
)
@upstream(
    "versioning_tests",
    "sub_orchestration_uses_latest_by_default_and_pinned_when_set",
    differs="The call names the version; there is no policy to pin one with.",
)
def test_a_child_takes_the_version_it_is_asked_for_with_or_the_latest(version: str, output: str) -> None:
    outcome = run(parent, version, orchestrations=BOTH)
    assert outcome.output == output
    assert any(isinstance(event, SubOrchestrationCompleted) for event in outcome.history)


@orchestration
async def detaches(ctx: OrchestrationContext, version: str) -> None:
    ctx.start_detached("order", 4, instance="detached", version=version or None)


@pytest.mark.parametrize(("version", "output"), [("", "v1.1 4"), ("1.0.0", "v1 4")])
@upstream("versioning_tests", "detached_versioned_uses_policy_latest")
def test_so_does_a_detached_one(version: str, output: str) -> None:
    assert run(detaches, version, orchestrations=BOTH).instances["detached"].output == payload(output)


@orchestration(name="upgrades")
async def upgrades_v1(ctx: OrchestrationContext, version: str) -> str:
    return ctx.continue_as_new("from v1", version=version)


@orchestration(name="upgrades", version="2.0.0")
async def upgrades_v2(ctx: OrchestrationContext, said: str) -> str:
    return f"v2 {said}"


@orchestration(name="upgrades", version="3.0.0")
async def upgrades_v3(ctx: OrchestrationContext, said: str) -> str:
    return f"v3 {said}"


@upstream(
    "versioning_tests", "continue_as_new_versioned_typed_explicit", "continue_as_new_upgrades_version_deterministically"
)
def test_so_does_the_next_execution() -> None:
    outcome = run(upgrades_v1, "2.0.0", orchestrations=[upgrades_v2, upgrades_v3])
    assert outcome.output == "v2 from v1"
    assert len(outcome.instances["test"].executions) == 2
