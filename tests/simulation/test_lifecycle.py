"""What does everybody who has something to do with a partition see while it is in doubt, given up, or broken?"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.errors import LeaseLost, ProviderError, Retryable, StateCorrupted
from engine.model.messages import CompleteActivity, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from provider_log import LogProvider, LogProviderOptions, codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.log.simulated import Damage, Faults, LoseReply, LoseRequest, Unavailable
from provider_log.log.simulated.faults import Fault, Operation
from provider_log.partition.restore import head_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import APP, World
from provider_log.topics import Topics

NULL = Payload(b"null")
ITEM = WorkItem(instance="i", incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL)
ANSWER = CompleteActivity(instance="i", incarnation=1, execution_id=1, activity_id=2, result=NULL)
K_MAX = 60
EVENT = RaiseEvent(instance="i", name="e", data=NULL)


async def never_here(_partition: int) -> bool:
    return False


class Strikes(Faults):
    """Faults that the test orders: the next request of a kind meets it."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[Operation, Fault] = {}

    def strike(self, operation: Operation, fault: Fault) -> None:
        self._next[operation] = fault

    def draw(self, operation: Operation) -> Fault | None:
        super().draw(operation)
        return self._next.pop(operation, None)


def run(scenario: Callable[[World, Strikes], Awaitable[None]]) -> World:
    faults = Strikes()
    world = World(faults=faults)
    world.run(lambda: scenario(world, faults))
    return world


async def leased(provider: LogProvider) -> FetchedWorkItem:
    await provider.enqueue_for_worker(ITEM)
    item = await provider.fetch_work_item(30_000, 1_000)
    assert item is not None
    return item


# Leases


def long_activity(world: World, started: list[int]) -> Registry:
    @activity
    async def slow(number: int) -> int:
        started.append(number)
        await world.clock.sleep_ms(20_000)
        return 2 * number

    @activity
    async def quick(number: int) -> int:
        return number

    @orchestration
    async def both(ctx: OrchestrationContext, number: int) -> int:
        result = ctx.schedule_activity(slow, number)
        for _ in range(3):
            await ctx.schedule_activity(quick, number)
        return await result

    return Registry(orchestrations=[both], activities=[slow, quick])


@pytest.mark.parametrize("fault", [LoseReply(), LoseRequest(), Unavailable()], ids=lambda fault: type(fault).__name__)
def test_a_doubt_runs_no_activity_twice(fault: Fault) -> None:
    """Whenever a commit is in doubt, running activities go on, and so does one whose answer was on its way."""
    for k in range(1, K_MAX):
        world, started = World(seed=k, faults=Faults({("commit", k): fault})), list[int]()

        async def scenario(world: World = world, started: list[int] = started) -> None:
            async with (
                world.provider() as provider,
                Engine(provider, long_activity(world, started), clock=world.clock, chance=world.chance),
            ):
                client = Client(provider, clock=world.clock, chance=world.chance)
                handles = [await client.start("both", number, instance=f"i{number}") for number in range(2)]
                assert [await handle.wait(600) for handle in handles] == [0, 2]
            assert sorted(started) == [0, 1]

        try:
            world.run(scenario)
        except BaseException as error:
            error.add_note(f"the fault was {fault} at commit number {k}")
            raise
        if world.faults.seen("commit") < k:
            return
    raise AssertionError(f"the scenario still met commit number {K_MAX}")


def test_a_lease_is_asked_for_again_while_its_partition_is_in_doubt() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        async with world.provider() as provider:
            item = await leased(provider)
            faults.strike("commit", LoseRequest())
            other = asyncio.ensure_future(provider.enqueue_for_worker(structs.replace(ITEM, instance="j")))
            while provider.ready:
                await world.clock.sleep_ms(1)
            with pytest.raises(Retryable):
                await provider.renew_work_item_lock(item.lock_token, 30_000)
            with pytest.raises(Retryable):
                await provider.ack_work_item(item.lock_token, ANSWER)
            with pytest.raises(Retryable):
                await provider.abandon_work_item(item.lock_token)
            await other
            await provider.renew_work_item_lock(item.lock_token, 30_000)
            await provider.ack_work_item(item.lock_token, ANSWER)
            with pytest.raises(LeaseLost):
                await provider.ack_work_item(item.lock_token, ANSWER)

    run(scenario)


def test_an_answer_in_doubt_is_given_again_under_the_same_lease() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        async with world.provider() as provider:
            item = await leased(provider)
            seen = list[str]()
            faults.strike("commit", LoseRequest())
            while True:
                try:
                    await provider.ack_work_item(item.lock_token, ANSWER)
                    break
                except ProviderError as error:
                    seen.append(type(error).__name__)
                    await world.clock.sleep_ms(1)
            assert seen[0] == "InDoubt"
            assert set(seen[1:]) <= {"Retryable"}
            assert await provider.fetch_work_item(1_000, 0) is None
        answered = [record for record in await world.records() if isinstance(record, r.WorkItemAcked)]
        assert len(answered) == 1

    run(scenario)


