"""Which jars are Apache Kafka, and where are they on this machine? kafka.lock names each with its SHA-256."""

import hashlib
import os
from importlib.resources import files
from pathlib import Path

from engine.errors import UsageError

KAFKA = "4.3.1"
LOCK = "kafka.lock"
"""A line a jar: `group:artifact:version sha256`."""


def cache_directory() -> Path:
    """Where downloaded jars are kept: `turnlog` under `XDG_CACHE_HOME`, or `~/.cache` without it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnlog"


def locked() -> dict[str, str]:
    """The SHA-256 of every jar, by its coordinate."""
    lines = (files("provider_log.dev") / LOCK).read_text().splitlines()
    return dict(line.split(" ") for line in lines if line and not line.startswith("#"))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kafka_jars(cache: Path) -> list[Path]:
    """Every jar of the lock, from `cache`, or downloaded into it. Each is compared with its sum, each time.

    Raises:
        UsageError: The package that downloads is not installed, a jar cannot be had, or it is another than locked.
    """
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise UsageError(
            "expected the packages that start a broker, but jgo is not installed: pip install 'turnlog[broker]', "
            "or use a broker that runs"
        ) from error
    maven = MavenContext(repo_cache=cache / "maven")
    found: list[Path] = []
    for coordinate, sha256 in locked().items():
        group, artifact, version = coordinate.split(":")
        try:
            path = maven.project(group, artifact).at_version(version).artifact().resolve()
        except (OSError, RuntimeError) as error:  # what requests raises is an OSError
            raise UsageError(f"expected to download {coordinate}, but: {error}") from error
        if (is_sha256 := sha256_of(path)) != sha256:
            path.unlink()  # else the next try finds it again
            raise UsageError(f"expected {coordinate} with SHA-256 {sha256}, but what came has {is_sha256}")
        found.append(path)
    return found


if __name__ == "__main__":
    kafka_jars(cache_directory())
