"""Upstream's race_replay: do races, and inputs between two executions, go the same way on every replay?

These run an engine on the provider. A second engine that takes over knows nothing but what the provider stored.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec

from engine.errors import SubOrchestrationError
from engine.model.events import (
    AnyEvent,
    ExternalEventReceived,
    ExternalSubscribed,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
    OrchestrationStarted,
    QueueMessageReceived,
    QueueSubscribed,
    SubOrchestrationScheduled,
    TimerCreated,
    TimerFired,
)
from engine.model.failure import Category
from engine.model.messages import AnyMessage, CancelInstance, CompleteActivity
from engine.model.payload import NULL
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import RULES, EngineVersion, VersionRange
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.options import EngineOptions
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import INCARNATION, nothing_to_take, started_event, take
from engine.testing.conformance.given_engine import (
    ended,
    enqueued,
    output,
    payload,
    raised,
    recorded,
    served,
    start,
    until,
)
from engine.testing.world import replay

SECOND = timedelta(seconds=1)
SECOND_MS = 1_000
PAST_EVERY_DELAY_MS = 61_000
"""Above `unregistered_delay_max_ms`: what was given back with a pause is visible again."""


# A start that comes twice


@orchestration(name="Pinned", version="1.0.0")
async def _pinned_first(ctx: OrchestrationContext, value: str) -> str:
    return f"1.0.0 {value} {await ctx.wait_event('go', str)}"


@orchestration(name="Pinned", version="2.0.0")
async def _pinned_second(ctx: OrchestrationContext, value: str) -> str:
    return f"2.0.0 {value} {await ctx.wait_event('go', str)}"


@orchestration(name="Unpinned")
async def _unpinned(ctx: OrchestrationContext, value: str) -> str:
    return f"unpinned {value} {await ctx.wait_event('go', str)}"


async def test_duplicate_start_preserves_pinned_handler(factory: ProviderFactory) -> None:
    """No second start changes name, version or input of what runs, whatever comes with it in the batch."""
    provider = await factory.create_provider()
    code = (_pinned_first, _pinned_second, _unpinned)
    await provider.enqueue_for_orchestrator(start("i", "Pinned", "asked", "1.0.0"))
    async with served(provider, code):
        await recorded(provider, "i", ExternalSubscribed)
    begun = await provider.read("i")
    for message in (start("i", "Pinned", "again", "2.0.0"), start("i", "Unpinned", "other"), raised("i", "go", "now")):
        await provider.enqueue_for_orchestrator(message)
    async with served(provider, code):
        assert await output(provider, "i") == "1.0.0 asked now"
    info = await provider.get_instance_info("i")
    assert info is not None
    assert (info.orchestration_name, info.orchestration_version) == ("Pinned", "1.0.0")
    assert (await provider.read("i"))[: len(begun)] == begun


# Between two executions


@orchestration(name="Chain", version="1.0.0")
async def _chain_before(ctx: OrchestrationContext, shape: str) -> str:
    await ctx.wait_event("go")
    return ctx.continue_as_new(shape, version="2.0.0")


@orchestration(name="Chain", version="2.0.0")
async def _chain_after(ctx: OrchestrationContext, shape: str) -> str:
    match shape:
        case "queue":
            return f"{await ctx.dequeue('q', str)},{await ctx.dequeue('q', str)}"
        case "race":
            won = await ctx.select(ctx.schedule_timer(SECOND), ctx.dequeue("q", str))
            return f"{won.value}"
        case "signal":
            return await ctx.wait_event("signal", str)
        case "cancel":
            await ctx.schedule_timer(timedelta(hours=1))
            return "nobody cancelled"
        case "mixed stale":
            return await ctx.dequeue("q", str)
        case _:
            return "done"


async def _continue(provider: FullProvider, instance: str, shape: str, *before: AnyMessage) -> None:
    """Bring an instance to its end of execution 1, with `before` in the batch. An engine must be serving."""
    await provider.enqueue_for_orchestrator(start(instance, "Chain", shape, "1.0.0"))
    await recorded(provider, instance, ExternalSubscribed)
    for message in (*before, raised(instance, "go", None)):
        await provider.enqueue_for_orchestrator(message)
    await recorded(provider, instance, OrchestrationContinuedAsNew)


def _was_tried(factory: ProviderFactory, provider: FullProvider, instance: str) -> Callable[[], Awaitable[bool]]:
    """Whether an engine had the message that starts the next execution, and gave it back."""

    async def tried() -> bool:
        return await factory.max_attempt_count(provider, instance) > 0

    return tried


def _nothing_waits(provider: FullProvider) -> Callable[[], Awaitable[bool]]:
    """Whether both queues are empty."""

    async def empty() -> bool:
        depths = await provider.get_queue_depths()
        return (depths.orchestrator_queue, depths.worker_queue) == (0, 0)

    return empty


async def _in_between(
    factory: ProviderFactory, provider: FullProvider, instance: str, shape: str, *before: AnyMessage
) -> list[AnyEvent]:
    """Bring an instance between two executions; the history of the first."""
    async with served(provider, [_chain_before]):
        await _continue(provider, instance, shape, *before)
        await until(_was_tried(factory, provider, instance))
    return list(await provider.read_with_execution(instance, 1))


async def test_continue_as_new_unregistered_backoff(factory: ProviderFactory) -> None:
    """Without the successor's version its start is given back with a pause; what is sent meanwhile waits with it."""
    provider = await factory.create_provider()
    before = await _in_between(factory, provider, "i", "queue")
    assert await nothing_to_take(provider), "expected the start of the next execution to be hidden for a while"
    for text in ("first", "second"):
        await provider.enqueue_for_orchestrator(enqueued("i", "q", text))
    await factory.advance(PAST_EVERY_DELAY_MS)
    async with served(provider, [_chain_before, _chain_after]):
        assert await output(provider, "i") == "first,second"
    assert list(await provider.read_with_execution("i", 1)) == before
    info = await provider.get_instance_info("i")
    assert info is not None
    assert (info.current_execution_id, info.orchestration_version) == (2, "2.0.0")


