"""Which activities wait for a worker, and who has which? In memory, pure, rebuilt from the work table.

Only committed work items are in here: an activity must not start before the turn that asked for it is durable.
Leases outlive a rebuild, because the activities they stand for run on, and so do sessions.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator

import anyio
from msgspec import Struct
from msgspec.structs import replace

from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import TagFilter
from engine.model.work import WorkItem
from provider_log.partition.sessions import Sessions, WorkKey
from provider_log.records import Delivery

_STALE_MAX = 1_000


class Waiting(Struct, kw_only=True):
    """A work item that nobody has acked. `order` is its place among all of the partition, and its own for ever.

    Attributes:
        start_by_ms: When it is for anybody, if it was never delivered by then; 0: never.
        heartbeat: What a worker said last of how far it is.
    """

    key: WorkKey
    order: int
    tag: str | None
    load: Callable[[], WorkItem]
    session_id: str | None = None
    attempt: int = 0
    visible_at_ms: int = 0
    token: str | None = None
    start_by_ms: int = 0
    heartbeat: Payload | None = None


class Lease(Struct, frozen=True, kw_only=True):
    """A work item in somebody's hands. `attempt` and `nonce` make the token; it holds over owner changes.

    Attributes:
        is_late: The item is for anybody, to say that nobody began it. Of that nothing is written down: a delivery that
            counted would have the item wait for its own workers again if no answer came.
    """

    key: WorkKey
    attempt: int
    nonce: bytes
    until_ms: int
    revoked: anyio.Event
    is_late: bool = False


class Leased(Struct, frozen=True):
    """What a fetch gets."""

    item: WorkItem
    lease: Lease
    heartbeat: Payload | None


class Backlog:
    """Work items in order, with leases. A queue for each tag, so that what nobody serves is in nobody's way.

    Items of sessions wait in queues of their own, see `Sessions`: those without one never look at them. An item that
    nobody was given in its time stands in a queue for everybody, too.
    """

    def __init__(self) -> None:
        self._sessions = Sessions(self._is_ready)
        self._items: dict[WorkKey, Waiting] = {}
        self._ready: dict[str | None, list[tuple[int, WorkKey]]] = {}
        self._later: list[tuple[int, int, WorkKey]] = []
        self._start_bys: list[tuple[int, int, WorkKey]] = []
        self._late: list[tuple[int, WorkKey]] = []
        self._leases: dict[str, Lease] = {}
        self._answered: dict[str, Lease] = {}  # their answers are admitted and not committed
        self._lease_ends: list[tuple[int, str]] = []
        self._undelivered: list[Delivery] = []

    @property
    def unleased(self) -> int:
        """Work items nobody has."""
        return sum(item.token is None for item in self._items.values())

    def rebuild(self, items: Iterable[Waiting]) -> None:
        """Start again from these items. Leases of items that are still there go on, others are revoked.

        So do leases whose answer was admitted and not committed: the worker may give it again.
        """
        self._items = {item.key: item for item in items}
        self._ready, self._later = {}, []
        self._start_bys, self._late = [], []
        self._sessions.rebuild(item.session_id for item in self._items.values() if item.session_id is not None)
        answered, self._answered = self._answered, {}
        self._leases |= {token: lease for token, lease in answered.items() if lease.key in self._items}
        for token, lease in list(self._leases.items()):
            item = self._items.get(lease.key)
            if item is None:
                del self._leases[token]
                lease.revoked.set()
            else:
                item.token = token
                if not lease.is_late:
                    item.attempt = max(item.attempt, lease.attempt)
        self._lease_ends = [(lease.until_ms, token) for token, lease in self._leases.items()]
        heapq.heapify(self._lease_ends)
        for item in self._items.values():
            self._offer(item)

    def _offer(self, item: Waiting) -> None:
        if item.token is None:
            if item.visible_at_ms > 0:
                heapq.heappush(self._later, (item.visible_at_ms, item.order, item.key))
            else:
                self._make_ready(item)

    def _make_ready(self, item: Waiting) -> None:
        if item.session_id is None:
            heapq.heappush(self._ready.setdefault(item.tag, []), (item.order, item.key))
        else:
            self._sessions.offer(item.session_id, item.tag, item.order, item.key)
        if item.start_by_ms and not item.attempt:
            if len(self._start_bys) > 2 * len(self._items) + _STALE_MAX:  # of items long done, due in days
                self._start_bys = [entry for entry in self._start_bys if self._is_ready(*entry[1:])]
                heapq.heapify(self._start_bys)
            heapq.heappush(self._start_bys, (item.start_by_ms, item.order, item.key))

    def add(self, item: Waiting) -> None:
        """A work item was committed."""
        self._items[item.key] = item
        if item.session_id is not None:
            self._sessions.came(item.session_id)
        self._offer(item)

    def remove(self, key: WorkKey) -> bool:
        """The item was acked or taken back; its lease, if any, is revoked. False if it is not here."""
        item = self._items.pop(key, None)
        if item is None:
            return False
        if item.session_id is not None:
            self._sessions.went(item.session_id)
        if item.token is not None:
            self._leases.pop(item.token).revoked.set()
        return True

    def settle(self, token: str, now_ms: int) -> None:
        """The worker answered: the item is done with, and nobody needs to be told. `forget` it once that is durable."""
        lease = self._answered[token] = self._leases.pop(token)
        item = self._items.pop(lease.key)
        if item.session_id is not None:
            self._sessions.used(item.session_id, now_ms)
            self._sessions.went(item.session_id)

    def forget(self, token: str) -> None:
        """The answer is committed: its lease is over whatever happens."""
        self._answered.pop(token, None)

    def tick(self, now_ms: int) -> None:
        """Let items become visible or late, leases expire and sessions lapse."""
        self._sessions.tick(now_ms)
        while self._later and self._later[0][0] <= now_ms:
            _, _, key = heapq.heappop(self._later)
            item = self._items.get(key)
            if item is not None and item.token is None and 0 < item.visible_at_ms <= now_ms:
                item.visible_at_ms = 0
                self._make_ready(item)
        while self._lease_ends and self._lease_ends[0][0] <= now_ms:
            _, token = heapq.heappop(self._lease_ends)
            lease = self._leases.get(token)
            if lease is not None and lease.until_ms <= now_ms:
                del self._leases[token]
                lease.revoked.set()
                item = self._items[lease.key]
                item.token = None
                self._offer(item)
        while self._start_bys and self._start_bys[0][0] <= now_ms:
            _, order, key = heapq.heappop(self._start_bys)
            heapq.heappush(self._late, (order, key))

    def next_due_ms(self) -> int | None:
        """When the next item becomes visible or late, or the next lease or session may expire."""
        heaps = (self._later, self._lease_ends, self._start_bys, self._sessions.ends)
        heads = [heap[0][0] for heap in heaps if heap]
        return min(heads, default=None)

    def take(
        self,
        tags: TagFilter,
        token: str,
        nonce: bytes,
        now_ms: int,
        lock_timeout_ms: int,
        worker: str,
        session: SessionClaim | None = None,
    ) -> Leased | None:
        """Lease the oldest visible item that `tags` and `session` take, or None; its session is then held.

        An item that is late is for everybody; its session is not held by that, and the delivery does not count.
        """
        self.tick(now_ms)
        firsts = [first for tag in _queues_of(tags, self._ready) if (first := self._first_ready(tag)) is not None]
        if session is not None and self._sessions.is_anybody_in_line:
            firsts += self._firsts_of_sessions(tags, session.owner)
        item = min(firsts, key=lambda first: first.order, default=None)
        late = self._first_late() if self._late else None
        is_late = late is not None and (item is None or late.order <= item.order)
        item = late if is_late else item
        if item is None:
            return None
        lease = Lease(
            key=item.key,
            attempt=item.attempt + 1,
            nonce=nonce,
            until_ms=now_ms + lock_timeout_ms,
            revoked=anyio.Event(),
            is_late=is_late,
        )
        item.token = token
        if not is_late:
            item.attempt = lease.attempt
            if session is not None and item.session_id is not None:
                self._sessions.claim(item.session_id, session, now_ms)
            self._undelivered.append(_delivery(lease, worker))
        self._leases[token] = lease
        heapq.heappush(self._lease_ends, (lease.until_ms, token))
        return Leased(item.load(), lease, item.heartbeat)

    def _firsts_of_sessions(self, tags: TagFilter, owner: str) -> Iterator[Waiting]:
        """The oldest visible item of each tag, of sessions that nobody holds and of those of `owner`."""
        for holder in (None, owner):
            for tag in _queues_of(tags, self._sessions.tags_of(holder)):
                key = self._sessions.first(holder, tag)
                if key is not None:
                    yield self._items[key]

    def _is_ready(self, order: int, key: WorkKey) -> bool:
        """Whether the item of that place can be had. The same key can be another's: of a later life of its instance."""
        item = self._items.get(key)
        return item is not None and item.order == order and item.token is None and item.visible_at_ms == 0

    def _first_ready(self, tag: str | None) -> Waiting | None:
        """The oldest visible item of a tag, left where it is. Entries of items that are not to be had any more go."""
        ready = self._ready.get(tag, [])
        while ready:
            order, key = ready[0]
            if self._is_ready(order, key):
                return self._items[key]
            heapq.heappop(ready)
        self._ready.pop(tag, None)
        return None

    def _first_late(self) -> Waiting | None:
        """The oldest item that nobody was given in its time, left where it is."""
        while self._late:
            order, key = self._late[0]
            if self._is_ready(order, key) and not self._items[key].attempt:
                return self._items[key]
            heapq.heappop(self._late)
        return None

    def lease(self, token: str, now_ms: int) -> Lease | None:
        """The live lease of this token, or None."""
        lease = self._leases.get(token)
        return None if lease is None or lease.until_ms <= now_ms else lease

    def is_leased(self, token: str) -> bool:
        """Whether the lease was neither given back, nor taken back, nor seen to expire. For any thread."""
        return token in self._leases

    def renew(self, token: str, now_ms: int, extend_for_ms: int, worker: str) -> bool:
        """Extend a live lease; False if it is not."""
        lease = self.lease(token, now_ms)
        if lease is None:
            return False
        renewed = replace(lease, until_ms=now_ms + extend_for_ms)
        self._leases[token] = renewed
        session_id = self._items[lease.key].session_id
        if session_id is not None:
            self._sessions.used(session_id, now_ms)
        heapq.heappush(self._lease_ends, (renewed.until_ms, token))
        if not renewed.is_late:
            self._undelivered.append(_delivery(renewed, worker))
        return True

    def place_of(self, token: str) -> int:
        """The `order` of the item that a live lease is on."""
        return self._items[self._leases[token].key].order

    def keep(self, key: WorkKey, order: int, heartbeat: Payload) -> None:
        """What a worker said of the item with that place is committed; nothing happens if it is not there any more."""
        item = self._items.get(key)
        if item is not None and item.order == order:
            item.heartbeat = heartbeat

    def abandon(self, token: str, visible_at_ms: int, *, ignore_attempt: bool) -> bool:
        """Give an item back, hidden until `visible_at_ms` (0: visible now); False if the token is unknown."""
        lease = self._leases.pop(token, None)
        if lease is None:
            return False
        item = self._items[lease.key]
        item.attempt = max(0, item.attempt - ignore_attempt)
        item.token, item.visible_at_ms = None, visible_at_ms
        self._offer(item)
        return True

    def renew_sessions(self, owners: Collection[str], now_ms: int, extend_for_ms: int, idle_timeout_ms: int) -> int:
        """Extend sessions that these hold and use; how many."""
        return self._sessions.renew(owners, now_ms, extend_for_ms, idle_timeout_ms)

    def forget_sessions(self, now_ms: int) -> int:
        """Forget sessions that nobody holds and of which there is no item; how many."""
        return self._sessions.forget(now_ms)

    def revoke_all(self) -> None:
        """The partition is given up: whoever works for it is told, since another node does the work."""
        leases, self._leases = self._leases, {}
        for lease in leases.values():
            lease.revoked.set()

    def drain_deliveries(self) -> list[Delivery]:
        """Deliveries and renewals since the last call, oldest first, the last of each item only."""
        latest = {(d.instance, d.execution_id, d.activity_id): d for d in self._undelivered}
        self._undelivered.clear()
        return list(latest.values())

    def leases(self, worker: str) -> list[Delivery]:
        """Every lease that is out and counts, for the record of a clean release."""
        return [_delivery(lease, worker) for lease in self._leases.values() if not lease.is_late]


def _queues_of(tags: TagFilter, known: Iterable[str | None]) -> list[str | None]:
    """The tags that are taken, of those that are `known` if that is all of them."""
    if tags.tagged is None:
        return [tag for tag in known if tags.takes(tag)]
    return [*tags.tagged, None] if tags.untagged else [*tags.tagged]


def _delivery(lease: Lease, worker: str) -> Delivery:
    instance, execution_id, activity_id = lease.key
    return Delivery(
        instance=instance,
        execution_id=execution_id,
        activity_id=activity_id,
        attempt=lease.attempt,
        nonce=lease.nonce,
        worker=worker,
        lease_end_ms=lease.until_ms,
    )
