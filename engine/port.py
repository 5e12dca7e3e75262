"""What must a provider do? The port in protocols, with Duroxide's verbs.

A provider is storage with two queues and locks; it decides nothing about orchestrations. It never makes up ids or
events. Three views, so that nobody depends on more than they use: a client needs `Mailbox` and `InstanceView`, the
engine needs `Provider`, an operator needs `ProviderAdmin`.

Rules that hold for every method:
- All durations are milliseconds. All instants are milliseconds since 1970 of the provider's own time.
- `Retryable` means nothing was written and locks are as before. `Refused` means the same call can never succeed.
- A call may be cancelled at any await: it then happened whole or not at all, and no lock stays held but by its lease.
- Peek-lock everywhere: fetch locks and counts an attempt, ack deletes, abandon unlocks, an expired lock redelivers.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import anyio
from msgspec import Struct

from engine.errors import HistoryCorrupted
from engine.model.events import AnyEvent
from engine.model.failure import Failure
from engine.model.key_values import KeyValue
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.removal import DeletedCounts, InstanceFilter, PrunedCounts, PruneOptions
from engine.model.sessions import SessionClaim
from engine.model.status import Status
from engine.model.tags import DEFAULT_ONLY, TagFilter
from engine.model.turn import TurnResult
from engine.model.version import VersionRange
from engine.model.views import (
    ExecutionInfo,
    InstanceInfo,
    InstanceStats,
    InstanceTree,
    QueueDepths,
    SystemMetrics,
)
from engine.model.work import WorkItem


class HistoryView(Protocol):
    """The history of an instance's current execution, loaded on use.

    Valid until the item's lock is given up.
    """

    @property
    def last_event_id(self) -> int:
        """Highest event id, 0 for an empty history. Free to ask."""
        ...

    def key_values(self) -> Mapping[str, KeyValue]:
        """What the instance kept when the execution before the current one ended; empty if none has.

        Changes of the current execution are not in it: replaying them over it gives what the instance keeps now.
        """
        ...

    def load(self) -> Sequence[AnyEvent]:
        """All events in order of event id.

        Raises:
            HistoryCorrupted: Some stored event cannot be decoded. Never a shorter list.
        """
        ...


class OrchestrationItem(Struct, frozen=True, kw_only=True):
    """One instance with messages, locked for one turn.

    Attributes:
        orchestration_name: Of the instance, or of the start message in the batch if it does not exist yet.
        version: Likewise; "unknown" if neither says.
        execution_id: Current execution; 1 for an instance that does not exist yet.
        incarnation: This life of the instance; None if it does not exist yet.
        messages: All visible messages, in order of arrival.
        attempt_count: The largest number of fetches among the messages, this one included.
        lineage: Changes whenever the provider had to forget turns it had admitted. A coroutine kept from a turn
            under another lineage has seen things that never happened and must be put away.
        now_ms: The provider's time of the fetch; what a turn may call now.
        status: Of the instance; None if it does not exist yet.
    """

    instance: str
    orchestration_name: str
    version: str
    execution_id: int
    incarnation: int | None
    history: HistoryView
    messages: tuple[AnyMessage, ...]
    lock_token: str
    attempt_count: int
    lineage: int
    now_ms: int
    status: Status | None = None

    @property
    def history_error(self) -> str | None:
        """Why the history cannot be read, or None. The lock is held and the attempt counted all the same."""
        try:
            self.history.load()
        except HistoryCorrupted as error:
            return str(error)
        return None


def _as_far_as_known() -> bool:
    return True


class FetchedWorkItem(Struct, frozen=True, kw_only=True):
    """One activity, leased to a worker.

    Attributes:
        lock_token: Proves the lease to renew, ack and abandon.
        attempt_count: Number of fetches of this item, this one included.
        now_ms: The provider's time of the fetch: whether it was in time for `item.limits`.
        heartbeat: What a delivery before this one said last of how far it was, else what `item.heartbeat` says.
        revoked: Set when the provider learns that the lease is lost: the activity was cancelled or its instance
            is gone. In the owner's process that is at once; elsewhere the next renewal fails instead.
        holds: Whether the lease holds, as far as is known at this moment; for any thread. Asked right before the
            activity's code begins: a process that was paused in between finds out here, and not by doing what
            another has long done.
    """

    item: WorkItem
    lock_token: str
    attempt_count: int
    now_ms: int
    revoked: anyio.Event
    heartbeat: Payload | None = None
    holds: Callable[[], bool] = _as_far_as_known


class Mailbox(Protocol):
    """The way in: both queues."""

    async def enqueue_for_orchestrator(self, message: AnyMessage, delay_ms: int = 0) -> None:
        """Put `message` in the queue of its instance, visible after `delay_ms`. Durable when it returns.

        Does not create the instance. One that says itself when it is for (`messages.due_at_ms`), a timer or a start, is
        not visible before; that holds of what a turn sends, too. A message of a client (`External`) whose id came
        before changes nothing; what a turn sends is sent, whatever its id.

        Raises:
            Refused: The message cannot be stored (too large).
        """
        ...

    async def enqueue_for_worker(self, item: WorkItem) -> None:
        """Put `item` in the worker queue, visible at once. Durable when it returns. Needs no instance."""
        ...


class InstanceView(Protocol):
    """The way to look: committed state only."""

    async def get_instance_info(self, instance: str) -> InstanceInfo | None:
        """State of the instance, or None if it does not exist."""
        ...

    async def changed(self, instance: str, seen: int) -> InstanceInfo:
        """Wait until the instance exists with a revision above `seen`, and return its state. Waits for ever."""
        ...

    async def ended(self, instance: str) -> InstanceInfo:
        """Wait until the instance goes no further by itself, and return its state: one of `STANDSTILL`.

        It need not exist yet. Waits for ever.
        """
        ...

    async def read(self, instance: str) -> Sequence[AnyEvent]:
        """History of the latest execution, in order; empty for an unknown instance.

        Raises:
            HistoryCorrupted: Some stored event cannot be decoded.
        """
        ...

    async def get_key_value(self, instance: str, key: str) -> KeyValue | None:
        """What the instance keeps under `key` now, or None if it keeps nothing there or does not exist."""
        ...

    async def get_key_values(self, instance: str) -> Mapping[str, KeyValue]:
        """All that the instance keeps now, by key, ascending; empty for an unknown instance."""
        ...

    async def has_consumed(self, instance: str, message_id: str) -> bool:
        """Whether a turn of the instance, committed, has consumed a message with this id.

        What a start came to is known then: the instance's `start_id` is its id, or it changed nothing. A provider
        knows the latest ids of an instance, a thousand or more. False for an unknown instance, and an id it forgot.
        """
        ...

    async def read_with_execution(self, instance: str, execution_id: int) -> Sequence[AnyEvent]:
        """History of that execution; empty if there is none. Raises as `read` does."""
        ...


class Provider(Mailbox, InstanceView, Protocol):
    """What the engine drives: both views and the two peek-lock queues."""

    @property
    def name(self) -> str:
        """What it is, for logs."""
        ...

    async def fetch_orchestration_item(
        self, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> OrchestrationItem | None:
        """Lock one instance that has visible messages and return it with all of them; None if there is none.

        Waits up to `poll_timeout_ms` for one to appear. The oldest message's instance is first. All visible messages
        of the instance are tagged with the lock and their attempt counts grow by one. Messages that are only
        queue messages, or answers to a life that was deleted, for an instance that does not exist are taken out of
        the queue instead; other messages for such an instance wait for its start. Instances that are held or suspended
        are not returned. A provider may wait a while for a start before it takes such a message out.

        With `pins`, instances whose current execution has a pin that is not one of them are passed over: not locked,
        not counted, their history not looked at, and in nobody's way.
        """
        ...

    async def fetch_orchestration_items(
        self, items_max: int, lock_timeout_ms: int, poll_timeout_ms: int, pins: VersionRange | None = None
    ) -> Sequence[OrchestrationItem]:
        """Up to `items_max` instances as above, each with its own lock; empty after `poll_timeout_ms`."""
        ...

    def ack_orchestration_item(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        """Commit a turn: all of `result`, the deletion of the tagged messages and of the lock, or nothing.

        The turn is admitted, in order, before this returns: the instance is free again and later fetches see the
        new history. The awaitable is done when the turn is durable. Only then do its work items, queries and
        replies see it.

        Raises:
            LeaseLost: (at once) The token is unknown or its lock has expired.
            Refused: (at once) An event id of the delta exists already; the lock stays held.
            OwnershipLost: (from the awaitable) The turn did not happen, or its outcome is in doubt; what was
                committed shows in the next fetch.
        """
        ...

    async def abandon_orchestration_item(
        self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False
    ) -> None:
        """Give the lock back. Tagged messages are visible after `delay_ms`; others keep their visibility.

        With `ignore_attempt` the fetch does not count as an attempt.

        Raises:
            LeaseLost: The token is unknown.
        """
        ...

    async def renew_orchestration_item_lock(self, lock_token: str, extend_for_ms: int) -> None:
        """The lock holds for `extend_for_ms` from now.

        Raises:
            LeaseLost: The token is unknown or its lock has expired.
        """
        ...

    async def hold_orchestration_item(self, lock_token: str, failure: Failure) -> None:
        """Set the instance aside as HELD with `failure`; its messages stay. Durable when it returns.

        Raises:
            LeaseLost: The token is unknown or its lock has expired.
        """
        ...

    async def fetch_work_item(
        self,
        lock_timeout_ms: int,
        poll_timeout_ms: int,
        tags: TagFilter = DEFAULT_ONLY,
        session: SessionClaim | None = None,
    ) -> FetchedWorkItem | None:
        """Lease the oldest visible work item that `tags` and `session` take for `lock_timeout_ms`.

        Without `session` it takes items that have none. With it, those too, and items of sessions that its owner holds
        or that nobody holds; in the same step the owner holds the session of what it gets, from now on for
        `session.lock_timeout_ms`. The first such fetch begins a session, without anybody having asked for it.

        None if there is none within `poll_timeout_ms`. What is not taken is not locked, not counted, and does not hold
        up what is, however much of it waits. Holding a session says where its items go and nothing more: a worker that
        holds it no longer still renews, acks and abandons the items it leased.

        An item that was not delivered until its `limits.start_by_ms` is for anybody from then on, whatever its tag and
        session and whatever the caller takes. That claims no session and counts as no attempt: if the answer does not
        come, the next one is given it likewise. So an item that nobody serves fails in its time: who fetches such an
        item is to answer that nobody began it, and not to do what it asks for.
        """
        ...

    async def renew_session_lock(self, owners: Sequence[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        """Let `owners` hold their sessions for `extend_for_ms` from now: those that are held, and not idle.

        A session is idle when, while it was held, no item of it was fetched, renewed or acked for `idle_timeout_ms`.

        Returns:
            How many sessions that were.
        """
        ...

    async def cleanup_orphaned_sessions(self, idle_timeout_ms: int) -> int:
        """Forget sessions that nobody holds and of which no item waits or runs.

        Args:
            idle_timeout_ms: For databases, which may keep what was in use more lately than that; others need not look.

        Returns:
            How many sessions that were.
        """
        ...

    async def ack_work_item(self, lock_token: str, completion: AnyMessage | None) -> None:
        """Delete the work item and put `completion` in its instance's queue, both or neither.

        None deletes only. Durable when it returns.

        Raises:
            LeaseLost: The lease is unknown, expired, or the item was cancelled or acked.
        """
        ...

    async def renew_work_item_lock(self, lock_token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> None:
        """The lease holds for `extend_for_ms` from now.

        A `heartbeat` is kept with the item, instead of the one before: later deliveries have it. Durable when this
        returns; the lease is extended at once.

        Raises:
            LeaseLost: As in `ack_work_item`; to a running activity this is the signal that it was cancelled.
            Refused: `heartbeat` cannot be stored (too large). The lease is as it was.
            InDoubt: The lease is extended, and the heartbeat may be kept.
        """
        ...

    async def abandon_work_item(self, lock_token: str, delay_ms: int = 0, ignore_attempt: bool = False) -> None:
        """Give the lease back; the item is visible after `delay_ms`.

        Raises:
            LeaseLost: The token is unknown.
        """
        ...


@runtime_checkable
class ProviderAdmin(Protocol):
    """What operators ask and order."""

    async def list_instances(
        self, *, status: Status | None = None, name: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[InstanceInfo]:
        """Instances by id, ascending; only those of `status` and orchestration `name` if given, only ids > `after`."""
        ...

    async def list_executions(self, instance: str) -> Sequence[ExecutionInfo]:
        """All executions, ascending; empty for an unknown instance."""
        ...

    async def get_execution_info(self, instance: str, execution_id: int) -> ExecutionInfo | None:
        """That execution, or None if there is none."""
        ...

    async def get_instance_stats(self, instance: str) -> InstanceStats | None:
        """How large the instance is, or None if it does not exist.

        Raises:
            HistoryCorrupted: The first event cannot be decoded.
        """
        ...

    async def get_system_metrics(self) -> SystemMetrics:
        """How much there is, over all partitions this provider owns. Reads every instance: not for every second."""
        ...

    async def get_queue_depths(self) -> QueueDepths:
        """How much waits, over all partitions this provider owns."""
        ...

    async def suspend_instance(self, instance: str, reason: str) -> None:
        """Let the instance take no turn until it is resumed; its messages wait. Durable when it returns.

        A turn under way loses its lock. Activities that run go on, and their completions wait with the rest. Who is
        suspended already stays so, with the reason it has. Its children are not touched.

        Raises:
            Refused: There is no such instance, it has ended, or it is held.
        """
        ...

    async def resume_instance(self, instance: str) -> None:
        """Let a held or suspended instance go on with its messages. Durable when it returns.

        Raises:
            Refused: There is no such instance, or it is neither held nor suspended.
        """
        ...

    async def list_children(self, instance: str) -> Sequence[str]:
        """Ids of its automatic children, ascending, without their own; empty for an unknown instance."""
        ...

    async def get_parent_id(self, instance: str) -> str | None:
        """Who called it; None if nobody did.

        Raises:
            Refused: There is no such instance.
        """
        ...

    async def get_instance_tree(self, instance: str) -> InstanceTree:
        """The instance and all that came of it.

        Raises:
            Refused: There is no such instance.
        """
        ...

    async def delete_instance(self, instance: str, force: bool = False) -> DeletedCounts:
        """Take away the whole tree of `instance` in one commit: histories, queued messages, timers, work items, locks.

        Durable when it returns. A turn or an activity of it that is under way loses its lease. The id may be started
        again: that is another life, which messages for this one do not reach.

        Args:
            instance: The root of its tree.
            force: Whether to delete what has not ended, too. It gets no chance to clean up.

        Raises:
            Refused: There is no such instance; it is an automatic child; or, without `force`, somebody in the tree
                has not ended.
        """
        ...

    async def delete_instances_atomic(self, instances: Sequence[str], force: bool = False) -> DeletedCounts:
        """Delete exactly these, if all of them may be; else nobody. Durable when it returns.

        A provider that keeps roots in several partitions checks them all first, then deletes tree by tree: a crash in
        between leaves some of the trees, each of them whole. The same call for those that are left ends it.

        Args:
            instances: Roots, each with everybody in its tree.
            force: As in `delete_instance`.

        Raises:
            Refused: One of them does not exist; one is there without its root; somebody in a tree is not named; or,
                without `force`, one has not ended.
        """
        ...

    async def prune_executions(self, instance: str, options: PruneOptions) -> PrunedCounts:
        """Forget earlier executions with their histories. Durable when it returns.

        The current execution stays, and one that has not ended.

        Raises:
            Refused: There is no such instance.
        """
        ...

    async def delete_instance_bulk(self, which: InstanceFilter) -> DeletedCounts:
        """Delete the trees of roots that have ended, as `delete_instance` does, each by itself.

        A tree in which anybody has not ended is passed over, and so are children and who is not there.
        """
        ...

    async def prune_executions_bulk(self, which: InstanceFilter, options: PruneOptions) -> PrunedCounts:
        """Prune instances of any status, children too, as `prune_executions` does, each by itself."""
        ...