async def test_continue_as_new_poisoned_successor_is_own_execution(factory: ProviderFactory) -> None:
    """What nobody can start fails as execution 2; execution 1 still ended by continuing."""
    provider = await factory.create_provider()
    async with served(provider, [_chain_before], EngineOptions(attempts_max=1)):
        await _continue(provider, "i", "queue")
        await until(_was_tried(factory, provider, "i"))
        await provider.enqueue_for_orchestrator(enqueued("i", "q", "meanwhile"))

        async def has_ended() -> bool:
            await factory.advance(PAST_EVERY_DELAY_MS)
            info = await provider.get_instance_info("i")
            return info is not None and info.status is Status.FAILED

        await until(has_ended)
        await provider.enqueue_for_orchestrator(raised("i", "late", None))

        await until(_nothing_waits(provider))
    info = await ended(provider, "i")
    assert info.failure is not None
    assert (info.current_execution_id, info.failure.category) == (2, Category.POISON)
    assert isinstance((await provider.read_with_execution("i", 1))[-1], OrchestrationContinuedAsNew)
    second = await provider.read_with_execution("i", 2)
    assert [type(event) for event in second] == [OrchestrationStarted, OrchestrationFailed]


@orchestration(name="Caller")
async def _caller(ctx: OrchestrationContext, instance: str) -> str:
    try:
        return await ctx.schedule_sub_orchestration("Chain", "called", instance=instance)
    except SubOrchestrationError as error:
        return f"{error.failure.type}"


