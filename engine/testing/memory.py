"""What does the port mean? A provider in memory that is short enough to be read as its specification."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import anyio
import anyio.lowlevel
import msgspec
from msgspec import structs

from engine.clock import Clock
from engine.errors import Refused
from engine.model.events import AnyEvent, OrchestrationStarted
from engine.model.failure import Failure
from engine.model.ids import FIRST_EXECUTION, automatic_parent, is_in_tree, roots_of
from engine.model.key_values import KeyValue, merged
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.sessions import SessionClaim
from engine.model.status import PAUSED, STANDSTILL, TERMINAL, Status
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import TurnResult
from engine.model.version import VersionRange
from engine.model.views import ExecutionInfo, InstanceInfo, InstanceStats, InstanceTree, QueueDepths, SystemMetrics
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem, OrchestrationItem
from engine.testing.memory_queues import InstanceLocks, OrchestratorQueue, WorkerQueue
from engine.testing.memory_sessions import Sessions
from engine.testing.memory_tables import UNNAMED, InstanceRow, QueuedMessage

Found = TypeVar("Found")


class MemoryProvider:
    """`Provider` and `ProviderAdmin` over dicts: durable as long as the process, for one process.

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
        self._locks = InstanceLocks(self._now_ms)
        self._messages = OrchestratorQueue(self._now_ms)
        self._sessions = Sessions(self._now_ms)
        self._work = WorkerQueue(self._now_ms, self._sessions)
        self._anything_new = anyio.Event()

    # Mailbox

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        self._messages.receive(message, delay_ms)
        self._wake()

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        self._work.put(item)
        self._wake()

    # InstanceView

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        row = self._instances.get(instance)
        return row.info() if row else None

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        return await self._once(instance, lambda info: info.revision > seen)

    async def ended(self, instance: str) -> InstanceInfo:
        return await self._once(instance, lambda info: info.status in STANDSTILL)

    async def _once(self, instance: str, is_awaited: Callable[[InstanceInfo], bool]) -> InstanceInfo:
        while True:
            row = self._instances.get(instance)
            if row is not None and is_awaited(info := row.info()):
                return info
            await self._anything_new.wait()

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        row = self._instances.get(instance)
        return row.current.history().load() if row else ()

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        row = self._instances.get(instance)
        execution = row.executions.get(execution_id) if row else None
        return execution.history().load() if execution else ()

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        return (await self.get_key_values(instance)).get(key)

    async def get_key_values(self, instance: str) -> Mapping[str, KeyValue]:
        row = self._instances.get(instance)
        return merged(row.began_with, row.changed) if row else {}

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        return self._messages.has_consumed(instance, message_id)

    # Provider, the orchestrator queue

    async def fetch_orchestration_item(
        self, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> OrchestrationItem | None:
        items = await self.fetch_orchestration_items(1, lock_timeout_ms, poll_timeout_ms, pins)
        return items[0] if items else None

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> Sequence[OrchestrationItem]:
        return await self._poll(lambda: self._lock_oldest(items_max, lock_timeout_ms, pins), poll_timeout_ms) or ()

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        instance = self._locks.valid("ack_orchestration_item", lock_token)
        self._refuse_known_events(instance, result)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commit(instance, lock_token, result)
        self._locks.release(instance)
        self._wake()
        durable.set_result(None)
        return durable

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        instance = self._locks.known("abandon_orchestration_item", lock_token)
        for message in self._messages.tagged(instance, lock_token):
            message.visible_at_ms = self._now_ms() + delay_ms
            message.attempts -= ignore_attempt
        self._locks.release(instance)
        self._wake()

    async def renew_orchestration_item_lock(self, lock_token: str, extend_for_ms: int) -> None:
        self._locks.extend(self._locks.valid("renew_orchestration_item_lock", lock_token), extend_for_ms)

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        instance = self._locks.valid("hold_orchestration_item", lock_token)
        row = self._instances.setdefault(instance, self._row_of_start(instance, FIRST_EXECUTION))
        row.held = failure
        row.touch(self._now_ms())
        self._locks.release(instance)
        self._wake()

    # Provider, the worker queue

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        return await self._poll(lambda: self._work.lease_oldest(lock_timeout_ms, tags, session), poll_timeout_ms)

    async def renew_session_lock(self, owners: Sequence[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        return self._sessions.renew(owners, extend_for_ms, idle_timeout_ms)

    async def cleanup_orphaned_sessions(self, idle_timeout_ms: int) -> int:
        del idle_timeout_ms  # what is forgotten comes again with its next item
        return self._sessions.forget(self._work.session_ids())

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        self._work.answer(self._work.valid("ack_work_item", lock_token))
        if completion is not None:
            self._messages.put(completion)
        self._wake()

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        row = self._work.valid("renew_work_item_lock", lock_token)
        self._work.extend(row, extend_for_ms)
        if heartbeat is not None:
            self._work.keep(row, heartbeat)

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        work = self._work.known("abandon_work_item", lock_token)
        self._work.give_back(work, delay_ms)
        work.attempts = max(0, work.attempts - ignore_attempt)  # a late delivery was not counted
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
        return self._executions(row) if row else ()

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        row = self._instances.get(instance)
        execution = row.executions.get(execution_id) if row else None
        return execution.info(instance) if execution else None

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        row = self._instances.get(instance)
        if row is None:
            return None
        events = row.current.history().load()
        first = events[0] if events else None
        kept = merged(row.began_with, row.changed)
        return InstanceStats(
            history_events=len(events),
            history_bytes=sum(len(msgspec.msgpack.encode(event)) for event in events),
            queue_pending=len(first.carried) if isinstance(first, OrchestrationStarted) else 0,
            keys=len(kept),
            key_value_bytes=sum(len(each.value.data) for each in kept.values()),
        )

    async def get_system_metrics(self) -> SystemMetrics:
        executions = [execution for row in self._instances.values() for execution in row.executions.values()]
        return SystemMetrics(
            instances=len(self._instances),
            executions=len(executions),
            events=sum(len(execution.events) for execution in executions),
            by_status=dict(Counter(row.status for row in self._instances.values())),
        )

    async def get_queue_depths(self) -> QueueDepths:
        return structs.replace(self._messages.depths(self._locks), worker_queue=self._work.depth())

    async def suspend_instance(self, instance: str, reason: str) -> None:
        row = self._existing("suspend_instance", instance)
        if row.status is Status.SUSPENDED:
            return
        if row.status is not Status.RUNNING:
            raise Refused("suspend_instance", f"expected {instance!r} to be running, but it is {row.status.value}")
        row.suspend_reason = reason
        row.touch(self._now_ms())
        if self._locks.is_held(instance):
            self._locks.release(instance)
        self._wake()

    async def resume_instance(self, instance: str) -> None:
        row = self._instances.get(instance)
        if row is None or row.status not in PAUSED:
            state = "there is none" if row is None else f"it is {row.status.value}"
            raise Refused("resume_instance", f"expected {instance!r} to be held or suspended, but {state}")
        row.held = row.suspend_reason = None
        row.touch(self._now_ms())
        self._wake()

    async def list_children(self, instance: str) -> Sequence[str]:
        return sorted(other for other in self._instances if automatic_parent(other) == instance)

    async def get_parent_id(self, instance: str) -> str | None:
        return self._existing("get_parent_id", instance).parent_instance

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        self._existing("get_instance_tree", instance)
        return InstanceTree(instance, tuple(self._tree(instance)))

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        self._existing("delete_instance", instance)
        return self._delete("delete_instance", [instance], force)

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        for instance in instances:
            self._existing("delete_instances_atomic", instance)
        roots = roots_of(instances)
        self._refuse_orphans(instances, roots)
        return self._delete("delete_instances_atomic", roots, force)

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        row = self._existing("prune_executions", instance)
        pruned = [row.executions.pop(execution_id) for execution_id in options.chosen(self._executions(row))]
        events = sum(len(execution.events) for execution in pruned)
        return PrunedCounts(instances=1 if pruned else 0, executions=len(pruned), events=events)

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        roots = [
            instance
            for instance in self._chosen(which)
            if automatic_parent(instance) is None and self._has_ended(instance)
        ]
        deleted = sum((self._drop_tree(root) for root in roots[: which.limit]), DeletedCounts())
        self._wake()
        return deleted

    async def prune_executions_bulk(self, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
        pruned = PrunedCounts()
        for instance in self._chosen(which):
            if pruned.instances < which.limit:
                pruned += await self.prune_executions(instance, options)
        return pruned

    # What a test may do to it

    def corrupt_history(self, instance: str) -> None:
        """Make the stored events of all executions of `instance` undecodable."""
        for execution in self._instances[instance].executions.values():
            execution.corrupted = True

    def max_attempt_count(self, instance: str) -> int:
        """The largest number of fetches among the queued messages of `instance`; 0 without any."""
        return max((message.attempts for message in self._messages.all(instance)), default=0)

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
            parts = (self._locks, self._messages, self._work, self._sessions)
            instants = itertools.chain.from_iterable(part.instants() for part in parts)
            await self._news_within(min([deadline_ms, *(at for at in instants if at > now_ms)]) - now_ms)

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

    # Turns

    def _may_have_a_turn(self, instance: str) -> list[QueuedMessage]:
        """The messages that a fetch would return for this instance now."""
        row = self._instances.get(instance)
        if self._locks.is_held(instance) or (row and row.status in PAUSED):
            return []
        return self._messages.visible(instance) if row or self._messages.start_of(instance) else []

    def _is_for(self, pins: VersionRange | None, instance: str) -> bool:
        """Whether the execution that the instance would have a turn of is one of `pins`."""
        row = self._instances.get(instance)
        return pins is None or pins.takes(row.current.pin if row else None)

    def _lock_oldest(
        self, items_max: int, lock_timeout_ms: int, pins: VersionRange | None
    ) -> Sequence[OrchestrationItem]:
        for instance in self._messages.instances():
            if instance not in self._instances:
                self._messages.drop_orphans(instance)
        ready = sorted(
            (messages[0].position, instance)
            for instance in self._messages.instances()
            if (messages := self._may_have_a_turn(instance)) and self._is_for(pins, instance)
        )
        return [self._lock(instance, lock_timeout_ms) for _, instance in ready[:items_max]]

    def _lock(self, instance: str, lock_timeout_ms: int) -> OrchestrationItem:
        token = self._locks.take(instance, lock_timeout_ms)
        batch = self._messages.visible(instance)
        for message in batch:
            message.locked_by = token
            message.attempts += 1
        existing = self._instances.get(instance)
        row = existing or self._row_of_start(instance, FIRST_EXECUTION)
        return OrchestrationItem(
            instance=instance,
            orchestration_name=row.name,
            version=row.version,
            execution_id=row.current_execution_id,
            incarnation=row.incarnation,
            history=row.current.history(row.began_with),
            messages=tuple(queued.message for queued in batch),
            lock_token=token,
            attempt_count=max(queued.attempts for queued in batch),
            lineage=0,
            now_ms=self._now_ms(),
            status=existing.status if existing else None,
        )

    def _row_of_start(self, instance: str, execution_id: int) -> InstanceRow:
        """What an instance that does not exist yet would be, going by the start message that waits for it."""
        now_ms = self._now_ms()
        row = InstanceRow(
            instance=instance, created_at_ms=now_ms, updated_at_ms=now_ms, current_execution_id=execution_id
        )
        row.execution(execution_id, now_ms)
        if start := self._messages.start_of(instance):
            row.name, row.version = start.name, start.version or UNNAMED
        return row

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
        """All of `result`. Nothing in here can fail, which is what makes it atomic."""
        row = self._instances.setdefault(instance, self._row_of_start(instance, result.execution_id))
        row.record(result, self._now_ms())
        self._messages.consume(instance, self._messages.tagged(instance, token))
        for item in result.work_items:
            self._work.put(item)
        self._work.take_back(result.cancelled_activities)
        for message in result.messages:
            self._messages.put(message)
        self._messages.take_back_timers(instance, result.cancelled_timers)

    # Administration

    def _existing(self, operation: str, instance: str) -> InstanceRow:
        if row := self._instances.get(instance):
            return row
        raise Refused(operation, f"expected an instance {instance!r}, but there is none")

    def _executions(self, row: InstanceRow) -> Sequence[ExecutionInfo]:
        return [execution.info(row.instance) for _, execution in sorted(row.executions.items())]

    def _tree(self, root: str) -> Sequence[str]:
        return sorted(instance for instance in self._instances if is_in_tree(instance, root))

    def _has_ended(self, root: str) -> bool:
        return all(self._instances[member].status in TERMINAL for member in self._tree(root))

    def _chosen(self, which: InstanceFilter) -> Sequence[str]:
        rows = sorted(self._instances.items())
        return [instance for instance, row in rows if which.takes(row.current.info(instance))]

    def _refuse_orphans(self, named: Sequence[str], roots: Sequence[str]) -> None:
        for root in roots:
            if unnamed := sorted(set(self._tree(root)) - set(named)):
                raise Refused(
                    "delete_instances_atomic", f"expected everybody in the tree of {root!r}, but {unnamed} are missing"
                )

    def _delete(self, operation: str, roots: Sequence[str], force: bool) -> DeletedCounts:
        """The trees of all `roots`, or none. Nothing after the checks can fail, which is what makes it atomic."""
        for root in roots:
            if automatic_parent(root) is not None:
                raise Refused(operation, f"expected the root of a tree, but {root!r} is a child")
            going = [instance for instance in self._tree(root) if self._instances[instance].status not in TERMINAL]
            if going and not force:
                state = self._instances[going[0]].status.value
                raise Refused(operation, f"expected what has ended, or force, but {going[0]!r} is {state}")
        deleted = sum((self._drop_tree(root) for root in roots), DeletedCounts())
        self._wake()
        return deleted

    def _drop_tree(self, root: str) -> DeletedCounts:
        rows = [self._instances.pop(instance) for instance in self._tree(root)]
        executions = [execution for row in rows for execution in row.executions.values()]
        self._locks.drop_tree(root)
        return DeletedCounts(
            instances=len(rows),
            executions=len(executions),
            events=sum(len(execution.events) for execution in executions),
            queue_messages=self._messages.drop_tree(root) + self._work.drop_tree(root),
        )
