"""How do the tests of the suite put something under a key, and how do they see what is there?"""

from collections.abc import Mapping

from engine.model.key_values import KeyValue, KeyValueChange
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.testing.conformance.factory import FullProvider
from engine.testing.conformance.given import raise_event, take

A = "instance-A"

CLEAR_ALL = KeyValueChange()


def put(key: str, data: bytes) -> KeyValueChange:
    """`key` has `data` from now on."""
    return KeyValueChange(key, Payload(data))


def clear(key: str) -> KeyValueChange:
    """There is nothing under `key` any more."""
    return KeyValueChange(key)


def data_of(kept: Mapping[str, KeyValue]) -> dict[str, bytes]:
    """The bytes alone, by key."""
    return {key: each.value.data for key, each in kept.items()}


async def act(
    provider: FullProvider, *changes: KeyValueChange, instance: str = A, status: Status | None = None
) -> dict[str, bytes]:
    """One more turn of the current execution, which makes `changes`. Returns the snapshot that it was given."""
    return await _turn(provider, changes, instance, status, executions_further=0)


async def begin_next(provider: FullProvider, *changes: KeyValueChange, instance: str = A) -> dict[str, bytes]:
    """The first turn of the next execution, which makes `changes`. Returns its snapshot."""
    return await _turn(provider, changes, instance, None, executions_further=1)


async def go_on(provider: FullProvider, *changes: KeyValueChange, instance: str = A) -> dict[str, bytes]:
    """A last turn of the current execution, which changes nothing, and then as `begin_next`."""
    await act(provider, instance=instance, status=Status.CONTINUED_AS_NEW)
    return await begin_next(provider, *changes, instance=instance)


async def _turn(
    provider: FullProvider,
    changes: tuple[KeyValueChange, ...],
    instance: str,
    status: Status | None,
    executions_further: int,
) -> dict[str, bytes]:
    await provider.enqueue_for_orchestrator(raise_event(instance, "go"))
    item = await take(provider)
    assert item.instance == instance, f"expected {instance}, but {item.instance} had a message too"
    snapshot = data_of(item.history.key_values())
    result = TurnResult(
        execution_id=item.execution_id + executions_further,
        metadata=ExecutionMetadata(status=status),
        key_values=changes,
    )
    await provider.ack_orchestration_item(item.lock_token, result)
    return snapshot


async def snapshot_of(provider: FullProvider, instance: str = A) -> dict[str, bytes]:
    """What a fetch shows of the keys; a turn that changes nothing."""
    return await act(provider, instance=instance)


async def shown(provider: FullProvider, instance: str = A) -> dict[str, bytes]:
    """What queries show of the keys. The query for all of them and the one for each must agree."""
    kept = await provider.get_key_values(instance)
    for key, each in kept.items():
        assert await provider.get_key_value(instance, key) == each, f"expected the same under {key!r} from both queries"
    return data_of(kept)