async def test_continue_as_new_duplicate_start(factory: ProviderFactory) -> None:
    """A start that comes between two executions starts nothing, and a parent that sent it hears so."""
    provider = await factory.create_provider()
    async with served(provider, [_chain_before, _caller]):
        await _continue(provider, "i", "queue", enqueued("i", "q", "first"))
        await until(_was_tried(factory, provider, "i"))
        await provider.enqueue_for_orchestrator(start("i", "Chain", "again", "1.0.0"))
        await provider.enqueue_for_orchestrator(start("caller", "Caller", "i"))
        await recorded(provider, "caller", SubOrchestrationScheduled)
    await provider.enqueue_for_orchestrator(enqueued("i", "q", "second"))
    await factory.advance(PAST_EVERY_DELAY_MS)
    async with served(provider, [_chain_before, _chain_after, _caller]):
        assert await output(provider, "i") == "first,second"
        assert await output(provider, "caller") == "InstanceExists"
    started = (await provider.read_with_execution("i", 2))[0]
    assert isinstance(started, OrchestrationStarted)
    assert (started.version, started.input, started.parent) == ("2.0.0", payload("queue"), None)


def _answer(instance: str, execution_id: int, incarnation: int) -> CompleteActivity:
    """Of an activity that was never asked for."""
    return CompleteActivity(
        instance=instance, incarnation=incarnation, execution_id=execution_id, activity_id=2, result=payload("bogus")
    )


async def test_continue_as_new_transition_delivery(factory: ProviderFactory) -> None:
    """What comes between two executions is neither lost nor doubled, behind what the first one left unread.

    Upstream loses an event of that time and fails on an answer to a question not yet asked. Here the event finds the
    wait that the successor begins with, and the answer changes nothing.
    """
    provider = await factory.create_provider()
    life: dict[str, int] = {}
    before: dict[str, list[AnyEvent]] = {}
    for shape in ("queue", "race", "mixed stale", "signal", "cancel", "future answer", "stale only"):
        carried = (enqueued(shape, "q", "carried"),) if shape == "queue" else ()
        before[shape] = await _in_between(factory, provider, shape, shape, *carried)
        first = before[shape][0]
        assert isinstance(first, OrchestrationStarted)
        life[shape] = first.incarnation
    meanwhile: tuple[AnyMessage, ...] = (
        enqueued("queue", "q", "meanwhile"),
        enqueued("race", "q", "meanwhile"),
        _answer("mixed stale", 1, life["mixed stale"]),
        enqueued("mixed stale", "q", "meanwhile"),
        raised("signal", "signal", "meanwhile"),
        CancelInstance(instance="cancel", reason="enough"),
        _answer("future answer", 2, life["future answer"]),
        _answer("stale only", 1, life["stale only"]),
    )
    for message in meanwhile:
        await provider.enqueue_for_orchestrator(message)
    await factory.advance(PAST_EVERY_DELAY_MS)
    async with served(provider, [_chain_before, _chain_after]):
        expected = {
            "queue": "carried,meanwhile",
            "race": "meanwhile",
            "mixed stale": "meanwhile",
            "signal": "meanwhile",
            "future answer": "done",
            "stale only": "done",
        }
        assert {shape: await output(provider, shape) for shape in expected} == expected
        cancelled = await ended(provider, "cancel")
    assert (cancelled.status, cancelled.current_execution_id) == (Status.CANCELLED, 2)
    for shape, history in before.items():
        assert list(await provider.read_with_execution(shape, 1)) == history, f"expected {shape} to keep execution 1"
        arrived = (await provider.read_with_execution(shape, 2))[1:]
        messages = [event.data for event in arrived if isinstance(event, QueueMessageReceived | ExternalEventReceived)]
        told = 1 if expected.get(shape, "").endswith("meanwhile") else 0
        assert messages == [payload("meanwhile")] * told, f"expected {shape} to have got {told}, but it got {messages}"


# Races over queues


@orchestration(name="Losers")
async def _losers(ctx: OrchestrationContext) -> str:
    for _ in range(2):
        await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(SECOND))
    return f"{await ctx.dequeue('q', str)},{await ctx.dequeue('q', str)}"


@orchestration(name="Winner")
async def _winner(ctx: OrchestrationContext) -> str:
    won = await ctx.select(ctx.dequeue("q", str), ctx.schedule_timer(timedelta(hours=1)))
    return f"{won.value},{await ctx.dequeue('q', str)}"


