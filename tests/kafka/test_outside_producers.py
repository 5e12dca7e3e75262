"""Can a stranger start, tell and cancel with a producer of his own, knowing topic, key and schema alone?"""

import uuid
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from engine import ActivityContext, Client, Engine, OrchestrationContext, Registry, Status, activity, orchestration
from provider_log import LogProvider
from tests.kafka.stranger import Said, as_avro, as_json, consuming, decoded, producing

WAIT_S = 60
PARTITIONS = 8
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

Say = Callable[[str, dict[str, Any]], Said]


@activity
async def trace(ctx: ActivityContext) -> str | None:
    return ctx.traceparent


@orchestration
async def order(ctx: OrchestrationContext, sku: str) -> list[object]:
    return [sku, await ctx.wait_event("paid", int), await ctx.dequeue("notes", str)]


@orchestration
async def collect(ctx: OrchestrationContext) -> list[str]:
    notes = [await ctx.dequeue("notes", str)]
    while notes[-1] != "end":
        notes.append(await ctx.dequeue("notes", str))
    return notes


@orchestration
async def wait(ctx: OrchestrationContext) -> None:
    await ctx.wait_event("never")


@orchestration
async def traced(ctx: OrchestrationContext) -> list[str | None]:
    return [await ctx.schedule_activity(trace), await ctx.schedule_sub_orchestration(child)]


@orchestration
async def child(ctx: OrchestrationContext) -> str | None:
    return await ctx.schedule_activity(trace)


REGISTRY = Registry(orchestrations=[order, collect, wait, traced, child], activities=[trace])


class World:
    """An application of eight partitions that runs, a client that looks, and a producer that is not ours."""

    def __init__(self, bootstrap: str, app: str, client: Client, producer: AIOKafkaProducer) -> None:
        self.bootstrap = bootstrap
        self.app = app
        self.client = client
        self._producer = producer

    async def send(
        self, said: Said, key: str | None, *, partition: int | None = None, headers: dict[str, str] | None = None
    ) -> int:
        """Append a record to the orchestrator topic; the partition it is in."""
        value, own = said
        added = [(name, text.encode()) for name, text in (headers or {}).items()]
        raw_key = None if key is None else key.encode()
        topic = f"{self.app}.orchestrator"
        place = await self._producer.send_and_wait(topic, value, raw_key, partition, headers=[*own, *added])
        return place.partition

    async def settled(self, disposition: str, count: int) -> list[str]:
        """The instances of the first `count` inputs that the history says this became of."""
        found: list[str] = []
        async with consuming(self.bootstrap, f"{self.app}.history") as history:
            while len(found) < count:
                name, fields = decoded((await history.getone()).value)
                if name == "turnlog.history.InputsSettled":
                    found += [fields["instance"] for one in fields["consumed"] if one["disposition"] == disposition]
        return found

    async def dead_letter(self) -> tuple[str, dict[str, Any]]:
        """The first dead letter there is, or that comes."""
        async with consuming(self.bootstrap, f"{self.app}.dead-letter") as letters:
            return decoded((await letters.getone()).value)


@pytest.fixture
async def world(bootstrap: str, tmp_path: Path) -> AsyncGenerator[World]:
    app = f"a{uuid.uuid4().hex}"
    async with (
        LogProvider.kafka(bootstrap, tmp_path, app=app, partitions=PARTITIONS) as provider,
        Engine(provider, REGISTRY),
        producing(bootstrap) as producer,
    ):
        yield World(bootstrap, app, Client(provider), producer)


@pytest.fixture(params=[as_avro, as_json])
def say(request: pytest.FixtureRequest) -> Say:
    return request.param


async def test_an_instance_is_started_told_and_sent_a_message(world: World, say: Say) -> None:
    await world.send(say("StartOrchestration", {"instance": "o", "name": "order", "input": "lamp"}), "o")
    await world.client.changed("o")
    await world.send(say("RaiseEvent", {"instance": "o", "name": "paid", "data": 1250}), "o")
    await world.send(say("EnqueueMessage", {"instance": "o", "name": "notes", "data": "at the door"}), "o")

    assert await world.client.wait("o", WAIT_S) == ["lamp", 1250, "at the door"]


async def test_an_instance_is_cancelled(world: World, say: Say) -> None:
    await world.send(say("StartOrchestration", {"instance": "w", "name": "wait", "input": None}), "w")
    seen = (await world.client.changed("w")).revision
    await world.send(say("CancelInstance", {"instance": "w", "reason": "no longer wanted"}), "w")

    ended = await world.client.changed("w", seen)
    assert ended.status is Status.CANCELLED
    assert ended.failure is not None
    assert ended.failure.message == "no longer wanted"


@pytest.mark.parametrize("key", ["its own", "another", None])
async def test_a_record_on_any_wrong_partition_arrives(world: World, say: Say, key: str | None) -> None:
    misrouted = 0
    for partition in range(PARTITIONS):
        name = f"i-{partition}"
        used_key = name if key == "its own" else key
        start = say("StartOrchestration", {"instance": name, "name": "collect", "input": None})
        note = say("EnqueueMessage", {"instance": name, "name": "notes", "data": "end"})
        await world.send(start, used_key, partition=partition)
        await world.client.changed(name)
        await world.send(note, used_key, partition=(partition + 1) % PARTITIONS)
        assert await world.client.wait(name, WAIT_S) == ["end"]
        home = await world.send(note, name)
        misrouted += (partition != home) + ((partition + 1) % PARTITIONS != home)

    assert len(await world.settled("FORWARDED", misrouted)) == misrouted


async def test_a_record_that_was_forwarded_to_a_wrong_partition_is_a_dead_letter(world: World, say: Say) -> None:
    event = say("RaiseEvent", {"instance": "i", "name": "paid", "data": 1})
    home = await world.send(event, "i")
    away = (home + 1) % PARTITIONS
    await world.send(event, "i", partition=away, headers={"turnlog-hop": str(home)})

    name, letter = await world.dead_letter()
    assert name == "turnlog.dead_letter.DeadLetter"
    assert (letter["topic"], letter["partition"]) == (f"{world.app}.orchestrator", away)
    assert (letter["key"], letter["value"]) == (b"i", event[0])
    assert "and it hopped" in letter["reason"]


@pytest.mark.parametrize("where", ["header", "field"])
async def test_a_message_that_is_sent_again_counts_once(world: World, say: Say, where: str) -> None:
    await world.send(say("StartOrchestration", {"instance": "c", "name": "collect", "input": None}), "c")
    await world.client.changed("c")
    for message_id, text in [("1", "first"), ("1", "again"), ("2", "second"), ("1", "late"), ("3", "end")]:
        note: dict[str, Any] = {"instance": "c", "name": "notes", "data": text}
        headers = {"message_id": message_id} if where == "header" else {}
        if where == "field":
            note["message_id"] = message_id
        await world.send(say("EnqueueMessage", note), "c", headers=headers)

    assert await world.client.wait("c", WAIT_S) == ["first", "second", "end"]


@pytest.mark.parametrize("where", ["header", "field"])
async def test_the_trace_of_a_start_reaches_activities_and_children(world: World, say: Say, where: str) -> None:
    start: dict[str, Any] = {"instance": "t", "name": "traced", "input": None}
    if where == "field":
        start["traceparent"] = TRACE
    await world.send(
        say("StartOrchestration", start), "t", headers={"traceparent": TRACE} if where == "header" else None
    )

    assert await world.client.wait("t", WAIT_S) == [TRACE, TRACE]
