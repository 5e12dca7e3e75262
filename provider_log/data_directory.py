"""Whose data lies in a directory? It is claimed for one application, and has a store for each partition."""

from collections.abc import Callable
from pathlib import Path

from engine.errors import UsageError
from engine.runtime.doors import Threads
from provider_log.log.embedded.directory import write_atomically
from provider_log.log.port import Log
from provider_log.store.port import Store
from provider_log.store.rocks import RocksStore


async def claimed(log: Log, root: Path, app: str) -> Log:
    """`log`, once `root` is this application's; closed if it is not."""
    try:
        claim_directory(root, app)
    except BaseException:
        await log.close()
        raise
    return log


def stores_in(root: Path) -> Callable[[int, Threads], Store]:
    """Opens the store of a partition in the data directory `root`."""
    return lambda partition, threads: RocksStore(root / "store" / str(partition), threads)


def claim_directory(root: Path, app: str) -> None:
    """Write down whose directory `root` is. Its stores are those of one application; another's log would not fit.

    Raises:
        UsageError: It is another application's.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / "application"
    owner = path.read_text().strip() if path.exists() else None
    if owner is None:
        # Whole or not at all: an empty one, left by a crash or a full disk, would be nobody's for ever.
        write_atomically(path, f"{app}\n".encode())
    elif owner != app:
        raise UsageError(f"expected {root} to be the data of application {app!r}, but it is that of {owner!r}")