@orchestration(name="Nested")
async def _nested(ctx: OrchestrationContext) -> str:
    inner = ctx.select(ctx.dequeue("q", str), ctx.dequeue("q", str))
    won = await ctx.select(inner, ctx.schedule_timer(timedelta(hours=1)))
    assert won.value is not None
    return won.value.value


_RACES = (_losers, _winner, _nested)


async def test_queue_race_cancellation_replay(factory: ProviderFactory) -> None:
    """A dequeue that loses its race leaves its message to the next, live and for who replays it."""
    provider = await factory.create_provider()
    async with served(provider, _RACES):
        for name in ("Losers", "Winner", "Nested"):
            await provider.enqueue_for_orchestrator(start(name, name, None))
            await recorded(provider, name, TimerCreated)
        for fired in (1, 2):
            await factory.advance(SECOND_MS)
            await recorded(provider, "Losers", TimerFired, fired)
    begun = {name: await provider.read(name) for name in ("Losers", "Winner", "Nested")}
    for text in ("first", "second"):
        for name in begun:
            await provider.enqueue_for_orchestrator(enqueued(name, "q", text))
    async with served(provider, _RACES):
        expected = {"Losers": "first,second", "Winner": "first,second", "Nested": "first"}
        assert {name: await output(provider, name) for name in expected} == expected
    for code, name in zip(_RACES, begun, strict=True):
        history = await provider.read(name)
        assert history[: len(begun[name])] == begun[name]
        replay(code, history, instance=name)


@orchestration(name="Carries")
async def _carries(ctx: OrchestrationContext, shape: str) -> list[str]:
    match shape.partition(":"):
        case ("left", _, left):
            return [await ctx.dequeue("q", str) for _ in range(int(left))]
        case (name, _, _):
            await ctx.wait_event("go")
    left = 3
    if name == "drained":
        for _ in range(3):
            await ctx.dequeue("q", str)
        left = 0
    elif name == "held":
        _ = ctx.dequeue("q", str), ctx.dequeue("q", str)
    elif name == "held behind":
        _, second = ctx.dequeue("q", str), ctx.dequeue("q", str)
        await second
        left = 2
    return ctx.continue_as_new(f"left:{left}")


async def test_continue_as_new_queue_race_replay(factory: ProviderFactory) -> None:
    """Exactly what was not read goes along to the next execution, in order, whoever was promised it."""
    provider = await factory.create_provider()
    expected = {
        "unread": ["first", "second", "third"],
        "drained": [],
        "held": ["first", "second", "third"],
        "held behind": ["first", "third"],
    }
    async with served(provider, [_carries]):
        for shape in expected:
            await provider.enqueue_for_orchestrator(start(shape, "Carries", shape))
            await recorded(provider, shape, ExternalSubscribed)
    for shape in expected:
        for text in ("first", "second", "third"):
            await provider.enqueue_for_orchestrator(enqueued(shape, "q", text))
        await provider.enqueue_for_orchestrator(raised(shape, "go", None))
    async with served(provider, [_carries]):
        assert {shape: await output(provider, shape) for shape in expected} == expected
    for shape, texts in expected.items():
        started = (await provider.read_with_execution(shape, 2))[0]
        assert isinstance(started, OrchestrationStarted)
        assert [carried.data for carried in started.carried] == [payload(text) for text in texts]
        for execution_id in (1, 2):
            history = await provider.read_with_execution(shape, execution_id)
            replay(_carries, history, instance=shape, execution_id=execution_id)


# Stamps


_OLD = EngineVersion(0, 1, 30)


