"""How does a worker get an activity, and give its answer? The worker queue of one owner."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

from engine.errors import LeaseLost, TurnTooLarge
from engine.model.messages import AnyMessage
from engine.model.turn import Disposition
from engine.model.work import WorkItem
from engine.port import FetchedWorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.partition.backlog import Backlog, Waiting, WorkKey
from provider_log.partition.ledger import Ledger, Surroundings
from provider_log.partition.plan import ANSWER_BYTES_MAX, send
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import WorkRow, unpack

_NONCE_BYTES = 8

Receive = Callable[[Mapping[bytes, bytes | None], Sequence[AnyMessage]], None]
"""Takes the rows a record changed and the messages among them that stay in the partition, in order."""


class WorkerQueue:
    """Work items of one partition. Only committed ones: an activity must not start before its turn is durable.

    Args:
        around: What the partition shares.
        ledger: Where answers are admitted.
        backlog: What waits, with leases given under earlier tokens; refilled from the store.
        receive: Where an answer to the own partition arrives.
    """

    def __init__(self, around: Surroundings, ledger: Ledger, backlog: Backlog, receive: Receive) -> None:
        self._around = around
        self._ledger = ledger
        self._backlog = backlog
        self._receive = receive
        backlog.rebuild(self._stored())

    def _stored(self) -> list[Waiting]:
        found: list[Waiting] = []
        for key, data in self._ledger.store.scan(keys.table_prefix(Table.WORK)):
            execution_id, activity_id = keys.numbers_of(key)
            found.append(_waiting((keys.instance_of(key), execution_id, activity_id), unpack(WorkRow, data)))
        return sorted(found, key=lambda waiting: waiting.order)

    def take(self, lock_timeout_ms: int) -> FetchedWorkItem | None:
        """Lease the oldest visible work item."""
        token = self._ledger.lock_token()
        nonce = hashlib.blake2b(token.encode(), digest_size=_NONCE_BYTES).digest()
        leased = self._backlog.take(token, nonce, self._ledger.now_ms(), lock_timeout_ms, self._around.node)
        if leased is None:
            return None
        return FetchedWorkItem(
            item=leased.item,
            lock_token=token,
            attempt_count=leased.lease.attempt,
            revoked=leased.lease.revoked,
            holds=lambda: self._holds(token),
        )

    def _holds(self, token: str) -> bool:
        # No look at the time: a lease that ended unnoticed ended in a pause, after which nothing is current.
        return self._ledger.is_current and self._backlog.is_leased(token)

    def ack(self, token: str, completion: AnyMessage | None) -> Awaitable[None]:
        """Admit an activity's answer.

        Raises:
            LeaseLost: (at once) The lease is unknown, expired, or the item was taken back by an admitted turn.
            TurnTooLarge: (at once) The answer is larger than a record takes; the lease stays.
        """
        lease = self._backlog.lease(token, self._ledger.now_ms())
        if lease is None or not self.has(lease.key):
            raise LeaseLost("ack_work_item", f"expected a live lease, but invalid lock token {token}")
        instance, execution_id, activity_id = lease.key
        sent, outgoing = (None, None) if completion is None else send(completion, self._ledger.place)
        if sent is not None and len(sent.data) > ANSWER_BYTES_MAX:
            raise TurnTooLarge(instance, len(sent.data), ANSWER_BYTES_MAX)
        self._backlog.settle(token)
        acked = r.WorkItemAcked(
            envelope=self._ledger.envelope(),
            instance=instance,
            execution_id=execution_id,
            activity_id=activity_id,
            attempt=lease.attempt,
            worker=self._around.node,
            sent=sent,
        )
        rows = self._ledger.admit(acked, about=instance)
        self._ledger.after_commit(lambda: self._backlog.forget(token))
        if outgoing is not None:
            self._ledger.send(outgoing)
        elif completion is not None:
            self._receive(rows, (completion,))
        return self._ledger.durable()

    def renew(self, token: str, extend_for_ms: int) -> None:
        """Extend a lease.

        Raises:
            LeaseLost: As in `ack`.
        """
        now_ms = self._ledger.now_ms()
        lease = self._backlog.lease(token, now_ms)
        wanted = lease is not None and self.has(lease.key)
        if not (wanted and self._backlog.renew(token, now_ms, extend_for_ms, self._around.node)):
            raise LeaseLost("renew_work_item_lock", f"expected a live lease, but invalid lock token {token}")

    def abandon(self, token: str, delay_ms: int, *, ignore_attempt: bool) -> None:
        """Give a lease back.

        Raises:
            LeaseLost: The token is unknown.
        """
        visible_at_ms = self._ledger.now_ms() + delay_ms if delay_ms > 0 else 0
        if not self._backlog.abandon(token, visible_at_ms, ignore_attempt=ignore_attempt):
            raise LeaseLost("abandon_work_item", f"expected a lease, but invalid lock token {token}")
        self._around.wakeup.signal()

    def has(self, key: WorkKey) -> bool:
        """Whether the item is there with all admitted turns, committed or not."""
        return self._ledger.overlay.get(keys.in_execution(Table.WORK, *key)) is not None

    def enqueue(self, item: WorkItem, data: bytes, offset: int, arrived: Callable[[], None]) -> None:
        """A work item from outside becomes a row; `arrived` is called when that is committed."""
        scheduled = r.Scheduled(
            instance=item.instance,
            execution_id=item.execution_id,
            activity_id=item.activity_id,
            data=data,
            session_id=item.session_id,
            tag=item.tag,
        )
        enqueued = r.WorkItemEnqueued(
            envelope=self._ledger.envelope(),
            instance=item.instance,
            scheduled=scheduled,
            consumed=r.Consumed(lane=r.Lane.WORKER, place=offset, disposition=Disposition.APPLIED),
        )
        self._ledger.admit(enqueued, about=None)
        self.release_after_commit((item,), ())
        self._ledger.after_commit(arrived)

    def release_after_commit(self, scheduled: Sequence[WorkItem], cancelled: Sequence[r.ActivityKey]) -> None:
        """Once the open batch is committed, hand out what it scheduled and tell who has what it took back."""
        if scheduled or cancelled:
            self._ledger.after_commit(lambda: self._release(scheduled, cancelled))

    def _release(self, scheduled: Sequence[WorkItem], cancelled: Sequence[r.ActivityKey]) -> None:
        for item in scheduled:
            key = (item.instance, item.execution_id, item.activity_id)
            data = self._ledger.store.get(keys.in_execution(Table.WORK, *key))
            if data is not None:  # scheduled and cancelled in one turn leaves nothing
                self._backlog.add(_waiting(key, unpack(WorkRow, data)))
        for activity in cancelled:
            self._backlog.remove((activity.instance, activity.execution_id, activity.activity_id))

    # For the owner

    @property
    def unleased(self) -> int:
        """Work items nobody has."""
        return self._backlog.unleased

    def next_due_ms(self) -> int | None:
        """When an item becomes visible or a lease may expire."""
        return self._backlog.next_due_ms()

    def drain_deliveries(self) -> list[r.Delivery]:
        """What was handed out since the last batch."""
        return self._backlog.drain_deliveries()

    def leases(self) -> list[r.Delivery]:
        """Every lease that is out."""
        return self._backlog.leases(self._around.node)


def _waiting(key: WorkKey, row: WorkRow) -> Waiting:
    return Waiting(key=key, order=row.order, load=lambda: codec.decode_work_item(row.data), attempt=row.attempt)
