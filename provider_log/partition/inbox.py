"""Which messages wait, for which instance, and who is working on them? In memory, pure, rebuilt at any time.

An entry comes from a lane's topic or from the store (inbox and timer tables); the inbox neither knows nor cares which
of its entries are committed, because everything uncommitted is dropped by making a new inbox.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable

from msgspec import Struct

from engine.model.messages import (
    AnyMessage,
    Completion,
    ContinueInstance,
    EnqueueMessage,
    FireTimer,
    StartOrchestration,
)
from engine.model.version import EngineVersion, VersionRange
from provider_log.records import Lane

CONSUMED_BYTES = 40  # what a consumed message takes in the record of its turn at most, its id apart
_TAKEN_BYTES_MAX = 1024 * 1024  # what all messages of a turn may take there: a quarter of a record


class Standing(Struct, frozen=True, kw_only=True):
    """What the inbox must know of an instance to deliver to it.

    `is_paused`: held or suspended. `pin` is that of its current execution.
    """

    exists: bool = True
    is_paused: bool = False
    pin: EngineVersion | None = None


ABSENT = Standing(exists=False)


class Entry(Struct, kw_only=True):
    """A message that waits.

    Attributes:
        place, execution_id: With `lane` and `instance`, what a `Consumed` names it by.
        message: None while its schema is unknown; such an entry is kept and not delivered.
        raw: Its encoding as it came; counts towards the partition's budget.
        order: Place among all messages of the partition, given when it is first visible; messages of an instance are
            delivered in this order.
    """

    instance: str
    lane: Lane
    place: int
    message: AnyMessage | None
    raw: bytes = b""
    arrived_at_ms: int
    visible_at_ms: int = 0
    execution_id: int = 0
    message_id: str | None = None
    attempt: int = 0
    order: int = 0

    @property
    def consumed_bytes(self) -> int:
        """What the record of the turn that consumes it needs for saying so, at most."""
        return CONSUMED_BYTES + (0 if self.message_id is None else len(self.message_id.encode()))

    @property
    def key(self) -> "EntryKey":
        """Identifies it among all entries of the partition."""
        return (self.instance, self.lane, self.place, self.execution_id)


EntryKey = tuple[str, Lane, int, int]


class Lock(Struct, frozen=True):
    """One instance taken for one turn, with the messages it was taken with."""

    instance: str
    until_ms: int
    entries: tuple[Entry, ...]


class _Queue(Struct):
    """Visible messages of one instance."""

    entries: dict[EntryKey, Entry]
    token: str | None = None
    is_ready: bool = False


_Ready = list[tuple[int, str]]
"""A heap of instances that may be locked, the one with the oldest message first."""


class Inbox:
    """Messages by instance, with peek-locks.

    Args:
        standing: Of an instance, as of the turns admitted so far.
        orphan_grace_ms: How long a queue message for an instance that does not exist waits for its start.
    """

    def __init__(self, standing: Callable[[str], Standing], orphan_grace_ms: int) -> None:
        self._standing = standing
        self._orphan_grace_ms = orphan_grace_ms
        self._expecting: list[tuple[int, str]] = []  # until when an instance that does not exist may still be started
        self._queues: dict[str, _Queue] = {}
        self._ready: _Ready = []
        self._passed_over: dict[EngineVersion | None, _Ready] = {}  # by pin: who could take these has not come yet
        self._later: dict[EntryKey, Entry] = {}
        self._later_heap: list[tuple[int, int, int, EntryKey]] = []
        self._later_count = itertools.count()  # keys have no order: a lane is not less than another
        self._locks: dict[str, Lock] = {}
        self._lock_ends: list[tuple[int, str]] = []
        self._starts_later: Counter[str] = Counter()
        self._arrivals = 0
        self.held_bytes = 0

    def __len__(self) -> int:
        """Messages that wait and are visible or will be, timers apart; those of a live lock count."""
        visible = sum(len(queue.entries) for queue in self._queues.values())
        return visible + len(self._later) - self.timers

    @property
    def unlocked(self) -> int:
        """Messages that nobody was handed, those included that are put off: a start that nobody serves always is."""
        handed = sum(
            entry.key in self._queues[lock.instance].entries for lock in self._locks.values() for entry in lock.entries
        )
        return len(self) - handed

    @property
    def timers(self) -> int:
        """Timers that are not due."""
        return sum(isinstance(entry.message, FireTimer) for entry in self._later.values())

    def add(self, entry: Entry, now_ms: int) -> None:
        """A message arrived."""
        self.held_bytes += len(entry.raw)
        if entry.visible_at_ms > now_ms:
            self._put_later(entry)
        else:
            self._put_visible(entry)

    def _put_later(self, entry: Entry) -> None:
        self._later[entry.key] = entry
        self._starts_later[entry.instance] += _starts([entry])
        heapq.heappush(self._later_heap, (entry.visible_at_ms, entry.order, next(self._later_count), entry.key))

    def _take_later(self, key: EntryKey) -> Entry | None:
        entry = self._later.pop(key, None)
        if entry is not None and _starts([entry]):
            self._starts_later[entry.instance] -= 1
        return entry

    def _put_visible(self, entry: Entry) -> None:
        if entry.order == 0:
            self._arrivals += 1
            entry.order = self._arrivals
        queue = self._queues.get(entry.instance)
        if queue is None:
            queue = self._queues[entry.instance] = _Queue(entries={})
        queue.entries[entry.key] = entry
        self._make_ready(entry.instance, queue, entry.order)

    def _make_ready(self, instance: str, queue: _Queue, order: int) -> None:
        if queue.token is None and not queue.is_ready:
            queue.is_ready = True
            heapq.heappush(self._ready, (order, instance))

    def remove(self, key: EntryKey) -> Entry | None:
        """The message is done with; None if it is not here."""
        entry = self._take_later(key)
        if entry is None:
            queue = self._queues.get(key[0])
            entry = None if queue is None else queue.entries.pop(key, None)
            if queue is not None and queue.token is None:
                if not queue.entries:
                    del self._queues[key[0]]
                elif not queue.is_ready:  # the others may have waited for it to become readable
                    self._make_ready(key[0], queue, min(left.order for left in queue.entries.values()))
        if entry is not None:
            self.held_bytes -= len(entry.raw)
        return entry

    def entry(self, key: EntryKey) -> Entry | None:
        """The message, if it waits here."""
        queue = self._queues.get(key[0])
        return self._later.get(key) or (None if queue is None else queue.entries.get(key))

    def max_attempt_count(self, instance: str) -> int:
        """The largest number of fetches among the messages of an instance; 0 without any."""
        queue = self._queues.get(instance)
        visible = () if queue is None else queue.entries.values()
        hidden = (entry for entry in self._later.values() if entry.instance == instance)
        return max((entry.attempt for entry in (*visible, *hidden)), default=0)

    def is_locked(self, instance: str) -> bool:
        """Whether somebody works on the instance."""
        queue = self._queues.get(instance)
        return queue is not None and queue.token is not None

    def wake(self, instance: str) -> None:
        """The instance's standing changed: look at its messages again."""
        queue = self._queues.get(instance)
        if queue is not None and queue.entries:
            queue.is_ready = False  # it may have been passed over for a pin that it had
            self._make_ready(instance, queue, min(entry.order for entry in queue.entries.values()))

    def tick(self, now_ms: int) -> None:
        """Let messages become visible and locks expire."""
        while self._later_heap and self._later_heap[0][0] <= now_ms:
            _, _, _, key = heapq.heappop(self._later_heap)
            entry = self._later.get(key)
            if entry is not None and entry.visible_at_ms <= now_ms:
                self._take_later(key)
                self._put_visible(entry)
        while self._expecting and self._expecting[0][0] <= now_ms:
            self.wake(heapq.heappop(self._expecting)[1])
        while self._lock_ends and self._lock_ends[0][0] <= now_ms:
            _, token = heapq.heappop(self._lock_ends)
            lock = self._locks.get(token)
            if lock is not None and lock.until_ms <= now_ms:
                self._unlock(token, lock)

    def next_due_ms(self) -> int | None:
        """When the next message becomes visible, the next lock may expire, or the next start is waited for no more."""
        heads = [heap[0][0] for heap in (self._later_heap, self._lock_ends, self._expecting) if heap]
        return min(heads, default=None)

    def take(
        self, token: str, now_ms: int, lock_timeout_ms: int, pins: VersionRange | None = None
    ) -> Lock | tuple[Entry, ...] | None:
        """Lock the instance with the oldest visible message, of those that `pins` takes.

        Returns:
            The lock; or, unlocked, messages of an instance that does not exist and that only queue messages and
            answers wait for, which waited for its start for long enough: the caller settles them, or some of them; or
            None if nothing can be delivered.
        """
        self.tick(now_ms)
        while (ready := self._ready_for(pins)) is not None:
            order, instance = heapq.heappop(ready)
            queue = self._queues.get(instance)
            if queue is None:
                continue
            queue.is_ready = False
            if queue.token is not None or not queue.entries:
                continue
            entries = sorted(
                (entry for entry in queue.entries.values() if entry.message is not None), key=lambda entry: entry.order
            )
            standing = self._standing(instance)
            if not entries or standing.is_paused:
                continue
            if pins is not None and not pins.takes(standing.pin):
                queue.is_ready = True
                heapq.heappush(self._passed_over.setdefault(standing.pin, []), (order, instance))
                continue
            if not standing.exists and not _starts(entries):
                # Its start waits for its time, for a back-off, or for a version that can read it.
                is_expected = self._starts_later[instance] > 0 or len(entries) < len(queue.entries)
                if not is_expected and all(isinstance(entry.message, EnqueueMessage | Completion) for entry in entries):
                    given_up = [entry for entry in entries if self._waits_until_ms(entry) <= now_ms]
                    if given_up:
                        self._make_ready(instance, queue, entries[0].order)  # there may be more than one record settles
                        return tuple(as_many_as_fit(given_up))
                    heapq.heappush(self._expecting, (min(map(self._waits_until_ms, entries)), instance))
                continue  # without a start there is nothing to run; the next message brings us here again
            entries = as_many_as_fit(entries)
            for entry in entries:
                entry.attempt += 1
            queue.token = token
            lock = self._locks[token] = Lock(instance, now_ms + lock_timeout_ms, tuple(entries))
            heapq.heappush(self._lock_ends, (lock.until_ms, token))
            return lock
        return None

    def _waits_until_ms(self, orphan: Entry) -> int:
        """Until when a message waits for the start of its instance. An answer does not: who asked is no more."""
        if isinstance(orphan.message, Completion):
            return 0
        return max(orphan.arrived_at_ms, orphan.visible_at_ms) + self._orphan_grace_ms

    def _ready_for(self, pins: VersionRange | None) -> _Ready | None:
        """Where the next instance is that may be for `pins`; None if nobody is."""
        if not self._passed_over:
            return self._ready or None
        self._passed_over = {pin: ready for pin, ready in self._passed_over.items() if ready}
        taken = (ready for pin, ready in self._passed_over.items() if pins is None or pins.takes(pin))
        return min((ready for ready in (self._ready, *taken) if ready), key=lambda ready: ready[0], default=None)

    def lock(self, token: str, now_ms: int) -> Lock | None:
        """The live lock of this token, or None."""
        lock = self._locks.get(token)
        return None if lock is None or lock.until_ms <= now_ms else lock

    def locked(self, now_ms: int) -> int:
        """How many instances are locked."""
        self.tick(now_ms)
        return len(self._locks)

    def renew(self, token: str, now_ms: int, extend_for_ms: int) -> bool:
        """Extend a live lock; False if it is not."""
        lock = self.lock(token, now_ms)
        if lock is None:
            return False
        self._locks[token] = Lock(lock.instance, now_ms + extend_for_ms, lock.entries)
        heapq.heappush(self._lock_ends, (now_ms + extend_for_ms, token))
        return True

    def break_lock(self, instance: str) -> None:
        """End the lock of an instance, if somebody has it, who learns of it from the next call."""
        queue = self._queues.get(instance)
        if queue is not None and queue.token is not None:
            self.unlock(queue.token)

    def unlock(self, token: str) -> None:
        """End a lock; what is left of its messages can be taken again."""
        self._unlock(token, self._locks[token])

    def abandon(self, token: str, visible_at_ms: int, now_ms: int, *, ignore_attempt: bool) -> bool:
        """End a lock, hiding its messages until `visible_at_ms`; False if the token is unknown."""
        lock = self._locks.get(token)
        if lock is None:
            return False
        queue = self._queues[lock.instance]
        for entry in lock.entries:
            if entry.key in queue.entries:
                entry.attempt = max(0, entry.attempt - ignore_attempt)
                if visible_at_ms > now_ms:
                    del queue.entries[entry.key]
                    entry.visible_at_ms = visible_at_ms
                    self._put_later(entry)
        self._unlock(token, lock)
        return True

    def _unlock(self, token: str, lock: Lock) -> None:
        del self._locks[token]
        queue = self._queues[lock.instance]
        queue.token = None
        if queue.entries:
            self._make_ready(lock.instance, queue, min(entry.order for entry in queue.entries.values()))
        else:
            del self._queues[lock.instance]


def as_many_as_fit(entries: list[Entry]) -> list[Entry]:
    """The oldest of an instance's messages, as many as the record of one turn can say that it consumed."""
    size = 0
    for count, entry in enumerate(entries):
        size += entry.consumed_bytes
        if size > _TAKEN_BYTES_MAX:
            return entries[:count]
    return entries


def _starts(entries: Iterable[Entry]) -> bool:
    return any(isinstance(entry.message, StartOrchestration | ContinueInstance) for entry in entries)
