"""Which bodies, queries and answers does `/v1` know? The shapes that are not nouns of the engine."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from engine.model.events import AnyEvent
from engine.model.ids import INSTANT_MS_MAX
from engine.model.key_values import KeyValue
from engine.model.payload import NULL, Payload
from engine.model.removal import InstanceFilter, PruneOptions
from engine.model.status import Status
from engine.model.views import ExecutionInfo, InstanceInfo

LIST_MAX = 1_000
WAIT_MS_MAX = 60_000
WAIT_MS_DEFAULT = 25_000
START_MS = 20_000
"""So long a start with `if_exists` waits to hear whether it began the instance."""
BODY_BYTES_MAX = 4 * 1024 * 1024
MESSAGE_ID_CHARS_MAX = 200

NotNegative = Annotated[int, Meta(ge=0)]
Instant = Annotated[int, Meta(ge=0, le=INSTANT_MS_MAX)]
DELAY_MS_MAX = 7 * 10**13
"""Two thousand years: with any delay that is less, a message is visible before the year 10000."""


class NoQuery(Struct, forbid_unknown_fields=True):
    """Nothing may follow the path."""


class ListQuery(Struct, forbid_unknown_fields=True):
    """Which instances; as in `ProviderAdmin.list_instances`."""

    status: Status | None = None
    name: str | None = None
    limit: Annotated[int, Meta(ge=1, le=LIST_MAX)] = 100
    after: str | None = None


class MessageQuery(Struct, forbid_unknown_fields=True):
    """When the message is to be visible, in milliseconds from now."""

    delay_ms: Annotated[int, Meta(ge=0, le=DELAY_MS_MAX)] = 0


class EventQuery(MessageQuery, forbid_unknown_fields=True):
    """As of any message; and whether the event is kept for the next wait, if nobody waits for it."""

    keep: bool = False


class WaitQuery(Struct, forbid_unknown_fields=True):
    """What to wait for, and how long before answering 204.

    Attributes:
        seen: The last revision seen: a later one is waited for.
        ended: Wait until the instance has ended or is held, whatever its revision.
    """

    seen: NotNegative = 0
    ended: bool = False
    timeout_ms: Annotated[int, Meta(ge=0, le=WAIT_MS_MAX)] = WAIT_MS_DEFAULT


class HistoryQuery(Struct, forbid_unknown_fields=True):
    """Which execution; without it, the latest."""

    execution: Annotated[int, Meta(ge=1)] | None = None


class KeysQuery(Struct, forbid_unknown_fields=True):
    """Which key; without it, all."""

    key: str | None = None


class KeyValues(Struct, frozen=True):
    """What an instance keeps under its keys, by key."""

    instance: str
    values: dict[str, KeyValue]


class Start(Struct, forbid_unknown_fields=True):
    """Start orchestration `name` with `input`.

    Attributes:
        start_at_ms: No sooner than this instant, in milliseconds since 1970.
        deadline_ms: So long after its first turn it has to have ended, in milliseconds.
        if_exists: What to do if the instance exists. Without it, or with `ignore`, nothing. Else the answer waits for
            the turn that decides, and is 409 if another start began it; an `Idempotency-Key` must name the call.
    """

    name: str
    input: Payload = NULL
    version: str | None = None
    start_at_ms: Instant | None = None
    deadline_ms: Annotated[int, Meta(ge=1, le=DELAY_MS_MAX)] | None = None
    if_exists: Literal["ignore", "refuse", "restart_ended"] | None = None


class ConsumedQuery(Struct, forbid_unknown_fields=True):
    """Which message."""

    message_id: str


class Consumed(Struct, frozen=True):
    """Whether a turn of the instance has consumed the message."""

    instance: str
    consumed: bool


class Cancel(Struct, forbid_unknown_fields=True):
    """Why; and, if only one life of the instance is meant, which."""

    reason: str = "cancelled"
    incarnation: int | None = None


class Suspend(Struct, forbid_unknown_fields=True):
    """Why."""

    reason: str = "suspended"


class DeleteQuery(Struct, forbid_unknown_fields=True):
    """Whether to delete what has not ended, too."""

    force: bool = False


class Deletion(Struct, forbid_unknown_fields=True):
    """Roots, each with everybody in its tree; with `force`, what has not ended goes too."""

    instances: tuple[str, ...]
    force: bool = False


class Prune(Struct, frozen=True, forbid_unknown_fields=True):
    """Which executions to forget: those that fit both. Without either, all but the current one.

    Attributes:
        keep_last: How many of the latest stay, the current one among them.
        completed_before_ms: Only those that ended before this instant, in milliseconds since 1970.
    """

    keep_last: NotNegative | None = None
    completed_before_ms: NotNegative | None = None

    def as_options(self) -> PruneOptions:
        """The same as a noun of the engine."""
        return PruneOptions(keep_last=self.keep_last, completed_before_ms=self.completed_before_ms)


class Which(Struct, forbid_unknown_fields=True):
    """Instances that fit all of it; as `InstanceFilter`.

    Attributes:
        instances: Only these; without it everybody, and nobody if it is empty.
        completed_before_ms: Only those that ended before this instant, in milliseconds since 1970.
        limit: At most so many are changed.
    """

    instances: tuple[str, ...] | None = None
    completed_before_ms: NotNegative | None = None
    limit: Annotated[int, Meta(ge=1)] = 1_000

    def as_filter(self) -> InstanceFilter:
        """The same as a noun of the engine."""
        return InstanceFilter(instances=self.instances, completed_before_ms=self.completed_before_ms, limit=self.limit)


class PruneMany(Struct, forbid_unknown_fields=True):
    """Of which instances to forget which executions."""

    which: Which
    options: Prune = Prune()


class Accepted(Struct):
    """The message is durable in the queue of `instance`."""

    instance: str


class InstancePage(Struct):
    """Instances by id, of these partitions; `next` is what to give as `after` for more, absent on the last page."""

    instances: tuple[InstanceInfo, ...]
    next: str | None = None
    partitions: tuple[int, ...] = ()


class History(Struct):
    """Events of one execution, in order."""

    instance: str
    events: tuple[AnyEvent, ...]


class Executions(Struct):
    """All executions of an instance, ascending."""

    executions: tuple[ExecutionInfo, ...]


class NodeInfo(Struct):
    """What is served here: how many partitions there are, and where those stand that this node has.

    `fenced_commits` counts commits that were refused because another node had taken the partition.
    """

    app: str
    partitions: int
    phases: dict[int, str] = {}
    fenced_commits: int = 0


class Health(Struct):
    """Whether the node serves, and if not, what it waits for."""

    ready: bool
