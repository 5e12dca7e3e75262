"""How are instances, executions and their children named, and which instants can be meant?

An instance id is any non-empty string of at most `INSTANCE_ID_BYTES_MAX` bytes of UTF-8. Ids that contain
`CHILD_MARK` belong to automatic children; clients and detached starts may not use them. Execution ids start at 1
and grow by one with each continue-as-new; event ids start at 1 in each execution.
"""

from collections.abc import Collection

from msgspec import Struct

CHILD_MARK = "::sub::"
INSTANCE_ID_BYTES_MAX = 512  # fits a store key's 16-bit length with room, and a Kafka key with ease
FIRST_EXECUTION = 1
FIRST_EVENT = 1
INSTANT_MS_MAX = 253_402_300_799_999  # end of the year 9999, the last instant that a `datetime` can be


class ParentLink(Struct, frozen=True):
    """Which call of which execution an instance answers to.

    Attributes:
        instance: The parent's id.
        incarnation: The parent's life; an answer to another life is dropped.
        execution_id: The parent's execution that called.
        event_id: The `SubOrchestrationScheduled` event of the call.
    """

    instance: str
    incarnation: int
    execution_id: int
    event_id: int


def child_instance(parent: str, execution_id: int, event_id: int) -> str:
    """The automatic id of a child: unique per call, and routed to its root's partition.

    Children of the first execution carry the event id alone; later ones carry both, else the second execution's
    first call would meet the first one's child.
    """
    suffix = str(event_id) if execution_id == FIRST_EXECUTION else f"{execution_id}_{event_id}"
    return f"{parent}{CHILD_MARK}{suffix}"


def is_in_tree(instance: str, root: str) -> bool:
    """Whether `instance` is `root` itself, or an automatic child of it, of whatever generation."""
    return instance == root or instance.startswith(root + CHILD_MARK)


def automatic_parent(instance: str) -> str | None:
    """Whose automatic child `instance` is, going by its id; None if it has an id of its own."""
    parent, mark, _ = instance.rpartition(CHILD_MARK)
    return parent if mark else None


def roots_of(instances: Collection[str]) -> list[str]:
    """Those of `instances` that are no automatic child of another one of them, in their order."""
    return [instance for instance in instances if automatic_parent(instance) not in instances]


def instant_problem(at_ms: int, what: str) -> str | None:
    """Why `what` cannot be at `at_ms`, in milliseconds since 1970, or None if it can."""
    if at_ms <= INSTANT_MS_MAX:
        return None
    return f"expected {what} before the year 10000, but it would {at_ms / 1000:.3g} s after 1970"


def root_instance_id_problem(instance: str) -> str | None:
    """Why `instance` cannot be the id of a root instance, or None if it can."""
    if not instance:
        return "expected a non-empty instance id, but it is empty"
    if len(instance.encode("utf-8", "surrogatepass")) > INSTANCE_ID_BYTES_MAX:
        return f"expected an instance id of at most {INSTANCE_ID_BYTES_MAX} bytes, but {instance[:40]!r}… is longer"
    if instance.startswith(CHILD_MARK[2:]) or CHILD_MARK in instance:
        return f"expected an instance id without {CHILD_MARK!r}, but {instance!r} has it; it marks automatic children"
    if not instance.isprintable():
        return f"expected a printable instance id, but {instance!r} is not"
    return None
