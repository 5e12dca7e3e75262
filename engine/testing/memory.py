"""What does the port mean? A provider in memory that is short enough to be read as its specification."""

import asyncio
import bisect
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
import anyio.lowlevel

from engine.clock import Clock
from engine.errors import LeaseLost, Refused
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.ids import FIRST_EXECUTION
from engine.model.messages import AnyMessage, EnqueueMessage, External, FireTimer, StartOrchestration
from engine.model.status import Status
from engine.model.turn import ActivityRef, TimerRef, TurnResult
from engine.model.work import WorkItem
from engine.port import ExecutionInfo, FetchedWorkItem, InstanceInfo, OrchestrationItem, QueueDepths
from engine.testing.memory_tables import (
    UNNAMED,
    InstanceLock,
    InstanceRow,
    QueuedMessage,
    QueuedWork,
)

Found = TypeVar("Found")


class MemoryProvider:
    """`Provider` and `ProviderAdmin` over dicts: durable as long as the process, one process only.

    A turn is durable when it is admitted, so its awaitable is done at once. Waiting fetches wake when a call changes
    something and when `clock` reaches the next instant at which a message shows or a lock runs out, so a
    `ManualClock` drives leases, delays and timers without a sleep.

    Its time starts at the clock's wall time and moves with its boot time: a step of the wall moves no lease.
    """

    name = "memory"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch_ms = clock.now_ms() - clock.boot_ms()
        self._instances: dict[str, InstanceRow] = {}
        self._inbox: dict[str, list[QueuedMessage]] = {}
        self._locks: dict[str, InstanceLock] = {}
        self._work: list[QueuedWork] = []
        self._message_ids: set[tuple[str, str]] = set()
        self._arrivals = itertools.count(1)
        self._tokens = itertools.count(1)
        self._anything_new = anyio.Event()

    # Mailbox

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        self._put_message(message, delay_ms)
        self._wake()

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        self._put_work(item)
        self._wake()

    # InstanceView

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        row = self._instances.get(instance)
        return row.info() if row else None

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        while True:
            row = self._instances.get(instance)
            if row is not None and row.revision > seen:
                return row.info()
            await self._anything_new.wait()

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        row = self._instances.get(instance)
        return row.current.history().load() if row else ()

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        row = self._instances.get(instance)
        execution = row.executions.get(execution_id) if row else None
        return execution.history().load() if execution else ()

    # Provider, the orchestrator queue

    async def fetch_orchestration_item(self, lock_timeout_ms: int, poll_timeout_ms: int) -> OrchestrationItem | None:
        items = await self.fetch_orchestration_items(1, lock_timeout_ms, poll_timeout_ms)
        return items[0] if items else None

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int
    ) -> Sequence[OrchestrationItem]:
        return await self._poll(lambda: self._lock_oldest(items_max, lock_timeout_ms), poll_timeout_ms) or ()

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        instance = self._valid_lock("ack_orchestration_item", lock_token)
        self._refuse_known_events(instance, result)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commit(instance, lock_token, result)
        self._release(instance)
        self._wake()
        durable.set_result(None)
        return durable

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        instance = self._known_lock("abandon_orchestration_item", lock_token)
        for queued in self._tagged(instance, lock_token):
            queued.visible_at_ms = self._now_ms() + delay_ms
            queued.attempts -= ignore_attempt
        self._release(instance)
        self._wake()

    async def renew_orchestration_item_lock(self, lock_token: str, extend_for_ms: int) -> None:
        instance = self._valid_lock("renew_orchestration_item_lock", lock_token)
        self._locks[instance].until_ms = self._now_ms() + extend_for_ms

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        instance = self._valid_lock("hold_orchestration_item", lock_token)
        row = self._instances.setdefault(instance, self._row_of_start(instance, FIRST_EXECUTION))
        row.held = failure
        row.touch(self._now_ms())
        self._release(instance)
        self._wake()

    # Provider, the worker queue

    async def fetch_work_item(self, lock_timeout_ms: int, poll_timeout_ms: int) -> FetchedWorkItem | None:
        return await self._poll(lambda: self._lease_oldest(lock_timeout_ms), poll_timeout_ms)

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        self._work.remove(self._valid_lease("ack_work_item", lock_token))
        if completion is not None:
            self._put_message(completion, delay_ms=0)
        self._wake()

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int) -> None:
        self._valid_lease("renew_work_item_lock", lock_token).leased_until_ms = self._now_ms() + extend_for_ms

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        work = self._known_lease("abandon_work_item", lock_token)
        work.token = None
        work.visible_at_ms = self._now_ms() + delay_ms
        work.attempts -= ignore_attempt
        self._wake()

    # ProviderAdmin

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        rows = (
            row
            for instance, row in sorted(self._instances.items())
            if (after is None or instance > after)
            and (status is None or row.status is status)
            and (name is None or row.name == name)
        )
        return [row.info() for row in itertools.islice(rows, limit)]

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        row = self._instances.get(instance)
        return [execution.info(instance) for _, execution in sorted(row.executions.items())] if row else ()

    async def get_queue_depths(self) -> QueueDepths:
        now_ms = self._now_ms()
        unlocked = [
            queued
            for instance, queue in self._inbox.items()
            for queued in queue
            if not (self._is_locked(instance) and queued.locked_by == self._locks[instance].token)
        ]
        timers = sum(isinstance(queued.message, FireTimer) and queued.visible_at_ms > now_ms for queued in unlocked)
        return QueueDepths(
            orchestrator_queue=len(unlocked) - timers,
            worker_queue=sum(not self._is_leased(work) for work in self._work),
            timer_queue=timers,
        )

    async def resume_instance(self, instance: str) -> None:
        row = self._instances.get(instance)
        if row is None or row.held is None:
            state = "there is none" if row is None else f"it is {row.status.value}"
            raise Refused("resume_instance", f"expected {instance!r} to be a held instance, but {state}")
        row.held = None
        row.touch(self._now_ms())
        self._wake()

    # For the conformance suite

    def corrupt_history(self, instance: str) -> None:
        """Make the stored events of all executions of `instance` undecodable; later events too."""
        for execution in self._instances[instance].executions.values():
            execution.corrupted = True

    def max_attempt_count(self, instance: str) -> int:
        """The largest number of fetches among the queued messages of `instance`; 0 without any."""
        return max((queued.attempts for queued in self._inbox.get(instance, ())), default=0)

    # Time and waiting

    def _now_ms(self) -> int:
        return self._epoch_ms + self._clock.boot_ms()

    def _wake(self) -> None:
        self._anything_new.set()
        self._anything_new = anyio.Event()

    async def _poll(self, look: Callable[[], Found | None], poll_timeout_ms: int) -> Found | None:
        """What `look` finds within `poll_timeout_ms`, else None. Nothing is awaited once it has found something."""
        await anyio.lowlevel.checkpoint()  # else a caller that polls in a loop starves everybody else
        deadline_ms = self._now_ms() + poll_timeout_ms
        while True:
            if found := look():
                return found
            now_ms = self._now_ms()
            if now_ms >= deadline_ms:
                return None
            await self._news_within(min([deadline_ms, *self._instants_after(now_ms)]) - now_ms)

    async def _news_within(self, duration_ms: int) -> None:
        """Return after `duration_ms` of the clock, or as soon as anything changes."""
        news = self._anything_new

        async def end_in_time() -> None:
            await self._clock.sleep_ms(duration_ms)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(end_in_time)
            await news.wait()
            group.cancel_scope.cancel()

    def _instants_after(self, now_ms: int) -> list[int]:
        """When something shows or runs out without anybody's call."""
        instants = [queued.visible_at_ms for queue in self._inbox.values() for queued in queue]
        instants += [lock.until_ms for lock in self._locks.values()]
        instants += [max(work.visible_at_ms, work.leased_until_ms) for work in self._work]
        return [instant for instant in instants if instant > now_ms]

    # Locks and leases

    def _new_token(self) -> str:
        return f"token-{next(self._tokens)}"

    def _is_locked(self, instance: str) -> bool:
        lock = self._locks.get(instance)
        return lock is not None and lock.until_ms > self._now_ms()

    def _known_lock(self, operation: str, token: str) -> str:
        """The instance locked last under `token`, whether or not that lock has run out."""
        for instance, lock in self._locks.items():
            if lock.token == token:
                return instance
        raise LeaseLost(operation, f"expected the token of an instance's lock, but {token!r} is not one (any more)")

    def _valid_lock(self, operation: str, token: str) -> str:
        instance = self._known_lock(operation, token)
        if not self._is_locked(instance):
            raise LeaseLost(operation, f"expected {token!r} to hold the lock of {instance!r}, but it has expired")
        return instance

    def _release(self, instance: str) -> None:
        del self._locks[instance]

    def _is_leased(self, work: QueuedWork) -> bool:
        return work.token is not None and work.leased_until_ms > self._now_ms()

    def _known_lease(self, operation: str, token: str) -> QueuedWork:
        """The work item leased last under `token`, whether or not that lease has run out."""
        for work in self._work:
            if work.token == token:
                return work
        raise LeaseLost(operation, f"expected the token of a leased work item, but {token!r} is not one (any more)")

    def _valid_lease(self, operation: str, token: str) -> QueuedWork:
        work = self._known_lease(operation, token)
        if not self._is_leased(work):
            raise LeaseLost(operation, f"expected {token!r} to be a lease, but it has expired")
        return work

    # The orchestrator queue

    def _put_message(self, message: AnyMessage, delay_ms: int) -> None:
        if isinstance(message, External) and message.message_id is not None:
            message_id = (message.instance, message.message_id)
            if message_id in self._message_ids:
                return
            self._message_ids.add(message_id)
        visible_at_ms = self._now_ms() + delay_ms
        if isinstance(message, FireTimer):
            visible_at_ms = max(visible_at_ms, message.fire_at_ms)
        position = (visible_at_ms, next(self._arrivals))
        queued = QueuedMessage(message=message, position=position, visible_at_ms=visible_at_ms)
        bisect.insort(self._inbox.setdefault(message.instance, []), queued, key=lambda other: other.position)

    def _tagged(self, instance: str, token: str) -> list[QueuedMessage]:
        return [queued for queued in self._inbox.get(instance, ()) if queued.locked_by == token]

    def _visible(self, instance: str) -> list[QueuedMessage]:
        now_ms = self._now_ms()
        return [queued for queued in self._inbox.get(instance, ()) if queued.visible_at_ms <= now_ms]

    def _takeable(self, instance: str) -> list[QueuedMessage]:
        """The visible messages of an instance that may have a turn now; none if it may not."""
        row = self._instances.get(instance)
        if self._is_locked(instance) or (row and row.held):
            return []
        visible = self._visible(instance)
        return visible if row or any(isinstance(queued.message, StartOrchestration) for queued in visible) else []

    def _drop_orphans(self) -> None:
        """Take out queue messages for instances that do not exist, and of which nothing queued says they will."""
        for instance, queue in list(self._inbox.items()):
            if instance not in self._instances and all(isinstance(queued.message, EnqueueMessage) for queued in queue):
                visible = self._visible(instance)
                self._keep(instance, [queued for queued in queue if queued not in visible])

    def _keep(self, instance: str, queue: list[QueuedMessage]) -> None:
        if queue:
            self._inbox[instance] = queue
        else:
            self._inbox.pop(instance, None)

    def _lock_oldest(self, items_max: int, lock_timeout_ms: int) -> Sequence[OrchestrationItem]:
        self._drop_orphans()
        takeable = sorted(
            (messages[0].position, instance) for instance in self._inbox if (messages := self._takeable(instance))
        )
        return [self._lock(instance, lock_timeout_ms) for _, instance in takeable[:items_max]]

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        now_ms, token = self._now_ms(), self._new_token()
        self._locks[instance] = InstanceLock(token, now_ms + lock_timeout_ms)
        batch = self._visible(instance)
        for queued in batch:
            queued.locked_by = token
            queued.attempts += 1
        existing = self._instances.get(instance)
        row = existing or self._row_of_start(instance, FIRST_EXECUTION)
        return OrchestrationItem(
            instance=instance,
            orchestration_name=row.name,
            version=row.version,
            execution_id=row.current_execution_id,
            incarnation=row.incarnation,
            history=row.current.history(),
            messages=tuple(queued.message for queued in batch),
            lock_token=token,
            attempt_count=max(queued.attempts for queued in batch),
            lineage=0,
            now_ms=now_ms,
            status=existing.status if existing else None,
        )

    def _row_of_start(self, instance: str, execution_id: int) -> InstanceRow:
        """What an instance that does not exist yet would be, going by the start message that waits for it."""
        now_ms = self._now_ms()
        row = InstanceRow(
            instance=instance, created_at_ms=now_ms, updated_at_ms=now_ms, current_execution_id=execution_id
        )
        row.execution(execution_id, now_ms)
        for queued in self._inbox.get(instance, ()):
            if isinstance(queued.message, StartOrchestration):
                row.name, row.version = queued.message.name, queued.message.version or UNNAMED
                break
        return row

    # The worker queue

    def _put_work(self, item: WorkItem) -> None:
        self._work.append(QueuedWork(item=item, visible_at_ms=self._now_ms()))

    def _lease_oldest(self, lock_timeout_ms: int) -> FetchedWorkItem | None:
        now_ms = self._now_ms()
        for work in self._work:
            if work.visible_at_ms <= now_ms and not self._is_leased(work):
                work.token, work.leased_until_ms = self._new_token(), now_ms + lock_timeout_ms
                work.attempts += 1
                work.revoked = anyio.Event()
                return FetchedWorkItem(
                    item=work.item, lock_token=work.token, attempt_count=work.attempts, revoked=work.revoked
                )
        return None

    # The commit of a turn

    def _refuse_known_events(self, instance: str, result: TurnResult) -> None:
        row = self._instances.get(instance)
        execution = row.executions.get(result.execution_id) if row else None
        known = set(execution.events) if execution else set[int]()
        for event in result.history_delta:
            if event.event_id in known:
                raise Refused(
                    "ack_orchestration_item",
                    f"expected new events for execution {result.execution_id} of {instance!r}, "
                    f"but event {event.event_id} exists already",
                )
            known.add(event.event_id)

    def _commit(self, instance: str, token: str, result: TurnResult) -> None:
        """All of `result`; nothing in here can fail, which is what makes it atomic."""
        row = self._instances.setdefault(instance, self._row_of_start(instance, result.execution_id))
        row.record(result, self._now_ms())
        consumed = self._tagged(instance, token)
        self._keep(instance, [queued for queued in self._inbox.get(instance, ()) if queued not in consumed])
        for item in result.work_items:
            self._put_work(item)
        self._take_back_work(result.cancelled_activities)
        for message in result.messages:
            self._put_message(message, delay_ms=0)
        self._take_back_timers(instance, result.cancelled_timers)

    def _take_back_work(self, cancelled: Sequence[ActivityRef]) -> None:
        for work in list(self._work):
            item = work.item
            if ActivityRef(item.instance, item.execution_id, item.activity_id) in cancelled:
                work.revoked.set()
                self._work.remove(work)

    def _take_back_timers(self, instance: str, cancelled: Sequence[TimerRef]) -> None:
        """Remove timers that have not fired; one that has is a message like any other."""
        now_ms = self._now_ms()
        self._keep(
            instance,
            [
                queued
                for queued in self._inbox.get(instance, ())
                if not (
                    isinstance(queued.message, FireTimer)
                    and queued.position[0] > now_ms
                    and TimerRef(queued.message.execution_id, queued.message.timer_id) in cancelled
                )
            ],
        )
