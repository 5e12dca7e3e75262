"""Do the timelines that a broker can be brought to end well? By their numbers in the first design's red-team review.

Timelines 1, 3 and 12 with three contenders are in test_contenders; all of them on the simulated log, each with its rule
broken, in tests/simulation/test_timelines.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from engine import Client, Engine, OrchestrationContext, Registry, activity, orchestration
from engine.clock import SystemClock
from provider_log.log.kafka import KafkaLog
from provider_log.log.kafka.producer import KafkaProducer
from provider_log.log.port import LogRecord
from provider_log.partition.head import ChangelogBroken
from provider_log.routing import partition_of
from provider_log.topics import Topics
from tests.kafka.nodes import ANSWERS, OUTPUT, WAIT_S, App, run_all, working
from tests.kafka.proxy import Api, Lose, proxied
from tests.kafka.test_contenders import start

INSTANCES = 10
SLOW_MS = 50
PARTITIONS = 2


def names(prefix: str) -> list[str]:
    return [f"{prefix}-{number}" for number in range(INSTANCES)]


# 2


async def test_the_order_of_the_log_is_that_of_the_batches_when_one_slot_is_slow(bootstrap: str) -> None:
    """Timeline 2: what one slot produces takes longer to arrive than what the other one produces after it."""
    app, clock = App(bootstrap), SystemClock()
    straight = await KafkaLog.open(bootstrap)
    async with proxied(bootstrap) as proxy:
        proxy.delays[Api.PRODUCE, app.slot(1)] = SLOW_MS / 1000
        async with app.node(proxy.bootstrap) as provider, working(provider) as client:
            for name in names("i"):  # so that something goes on while the slow one is under way
                await start(straight, app.name, name)
                await clock.sleep_ms(SLOW_MS // 5)
            assert [await client.wait(name, WAIT_S, output=str) for name in names("i")] == [OUTPUT] * INSTANCES
    await straight.close()
    history = await app.written()
    assert (history.owners, history.ended, history.answered.total()) == (1, INSTANCES, ANSWERS * INSTANCES)


# 3


@pytest.mark.parametrize("api", [Api.PRODUCE, Api.END_TXN], ids=lambda api: api.name)
async def test_an_owner_of_four_slots_that_slept_through_a_takeover_by_one_of_one_slot_writes_nothing(
    bootstrap: str, api: Api
) -> None:
    """Timeline 3: the owner is stopped with a batch on a slot that its successor does not use, and wakes up later."""
    app, was_fenced = App(bootstrap), asyncio.Event()
    straight = await KafkaLog.open(bootstrap)

    async def is_placed_here(_partition: int) -> bool:
        was_fenced.set()
        return False

    async with (
        proxied(bootstrap) as proxy,
        app.node(proxy.bootstrap, slots_used=4, answer_ms=60_000, is_placed_here=is_placed_here) as sleeper,
        working(sleeper),
    ):
        proxy.freeze_at(api, app.slot(2))
        for name in names("i"):
            await start(straight, app.name, name)
        await proxy.frozen.wait()
        async with app.node(slots_used=1) as provider, working(provider) as client:
            for name in names("i"):
                assert await client.wait(name, WAIT_S, output=str) == OUTPUT
            before = await app.written()
            proxy.thaw()
            await was_fenced.wait()
            assert (await app.written()).rows == before.rows
    await straight.close()


# 4


async def test_whichever_end_is_never_answered_the_end_is_the_same(bootstrap: str) -> None:
    """Timeline 4: the answer to EndTxn is lost at the first batch, the second … and so is the request."""
    outputs = list[object]()
    app = App(bootstrap)
    async with (
        proxied(bootstrap) as proxy,
        app.node(proxy.bootstrap) as provider,
        working(provider) as client,
    ):
        for k in range(8):
            for fault in (Lose.REPLY, Lose.REQUEST):
                name = f"{fault.name}-{k}"
                proxy.lose(Api.END_TXN, *[None] * k, fault)
                await run_all(client, [name])
                proxy.spare(Api.END_TXN)
                outputs.append([(event.event_id, type(event)) for event in await provider.read(name)])
    assert outputs == [outputs[0]] * 16
    history = await app.written()
    assert (history.ended, history.answered.total()) == (16, ANSWERS * 16)


# 8


@activity
async def double(number: int) -> int:
    return 2 * number


@orchestration
async def parent(ctx: OrchestrationContext, name: str) -> int:
    """Its child lives where its own id says: on the other partition."""
    return await ctx.schedule_sub_orchestration("child", 1, instance=child_of(name))


@orchestration
async def child(ctx: OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, number)


FAMILY = Registry(orchestrations=[parent, child], activities=[double])


def child_of(instance: str) -> str:
    """An id on the other partition."""
    here = partition_of(instance, PARTITIONS)
    return next(name for n in range(100) if partition_of(name := f"{instance}-child-{n}", PARTITIONS) != here)


async def test_a_strangers_open_transaction_holds_no_message_of_an_owner(bootstrap: str) -> None:
    """Timeline 8: somebody's transaction on the topic of inputs stays open and is named; the messages lane goes on."""
    app = App(bootstrap)
    straight = await KafkaLog.open(bootstrap)
    topic = Topics.of(app.name).orchestrator
    await straight.create_topics(Topics.of(app.name).specs(PARTITIONS))
    for name in names("p"):
        await start(straight, app.name, name, orchestration="parent", value=name, partitions=PARTITIONS)
    stranger = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"stranger-{app.name}")
    await stranger.start()
    await stranger.begin_transaction()
    for partition in range(PARTITIONS):
        await stranger.send_and_wait(topic, b"x", partition=partition)
    try:
        async with app.node(partitions=PARTITIONS) as provider, Engine(provider, FAMILY):
            for name in names("p"):
                assert await Client(provider).wait(name, WAIT_S, output=int) == 2
            held = [await straight.open_transaction(topic, partition) for partition in range(PARTITIONS)]
            assert all(one is not None and one.producer.startswith("producer id ") for one in held)
    finally:
        await stranger.abort_transaction()
        await stranger.stop()
        await straight.close()


