"""Whatever is called, in whatever order: is the store always the fold of the changelog, byte for byte?

The provider alone, without an engine: the calls are those of a caller that keeps no rule but the port's.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.errors import LeaseLost, Refused
from engine.model.events import CustomStatusUpdated, OrchestrationStarted
from engine.model.failure import Category, Failure
from engine.model.ids import is_in_tree
from engine.model.key_values import KeyValueChange
from engine.model.limits import WorkLimits
from engine.model.messages import (
    AnyMessage,
    CompleteActivity,
    EnqueueMessage,
    FireTimer,
    RaiseEvent,
    StartOrchestration,
)
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.status import Status
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import ActivityRef, ExecutionMetadata, TimerRef, TurnResult
from engine.model.version import EngineVersion, VersionRange
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.replay.time_outs import is_late
from provider_log import LogProvider, LogProviderOptions
from provider_log import records as r
from provider_log.partition.restore import head_of
from provider_log.simulation.nodes import Line
from provider_log.simulation.world import World

T = TypeVar("T")

INSTANCES = ("a", "b", "c", "a::sub::2")
PARTITIONS = 2
ROUNDS = 100
NULL = Payload(b"null")
LOST = Failure(Category.APPLICATION, "Lost", "the code left its path")

instances = st.sampled_from(INSTANCES)
delays = st.sampled_from((0, 0, 30, 300))
tags = st.sampled_from((None, "gpu"))
OLD, NEW = EngineVersion(1, 0, 0), EngineVersion(2, 0, 0)
pins = st.sampled_from((None, None, OLD, NEW))
supported = st.sampled_from((None, VersionRange(OLD, OLD), VersionRange(OLD, NEW)))
key_changes = st.sampled_from(
    (KeyValueChange("k", NULL), KeyValueChange("l", NULL), KeyValueChange("k"), KeyValueChange())
)
sessions = st.sampled_from((None, None, "a", "b", "c", "d"))
claims = st.sampled_from((None, SessionClaim("A", 300), SessionClaim("B", 300)))
filters = st.sampled_from((DEFAULT_ONLY, TagFilter.only(["gpu"]), TagFilter.everything()))

waits = st.sampled_from((None, None, None, 30, 300))


def limits_of(waits_ms: int | None, now_ms: int) -> WorkLimits | None:
    """Begun within `waits_ms`, or whenever."""
    return None if waits_ms is None else WorkLimits(queue_timeout_ms=waits_ms, start_by_ms=now_ms + waits_ms)


class AnyCalls(RuleBasedStateMachine):
    """A provider on a simulated log, and what its caller has in its hands."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = contextlib.AsyncExitStack()
        self.items: list[OrchestrationItem] = []
        self.work: list[FetchedWorkItem] = []
        self.acking: list[asyncio.Future[None]] = []
        self.sent = 0
        self.message: AnyMessage | None = None
        self.last_event: Counter[tuple[str, int]] = Counter()

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end; time passes only when nobody can act otherwise."""

        async def to_the_end() -> T:
            task = asyncio.ensure_future(coroutine)
            for _ in range(1_000):
                for _ in range(ROUNDS):
                    await asyncio.sleep(0)
                if task.done():
                    return task.result()
                self.world.clock.advance(max(1, self.world.clock.next_wake_ms() or 1))
            raise AssertionError(f"expected an end, but {coroutine} waits for ever")

        return self.loop.run_until_complete(to_the_end())

    async def _open(self) -> None:
        self.line = Line()
        options = LogProviderOptions(slots_used=2, input_age_max_ms=100, cut_every_ms=150, flush_every_ms=200)
        self.provider: LogProvider = await self.stack.enter_async_context(
            self.world.provider(partitions=PARTITIONS, options=options, line=self.line)
        )

    async def _close(self) -> None:
        await self.stack.aclose()
        self.items, self.work = [], []
        await asyncio.gather(*self.acking, return_exceptions=True)
        self.acking = []

    @initialize(seed=st.integers(1, 1_000))
    def begin(self, seed: int) -> None:
        async def make() -> World:
            return World(seed=seed)

        self.world = self.loop.run_until_complete(make())
        self.do(self._open())

    # The way in

    @rule(instance=instances, delay_ms=delays)
    def start(self, instance: str, delay_ms: int) -> None:
        self.do(
            self.provider.enqueue_for_orchestrator(
                StartOrchestration(instance=instance, name="go", input=NULL, message_id="start"), delay_ms
            )
        )

    @rule(instance=instances, delay_ms=delays, is_event=st.booleans(), again=st.booleans())
    def send(self, instance: str, delay_ms: int, *, is_event: bool, again: bool) -> None:
        if self.message is None or not again:
            self.sent += 1
            kind = RaiseEvent if is_event else EnqueueMessage
            self.message = kind(instance=instance, name="n", data=NULL, message_id=f"m{self.sent}")
        self.do(self.provider.enqueue_for_orchestrator(self.message, delay_ms))

    @rule(instance=instances, number=st.integers(900, 902), tag=tags, session_id=sessions, waits_ms=waits)
    def send_work(
        self, instance: str, number: int, tag: str | None, session_id: str | None, waits_ms: int | None
    ) -> None:
        item = WorkItem(
            instance=instance,
            incarnation=1,
            execution_id=1,
            activity_id=number,
            name="act",
            input=NULL,
            tag=tag,
            session_id=session_id,
            limits=limits_of(waits_ms, self.world.clock.now_ms()),
        )
        self.do(self.provider.enqueue_for_worker(item))

    # Turns

    @rule(items_max=st.integers(1, 3), supported=supported)
    def fetch(self, items_max: int, supported: VersionRange | None) -> None:
        self.items += self.do(self.provider.fetch_orchestration_items(items_max, 500, 0, supported))

    def drawn_result(self, item: OrchestrationItem, data: st.DataObject) -> TurnResult:
        """A turn that keeps the port's rules and asks for anything."""
        instance = item.instance
        execution_id = item.execution_id + (item.status is not None and data.draw(st.integers(0, 5)) == 5)
        last = self.last_event[instance, execution_id]
        count = data.draw(st.integers(1, 3))
        self.last_event[instance, execution_id] += count
        events = tuple(
            CustomStatusUpdated(event_id=last + 1 + n, timestamp_ms=item.now_ms, status=f"{n}") for n in range(count)
        )
        if last == 0:
            first = OrchestrationStarted(
                event_id=1, timestamp_ms=item.now_ms, name="go", version="1", input=NULL, incarnation=7
            )
            events = (first, *events[1:])
        number = last + 1
        work = WorkItem(
            instance=instance,
            incarnation=7,
            execution_id=execution_id,
            activity_id=number,
            name="act",
            input=NULL,
            tag=data.draw(tags),
            session_id=data.draw(sessions),
            limits=limits_of(data.draw(waits), item.now_ms),
            heartbeat=data.draw(st.sampled_from((None, Payload(b"0")))),
        )
        timer = FireTimer(
            instance=instance, incarnation=7, execution_id=execution_id, timer_id=number, fire_at_ms=item.now_ms + 50
        )
        sent = EnqueueMessage(instance=data.draw(instances), name="n", data=NULL)
        status = data.draw(
            st.sampled_from((None, None, Status.RUNNING, Status.COMPLETED, Status.CONTINUED_AS_NEW, Status.FAILED))
        )
        return TurnResult(
            execution_id=execution_id,
            history_delta=events,
            work_items=(work,) * data.draw(st.integers(0, 1)),
            messages=tuple(data.draw(st.lists(st.sampled_from((timer, sent)), max_size=2, unique_by=type))),
            metadata=ExecutionMetadata(
                status=status, output=NULL if status is Status.COMPLETED else None, pinned_version=data.draw(pins)
            ),
            cancelled_activities=data.draw(
                st.sampled_from(
                    ((), (ActivityRef(instance, execution_id, data.draw(st.integers(1, 4)), data.draw(sessions)),))
                )
            ),
            key_values=tuple(data.draw(st.lists(key_changes, max_size=2))),
            cancelled_timers=data.draw(st.sampled_from(((), (TimerRef(execution_id, data.draw(st.integers(1, 4))),)))),
        )

    @precondition(lambda self: self.items)
    @rule(data=st.data(), waits=st.booleans())
    def ack(self, data: st.DataObject, *, waits: bool) -> None:
        item = self.items.pop(data.draw(st.integers(0, len(self.items) - 1)))
        result = self.drawn_result(item, data)

        async def acked() -> None:
            try:
                admitted = self.provider.ack_orchestration_item(item.lock_token, result)
            except LeaseLost:
                self.last_event[item.instance, result.execution_id] -= len(result.history_delta)
                return
            if waits:
                await admitted
            else:
                self.acking.append(asyncio.ensure_future(admitted))

        self.do(acked())

    @precondition(lambda self: self.items)
    @rule(data=st.data(), delay_ms=delays, ignore=st.booleans())
    def abandon(self, data: st.DataObject, delay_ms: int, *, ignore: bool) -> None:
        item = self.items.pop(data.draw(st.integers(0, len(self.items) - 1)))
        with contextlib.suppress(LeaseLost):
            self.do(self.provider.abandon_orchestration_item(item.lock_token, delay_ms, ignore))

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        with contextlib.suppress(LeaseLost):
            self.do(self.provider.renew_orchestration_item_lock(data.draw(st.sampled_from(self.items)).lock_token, 500))

    @precondition(lambda self: self.items)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        item = self.items.pop(data.draw(st.integers(0, len(self.items) - 1)))
        with contextlib.suppress(LeaseLost):
            self.do(self.provider.hold_orchestration_item(item.lock_token, LOST))

    @rule(instance=instances)
    def resume(self, instance: str) -> None:
        with contextlib.suppress(Refused):
            self.do(self.provider.resume_instance(instance))

    # Work

    @rule(taken=filters, claim=claims)
    def fetch_work(self, taken: TagFilter, claim: SessionClaim | None) -> None:
        fetched = self.do(self.provider.fetch_work_item(500, 0, taken, claim))
        if fetched is not None:
            if not is_late(fetched.item, fetched.attempt_count, fetched.now_ms):
                assert taken.takes(fetched.item.tag)
                assert claim is not None or fetched.item.session_id is None
            self.work.append(fetched)

    @precondition(lambda self: self.work)
    @rule(data=st.data(), answers=st.booleans())
    def ack_work(self, data: st.DataObject, *, answers: bool) -> None:
        fetched = self.work.pop(data.draw(st.integers(0, len(self.work) - 1)))
        item = fetched.item
        answer = CompleteActivity(
            instance=item.instance,
            incarnation=item.incarnation,
            execution_id=item.execution_id,
            activity_id=item.activity_id,
            result=NULL,
        )
        with contextlib.suppress(LeaseLost):
            self.do(self.provider.ack_work_item(fetched.lock_token, answer if answers else None))

    @precondition(lambda self: self.work)
    @rule(data=st.data(), delay_ms=delays)
    def abandon_work(self, data: st.DataObject, delay_ms: int) -> None:
        fetched = self.work.pop(data.draw(st.integers(0, len(self.work) - 1)))
        with contextlib.suppress(LeaseLost):
            self.do(self.provider.abandon_work_item(fetched.lock_token, delay_ms))

    @precondition(lambda self: self.work)
    @rule(data=st.data(), heartbeat=st.sampled_from((None, Payload(b"1"), Payload(b"2"))))
    def renew_work(self, data: st.DataObject, heartbeat: Payload | None) -> None:
        token = data.draw(st.sampled_from(self.work)).lock_token
        with contextlib.suppress(LeaseLost):
            self.do(self.provider.renew_work_item_lock(token, 500, heartbeat))

    @rule(idle_ms=st.sampled_from((0, 200, 10_000)))
    def renew_sessions(self, idle_ms: int) -> None:
        self.do(self.provider.renew_session_lock(["A"], 500, idle_ms))
        self.do(self.provider.cleanup_orphaned_sessions(idle_ms))

    @rule(root=st.sampled_from(("a", "b", "c")))
    def delete(self, root: str) -> None:
        with contextlib.suppress(Refused):
            self.do(self.provider.delete_instance(root, force=True))
            for known in list(self.last_event):
                if is_in_tree(known[0], root):
                    del self.last_event[known]

    # Time and the node

    @rule(duration_ms=st.sampled_from((1, 40, 200, 600)))
    def advance(self, duration_ms: int) -> None:
        self.do(self.world.clock.sleep_ms(duration_ms))

    @rule()
    def restart(self) -> None:
        self.do(self._close())
        self.do(self._open())

    @rule(kind=st.sampled_from(("kept", "flushed", "lost")))
    def crash(self, kind: Any) -> None:
        self.line.cut()
        self.do(self._close())
        for store in self.world.stores.values():
            store.crash(kind)
        self.do(self._open())
        self.recount()

    def recount(self) -> None:
        """After a crash only the log says which turns there were."""
        self.last_event.clear()
        for partition in range(PARTITIONS):
            for record in self.do(self.world.records(partition)):
                if isinstance(record, r.TurnCommitted):
                    self.last_event[record.instance, record.execution_id] += len(record.events)

    # What must be true

    @invariant()
    def the_store_is_the_fold_of_the_changelog(self) -> None:
        if not hasattr(self, "provider"):
            return
        for partition in range(PARTITIONS):
            store = self.world.stores["node", partition]
            rows, until = dict(store.rows), head_of(store).offset  # as it is now: it moves while the log is read
            assert rows == self.do(self.world.rebuilt(partition, until=until))

    def teardown(self) -> None:
        try:
            if hasattr(self, "provider"):
                self._finish()
        finally:
            self.loop.close()

    def _finish(self) -> None:
        """A node that starts from nothing answers every question as this one did, and no message counted twice."""
        self.do(self._close())
        self.do(self._open())
        answers = self.do(self.answers())
        self.do(self._close())
        self.world.stores.clear()
        self.do(self._open())
        assert self.do(self.answers()) == answers
        self.do(self._close())
        consumed = Counter[tuple[str, str]]()
        for partition in range(PARTITIONS):
            for record in self.do(self.world.records(partition)):
                if isinstance(record, r.TurnCommitted):
                    ids = [one.message_id for one in record.consumed if one.message_id is not None]
                    consumed.update((record.instance, message_id) for message_id in ids)
        assert [message for message, count in consumed.items() if count > 1] == []
        self.do(self.world.log.close())

    async def answers(self) -> list[object]:
        await self.world.clock.sleep_ms(1_000)  # lanes are read behind the opening, and nothing is hidden or leased now
        provider = self.provider
        found: list[object] = [await provider.list_instances(), await provider.get_queue_depths()]
        for instance in INSTANCES:
            found += [await provider.get_instance_info(instance), await provider.read(instance)]
            found.append(await provider.list_executions(instance))
            found += [await provider.read_with_execution(instance, execution_id) for execution_id in (1, 2, 3)]
        return found


AnyCalls.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
TestAnyCalls = AnyCalls.TestCase
