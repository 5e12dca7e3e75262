"""Does a session hold over what happens to its owner, and does each of its items come once, wherever it is from?"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal

import pytest
from msgspec import structs

from engine import ActivityContext, Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.errors import LeaseLost
from engine.model.events import OrchestrationStarted
from engine.model.messages import AnyMessage, CompleteActivity, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.turn import ActivityRef, TurnResult
from engine.model.work import WorkItem
from engine.observe import recorded_marks
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.log.simulated import Faults, LoseReply, LoseRequest, Unavailable
from provider_log.log.simulated.faults import Fault
from provider_log.routing import partition_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import APP, World
from provider_log.topics import OWNER_HEADER, Topics

NULL = Payload(b"null")
PARTITIONS = 2
HERE, THERE = (next(name for name in "abcdefgh" if partition_of(name, PARTITIONS) == number) for number in range(2))
"""An instance of partition 0, and a session of partition 1."""

A, B = SessionClaim("A", 60_000), SessionClaim("B", 60_000)
STARTED = OrchestrationStarted(event_id=1, timestamp_ms=1, name="go", version="1", input=NULL, incarnation=7)
REF = ActivityRef(HERE, 1, 2, THERE)
ITEM = WorkItem(instance=HERE, incarnation=7, execution_id=1, activity_id=2, name="act", input=NULL, session_id=THERE)
ANSWER = CompleteActivity(instance=HERE, incarnation=7, execution_id=1, activity_id=2, result=NULL)
K_MAX = 80


def run(scenario: Callable[[World], Awaitable[None]]) -> World:
    world = World()
    world.run(lambda: scenario(world))
    return world


async def turn(provider: LogProvider, message: AnyMessage, result: TurnResult) -> None:
    await provider.enqueue_for_orchestrator(message)
    item = await provider.fetch_orchestration_item(30_000, 5_000)
    assert item is not None
    await provider.ack_orchestration_item(item.lock_token, result)


async def asks_for_the_item(provider: LogProvider) -> None:
    first = TurnResult(execution_id=1, history_delta=(STARTED,), work_items=(ITEM,))
    await turn(provider, StartOrchestration(instance=HERE, name="go", input=NULL), first)


async def takes_it_back(provider: LogProvider) -> None:
    await turn(
        provider,
        RaiseEvent(instance=HERE, name="e", data=NULL),
        TurnResult(execution_id=1, cancelled_activities=(REF,)),
    )


@pytest.mark.parametrize("disk", ["kept", "flushed", "lost"])
@pytest.mark.parametrize("delay_ms", [0, 1, 500])
def test_a_crash_on_the_way_loses_no_item_and_gives_none_twice(
    disk: Literal["kept", "flushed", "lost"], delay_ms: int
) -> None:
    """Before the owner of the session has read it, while it takes it in, and after it did."""

    async def scenario(world: World) -> None:
        line = Line()
        async with world.provider(partitions=PARTITIONS, line=line) as provider:
            await asks_for_the_item(provider)
            await world.clock.sleep_ms(delay_ms)
            line.cut()
        for store in world.stores.values():
            store.crash(disk)
        async with world.provider(partitions=PARTITIONS) as provider:
            fetched = await provider.fetch_work_item(30_000, 20_000, session=A)
            assert fetched is not None
            assert fetched.item == ITEM
            assert await provider.fetch_work_item(30_000, 1_000, session=A) is None
            await provider.ack_work_item(fetched.lock_token, ANSWER)
            answered = await provider.fetch_orchestration_item(30_000, 5_000)
            assert answered is not None
            assert answered.messages == (ANSWER,)
        taken_in = [one for one in await world.records(1) if isinstance(one, r.WorkItemEnqueued)]
        assert [one.scheduled.session_id for one in taken_in] == [THERE]
        assert not [one for one in await world.records(0) if isinstance(one, r.WorkItemEnqueued)]

    run(scenario)


def test_under_a_new_owner_a_session_is_for_whoever_comes_first() -> None:
    async def scenario(world: World) -> None:
        async with world.provider(partitions=PARTITIONS) as provider:
            for number in (2, 3):
                await provider.enqueue_for_worker(structs.replace(ITEM, activity_id=number))
            assert await provider.fetch_work_item(30_000, 0, session=A) is not None
            assert await provider.fetch_work_item(30_000, 0, session=B) is None
        async with world.provider(partitions=PARTITIONS) as provider:
            await world.clock.sleep_ms(40_000)
            assert await provider.renew_session_lock(["A", "B"], 1_000, 1_000_000) == 0
            assert await provider.fetch_work_item(30_000, 1_000, session=B) is not None
            assert await provider.fetch_work_item(30_000, 0, session=A) is None
            assert await provider.renew_session_lock(["A", "B"], 1_000, 1_000_000) == 1

    run(scenario)


@pytest.mark.parametrize("disk", ["kept", "flushed", "lost"])
@pytest.mark.parametrize("delay_ms", [0, 1, 500])
def test_a_crash_on_the_way_forgets_nothing_that_was_taken_back(
    disk: Literal["kept", "flushed", "lost"], delay_ms: int
) -> None:
    async def scenario(world: World) -> None:
        line = Line()
        async with world.provider(partitions=PARTITIONS, line=line) as provider:
            await asks_for_the_item(provider)
            await takes_it_back(provider)
            await world.clock.sleep_ms(delay_ms)
            line.cut()
        for store in world.stores.values():
            store.crash(disk)
        async with world.provider(partitions=PARTITIONS) as provider:
            await provider.enqueue_for_worker(structs.replace(ITEM, activity_id=9))
            fetched = await provider.fetch_work_item(30_000, 20_000, session=A)
            assert fetched is not None
            assert fetched.item.activity_id == 9
            assert await provider.fetch_work_item(30_000, 1_000, session=A) is None

    run(scenario)


def test_an_item_of_a_later_life_is_not_answered_by_a_worker_of_the_earlier_one() -> None:
    """Its key is the same. The worker who has the old one is told, and cannot ack; the new one comes by itself."""

    async def scenario(world: World) -> None:
        async with world.provider(partitions=PARTITIONS) as provider:
            await asks_for_the_item(provider)
            old = await provider.fetch_work_item(30_000, 5_000, session=A)
            assert old is not None
            await provider.delete_instance(HERE, force=True)
            await asks_for_the_item(provider)
            new = await provider.fetch_work_item(30_000, 5_000, session=A)
            assert new is not None
            assert (new.item, new.attempt_count) == (ITEM, 1)
            assert old.revoked.is_set()
            with pytest.raises(LeaseLost):
                await provider.ack_work_item(old.lock_token, ANSWER)
            await provider.ack_work_item(new.lock_token, ANSWER)

    run(scenario)


def test_a_deletion_tells_those_who_were_given_work_of_it_and_nobody_else() -> None:
    """A tree whose work was all here sends nothing."""

    async def scenario(world: World) -> None:
        async with world.provider(partitions=PARTITIONS) as provider:
            await asks_for_the_item(provider)
            await turn(
                provider,
                StartOrchestration(instance=f"{HERE}::sub::2", name="go", input=NULL),
                TurnResult(execution_id=1, work_items=(structs.replace(ITEM, session_id=HERE),)),
            )
            before = len(await world.committed(Topics.of(APP).worker, 1))
            await provider.delete_instance(HERE, force=True)
            await asks_for_nothing(provider)
            await provider.delete_instance(HERE, force=True)
            told = (await world.committed(Topics.of(APP).worker, 1))[before:]
            assert [codec.decode_work(value) for _, value in told] == [r.TreeTakenBack(instance=HERE)]

    run(scenario)


async def asks_for_nothing(provider: LogProvider) -> None:
    first = TurnResult(execution_id=1, history_delta=(structs.replace(STARTED, incarnation=8),))
    await turn(provider, StartOrchestration(instance=HERE, name="go", input=NULL), first)


@pytest.mark.parametrize(
    "taken_back",
    [r.WorkItemTakenBack(instance=HERE, execution_id=1, activity_id=2), r.TreeTakenBack(instance=HERE)],
    ids=lambda one: type(one).__name__,
)
def test_nobody_but_an_owner_takes_back(taken_back: r.TakenBack) -> None:
    async def scenario(world: World) -> None:
        async with world.provider(partitions=PARTITIONS) as provider:
            await provider.enqueue_for_worker(ITEM)
            value = codec.encode_taken_back(taken_back)
            worker = Topics.of(APP).worker
            await world.log.append(LogRecord(topic=worker, partition=1, key=THERE.encode(), value=value))
            await world.clock.sleep_ms(100)
            ((_, letter),) = await world.committed(Topics.of(APP).dead_letter, 1)
            assert "turnlog.worker" in codec.decode_dead_letter(letter).reason
            assert await provider.fetch_work_item(30_000, 0, session=A) is not None
            by_owner = LogRecord(
                topic=worker, partition=1, key=THERE.encode(), value=value, headers=((OWNER_HEADER, b"0"),)
            )
            await world.log.append(by_owner)
            await world.clock.sleep_ms(100)
            assert (await provider.get_queue_depths()).worker_queue == 0

    run(scenario)


@pytest.mark.parametrize(
    "value",
    [
        b"noise",
        codec.encode_taken_back(r.WorkItemTakenBack(instance=HERE, execution_id=-1, activity_id=2)),
        codec.encode_taken_back(r.WorkItemTakenBack(instance=HERE, execution_id=1, activity_id=-2)),
        codec.encode_taken_back(r.WorkItemTakenBack(instance="", execution_id=1, activity_id=2)),
        codec.encode_taken_back(r.TreeTakenBack(instance="a\0b")),
        codec.encode_work_item(structs.replace(ITEM, session_id=HERE)),
        codec.encode_work_item(structs.replace(ITEM, activity_id=-1)),
    ],
    ids=["noise", "execution", "activity", "nobody", "tree", "session", "item"],
)
def test_what_no_owner_writes_harms_nobody_under_an_owners_header(value: bytes) -> None:
    """Whoever writes to a topic may write anything: it is a dead letter, and what comes after it is served."""

    async def scenario(world: World) -> None:
        async with world.provider(partitions=PARTITIONS) as provider:
            await world.log.append(
                LogRecord(
                    topic=Topics.of(APP).worker,
                    partition=1,
                    key=THERE.encode(),
                    value=value,
                    headers=((OWNER_HEADER, b"0"),),
                )
            )
            await provider.enqueue_for_worker(ITEM)
            fetched = await provider.fetch_work_item(30_000, 0, session=A)
            assert fetched is not None
            assert fetched.item == ITEM
            await world.clock.sleep_ms(100)  # the markers of the transaction are written by then
            assert len(await world.committed(Topics.of(APP).dead_letter, 1)) == 1

    run(scenario)


def test_a_tag_that_others_serve_keeps_its_items_with_their_instance() -> None:
    """Whatever their session: who serves it, a consumer group says."""

    async def scenario(world: World) -> None:
        options = LogProviderOptions(topic_tags=frozenset({"gpu"}))
        async with world.provider(partitions=PARTITIONS, options=options) as provider:
            item = structs.replace(ITEM, tag="gpu")
            started = OrchestrationStarted(
                event_id=1, timestamp_ms=1, name="go", version="1", input=NULL, incarnation=7
            )
            first = TurnResult(execution_id=1, history_delta=(started,), work_items=(item,))
            await turn(provider, StartOrchestration(instance=HERE, name="go", input=NULL), first)
            await provider.enqueue_for_worker(structs.replace(item, activity_id=3))
            of_items = [codec.decode_work(value) for _, value in await world.committed(Topics.of(APP).worker, 0)]
            assert item in of_items
            assert await world.committed(Topics.of(APP).worker, 1) == []
            assert await world.committed(Topics.of(APP).dead_letter, 0) == []
            await turn(
                provider,
                RaiseEvent(instance=HERE, name="e", data=NULL),
                TurnResult(execution_id=1, cancelled_activities=(structs.replace(REF, tag="gpu"),)),
            )
            assert await world.committed(Topics.of(APP).worker, 1) == []

    run(scenario)


def programs(world: World, begun: Counter[str]) -> Registry:
    """Sessions here and there, and an activity of one there that is taken back while it runs."""

    @activity
    async def works(ctx: ActivityContext, name: str) -> str | None:
        begun[f"{ctx.instance} {name}"] += 1
        return ctx.session_id

    @activity
    async def lasts() -> None:
        await world.clock.sleep_ms(60_000)

    @orchestration
    async def asks(ctx: OrchestrationContext) -> list[str | None]:
        answers = [await ctx.schedule_activity(works, name, session_id=name) for name in (HERE, THERE)]
        long = ctx.schedule_activity(lasts, session_id=THERE)
        await ctx.select(long, ctx.schedule_timer(timedelta(milliseconds=50)))
        return [*answers, await ctx.schedule_activity(works, "last", session_id=THERE)]

    return Registry(orchestrations=[asks], activities=[works, lasts])


@pytest.mark.parametrize("fault", [LoseReply(), LoseRequest(), Unavailable()], ids=lambda fault: type(fault).__name__)
def test_a_doubt_of_either_owner_runs_no_activity_twice_and_answers_each(fault: Fault) -> None:
    """Whichever commit is in doubt: of the turn, of taking in, of the answer, of taking back."""
    marks = set[str]()
    for k in range(1, K_MAX):
        world, begun = World(seed=k, faults=Faults({("commit", k): fault})), Counter[str]()

        async def scenario(world: World = world, begun: Counter[str] = begun) -> None:
            async with (
                world.provider(partitions=PARTITIONS) as provider,
                Engine(provider, programs(world, begun), clock=world.clock, chance=world.chance),
            ):
                client = Client(provider, clock=world.clock, chance=world.chance)
                handles = [await client.start("asks", instance=name) for name in (HERE, THERE)]
                assert [await handle.wait(600) for handle in handles] == [[HERE, THERE, THERE]] * 2

        with recorded_marks() as taken:
            world.run(scenario)
        marks |= set(taken)
        assert set(begun.values()) == {1}, f"the fault was {fault} at commit number {k}"
        if world.faults.seen("commit") < k:
            assert {"lane.work_taken_in", "lane.work_taken_back"} <= marks
            return
    raise AssertionError(f"expected fewer than {K_MAX} commits")
