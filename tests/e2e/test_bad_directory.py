"""What does a node say to a data directory that is damaged, full, shorter than it was, or not its own?"""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import EngineError, UsageError
from engine.model.status import Status
from provider_log import records as r
from provider_log.audit.verify import verify
from provider_log.data_directory import claim_directory
from provider_log.server.remote import RemoteProvider
from provider_log.store import keys
from tests.e2e.log_at_rest import append_history, open_log, repair
from tests.e2e.node_process import PATIENCE_S, Node, Ran, make_shop, next_line, running, running_node, turnlog

NODE = ("node", "--app-module", "shop:registry", "--listen", "127.0.0.1:0")
SEED = {"PYTHONHASHSEED": "0"}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    make_shop(tmp_path)
    return tmp_path


async def welcome(node: Node, *instances: str) -> None:
    """Run an orchestration to its end, once an instance."""
    for instance in instances:
        await node.client.start("welcome", "Ann", instance=instance)
    for instance in instances:
        assert await node.client.wait(instance, PATIENCE_S) == "hello Ann"


async def stop(node: Node) -> None:
    node.process.send_signal(signal.SIGTERM)
    assert await node.ends() == 0


async def refusal(shop: Path, code: int, *arguments: str) -> str:
    """What a node says that does not start."""
    ran: Ran = await turnlog(*NODE, *arguments, directory=shop, environment=SEED)
    assert (ran.code, ran.out) == (code, ""), ran.err
    assert "Traceback" not in ran.err
    return ran.err.splitlines()[-1]


# The disk


async def test_a_full_disk_ends_the_node_with_a_sentence_and_loses_nothing_acknowledged(shop: Path) -> None:
    acknowledged: dict[str, str] = {}
    chance = random.Random(8)  # text that does not shrink, so that neither log nor store fits

    async def start_until_it_ends(node: Node) -> None:
        for number in range(1_000):
            name = chance.randbytes(2_500).hex()
            await node.client.start("welcome", name, instance=f"full-{number}")
            acknowledged[f"full-{number}"] = name

    async with running_node(shop, **SEED) as node:
        await welcome(node, "w0")
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (600_000, 600_000))
        with pytest.raises(EngineError):
            await start_until_it_ends(node)
        assert await node.ends() == 5
        said = await everything(node)
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert last.startswith("turnlog: partition 0: expected every write and fsync of the log to succeed, but ")
    assert last.endswith("File too large")
    assert len(acknowledged) > 3

    async with running_node(shop, **SEED) as node:
        for instance, name in acknowledged.items():
            assert await node.client.wait(instance, PATIENCE_S) == f"hello {name}"
        await welcome(node, "w1")


async def everything(node: Node) -> str:
    """What a node that has ended said and nobody has read yet."""
    return b"".join([part async for part in node.lines]).decode()


# The log


async def test_a_log_shorter_than_it_was_is_refused_unless_the_loss_is_accepted(shop: Path) -> None:
    data = shop / "turnlog-data"
    async with running_node(shop, **SEED) as node:
        await welcome(node, "w1")
        await stop(node)
    shutil.copytree(data / "log" / "records", shop / "yesterday")
    async with running_node(shop, **SEED) as node:
        await welcome(node, "w2")
        await stop(node)
    shutil.rmtree(data / "log" / "records")
    shutil.move(shop / "yesterday", data / "log" / "records")

    said = await refusal(shop, 6)
    assert said.startswith("turnlog: expected turnlog.")
    assert said.endswith(
        "acknowledged records are lost; bring back what is missing, or go on with what is left: --accept-loss "
        "(accept_loss=True)"
    )

    # The store is ahead of the log now; it must not bring back what the log does not know.
    async with running_node(shop, "--accept-loss", **SEED) as node:
        assert [info.instance for info in await node.client.list_instances()] == ["w1"]
        await welcome(node, "w2")
        await stop(node)
    async with running_node(shop, **SEED) as node:
        assert [info.instance for info in await node.client.list_instances()] == ["w1", "w2"]
    verdict = await verify(data)
    assert verdict.agrees, [str(finding) for finding in verdict.findings]


async def test_a_record_of_a_newer_version_stops_the_node_and_says_to_upgrade(shop: Path) -> None:
    async with running_node(shop, **SEED) as node:
        await welcome(node, "w1")
        await stop(node)
    log = await open_log(shop)
    offset = await append_history(log, b"\xc3\x01" + b"\xfe" * 8 + b"of tomorrow")
    await log.close()
    shutil.rmtree(shop / "turnlog-data" / "store")

    said = await refusal(shop, 6)
    assert f"history offset {offset}: " in said
    assert "upgrade" in said


