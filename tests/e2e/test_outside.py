"""Does a node refuse an orchestration that reaches outside, say what to do, and live on?"""

import textwrap
from pathlib import Path

import pytest

from engine import InstanceInfo, Status
from tests.e2e.node_process import running_node

SHOP = """
import socket
from pathlib import Path

from engine import OrchestrationContext, Registry, activity, orchestration

HERE = Path(__file__).parent


@activity
def read(name: str) -> str:
    return (HERE / name).read_text()


@activity
async def connect(name: str) -> str:
    with socket.socket() as one:
        return f"{name} has {one.family.name}"


@orchestration
async def reads(ctx: OrchestrationContext, name: str) -> str:
    return (HERE / name).read_text()


@orchestration
async def connects(ctx: OrchestrationContext, name: str) -> str:
    with socket.socket() as one:
        return f"{name} has {one.family.name}"


@orchestration
async def asks(ctx: OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(read, name) + await ctx.schedule_activity(connect, name)


registry = Registry(orchestrations=[reads, connects, asks], activities=[read, connect])
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP))
    (tmp_path / "stock").write_text("3 lamps, ")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "used", "line"),
    [
        ("reads", "opening a file (open)", "return (HERE / name).read_text()"),
        ("connects", "a socket (socket.__new__)", "with socket.socket() as one:"),
    ],
)
async def test_it_is_held_and_activities_may_do_the_same(shop: Path, name: str, used: str, line: str) -> None:
    async with running_node(shop) as node:
        waited = await node.turnlog("start", name, '"stock"', "--id", "held", "--wait")
        info: InstanceInfo = await node.client.status("held")
        after = await node.turnlog("start", "asks", '"stock"', "--id", "asks", "--wait")

    assert waited.code == 1
    assert f"but it used {used}; use an activity" in waited.err
    assert info.status is Status.HELD
    assert info.failure is not None
    assert line in (info.failure.stack or "")
    assert (after.code, after.out) == (0, '"3 lamps, stock has AF_INET"\n')


async def test_it_goes_on_with_code_that_fits_after_resume(shop: Path) -> None:
    async with running_node(shop) as node:
        await node.turnlog("start", "reads", '"stock"', "--id", "held", "--wait")
    reads, _, rest = SHOP.partition("\n\n\n@orchestration\nasync def connects")
    before, line, _ = reads.rpartition("return (HERE / name).read_text()")
    assert line
    fixed = before + "return await ctx.schedule_activity(read, name)"
    (shop / "shop.py").write_text(fixed + "\n\n\n@orchestration\nasync def connects" + rest)
    async with running_node(shop) as node:
        assert (await node.turnlog("resume", "held")).code == 0
        assert (await node.turnlog("wait", "held")).out == '"3 lamps, "\n'
