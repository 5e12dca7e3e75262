"""What must a store do? Ordered rows of bytes, read one by one or by prefix, written in atomic batches."""

from collections.abc import Iterator, Mapping
from typing import Protocol

Mutations = Mapping[bytes, bytes | None]
"""Rows as they shall be; None removes a row."""


class ReadView(Protocol):
    """The read side: what deciding code gets."""

    def get(self, key: bytes) -> bytes | None:
        """The row, or None."""
        ...

    def scan(self, prefix: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with `prefix`, ascending; only those with a key above `after` if given.

        The rows are those of the moment the scan began, whatever is written meanwhile.
        """
        ...


class Store(ReadView, Protocol):
    """The write side: what applying code's caller gets."""

    def write(self, mutations: Mutations) -> None:
        """Make all rows as they shall be, or none."""
        ...

    def wipe(self) -> None:
        """Remove every row."""
        ...

    async def flush(self) -> None:
        """What was written before the call survives a crash of the process after it."""
        ...

    async def close(self) -> None:
        """Flush and free the directory."""
        ...
