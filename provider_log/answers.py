"""What does a node answer that no method of the port returns? Values, which clients and audits read as well."""

from msgspec import Struct

from engine.model.views import InstanceInfo


class PartitionDigest(Struct, frozen=True, kw_only=True):
    """What an owner says its committed state is.

    Attributes:
        offset: Of the last history record applied.
        chain: Hash chain over all valid records up to it, hexadecimal.
        digest: Hash over all rows of the store, hexadecimal.
        rows: How many there are.
        epoch: How many owners there were.
    """

    partition: int
    offset: int
    chain: str
    digest: str
    rows: int
    epoch: int


class Listed(Struct, frozen=True):
    """Instances by id, and which partitions were looked at for them."""

    instances: tuple[InstanceInfo, ...]
    partitions: tuple[int, ...]
