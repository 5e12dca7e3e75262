"""Does `turnlog audit` tell a good data directory from a damaged one, beside a node and without one?"""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.e2e.node_process import PATIENCE_S, make_shop, running_node, turnlog


@pytest.fixture(scope="module")
async def drained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a node that ran two instances to their ends, and drained."""
    directory = tmp_path_factory.mktemp("drained")
    make_shop(directory)
    async with running_node(directory) as node:
        welcome = await node.client.start("welcome", "Ann", instance="w1")
        await welcome.wait(PATIENCE_S)
        await node.client.start("approval", instance="a1")
        await node.client.raise_event("a1", "decision", True)
        await node.client.wait("a1", PATIENCE_S)
        node.process.send_signal(signal.SIGTERM)
        assert await node.ends() == 0
    return directory


@pytest.fixture
def shop(drained: Path, tmp_path: Path) -> Path:
    """A copy of it, without the pipes."""
    return shutil.copytree(drained, tmp_path / "shop", ignore=shutil.ignore_patterns("began", "release"))


async def test_a_good_directory_agrees_and_the_numbers_are_those_of_what_ran(shop: Path) -> None:
    ran = await turnlog("audit", "verify", "--json", directory=shop)
    verdict = json.loads(ran.out)
    assert (ran.code, verdict["agrees"], verdict["findings"]) == (0, True, [])
    assert (verdict["instances"], verdict["executions"], verdict["activities"]) == (2, 2, 1)
    shown = await turnlog("audit", "verify", directory=shop)
    assert (shown.code, shown.err) == (0, "")
    assert "the log keeps its rules; 1 of 1 stores and 0 owners compared, all agree" in shown.out


async def test_a_running_node_is_asked_what_its_state_is(shop: Path) -> None:
    async with running_node(shop) as node:
        ran = await node.turnlog("audit", "verify", "--live")
        assert (ran.code, "1 of 1 stores and 1 owners compared, all agree" in ran.out) == (0, True)
        other = await node.turnlog("audit", "verify", "--live", "--app", "other")
        assert (other.code, "but it is 'turnlog'" in other.err) == (2, True)


async def test_one_byte_flipped_in_a_copy_of_the_store_is_exit_6(shop: Path) -> None:
    copy = shop / "copy"
    shutil.copytree(shop / "turnlog-data", copy)
    table = max((copy / "store" / "0").glob("*.sst"), key=lambda path: path.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 4] ^= 1
    table.write_bytes(data)
    ran = await turnlog("audit", "verify", "--data", "copy", directory=shop)
    assert (ran.code, "Traceback" in ran.err) == (6, False)
    assert " findings; " in ran.out
    good = await turnlog("audit", "verify", directory=shop)
    assert good.code == 0


async def test_an_instance_is_rebuilt_from_the_log_alone(shop: Path) -> None:
    shutil.rmtree(shop / "turnlog-data" / "store")
    ran = await turnlog("audit", "replay", "w1", "--app-module", "shop:registry", directory=shop)
    assert (ran.code, ran.err) == (0, "")
    assert "welcome 1.0.0" in ran.out
    assert "agrees" in ran.out
    assert '"hello Ann"' in ran.out
    without_code = json.loads((await turnlog("audit", "replay", "w1", "--json", directory=shop)).out)
    assert [each["answer"] for each in without_code["executions"]] == ["not_asked"]


async def test_code_that_left_the_recorded_path_is_exit_6(shop: Path) -> None:
    source = (shop / "shop.py").read_text()
    (shop / "shop2.py").write_text(source.replace("schedule_activity(greet, name)", "schedule_activity(refuse, name)"))
    ran = await turnlog("audit", "replay", "w1", "--app-module", "shop2:registry", directory=shop)
    assert ran.code == 6
    assert "nondeterminism: " in ran.out


async def test_code_that_is_to_be_deployed_is_asked_about_every_history(shop: Path) -> None:
    ran = await turnlog("audit", "check-code", "shop:registry", "--ended", directory=shop)
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"the code agrees with 2 executions, \d+ events, in 1 partitions\n", ran.out)
    source = (shop / "shop.py").read_text()
    changed = source.replace("schedule_activity(greet, name)", "schedule_activity(refuse, name)")
    (shop / "shop2.py").write_text(f"print('while it is imported')\n{changed}")
    told = await turnlog("audit", "check-code", "shop2:registry", "--ended", directory=shop)
    assert told.code == 6
    assert "nondeterminism: event 2: expected ActivityScheduled(name='greet'" in told.out
    assert "welcome 1.0.0: 1 nondeterminism\n1 differ of 2 executions" in told.out
    (departure,) = json.loads(
        (await turnlog("audit", "check-code", "shop2:registry", "--ended", "--json", directory=shop)).out
    )["departures"]
    assert (departure["instance"], departure["event_id"], departure["answer"]) == ("w1", 2, "nondeterminism")


async def test_code_that_opens_a_file_is_told_as_a_node_would_tell_it(shop: Path) -> None:
    source = (shop / "shop.py").read_text()
    changed = source.replace("    return await ctx", "    open('shop.py')\n    return await ctx", 1)
    assert changed != source
    (shop / "shop3.py").write_text(changed)
    ran = await turnlog("audit", "check-code", "shop3:registry", "--ended", directory=shop)
    assert (ran.code, "it used opening a file (open)" in ran.out) == (6, True)


async def test_what_has_ended_is_asked_about_if_one_wants_to_know(shop: Path) -> None:
    ran = await turnlog("audit", "check-code", "shop:registry", directory=shop)
    assert (ran.code, ran.out) == (
        0,
        "the code agrees with 0 executions that have not ended, 0 events, in 1 partitions\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("verify", "--data", "nowhere"), 2, "expected a log at nowhere/log, but there is none"),
        (("verify", "--app", "other"), 2, "expected the log of application 'other'"),
        (("verify", "--url", "http://127.0.0.1:9"), 2, "expected --live with --url"),
        (("verify", "--live", "--url", "http://127.0.0.1:9"), 5, "start one with `turnlog node`"),
        (("replay", "nobody"), 3, "expected records of instance 'nobody'"),
        (("replay", "w1", "--execution", "7"), 2, "expected an execution of 'w1' (1), but it is 7"),
        (("replay", "w1", "--app-module", "nothing:registry"), 2, "expected a module 'nothing'"),
        (("check-code", "nothing:registry"), 2, "expected a module 'nothing'"),
        (("check-code", "shop"), 2, "expected module:registry"),
        (("check-code", "shop:registry", "--app", "other"), 2, "expected the log of application 'other'"),
    ],
)
async def test_a_call_that_is_wrong_is_told(shop: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = await turnlog("audit", *arguments, directory=shop)
    assert (ran.code, says in ran.err, "Traceback" in ran.err) == (code, True, False)
