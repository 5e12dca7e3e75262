"""Can a stranger send what is framed for a schema registry, whatever the registry does meanwhile?"""

import io
import json
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from engine import Client, Engine, OrchestrationContext, Registry, orchestration
from provider_log import LogProvider, LogProviderOptions
from provider_log.routing import partition_of
from tests.kafka.stranger import AVRO, consuming, decoded, fingerprint_of, producing, released
from tests.registry import FakeRegistry

WAIT_S = 60
START, NOTE = 11, 12
KINDS = {START: "turnlog.message.StartOrchestration", NOTE: "turnlog.message.EnqueueMessage"}
HOME = partition_of("c", 2)


@orchestration
async def collect(ctx: OrchestrationContext, sku: str) -> list[str]:
    return [sku, await ctx.dequeue("notes", str), await ctx.dequeue("notes", str)]


class World:
    """A registry that a test starts and stops, an application, and a producer that frames for the registry."""

    def __init__(self, bootstrap: str, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.app = f"a{uuid.uuid4().hex}"
        self.registry = FakeRegistry()
        for number, name in KINDS.items():
            self.registry.register(number, text_of(name))
        self._producer = producer

    @asynccontextmanager
    async def node(self, path: Path, *, with_registry: bool = True) -> AsyncGenerator[Client]:
        url = self.registry.url if with_registry else None
        options = LogProviderOptions(slots_used=2, schema_registry=url, input_age_max_ms=100)
        async with (
            LogProvider.kafka(self.bootstrap, path, app=self.app, partitions=2, options=options) as provider,
            Engine(provider, Registry(orchestrations=[collect])),
        ):
            yield Client(provider)

    async def send(
        self,
        number: int,
        fields: dict[str, Any],
        key: bytes | None = b"c",
        *,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        body = io.BytesIO()
        AVRO.schemaless_writer(body, released(fingerprint_of(KINDS[number])), fields)
        await self.raw(b"\x00" + number.to_bytes(4, "big") + body.getvalue(), key, partition, headers)

    async def raw(
        self,
        value: bytes,
        key: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        await self._producer.send_and_wait(f"{self.app}.orchestrator", value, key, partition, headers=list(headers))

    async def history(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The first `count` records of a kind."""
        found: list[dict[str, Any]] = []
        async with consuming(self.bootstrap, f"{self.app}.history") as history:
            while len(found) < count:
                name, fields = decoded((await history.getone()).value)
                if name == f"turnlog.history.{kind}":
                    found.append(fields)
        return found

    async def dead_letter(self) -> dict[str, Any]:
        async with consuming(self.bootstrap, f"{self.app}.dead-letter") as letters:
            return decoded((await letters.getone()).value)[1]


@pytest.fixture
async def world(bootstrap: str) -> AsyncGenerator[World]:
    async with producing(bootstrap) as producer:
        yield World(bootstrap, producer)


def text_of(name: str) -> str:
    return json.dumps({key: value for key, value in released(fingerprint_of(name)).items() if key[:2] != "__"})


def start(instance: str = "c") -> dict[str, Any]:
    return {"instance": instance, "name": "collect", "input": {"data": b'"lamp"'}}


def note(text: str, instance: str = "c") -> dict[str, Any]:
    return {"instance": instance, "name": "notes", "data": {"data": json.dumps(text).encode()}}


async def test_what_is_framed_for_the_registry_is_read_in_its_order(world: World, tmp_path: Path) -> None:
    with world.registry.running():
        async with world.node(tmp_path) as client:
            await world.send(START, start())
            await world.send(NOTE, note("first"))
            await world.send(NOTE, note("second"))

            assert await client.wait("c", WAIT_S) == ["lamp", "first", "second"]
    assert sorted(world.registry.asked) == ["/schemas/ids/11", "/schemas/ids/12"]


@pytest.mark.parametrize(("key", "partition"), [(b"c", HOME), (b"c", 1 - HOME), (None, 0), (b"\xff\x00", 1)])
async def test_what_comes_while_the_registry_is_away_waits_until_it_is_back(
    world: World, tmp_path: Path, key: bytes | None, partition: int
) -> None:
    async with world.node(tmp_path) as client:
        await world.send(START, start(), key, partition=partition)
        [parked] = await world.history("Parked", 1)
        assert parked["data"][:5] == b"\x00\x00\x00\x00\x0b"
        await client.start(collect, "chair", instance="other")
        for text in ("one", "two"):
            await client.enqueue_message("other", "notes", text)
        assert await client.wait("other", WAIT_S) == ["chair", "one", "two"]

        with world.registry.running():
            await client.changed("c")
            await world.send(NOTE, note("first"), key, partition=partition)
            await client.enqueue_message("c", "notes", "second")
            assert sorted((await client.wait("c", WAIT_S))[1:]) == ["first", "second"]


async def test_what_waits_is_kept_over_a_restart_and_counts_once(world: World, tmp_path: Path) -> None:
    once = [("message_id", b"once")]
    async with world.node(tmp_path / "one") as client:
        await client.start(collect, "lamp", instance="c")
        await client.changed("c")
        await world.send(NOTE, note("first"), headers=once)
        await world.history("Parked", 1)
    with world.registry.running():
        async with world.node(tmp_path / "two") as client:
            for _ in range(2):
                await world.send(NOTE, note("first"), headers=once)
            await client.enqueue_message("c", "notes", "second")

            assert sorted(await client.wait("c", WAIT_S)) == ["first", "lamp", "second"]


async def test_an_id_that_the_registry_does_not_know_waits_until_it_does(world: World, tmp_path: Path) -> None:
    answer = world.registry.answers.pop(f"/schemas/ids/{START}")
    with world.registry.running():
        async with world.node(tmp_path) as client:
            await world.send(START, start())
            await world.history("Parked", 1)
            world.registry.answers[f"/schemas/ids/{START}"] = answer
            for text in ("first", "second"):
                await world.send(NOTE, note(text))

            assert await client.wait("c", WAIT_S) == ["lamp", "first", "second"]


async def test_a_schema_of_somebody_elses_is_a_dead_letter_with_the_record_as_it_was(
    world: World, tmp_path: Path
) -> None:
    world.registry.register(99, json.dumps({"type": "record", "name": "shop.Order", "fields": []}))
    with world.registry.running():
        async with world.node(tmp_path):
            await world.raw(b"\x00\x00\x00\x00\x63body", b"c")

            letter = await world.dead_letter()
    assert "but it is of shop.Order" in letter["reason"]
    assert (letter["key"], letter["value"]) == (b"c", b"\x00\x00\x00\x00\x63body")


async def test_without_a_registry_the_dead_letter_says_how_to_configure_one(world: World, tmp_path: Path) -> None:
    async with world.node(tmp_path, with_registry=False):
        await world.send(START, start())

        assert "LogProviderOptions.schema_registry is its URL" in (await world.dead_letter())["reason"]
