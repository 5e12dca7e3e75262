"""Does a client see over HTTP what it would see in process?"""

import socket
from collections.abc import AsyncGenerator, Sequence

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from engine.clock import ManualClock, SystemClock
from engine.errors import InstanceExists, OwnershipLost, Refused, Retryable, Unreachable, UsageError
from engine.model.events import OrchestrationCompleted, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.ids import ParentLink
from engine.model.key_values import KeyValue, KeyValueChange
from engine.model.messages import (
    AnyMessage,
    CancelInstance,
    CompleteActivity,
    EnqueueMessage,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.payload import NULL, Payload
from engine.model.policies import ReusePolicy
from engine.model.removal import InstanceFilter, PrunedCounts, PruneOptions
from engine.model.status import Status
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.views import InstanceInfo
from engine.model.work import WorkItem
from provider_log.server import shapes
from provider_log.server.address import Address, parse_address
from provider_log.server.app import create_app
from provider_log.server.listener import address_of, bind, serving
from provider_log.server.remote import PATIENCE_MS, RemoteProvider
from tests.unit.provider_log.served import ServedMemory

ODD_ID = "orders/2026::sub::3 100%?#€"
ROOT_ID = "orders/2026 100%?#€"


@pytest.fixture
def served() -> ServedMemory:
    return ServedMemory(ManualClock())


@pytest.fixture
async def remote(served: ServedMemory) -> AsyncGenerator[RemoteProvider]:
    async with RemoteProvider(transport=httpx.ASGITransport(create_app(served))) as provider:
        yield provider


async def run_to_the_end(served: ServedMemory, instance: str, status: Status = Status.COMPLETED) -> None:
    """One turn that starts `instance` and ends it with an output only a codec can read."""
    await served.enqueue_for_orchestrator(StartOrchestration(instance=instance, name="ship", input=NULL))
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    output = Payload(b"\x00", codecs=("zstd",))
    started = OrchestrationStarted(
        event_id=1, timestamp_ms=item.now_ms, name="ship", version="1.0", input=NULL, incarnation=1
    )
    done = OrchestrationCompleted(event_id=2, timestamp_ms=item.now_ms, output=output)
    metadata = ExecutionMetadata(status=status, output=output, orchestration_name="ship", orchestration_version="1.0")
    await served.ack_orchestration_item(
        item.lock_token, TurnResult(execution_id=1, history_delta=(started, done), metadata=metadata)
    )


@pytest.mark.parametrize(
    "message",
    [
        StartOrchestration(
            instance="orders/2026 100%?#€",
            name="ship",
            input=Payload(b'{"a": 1.50}'),
            version="2.0",
            message_id="k",
            traceparent="00-aa-bb-01",
        ),
        StartOrchestration(instance="..", name="ship", input=Payload(b"\x00", codecs=("zstd",), key_id="t7")),
        StartOrchestration(instance="due", name="ship", input=NULL, start_at_ms=1, deadline_ms=2),
        RaiseEvent(instance=ODD_ID, name="paid/card ?", data=Payload(b'{"$payload":1}'), message_id="k"),
        RaiseEvent(instance=".", name="..", data=NULL),
        RaiseEvent(instance="kept", name="e", data=NULL, keep=True),
        EnqueueMessage(instance=ODD_ID, name="lines", data=Payload(b"<x/>", content_type="text/xml")),
        CancelInstance(instance=ODD_ID, reason="", incarnation=4, traceparent="00-aa-bb-01"),
    ],
)
async def test_a_message_arrives_as_it_was_sent(
    remote: RemoteProvider, served: ServedMemory, message: AnyMessage
) -> None:
    if not isinstance(message, StartOrchestration):
        await run_to_the_end(served, message.instance)
    await remote.enqueue_for_orchestrator(message)
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    assert item.messages == (message,)


@pytest.mark.parametrize("policy", [ReusePolicy.REFUSE, ReusePolicy.RESTART_ENDED])
@pytest.mark.parametrize("began", ["mine", "another"])
async def test_a_start_that_says_what_to_do_is_answered_when_it_is_decided(
    remote: RemoteProvider, served: ServedMemory, policy: ReusePolicy, began: str
) -> None:
    start = StartOrchestration(instance="a", name="f", input=NULL, message_id="mine", if_exists=policy)
    answered: list[str] = []

    async def send() -> None:
        try:
            await remote.enqueue_for_orchestrator(start)
            answered.append("begun")
        except InstanceExists as error:
            answered.append(str(error))

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        item = None
        while item is None:
            item = await served.fetch_orchestration_item(1_000, 0)
        assert item.messages == (start,)
        assert answered == []
        assert not await remote.has_consumed("a", "mine")
        metadata = ExecutionMetadata(status=Status.RUNNING, orchestration_name="f", start_id=began)
        await served.ack_orchestration_item(item.lock_token, TurnResult(execution_id=1, metadata=metadata))
    assert await remote.has_consumed("a", "mine")
    told = "expected this start to begin 'a', but it exists and is running: begun by another start"
    assert answered == ["begun" if began == "mine" else told]
    if began == "mine":
        await remote.enqueue_for_orchestrator(start)  # a repeated call is answered at once


@pytest.mark.parametrize(
    ("start", "delay_ms", "says"),
    [
        (StartOrchestration(instance="a", name="f", input=NULL, if_exists=ReusePolicy.REFUSE), 0, "an Idempotency-Key"),
        (
            StartOrchestration(instance="a", name="f", input=NULL, if_exists=ReusePolicy.REFUSE, message_id="k"),
            5,
            "no delay beside if_exists",
        ),
    ],
)
async def test_a_start_whose_answer_nobody_could_give_is_refused(
    remote: RemoteProvider, start: StartOrchestration, delay_ms: int, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        await remote.enqueue_for_orchestrator(start, delay_ms)


async def test_a_delay_is_kept() -> None:
    clock = ManualClock()
    served = ServedMemory(clock)
    async with RemoteProvider(transport=httpx.ASGITransport(create_app(served))) as remote:
        await remote.enqueue_for_orchestrator(StartOrchestration(instance="a", name="f", input=NULL), 500)
    assert await served.fetch_orchestration_item(1_000, 0) is None
    clock.advance(500)
    assert await served.fetch_orchestration_item(1_000, 0) is not None


@pytest.mark.parametrize(
    "message",
    [
        CompleteActivity(instance="a", incarnation=1, execution_id=1, activity_id=2, result=NULL),
        StartOrchestration(instance="a", name="f", input=NULL, parent=ParentLink("p", 1, 1, 2)),
    ],
)
async def test_what_only_the_owner_may_send_is_refused(remote: RemoteProvider, message: AnyMessage) -> None:
    with pytest.raises(Refused, match="expected"):
        await remote.enqueue_for_orchestrator(message)


async def test_work_items_come_from_turns_alone(remote: RemoteProvider) -> None:
    with pytest.raises(Refused, match="expected a turn to schedule 'greet'"):
        await remote.enqueue_for_worker(
            WorkItem(instance="a", incarnation=1, execution_id=1, activity_id=2, name="greet", input=NULL)
        )


async def test_every_look_shows_what_the_provider_shows(remote: RemoteProvider, served: ServedMemory) -> None:
    await run_to_the_end(served, ODD_ID)
    assert await remote.get_instance_info(ODD_ID) == await served.get_instance_info(ODD_ID)
    assert await remote.read(ODD_ID) == await served.read(ODD_ID)
    assert await remote.read_with_execution(ODD_ID, 1) == await served.read_with_execution(ODD_ID, 1)
    assert await remote.read_with_execution(ODD_ID, 0) == ()
    assert await remote.list_executions(ODD_ID) == tuple(await served.list_executions(ODD_ID))
    assert await remote.get_queue_depths() == await served.get_queue_depths()
    assert await remote.get_execution_info(ODD_ID, 1) == await served.get_execution_info(ODD_ID, 1)
    assert await remote.get_instance_stats(ODD_ID) == await served.get_instance_stats(ODD_ID)
    assert await remote.get_system_metrics() == await served.get_system_metrics()
    assert await remote.changed(ODD_ID, 0) == await served.get_instance_info(ODD_ID)
    assert await remote.node_info() == shapes.NodeInfo("shop", 2, {0: "running", 1: "restoring"}, 3)
    assert await remote.digest(1) == await served.digest(1)


async def test_an_unknown_instance_looks_as_the_port_says(remote: RemoteProvider) -> None:
    assert await remote.get_instance_info("nobody") is None
    assert await remote.read("nobody") == ()
    assert await remote.list_executions("nobody") == ()
    assert await remote.get_execution_info("nobody", 1) is None
    assert await remote.get_instance_stats("nobody") is None
    with pytest.raises(Refused, match="nobody"):
        await remote.resume_instance("nobody")
    with pytest.raises(Refused, match="nobody"):
        await remote.suspend_instance("nobody", "a rest")


async def test_a_list_is_fetched_in_as_many_pages_as_it_takes(
    remote: RemoteProvider, served: ServedMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for instance in ("a", "b", "c", "d"):
        await run_to_the_end(served, instance, Status.FAILED if instance == "b" else Status.COMPLETED)
    monkeypatch.setattr(shapes, "LIST_MAX", 1)

    def ids(infos: Sequence[InstanceInfo]) -> list[str]:
        return [info.instance for info in infos]

    assert ids(await remote.list_instances()) == ["a", "b", "c", "d"]
    assert ids(await remote.list_instances(limit=2, after="a")) == ["b", "c"]
    assert ids(await remote.list_instances(status=Status.FAILED)) == ["b"]
    assert ids(await remote.list_instances(name="other")) == []


async def test_keys_are_read(remote: RemoteProvider, served: ServedMemory) -> None:
    await served.enqueue_for_orchestrator(StartOrchestration(instance=ODD_ID, name="ship", input=NULL))
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    odd = Payload(b"\x00", codecs=("zstd",))
    changes = (KeyValueChange("a&b=c/?", odd), KeyValueChange("", Payload(b"1")))
    await served.ack_orchestration_item(item.lock_token, TurnResult(execution_id=1, key_values=changes))
    assert await remote.get_key_values(ODD_ID) == await served.get_key_values(ODD_ID)
    assert (await remote.get_key_value(ODD_ID, "a&b=c/?")) == KeyValue(odd, item.now_ms)
    assert (await remote.get_key_value(ODD_ID, "")) == KeyValue(Payload(b"1"), item.now_ms)
    assert await remote.get_key_value(ODD_ID, "b") is None
    assert (await remote.get_key_value("nobody", "a"), await remote.get_key_values("nobody")) == (None, {})


async def test_a_family_is_shown_pruned_and_deleted(remote: RemoteProvider, served: ServedMemory) -> None:
    child = f"{ROOT_ID}::sub::2"
    for instance in (ROOT_ID, child, f"{child}::sub::3", "other"):
        await run_to_the_end(served, instance)
    assert await remote.get_instance_tree(ROOT_ID) == await served.get_instance_tree(ROOT_ID)
    assert await remote.list_children(ROOT_ID) == [child]
    assert await remote.get_parent_id(ROOT_ID) is None
    assert await remote.prune_executions(ROOT_ID, PruneOptions(keep_last=0)) == PrunedCounts()
    with pytest.raises(Refused, match="is a child"):
        await remote.delete_instance(child, force=True)
    assert (await remote.delete_instance(ROOT_ID)).instances == 3
    assert (await remote.delete_instances_atomic(["other"], force=True)).instances == 1
    assert await served.list_instances() == []


async def test_many_are_deleted_and_pruned_by_a_filter(remote: RemoteProvider, served: ServedMemory) -> None:
    for instance in ("a", "b", "c"):
        await run_to_the_end(served, instance)
    which = InstanceFilter(instances=("a", "b"), limit=1)
    assert await remote.prune_executions_bulk(which, PruneOptions(keep_last=2)) == PrunedCounts()
    assert (await remote.delete_instance_bulk(which)).instances == 1
    assert (await remote.delete_instance_bulk(InstanceFilter(completed_before_ms=0))).instances == 0
    assert [info.instance for info in await served.list_instances()] == ["b", "c"]


async def test_what_may_not_be_removed_is_refused_as_the_port_says(remote: RemoteProvider) -> None:
    assert await remote.list_children("nobody") == ()
    for call in (
        remote.get_parent_id("nobody"),
        remote.get_instance_tree("nobody"),
        remote.delete_instance("nobody"),
        remote.delete_instances_atomic(["nobody"]),
        remote.prune_executions("nobody", PruneOptions()),
    ):
        with pytest.raises(Refused, match="there is none"):
            await call


async def test_a_held_instance_is_resumed(remote: RemoteProvider, served: ServedMemory) -> None:
    await served.enqueue_for_orchestrator(StartOrchestration(instance="a", name="ship", input=NULL))
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    await served.hold_orchestration_item(item.lock_token, Failure(Category.NONDETERMINISM, "Nondeterminism", "moved"))
    with pytest.raises(Refused, match="to be running, but it is held"):
        await remote.suspend_instance("a", "a rest")
    await remote.resume_instance("a")
    with pytest.raises(Refused, match="held"):
        await remote.resume_instance("a")


async def test_an_instance_is_suspended_and_resumed(remote: RemoteProvider, served: ServedMemory) -> None:
    await served.enqueue_for_orchestrator(StartOrchestration(instance="a", name="ship", input=NULL))
    item = await served.fetch_orchestration_item(1_000, 0)
    assert item is not None
    await served.ack_orchestration_item(item.lock_token, TurnResult(execution_id=1))
    await remote.suspend_instance("a", "a rest")
    info = await remote.get_instance_info("a")
    assert info is not None
    assert (info.status, info.suspend_reason) == (Status.SUSPENDED, "a rest")
    await remote.resume_instance("a")
    assert (await remote.changed("a", info.revision)).status is Status.RUNNING


async def test_a_wait_outlasts_answers_without_news(served: ServedMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "WAIT_MS_DEFAULT", 1)
    asked = 0

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            await run_to_the_end(served, "a")
        await create_app(served)(scope, receive, send)

    async with RemoteProvider(transport=httpx.ASGITransport(counting)) as remote:
        assert (await remote.changed("a", 0)).status is Status.COMPLETED
    assert asked == 3


# A node that is not there


@pytest.mark.parametrize("wait", ["changed", "ended"])
async def test_a_wait_outlasts_a_node_that_gives_its_partition_up_before_it_stops(
    served: ServedMemory, monkeypatch: pytest.MonkeyPatch, wait: str
) -> None:
    clock, told = ManualClock(), 0

    async def given_up(*_: object) -> InstanceInfo:
        nonlocal told
        told += 1
        monkeypatch.undo()
        raise OwnershipLost("stop", "expected to own partition 0, but it was given up")

    async with RemoteProvider(transport=httpx.ASGITransport(create_app(served)), clock=clock) as remote:
        await run_to_the_end(served, "a")
        await remote.get_instance_info("a")
        monkeypatch.setattr(served, wait, given_up)
        async with anyio.create_task_group() as group:

            async def waits() -> None:
                info = await (remote.ended("a") if wait == "ended" else remote.changed("a", 0))
                assert info.status is Status.COMPLETED
                group.cancel_scope.cancel()

            group.start_soon(waits)
            while True:  # time goes on for as long as somebody sleeps
                await anyio.wait_all_tasks_blocked()
                clock.advance(100)
    assert told == 1


async def test_no_node_is_told_with_what_to_start() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        async with RemoteProvider(url) as remote:
            with pytest.raises(
                Unreachable, match=r"expected a node at .*, but nothing listens there; start one with `turnlog node`"
            ):
                await remote.get_instance_info("a")
            with pytest.raises(Unreachable):
                await remote.changed("a", 0)


@pytest.mark.parametrize("status", [200, 404])
async def test_another_service_is_not_taken_for_a_node(status: int) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text="<html>It works!</html>")

    async with RemoteProvider(transport=httpx.MockTransport(answer)) as remote:
        with pytest.raises(Unreachable, match="what answers there is not one"):
            await remote.get_instance_info("a")


async def test_a_wait_outlasts_a_restart_of_the_node_but_not_its_end() -> None:
    clock = ManualClock()
    served = ServedMemory(clock)
    app = create_app(served)
    there = True

    async def come_and_go(scope: Scope, receive: Receive, send: Send) -> None:
        if not there:
            raise httpx.ConnectError("refused")
        await app(scope, receive, send)

    async with RemoteProvider(transport=httpx.ASGITransport(come_and_go), clock=clock) as remote:
        await run_to_the_end(served, "a")
        first = await remote.changed("a", 0)

        async def at_most(duration_ms: int) -> None:
            """Time goes on for as long as somebody sleeps."""
            for _ in range(duration_ms // 100):
                await anyio.wait_all_tasks_blocked()
                clock.advance(100)

        there = False
        async with anyio.create_task_group() as group:

            async def restart() -> None:
                nonlocal there
                await at_most(PATIENCE_MS // 2)
                there = True

            group.start_soon(restart)
            assert await remote.changed("a", 0) == first

        there = False
        async with anyio.create_task_group() as group:
            group.start_soon(at_most, PATIENCE_MS + 1_000)
            with pytest.raises(Unreachable):
                await remote.changed("a", 0)


async def test_a_node_that_restores_is_retryable(remote: RemoteProvider, served: ServedMemory) -> None:
    served.ready = False
    with pytest.raises(Retryable, match="restoring"):
        await remote.get_queue_depths()


@pytest.mark.parametrize("url", ["127.0.0.1:8620", "ftp://node", "http://", ""])
def test_a_url_is_one_of_http(url: str) -> None:
    with pytest.raises(UsageError, match="expected a URL like http"):
        RemoteProvider(url)


# The listener


async def test_a_node_listens_answers_ends_its_waits_and_lets_the_port_go(monkeypatch: pytest.MonkeyPatch) -> None:
    served = ServedMemory(SystemClock())
    listener = bind(parse_address("127.0.0.1:0"), token=None)
    address = address_of(listener)
    gone: list[type[Exception]] = []
    asked = anyio.Event()

    async def changed(instance: str, seen: int) -> InstanceInfo:
        asked.set()
        return await ServedMemory.changed(served, instance, seen)

    monkeypatch.setattr(served, "changed", changed)
    async with RemoteProvider(address.url) as remote, anyio.create_task_group() as group:
        async with serving(served, listener):
            await run_to_the_end(served, ODD_ID)
            assert await remote.get_instance_info(ODD_ID) == await served.get_instance_info(ODD_ID)

            async def wait() -> None:
                with anyio.fail_after(30), pytest.raises((Retryable, Unreachable)) as caught:
                    async with RemoteProvider(address.url) as fresh:
                        await fresh.changed("nobody", 0)
                gone.append(caught.type)

            group.start_soon(wait)
            with anyio.fail_after(30):
                await asked.wait()  # a connection that is not accepted yet when a node stops is nobody's
        with pytest.raises(Unreachable):
            await remote.get_queue_depths()
    assert gone == [Retryable]
    bind(address, token=None).close()


def test_a_taken_port_is_told() -> None:
    taken = bind(Address("127.0.0.1", 0), token=None)
    with taken, pytest.raises(UsageError, match="address already in use; is another node running"):
        bind(address_of(taken), token=None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "node.example"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match=f"expected a token for a node that listens on {host}"):
        bind(Address(host, 0), token=None)


def test_with_a_token_any_address_will_do() -> None:
    with bind(Address("0.0.0.0", 0), token="geheim") as listener:
        assert address_of(listener).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "address", "url"),
    [
        ("127.0.0.1:8620", Address("127.0.0.1", 8620), "http://127.0.0.1:8620"),
        ("localhost:0", Address("localhost", 0), "http://localhost:0"),
        ("[::1]:80", Address("::1", 80), "http://[::1]:80"),
    ],
)
def test_an_address_is_read(text: str, address: Address, url: str) -> None:
    assert parse_address(text) == address
    assert address.url == url


@pytest.mark.parametrize("text", ["", "8620", ":8620", "host", "host:", "host:x", "::1:80", "host:70000", "host:-1"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_address(text)
