"""What becomes of a commit when who waits for it is cancelled, wherever that is? Nothing: it is its partition's.

Each caller is cancelled after one round of the loop, after two, after three … until it is done before.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine import Engine
from engine.model.events import ActivityScheduled, OrchestrationCompleted, OrchestrationStarted
from engine.model.messages import CompleteActivity, StartOrchestration
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.work import WorkItem
from provider_log import LogProvider, LogProviderOptions
from provider_log import records as r
from provider_log.simulation.world import World
from tests.simulation import test_contenders
from tests.simulation.scenario import is_fold, owners, run

ROUNDS_MAX = 400
NULL = Payload(b"null")
START = StartOrchestration(instance="i", name="go", input=NULL, message_id="start")
ITEM = WorkItem(instance="i", incarnation=7, execution_id=1, activity_id=2, name="act", input=NULL)
STARTED = OrchestrationStarted(event_id=1, timestamp_ms=1, name="go", version="1", input=NULL, incarnation=7)
FIRST = TurnResult(
    execution_id=1,
    history_delta=(STARTED, ActivityScheduled(event_id=2, timestamp_ms=1, name="act", input=NULL)),
    work_items=(ITEM,),
)
LAST = TurnResult(
    execution_id=1,
    history_delta=(OrchestrationCompleted(event_id=3, timestamp_ms=1, output=NULL),),
    metadata=ExecutionMetadata(status=Status.COMPLETED, output=NULL),
)
ANSWER = CompleteActivity(instance="i", incarnation=7, execution_id=1, activity_id=2, result=NULL)

Cut = Callable[[Awaitable[object]], Awaitable[None]]
"""Awaits a call, and cancels it after some rounds of the loop."""


class Giving:
    """Somebody who gives up after `rounds` rounds.

    Attributes:
        gave_up: Whether any call was not done by then.
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self.gave_up = False

    async def by_cancel(self, call: Awaitable[object]) -> None:
        calling = asyncio.ensure_future(call)
        for _ in range(self._rounds):
            await asyncio.sleep(0)
        self.gave_up |= not calling.done()
        calling.cancel()
        await asyncio.wait({calling})

    async def by_timeout(self, call: Awaitable[object]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(None) as bound:
                loop, answered = asyncio.get_running_loop(), asyncio.Event()

                def give_up(left: int) -> None:
                    if left:
                        loop.call_soon(give_up, left - 1)
                    elif not answered.is_set():
                        bound.reschedule(loop.time())

                give_up(self._rounds)
                await call
                answered.set()

        calling = asyncio.ensure_future(bounded())
        await asyncio.wait({calling})
        self.gave_up |= isinstance(calling.exception(), TimeoutError)


async def by_hand(provider: LogProvider, give_up: Cut) -> None:
    """An orchestration with one activity, played by a caller who gives up at every call that waits for a commit."""
    await give_up(provider.enqueue_for_orchestrator(START))
    await provider.enqueue_for_orchestrator(START)  # by its id the same message
    item = await provider.fetch_orchestration_item(60_000, 1_000)
    assert item is not None
    await give_up(provider.ack_orchestration_item(item.lock_token, FIRST))
    work = await provider.fetch_work_item(60_000, 1_000)
    assert work is not None
    await give_up(provider.ack_work_item(work.lock_token, ANSWER))
    item = await provider.fetch_orchestration_item(60_000, 1_000)
    assert item is not None
    assert [type(message) for message in item.messages] == [CompleteActivity]
    await give_up(provider.ack_orchestration_item(item.lock_token, LAST))
    while (info := await provider.changed("i", 0)).status is not Status.COMPLETED:
        await provider.changed("i", info.revision)


@pytest.mark.parametrize("slots_used", [1, 2])
@pytest.mark.parametrize("way", [Giving.by_cancel, Giving.by_timeout], ids=lambda way: way.__name__)
def test_a_caller_that_gives_up_at_any_await_leaves_the_commit_as_it_is(
    way: Callable[[Giving, Awaitable[object]], Awaitable[None]], slots_used: int
) -> None:
    for rounds in range(1, ROUNDS_MAX):
        world, giving = World(seed=rounds), Giving(rounds)

        async def played(world: World = world, giving: Giving = giving) -> None:
            async with world.provider(options=LogProviderOptions(slots_used=slots_used)) as provider:
                await by_hand(provider, lambda call: way(giving, call))
            assert await owners(world) == 1, "expected no doubt"
            answered = [record for record in await world.records() if isinstance(record, r.WorkItemAcked)]
            assert len(answered) == 1
            await is_fold(world)

        run(world, played, f"the caller gave up after {rounds} rounds")
        if not giving.gave_up:
            return
    raise AssertionError(f"expected every call to be done within {ROUNDS_MAX} rounds")


def test_a_node_that_is_cancelled_at_any_await_loses_nothing() -> None:
    """The task that is the node: engine, turns, activities and partition end in the middle of whatever they do."""
    for rounds in range(0, ROUNDS_MAX * 4, 7):
        world, ended = World(seed=rounds), list[bool]()

        async def lives(world: World = world, ended: list[bool] = ended, rounds: int = rounds) -> None:
            await test_contenders.start_all(world)

            async def live() -> None:
                async with (
                    world.provider(options=LogProviderOptions(slots_used=2)) as provider,
                    Engine(provider, test_contenders.REGISTRY, clock=world.clock, chance=world.chance),
                ):
                    while not await test_contenders.all_ended(provider):
                        await world.clock.sleep_ms(1)

            life = asyncio.ensure_future(live())
            await world.after(rounds)
            ended.append(life.done())
            life.cancel()
            await asyncio.wait({life})
            await live()
            await test_contenders.check(world)

        run(world, lives, f"the node was cancelled after {rounds} rounds")
        if ended[0]:
            return
    raise AssertionError(f"expected the node to be done within {ROUNDS_MAX * 4} rounds")
