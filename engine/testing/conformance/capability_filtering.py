"""Upstream's capability_filtering: does an engine get the executions whose rules it knows, and no others?

Upstream's filter is a list of version ranges, of which its providers use the first. Here it is one range, and nothing
where upstream says a list without any is a range without any version.
"""

import anyio

from engine.model.events import OrchestrationFailed
from engine.model.failure import Category, Failure
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import EngineVersion, VersionRange
from engine.port import OrchestrationItem
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    AT_MS,
    INCARNATION,
    LOCK_MS,
    create_instance,
    nothing_to_take,
    raise_event,
    start_item,
    started_event,
    take,
    text_event,
    turn,
)

V1, V2, V99 = EngineVersion(1, 0, 0), EngineVersion(2, 0, 0), EngineVersion(99, 0, 0)
ONLY_V1 = VersionRange(EngineVersion(1, 0, 0), EngineVersion(1, 9, 99))
ONLY_V2 = VersionRange(EngineVersion(2, 0, 0), EngineVersion(2, 9, 99))
NO_VERSION = VersionRange(V2, V1)


def _pinned_turn(pin: EngineVersion | None, *, execution_id: int = 1) -> TurnResult:
    """The first turn of an execution with this pin."""
    metadata = ExecutionMetadata(
        orchestration_name="TestOrch",
        orchestration_version="1.0.0",
        incarnation=INCARNATION,
        pinned_version=pin,
    )
    return TurnResult(execution_id=execution_id, history_delta=(started_event(),), metadata=metadata)


async def _create(provider: FullProvider, instance: str, pin: EngineVersion | None) -> None:
    """An instance with this pin, which has a message."""
    await provider.enqueue_for_orchestrator(start_item(instance))
    item = await take(provider)
    assert item.instance == instance, f"expected {instance}, but {item.instance} had a message too"
    await provider.ack_orchestration_item(item.lock_token, _pinned_turn(pin))
    await provider.enqueue_for_orchestrator(raise_event(instance, "go"))


async def _turn_of(provider: FullProvider, item: OrchestrationItem, result: TurnResult) -> None:
    """Commit the turn, and let the instance have another message."""
    await provider.ack_orchestration_item(item.lock_token, result)
    await provider.enqueue_for_orchestrator(raise_event(item.instance, "go on"))


async def _pin_of(provider: FullProvider, instance: str) -> EngineVersion | None:
    info = await provider.get_instance_info(instance)
    assert info is not None
    return info.pinned_version


async def test_fetch_with_filter_none_returns_any_item(factory: ProviderFactory) -> None:
    """Who names no versions gets every one, as if there were no pins."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V99)
    assert (await take(provider)).instance == "instance-A"


async def test_fetch_with_compatible_filter_returns_item(factory: ProviderFactory) -> None:
    """With its messages and its history."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    item = await take(provider, pins=ONLY_V1)
    assert item.messages == (raise_event("instance-A", "go"),)
    assert list(item.history.load()) == [started_event()]


async def test_fetch_with_incompatible_filter_skips_item(factory: ProviderFactory) -> None:
    """Whose rules are not known is not returned, however often one asks; it stays there for who knows them."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    assert await nothing_to_take(provider, ONLY_V2)
    assert await nothing_to_take(provider, ONLY_V2)
    assert (await take(provider)).attempt_count == 1


async def test_fetch_filter_skips_incompatible_selects_compatible(factory: ProviderFactory) -> None:
    """Each gets its own, also where the other's is older."""
    provider = await factory.create_provider()
    await _create(provider, "instance-1", V1)
    await provider.enqueue_for_orchestrator(start_item("instance-2"))
    second = next(
        item for item in await provider.fetch_orchestration_items(2, LOCK_MS, 0) if item.instance == "instance-2"
    )
    await _turn_of(provider, second, _pinned_turn(V2))
    await factory.advance(LOCK_MS + 1)  # the first one was locked on the way
    assert (await take(provider, pins=ONLY_V2)).instance == "instance-2"
    assert (await take(provider, pins=ONLY_V1)).instance == "instance-1"


