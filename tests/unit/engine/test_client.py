"""Does a client send once what it is asked to send, wait without polling, and say what is wrong in both halves?"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest

from engine.client import Client, ClientOptions, Handle
from engine.errors import (
    ConversionError,
    InDoubt,
    InstanceNotFound,
    OrchestrationFailed,
    OrchestrationHeld,
    Refused,
    Retryable,
    UsageError,
    WaitTimedOut,
)
from engine.model.events import OrchestrationCompleted, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.key_values import KeyValueChange
from engine.model.messages import CancelInstance, EnqueueMessage, RaiseEvent, StartOrchestration
from engine.model.payload import Payload
from engine.model.removal import InstanceFilter, PrunedCounts
from engine.model.status import Status
from engine.model.turn import TurnResult
from engine.model.views import InstanceTree, QueueDepths
from engine.registry import orchestration
from engine.replay.context import OrchestrationContext
from engine.runtime.doors import Chance
from engine.testing.memory import MemoryProvider
from tests.unit.engine.runtime.running import Bench, cycles, ends, nothing_left
from tests.upstream import upstream

pytestmark = pytest.mark.anyio


@dataclass
class Order:
    number: int


@orchestration(version="2.0.0")
async def ship(ctx: OrchestrationContext, order: Order) -> Order:
    return Order(order.number + 1)


@orchestration
async def break_down(ctx: OrchestrationContext) -> None:
    raise ValueError("the press")


@orchestration
async def wait_for_go(ctx: OrchestrationContext) -> str:
    return await ctx.wait_event("go", str)


SERVED = [ship, break_down, wait_for_go]
MOVED = Failure(Category.NONDETERMINISM, "Nondeterminism", "moved")


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Sending


async def test_each_call_sends_one_message_with_an_id_of_its_own(bench: Bench) -> None:
    client = bench.client
    await client.start(ship, Order(1), instance="a")
    await client.start("ship", {"number": 1}, instance="b", version="1.0.0")
    await client.raise_event("a", "paid", 7)
    await client.enqueue_message("a", "notes", "x")
    await client.cancel("a", "enough")
    ids = [getattr(message, "message_id", None) for message in bench.provider.sent]
    assert len(set(ids)) == 5
    order = Payload(b'{"number":1}')
    assert bench.provider.sent == [
        StartOrchestration(instance="a", name="ship", input=order, message_id=ids[0]),
        StartOrchestration(instance="b", name="ship", input=order, version="1.0.0", message_id=ids[1]),
        RaiseEvent(instance="a", name="paid", data=Payload(b"7"), message_id=ids[2]),
        EnqueueMessage(instance="a", name="notes", data=Payload(b'"x"'), message_id=ids[3]),
        CancelInstance(instance="a", reason="enough", message_id=ids[4]),
    ]


async def test_an_id_is_made_up_when_none_is_given(bench: Bench) -> None:
    one, other = await bench.client.start(wait_for_go), await bench.client.start(wait_for_go)
    assert one.instance != other.instance
    assert all(len(handle.instance) == 32 for handle in (one, other))


@pytest.mark.parametrize("kind", [Retryable, InDoubt])
async def test_a_repeated_call_keeps_its_message_id(bench: Bench, kind: type[Retryable] | type[InDoubt]) -> None:
    error = kind("enqueue_for_orchestrator", "away")
    bench.provider.fail("enqueue_for_orchestrator", error, error)
    await ends(bench.clock, bench.client.raise_event("a", "paid"), step_ms=10)
    first, second, third = bench.provider.sent
    assert first == second == third


async def test_after_the_last_try_the_error_is_the_callers(bench: Bench) -> None:
    client = Client(bench.provider, clock=bench.clock, options=ClientOptions(tries_max=3))
    errors = [Retryable("enqueue_for_orchestrator", f"away {number}") for number in range(9)]
    bench.provider.fail("enqueue_for_orchestrator", *errors)
    with pytest.raises(Retryable, match="away 2"):
        await ends(bench.clock, client.raise_event("a", "paid"))
    assert len(bench.provider.sent) == 3


async def test_a_refusal_is_not_repeated(bench: Bench) -> None:
    bench.provider.fail("enqueue_for_orchestrator", Refused("enqueue_for_orchestrator", "too large"))
    with pytest.raises(Refused, match="too large"):
        await bench.client.raise_event("a", "paid")
    assert len(bench.provider.sent) == 1


async def test_a_callers_message_id_makes_two_calls_one(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        first = await bench.client.start(ship, Order(1), instance="a", message_id="request-1")
        await bench.client.start(ship, Order(1), instance="a", message_id="request-1")
        assert await first.wait() == Order(2)
    assert [message.message_id for message in bench.provider.sent if isinstance(message, StartOrchestration)] == [
        "request-1",
        "request-1",
    ]


@pytest.mark.parametrize(
    ("instance", "complaint"),
    [
        ("", "expected a non-empty instance id"),
        ("x" * 513, "expected an instance id of at most 512 bytes"),
        ("a::sub::2", "it marks automatic children"),
        ("sub::pending_1", "it marks automatic children"),
        ("a\nb", "expected a printable instance id"),
    ],
)
@pytest.mark.parametrize("version", [None, "1.0.0"])
@upstream(
    "instance_id_validation_tests",
    "start_orchestration_rejects_reserved_infix",
    "start_orchestration_rejects_reserved_prefix",
    "start_orchestration_versioned_rejects_reserved_infix",
)
async def test_an_id_that_cannot_be_one_is_refused_before_anything_is_sent(
    bench: Bench, instance: str, complaint: str, version: str | None
) -> None:
    with pytest.raises(UsageError, match=complaint):
        await bench.client.start(wait_for_go, instance=instance, version=version)
    assert bench.provider.sent == []


@pytest.mark.parametrize("instance", ["order-123", "i4::child-1"])
@upstream(
    "instance_id_validation_tests",
    "start_orchestration_accepts_normal_id",
    "start_orchestration_accepts_non_reserved_double_colon",
)
async def test_any_other_id_is_taken_as_it_is(bench: Bench, instance: str) -> None:
    assert (await bench.client.start(wait_for_go, instance=instance)).instance == instance
    assert [message.instance for message in bench.provider.sent] == [instance]


async def test_a_child_may_be_spoken_to_but_not_an_empty_id(bench: Bench) -> None:
    await bench.client.raise_event("a::sub::2", "go")
    for send in (bench.client.raise_event("", "go"), bench.client.enqueue_message("", "q"), bench.client.cancel("")):
        with pytest.raises(UsageError, match="expected a non-empty instance id, but it is empty"):
            await send
    assert len(bench.provider.sent) == 1


async def test_what_cannot_travel_is_refused_before_anything_is_sent(bench: Bench) -> None:
    with pytest.raises(ConversionError, match="expected the data of event paid to have a JSON form, but object"):
        await bench.client.raise_event("a", "paid", object())
    with pytest.raises(UsageError, match="expected no input for wait_for_go, which takes none, but it got 7"):
        await bench.client.start(wait_for_go, 7)  # pyright: ignore[reportCallIssue, reportArgumentType] - the test's point
    with pytest.raises(UsageError, match="expected a function decorated with @orchestration"):
        await bench.client.start(asyncio.sleep)  # pyright: ignore[reportCallIssue, reportArgumentType] - the test's point
    assert bench.provider.sent == []


UNTYPED: Any = 5

WRONG: list[tuple[Callable[[Client], Awaitable[object]], str]] = [
    (lambda client: client.start(wait_for_go, instance=UNTYPED), "the id of an instance to be a str, but it is 5"),
    (lambda client: client.start("", 1), "expected the name of an orchestration, but it is empty"),
    (lambda client: client.start("x", version=UNTYPED), "expected version to be a str, but it is 5"),
    (lambda client: client.start("x", message_id=UNTYPED), "expected message_id to be a str, but it is 5"),
    (lambda client: client.raise_event("a", UNTYPED), "expected the name of an external event to be a str, but it is"),
    (lambda client: client.raise_event(UNTYPED, "go"), "expected the id of an instance to be a str, but it is 5"),
    (lambda client: client.raise_event("a", "go", message_id=UNTYPED), "expected message_id to be a str, but it is 5"),
    (lambda client: client.enqueue_message("a", UNTYPED), "expected the name of a queue to be a str, but it is 5"),
    (lambda client: client.cancel("a", UNTYPED), "expected the reason of a cancel to be a str, but it is 5"),
    (lambda client: client.status(UNTYPED), "expected the id of an instance to be a str, but it is 5"),
    (lambda client: client.wait(UNTYPED), "expected the id of an instance to be a str, but it is 5"),
    (lambda client: client.wait("a", cast("Any", "5")), "expected timeout to be seconds, a timedelta, or None to wait"),
    (lambda client: client.wait("a", math.inf), "or None to wait for ever, but it is inf"),
    (lambda client: client.wait_for_key_value("a", "b", timeout=cast("Any", "5")), "expected timeout to be seconds, a"),
]


@pytest.mark.parametrize(("call", "complaint"), WRONG, ids=map(str, range(len(WRONG))))
async def test_an_argument_of_another_type_is_refused_before_anything_is_sent(
    bench: Bench, call: Callable[[Client], Awaitable[object]], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        await call(bench.client)
    assert bench.provider.sent == []


# Waiting


async def test_a_handle_returns_what_the_orchestration_did_as_its_type(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        handle: Handle[Order] = await bench.client.start(ship, Order(41), instance="a")
        assert await handle.wait() == Order(42)
    assert await bench.client.wait("a") == {"number": 42}
    assert await bench.client.wait("a", output=Order) == Order(42)
    assert await bench.client.handle("a", Order).wait() == Order(42)
    with pytest.raises(ConversionError, match=r"expected the output of a of type list\[int\], but"):
        await bench.client.wait("a", output=list[int])


async def test_waiting_does_not_poll(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=SERVED):
        handle = await bench.client.start(wait_for_go)
        waiting = asyncio.ensure_future(handle.wait())
        for _ in range(100):
            await cycles()
            bench.clock.advance(1_000)
        assert bench.provider.calls["ended"] == 1
        await handle.raise_event("go", "gone")
        assert await waiting == "gone"


async def test_a_wait_that_takes_too_long_says_what_was_seen_last(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=SERVED):
        await bench.client.start(wait_for_go, instance="a")
        await bench.provider.changed("a", 0)
        with pytest.raises(WaitTimedOut, match=r"expected 'a' to end within 1.5 s, but it is running"):
            await ends(bench.clock, bench.client.wait("a", 1.5))
        with pytest.raises(WaitTimedOut, match="expected 'b' to end within 2 s, but there is no such instance"):
            await ends(bench.clock, bench.client.wait("b", 2))
        with pytest.raises(WaitTimedOut, match=r"expected 'a' to end within 1.5 s, but it is running"):
            await ends(bench.clock, bench.client.handle("a").wait(timedelta(seconds=1.5)))
        with pytest.raises(WaitTimedOut, match=r"keep something under 'x' within 0.5 s, but it is running"):
            await ends(bench.clock, bench.client.wait_for_key_value("a", "x", timeout=timedelta(milliseconds=500)))


@pytest.mark.parametrize("already", [True, False])
async def test_a_wait_ends_when_the_instance_is_held(bench: Bench, already: bool) -> None:
    await bench.client.start(wait_for_go, instance="a")
    (item,) = await bench.provider.fetch_orchestration_items(1, 30_000, 0)
    if already:
        await bench.provider.hold_orchestration_item(item.lock_token, MOVED)
    waiting = asyncio.ensure_future(bench.client.wait("a"))
    await cycles()
    if not already:
        await bench.provider.hold_orchestration_item(item.lock_token, MOVED)
    with pytest.raises(OrchestrationHeld, match=r"a is held: Nondeterminism: moved; .* `turnlog resume a`") as raised:
        await asyncio.wait_for(waiting, 5)
    assert (raised.value.instance, raised.value.failure) == ("a", MOVED)
    await bench.client.resume("a")
    async with bench.engine(orchestrations=SERVED):
        await bench.client.raise_event("a", "go", "went on")
        assert await ends(bench.clock, bench.client.wait("a")) == "went on"


async def test_a_wait_survives_a_node_that_is_away_for_a_moment(bench: Bench) -> None:
    bench.provider.fail("ended", Retryable("ended", "away"), Retryable("ended", "away"))
    async with bench.engine(orchestrations=SERVED):
        handle = await bench.client.start(ship, Order(1))
        assert await ends(bench.clock, handle.wait(), step_ms=10) == Order(2)


async def test_a_failed_orchestration_raises_what_it_raised_as_data(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        handle = await bench.client.start(break_down, instance="a")
        with pytest.raises(OrchestrationFailed, match="a ended with ValueError: the press") as caught:
            await handle.wait()
    assert (caught.value.instance, caught.value.failure.category) == ("a", Category.APPLICATION)


# Looking


async def test_status_and_history_of_an_instance(bench: Bench) -> None:
    with pytest.raises(InstanceNotFound, match="expected an instance 'a', but there is none"):
        await bench.client.status("a")
    assert await bench.client.history("a") == ()
    async with bench.engine(orchestrations=SERVED):
        handle = await bench.client.start(ship, Order(1), instance="a")
        await handle.wait()
        assert (await handle.status()).orchestration_version == "2.0.0"
        kinds = [type(event) for event in await handle.history()]
        assert kinds == [OrchestrationStarted, OrchestrationCompleted]
        assert await handle.history(1) == await handle.history()
        assert list(await handle.history(2)) == []


@upstream("orchestration_status_tests", "test_status_independence")
async def test_instances_are_listed_by_status_and_name(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        for instance in ("c", "a", "b"):
            await (await bench.client.start(ship, Order(1), instance=instance)).wait()
        await bench.client.start(wait_for_go, instance="d")
        await bench.provider.changed("d", 0)
        listed: Any = bench.client.list_instances
        assert [info.instance for info in await listed(status=Status.COMPLETED)] == ["a", "b", "c"]
        assert [info.instance for info in await listed(name="wait_for_go")] == ["d"]
        assert [info.instance for info in await listed(limit=2, after="a")] == ["b", "c"]


class Views:
    """Both views of a provider and nothing else, as a client of a plain log would have."""

    def __init__(self, provider: MemoryProvider) -> None:
        self.enqueue_for_orchestrator = provider.enqueue_for_orchestrator
        self.enqueue_for_worker = provider.enqueue_for_worker
        self.get_instance_info = provider.get_instance_info
        self.changed = provider.changed
        self.ended = provider.ended
        self.read = provider.read
        self.read_with_execution = provider.read_with_execution
        self.get_key_value = provider.get_key_value
        self.get_key_values = provider.get_key_values
        self.has_consumed = provider.has_consumed


async def test_a_client_without_an_admin_says_so(bench: Bench) -> None:
    client = Client(Views(bench.provider), chance=Chance(seed=1))
    for call in (
        client.list_instances,
        partial(client.list_executions, "a"),
        partial(client.suspend, "a"),
        partial(client.resume, "a"),
        partial(client.tree, "a"),
        partial(client.delete, "a"),
        partial(client.prune, "a"),
        partial(client.execution, "a", 1),
        partial(client.stats, "a"),
        client.system_metrics,
        client.queue_depths,
        partial(client.delete_many, InstanceFilter()),
        partial(client.prune_many, InstanceFilter()),
    ):
        with pytest.raises(UsageError, match="expected a provider that can be administered"):
            await call()


async def test_a_provider_that_can_be_administered_is_the_admin(bench: Bench) -> None:
    assert await Client(bench.provider, chance=Chance(seed=1)).list_instances() == []


async def test_each_change_is_seen_once_from_the_revision_before(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        handle = await bench.client.start(ship, Order(1), instance="a")
        await handle.wait()
        last = await handle.changed()
        assert last.status is Status.COMPLETED
        assert await bench.client.changed("a", last.revision - 1) == last


async def test_a_tree_is_told_pruned_and_deleted(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        await (await bench.client.start(ship, Order(1), instance="a")).wait()
    assert await bench.client.tree("a") == InstanceTree("a", ("a",))
    assert await bench.client.prune("a", keep_last=1, completed_before_ms=0) == PrunedCounts()
    assert (await bench.client.delete("a")).instances == 1
    for call in (bench.client.tree("a"), bench.client.prune("a"), bench.client.delete("a", force=True)):
        with pytest.raises(Refused, match="expected an instance 'a', but there is none"):
            await call


async def test_operators_are_told_how_much_there_is_and_can_take_away_many(bench: Bench) -> None:
    async with bench.engine(orchestrations=SERVED):
        for name in "ab":
            await (await bench.client.start(ship, Order(1), instance=name)).wait()
    execution = await bench.client.execution("a", 1)
    assert execution is not None
    assert (execution.status, await bench.client.execution("a", 2)) == (Status.COMPLETED, None)
    assert (await bench.client.stats("a")).history_events == execution.event_count
    with pytest.raises(InstanceNotFound, match="expected an instance 'c', but there is none"):
        await bench.client.stats("c")
    metrics = await bench.client.system_metrics()
    assert (metrics.instances, metrics.by_status) == (2, {Status.COMPLETED: 2})
    assert await bench.client.queue_depths() == QueueDepths(0, 0, 0)
    assert await bench.client.prune_many(InstanceFilter(), keep_last=1) == PrunedCounts()
    assert (await bench.client.delete_many(InstanceFilter(instances=("a", "c")))).instances == 1
    assert [info.instance for info in await bench.client.list_instances()] == ["b"]


async def test_an_instance_that_is_not_there_cannot_be_resumed(bench: Bench) -> None:
    with pytest.raises(Refused, match="expected 'a' to be held or suspended, but there is none"):
        await bench.client.resume("a")


async def test_a_suspended_instance_goes_on_where_it_was_once_it_is_resumed(bench: Bench) -> None:
    async with nothing_left(), bench.engine(orchestrations=SERVED):
        handle = await bench.client.start(wait_for_go, instance="a")
        await handle.changed()
        await bench.client.suspend("a", "a migration")
        await handle.raise_event("go", "went on")
        await cycles()
        paused = await handle.status()
        assert (paused.status, paused.suspend_reason, paused.output) == (Status.SUSPENDED, "a migration", None)
        waiting = asyncio.ensure_future(handle.wait())
        await cycles()
        assert not waiting.done()  # a pause is no end: who waits goes on waiting
        await bench.client.resume("a")
        assert await ends(bench.clock, waiting) == "went on"
        with pytest.raises(Refused, match="expected 'a' to be running, but it is completed"):
            await bench.client.suspend("a")


def test_options_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(UsageError, match="expected tries_max of at least 1, but it is 0"):
        ClientOptions(tries_max=0)


async def test_what_an_instance_keeps_is_converted(bench: Bench) -> None:
    await bench.provider.enqueue_for_orchestrator(StartOrchestration(instance="a", name="ship", input=Payload(b"{}")))
    (item,) = await bench.provider.fetch_orchestration_items(1, 30_000, 0)
    changes = (KeyValueChange("order", Payload(b'{"number":1}')), KeyValueChange("note", Payload(b'"x"')))
    await bench.provider.ack_orchestration_item(item.lock_token, TurnResult(execution_id=1, key_values=changes))
    assert await bench.client.get_key_value("a", "order", Order) == Order(1)
    assert await bench.client.get_key_value("a", "nothing", Order) is None
    assert await bench.client.get_key_values("a") == {"note": "x", "order": {"number": 1}}
    with pytest.raises(ConversionError, match="key 'note' of a"):
        await bench.client.get_key_value("a", "note", int)
