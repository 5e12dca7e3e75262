"""What is to be forgotten, and how much was? Deletion of instances and pruning of executions."""

from collections.abc import Sequence

from msgspec import Struct

from engine.model.views import ExecutionInfo


class DeletedCounts(Struct, frozen=True, kw_only=True):
    """What a deletion took away. `queue_messages` counts messages, timers and work items, locked ones too."""

    instances: int = 0
    executions: int = 0
    events: int = 0
    queue_messages: int = 0

    def __add__(self, other: "DeletedCounts") -> "DeletedCounts":
        return DeletedCounts(
            instances=self.instances + other.instances,
            executions=self.executions + other.executions,
            events=self.events + other.events,
            queue_messages=self.queue_messages + other.queue_messages,
        )


class PruneOptions(Struct, frozen=True, kw_only=True):
    """Which executions of an instance to forget: those that fit both.

    Attributes:
        keep_last: How many of the latest stay, the current one among them, which stays whatever this says.
        completed_before_ms: Only those that ended before this instant.
    """

    keep_last: int | None = None
    completed_before_ms: int | None = None

    def chosen(self, executions: Sequence[ExecutionInfo]) -> tuple[int, ...]:
        """Ids of those to forget among all `executions` of an instance, ascending; never one that runs."""
        return tuple(
            execution.execution_id
            for execution in executions[: -max(1, self.keep_last or 1)]
            if execution.completed_at_ms is not None
            and (self.completed_before_ms is None or execution.completed_at_ms < self.completed_before_ms)
        )


class PrunedCounts(Struct, frozen=True, kw_only=True):
    """What a pruning took away. `instances` are those that had something to forget."""

    instances: int = 0
    executions: int = 0
    events: int = 0

    def __add__(self, other: "PrunedCounts") -> "PrunedCounts":
        return PrunedCounts(
            instances=self.instances + other.instances,
            executions=self.executions + other.executions,
            events=self.events + other.events,
        )


class InstanceFilter(Struct, frozen=True, kw_only=True):
    """Which instances a call is about: those that fit all of it.

    Attributes:
        instances: Only these; None is everybody, an empty tuple nobody.
        completed_before_ms: Only those whose current execution ended before this instant.
        limit: At most so many are changed. Called again, those that are left have their turn.
    """

    instances: tuple[str, ...] | None = None
    completed_before_ms: int | None = None
    limit: int = 1_000

    def takes(self, current: ExecutionInfo) -> bool:
        """Whether an instance with this `current` execution fits, however many there are."""
        ended_at_ms = current.completed_at_ms
        return (self.instances is None or current.instance in self.instances) and (
            self.completed_before_ms is None or (ended_at_ms is not None and ended_at_ms < self.completed_before_ms)
        )
