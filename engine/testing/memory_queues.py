"""How does peek-lock work? The two queues and the instance locks of the memory provider."""

import bisect
import itertools
from collections.abc import Callable, Collection, Iterator

import anyio

from engine.errors import LeaseLost
from engine.model.ids import is_in_tree
from engine.model.messages import (
    AnyMessage,
    Completion,
    EnqueueMessage,
    External,
    FireTimer,
    StartOrchestration,
    due_at_ms,
)
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import TagFilter
from engine.model.turn import ActivityRef, TimerRef
from engine.model.views import QueueDepths
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from engine.testing.memory_sessions import Sessions
from engine.testing.memory_tables import InstanceLock, QueuedMessage, QueuedWork


class InstanceLocks:
    """Who may ack a turn of which instance. A lock that ran out stays known until the next one is taken."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._locks: dict[str, InstanceLock] = {}
        self._numbers = itertools.count(1)

    def take(self, instance: str, timeout_ms: int) -> str:
        """Lock `instance`, whoever had it before, and return the token."""
        token = f"lock-{next(self._numbers)}"
        self._locks[instance] = InstanceLock(token, self._now_ms() + timeout_ms)
        return token

    def is_held(self, instance: str) -> bool:
        return self.holder(instance) is not None

    def holder(self, instance: str) -> str | None:
        """Token of the lock that is valid now, if there is one."""
        lock = self._locks.get(instance)
        return lock.token if lock is not None and lock.until_ms > self._now_ms() else None

    def known(self, operation: str, token: str) -> str:
        """The instance that was locked last under `token`, whether or not that lock has run out."""
        for instance, lock in self._locks.items():
            if lock.token == token:
                return instance
        raise LeaseLost(operation, f"expected the token of an instance's lock, but {token!r} is not one (any more)")

    def valid(self, operation: str, token: str) -> str:
        """The instance that is locked now under `token`."""
        instance = self.known(operation, token)
        if not self.is_held(instance):
            raise LeaseLost(operation, f"expected {token!r} to hold the lock of {instance!r}, but it has expired")
        return instance

    def extend(self, instance: str, extend_for_ms: int) -> None:
        self._locks[instance].until_ms = self._now_ms() + extend_for_ms

    def release(self, instance: str) -> None:
        del self._locks[instance]

    def drop_tree(self, root: str) -> None:
        """Whoever has a lock in the tree has lost it; its token is nobody's."""
        self._locks = {instance: lock for instance, lock in self._locks.items() if not is_in_tree(instance, root)}

    def instants(self) -> Iterator[int]:
        """When each lock runs out."""
        return (lock.until_ms for lock in self._locks.values())


class OrchestratorQueue:
    """Messages by instance, each instance's in order of arrival."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._rows: dict[str, list[QueuedMessage]] = {}
        self._message_ids: set[tuple[str, str]] = set()
        self._consumed: set[tuple[str, str]] = set()
        self._arrivals = itertools.count(1)

    def receive(self, message: AnyMessage, delay_ms: int = 0) -> None:
        """Queue a message from outside, unless one of its id came before."""
        if isinstance(message, External) and message.message_id is not None:
            message_id = (message.instance, message.message_id)
            if message_id in self._message_ids:
                return
            self._message_ids.add(message_id)
        self.put(message, delay_ms)

    def put(self, message: AnyMessage, delay_ms: int = 0) -> None:
        """Queue `message`. A turn may send on what it consumed, under the id that it has."""
        visible_at_ms = max(self._now_ms() + delay_ms, due_at_ms(message))
        position = (visible_at_ms, next(self._arrivals))
        row = QueuedMessage(message=message, position=position, visible_at_ms=visible_at_ms)
        bisect.insort(self._rows.setdefault(message.instance, []), row, key=lambda other: other.position)

    def instances(self) -> list[str]:
        """Whoever has a message."""
        return list(self._rows)

    def all(self, instance: str) -> list[QueuedMessage]:
        return self._rows.get(instance, [])

    def visible(self, instance: str) -> list[QueuedMessage]:
        now_ms = self._now_ms()
        return [row for row in self.all(instance) if row.visible_at_ms <= now_ms]

    def tagged(self, instance: str, token: str) -> list[QueuedMessage]:
        """What the fetch that took `token` returned."""
        return [row for row in self.all(instance) if row.locked_by == token]

    def remove(self, instance: str, gone: Collection[QueuedMessage]) -> None:
        left = [row for row in self.all(instance) if row not in gone]
        if left:
            self._rows[instance] = left
        else:
            self._rows.pop(instance, None)

    def consume(self, instance: str, done: Collection[QueuedMessage]) -> None:
        """A turn of the instance is done with these."""
        self.remove(instance, done)
        ids = (row.message.message_id for row in done if isinstance(row.message, External))
        self._consumed.update((instance, message_id) for message_id in ids if message_id is not None)

    def has_consumed(self, instance: str, message_id: str) -> bool:
        """Whether a turn of the instance is done with a message of this id."""
        return (instance, message_id) in self._consumed

    def drop_orphans(self, instance: str) -> None:
        """Of who does not exist: take queue messages and answers out, unless something else waits for it too."""
        if all(isinstance(row.message, EnqueueMessage | Completion) for row in self.all(instance)):
            self.remove(instance, self.visible(instance))

    def start_of(self, instance: str) -> StartOrchestration | None:
        """The first start message that is visible."""
        starts = (row.message for row in self.visible(instance) if isinstance(row.message, StartOrchestration))
        return next(starts, None)

    def take_back_timers(self, instance: str, cancelled: Collection[TimerRef]) -> None:
        """Remove timers that have not fired; one that has is a message like any other."""
        now_ms = self._now_ms()
        self.remove(
            instance,
            [
                row
                for row in self.all(instance)
                if isinstance(row.message, FireTimer)
                and row.position[0] > now_ms
                and TimerRef(row.message.execution_id, row.message.timer_id) in cancelled
            ],
        )

    def drop_tree(self, root: str) -> int:
        """Remove the tree's messages and timers, and forget message ids; how many messages and timers there were."""
        self._message_ids = {known for known in self._message_ids if not is_in_tree(known[0], root)}
        self._consumed = {known for known in self._consumed if not is_in_tree(known[0], root)}
        gone = [instance for instance in self._rows if is_in_tree(instance, root)]
        return sum(len(self._rows.pop(instance)) for instance in gone)

    def depths(self, locks: InstanceLocks) -> QueueDepths:
        """Messages that no valid lock holds; the worker queue is not this one's to count."""
        now_ms = self._now_ms()
        rows = [
            row
            for instance, queue in self._rows.items()
            for row in queue
            if row.locked_by is None or row.locked_by != locks.holder(instance)
        ]
        timers = sum(isinstance(row.message, FireTimer) and row.position[0] > now_ms for row in rows)
        return QueueDepths(len(rows) - timers, 0, timers)

    def instants(self) -> Iterator[int]:
        """When each message shows."""
        return (row.visible_at_ms for queue in self._rows.values() for row in queue)


