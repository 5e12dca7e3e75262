"""What do the tests of the runtime share? Engines over a memory provider whose calls fail or wait on order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from msgspec import structs

from engine.client import Client
from engine.clock import ManualClock
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import TurnResult
from engine.model.version import VersionRange
from engine.model.views import InstanceInfo
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.registry import Registry
from engine.runtime.doors import Chance
from engine.runtime.host import Engine
from engine.runtime.options import EngineOptions
from engine.testing.memory import MemoryProvider


class DefectiveHistory:
    """A history that breaks its contract."""

    @property
    def last_event_id(self) -> int:
        raise AssertionError("a defect")

    def load(self) -> Sequence[AnyEvent]:
        raise AssertionError("a defect")


class ScriptedProvider(MemoryProvider):
    """A memory provider; `raises[method]` are raised by the next calls of `method`, one each, before anything happens.

    Attributes:
        calls: How often each method was called.
        not_durable: While it is a list, admitted turns become durable only when the test resolves their futures.
        defective: Instances whose history raises what no provider should.
        completions: What was acked of work items; `acked` is set at each.
        beats: Details of heartbeats that were kept, in order; `beaten` is set at each.
        renewed: Renewals of sessions: owners, duration and idle time-out.
        sent: What clients enqueued, attempts that failed included.
    """

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.raises: dict[str, deque[Exception]] = {}
        self.calls: dict[str, int] = {}
        self.not_durable: list[asyncio.Future[None]] | None = None
        self.defective: set[str] = set()
        self.completions: list[AnyMessage | None] = []
        self.acked = asyncio.Event()
        self.beats: list[bytes] = []
        self.beaten = asyncio.Event()
        self.renewed: list[tuple[list[str], int, int]] = []
        self.sent: list[AnyMessage] = []

    def fail(self, method: str, *errors: Exception) -> None:
        self.raises.setdefault(method, deque()).extend(errors)

    def _called(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        if self.raises.get(method):
            raise self.raises[method].popleft()

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        self.sent.append(message)
        self._called("enqueue_for_orchestrator")
        await super().enqueue_for_orchestrator(message, delay_ms)

    async def ended(self, instance: str) -> InstanceInfo:
        self._called("ended")
        return await super().ended(instance)

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> Sequence[OrchestrationItem]:
        self._called("fetch_orchestration_items")
        items = await super().fetch_orchestration_items(items_max, lock_timeout_ms, poll_timeout_ms, pins)
        return [structs.replace(i, history=DefectiveHistory()) if i.instance in self.defective else i for i in items]

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        self._called("ack_orchestration_item")
        durable = super().ack_orchestration_item(lock_token, result)
        if self.not_durable is None:
            return durable
        self.not_durable.append(asyncio.get_running_loop().create_future())
        return self.not_durable[-1]

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        self._called("abandon_orchestration_item")
        await super().abandon_orchestration_item(lock_token, delay_ms, ignore_attempt)

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        self._called("hold_orchestration_item")
        await super().hold_orchestration_item(lock_token, failure)

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        self._called("fetch_work_item")
        return await super().fetch_work_item(lock_timeout_ms, poll_timeout_ms, tags, session)

    async def renew_session_lock(self, owners: Sequence[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        self._called("renew_session_lock")
        self.renewed.append((list(owners), extend_for_ms, idle_timeout_ms))
        return await super().renew_session_lock(owners, extend_for_ms, idle_timeout_ms)

    async def cleanup_orphaned_sessions(self, idle_timeout_ms: int) -> int:
        self._called("cleanup_orphaned_sessions")
        return await super().cleanup_orphaned_sessions(idle_timeout_ms)

    def known_sessions(self) -> set[str]:
        """Sessions that are not forgotten."""
        return set(self._sessions.rows)

    def holder(self, session_id: str) -> str | None:
        """Who holds a session, if it was begun."""
        row = self._sessions.rows[session_id]
        return row.owner if self._sessions.is_held(row) else None

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        self._called("ack_work_item")
        await super().ack_work_item(lock_token, completion)
        self.completions.append(completion)
        self.acked.set()
        self.acked = asyncio.Event()

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        self._called("renew_work_item_lock")
        await super().renew_work_item_lock(lock_token, extend_for_ms, heartbeat)
        if heartbeat is not None:
            self.beats.append(heartbeat.data)
            self.beaten.set()
            self.beaten = asyncio.Event()

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        self._called("abandon_work_item")
        await super().abandon_work_item(lock_token, delay_ms, ignore_attempt)


class Bench:
    """A provider, its clock and a client: what outlives the engines of one test."""

    def __init__(self, provider: "type[ScriptedProvider]" = ScriptedProvider) -> None:
        self.clock = ManualClock()
        self.provider = provider(self.clock)
        self.client = Client(self.provider, admin=self.provider, clock=self.clock, chance=Chance(seed=1))

    def engine(
        self,
        *,
        orchestrations: Sequence[Callable[..., Any]] = (),
        activities: Sequence[Callable[..., Any]] = (),
        options: EngineOptions | None = None,
    ) -> Engine:
        registry = Registry(orchestrations=orchestrations, activities=activities)
        return Engine(self.provider, registry, options, clock=self.clock, chance=Chance(seed=2))


async def cycles(count: int = 20) -> None:
    """Let everything on the loop that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ends(clock: ManualClock, awaitable: Awaitable[Any], step_ms: int = 1_000) -> Any:
    """The result of `awaitable`, with the clock advanced whenever nothing else on the loop moves."""
    future = asyncio.ensure_future(awaitable)
    # Real time, because threads take some: what never ends fails its test instead of hanging it.
    async with asyncio.timeout(30):
        while not future.done():
            await cycles()
            clock.advance(0 if future.done() else step_ms)
    return await future


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncGenerator[None]:
    """Whatever tasks the block starts have ended when it is left."""
    before = asyncio.all_tasks()
    yield
    await cycles()
    left = [task.get_name() for task in asyncio.all_tasks() - before]
    assert left == []
