"""Who holds which session, and which item is the next that somebody may have? In memory, pure.

The items of a session wait in its own queues, one for each tag, and sessions stand in line by their first item: once
among those that nobody holds, or among those of their holder. So a claim, or its end, moves a session and not its
items, and nobody looks at what is another's.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from engine.model.sessions import SessionClaim

WorkKey = tuple[str, int, int]
"""Instance, execution id, activity id."""

Queue = list[tuple[int, WorkKey]]
"""A heap of items by their place among all."""

Line = list[tuple[int, str]]
"""A heap of sessions by the place of their first item; an entry may be out of date, and is looked at when it leads."""


class Session(Struct):
    """A session that was claimed. Without a `holder` its lease has ended, but it is not forgotten yet."""

    holder: str | None
    until_ms: int
    used_ms: int


class Sessions:
    """Sessions of one partition with their items.

    Args:
        is_ready: Whether an item, by its place and key, can be had now.
    """

    def __init__(self, is_ready: Callable[[int, WorkKey], bool]) -> None:
        self._is_ready = is_ready
        self._sessions: dict[str, Session] = {}
        self._items = Counter[str]()  # that wait or run
        self._queues: dict[str, dict[str | None, Queue]] = {}
        self._lines: dict[str | None, dict[str | None, Line]] = {}  # by holder, by tag
        self.ends: list[tuple[int, str]] = []  # when sessions may lapse, a heap

    # Items

    def rebuild(self, session_ids: Iterable[str]) -> None:
        """Forget all items; these sessions have one each time they are named. Who holds what stays as it is."""
        self._items = Counter(session_ids)
        self._queues, self._lines = {}, {}

    def came(self, session_id: str) -> None:
        """There is one more item."""
        self._items[session_id] += 1

    def went(self, session_id: str) -> None:
        """An item is done with."""
        self._items[session_id] -= 1
        if self._items[session_id] <= 0:
            del self._items[session_id]
            self._queues.pop(session_id, None)

    def offer(self, session_id: str, tag: str | None, order: int, key: WorkKey) -> None:
        """An item can be had."""
        queue = self._queues.setdefault(session_id, {}).setdefault(tag, [])
        heapq.heappush(queue, (order, key))
        if queue[0][0] == order:
            self._stand_in_line(session_id, tag, order)

    def _holder(self, session_id: str) -> str | None:
        session = self._sessions.get(session_id)
        return None if session is None else session.holder

    def _stand_in_line(self, session_id: str, tag: str | None, order: int) -> None:
        line = self._lines.setdefault(self._holder(session_id), {}).setdefault(tag, [])
        heapq.heappush(line, (order, session_id))

    def _move(self, session_id: str) -> None:
        """Its holder is another: it stands in other lines now; where it stood it is out of date."""
        for tag, queue in self._queues.get(session_id, {}).items():
            if queue:
                self._stand_in_line(session_id, tag, queue[0][0])

    @property
    def is_anybody_in_line(self) -> bool:
        """Whether a session may have an item: where none is used, this is all that a fetch asks."""
        return bool(self._lines)

    def tags_of(self, holder: str | None) -> Collection[str | None]:
        """Tags of which a session of this holder, or of none, may have an item."""
        return list(self._lines.get(holder, {}))

    def first(self, holder: str | None, tag: str | None) -> WorkKey | None:
        """The oldest item with this tag that can be had, of the sessions of this holder, or of those nobody holds."""
        lines = self._lines.get(holder, {})
        line = lines.get(tag, [])
        while line:
            order, session_id = line[0]
            first = self._first_of(session_id, tag) if self._holder(session_id) == holder else None
            if first is not None and first[0] == order:
                return first[1]
            heapq.heappop(line)
            if first is not None and not (line and line[0] == (first[0], session_id)):
                heapq.heappush(line, (first[0], session_id))
        lines.pop(tag, None)
        if not lines:
            self._lines.pop(holder, None)
        return None

    def _first_of(self, session_id: str, tag: str | None) -> tuple[int, WorkKey] | None:
        queues = self._queues.get(session_id, {})
        queue = queues.get(tag, [])
        while queue:
            if self._is_ready(*queue[0]):
                return queue[0]
            heapq.heappop(queue)
        queues.pop(tag, None)
        return None

    # Holders

    def claim(self, session_id: str, claim: SessionClaim, now_ms: int) -> None:
        """An item is given to whoever claims this."""
        before = self._holder(session_id)
        self._sessions[session_id] = Session(claim.owner, now_ms + claim.lock_timeout_ms, now_ms)
        heapq.heappush(self.ends, (now_ms + claim.lock_timeout_ms, session_id))
        if before != claim.owner:
            self._move(session_id)

    def used(self, session_id: str, now_ms: int) -> None:
        """Something was done with an item of it."""
        session = self._sessions.get(session_id)
        if session is not None and session.until_ms > now_ms:
            session.used_ms = now_ms

    def tick(self, now_ms: int) -> None:
        """Let sessions lapse."""
        while self.ends and self.ends[0][0] <= now_ms:
            _, session_id = heapq.heappop(self.ends)
            session = self._sessions.get(session_id)
            if session is not None and session.holder is not None and session.until_ms <= now_ms:
                session.holder = None
                self._move(session_id)

    def renew(self, owners: Collection[str], now_ms: int, extend_for_ms: int, idle_timeout_ms: int) -> int:
        """Extend what these hold and use; how many sessions that were."""
        self.tick(now_ms)
        renewed = 0
        for session_id, session in self._sessions.items():
            if session.holder in owners and session.used_ms > now_ms - idle_timeout_ms:
                session.until_ms = now_ms + extend_for_ms
                heapq.heappush(self.ends, (session.until_ms, session_id))
                renewed += 1
        return renewed

    def forget(self, now_ms: int) -> int:
        """Forget what nobody holds and has no item; how many sessions that were."""
        self.tick(now_ms)
        gone = [
            session_id
            for session_id, session in self._sessions.items()
            if session.holder is None and session_id not in self._items
        ]
        for session_id in gone:
            del self._sessions[session_id]
        return len(gone)
