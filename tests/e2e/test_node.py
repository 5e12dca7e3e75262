"""Does a node of the installed command serve, drain, stop, survive, and refuse, as a first-week user would see it?"""

import json
import signal
from pathlib import Path

import anyio
import pytest

from tests.e2e.node_process import PATIENCE_S, Ran, make_shop, next_line, running, running_node, turnlog

NODE = ("node", "--listen", "127.0.0.1:0")
NODE_OF_THE_SHOP = (*NODE, "--app-module", "shop:registry")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    make_shop(tmp_path)
    return tmp_path


async def test_what_a_first_week_user_does(shop: Path) -> None:
    async with running_node(shop) as node:
        assert await node.turnlog("start", "welcome", '"Ann"', "--id", "w/1") == Ran(
            0, "w/1\n", "next: turnlog wait w/1\n"
        )
        assert await node.turnlog("wait", "w/1") == Ran(0, '"hello Ann"\n', "")
        await node.turnlog("start", "approval", "--id", "a1")
        assert (await node.turnlog("event", "a1", "decision", '{"ok": true}')).code == 0
        assert json.loads((await node.turnlog("wait", "a1", "--json")).out)["output"] == {"ok": True}
        assert "completed" in (await node.turnlog("status", "a1")).out
        listed = json.loads((await node.turnlog("list", "--json")).out)
        assert [info["instance"] for info in listed["instances"]] == ["a1", "w/1"]
        history = json.loads((await node.turnlog("history", "w/1", "--json")).out)
        assert [event["type"] for event in history["events"]] == [
            "OrchestrationStarted",
            "ActivityScheduled",
            "ActivityCompleted",
            "OrchestrationCompleted",
        ]


async def test_each_kind_of_end_has_its_exit_code(shop: Path) -> None:
    async with running_node(shop) as node:
        failed = await node.turnlog("start", "fails", '"lamp"', "--id", "f1", "--wait")
        assert (failed.code, "no lamp left" in failed.err) == (1, True)
        assert (await node.turnlog("start", "welcome", "Ann")).code == 2
        assert (await node.turnlog("status", "nobody")).code == 3
        await node.turnlog("start", "approval", "--id", "a1")
        assert (await node.turnlog("wait", "a1", "--timeout", "0.1")).code == 4
        node.process.send_signal(signal.SIGTERM)
        assert await node.ends() == 0
        gone = await node.turnlog("status", "a1")
        assert (gone.code, "start one with `turnlog node`" in gone.err) == (5, True)
        shown = await node.turnlog("status", "f1")
        assert "Traceback" not in failed.err + gone.err + shown.err


async def test_a_failure_shows_the_users_own_line(shop: Path) -> None:
    async with running_node(shop) as node:
        await node.turnlog("start", "fails", '"lamp"', "--id", "f1", "--wait")
        shown = (await node.turnlog("status", "f1")).out
    assert "LookupError: no lamp left" in shown
    assert 'raise LookupError(f"no {item} left")' in shown
    assert f'File "{shop}/shop.py", line ' in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_drains(shop: Path, number: signal.Signals) -> None:
    async with running_node(shop) as node:
        await node.client.start("ship", "lamp", instance="s1")
        assert await node.weighs() == "lamp"
        node.process.send_signal(number)
        await node.says("draining: what has begun may end")
        await node.may_end("3 kg")
        await node.says("stopped")
        assert await node.ends() == 0
    async with running_node(shop) as node:
        assert await node.client.wait("s1", PATIENCE_S) == "3 kg"
        assert node.runs == ["lamp"]


async def test_the_second_signal_stops_and_what_had_begun_is_done_again(shop: Path) -> None:
    async with running_node(shop) as node:
        await node.client.start("ship", "lamp", instance="s1")
        await node.weighs()
        node.process.send_signal(signal.SIGTERM)
        await node.says("draining")
        node.process.send_signal(signal.SIGTERM)
        await node.says("stopping at once: what has begun is done again")
        assert await node.ends() == 0
    async with running_node(shop) as node:
        assert await node.weighs() == "lamp"
        await node.may_end("3 kg")
        assert await node.client.wait("s1", PATIENCE_S) == "3 kg"
        assert node.runs == ["lamp", "lamp"]


async def test_a_signal_while_the_node_restores_ends_it_in_order(shop: Path) -> None:
    async with running((*NODE_OF_THE_SHOP, "--log-level", "info"), shop) as (process, said):
        await next_line(said, "restoring turnlog-data")
        process.send_signal(signal.SIGTERM)
        await next_line(said, "stopped")
        with anyio.fail_after(PATIENCE_S):
            assert await process.wait() == 0


async def test_a_killed_node_goes_on_where_its_log_ends(shop: Path) -> None:
    async with running_node(shop) as node:
        welcome = await node.client.start("welcome", "Ann", instance="w1")
        assert await welcome.wait(PATIENCE_S) == "hello Ann"
        await node.client.start("approval", instance="a1")
        await node.client.start("ship", "lamp", instance="s1")
        await node.weighs()
        before = await node.client.history("a1")
        node.process.send_signal(signal.SIGKILL)
        assert await node.ends() == -signal.SIGKILL
    async with running_node(shop) as node:
        assert await node.client.wait("w1", PATIENCE_S) == "hello Ann"
        assert await node.client.history("a1") == before
        assert await node.weighs() == "lamp"
        await node.may_end("3 kg")
        assert await node.client.wait("s1", PATIENCE_S) == "3 kg"
        await node.client.raise_event("a1", "decision", 1)
        assert await node.client.wait("a1", PATIENCE_S) == 1


