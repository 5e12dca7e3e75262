"""Does a node outlive an orchestration that never ends its turn, and a restart after it?"""

import signal
from pathlib import Path

import anyio

from engine.model.failure import Category
from engine.model.status import Status
from tests.e2e.node_process import PATIENCE_S, make_shop, running_node

ENDLESS = """

@orchestration
async def endless(ctx: OrchestrationContext) -> None:
    while True:
        pass


registry = Registry(orchestrations=[endless, welcome], activities=[greet])
"""


async def test_a_node_holds_what_never_ends_and_answers_drains_and_starts_again(tmp_path: Path) -> None:
    make_shop(tmp_path)
    with (tmp_path / "shop.py").open("a") as shop:
        shop.write(ENDLESS)
    async with running_node(tmp_path) as node:
        await node.client.start("endless", instance="e1")
        with anyio.fail_after(PATIENCE_S):
            info = await node.client.changed("e1")
        assert info.status is Status.HELD
        assert info.failure is not None
        assert info.failure.category is Category.LIMIT
        assert f"within 10 s, but it was still in {tmp_path}/shop.py:" in info.failure.message
        assert await (await node.client.start("welcome", "Ann")).wait(PATIENCE_S) == "hello Ann"
        node.process.send_signal(signal.SIGTERM)
        assert await node.ends() == 0
    async with running_node(tmp_path) as node:
        assert await (await node.client.start("welcome", "Bob")).wait(PATIENCE_S) == "hello Bob"
        assert (await node.client.status("e1")).status is Status.HELD