def _begun_by_an_old_engine() -> tuple[OrchestrationStarted, TurnResult]:
    """A first turn that waits for a queue, with the stamps of an engine and a Python that are long gone."""
    started = msgspec.structs.replace(started_event(), name="Winner", input=NULL, python="2.7", engine="0")
    metadata = ExecutionMetadata(
        orchestration_name="Winner",
        orchestration_version="1.0.0",
        incarnation=INCARNATION,
        pinned_version=_OLD,
    )
    at_ms = started.timestamp_ms
    delta = (
        started,
        QueueSubscribed(event_id=2, timestamp_ms=at_ms, name="q"),
        TimerCreated(event_id=3, timestamp_ms=at_ms, fire_at_ms=at_ms + 3_600_000),
    )
    return started, TurnResult(execution_id=1, history_delta=delta, metadata=metadata)


async def _begin_by_an_old_engine(provider: FullProvider, instance: str) -> OrchestrationStarted:
    await provider.enqueue_for_orchestrator(start(instance, "Winner", None))
    item = await take(provider)
    started, result = _begun_by_an_old_engine()
    await provider.ack_orchestration_item(item.lock_token, result)
    return started


async def test_queue_replay_version_stamp_roundtrip(factory: ProviderFactory) -> None:
    """The stamps of who began an execution come back as they were written, whoever goes on with it."""
    provider = await factory.create_provider()
    started = await _begin_by_an_old_engine(provider, "i")
    await provider.enqueue_for_orchestrator(enqueued("i", "q", "first"))
    item = await take(provider)
    assert item.history.load()[0] == started
    await provider.abandon_orchestration_item(item.lock_token)
    await provider.enqueue_for_orchestrator(enqueued("i", "q", "second"))
    async with served(provider, [_winner]):
        assert await output(provider, "i") == "first,second"
    assert (await provider.read("i"))[0] == started
    info = await provider.get_instance_info("i")
    assert info is not None
    assert info.pinned_version == _OLD


async def test_legacy_queue_race_decision_preserved(factory: ProviderFactory) -> None:
    """Who does not know the rules that an execution was begun by leaves it alone; who does, goes on by them.

    Upstream has two rules for who gets a message that a loser had, chosen by the stamp. Here there was only ever one.
    """
    provider = await factory.create_provider()
    await _begin_by_an_old_engine(provider, "old")
    await provider.enqueue_for_orchestrator(start("new", "Winner", None))
    async with served(provider, [_winner], EngineOptions(supported_pins=VersionRange(RULES, RULES))):
        await recorded(provider, "new", TimerCreated)
        begun = await provider.read("old")
        for text in ("first", "second"):
            for instance in ("old", "new"):
                await provider.enqueue_for_orchestrator(enqueued(instance, "q", text))
        assert await output(provider, "new") == "first,second"
        assert await provider.read("old") == begun
    assert await factory.max_attempt_count(provider, "old") == 0
    async with served(provider, [_winner]):
        assert await output(provider, "old") == "first,second"


# Races over events


@orchestration(name="Rounds")
async def _rounds(ctx: OrchestrationContext) -> list[str]:
    won: list[str] = []
    for _ in range(3):
        first = await ctx.select(ctx.wait_event("signal", str), ctx.schedule_timer(SECOND))
        won.append(first.value or "timer")
    return won


async def test_positional_wait_race_replay(factory: ProviderFactory) -> None:
    """An event that comes after its wait lost goes to the next wait, live and for who replays it."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start("i", "Rounds", None))
    async with served(provider, [_rounds]):
        await recorded(provider, "i", ExternalSubscribed, 1)
        await provider.enqueue_for_orchestrator(raised("i", "signal", "first"))
        await recorded(provider, "i", ExternalSubscribed, 2)
        await factory.advance(SECOND_MS)
        await recorded(provider, "i", ExternalSubscribed, 3)
    begun = await provider.read("i")
    await provider.enqueue_for_orchestrator(raised("i", "signal", "third"))
    async with served(provider, [_rounds]):
        assert await output(provider, "i") == ["first", "timer", "third"]
        history = await provider.read("i")
        assert history[: len(begun)] == begun
        replay(_rounds, history, instance="i")
        await provider.enqueue_for_orchestrator(raised("i", "signal", "late"))
        await until(_nothing_waits(provider))
    assert await provider.read("i") == history