class WorkerQueue:
    """Work items in order of arrival, each with its lease."""

    def __init__(self, now_ms: Callable[[], int], sessions: Sessions) -> None:
        self._now_ms = now_ms
        self._sessions = sessions
        self._rows: list[QueuedWork] = []
        self._numbers = itertools.count(1)

    def put(self, item: WorkItem) -> None:
        self._rows.append(QueuedWork(item=item, visible_at_ms=self._now_ms()))

    def lease_oldest(
        self, timeout_ms: int, tags: TagFilter, claim: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        now_ms = self._now_ms()
        for row in self._rows:
            is_wanted = tags.takes(row.item.tag) and self._sessions.takes(claim, row.item.session_id)
            is_late = self.is_late(row)
            if row.visible_at_ms <= now_ms and not self.is_leased(row) and (is_wanted or is_late):
                attempt = row.attempts + 1
                if not is_late:
                    self._sessions.take(claim, row.item.session_id)
                    row.attempts = attempt
                row.token, row.leased_until_ms = f"lease-{next(self._numbers)}", now_ms + timeout_ms
                row.revoked = anyio.Event()
                return FetchedWorkItem(
                    item=row.item,
                    lock_token=row.token,
                    attempt_count=attempt,
                    now_ms=now_ms,
                    revoked=row.revoked,
                    heartbeat=row.heartbeat or row.item.heartbeat,
                )
        return None

    def is_leased(self, row: QueuedWork) -> bool:
        return row.token is not None and row.leased_until_ms > self._now_ms()

    def is_late(self, row: QueuedWork) -> bool:
        """Whether nobody was given it in its time."""
        return row.start_by_ms is not None and row.start_by_ms <= self._now_ms()

    def known(self, operation: str, token: str) -> QueuedWork:
        """The item leased last under `token`, whether or not that lease has run out."""
        for row in self._rows:
            if row.token == token:
                return row
        raise LeaseLost(operation, f"expected the token of a leased work item, but {token!r} is not one (any more)")

    def valid(self, operation: str, token: str) -> QueuedWork:
        """The item leased now under `token`."""
        row = self.known(operation, token)
        if not self.is_leased(row):
            raise LeaseLost(operation, f"expected {token!r} to be a lease, but it has expired")
        return row

    def extend(self, row: QueuedWork, extend_for_ms: int) -> None:
        self._sessions.touch(row.item.session_id)
        row.leased_until_ms = self._now_ms() + extend_for_ms

    def keep(self, row: QueuedWork, heartbeat: Payload) -> None:
        """Whoever has it says how far it is."""
        row.heartbeat = heartbeat

    def give_back(self, row: QueuedWork, delay_ms: int) -> None:
        row.token = None
        row.visible_at_ms = self._now_ms() + delay_ms

    def remove(self, row: QueuedWork) -> None:
        self._rows.remove(row)

    def answer(self, row: QueuedWork) -> None:
        """Remove an item that is done with."""
        self._sessions.touch(row.item.session_id)
        self.remove(row)

    def take_back(self, cancelled: Collection[ActivityRef]) -> None:
        """Remove these activities and tell whoever runs one."""
        keys = {(ref.instance, ref.execution_id, ref.activity_id) for ref in cancelled}
        for row in list(self._rows):
            if (row.item.instance, row.item.execution_id, row.item.activity_id) in keys:
                row.revoked.set()
                self.remove(row)

    def drop_tree(self, root: str) -> int:
        """Remove the tree's items and tell whoever runs one; how many there were."""
        gone = [row for row in self._rows if is_in_tree(row.item.instance, root)]
        for row in gone:
            row.revoked.set()
            self.remove(row)
        return len(gone)

    def session_ids(self) -> set[str | None]:
        """Sessions of which an item waits or runs."""
        return {row.item.session_id for row in self._rows}

    def depth(self) -> int:
        """How many items nobody has leased."""
        return sum(not self.is_leased(row) for row in self._rows)

    def instants(self) -> Iterator[int]:
        """When each item shows, is for anybody, or its lease runs out."""
        return (
            instant
            for row in self._rows
            for instant in (row.visible_at_ms, row.leased_until_ms, row.start_by_ms)
            if instant is not None
        )
