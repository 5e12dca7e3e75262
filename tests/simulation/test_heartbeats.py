"""Is what a worker said still there after a crash, a hand-over and a doubt, and is what is late then still late?"""

import asyncio

import pytest
from msgspec import structs

from engine.errors import InDoubt, LeaseLost, ProviderError, Refused
from engine.model.limits import WorkLimits
from engine.model.messages import CompleteActivity
from engine.model.payload import Payload
from engine.model.tags import TagFilter
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from provider_log import LogProvider
from provider_log import records as r
from provider_log.log.simulated import LoseReply, LoseRequest
from provider_log.log.simulated.faults import Fault
from provider_log.partition.plan import DETAILS_BYTES_MAX
from provider_log.partition.restore import head_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import World
from tests.simulation.test_lifecycle import Strikes, run

NULL = Payload(b"null")
HALF, MORE = Payload(b'"half"'), Payload(b'"more"')
ITEM = WorkItem(instance="i", incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL)
ANSWER = CompleteActivity(instance="i", incarnation=1, execution_id=1, activity_id=2, result=NULL)
LOCK_MS = 30_000
WAIT_MS = 5_000


async def fetched(provider: LogProvider, tags: TagFilter | None = None) -> FetchedWorkItem:
    found = await provider.fetch_work_item(LOCK_MS, 2 * LOCK_MS, tags or TagFilter.everything())
    assert found is not None
    return found


async def leased(provider: LogProvider, item: WorkItem = ITEM) -> FetchedWorkItem:
    await provider.enqueue_for_worker(item)
    return await fetched(provider)


def test_the_next_owner_knows_what_was_said() -> None:
    async def scenario(world: World, _faults: Strikes) -> None:
        async with world.provider() as provider:
            before = await leased(provider)
            await provider.renew_work_item_lock(before.lock_token, LOCK_MS, HALF)
            await provider.abandon_work_item(before.lock_token)
        async with world.provider() as provider:
            assert (await fetched(provider)).heartbeat == HALF

    run(scenario)


@pytest.mark.parametrize("kind", ["kept", "flushed", "lost"])
def test_what_was_kept_outlives_a_crash(kind: str) -> None:
    """Whatever became of the store: the log has it."""

    async def scenario(world: World, _faults: Strikes) -> None:
        line = Line()
        async with world.provider(line=line) as provider:
            before = await leased(provider)
            await provider.renew_work_item_lock(before.lock_token, LOCK_MS, HALF)
            await provider.renew_work_item_lock(before.lock_token, LOCK_MS, MORE)
            line.cut()
        for store in world.stores.values():
            store.crash(kind)  # pyright: ignore[reportArgumentType]  # one of the three
        async with world.provider() as provider:
            again = await fetched(provider)
            assert again.heartbeat == MORE
            await provider.ack_work_item(again.lock_token, ANSWER)
        [store] = world.stores.values()
        assert store.rows == await world.rebuilt(0, until=head_of(store).offset)

    run(scenario)


@pytest.mark.parametrize("fault", [LoseRequest(), LoseReply()], ids=lambda fault: type(fault).__name__)
def test_a_heartbeat_in_doubt_is_given_again_under_the_same_lease(fault: Fault) -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        async with world.provider() as provider:
            before = await leased(provider)
            faults.strike("commit", fault)
            with pytest.raises(InDoubt):
                await provider.renew_work_item_lock(before.lock_token, LOCK_MS, HALF)
            await _until_kept(world, provider, before.lock_token, HALF)
            await provider.abandon_work_item(before.lock_token)
            assert (await fetched(provider)).heartbeat == HALF

    run(scenario)


async def _until_kept(world: World, provider: LogProvider, token: str, heartbeat: Payload) -> None:
    while True:
        try:
            await provider.renew_work_item_lock(token, LOCK_MS, heartbeat)
            return
        except LeaseLost:
            raise
        except ProviderError:
            await world.clock.sleep_ms(1)