async def test_fetch_filter_does_not_lock_skipped_instances(factory: ProviderFactory) -> None:
    """Who was passed over is there for others at once, without an attempt more."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    assert await nothing_to_take(provider, ONLY_V2)
    assert await factory.max_attempt_count(provider, "instance-A") == 0
    assert (await take(provider, pins=ONLY_V1)).attempt_count == 1


async def test_fetch_filter_null_pinned_version_always_compatible(factory: ProviderFactory) -> None:
    """An execution without a pin is for every engine, and so is an instance that does not exist yet."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider, pins=ONLY_V2)
    await _turn_of(provider, item, _pinned_turn(None))
    assert (await take(provider, pins=ONLY_V1)).instance == "instance-A"


async def test_fetch_filter_boundary_versions(factory: ProviderFactory) -> None:
    """Both ends of a range are in it, and what is next to them is not."""
    provider = await factory.create_provider()
    for pin, is_in in (
        (EngineVersion(0, 99, 99), False),
        (ONLY_V1.first, True),
        (EngineVersion(1, 5, 7), True),
        (ONLY_V1.last, True),
        (EngineVersion(1, 10, 0), False),
        (EngineVersion(2, 0, 0), False),
    ):
        instance = f"instance-{pin}"
        await _create(provider, instance, pin)
        item = await provider.fetch_orchestration_item(LOCK_MS, 0, ONLY_V1)
        assert (item is not None) == is_in, f"expected {pin} to be {'in' if is_in else 'out of'} the range"
        unfiltered = item or await take(provider)
        assert unfiltered.instance == instance
        await provider.ack_orchestration_item(unfiltered.lock_token, turn())


async def test_pinned_version_stored_via_ack_metadata(factory: ProviderFactory) -> None:
    """The pin comes from the turn's metadata: the provider need not understand events."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", EngineVersion(1, 2, 3))
    assert await _pin_of(provider, "instance-A") == EngineVersion(1, 2, 3)
    exactly = VersionRange(EngineVersion(1, 2, 3), EngineVersion(1, 2, 3))
    assert (await take(provider, pins=exactly)).instance == "instance-A"


async def test_pinned_version_immutable_across_ack_cycles(factory: ProviderFactory) -> None:
    """A turn that does not say a pin leaves it."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    item = await take(provider, pins=ONLY_V1)
    await _turn_of(provider, item, turn(text_event(2, "an event")))
    assert await _pin_of(provider, "instance-A") == V1
    assert await nothing_to_take(provider, ONLY_V2)
    assert (await take(provider, pins=ONLY_V1)).instance == "instance-A"


async def test_continue_as_new_execution_gets_own_pinned_version(factory: ProviderFactory) -> None:
    """The next execution is run by the rules of the engine that began it, and by any that say nothing."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    item = await take(provider, pins=ONLY_V1)
    await _turn_of(provider, item, _pinned_turn(V2, execution_id=2))
    assert await nothing_to_take(provider, ONLY_V1)
    item = await take(provider, pins=ONLY_V2)
    await _turn_of(provider, item, _pinned_turn(None, execution_id=3))
    assert await _pin_of(provider, "instance-A") is None
    assert (await take(provider, pins=ONLY_V1)).execution_id == 3


async def test_filter_with_empty_supported_versions_returns_nothing(factory: ProviderFactory) -> None:
    """Who can run no version gets nothing, not even what has no pin or does not exist yet."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    assert await nothing_to_take(provider, NO_VERSION)
    await provider.ack_orchestration_item((await take(provider)).lock_token, _pinned_turn(None, execution_id=2))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    assert await nothing_to_take(provider, NO_VERSION)
    await take(provider)
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    assert await nothing_to_take(provider, NO_VERSION)
    assert (await take(provider)).instance == "instance-B"


