"""Whose data lies in a directory? It is claimed for one application on one log, and has a store for each partition."""

from collections.abc import Callable
from pathlib import Path

from engine.errors import UsageError
from engine.runtime.doors import Threads
from provider_log.log.embedded.directory import write_atomically
from provider_log.log.port import Log
from provider_log.store.port import Store
from provider_log.store.rocks import RocksStore


async def claimed(log: Log, root: Path, app: str, *, is_elsewhere: bool = False) -> Log:
    """`log`, once `root` is this application's, and this log's if that is not in `root` itself; closed if it is not."""
    try:
        claim_directory(root, app)
        if is_elsewhere:
            claim_cluster(root, log.cluster_id)
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
    owner = _claim(root / "application", app)
    if owner != app:
        raise UsageError(f"expected {root} to be the data of application {app!r}, but it is that of {owner!r}")


def claim_cluster(root: Path, cluster_id: str) -> None:
    """Write down of which log `root` has the stores: on another one the application would begin anew, and be empty.

    Raises:
        UsageError: They are another log's.
    """
    owner = _claim(root / "cluster", cluster_id)
    if owner != cluster_id:
        raise UsageError(
            f"expected {root} to have the stores of log {cluster_id}, which these brokers are, but they are those of "
            f"{owner}. Use the brokers they were made from, or another data directory"
        )


def _claim(path: Path, name: str) -> str:
    """Who had claimed it before; else it is `name` from now on."""
    if path.exists():
        return path.read_text().strip()
    # Whole or not at all: an empty one, left by a crash or a full disk, would be nobody's for ever.
    write_atomically(path, f"{name}\n".encode())
    return name
