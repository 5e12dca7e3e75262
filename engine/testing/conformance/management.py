"""Can an operator list, look and count?"""

from msgspec import structs

from engine.model.events import CarriedMessage
from engine.model.payload import Payload
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.testing.conformance.factory import FullProvider, ProviderFactory
from engine.testing.conformance.given import (
    INCARNATION,
    create_instance,
    end_instance,
    first_turn,
    raise_event,
    start_item,
    started_event,
    take,
    text_event,
)
from engine.testing.conformance.given_keys import A, act, clear, go_on, put

NAMES = ("instance-A", "instance-B", "instance-C")


async def test_list_instances(factory: ProviderFactory) -> None:
    """All three that were created."""
    provider = await factory.create_provider()
    assert list(await provider.list_instances()) == []
    for instance in NAMES:
        await create_instance(provider, instance)
    assert [info.instance for info in await provider.list_instances()] == list(NAMES)


async def test_list_instances_by_status(factory: ProviderFactory) -> None:
    """The one that completed, and the two that run."""
    provider = await factory.create_provider()
    for instance in NAMES:
        await create_instance(provider, instance)
    await end_instance(provider, "instance-B")
    assert [info.instance for info in await provider.list_instances(status=Status.COMPLETED)] == ["instance-B"]
    assert [info.instance for info in await provider.list_instances(status=Status.RUNNING)] == [NAMES[0], NAMES[2]]


async def test_list_executions(factory: ProviderFactory) -> None:
    """The first one."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    assert [each.execution_id for each in await provider.list_executions("instance-A")] == [1]


async def test_get_instance_info(factory: ProviderFactory) -> None:
    """Id, name, version and execution, as its first turn says."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    named = ExecutionMetadata(orchestration_name="Named", orchestration_version="2.0.0", incarnation=INCARNATION)
    first = TurnResult(execution_id=1, history_delta=(started_event(),), metadata=named)
    await provider.ack_orchestration_item((await take(provider)).lock_token, first)
    info = await provider.get_instance_info("instance-A")
    assert info is not None
    assert (info.instance, info.orchestration_name, info.orchestration_version) == ("instance-A", "Named", "2.0.0")
    assert info.current_execution_id == 1


async def test_get_execution_info(factory: ProviderFactory) -> None:
    """Status and output of the one asked for; None for one that is not there, and for nobody's."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "end"))
    done = ExecutionMetadata(status=Status.COMPLETED, output=Payload(b'"result"'))
    await provider.ack_orchestration_item((await take(provider)).lock_token, TurnResult(execution_id=1, metadata=done))
    execution = await provider.get_execution_info("instance-A", 1)
    assert execution is not None
    assert (execution.instance, execution.execution_id) == ("instance-A", 1)
    assert (execution.status, execution.output) == (Status.COMPLETED, Payload(b'"result"'))
    assert await provider.get_execution_info("instance-A", 2) is None
    assert await provider.get_execution_info("nobody", 1) is None


async def test_get_system_metrics(factory: ProviderFactory) -> None:
    """Instances by status, executions and events grow with what happens."""
    provider = await factory.create_provider()
    empty = await provider.get_system_metrics()
    assert (empty.instances, empty.executions, empty.events, empty.by_status) == (0, 0, 0, {})
    for instance in NAMES:
        await create_instance(provider, instance)
    await end_instance(provider, "instance-A")
    await end_instance(provider, "instance-B", Status.CONTINUED_AS_NEW)
    await provider.enqueue_for_orchestrator(raise_event("instance-B", "go on"))
    begun = TurnResult(execution_id=2, history_delta=(started_event(), text_event(2, "more")))
    await provider.ack_orchestration_item((await take(provider)).lock_token, begun)
    metrics = await provider.get_system_metrics()
    assert (metrics.instances, metrics.executions, metrics.events) == (3, 4, 5)
    assert metrics.by_status == {Status.RUNNING: 2, Status.COMPLETED: 1}


async def test_get_queue_depths(factory: ProviderFactory) -> None:
    """What is sent shows in them."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    await provider.enqueue_for_orchestrator(start_item("instance-B"))
    assert (await provider.get_queue_depths()).orchestrator_queue == 2


