"""What is the state with the batches that are not yet committed? The store, seen through their rows.

Each row carries the number of the batch that wrote it last, so that a commit takes out exactly its own rows and
dropping everything uncommitted is exact.
"""

import heapq
from collections.abc import Iterator

from provider_log.store.port import Mutations, ReadView


class Overlay:
    """A read view over a store, with rows above it that belong to uncommitted batches."""

    def __init__(self, store: ReadView) -> None:
        self._store = store
        self._rows: dict[bytes, tuple[int, bytes | None]] = {}

    def get(self, key: bytes) -> bytes | None:
        """The row as the newest uncommitted batch leaves it."""
        row = self._rows.get(key)
        return self._store.get(key) if row is None else row[1]

    def scan(self, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows with the prefix, ascending, the store's and the uncommitted ones merged."""
        above = sorted(
            (key, value)
            for key, (_, value) in self._rows.items()
            if key.startswith(prefix) and (after is None or key > after)
        )
        hidden = {key for key, _ in above}
        below = ((key, value) for key, value in self._store.scan(prefix, after) if key not in hidden)
        merged: Iterator[tuple[bytes, bytes | None]] = heapq.merge(below, above, key=lambda row: row[0])
        return ((key, value) for key, value in merged if value is not None)

    def put(self, mutations: Mutations, batch: int) -> None:
        """Lay the rows of one record of `batch` on top."""
        for key, value in mutations.items():
            self._rows[key] = (batch, value)

    def commit(self, mutations: Mutations, batch: int) -> None:
        """Take out the rows of a batch that is in the store now, unless a later batch has written them again."""
        rows = self._rows
        for key in mutations:
            row = rows.get(key)
            if row is not None and row[0] <= batch:
                del rows[key]

    def __len__(self) -> int:
        """How many rows are not committed."""
        return len(self._rows)
