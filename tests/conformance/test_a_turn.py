"""Is a turn fetched, committed and given back whole, and does an execution say how it stands, on every provider?

These are tests that upstream keeps beside its suite for providers, most of them asked there for SQLite alone.
"""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from msgspec import structs

from engine.client import Client
from engine.errors import LeaseLost
from engine.model.events import (
    ActivityScheduled,
    OrchestrationCompleted,
    OrchestrationContinuedAsNew,
    OrchestrationFailed,
)
from engine.model.failure import Category, Failure
from engine.model.ids import FIRST_EXECUTION
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.testing.conformance import ProviderFactory
from engine.testing.conformance.given import (
    AT_MS,
    LOCK_MS,
    NAMED,
    UNKNOWN_TOKEN,
    begun,
    completion,
    create_instance,
    first_turn,
    no_work_to_take,
    nothing_to_take,
    raise_event,
    start_item,
    started_event,
    take,
    take_work,
    work_item,
)
from tests.conformance.factories import FACTORIES
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@pytest.fixture(params=FACTORIES)
async def factory(request: pytest.FixtureRequest) -> AsyncGenerator[ProviderFactory]:
    async with FACTORIES[request.param]() as opened:
        yield opened


ASKED = ActivityScheduled(event_id=2, timestamp_ms=AT_MS, name="TestActivity", input=Payload(b"2"))
DONE = OrchestrationCompleted(event_id=2, timestamp_ms=AT_MS, output=Payload(b'"done"'))
NO = Failure(Category.APPLICATION, "ValueError", "Error occurred")


# Fetching


@upstream("provider_atomic_tests", "test_fetch_orchestration_item_no_work")
async def test_where_nothing_waits_nothing_is_fetched(factory: ProviderFactory) -> None:
    assert await nothing_to_take(await factory.create_provider())


