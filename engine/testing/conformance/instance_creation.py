"""When does an instance come to be? With its first committed turn, never with a message."""

from engine.model.ids import ParentLink
from engine.model.messages import StartOrchestration
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.testing.conformance.factory import ProviderFactory
from engine.testing.conformance.given import (
    EMPTY_OBJECT,
    INCARNATION,
    create_instance,
    raise_event,
    start_item,
    started_event,
    take,
)


def _named(version: str, parent_instance: str | None = None) -> TurnResult:
    metadata = ExecutionMetadata(
        orchestration_name="TestOrch",
        orchestration_version=version,
        incarnation=INCARNATION,
        parent_instance=parent_instance,
    )
    return TurnResult(execution_id=1, history_delta=(started_event(),), metadata=metadata)


async def test_instance_creation_via_metadata(factory: ProviderFactory) -> None:
    """The start message lends its name to the first fetch; from the first turn on, the turn's metadata count."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    assert (item.instance, item.orchestration_name, item.version) == ("instance-A", "TestOrch", "1.0.0")
    assert (item.execution_id, item.incarnation, item.status) == (1, None, None)
    assert (item.history.last_event_id, list(item.history.load())) == (0, [])

    await provider.ack_orchestration_item(item.lock_token, _named("2.0.0"))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    again = await take(provider)
    assert (again.orchestration_name, again.version, again.incarnation) == ("TestOrch", "2.0.0", INCARNATION)
    assert (again.history.last_event_id, list(again.history.load())) == (1, [started_event()])


async def test_no_instance_creation_on_enqueue(factory: ProviderFactory) -> None:
    """A start that nobody processed leaves no instance, yet it can be fetched."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert await provider.get_instance_info("instance-A") is None
    assert list(await provider.list_instances()) == []
    assert (await take(provider)).instance == "instance-A"
    assert await provider.get_instance_info("instance-A") is None


async def test_null_version_handling(factory: ProviderFactory) -> None:
    """A start without a version is fetched as "unknown"; the turn says which version it became."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(
        StartOrchestration(instance="instance-A", name="TestOrch", version=None, input=EMPTY_OBJECT)
    )
    item = await take(provider)
    assert (item.orchestration_name, item.version) == ("TestOrch", "unknown")
    await provider.ack_orchestration_item(item.lock_token, _named("3.0.0"))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    assert (await take(provider)).version == "3.0.0"


async def test_sub_orchestration_instance_creation(factory: ProviderFactory) -> None:
    """A child is an instance like any other: not before its own first turn, and then with its parent's id."""
    provider = await factory.create_provider()
    await create_instance(provider, "parent-instance")
    link = ParentLink(instance="parent-instance", incarnation=INCARNATION, execution_id=1, event_id=2)
    await provider.enqueue_for_orchestrator(
        StartOrchestration(
            instance="parent-instance::child-instance", name="ChildOrch", input=EMPTY_OBJECT, parent=link
        )
    )
    assert await provider.get_instance_info("parent-instance::child-instance") is None
    item = await take(provider)
    assert item.instance == "parent-instance::child-instance"
    await provider.ack_orchestration_item(item.lock_token, _named("1.5.0", parent_instance="parent-instance"))
    info = await provider.get_instance_info("parent-instance::child-instance")
    assert info is not None
    assert (info.orchestration_version, info.parent_instance) == ("1.5.0", "parent-instance")