# Who waits


def test_a_sender_does_not_wait_for_a_partition_that_moved_away() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        line = Line()
        async with world.provider("first", is_placed_here=never_here, line=line) as first:
            line.freeze()  # its readers see nothing any more
            async with world.provider("second"):
                sending = asyncio.ensure_future(first.enqueue_for_orchestrator(EVENT))
                await world.clock.sleep_ms(10)
                line.thaw()
                await first.enqueue_for_worker(ITEM)  # it commits, and learns that it is fenced
                await sending
                assert not first.ready
                await first.enqueue_for_orchestrator(EVENT)
                with pytest.raises(LeaseLost):
                    await first.renew_work_item_lock("0.x.1", 1_000)

    run(scenario)


def test_a_sender_to_a_broken_partition_hears_of_it_each_time() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        async with world.provider() as provider:
            faults.strike("commit", LoseRequest())
            faults.strike("read", Damage())
            for _ in range(2):
                with pytest.raises(StateCorrupted, match="damaged"):
                    await provider.enqueue_for_worker(ITEM)
            with pytest.raises(StateCorrupted, match="damaged"):
                await provider.fetch_orchestration_item(1_000, 0)

    run(scenario)


def test_a_partition_that_breaks_while_it_is_released_stops_all_the_same() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        line = Line()
        async with world.provider(line=line) as provider:
            await provider.enqueue_for_orchestrator(EVENT)
            line.freeze()  # the release hangs until a reader finds the damage
            await world.log.append(
                LogRecord(topic=Topics.of(APP).worker, partition=0, key=b"i", value=codec.encode_work_item(ITEM))
            )
            faults.strike("read", Damage())
            thawing = asyncio.ensure_future(thaw_later(world, line))
        await thawing

    async def thaw_later(world: World, line: Line) -> None:
        await world.clock.sleep_ms(10)
        line.thaw()

    run(scenario)


def test_a_release_in_doubt_is_over_at_once() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        line = Line()
        async with world.provider(line=line) as provider:
            await provider.enqueue_for_orchestrator(EVENT)
            line.cut()
            before_ms = world.clock.boot_ms()
        assert world.clock.boot_ms() - before_ms < 5_000

    run(scenario)


def test_a_lane_that_cannot_be_cut_now_is_no_doubt() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        options = LogProviderOptions(cut_every_ms=100)
        async with (
            world.provider(options=options) as provider,
            Engine(provider, long_activity(world, []), clock=world.clock, chance=world.chance),
        ):
            client = Client(provider, clock=world.clock, chance=world.chance)
            handle = await client.start("both", 1, instance="i")
            await handle.wait(600)
            faults.strike("delete_records", Unavailable())
            await world.clock.sleep_ms(1_000)
        acquired = [record for record in await world.records() if isinstance(record, r.OwnershipAcquired)]
        assert len(acquired) == 1
        bounds = await world.log.bounds(Topics.of(APP).orchestrator, 0)
        assert bounds.first == 1, "expected the start to be cut away at the second try"

    run(scenario)


def test_a_worker_that_polls_does_not_spin_for_messages_that_nobody_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        async with world.provider() as provider:
            start = StartOrchestration(instance="i", name="go", input=NULL)
            await provider.enqueue_for_orchestrator(start, delay_ms=50)
            polling = asyncio.ensure_future(provider.fetch_work_item(1_000, 10_000))
            await world.clock.sleep_ms(100)
            assert provider.ready
            asked = 0
            boot_ms = world.clock.boot_ms

            def counted() -> int:
                nonlocal asked
                asked += 1
                return boot_ms()

            monkeypatch.setattr(world.clock, "boot_ms", counted)  # what every look of a poll asks for
            for _ in range(200):
                await asyncio.sleep(0)
            monkeypatch.undo()
            assert asked < 50, "one that spins asks in every round; what is due now and then asks a few times"
            assert await polling is None

    run(scenario)


# Another history


def test_a_store_of_a_log_that_was_made_anew_is_built_again() -> None:
    first = run(lambda world, _faults: lived(world, "a"))
    second = World(seed=2)
    second.stores = first.stores

    async def scenario() -> None:
        await lived(second, "b")
        store = second.stores["node", 0]
        assert store.rows == await second.rebuilt(0, until=head_of(store).offset)

    second.run(scenario)


def test_a_history_that_was_cut_is_refused() -> None:
    async def scenario(world: World, faults: Strikes) -> None:
        await lived(world, "a")
        await world.log.delete_records(Topics.of(APP).history, 0, 3)
        world.stores.clear()
        with pytest.raises(StateCorrupted, match="kept for ever, but it begins at 3"):
            async with world.provider():
                raise AssertionError("expected a provider that does not start")

    run(scenario)


async def lived(world: World, instance: str) -> None:
    async with world.provider() as provider:
        await provider.enqueue_for_worker(
            WorkItem(instance=instance, incarnation=1, execution_id=1, activity_id=2, name="act", input=NULL)
        )
