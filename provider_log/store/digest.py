"""Are two states the same? One hash over every row, in order of keys."""

import hashlib
from collections.abc import Iterable

DIGEST_BYTES = 16


class StateDigest:
    """A hash that rows are added to in ascending order of key, a few at a time if the caller likes."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.rows = 0

    def add(self, key: bytes, value: bytes) -> None:
        """The next row. Lengths go in too, so that no two states run together to the same bytes."""
        self._hash.update(b"%d %d " % (len(key), len(value)))
        self._hash.update(key)
        self._hash.update(value)
        self.rows += 1

    def hex(self) -> str:
        """The digest of the rows added so far."""
        return self._hash.hexdigest()


def state_digest(rows: Iterable[tuple[bytes, bytes]]) -> str:
    """The digest of all `rows`, which come in ascending order of key."""
    digest = StateDigest()
    for key, value in rows:
        digest.add(key, value)
    return digest.hex()
