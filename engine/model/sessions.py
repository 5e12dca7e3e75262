"""Which worker gets the work items of a session? The one that holds it: whoever fetched one of them first."""

from msgspec import Struct

from engine.errors import UsageError

OWNER_BYTES_MAX = 256


class SessionClaim(Struct, frozen=True):
    """What a worker says that takes items of sessions: who it is, and for how long it holds those it gets.

    Attributes:
        owner: Workers that give the same name share their sessions.
        lock_timeout_ms: From each fetch of an item of the session on.

    Raises:
        UsageError: `owner` is not a text of 1 to `OWNER_BYTES_MAX` bytes, or `lock_timeout_ms` is not positive.
    """

    owner: str
    lock_timeout_ms: int

    def __post_init__(self) -> None:
        size = len(self.owner.encode("utf-8", "surrogatepass"))
        if not 1 <= size <= OWNER_BYTES_MAX:
            raise UsageError(
                f"expected an owner of sessions of 1 to {OWNER_BYTES_MAX} bytes, but {self.owner[:40]!r} has {size}"
            )
        if self.lock_timeout_ms < 1:
            raise UsageError(f"expected sessions to be held for at least 1 ms, but it is {self.lock_timeout_ms}")