async def test_get_instance_stats_nonexistent(factory: ProviderFactory) -> None:
    """None, and None while only its start waits."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    assert await provider.get_instance_stats("nobody") is None
    assert await provider.get_instance_stats("instance-A") is None


async def test_get_instance_stats_history(factory: ProviderFactory) -> None:
    """Number and size of the events of the current execution; nothing was handed on to it."""
    provider = await factory.create_provider()
    await create_instance(provider, "instance-A")
    small = await provider.get_instance_stats("instance-A")
    assert small is not None
    assert (small.history_events, small.queue_pending) == (1, 0)
    assert small.history_bytes > 0
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go"))
    more = TurnResult(execution_id=1, history_delta=(text_event(2, "x" * 10_000),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, more)
    large = await provider.get_instance_stats("instance-A")
    assert large is not None
    assert (large.history_events, large.queue_pending) == (2, 0)
    assert large.history_bytes >= small.history_bytes + 10_000
    await provider.enqueue_for_orchestrator(raise_event("instance-A", "go on"))
    begun = TurnResult(execution_id=2, history_delta=(started_event(),))
    await provider.ack_orchestration_item((await take(provider)).lock_token, begun)
    assert await provider.get_instance_stats("instance-A") == small


async def _keys_and_bytes(provider: FullProvider) -> tuple[int, int]:
    """How many keys the statistics of `instance-A` count, and how many bytes there."""
    stats = await provider.get_instance_stats(A)
    assert stats is not None
    return stats.keys, stats.key_value_bytes


async def test_get_instance_stats_kv(factory: ProviderFactory) -> None:
    """Two keys of an execution that has ended, and the bytes of their values alone: 3 and 5."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    assert await _keys_and_bytes(provider) == (0, 0)
    await act(provider, put("a long key", b"123"), put("key", b"12345"))
    await act(provider, status=Status.COMPLETED)
    assert await _keys_and_bytes(provider) == (2, 8)


async def test_get_instance_stats_kv_delta_only(factory: ProviderFactory) -> None:
    """What the current execution has put counts at once; what it cleared again does not."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"1234"), put("b", b"12345"), put("c", b"123456"))
    await act(provider, clear("c"))
    assert await _keys_and_bytes(provider) == (2, 9)


async def test_get_instance_stats_kv_merged(factory: ProviderFactory) -> None:
    """A key in both layers counts once, with its newer value; one that is cleared does not count."""
    provider = await factory.create_provider()
    await create_instance(provider, A)
    await act(provider, put("a", b"12345"))
    assert await _keys_and_bytes(provider) == (1, 5)
    await go_on(provider, put("a", b"123"), put("b", b"1234"))
    assert await _keys_and_bytes(provider) == (2, 7)
    await act(provider, status=Status.COMPLETED)
    assert await _keys_and_bytes(provider) == (2, 7)
    await act(provider, clear("a"))
    assert await _keys_and_bytes(provider) == (1, 4)


async def test_get_instance_stats_carry_forward(factory: ProviderFactory) -> None:
    """Three messages that the execution before handed on."""
    provider = await factory.create_provider()
    await provider.enqueue_for_orchestrator(start_item("instance-A"))
    carried = tuple(CarriedMessage(name="lines", data=Payload(b"%d" % number)) for number in range(3))
    started = structs.replace(started_event(), carried=carried)
    first = structs.replace(first_turn(), history_delta=(started,))
    await provider.ack_orchestration_item((await take(provider)).lock_token, first)
    stats = await provider.get_instance_stats("instance-A")
    assert stats is not None
    assert (stats.history_events, stats.queue_pending) == (1, 3)
