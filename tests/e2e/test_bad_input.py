"""What does a node say to what cannot be used, whoever sent it, and does it go on with everything else?"""

import json
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from engine import Client, Engine, EngineOptions, Registry
from engine.errors import OrchestrationFailed
from engine.model.failure import Category
from provider_log import codec
from provider_log.log.port import LogRecord
from provider_log.log_provider import LogProvider
from tests.e2e.log_at_rest import open_log, read_all
from tests.e2e.node_process import PATIENCE_S, Node, running_node

SHOP = """
import asyncio
from dataclasses import dataclass

from engine import OrchestrationContext, Registry, activity, orchestration


@dataclass
class Order:
    sku: str
    count: int


@activity
async def price(count: int) -> int:
    return count * 7


@activity
async def print_label(chars: int) -> str:
    return "x" * chars


@activity
async def length(text: str) -> int:
    return len(text)


@orchestration
async def buy(ctx: OrchestrationContext, order: Order) -> int:
    return await ctx.schedule_activity(price, order.count)


@orchestration
async def price_of(ctx: OrchestrationContext, count: object) -> object:
    return await ctx.schedule_activity("price", count)


@orchestration
async def label(ctx: OrchestrationContext, chars: int) -> int:
    return len(await ctx.schedule_activity(print_label, chars))


@orchestration
async def lengths(ctx: OrchestrationContext, chars: list[int]) -> list[int]:
    return await asyncio.gather(*[ctx.schedule_activity(length, "x" * each) for each in chars])


@orchestration
async def spell(ctx: OrchestrationContext, chars: int) -> str:
    return "x" * chars


registry = Registry(orchestrations=[buy, price_of, label, lengths, spell], activities=[price, print_label, length])
"""
LATER = """
from engine import OrchestrationContext, orchestration


@orchestration
async def restock(ctx: OrchestrationContext, count: int) -> int:
    return count


registry = Registry(orchestrations=[buy, restock], activities=[price])
"""
ORDER = {"sku": "lamp", "count": 3}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture(scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Node]:
    """One node for all that is only refused: whatever was sent to it before, it goes on."""
    directory = tmp_path_factory.mktemp("shop")
    (directory / "shop.py").write_text(SHOP)
    async with running_node(directory, PYTHONHASHSEED="0") as node:
        yield node


async def still_serves(node: Node) -> None:
    ran = await node.turnlog("start", "buy", json.dumps(ORDER), "--wait")
    assert (ran.code, ran.out) == (0, "21\n")


# Names nobody knows


async def test_an_unknown_orchestration_waits_for_a_node_that_knows_it(shop: Path) -> None:
    async with running_node(shop, PYTHONHASHSEED="0") as node:
        ran = await node.turnlog("start", "restock", "5", "--id", "r1")
        assert (ran.code, ran.out) == (0, "r1\n")
        assert "r1" in await node.says("expected orchestration restock to be registered, but it is not")
        status = await node.turnlog("status", "r1")
        assert status.code == 3
        assert "one that was started shows up once its node has the orchestration registered" in status.err
        await still_serves(node)
        node.process.send_signal(signal.SIGTERM)
        assert await node.ends() == 0
    (shop / "shop.py").write_text(SHOP + LATER)
    async with running_node(shop, PYTHONHASHSEED="0") as node:
        assert await node.client.wait("r1", PATIENCE_S) == 5


async def test_an_orchestration_nobody_registers_fails_in_the_end_and_says_what_is_missing(tmp_path: Path) -> None:
    options = EngineOptions(attempts_max=2, unregistered_delay_ms=1)
    async with LogProvider.embedded(tmp_path) as provider, Engine(provider, Registry(), options):
        handle = await Client(provider).start("restock", 5, instance="r1")
        with pytest.raises(
            OrchestrationFailed, match="; expected orchestration 'restock' to be registered, but"
        ) as caught:
            await handle.wait(PATIENCE_S)
        assert caught.value.failure.category is Category.POISON


# Payloads nobody can read


async def test_broken_json_on_the_command_line_is_refused_before_it_is_sent(node: Node) -> None:
    ran = await node.turnlog("start", "buy", '{"sku": "lamp"', "--id", "b1")
    assert ran.code == 2
    assert ran.err == (
        """turnlog: expected JSON (text goes in quotes: '"text"'), but '{"sku": "lamp"' is none: """
        "Input data was truncated\n"
    )
    assert (await node.turnlog("status", "b1")).code == 3


