"""What is the simplest store? A dict: for audits, which rebuild state only to look at it, and for tests."""

from collections.abc import Iterator

from provider_log.store.port import Mutations


class DictStore:
    """Rows in a dict."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The row, or None."""
        return self.rows.get(key)

    def scan(self, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows with the prefix, ascending, as they are now."""
        found = [key for key in self.rows if key.startswith(prefix) and (after is None or key > after)]
        return iter([(key, self.rows[key]) for key in sorted(found)])

    def write(self, mutations: Mutations) -> None:
        """Make all rows as they shall be."""
        for key, value in mutations.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    def wipe(self) -> None:
        """Remove every row."""
        self.rows.clear()

    async def flush(self) -> None:
        """Nothing to do: a dict survives nothing."""

    async def close(self) -> None:
        """Nothing to free."""
