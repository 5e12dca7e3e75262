"""What does an engine tell of itself? One snapshot of all counters and gauges, with what it did by name."""

from typing import Annotated

from msgspec import Struct

from engine.observe import Counters, says

DURATION_BOUNDS_MS = (10, 100, 1_000, 10_000, 60_000, 600_000)
"""How long activities take is told by how many took at most so long."""


class OrchestrationMetrics(Struct, frozen=True, kw_only=True):
    """What became of one registered version of an orchestration in this engine."""

    name: str
    version: str
    started: int
    completed: int
    failed: int
    cancelled: int
    continued_as_new: int


class ActivityMetrics(Struct, frozen=True, kw_only=True):
    """What became of one registered activity in this engine.

    Attributes:
        took_ms: All executions that completed or failed, added up.
        within: How many took at most each of `DURATION_BOUNDS_MS`; the longer ones are in none.
    """

    name: str
    completed: int
    failed: int
    took_ms: int
    within: tuple[int, ...]


class Metrics(Counters, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues] - msgspec can do it
    """All counters and gauges of an engine as of now.

    What waits, and how many instances there are, the provider counts over the partitions it has; None where it cannot
    be asked.
    """

    activities_running: Annotated[int, says("activities whose code has not ended")]
    instances_active: Annotated[int | None, says("instances that have not ended")]
    instances_held: Annotated[int | None, says("of the active: those that wait for an operator and for code that fits")]
    live_bytes_estimate: Annotated[int, says("memory of the suspended coroutines, by estimate")]
    live_executions: Annotated[int, says("suspended coroutines kept between turns")]
    messages_waiting: Annotated[int | None, says("messages for instances that nobody has locked")]
    sessions_under_way: Annotated[int, says("sessions with an activity under way")]
    timers_waiting: Annotated[int | None, says("timers that have not fired")]
    turns_in_flight: Annotated[int, says("turns admitted and not yet durable")]
    work_items_leased: Annotated[int, says("work items whose lease is held")]
    work_items_waiting: Annotated[int | None, says("work items that nobody has leased")]
    activities: tuple[ActivityMetrics, ...]
    orchestrations: tuple[OrchestrationMetrics, ...]
