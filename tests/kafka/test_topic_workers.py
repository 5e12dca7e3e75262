"""Can a worker be a plain consumer of the worker topic, and does each of its answers count once or not at all?"""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from msgspec import Struct

from engine import ActivityError, Client, Engine, OrchestrationContext, Registry, activity, orchestration
from provider_log import LogProvider, LogProviderOptions
from provider_log.log.kafka import KafkaLog
from provider_log.routing import partition_of
from tests.kafka.stranger import consuming, decoded, encoded, producing

WAIT_S = 60
CUT_MS = 50
HOME = partition_of("f", 2)
JSON = ("content-type", b"application/json")


@activity
async def draw(frame: int) -> str:
    raise AssertionError(f"expected frame {frame} to be drawn by a worker outside, but an engine was given it")


@activity
async def count(frame: int) -> int:
    return frame + 1


@orchestration
async def film(ctx: OrchestrationContext, frame: int) -> str:
    try:
        return await ctx.schedule_activity(draw, frame, tag="gpu")
    except ActivityError as error:
        return f"{error.failure.type}: {error.failure.message} {error.failure.retryable} {error.failure.details}"


@orchestration
async def premiere(ctx: OrchestrationContext, frame: int) -> list[str]:
    return [await ctx.schedule_activity(draw, frame, tag="gpu"), await ctx.wait_event("shown", str)]


@orchestration
async def hurried(ctx: OrchestrationContext, frame: int) -> list[object]:
    first = await ctx.select(ctx.schedule_activity(draw, frame, tag="gpu"), ctx.wait_event("enough"))
    return [first.index, await ctx.wait_event("shown", str)]


@orchestration
async def counts(ctx: OrchestrationContext) -> int:
    number = 0
    for _ in range(5):
        number = await ctx.schedule_activity(count, number)
    return number


REGISTRY = Registry(orchestrations=[film, premiere, hurried, counts], activities=[draw, count])


class Given(Struct, frozen=True):
    """A work item as a worker outside has it."""

    item: dict[str, Any]
    token: bytes
    partition: int
    offset: int

    def completed(self, result: object) -> tuple[bytes, list[tuple[str, bytes]]]:
        fields = self._names() | {"result": {"data": json.dumps(result).encode()}}
        return encoded("turnlog.message.CompleteActivity", fields), [("turnlog-token", self.token)]

    def failed(self, kind: str, message: str) -> tuple[bytes, list[tuple[str, bytes]]]:
        failure = {"category": "APPLICATION", "type": kind, "message": message, "retryable": False}
        return encoded("turnlog.message.FailActivity", self._names() | {"failure": failure}), [
            ("turnlog-token", self.token)
        ]

    def completed_in_json(self, result: object) -> tuple[bytes, list[tuple[str, bytes]]]:
        value = {"type": "CompleteActivity", "instance": self.item["instance"], "result": result}
        return json.dumps(value).encode(), [JSON, ("turnlog-token", self.token)]

    def failed_in_json(self, kind: str, message: str) -> tuple[bytes, list[tuple[str, bytes]]]:
        failure = {"type": kind, "message": message, "retryable": False, "details": [1]}
        value = {"type": "FailActivity", "instance": self.item["instance"], "failure": failure}
        return json.dumps(value).encode(), [JSON, ("turnlog-token", self.token)]

    def _names(self) -> dict[str, Any]:
        return {name: self.item[name] for name in ("instance", "incarnation", "execution_id", "activity_id")}


