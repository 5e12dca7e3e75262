"""Does what compose.yaml starts work together? Each of its services, as a process instead of a container.

Commands and variables are those of the file; what is replaced is where things are, and how much memory brokers think
they have. The image of the brokers makes their settings of variables by the rule in `properties_of`.
"""

import signal
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from shutil import copy, copytree
from zipfile import ZipFile

import anyio

from engine.clock import SystemClock
from provider_log.dev.broker import PLAIN, Broker, free_ports, java
from provider_log.server.remote import RemoteProvider
from tests.cluster.compose import DEPLOY, DOCKERFILE, Compose, Service, copied_in
from tests.cluster.nodes import PATIENCE_S
from tests.e2e.node_process import Ran, clean_environment, running, turnlog

BROKERS = ("kafka-1", "kafka-2", "kafka-3")
NODES = ("node-1", "node-2", "node-3")
PARTITIONS = 12
TOKEN = "given"

SMALL = """
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
"""


class Moved:
    """The services, with addresses of this machine in place of names that only containers know."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        ports = iter(free_ports(2 * len(BROKERS) + len(NODES)))
        self.port_of = {name: next(ports) for name in (*BROKERS, *NODES)}
        self._services = Compose.read(
            {
                **{f"{name}:9093": f"127.0.0.1:{next(ports)}" for name in BROKERS},
                **{f"{name}:9092": f"127.0.0.1:{self.port_of[name]}" for name in BROKERS},
                **{f"{name}:8620": f"127.0.0.1:{self.port_of[name]}" for name in NODES},
            }
        ).services

    def __getitem__(self, name: str) -> Service:
        return self._services[name]

    def here(self, name: str, text: str) -> str:
        """A text of a service that speaks of its own container: where it listens, and where its volume is."""
        for there, here in (
            ("0.0.0.0:8620", f"127.0.0.1:{self.port_of.get(name)}"),
            ("127.0.0.1:8620", f"127.0.0.1:{self.port_of.get(name)}"),
            ("/var/lib/turnlog", str(self.directory / name)),
        ):
            text = text.replace(there, here)
        return text

    def command(self, name: str) -> list[str]:
        return [self.here(name, word) for word in self[name].command]

    def environment(self, name: str) -> dict[str, str]:
        return {variable: str(value) for variable, value in self[name].environment.items()}

    def properties_of(self, name: str) -> str:
        """What the image writes in a broker's file: KAFKA_A_B=c is a.b=c. It listens everywhere; this one, here."""
        variables = self.environment(name)
        voters = dict(voter.split("@") for voter in variables["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(","))
        variables["KAFKA_LISTENERS"] = (
            variables["KAFKA_LISTENERS"]
            .replace("PLAINTEXT://:9092", f"PLAINTEXT://127.0.0.1:{self.port_of[name]}")
            .replace("CONTROLLER://:9093", f"CONTROLLER://{voters[variables['KAFKA_NODE_ID']]}")
        )
        variables["KAFKA_LOG_DIRS"] = "data"
        lines = [
            f"{variable.removeprefix('KAFKA_').lower().replace('_', '.')}={value}"
            for variable, value in variables.items()
            if variable.startswith("KAFKA_")
        ]
        return "\n".join(lines) + SMALL


@contextmanager
def brokers_of(moved: Moved) -> Generator[None]:
    with ExitStack() as stack:
        brokers: list[Broker] = []
        for number, name in enumerate(BROKERS, start=1):
            directory = moved.directory / name
            directory.mkdir()
            ports = {PLAIN: moved.port_of[name]}
            brokers.append(Broker(java(), directory, number, ports, moved.properties_of(name)))
            brokers[-1].format()
        for broker in brokers:
            stack.callback(broker.stop)
            broker.launch()
        for broker in brokers:
            broker.wait_until_it_knows(len(brokers))
        yield


@asynccontextmanager
async def nodes_of(moved: Moved) -> AsyncGenerator[dict[str, anyio.abc.Process]]:
    """Every node, as soon as its own health check says that it is well."""
    async with AsyncExitStack() as stack:
        processes: dict[str, anyio.abc.Process] = {}
        for name in NODES:
            entered = running(moved.command(name), moved.directory, moved.environment(name))
            processes[name], _ = await stack.enter_async_context(entered)
        for name in NODES:
            await well(moved, name)
        yield processes


async def well(moved: Moved, name: str) -> None:
    check = moved[name].healthcheck
    assert check is not None
    kind, program, *arguments = check.test
    assert (kind, program) == ("CMD", "python")
    command = [sys.executable, *(moved.here(name, argument) for argument in arguments)]
    with anyio.fail_after(PATIENCE_S):
        while (await anyio.run_process(command, check=False, env=clean_environment())).returncode != 0:
            await SystemClock().sleep_ms(100)


async def asked(moved: Moved, name: str, *arguments: str, token: str = TOKEN) -> Ran:
    """A command that asks a node."""
    where = {"TURNLOG_URL": f"http://127.0.0.1:{moved.port_of[name]}", "TURNLOG_TOKEN": token}
    return await turnlog(*arguments, directory=moved.directory, environment=where)


async def partitions_of(moved: Moved) -> list[int]:
    """Those that run, over all nodes."""
    found: list[int] = []
    for name in NODES:
        async with RemoteProvider(f"http://127.0.0.1:{moved.port_of[name]}", token=TOKEN) as remote:
            phases = (await remote.node_info()).phases
            found += [number for number, phase in phases.items() if phase == "running"]
    return sorted(found)


async def test_the_wheel_of_the_image_is_made_of_what_is_copied_for_it(tmp_path: Path) -> None:
    stage, _, _ = DOCKERFILE.partition("pip wheel")
    for source, target in copied_in(stage):
        (tmp_path / target).parent.mkdir(exist_ok=True)
        path = DEPLOY.parent / source
        if path.is_dir():
            copytree(path, tmp_path / target)
        else:
            (tmp_path / target).mkdir(exist_ok=True)
            copy(path, tmp_path / target)
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", "wheels", "."]
    made = await anyio.run_process([sys.executable, *command], cwd=tmp_path, check=False)
    assert made.returncode == 0, made.stderr.decode()
    (wheel,) = (tmp_path / "wheels").glob("turnlog-*.whl")
    packages = {name.split("/")[0] for name in ZipFile(wheel).namelist() if name.endswith(".py")}
    assert packages == {"engine", "provider_log", "schemas"}


async def test_three_brokers_and_three_nodes_come_up_answer_and_stop_in_time(tmp_path: Path) -> None:
    moved = Moved(tmp_path)
    copy(DEPLOY.parent / "docs" / "examples" / "hello.py", tmp_path)  # the image's working directory
    with brokers_of(moved):
        made = await turnlog(*moved.command("topics"), directory=tmp_path, environment=moved.environment("topics"))
        assert made.code == 0, made
        async with nodes_of(moved) as nodes:
            with anyio.fail_after(PATIENCE_S):
                while await partitions_of(moved) != [*range(PARTITIONS)]:
                    await SystemClock().sleep_ms(100)
            greeted = await asked(moved, "node-1", "start", "hello", '"Ada"', "--id", "first", "--wait")
            assert (greeted.code, '"Hello, Ada!"' in greeted.out) == (0, True), greeted
            for name in NODES:
                assert "completed" in (await asked(moved, name, "status", "first")).out
            refused = await asked(moved, "node-1", "status", "first", token="not the one")
            assert refused.code != 0

            for name, process in nodes.items():
                process.send_signal(signal.SIGTERM)  # as `docker compose stop` does
                with anyio.fail_after(moved[name].patience_s):
                    assert await process.wait() == 0
