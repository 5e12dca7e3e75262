"""Are the executions of an instance kept apart, and is the newest one current?"""

from engine.model.events import AnyEvent
from engine.model.messages import ContinueInstance
from engine.model.turn import TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    EMPTY_OBJECT,
    INCARNATION,
    create_instance,
    first_turn,
    ids,
    raise_event,
    start_item,
    started_event,
    take,
    text_event,
)


async def _next_turn(provider: FullProvider, execution_id: int, *events: AnyEvent) -> None:
    """A turn of `instance-A`, which exists, in `execution_id`."""
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, TurnResult(execution_id=execution_id, history_delta=events))


async def test_execution_isolation(factory: ProviderFactory) -> None:
    """Three events of the first execution and two of the second are never mixed; `read` shows the second."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, first_turn(text_event(2, "a"), text_event(3, "b")))
    await _next_turn(provider, 2, started_event(), text_event(2, "c"))
    first = [started_event(), text_event(2, "a"), text_event(3, "b")]
    second = [started_event(), text_event(2, "c")]
    assert list(await provider.read_with_execution("instance-A", 1)) == first
    assert list(await provider.read_with_execution("instance-A", 2)) == second
    assert list(await provider.read("instance-A")) == second


async def test_latest_execution_detection(factory: ProviderFactory) -> None:
    """`read` is the newest execution's history; the one before keeps its own."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, first_turn(text_event(2, "A")))
    await _next_turn(provider, 2, text_event(1, "B"))
    assert list(await provider.read("instance-A")) == [text_event(1, "B")]
    assert list(await provider.read_with_execution("instance-A", 1)) == [started_event(), text_event(2, "A")]
    assert [execution.execution_id for execution in await provider.list_executions("instance-A")] == [1, 2]


async def test_execution_id_sequencing(factory: ProviderFactory) -> None:
    """A fetch tells the current execution; the turn that says 2 makes it 2."""
    provider = await factory.create_provider()
    assert (await create_instance(provider, "instance-A")).execution_id == 1
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    item = await take(provider)
    assert item.execution_id == 1
    await provider.ack_orchestration_item(item.lock_token, TurnResult(execution_id=2, history_delta=(started_event(),)))
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go on"))
    again = await take(provider)
    assert again.execution_id == 2
    assert ids(again.history.load()) == [1]


async def test_continue_as_new_creates_new_execution(factory: ProviderFactory) -> None:
    """The message to continue is fetched under the old execution, and its turn makes the next one current."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    go_on = ContinueInstance(instance="instance-A", incarnation=INCARNATION, name="TestOrch", input=EMPTY_OBJECT)
    await provider.enqueue_for_orchestrator(go_on)
    item = await take(provider)
    assert (item.execution_id, item.messages) == (1, (go_on,))
    await provider.ack_orchestration_item(item.lock_token, TurnResult(execution_id=2, history_delta=(started_event(),)))
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert info.current_execution_id == 2


async def test_execution_history_persistence(factory: ProviderFactory) -> None:
    """Three executions each keep their own event, for ever."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await _next_turn(provider, 2, text_event(1, "second"))
    await _next_turn(provider, 3, text_event(1, "third"))
    assert list(await provider.read_with_execution("instance-A", 1)) == [started_event()]
    assert list(await provider.read_with_execution("instance-A", 2)) == [text_event(1, "second")]
    assert list(await provider.read_with_execution("instance-A", 3)) == [text_event(1, "third")]
    assert list(await provider.read("instance-A")) == [text_event(1, "third")]