async def test_records_that_are_no_messages_become_dead_letters_with_the_reason(shop: Path) -> None:
    async with running_node(shop, PYTHONHASHSEED="0") as node:
        await still_serves(node)
        node.process.kill()
        await node.ends()
    log = await open_log(shop)
    start = {"type": "StartOrchestration", "instance": "j1", "name": "buy", "input": ORDER}
    as_json = (("content-type", b"application/json"),)
    for key, value, headers in (
        (b"cut", json.dumps(start).encode()[:-1], as_json),
        (b"typo", json.dumps({**start, "imput": 1}).encode(), as_json),
        (b"noise", b"\x00\x01\x02", ()),
        (b"empty", None, ()),
        (b"j1", json.dumps(start).encode(), as_json),
    ):
        await log.append(LogRecord(topic="turnlog.orchestrator", partition=0, key=key, value=value, headers=headers))
    await log.close()

    async with running_node(shop, PYTHONHASHSEED="0") as node:
        assert await node.client.wait("j1", PATIENCE_S) == 21
        await still_serves(node)
        node.process.send_signal(signal.SIGTERM)
        assert await node.ends() == 0

    log = await open_log(shop)
    letters = [codec.decode_dead_letter(stored.value or b"") for stored in await read_all(log, "turnlog.dead-letter")]
    await log.close()
    assert [(letter.key, letter.topic) for letter in letters] == [
        (key, "turnlog.orchestrator") for key in (b"cut", b"typo", b"noise", b"empty")
    ]
    cut, typo, noise, empty = (letter.reason for letter in letters)
    assert cut.startswith("expected a JSON message of type StartOrchestration, RaiseEvent, EnqueueMessage")
    assert "unknown field `imput`" in typo
    assert "framed for a schema registry, and none is configured" in noise
    assert empty == "expected a message, but the record has no value"


@pytest.mark.parametrize(
    ("orchestration", "value", "failure", "says"),
    [
        (
            "buy",
            '{"sku": "lamp", "count": "three"}',
            "ConversionError",
            "expected input of orchestration buy of type Order, but Expected `int`, got `str` - at `$.count`",
        ),
        (
            "price_of",
            '"three"',
            "ActivityError: ConversionError",
            "expected the input of activity price of type int, but Expected `int`, got `str`",
        ),
    ],
)
async def test_a_value_of_another_type_fails_the_instance_and_names_both_types(
    node: Node, orchestration: str, value: str, failure: str, says: str
) -> None:
    ran = await node.turnlog("start", orchestration, value, "--wait")
    assert ran.code == 1
    assert f" ended with {failure}: {says}" in ran.err
    await still_serves(node)


# Too much


async def test_an_input_no_record_holds_is_refused(node: Node) -> None:
    (node.directory / "input.json").write_text(json.dumps("x" * 1_100_000))
    ran = await node.turnlog("start", "length", "@input.json", "--id", "i1")
    assert ran.code == 2
    assert ran.err.startswith("turnlog: expected a message of at most 1048576 bytes, but this one has 11000")
    assert ran.err.endswith("; keep large values elsewhere and pass a reference\n")
    (node.directory / "input.json").write_text(json.dumps("x" * 5_000_000))
    ran = await node.turnlog("start", "length", "@input.json", "--id", "i1")
    assert (ran.code, "expected a body of at most 4194304 bytes, but it is longer" in ran.err) == (2, True)
    assert (await node.turnlog("status", "i1")).code == 3
    await still_serves(node)


@pytest.mark.parametrize(
    ("orchestration", "value", "category", "says"),
    [
        (
            "label",
            "3000000",
            Category.APPLICATION,
            "ActivityError: ResultTooLarge: expected the result of activity print_label to have at most 2097152 bytes",
        ),
        (
            "label",
            "9000000",
            Category.APPLICATION,
            "ActivityError: ResultTooLarge: expected the result of activity print_label to have at most 8388608 bytes",
        ),
        (
            "lengths",
            json.dumps([1_000_000] * 9),
            Category.LIMIT,
            "LimitPassed: expected a turn of at most 16777216 bytes, but it asks for 18",
        ),
        (
            "lengths",
            "[5000000]",
            Category.LIMIT,
            "LimitPassed: expected a turn of at most 4128768 bytes, but it asks for 5000",
        ),
        (
            "spell",
            "5000000",
            Category.LIMIT,
            "LimitPassed: expected a turn of at most 4128768 bytes, but it asks for 5000",
        ),
        ("spell", "9000000", Category.LIMIT, "LimitPassed: expected payloads of at most 8388608 bytes"),
    ],
    ids=["result", "payload of a result", "turn", "input in a turn", "output in a turn", "payload of an output"],
)
async def test_what_code_gives_away_is_bounded_and_more_fails_the_instance(
    node: Node, orchestration: str, value: str, category: Category, says: str
) -> None:
    ran = await node.turnlog("start", orchestration, value, "--wait")
    assert ran.code == 1
    assert f" ended with {says}" in ran.err
    started = ran.err.splitlines()[0].removeprefix("started ")
    failure = (await node.client.status(started)).failure
    assert failure is not None
    assert failure.category is category
    await still_serves(node)


async def test_a_turn_larger_than_a_record_is_committed_in_parts(node: Node) -> None:
    ran = await node.turnlog("start", "lengths", "[900000, 900000, 900000, 900000, 900000, 900000]", "--wait")
    assert (ran.code, json.loads(ran.out)) == (0, [900_000] * 6)