async def test_a_wait_outlasts_a_restart_of_the_node(shop: Path) -> None:
    async with running_node(shop) as node:
        waiting = ("start", "approval", "--id", "a1", "--wait", "--url", node.url)
        async with running(waiting, shop) as (waiter, said):
            await next_line(said, "started a1")
            node.process.send_signal(signal.SIGTERM)
            await node.ends()
            async with running_node(shop, "--listen", node.url.removeprefix("http://")) as again:
                await again.turnlog("event", "a1", "decision", '"yes"')
                with anyio.fail_after(PATIENCE_S):
                    assert await waiter.wait() == 0
            assert waiter.stdout is not None
            assert await waiter.stdout.receive() == b'"yes"\n'


async def test_four_partitions_serve_as_one_does(shop: Path) -> None:
    instances = [f"w{number}" for number in range(8)]
    async with running_node(shop, "--partitions", "4") as node:
        for instance in instances:
            await node.client.start("welcome", instance, instance=instance)
        for instance in instances:
            assert await node.client.wait(instance, PATIENCE_S) == f"hello {instance}"
        assert [info.instance for info in await node.client.list_instances(limit=5)] == instances[:5]
        assert [info.instance for info in await node.client.list_instances(after="w4")] == instances[5:]


async def test_the_hash_seed_is_fixed_unless_one_is_set(shop: Path) -> None:
    async with running_node(shop) as node:
        assert await (await node.client.start("seed")).wait(PATIENCE_S) == "0"
    async with running_node(shop, PYTHONHASHSEED="7") as node:
        assert await (await node.client.start("seed")).wait(PATIENCE_S) == "7"


async def test_a_node_with_a_token_serves_its_holder(shop: Path) -> None:
    async with running_node(shop, TURNLOG_TOKEN="geheim") as node:
        stranger = await node.turnlog("list")
        assert (stranger.code, "expected this node's token" in stranger.err) == (2, True)
        (shop / "turnlog.toml").write_text('token = "geheim"')
        assert (await node.turnlog("list")).code == 0


async def test_the_configuration_says_where_each_value_is_from(tmp_path: Path) -> None:
    (tmp_path / "turnlog.toml").write_text('data = "here"\n')
    ran = await turnlog(
        "node", "--app", "shop", "--show-config", "--json", directory=tmp_path, environment={"TURNLOG_PARTITIONS": "3"}
    )
    shown = json.loads(ran.out)
    assert shown["data"] == {"value": "here", "source": "data in turnlog.toml"}
    assert shown["app"] == {"value": "shop", "source": "--app"}
    assert shown["partitions"] == {"value": "3", "source": "TURNLOG_PARTITIONS"}
    assert shown["listen"]["source"] == "default"
    table = await turnlog("node", "--show-config", directory=tmp_path)
    assert "data in turnlog.toml" in table.out


# What a node refuses


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((*NODE,), 2, "expected --app-module MODULE:REGISTRY, which says what to serve, but there is none"),
        ((*NODE, "--app-module", "shop"), 2, "expected module:registry"),
        ((*NODE, "--app-module", "shipyard:registry"), 2, "expected a module 'shipyard' in "),
        ((*NODE, "--app-module", "shop:registery"), 2, "did you mean shop:registry?"),
        (("node", "--app-module", "shop:registry", "--listen", "0.0.0.0:0"), 2, "expected a token for a node that"),
        (("node", "--app-module", "shop:registry", "--listen", "here"), 2, "expected an address like 127.0.0.1:8620"),
        ((*NODE, "--app-module", "shop:registry", "--data", "shop.py"), 2, "expected a directory for the log"),
        (
            (*NODE, "--app-module", "shop:registry", "--app", "Not A Name"),
            2,
            "expected an application name of small letters",
        ),
        ((*NODE, "--app-module", "shop:registry", "--partitions", "0"), 2, "--partitions"),
    ],
)
async def test_a_call_that_is_wrong_is_told(shop: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = await turnlog(*arguments, directory=shop)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


async def refused(shop: Path, *arguments: str) -> Ran:
    ran = await turnlog(*NODE, "--app-module", "shop:registry", *arguments, directory=shop)
    assert ran.err.startswith("turnlog: expected ")
    assert ran.err.count("\n") == 1
    return ran


async def test_a_second_node_on_the_same_data_is_refused(shop: Path) -> None:
    async with running_node(shop) as node:
        ran = await refused(shop)
        assert (ran.code, "but it is open already (process" in ran.err) == (2, True)
        assert (await node.turnlog("list")).code == 0


async def test_a_second_node_on_the_same_address_is_refused(shop: Path) -> None:
    async with running_node(shop) as node:
        ran = await refused(shop, "--data", "other", "--listen", node.url.removeprefix("http://"))
    assert (ran.code, "address already in use; is another node running?" in ran.err) == (2, True)


async def test_data_of_another_application_or_shape_is_refused(shop: Path) -> None:
    async with running_node(shop, "--app", "shop") as node:
        node.process.send_signal(signal.SIGTERM)
        await node.ends()
    other = await refused(shop, "--app", "other")
    assert (other.code, "but it is that of 'shop'" in other.err) == (2, True)
    more = await refused(shop, "--app", "shop", "--partitions", "2")
    assert (more.code, "but the log has 1; their number is fixed" in more.err) == (2, True)


async def test_data_of_a_newer_format_is_refused(shop: Path) -> None:
    async with running_node(shop) as node:
        node.process.send_signal(signal.SIGTERM)
        await node.ends()
    path = shop / "turnlog-data" / "log" / "identity.json"
    identity = json.loads(path.read_text())
    identity["format"] += 1
    path.write_text(json.dumps(identity))
    ran = await refused(shop)
    assert (ran.code, "or older" in ran.err) == (2, True)
