"""Which node should have which partition? Pure: every leader of the group says the same."""

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Member(Struct, frozen=True, kw_only=True):
    """What a node tells the group of itself.

    Attributes:
        node: Its name: where it answers, so that a node that starts again is the same one.
        partitions: What the group gave it last, while it has been a member all the time since.
        refuses: Partitions it cannot run: it has met a record there that it cannot read.
    """

    node: str
    partitions: tuple[int, ...] = ()
    refuses: tuple[int, ...] = ()


class Placement(Struct, frozen=True, kw_only=True):
    """What the group decided.

    Attributes:
        generation: Grows with every decision.
        nodes: The members, by name.
        partitions: The node of each partition; one that every member refuses has none.
    """

    generation: int
    nodes: tuple[str, ...]
    partitions: dict[int, str]

    def of(self, node: str) -> frozenset[int]:
        """The partitions of one node."""
        return frozenset(partition for partition, owner in self.partitions.items() if owner == node)


def place(count: int, members: Sequence[Member]) -> dict[int, str]:
    """The node of each partition below `count`.

    No node has two more than another unless it must, for refusals. A partition stays where it is if that is possible:
    each that moves costs a restore.
    """
    nodes = {member.node: member for member in sorted(members, key=lambda member: member.node)}
    placed: dict[int, str] = {}
    held: dict[str, list[int]] = {node: [] for node in nodes}

    def give(partition: int, node: str) -> None:
        placed[partition] = node
        held[node].append(partition)

    for node, member in nodes.items():
        for partition in member.partitions:
            if partition < count and partition not in placed and partition not in member.refuses:
                give(partition, node)
    for partition in range(count):
        able = [node for node, member in nodes.items() if partition not in member.refuses]
        if partition not in placed and able:
            give(partition, min(able, key=lambda node: (len(held[node]), node)))
    while (move := _improving(held, nodes)) is not None:
        partition, source, target = move
        held[source].remove(partition)
        give(partition, target)
    return placed


def _improving(held: Mapping[str, Sequence[int]], nodes: Mapping[str, Member]) -> tuple[int, str, str] | None:
    """A partition of a node with many that another with at least two fewer can take; None if there is none."""
    by_load = sorted(nodes, key=lambda node: (len(held[node]), node))
    for source in reversed(by_load):
        for target in by_load:
            if len(held[source]) - len(held[target]) < 2:
                break
            for partition in sorted(held[source], reverse=True):
                if partition not in nodes[target].refuses:
                    return partition, source, target
    return None
