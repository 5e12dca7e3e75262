"""Do applications as people build them work: a chat, conversations on several workers, an actor for each instance?"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from engine import ActivityContext, OrchestrationContext, Status, activity, orchestration
from engine.client import Handle
from engine.model.events import ActivityScheduled, OrchestrationContinuedAsNew, OrchestrationStarted
from engine.runtime.options import EngineOptions
from tests.unit.engine.runtime.running import Bench, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


# A chat: messages in, the last reply as the status that is shown


@dataclass
class Said:
    number: int
    text: str


@activity
async def reply(text: str) -> str:
    return f"Echo: {text}"


@orchestration
async def chats(ctx: OrchestrationContext) -> str:
    said = await ctx.dequeue("inbox", Said)
    ctx.set_custom_status(f"{said.number} {await ctx.schedule_activity(reply, said.text)}")
    if "bye" in said.text.lower():
        return f"ended after {said.number} messages"
    return ctx.continue_as_new()


async def shown(handle: "Handle[Any]", text: str) -> None:
    """Return once the instance shows `text`."""
    info = await handle.changed()
    while info.custom_status != text:
        info = await handle.changed(info.revision)


@upstream("scenarios/copilot_chat", "copilot_chat_scenario")
async def test_a_chat_answers_each_message_and_remembers_none() -> None:
    bench = Bench()
    async with nothing_left(), bench.engine(orchestrations=[chats], activities=[reply]):
        handle = await bench.client.start(chats, instance="chat")
        async with asyncio.timeout(30):
            for number, text in enumerate(["Hello!", "How are you?"], start=1):
                await handle.enqueue_message("inbox", Said(number, text))
                await shown(handle, f"{number} Echo: {text}")
                assert (await handle.status()).status is Status.RUNNING
            await handle.enqueue_message("inbox", Said(3, "Bye!"))
            assert await handle.wait() == "ended after 3 messages"
    assert (await handle.status()).custom_status == "3 Echo: Bye!"
    assert [info.event_count for info in await bench.client.list_executions("chat")] == [7, 7, 7]


# Conversations: what a worker keeps in memory for each stays of use, because a session goes to one worker


@dataclass
class Asked:
    conversation: str
    text: str
    turn: int = 0


@dataclass
class Worker:
    """One process with the conversations it has begun, and an activity that goes on with them."""

    name: str
    begun: "Counter[str]" = field(default_factory=Counter)
    said: dict[str, list[str]] = field(default_factory=dict)

    def activity(self) -> Any:
        @activity(name="take_turn")
        async def take_turn(ctx: ActivityContext, asked: Asked) -> str:
            assert ctx.session_id == asked.conversation
            if asked.conversation not in self.said:
                self.begun[asked.conversation] += 1
                self.said[asked.conversation] = []
            said = self.said[asked.conversation]
            said += [asked.text, f"reply {len(said) // 2} to {asked.text}"]
            return "wait" if asked.turn == 0 and "check back" in asked.text else said[-1]

        return take_turn


@orchestration
async def converses(ctx: OrchestrationContext, asked: Asked) -> str:
    said = await ctx.schedule_activity("take_turn", asked, output=str, session_id=asked.conversation)
    if said != "wait":
        return said
    await ctx.schedule_timer(timedelta(milliseconds=100))
    return ctx.continue_as_new(Asked(asked.conversation, "go on", asked.turn + 1))


@upstream("scenarios/sessions", "durable_copilot_sdk_scaled_out_multi_conversation")
async def test_each_conversation_stays_with_the_worker_that_remembers_it() -> None:
    bench = Bench()
    workers = [Worker("a"), Worker("b")]

    def engine(worker: Worker) -> Any:
        options = EngineOptions(worker_node_id=f"pod-{worker.name}", max_sessions=4)
        return bench.engine(orchestrations=[converses], activities=[worker.activity()], options=options)

    texts = {"c1": "hello", "c2": "explain", "c3": "deploy and check back", "c4": "test and check back"}
    async with nothing_left(), engine(workers[0]), engine(workers[1]):
        handles = {
            name: await bench.client.start(converses, Asked(name, text), instance=name) for name, text in texts.items()
        }
        outputs = {name: await ends(bench.clock, handle.wait(), step_ms=100) for name, handle in handles.items()}
    assert outputs == {
        "c1": "reply 0 to hello",
        "c2": "reply 0 to explain",
        "c3": "reply 1 to go on",
        "c4": "reply 1 to go on",
    }
    assert workers[0].begun + workers[1].begun == Counter(dict.fromkeys(texts, 1))
    for name in ("c3", "c4"):
        (said,) = [worker.said[name] for worker in workers if name in worker.said]
        assert len(said) == 4


# Actors: an instance for each thing that is looked after, for ever


@dataclass
class Cares:
    database: str
    iteration: int = 0


@activity
async def find_connection(database: str) -> str:
    return f"postgresql://localhost/{database}"


@activity
async def try_connection(connection: str) -> str:
    assert connection.startswith("postgresql://")
    return "PostgreSQL 16.1"


@activity
async def record_check(version: str) -> bool:
    return version.startswith("PostgreSQL")


@activity
async def update_health(healthy: bool) -> bool:
    return healthy


@orchestration
async def looks_after(ctx: OrchestrationContext, cares: Cares) -> str:
    if cares.iteration >= 4:
        return f"completed after {cares.iteration + 1} executions"
    connection = await ctx.schedule_activity(find_connection, cares.database)
    recorded = await ctx.schedule_activity(record_check, await ctx.schedule_activity(try_connection, connection))
    await ctx.schedule_activity(update_health, recorded)
    await ctx.schedule_timer(timedelta(milliseconds=50))
    return ctx.continue_as_new(Cares(cares.database, cares.iteration + 1))


@upstream("scenarios/toygres", "instance_actor_pattern_stress_test")
async def test_twenty_actors_go_round_and_round() -> None:
    bench = Bench()
    activities = [find_connection, try_connection, record_check, update_health]
    async with nothing_left(), bench.engine(orchestrations=[looks_after], activities=activities) as engine:
        handles = [
            await bench.client.start(looks_after, Cares(f"db{number}"), instance=f"actor-{number}")
            for number in range(20)
        ]
        for handle in handles:
            assert await ends(bench.clock, handle.wait(), step_ms=50) == "completed after 5 executions"
    assert engine.counters.activities_completed == 20 * 4 * 4
    for handle in handles:
        executions = await bench.client.list_executions(handle.instance)
        assert [info.status for info in executions] == [Status.CONTINUED_AS_NEW] * 4 + [Status.COMPLETED]
        for execution_id in range(1, 5):
            history = await handle.history(execution_id)
            assert isinstance(history[0], OrchestrationStarted)
            assert isinstance(history[-1], OrchestrationContinuedAsNew)
            asked = [event.name for event in history if isinstance(event, ActivityScheduled)]
            assert asked == ["find_connection", "try_connection", "record_check", "update_health"]