async def test_an_event_that_cannot_be_read_holds_its_instance_and_no_other(shop: Path) -> None:
    async with running_node(shop, **SEED) as node:
        async with RemoteProvider(node.url) as remote:
            for instance in ("a1", "a2"):
                await node.client.start("approval", instance=instance)
                await remote.changed(instance, 0)
        await stop(node)
    log = await open_log(shop)
    damaged = keys.in_execution(keys.Table.HISTORY, "a1", 1, 1)
    await repair(log, r.RowRepaired(damaged, b"\xc3\x01not an event"))
    await log.close()

    async with running_node(shop, **SEED) as node:
        for instance in ("a1", "a2"):
            await node.client.raise_event(instance, "decision", "yes")
        assert await node.client.wait("a2", PATIENCE_S) == "yes"
        await node.says("a1 is held: HistoryCorrupted: expected event 1 of a1, execution 1, to decode, but ")
        info = await node.client.status("a1")
        assert info.status is Status.HELD
        history = await node.turnlog("history", "a1")
        assert (history.code, "expected event 1 of a1, execution 1, to decode" in history.err) == (6, True)
        waited = await node.turnlog("wait", "a1")
        assert (waited.code, "a1 is held: HistoryCorrupted" in waited.err) == (1, True)
        await welcome(node, "w1")


# The store, which a node may always make anew


async def test_a_store_of_another_directory_is_not_believed(shop: Path) -> None:
    async with running_node(shop, "--data", "other", **SEED) as node:
        await welcome(node, "o1", "o2", "o3")
        await stop(node)
    async with running_node(shop, **SEED) as node:
        await welcome(node, "w1")
        await stop(node)
    store = shop / "turnlog-data" / "store"
    shutil.rmtree(store)
    shutil.copytree(shop / "other" / "store", store)
    async with running(NODE, shop, SEED) as (_, said):
        await next_line(said, "it is made again from the log")
        await next_line(said, "ready at ")
    async with running_node(shop, **SEED) as node:
        assert [info.instance for info in await node.client.list_instances()] == ["w1"]
        await welcome(node, "w2")


@pytest.mark.parametrize("damage", ["cut", "noise"])
async def test_a_store_that_cannot_be_read_is_told_with_what_to_do(shop: Path, damage: str) -> None:
    async with running_node(shop, **SEED) as node:
        await welcome(node, "w1")
        await stop(node)
    for file in (shop / "turnlog-data" / "store" / "0").glob("MANIFEST-*"):
        file.write_bytes(file.read_bytes()[:20] if damage == "cut" else b"noise" * 100)
    said = await refusal(shop, 6)
    assert said.startswith("turnlog: expected a store in turnlog-data/store/0, but RocksDB says: Corruption: ")
    assert said.endswith("; if you delete that directory, the next start makes it again from the log")
    shutil.rmtree(shop / "turnlog-data" / "store" / "0")
    async with running_node(shop, **SEED) as node:
        assert await node.client.wait("w1", PATIENCE_S) == "hello Ann"


# The directory

FULL = """
import resource, sys
from pathlib import Path
from provider_log.audit.verify import verify
from provider_log.data_directory import claim_directory

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
claim_directory(Path(sys.argv[1]), "shop")
"""


def test_a_disk_that_is_full_at_the_first_start_leaves_no_directory_that_nobody_owns(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in ran.stderr
    claim_directory(tmp_path, "other")
    with pytest.raises(UsageError, match="to be the data of application 'shop', but it is that of 'other'"):
        claim_directory(tmp_path, "shop")


async def test_a_newer_format_names_both(shop: Path) -> None:
    async with running_node(shop, **SEED) as node:
        await stop(node)
    path = shop / "turnlog-data" / "log" / "identity.json"
    path.write_text(json.dumps({"format": 2, "anything": "else"}))
    assert await refusal(shop, 2) == (
        "turnlog: expected a log of format 1 or older at turnlog-data/log, but it has format 2"
    )


async def test_a_directory_of_something_else_is_left_alone(shop: Path) -> None:
    (shop / "photos" / "log").mkdir(parents=True)
    (shop / "photos" / "log" / "beach.jpg").write_bytes(b"")
    assert await refusal(shop, 2, "--data", "photos") == (
        "turnlog: expected a log or an empty directory at photos/log, but it holds beach.jpg"
    )
    assert [path.name for path in (shop / "photos").rglob("*")] == ["log", "beach.jpg"]


async def test_a_second_node_names_the_directory_and_the_first_ones_process(shop: Path) -> None:
    async with running_node(shop, **SEED) as node:
        assert await refusal(shop, 2) == (
            "turnlog: expected to be the only one who opens turnlog-data/log, but it is open already "
            f"(process {node.process.pid})"
        )


async def test_code_that_raises_while_it_is_imported_is_told_with_its_line(shop: Path) -> None:
    (shop / "shop.py").write_text("import engine\n\nprices = {}\nprices['lamp']\n")
    assert await refusal(shop, 2) == "turnlog: expected to import 'shop', but at shop.py:4: KeyError: 'lamp'"
