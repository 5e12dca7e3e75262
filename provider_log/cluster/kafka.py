"""What makes a node of a cluster on Kafka? The composition root of the parts beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.clock import Clock, SystemClock
from engine.runtime.doors import Chance
from provider_log.cluster.membership import ProcessMembership
from provider_log.cluster.provider import ClusterProvider
from provider_log.cluster.sharing import Sharing, SharingOptions
from provider_log.log_provider import LogProvider
from provider_log.options import LogProviderOptions
from provider_log.partitions import RestoreProgress
from provider_log.server.remote import RemoteProvider

if TYPE_CHECKING:
    from provider_log.log.kafka import ClientSettings


def cluster_on_kafka(
    bootstrap: str,
    path: str | Path,
    *,
    address: str,
    app: str = "turnlog",
    partitions: int | None = None,
    kafka: "ClientSettings | None" = None,
    token: str | None = None,
    clock: Clock | None = None,
    chance: Chance | None = None,
    options: LogProviderOptions | None = None,
    sharing: SharingOptions | None = None,
    progress: RestoreProgress | None = None,
) -> ClusterProvider:
    """A node that shares the partitions of `app` with every other node that is made like this.

    Args:
        bootstrap: One or more brokers, `host:port`, with commas between them.
        path: The directory of this node's stores; no other node may use it.
        address: `host:port` where this node answers the others; its name in the cluster, too. Who makes the node serves
            it there: `provider_log.server.listener.serving(cluster, listener, here=cluster.local)`.
        app: Name of the application; its topics are created if they are not there.
        partitions: How many, for new topics; must agree with those that are there. None takes them, or 1.
        kafka: How to be let in by the brokers.
        token: What the nodes must know of each other, if they listen beyond loopback; the same for all.
        clock: The door to time.
        chance: The door to randomness.
        options: Numbers of a provider; two transactional ids of each partition are used if not given.
        sharing: Numbers of a node that shares partitions.
        progress: Told how far each partition is restored.
    """
    clock, chance, sharing = clock or SystemClock(), chance or Chance(), sharing or SharingOptions()
    membership = ProcessMembership(
        bootstrap, kafka or {}, app=app, node=address, session_ms=sharing.session_ms, clock=clock
    )
    share = Sharing(address, membership, clock, chance, sharing)
    local = LogProvider.kafka(
        bootstrap,
        path,
        app=app,
        partitions=partitions,
        kafka=kafka,
        clock=clock,
        chance=chance,
        options=options,
        node=address,
        progress=progress,
        shared=share,
    )
    return ClusterProvider(
        local, membership, share, lambda node: RemoteProvider(f"http://{node}", token=token, is_hop=True), clock
    )
