"""How does a broker run in a container? With the settings of one from Python packages, as the image takes them."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from testcontainers.core.container import DockerContainer

from provider_log.dev.broker import cluster_properties, free_ports, known_brokers
from provider_log.dev.jars import KAFKA

IMAGE = f"apache/kafka:{KAFKA}"
_CONTROLLER_PORT = 9093
_START_S = 60
_LOOK_S = 0.1


def environment_of(host: str, port: int) -> dict[str, str]:
    """The settings of a broker that listens on `port` everywhere and names itself `host`, as variables of the image."""
    properties = cluster_properties(1) + (
        "node.id=1\n"
        f"controller.quorum.voters=1@localhost:{_CONTROLLER_PORT}\n"
        f"listeners=PLAINTEXT://:{port},CONTROLLER://:{_CONTROLLER_PORT}\n"
        f"advertised.listeners=PLAINTEXT://{host}:{port}\n"
    )
    lines = (line.partition("=") for line in properties.splitlines())
    return {"KAFKA_" + name.upper().replace(".", "_"): value for name, _, value in lines}


@contextmanager
def container_broker() -> Generator[str]:
    """Its address. The port is chosen before it starts: a broker has to know by which one clients come."""
    [port] = free_ports(1)
    container = DockerContainer(IMAGE).with_bind_ports(port, port)
    host = container.get_docker_client().host()
    container.env.update(environment_of(host, port))
    with container:
        give_up_at = time.monotonic() + _START_S
        while not known_brokers(host, port):
            assert time.monotonic() < give_up_at, f"expected {IMAGE} to answer, but it says {container.get_logs()}"
            time.sleep(_LOOK_S)
        yield f"{host}:{port}"