def test_nobody_reads_what_is_not_committed() -> None:
    """It was said, given back at once, and fetched again before the log had it; a doubt may still take it back."""

    async def scenario(world: World, faults: Strikes) -> None:
        async with world.provider() as provider:
            before = await leased(provider)
            faults.strike("commit", LoseRequest())
            said = asyncio.ensure_future(provider.renew_work_item_lock(before.lock_token, LOCK_MS, HALF))
            await asyncio.sleep(0)
            await provider.abandon_work_item(before.lock_token)
            again = await fetched(provider)
            assert again.heartbeat is None
            with pytest.raises(InDoubt):
                await said

    run(scenario)


def test_details_that_no_later_record_would_hold_are_refused() -> None:
    async def scenario(world: World, _faults: Strikes) -> None:
        async with world.provider() as provider:
            before = await leased(provider)
            with pytest.raises(Refused, match=f"of at most {DETAILS_BYTES_MAX} bytes, but they have"):
                await provider.renew_work_item_lock(before.lock_token, LOCK_MS, Payload(bytes(DETAILS_BYTES_MAX + 1)))
            await provider.renew_work_item_lock(before.lock_token, LOCK_MS, Payload(bytes(DETAILS_BYTES_MAX)))
            await provider.ack_work_item(before.lock_token, ANSWER)
        beats = [record for record in await world.records() if isinstance(record, r.WorkItemHeartbeat)]
        assert [len(beat.heartbeat.data) for beat in beats] == [DETAILS_BYTES_MAX]

    run(scenario)


def test_the_next_owner_knows_what_is_late_and_what_was_begun_in_time() -> None:
    async def scenario(world: World, _faults: Strikes) -> None:
        limits = WorkLimits(queue_timeout_ms=WAIT_MS, start_by_ms=world.clock.now_ms() + WAIT_MS)
        items = [structs.replace(ITEM, activity_id=n, tag="gpu", limits=limits) for n in (2, 3)]
        async with world.provider() as provider:
            begun = await leased(provider, items[0])
            await provider.enqueue_for_worker(items[1])
            assert begun.item.activity_id == 2
        async with world.provider() as provider:
            assert await provider.fetch_work_item(LOCK_MS, 0) is None
            late = await provider.fetch_work_item(LOCK_MS, 2 * WAIT_MS)
            assert late is not None
            assert (late.item.activity_id, late.attempt_count) == (3, 1)
            assert limits.start_by_ms is not None
            assert late.now_ms >= limits.start_by_ms
            await provider.ack_work_item(late.lock_token, structs.replace(ANSWER, activity_id=3))
            assert await provider.fetch_work_item(LOCK_MS, 2 * LOCK_MS) is None
            again = await fetched(provider)
            assert (again.item.activity_id, again.attempt_count) == (2, 2)

    run(scenario)


@pytest.mark.parametrize("is_cut", [True, False], ids=["killed", "released"])
def test_what_was_late_is_late_for_the_next_owner_too(*, is_cut: bool) -> None:
    """Who was to answer that nobody began it went down first, after its lease was renewed and the log had gone on.

    `turnlog simulate` found it, seed 1196: the delivery counted, and the item waited for a tag that nobody serves.
    """

    async def scenario(world: World, _faults: Strikes) -> None:
        limits = WorkLimits(queue_timeout_ms=WAIT_MS, start_by_ms=world.clock.now_ms() + WAIT_MS)
        item = structs.replace(ITEM, tag="gpu", limits=limits)
        line = Line()
        async with world.provider(line=line) as provider:
            await provider.enqueue_for_worker(item)
            late = await provider.fetch_work_item(LOCK_MS, 2 * WAIT_MS)
            assert late is not None
            await provider.renew_work_item_lock(late.lock_token, LOCK_MS)
            await provider.enqueue_for_worker(structs.replace(ITEM, activity_id=3))
            if is_cut:
                line.cut()
        async with world.provider() as provider:
            again = await provider.fetch_work_item(LOCK_MS, 0)
            assert again is not None
            assert (again.item, again.attempt_count) == (item, 1)
            await provider.ack_work_item(again.lock_token, ANSWER)
            assert (await fetched(provider)).item.activity_id == 3

    run(scenario)
