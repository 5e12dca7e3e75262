"""Which numbers does an engine run with? Each with its unit and the reason for its default."""

from msgspec import Struct

from engine.errors import UsageError
from engine.model.sessions import SessionClaim
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.version import RULES, SUPPORTED, VersionRange
from engine.replay.bounds import TurnOptions

RENEWALS_A_LEASE = 3
"""Each lease is renewed at a third of its length, which leaves two thirds to repeat a renewal that fails."""


class EngineOptions(Struct, frozen=True, kw_only=True):
    """What may be set of an engine.

    Attributes:
        turns_max: Instances fetched at once. Their turns run one after another without a pause, so this bounds how
            long an activity waits for the loop: 32 turns of some 0.1 ms.
        turns_in_flight_max: Turns admitted but not yet durable; at the bound fetching pauses. Large enough that a
            group commit of several milliseconds stays full, small enough that a crash repeats a second of work.
        turn_lease_ms: Lock on an instance for one turn. A turn takes no awaits, so this only matters after a crash:
            it is how long the instance then waits for another node.
        turn_ms_max: How long orchestration code may go on after one event without coming to rest: everything else of
            the engine waits. Past it the watchdog logs the instance and its stack, and breaks the turn off: the
            instance is held. On another thread than the main one it only logs. A turn takes some 0.1 ms.
        activities_max: Activities running at once in this engine.
        activity_threads_max: Of those, synchronous ones; each takes a thread until it returns, cancelled or not.
        work_items_max: Work items leased: running, or finished and not yet durable. Above `activities_max`, so that
            waiting for a commit does not keep the next activity from starting.
        activity_lease_ms: Lease on a running activity; renewed at a third, so that a provider may be away for the
            rest. It is how long a crashed node's activities wait for another one.
        supported_pins: Executions this engine gives turns to, by the version of the rules they were begun by. Others
            wait for an engine that knows theirs: in a rolling upgrade an old node leaves to new ones what those began.
        worker_tags: Which activities this engine takes, by their tag: those without one unless told otherwise. A tag
            that no engine takes waits for one that does, for ever.
        max_sessions: Sessions of which activities are under way at once. At the bound, activities with a session wait
            and those without go on. 0: this engine takes none with a session.
        worker_node_id: Who holds this engine's sessions. Engines that are given the same name share theirs; None
            makes one up for each engine.
        session_lock_timeout_ms: Lease on a session; renewed at a third. It is how long the sessions of a crashed worker
            wait for another one.
        session_idle_timeout_ms: A session of which nothing was fetched, renewed or done for so long is not renewed any
            more: its next activity goes to whoever comes first. Above the renewal of activities, which count as use.
        session_cleanup_interval_ms: How often the provider is told to forget sessions that nobody needs.
        poll_ms: How long one fetch waits in the provider for something to do. Providers wake a waiting fetch at
            once, so this only bounds how long a lost connection goes unseen.
        heartbeat_bytes_max: Details of one heartbeat. They travel with the failure they are to outlive and again with
            the next attempt, beside its input, so they have to be small enough to fit the same records.
        attempts_max: Deliveries of a message or work item before its instance or activity fails as poison. With the
            back-off below ten are some five minutes, time to deploy the code that was missing.
        unregistered_delay_ms: First wait before something nobody registered here is delivered again; doubles.
        unregistered_delay_max_ms: Bound of that wait.
        error_delay_ms: First wait before a call is repeated that the provider could not serve; doubles.
        error_delay_max_ms: Bound of that wait.
        turn: Bounds and choices of a turn. Its `payload_bytes_max` holds for the results of activities too.
        cache_bytes_max: Estimated memory of the suspended coroutines kept between turns; beyond it the least
            recently used is put away, and its next turn replays the history.
        cache_executions_max: How many of them are kept at most, whatever the estimate says.
        cancel_grace_ms: How long an async activity may go on after it was told that it is cancelled.
        drain_ms: How long activities may go on after a drain began.
        gauge_age_ms_max: How old those gauges may be that need a look at every instance: not for every question.
        stop_ms: How long what was cancelled at a stop may take to clean up before it is left behind.
    """

    turns_max: int = 32
    turns_in_flight_max: int = 4_096
    turn_lease_ms: int = 30_000
    turn_ms_max: int = 10_000
    activities_max: int = 256
    activity_threads_max: int = 32
    work_items_max: int = 4_096
    activity_lease_ms: int = 30_000
    supported_pins: VersionRange = SUPPORTED
    worker_tags: TagFilter = DEFAULT_ONLY
    max_sessions: int = 10
    worker_node_id: str | None = None
    session_lock_timeout_ms: int = 30_000
    session_idle_timeout_ms: int = 300_000
    session_cleanup_interval_ms: int = 300_000
    poll_ms: int = 30_000
    heartbeat_bytes_max: int = 256 * 1024
    attempts_max: int = 10
    unregistered_delay_ms: int = 1_000
    unregistered_delay_max_ms: int = 60_000
    error_delay_ms: int = 20
    error_delay_max_ms: int = 3_000
    turn: TurnOptions = TurnOptions()
    cache_bytes_max: int = 256 * 1024 * 1024
    cache_executions_max: int = 100_000
    cancel_grace_ms: int = 5_000
    drain_ms: int = 10_000
    stop_ms: int = 2_000
    gauge_age_ms_max: int = 60_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            least, why = _LEAST.get(name, (1, ""))
            value = getattr(self, name)
            if isinstance(value, int) and value < least:
                raise UsageError(f"expected {name} of at least {least}{why}, but it is {value}")
        if not self.supported_pins.takes(RULES):
            raise UsageError(
                f"expected supported_pins to take {RULES}, by which this engine runs what it begins, "
                f"but they are {self.supported_pins.first} to {self.supported_pins.last}"
            )
        if self.work_items_max < self.activities_max:
            raise UsageError(
                f"expected work_items_max of at least activities_max, "
                f"but they are {self.work_items_max} and {self.activities_max}"
            )
        renewed_every_ms = self.activity_lease_ms // RENEWALS_A_LEASE
        if self.session_idle_timeout_ms <= renewed_every_ms:
            raise UsageError(
                f"expected session_idle_timeout_ms above {renewed_every_ms}, a third of activity_lease_ms, so that an "
                f"activity under way keeps its session in use, but it is {self.session_idle_timeout_ms}"
            )
        if self.worker_node_id is not None:
            SessionClaim(self.worker_node_id, self.session_lock_timeout_ms)  # says what is wrong with it


_MAY_BE_ZERO = (0, "")
_RENEWED = (RENEWALS_A_LEASE, ", so that a renewal at a third comes before the end")
_LEAST: dict[str, tuple[int, str]] = {
    "activity_lease_ms": _RENEWED,
    "cache_bytes_max": _MAY_BE_ZERO,
    "cache_executions_max": _MAY_BE_ZERO,
    "cancel_grace_ms": _MAY_BE_ZERO,
    "drain_ms": _MAY_BE_ZERO,
    "gauge_age_ms_max": _MAY_BE_ZERO,
    "max_sessions": _MAY_BE_ZERO,
    "session_lock_timeout_ms": _RENEWED,
    "stop_ms": _MAY_BE_ZERO,
}
"""The least a number may be, and why it may not be less; 1 for those that are not here."""


def back_off_ms(first_ms: int, bound_ms: int, attempt: int) -> int:
    """The wait after failed attempt number `attempt` (from 1): doubles from `first_ms` up to `bound_ms`."""
    return min(bound_ms, first_ms << min(attempt - 1, 30))