async def test_concurrent_filtered_fetch_no_double_lock(factory: ProviderFactory) -> None:
    """Of several that ask for the same versions at once, one gets it."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    items: list[OrchestrationItem | None] = []

    async def fetch() -> None:
        items.append(await provider.fetch_orchestration_item(LOCK_MS, 0, ONLY_V1))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(fetch)
    assert sum(item is not None for item in items) == 1


async def test_ack_stores_pinned_version_via_metadata_update(factory: ProviderFactory) -> None:
    """An execution that began without a pin can get one from a later turn."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider, pins=ONLY_V2)
    await _turn_of(provider, item, TurnResult(execution_id=1, metadata=ExecutionMetadata(pinned_version=V1)))
    assert await nothing_to_take(provider, ONLY_V2)
    assert (await take(provider, pins=ONLY_V1)).instance == "instance-A"


async def test_provider_updates_pinned_version_when_told(factory: ProviderFactory) -> None:
    """A pin is the engine's to change: the provider does as it is told."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    item = await take(provider, pins=ONLY_V1)
    await _turn_of(provider, item, TurnResult(execution_id=1, metadata=ExecutionMetadata(pinned_version=V2)))
    assert await nothing_to_take(provider, ONLY_V1)
    assert (await take(provider, pins=ONLY_V2)).instance == "instance-A"


async def test_fetch_corrupted_history_filtered_vs_unfiltered(factory: ProviderFactory) -> None:
    """Passed over, a history that cannot be read troubles nobody; fetched, the item says so and is locked."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V99)
    await factory.corrupt_instance_history(provider, "instance-A")
    assert await nothing_to_take(provider, ONLY_V1)
    item = await take(provider)
    assert item.history_error is not None
    assert await nothing_to_take(provider)


async def test_fetch_deserialization_error_increments_attempt_count(factory: ProviderFactory) -> None:
    """A fetch whose history cannot be read is an attempt like another."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    await factory.corrupt_instance_history(provider, "instance-A")
    for _ in range(2):
        item = await take(provider, pins=ONLY_V1)
        assert item.history_error is not None
        await provider.abandon_orchestration_item(item.lock_token)
    assert await factory.max_attempt_count(provider, "instance-A") == 2


async def test_fetch_deserialization_error_eventually_reaches_poison(factory: ProviderFactory) -> None:
    """The attempts grow until the engine gives the instance up, whether they end by abandon or by expiry."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    await factory.corrupt_instance_history(provider, "instance-A")
    counts: list[int] = []
    for attempt in range(6):
        item = await take(provider, factory.lock_timeout_ms, ONLY_V1)
        counts.append(item.attempt_count)
        if attempt % 2:
            await factory.advance(factory.lock_timeout_ms + 1)
        else:
            await provider.abandon_orchestration_item(item.lock_token)
    assert counts == [1, 2, 3, 4, 5, 6]


async def test_fetch_filter_applied_before_history_deserialization(factory: ProviderFactory) -> None:
    """What is behind a history that cannot be read and is not asked for comes at once."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V99)
    await factory.corrupt_instance_history(provider, "instance-A")
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    item = await take(provider, pins=ONLY_V1)
    assert (item.instance, item.history_error) == ("instance-B", None)
    assert await factory.max_attempt_count(provider, "instance-A") == 0


async def test_fetch_single_range_only_uses_first_range(factory: ProviderFactory) -> None:
    """A filter is one range, so that one comparison decides; a second range is a second engine's."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V2)
    assert await nothing_to_take(provider, ONLY_V1)
    assert (await take(provider, pins=ONLY_V2)).instance == "instance-A"


async def test_ack_appends_event_to_corrupted_history(factory: ProviderFactory) -> None:
    """The engine can end an instance whose history it cannot read: an ack reads no stored event."""
    provider = await factory.create_provider()
    await _create(provider, "instance-A", V1)
    await factory.corrupt_instance_history(provider, "instance-A")
    item = await take(provider, pins=ONLY_V1)
    failure = Failure(category=Category.POISON, type="Poison", message="the history cannot be read", retryable=False)
    failed = OrchestrationFailed(event_id=99_999, timestamp_ms=AT_MS, failure=failure)
    metadata = ExecutionMetadata(status=Status.FAILED, failure=failure)
    await provider.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=(failed,), metadata=metadata)
    )
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert info.status is Status.FAILED
    assert info.failure is not None
    assert "cannot be read" in info.failure.message
