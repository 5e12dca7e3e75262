"""What do a node and its membership process say to each other? A JSON object a line, both ways."""

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from provider_log.cluster.placement import Placement
from provider_log.log.kafka import ClientSettings

BEAT_MS = 1_000
"""How often a node says that its loop turns, and a member says so to the group."""


class Hello(Struct, frozen=True, kw_only=True, tag=True):
    """The first line: which group to join, and as whom. It goes through a pipe because of the passwords in it.

    Attributes:
        bootstrap, kafka: How to reach the brokers, and how to be let in.
        group: Name of the group.
        topic: What its members are said to read.
        partitions: How many there are to be placed.
        node: Name of the node: where it answers.
        session_ms: After so long without a sign of the node, or of the group, the membership is over.
        holds: Partitions that the node has, because the process before this one has died: they stay where they are.
    """

    bootstrap: str
    kafka: ClientSettings
    group: str
    topic: str
    partitions: int
    node: str
    session_ms: int
    holds: tuple[int, ...] = ()


class Beat(Struct, frozen=True, kw_only=True, tag=True):
    """The node is alive.

    Attributes:
        refuses: Partitions it cannot run.
        asked: Number of its last question: which placement holds now?
    """

    refuses: tuple[int, ...] = ()
    asked: int = 0


class Placed(Struct, frozen=True, kw_only=True, tag=True):
    """The group says that this placement holds; the question `answered`, and all before, came before it said so."""

    placement: Placement
    answered: int


class Left(Struct, frozen=True, kw_only=True, tag=True):
    """The node is no member now; `why` is a sentence."""

    why: str


_ENCODER = Encoder()
to_member: Decoder[Hello | Beat] = Decoder(Hello | Beat)
to_node: Decoder[Placed | Left] = Decoder(Placed | Left)


def line(said: Struct) -> bytes:
    """`said` as a line."""
    return _ENCODER.encode(said) + b"\n"
