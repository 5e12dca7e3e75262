"""Ours: does an instance that had ended begin anew as another, and is it known what a start came to?"""

from msgspec import structs

from engine.model.events import OrchestrationStarted
from engine.model.key_values import KeyValueChange
from engine.model.payload import NULL, Payload
from engine.model.status import Status
from engine.model.turn import Disposition, ExecutionMetadata, TurnResult
from engine.model.views import InstanceInfo
from engine.port import Provider
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import FAILURE, queue_message, raise_event, start_item, take, turn

INSTANCE = "instance-A"


def begins(execution_id: int, incarnation: int, **metadata: object) -> TurnResult:
    """A first turn of an execution."""
    started = OrchestrationStarted(
        event_id=1, timestamp_ms=0, name="TestOrch", version="1.0.0", input=NULL, incarnation=incarnation
    )
    return TurnResult(
        execution_id=execution_id,
        history_delta=(started,),
        metadata=structs.replace(
            ExecutionMetadata(
                status=Status.RUNNING,
                orchestration_name="TestOrch",
                orchestration_version="1.0.0",
                incarnation=incarnation,
            ),
            **metadata,
        ),
    )


async def seen(provider: FullProvider) -> InstanceInfo:
    """The instance, which must be there."""
    info = await provider.get_instance_info(INSTANCE)
    assert info is not None
    return info


async def live_and_end(provider: FullProvider) -> None:
    """One life that keeps, shows and ends with something."""
    await provider.enqueue_for_orchestrator(structs.replace(start_item(INSTANCE), message_id="first"))
    item = await take(provider)
    result = begins(1, 7, start_id="first", parent_instance="parent", set_custom_status=True, custom_status="shown")
    kept = (KeyValueChange("kept", Payload(b"1")),)
    await provider.ack_orchestration_item(item.lock_token, structs.replace(result, key_values=kept))
    metadata = ExecutionMetadata(status=Status.FAILED, failure=FAILURE)
    changed = (KeyValueChange("changed", Payload(b"2")),)
    await acked(provider, structs.replace(turn(), metadata=metadata, key_values=changed))


async def acked(provider: Provider, result: TurnResult) -> None:
    """One more turn, of whatever message."""
    await provider.enqueue_for_orchestrator(raise_event(INSTANCE, "go"))
    item = await take(provider)
    await provider.ack_orchestration_item(item.lock_token, result)


async def test_a_new_life_has_nothing_of_the_one_before(factory: ProviderFactory) -> None:
    """Neither what it kept and showed, nor its parent and its end; its history is kept."""
    provider = await factory.create_provider()
    await live_and_end(provider)
    before = await provider.read(INSTANCE)
    await acked(provider, begins(2, 8, new_life=True, start_id="second"))
    info = await seen(provider)
    assert (info.status, info.current_execution_id, info.incarnation) == (Status.RUNNING, 2, 8)
    assert (info.output, info.failure, info.custom_status, info.parent_instance) == (None, None, None, None)
    assert await provider.get_key_values(INSTANCE) == {}
    assert await provider.get_key_value(INSTANCE, "kept") is None
    await provider.enqueue_for_orchestrator(raise_event(INSTANCE, "look"))
    item = await take(provider)
    assert item.history.key_values() == {}
    assert (item.execution_id, item.incarnation) == (2, 8)
    assert await provider.read_with_execution(INSTANCE, 1) == before
    assert [one.status for one in await provider.list_executions(INSTANCE)] == [Status.FAILED, Status.RUNNING]


async def test_a_new_life_keeps_what_its_first_turn_puts_there(factory: ProviderFactory) -> None:
    """What the life before had left goes before the turn's own changes, not after them."""
    provider = await factory.create_provider()
    await live_and_end(provider)
    changes = (KeyValueChange("kept", Payload(b"3")), KeyValueChange("new", Payload(b"4")))
    shown = begins(2, 8, new_life=True, set_custom_status=True, custom_status="anew", parent_instance="other")
    await acked(provider, structs.replace(shown, key_values=changes))
    kept = await provider.get_key_values(INSTANCE)
    assert {key: each.value.data for key, each in kept.items()} == {"kept": b"3", "new": b"4"}
    info = await seen(provider)
    assert (info.custom_status, info.parent_instance, info.start_id) == ("anew", "other", None)


async def test_the_start_of_a_life_is_known_as_long_as_it_lasts(factory: ProviderFactory) -> None:
    """Over its executions too; the next life has another, or none."""
    provider = await factory.create_provider()
    await live_and_end(provider)
    assert (await seen(provider)).start_id == "first"
    await acked(provider, begins(2, 7))
    assert (await seen(provider)).start_id == "first"
    await acked(provider, begins(3, 8, new_life=True, start_id="second"))
    assert (await seen(provider)).start_id == "second"
    assert [one.start_id for one in await provider.list_instances()] == ["second"]
    await acked(provider, begins(4, 9, new_life=True))
    assert (await seen(provider)).start_id is None


async def test_what_a_turn_has_consumed_is_known(factory: ProviderFactory) -> None:
    """Not before its turn is committed, whatever came of it, and of that instance alone."""
    provider = await factory.create_provider()
    await live_and_end(provider)
    assert await provider.has_consumed(INSTANCE, "first")
    assert not await provider.has_consumed("instance-B", "first")
    refused = structs.replace(start_item(INSTANCE), message_id="second")
    await provider.enqueue_for_orchestrator(refused)
    await provider.enqueue_for_orchestrator(structs.replace(queue_message(INSTANCE, "one"), message_id="third"))
    assert not await provider.has_consumed(INSTANCE, "second")
    item = await take(provider)
    assert not await provider.has_consumed(INSTANCE, "second")
    result = structs.replace(turn(), dispositions=(Disposition.DUPLICATE, Disposition.STALE))
    await provider.ack_orchestration_item(item.lock_token, result)
    assert await provider.has_consumed(INSTANCE, "second")
    assert await provider.has_consumed(INSTANCE, "third")
    await provider.delete_instance(INSTANCE, force=True)
    assert not await provider.has_consumed(INSTANCE, "second")