class World:
    """Topics, and what a worker outside does with them."""

    def __init__(self, bootstrap: str, app: str, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.app = app
        self._producer = producer

    @asynccontextmanager
    async def node(self, path: Path, cut_every_ms: int = 60_000) -> AsyncGenerator[Client]:
        options = LogProviderOptions(slots_used=2, topic_tags=frozenset({"gpu"}), cut_every_ms=cut_every_ms)
        async with (
            LogProvider.kafka(self.bootstrap, path, app=self.app, partitions=2, options=options) as provider,
            Engine(provider, REGISTRY),
        ):
            yield Client(provider)

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[AIOKafkaConsumer]:
        """A consumer of the group of workers, at what they have not committed."""
        async with consuming(self.bootstrap, f"{self.app}.worker", group=f"{self.app}-gpu") as consumer:
            yield consumer

    async def given(self, consumer: AIOKafkaConsumer | None = None) -> Given:
        """The next item for workers outside; the first there is if no consumer is given."""
        if consumer is None:
            async with consuming(self.bootstrap, f"{self.app}.worker") as one:
                return await self.given(one)
        while True:
            record = await consumer.getone()
            headers = dict(record.headers)
            if headers.get("turnlog-tag") == b"gpu":
                name, item = decoded(record.value)
                assert (name, item["tag"], record.key) == ("turnlog.worker.WorkItem", "gpu", item["instance"].encode())
                token = headers["turnlog-token"]
                assert token is not None
                return Given(item, token, record.partition, record.offset)

    async def answer(self, given: Given, answer: tuple[bytes, list[tuple[str, bytes]]]) -> None:
        value, headers = answer
        key = given.item["instance"].encode()
        await self._producer.send_and_wait(f"{self.app}.orchestrator", value, key, headers=headers)

    async def dispositions(self, count: int) -> list[str]:
        """What became of the first `count` answers that came by the orchestrator topic."""
        found: list[str] = []
        async with consuming(self.bootstrap, f"{self.app}.history") as history:
            while len(found) < count:
                _, record = decoded((await history.getone()).value)
                found += [
                    consumed["disposition"]
                    for consumed in record.get("consumed", ())
                    if isinstance(consumed, dict) and consumed["lane"] == "ORCHESTRATOR" and not consumed["message_id"]
                ]
        return found

    async def dead_letters(self, count: int) -> list[dict[str, Any]]:
        async with consuming(self.bootstrap, f"{self.app}.dead-letter") as letters:
            return [decoded((await letters.getone()).value)[1] for _ in range(count)]


@pytest.fixture
async def world(bootstrap: str) -> AsyncGenerator[World]:
    async with producing(bootstrap) as producer:
        yield World(bootstrap, f"a{uuid.uuid4().hex}", producer)


@pytest.mark.parametrize("form", ["completed", "completed_in_json"])
async def test_an_answer_is_what_the_activity_returned(world: World, tmp_path: Path, form: str) -> None:
    async with world.node(tmp_path) as client:
        await client.start(film, 7, instance="f")
        given = await world.given()
        assert (given.item["name"], given.item["input"]["data"]) == ("draw", b"7")
        await world.answer(given, getattr(given, form)("frame 7"))

        assert await client.wait("f", WAIT_S) == "frame 7"


@pytest.mark.parametrize(("form", "details"), [("failed", None), ("failed_in_json", [1])])
async def test_a_failing_answer_is_what_the_activity_raised(
    world: World, tmp_path: Path, form: str, details: object
) -> None:
    async with world.node(tmp_path) as client:
        await client.start(film, 7, instance="f")
        given = await world.given()
        await world.answer(given, getattr(given, form)("gpu.OutOfMemory", "the frame is too large"))

        said = await client.wait("f", WAIT_S, output=str)
        assert said.startswith("gpu.OutOfMemory: the frame is too large False ")
        assert ("[1]" in said) is (details is not None)


async def test_a_second_answer_does_not_count(world: World, tmp_path: Path) -> None:
    async with world.node(tmp_path) as client:
        await client.start(premiere, 7, instance="p", message_id="start")
        given = await world.given()
        await world.answer(given, given.completed("first"))
        await world.answer(given, given.completed("second"))
        assert await world.dispositions(2) == ["APPLIED", "DUPLICATE"]
        await client.raise_event("p", "shown", "yes", message_id="event")
        assert await client.wait("p", WAIT_S) == ["first", "yes"]
        await world.answer(given, given.failed("Late", "after the end"))

        assert await world.dispositions(3) == ["APPLIED", "DUPLICATE", "STALE"]
        assert await client.wait("p", WAIT_S) == ["first", "yes"]


async def test_an_answer_without_the_items_token_is_a_dead_letter(world: World, tmp_path: Path) -> None:
    async with world.node(tmp_path) as client:
        await client.start(film, 1, instance="f")
        given = await world.given()
        await client.start(film, 2, instance="other")
        async with consuming(world.bootstrap, f"{world.app}.worker") as consumer:
            both = [await world.given(consumer) for _ in range(2)]
        other = next(one for one in both if one.item["instance"] == "other")
        numbers, _, proof = given.token.rpartition(b".")
        forged = [[], [("turnlog-token", other.token)], [("turnlog-token", numbers + b"." + proof[::-1])]]
        value, _ = given.completed("forged")
        in_json, _ = given.completed_in_json("forged")
        for headers in forged:
            await world.answer(given, (value, headers))
            await world.answer(given, (in_json, [JSON, *headers]))

        letters = await world.dead_letters(6)
        assert all("expected the header turnlog-token" in letter["reason"] for letter in letters)
        await world.answer(given, given.completed("drawn"))
        assert await client.wait("f", WAIT_S) == "drawn"


async def test_an_answer_to_what_was_taken_back_is_dropped(world: World, tmp_path: Path) -> None:
    async with world.node(tmp_path) as client:
        await client.start(hurried, 7, instance="h", message_id="start")
        given = await world.given()
        await client.raise_event("h", "enough", message_id="enough")
        info = await client.changed("h")
        while not any(type(event).__name__ == "ActivityCancelRequested" for event in await client.history("h")):
            info = await client.changed("h", info.revision)
        await world.answer(given, given.completed("too late"))

        assert await world.dispositions(1) == ["STALE"]
        await client.raise_event("h", "shown", "without it")
        assert await client.wait("h", WAIT_S) == [1, "without it"]


async def test_a_worker_that_crashes_reads_its_item_again_and_its_answers_count_once(
    world: World, tmp_path: Path
) -> None:
    async with world.node(tmp_path) as client:
        await client.start(premiere, 7, instance="p", message_id="start")
        async with world.worker() as crashes_before_its_answer:
            first = await world.given(crashes_before_its_answer)
        async with world.worker() as crashes_after_its_answer:
            second = await world.given(crashes_after_its_answer)
            await world.answer(second, second.completed("drawn"))
        async with world.worker() as survives:
            third = await world.given(survives)
            await world.answer(third, third.completed("drawn again"))
            await survives.commit()

        assert first == second == third
        assert await world.dispositions(2) == ["APPLIED", "DUPLICATE"]
        await client.raise_event("p", "shown", "yes")
        assert await client.wait("p", WAIT_S) == ["drawn", "yes"]


async def test_the_worker_of_the_docs_works(world: World, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text(encoding="utf-8")
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def serve" in block)
    names: dict[str, Any] = {}
    exec(compile(example, "docs/schemas.md", "exec"), names)
    async with world.node(tmp_path) as client:
        serving = asyncio.ensure_future(names["serve"](world.bootstrap, world.app, "gpu", "drew {}".format))
        await client.start(film, 7, instance="f")

        assert await client.wait("f", WAIT_S) == "drew 7"
        serving.cancel()
        await asyncio.wait([serving])


async def test_a_token_holds_over_a_change_of_owner_and_its_item_stays_until_it_is_answered(
    world: World, tmp_path: Path
) -> None:
    first, second, third, fourth = [name for name in map(str, range(20)) if partition_of(name, 2) == HOME][:4]
    log = await KafkaLog.open(world.bootstrap)
    async with world.node(tmp_path / "one", CUT_MS) as client:
        await ran(client, first)
        await client.start(film, 7, instance="f")
        given = await world.given()
        await ran(client, second)
    async with world.node(tmp_path / "two", CUT_MS) as client:
        for instance in (third, fourth):  # when the second one's input is cut, all that could go with the first's is
            await ran(client, instance)
            end = (await log.bounds(f"{world.app}.orchestrator", HOME)).end
            await cut(log, f"{world.app}.orchestrator", end)
        assert await world.given() == given
        await world.answer(given, given.completed("drawn"))

        assert await client.wait("f", WAIT_S) == "drawn"
        await cut(log, f"{world.app}.worker", given.offset + 1)
    await log.close()


async def ran(client: Client, instance: str) -> None:
    """Activities of the engine's own before and after what is for others."""
    await client.start(counts, instance=instance)
    assert await client.wait(instance, WAIT_S) == 5


async def cut(log: KafkaLog, topic: str, before: int) -> None:
    """Return when nothing below an offset is kept."""
    while True:
        bounds = await log.bounds(topic, HOME)
        if bounds.first >= before:
            return
        await asyncio.sleep(CUT_MS / 1000)
