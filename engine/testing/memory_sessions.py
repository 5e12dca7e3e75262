"""Who holds which session? Leases like those of work items, on the name that several of them share."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from engine.model.sessions import SessionClaim


@dataclass(slots=True)
class SessionRow:
    """One session. It is held until `until_ms`; `active_at_ms` is when its holder last did something with an item."""

    owner: str
    until_ms: int
    active_at_ms: int


class Sessions:
    """Sessions by id, from the first item that was fetched until nobody needs them any more."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self.rows: dict[str, SessionRow] = {}

    def is_held(self, row: SessionRow) -> bool:
        return row.until_ms > self._now_ms()

    def takes(self, claim: SessionClaim | None, session_id: str | None) -> bool:
        """Whether an item of that session, or of none, is for whoever claims this."""
        if session_id is None or claim is None:
            return session_id is None
        row = self.rows.get(session_id)
        return row is None or not self.is_held(row) or row.owner == claim.owner

    def take(self, claim: SessionClaim | None, session_id: str | None) -> None:
        """An item of the session was fetched by whoever claims this, which `takes` it."""
        if claim is not None and session_id is not None:
            now_ms = self._now_ms()
            self.rows[session_id] = SessionRow(claim.owner, now_ms + claim.lock_timeout_ms, now_ms)

    def touch(self, session_id: str | None) -> None:
        """Something was done with an item of the session, if it has one."""
        row = None if session_id is None else self.rows.get(session_id)
        if row is not None and self.is_held(row):
            row.active_at_ms = self._now_ms()

    def renew(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        """Extend what these hold and use; how many sessions that were."""
        now_ms = self._now_ms()
        renewed = [
            row
            for row in self.rows.values()
            if row.owner in owners and self.is_held(row) and row.active_at_ms > now_ms - idle_timeout_ms
        ]
        for row in renewed:
            row.until_ms = now_ms + extend_for_ms
        return len(renewed)

    def forget(self, queued: Collection[str | None]) -> int:
        """Remove what nobody holds and no item is `queued` of; how many sessions that were."""
        gone = [name for name, row in self.rows.items() if not self.is_held(row) and name not in queued]
        for name in gone:
            del self.rows[name]
        return len(gone)

    def instants(self) -> Iterator[int]:
        """When each session is given up unless it is renewed."""
        return (row.until_ms for row in self.rows.values())