async def test_a_stopped_owners_open_transaction_holds_no_input_of_a_stranger(bootstrap: str) -> None:
    """Timeline 8: another process is stopped with a transaction to this partition's messages open."""
    app = App(bootstrap)
    straight = await KafkaLog.open(bootstrap)
    await straight.create_topics(Topics.of(app.name).specs(1))
    arguments = [bootstrap, f"owner-{app.name}", Topics.of(app.name).messages, "0"]
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kafka.holder", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert owner.stdout is not None
        assert await owner.stdout.readline() == b"open\n"
        os.kill(owner.pid, signal.SIGSTOP)
        async with app.node() as provider, working(provider) as client:
            await run_all(client, names("i"))
            assert await straight.open_transaction(Topics.of(app.name).messages, 0) is not None
    finally:
        owner.kill()
        await owner.wait()
        await straight.close()
    assert (await app.written()).owners == 1


# 25


@pytest.mark.parametrize("k", range(4))
async def test_an_end_that_arrives_when_its_slot_has_another_batch_ends_nothing(bootstrap: str, k: int) -> None:
    """Timeline 25: EndTxn gets no answer, the partition goes on, and then the request arrives."""
    app = App(bootstrap)
    async with (
        proxied(bootstrap) as proxy,
        app.node(proxy.bootstrap) as provider,
        working(provider) as client,
    ):
        proxy.lose(Api.END_TXN, *[None] * k, Lose.LATE)
        running = asyncio.ensure_future(run_all(client, names("i")))
        seen = proxy.seen[Api.END_TXN]
        await proxy.reached(Api.END_TXN, seen + k + 2)
        await proxy.reached(Api.PRODUCE, proxy.seen[Api.PRODUCE] + 1)
        await proxy.deliver()
        await running
    history = await app.written()
    assert (history.ended, history.answered.total()) == (INSTANCES, ANSWERS * INSTANCES)
    assert history.owners == 2, "expected a doubt, and nobody who asks again instead"


# 26


@pytest.mark.parametrize("silent", [(1,), (0, 1)], ids=lambda silent: f"{len(silent)}-slots")
async def test_a_slot_whose_coordinator_is_silent_stops_nobody(bootstrap: str, silent: tuple[int, ...]) -> None:
    """Timeline 26: what a slot asks its coordinator for is never answered; the others go on, without a doubt."""
    await silenced(bootstrap, silent)


async def silenced(bootstrap: str, silent: tuple[int, ...], transaction_timeout_ms: int = 10_000) -> None:
    app = App(bootstrap)
    async with (
        proxied(bootstrap) as proxy,
        app.node(proxy.bootstrap, transaction_timeout_ms=transaction_timeout_ms) as provider,
        working(provider) as client,
    ):
        await run_all(client, ["before"])
        for slot in silent:
            proxy.delays[Api.ADD_PARTITIONS, app.slot(slot)] = 3_600
        await run_all(client, names("i"))
    history = await app.written()
    assert (history.owners, history.ended) == (1, INSTANCES + 1)


# Without their rules


async def test_without_a_wait_for_acknowledgements_the_order_is_lost(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce, commit = KafkaProducer.produce, KafkaProducer.commit
    sending = dict[KafkaProducer, asyncio.Task[None]]()

    async def produce_later(self: KafkaProducer, records: Sequence[LogRecord]) -> None:
        sending[self] = asyncio.ensure_future(produce(self, records))

    async def commit_later(self: KafkaProducer) -> Sequence[int]:
        await sending[self]
        return await commit(self)

    monkeypatch.setattr(KafkaProducer, "produce", produce_later)
    monkeypatch.setattr(KafkaProducer, "commit", commit_later)
    with pytest.raises(ChangelogBroken):
        await test_the_order_of_the_log_is_that_of_the_batches_when_one_slot_is_slow(bootstrap)


async def test_without_begins_of_their_own_a_silent_slot_is_a_doubt(
    bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin(_self: KafkaProducer, _places: object) -> None:
        """Left to `produce`."""

    monkeypatch.setattr(KafkaProducer, "begin", begin)
    with pytest.raises(AssertionError):
        await silenced(bootstrap, (1,), transaction_timeout_ms=1_500)
