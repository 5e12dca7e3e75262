"""Ours: is a turn admitted, in order, before its ack returns, and durable when the awaitable is done?"""

from collections.abc import Awaitable

import anyio
from msgspec import structs

from engine.errors import LeaseLost, Refused
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    INCARNATION,
    LOCK_MS,
    REAL_SECONDS_MAX,
    UNKNOWN_TOKEN,
    create_instance,
    first_turn,
    ids,
    nothing_to_take,
    raise_event,
    raises,
    start_item,
    started_event,
    take,
    take_work,
    text_event,
    turn,
    work_item,
)


async def test_ack_admits_the_turn_before_it_returns(factory: ProviderFactory) -> None:
    """Durability not yet awaited, the next fetch gets the instance with the history of the turn."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "next"))
    durable = provider.ack_orchestration_item(item.lock_token, first_turn(text_event(2, "first")))
    again = await take(provider)
    assert again.messages == (raise_event("instance-A", "next"),)
    assert (again.history.last_event_id, ids(again.history.load())) == (2, [1, 2])
    assert (again.status, again.orchestration_name, again.incarnation) == (Status.RUNNING, "TestOrch", INCARNATION)
    await durable


async def test_turns_in_flight_are_committed_in_order(factory: ProviderFactory) -> None:
    """Three turns of one instance, none awaited before the next: one history in their order."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    in_flight: list[Awaitable[None]] = []
    for event_id in (2, 3, 4):
        await provider.enqueue_for_orchestrator(raise_event("instance-A", f"go {event_id}"))
        item = await take(provider)
        assert item.history.last_event_id == event_id - 1
        in_flight.append(provider.ack_orchestration_item(item.lock_token, turn(text_event(event_id, "step"))))
    for durable in reversed(in_flight):
        await durable
    assert ids(await provider.read("instance-A")) == [1, 2, 3, 4]


async def test_a_durable_turn_is_seen_by_queries_workers_and_receivers(factory: ProviderFactory) -> None:
    """When the awaitable is done, history, state, work items and messages to others are there."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    result = TurnResult(
        execution_id=1,
        history_delta=(started_event(),),
        work_items=(work_item("instance-A", 2),),
        messages=(start_item("instance-B"),),
        metadata=ExecutionMetadata(
            orchestration_name="TestOrch",
            orchestration_version="1.0.0",
            incarnation=INCARNATION,
            status=Status.COMPLETED,
            output=Payload(b"42"),
        ),
    )
    await provider.ack_orchestration_item(item.lock_token, result)
    assert list(await provider.read("instance-A")) == [started_event()]
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert (info.status, info.output, info.history_events) == (Status.COMPLETED, Payload(b"42"), 1)
    assert (await take_work(provider)).item == work_item("instance-A", 2)
    # Another partition may receive it: it is on its way when the turn is durable, and wakes a fetch.
    with anyio.fail_after(REAL_SECONDS_MAX):
        received = await provider.fetch_orchestration_item(LOCK_MS, LOCK_MS)
    assert received is not None
    assert received.messages == (start_item("instance-B"),)


async def test_a_refused_ack_raises_when_it_is_called(factory: ProviderFactory) -> None:
    """A lost lease and a known event id are told before anything is awaited, so the caller can still act."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    with raises(LeaseLost):
        _ = provider.ack_orchestration_item(UNKNOWN_TOKEN, turn())
    with raises(Refused):
        _ = provider.ack_orchestration_item(item.lock_token, turn(text_event(1, "exists already")))
    assert await nothing_to_take(provider)


async def test_one_delta_cannot_hold_an_event_id_twice(factory: ProviderFactory) -> None:
    """Two events of one id in the same turn are refused as well, and the lock stays held."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    with raises(Refused):
        await provider.ack_orchestration_item(item.lock_token, first_turn(text_event(2, "a"), text_event(2, "b")))
    assert await provider.get_instance_info("instance-A") is None
    await provider.ack_orchestration_item(item.lock_token, first_turn())


async def test_event_ids_may_have_gaps(factory: ProviderFactory) -> None:
    """A provider does not understand histories: ids that leave some out are kept as they are."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, first_turn(text_event(3, "a"), text_event(99_999, "b")))
    assert ids(await provider.read("instance-A")) == [1, 3, 99_999]


async def test_a_turn_without_events_consumes_its_messages(factory: ProviderFactory) -> None:
    """An empty turn still deletes what it was given and frees the instance."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "stale"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, turn())
    assert await nothing_to_take(provider)
    assert ids(await provider.read("instance-A")) == [1]
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "next"))
    assert (await take(provider)).messages == (raise_event("instance-A", "next"),)


async def test_a_turn_is_added_to_a_history_that_cannot_be_decoded(factory: ProviderFactory) -> None:
    """A corrupt instance can be ended: the commit decodes nothing."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await factory.corrupt_instance_history(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    ended = TurnResult(
        execution_id=1,
        history_delta=(text_event(99_999, "given up"),),
        metadata=ExecutionMetadata(status=Status.FAILED),
    )
    await provider.ack_orchestration_item(item.lock_token, ended)
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert info.status is Status.FAILED


async def test_a_message_id_is_taken_once(factory: ProviderFactory) -> None:
    """A call that was retried under its id starts, raises or enqueues once."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    event = structs.replace(raise_event("instance-A", "go"), message_id="call-1")
    await provider.enqueue_for_orchestrator(event)
    await provider.enqueue_for_orchestrator(event)
    item = await take(provider)
    assert item.messages == (event,)
    await provider.ack_orchestration_item(item.lock_token, turn())
    await provider.enqueue_for_orchestrator(event)
    assert await nothing_to_take(provider)


async def test_a_turn_may_send_on_what_it_consumed(factory: ProviderFactory) -> None:
    """Under the id that it has, as an engine does with what came for the next execution; a client may not."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    event = structs.replace(raise_event("instance-A", "go"), message_id="call-1")
    await provider.enqueue_for_orchestrator(event)
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, structs.replace(turn(), messages=(event,)))
    again = await take(provider)
    assert again.messages == (event,)
    await provider.ack_orchestration_item(again.lock_token, turn())
    await provider.enqueue_for_orchestrator(event)
    assert await nothing_to_take(provider)