@upstream("provider_atomic_tests", "test_fetch_orchestration_item_new_instance")
async def test_a_new_instance_is_what_its_start_says_and_has_no_history(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    item = await take(provider)
    assert (item.instance, item.orchestration_name, item.version) == ("i", "TestOrch", "1.0.0")
    assert (item.execution_id, item.incarnation, item.status) == (FIRST_EXECUTION, None, None)
    assert list(item.history.load()) == []
    assert item.messages == (start_item("i"),)


@upstream("provider_atomic_tests", "test_fetch_orchestration_item_existing_instance")
async def test_an_instance_is_what_was_committed_and_comes_with_what_arrived_since(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    await provider.ack_orchestration_item((await take(provider)).lock_token, first_turn(ASKED))
    await provider.enqueue_for_orchestrator(completion("i", 2))
    item = await take(provider)
    assert (item.instance, item.orchestration_name, item.version) == ("i", "TestOrch", "1.0.0")
    assert (item.execution_id, item.status) == (FIRST_EXECUTION, Status.RUNNING)
    assert list(item.history.load()) == [started_event(), ASKED]
    assert item.messages == (completion("i", 2),)


@upstream("long_poll_tests", "test_long_poll_waits_for_timeout")
async def test_a_fetch_that_finds_nothing_waits_as_long_as_it_was_told(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    async with begun(lambda: provider.fetch_orchestration_item(LOCK_MS, 500)) as poll:
        await factory.advance(499)
        assert not poll.has_returned
        await factory.advance(1)
        assert await poll.result() is None


@upstream("long_poll_tests", "test_long_poll_returns_early_on_work")
async def test_a_fetch_that_waits_returns_as_soon_as_something_comes(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    client = Client(provider)
    async with begun(lambda: provider.fetch_orchestration_item(LOCK_MS, 2_000)) as poll:
        await factory.advance(200)
        assert not poll.has_returned
        await client.start("TestOrch", instance="i")
        item = await poll.result()  # and no more time has passed
    assert item is not None
    assert item.instance == "i"


# Committing


@upstream("provider_atomic_tests", "test_ack_orchestration_item_atomic")
async def test_a_turn_leaves_history_and_work_and_takes_its_messages_away(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    result = structs.replace(first_turn(ASKED), work_items=(work_item("i", 2),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, result)
    assert list(await provider.read("i")) == [started_event(), ASKED]
    assert (await take_work(provider)).item == work_item("i", 2)
    assert await no_work_to_take(provider)
    assert await nothing_to_take(provider)


@upstream("provider_atomic_tests", "test_ack_orchestration_item_error_handling")
async def test_a_turn_without_a_lock_leaves_nothing(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    with pytest.raises(LeaseLost, match="expected"):
        await provider.ack_orchestration_item(UNKNOWN_TOKEN, first_turn(ASKED))
    assert list(await provider.read("i")) == []


@upstream("provider_atomic_tests", "test_ignore_work_after_terminal_event")
async def test_what_comes_after_the_end_can_be_taken_away_without_a_trace(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    ended = structs.replace(
        first_turn(DONE), metadata=structs.replace(NAMED, status=Status.COMPLETED, output=DONE.output)
    )
    await provider.ack_orchestration_item((await take(provider)).lock_token, ended)
    await provider.enqueue_for_orchestrator(raise_event("i", "ignored"))
    item = await take(provider)
    assert (item.status, len(item.messages)) == (Status.COMPLETED, 1)
    await provider.ack_orchestration_item(item.lock_token, TurnResult(execution_id=FIRST_EXECUTION))
    assert await nothing_to_take(provider)
    assert list(await provider.read("i")) == [started_event(), DONE]


# Giving back


@upstream("provider_atomic_tests", "test_abandon_orchestration_item")
async def test_what_is_given_back_is_there_at_once(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    first = await take(provider)
    assert await nothing_to_take(provider)
    await provider.abandon_orchestration_item(first.lock_token)
    again = await take(provider)
    assert (again.instance, again.messages) == ("i", first.messages)
    assert again.lock_token != first.lock_token


@upstream("provider_atomic_tests", "test_abandon_orchestration_item_with_delay")
async def test_what_is_given_back_for_later_is_there_later(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    await provider.abandon_orchestration_item((await take(provider)).lock_token, 500)
    assert await nothing_to_take(provider)
    await factory.advance(499)
    assert await nothing_to_take(provider)
    await factory.advance(1)
    assert (await take(provider)).instance == "i"


@upstream("provider_atomic_tests", "test_abandon_orchestration_item_error_handling")
async def test_nobody_gives_back_what_he_does_not_have(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    await take(provider)
    with pytest.raises(LeaseLost, match="expected"):
        await provider.abandon_orchestration_item(UNKNOWN_TOKEN)
    assert await nothing_to_take(provider)


@upstream("provider_atomic_tests", "test_in_memory_provider_atomic_operations")
async def test_fetching_committing_and_giving_back_follow_one_another(factory: ProviderFactory) -> None:
    provider = await factory.create_provider()
    item = await create_instance(provider, "i")
    assert (item.instance, item.orchestration_name) == ("i", "TestOrch")
    assert list(await provider.read("i")) == [started_event()]
    await provider.enqueue_for_orchestrator(completion("i", 1))
    first = await take(provider)
    await provider.abandon_orchestration_item(first.lock_token)
    again = await take(provider)
    assert (again.instance, again.messages, again.attempt_count) == ("i", first.messages, 2)


# How an execution stands


ENDINGS: dict[str, tuple[Any, Status, Payload | None, Failure | None]] = {
    "runs": (ASKED, Status.RUNNING, None, None),
    "completed": (DONE, Status.COMPLETED, Payload(b'"done"'), None),
    "failed": (OrchestrationFailed(event_id=2, timestamp_ms=AT_MS, failure=NO), Status.FAILED, None, NO),
    "continued": (
        OrchestrationContinuedAsNew(event_id=2, timestamp_ms=AT_MS, input=Payload(b'"new-input"')),
        Status.CONTINUED_AS_NEW,
        Payload(b'"new-input"'),
        None,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
@upstream(
    "sqlite_tests",
    "test_execution_status_running",
    "test_execution_status_completed",
    "test_execution_status_failed",
    "test_execution_output_captured_on_continue_as_new",
    differs="A failure is kept as one, beside the output.",
)
async def test_an_execution_says_how_it_stands_and_what_came_of_it(factory: ProviderFactory, ending: str) -> None:
    event, status, output, failure = ENDINGS[ending]
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("i"))
    metadata = NAMED
    if status is not Status.RUNNING:
        metadata = structs.replace(NAMED, status=status, output=output, failure=failure)
    await provider.ack_orchestration_item(
        (await take(provider)).lock_token, structs.replace(first_turn(event), metadata=metadata)
    )
    (execution,) = await provider.list_executions("i")
    assert execution == await provider.get_execution_info("i", FIRST_EXECUTION)
    assert (execution.execution_id, execution.event_count) == (FIRST_EXECUTION, 2)
    assert (execution.status, execution.output, execution.failure) == (status, output, failure)
    assert (execution.completed_at_ms is None) is (status is Status.RUNNING)
