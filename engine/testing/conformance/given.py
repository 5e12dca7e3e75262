"""What do the tests of the suite have in common? The literals they send and the first steps they take."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar

import anyio

from engine.errors import EngineError
from engine.model.events import AnyEvent, CustomStatusUpdated, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.ids import FIRST_EXECUTION, ParentLink
from engine.model.messages import CompleteActivity, EnqueueMessage, FireTimer, RaiseEvent, StartOrchestration
from engine.model.payload import NULL, Payload
from engine.model.sessions import SessionClaim
from engine.model.status import Status
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import ExecutionMetadata, TurnResult
from engine.model.version import VersionRange
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem, Provider

LOCK_MS = 30_000
"""A lock that outlives every test in which time does not pass it on purpose."""

REAL_SECONDS_MAX = 20
"""A wait that is not ended by what should end it fails after this long, instead of hanging the run."""

AT_MS = 1_700_000_000_000
INCARNATION = 7
EMPTY_OBJECT = Payload(b"{}")
UNKNOWN_TOKEN = "a token that nobody was given"
FAILURE = Failure(Category.NONDETERMINISM, "Nondeterminism", "expected event 2, but found none")

NAMED = ExecutionMetadata(orchestration_name="TestOrch", orchestration_version="1.0.0", incarnation=INCARNATION)
"""Metadata of a first turn that says no more than who the instance is."""


@contextmanager
def raises(expected: type[EngineError]) -> Generator[None]:
    """The block must raise `expected`."""
    try:
        yield
    except expected:
        return
    raise AssertionError(f"expected {expected.__name__}, but nothing was raised")


Returned = TypeVar("Returned")


class Begun(Generic[Returned]):
    """A call that goes on beside the test."""

    def __init__(self) -> None:
        self._returned: list[Returned] = []
        self._ended = anyio.Event()

    @property
    def has_returned(self) -> bool:
        """Whether it is over."""
        return self._ended.is_set()

    async def result(self) -> Returned:
        """What it returned; waits for it, but not for ever."""
        with anyio.fail_after(REAL_SECONDS_MAX):
            await self._ended.wait()
        return self._returned[0]

    async def run(self, call: Callable[[], Awaitable[Returned]]) -> None:
        """Be `call`."""
        self._returned.append(await call())
        self._ended.set()


@asynccontextmanager
async def begun(call: Callable[[], Awaitable[Returned]]) -> AsyncGenerator[Begun[Returned]]:
    """Run `call` beside the block; what has not returned at its end is given up."""
    async with anyio.create_task_group() as group:
        beside = Begun[Returned]()
        group.start_soon(beside.run, call)
        yield beside
        group.cancel_scope.cancel()


# What is sent


def start_item(instance: str) -> StartOrchestration:
    """Start `instance` as TestOrch 1.0.0 with an empty object."""
    return StartOrchestration(instance=instance, name="TestOrch", version="1.0.0", input=EMPTY_OBJECT)


def raise_event(instance: str, name: str) -> RaiseEvent:
    """An event told from others by its name."""
    return RaiseEvent(instance=instance, name=name, data=NULL)


def queue_message(instance: str, name: str) -> EnqueueMessage:
    """A queue message told from others by its name."""
    return EnqueueMessage(instance=instance, name=name, data=NULL)


def completion(instance: str, activity_id: int) -> CompleteActivity:
    """The answer of an activity of the first execution."""
    return CompleteActivity(
        instance=instance,
        incarnation=INCARNATION,
        execution_id=FIRST_EXECUTION,
        activity_id=activity_id,
        result=Payload(b"%d" % activity_id),
    )


def fire_timer(instance: str, timer_id: int, fire_at_ms: int) -> FireTimer:
    """A timer of the first execution."""
    return FireTimer(
        instance=instance,
        incarnation=INCARNATION,
        execution_id=FIRST_EXECUTION,
        timer_id=timer_id,
        fire_at_ms=fire_at_ms,
    )


def work_item(instance: str, activity_id: int, tag: str | None = None, session_id: str | None = None) -> WorkItem:
    """An activity of the first execution."""
    return WorkItem(
        instance=instance,
        incarnation=INCARNATION,
        execution_id=FIRST_EXECUTION,
        activity_id=activity_id,
        name="TestActivity",
        input=Payload(b"%d" % activity_id),
        session_id=session_id,
        tag=tag,
    )


# What is recorded


def started_event(parent: ParentLink | None = None) -> OrchestrationStarted:
    """Event 1 of what `start_item` asks for."""
    return OrchestrationStarted(
        event_id=1,
        timestamp_ms=AT_MS,
        name="TestOrch",
        version="1.0.0",
        input=EMPTY_OBJECT,
        incarnation=INCARNATION,
        parent=parent,
    )


def text_event(event_id: int, text: str) -> CustomStatusUpdated:
    """An event that is told from others by its text."""
    return CustomStatusUpdated(event_id=event_id, timestamp_ms=AT_MS, status=text)


def ids(events: Sequence[AnyEvent]) -> list[int]:
    """Their event ids, in the order given."""
    return [event.event_id for event in events]


def first_turn(*events: AnyEvent) -> TurnResult:
    """What creates an instance: its started event, then `events`."""
    return TurnResult(execution_id=FIRST_EXECUTION, history_delta=(started_event(), *events), metadata=NAMED)


def turn(*events: AnyEvent) -> TurnResult:
    """A later turn that only adds `events`."""
    return TurnResult(execution_id=FIRST_EXECUTION, history_delta=events)


# What is done


async def take(
    provider: Provider, lock_timeout_ms: int = LOCK_MS, pins: VersionRange | None = None
) -> OrchestrationItem:
    """Fetch an instance that must be there."""
    item = await provider.fetch_orchestration_item(lock_timeout_ms, 0, pins)
    assert item is not None, "expected an instance with messages, but the fetch returned none"
    return item


async def take_work(
    provider: Provider,
    lock_timeout_ms: int = LOCK_MS,
    tags: TagFilter = DEFAULT_ONLY,
    session: SessionClaim | None = None,
) -> FetchedWorkItem:
    """Fetch a work item that must be there."""
    fetched = await provider.fetch_work_item(lock_timeout_ms, 0, tags, session)
    assert fetched is not None, "expected a work item, but the fetch returned none"
    return fetched


async def nothing_to_take(provider: Provider, pins: VersionRange | None = None) -> bool:
    """Whether no instance can be fetched now. One that can is locked by asking."""
    return await provider.fetch_orchestration_item(LOCK_MS, 0, pins) is None


async def no_work_to_take(
    provider: Provider, tags: TagFilter = DEFAULT_ONLY, session: SessionClaim | None = None
) -> bool:
    """Whether no work item can be fetched now. One that can is leased by asking."""
    return await provider.fetch_work_item(LOCK_MS, 0, tags, session) is None


async def create_instance(provider: Provider, instance: str) -> OrchestrationItem:
    """Start `instance` and commit its first turn. Returns the item of that turn."""
    await provider.enqueue_for_orchestrator(start_item(instance))
    item = await take(provider)
    assert item.instance == instance, f"expected {instance}, but {item.instance} had a message too"
    await provider.ack_orchestration_item(item.lock_token, first_turn())
    return item


async def create_instance_with_parent(provider: Provider, instance: str, parent: ParentLink) -> OrchestrationItem:
    """Start `instance` as the child of `parent` and commit its first turn."""
    start = StartOrchestration(instance=instance, name="TestOrch", version="1.0.0", input=EMPTY_OBJECT, parent=parent)
    await provider.enqueue_for_orchestrator(start)
    item = await take(provider)
    metadata = ExecutionMetadata(
        orchestration_name="TestOrch",
        orchestration_version="1.0.0",
        incarnation=INCARNATION,
        parent_instance=parent.instance,
    )
    first = TurnResult(execution_id=FIRST_EXECUTION, history_delta=(started_event(parent),), metadata=metadata)
    await provider.ack_orchestration_item(item.lock_token, first)
    return item


async def end_instance(
    provider: Provider, instance: str, status: Status = Status.COMPLETED, execution_id: int = FIRST_EXECUTION
) -> None:
    """End the current execution of an instance that has no message, without an event."""
    await provider.enqueue_for_orchestrator(raise_event(instance, "end"))
    item = await take(provider)
    assert item.instance == instance, f"expected {instance}, but {item.instance} had a message too"
    ended = TurnResult(execution_id=execution_id, metadata=ExecutionMetadata(status=status))
    await provider.ack_orchestration_item(item.lock_token, ended)
