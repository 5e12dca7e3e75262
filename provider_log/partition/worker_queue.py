"""How does a worker get an activity, and give its answer? The worker queue of one owner."""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence

from engine.errors import LeaseLost, Refused, TurnTooLarge
from engine.model.messages import AnyMessage
from engine.model.payload import Payload
from engine.model.sessions import SessionClaim
from engine.model.tags import TagFilter
from engine.model.turn import Disposition
from engine.model.work import WorkItem
from engine.observe import known_marks, mark
from engine.port import FetchedWorkItem
from provider_log import codec
from provider_log import records as r
from provider_log.answer_token import Answer, Issuer, numbers_of
from provider_log.partition.backlog import Backlog, Waiting, WorkKey
from provider_log.partition.ledger import Ledger, Surroundings
from provider_log.partition.plan import ANSWER_BYTES_MAX, DETAILS_BYTES_MAX, scheduled_of, send, worker_record
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.tables import WorkRow, unpack

_NONCE_BYTES = 8

SUSPECTS_MAX = 256
"""Deliveries that no record tells of: those since the last batch. Far more than one process runs at a time, and items
go out in their order, so what an owner had that ended without a word is among the first of so many."""

known_marks("delivery.recorded_first")

Receive = Callable[[Mapping[bytes, bytes | None], Sequence[AnyMessage]], None]
"""Takes the rows a record changed and the messages among them that stay in the partition, in order."""


class WorkerQueue:
    """Work items of one partition. Only committed ones: an activity must not start before its turn is durable.

    Args:
        around: What the partition shares.
        ledger: Where answers are admitted.
        backlog: What waits, with leases given under earlier tokens; refilled from the store.
        receive: Where an answer to the own partition arrives.
        issuer: Of tokens for items that others serve; those are never leased.
        suspects_max: How many of the oldest items of each tag and session may have ended the owner before. Each of
            their deliveries is written down before it begins: else an activity that ends its process would be at its
            first attempt for ever.
    """

    def __init__(
        self,
        around: Surroundings,
        ledger: Ledger,
        backlog: Backlog,
        receive: Receive,
        issuer: Issuer,
        suspects_max: int = 0,
    ) -> None:
        self._around = around
        self._ledger = ledger
        self._backlog = backlog
        self._receive = receive
        self._issuer = issuer
        self._deleted: set[WorkKey] = set()  # their deletion is admitted and not committed
        self._published: dict[int, WorkKey] = {}  # by offset in the worker topic, ascending
        self._read_up_to = 0
        stored = self._stored()
        self._suspects = set(_oldest_of_each_queue(stored, suspects_max))
        backlog.rebuild(stored)

    def _stored(self) -> list[Waiting]:
        found: list[Waiting] = []
        for key, data in self._ledger.store.scan(keys.table_prefix(Table.WORK)):
            execution_id, activity_id = keys.numbers_of(key)
            row = unpack(WorkRow, data)
            if row.tag not in self._issuer.tags:
                found.append(_waiting((keys.instance_of(key), execution_id, activity_id), row))
        return sorted(found, key=lambda waiting: waiting.order)

    def take(
        self, lock_timeout_ms: int, tags: TagFilter, session: SessionClaim | None = None
    ) -> FetchedWorkItem | None:
        """Lease the oldest visible work item that `tags` and `session` take."""
        token = self._ledger.lock_token()
        nonce = hashlib.blake2b(token.encode(), digest_size=_NONCE_BYTES).digest()
        now_ms = self._ledger.now_ms()
        leased = self._backlog.take(tags, token, nonce, now_ms, lock_timeout_ms, self._around.node, session)
        if leased is None:
            return None
        return FetchedWorkItem(
            item=leased.item,
            lock_token=token,
            attempt_count=leased.lease.attempt,
            now_ms=now_ms,
            revoked=leased.lease.revoked,
            heartbeat=leased.heartbeat or leased.item.heartbeat,
            holds=lambda: self._holds(token),
        )

    def recorded_first(self, item: WorkItem) -> Awaitable[None] | None:
        """When an item that was just taken may begin: None, at once; else once its delivery is written down.

        Raises:
            OwnershipLost: (from the awaitable) Nobody knows whether it is.
        """
        if (item.instance, item.execution_id, item.activity_id) not in self._suspects:
            return None
        # A record that settles nothing carries the deliveries so far.
        mark("delivery.recorded_first")
        self._ledger.admit(
            r.InputsSettled(envelope=self._ledger.envelope(), instance=item.instance, consumed=()), about=None
        )
        return self._ledger.durable()

    def _holds(self, token: str) -> bool:
        # No look at the time: a lease that ended unnoticed ended in a pause, after which nothing is current.
        return self._ledger.is_current and self._backlog.is_leased(token)

    def ack(self, token: str, completion: AnyMessage | None) -> Awaitable[None]:
        """Admit an activity's answer.

        Raises:
            LeaseLost: (at once) The lease is unknown, expired, or the item was taken back by an admitted turn.
            TurnTooLarge: (at once) The answer is larger than a record takes; the lease stays.
        """
        now_ms = self._ledger.now_ms()
        lease = self._backlog.lease(token, now_ms)
        if lease is None or not self._is_wanted(lease.key):
            raise LeaseLost("ack_work_item", f"expected a live lease, but invalid lock token {token}")
        instance, execution_id, activity_id = lease.key
        sent, outgoing = (None, None) if completion is None else send(completion, self._ledger.place)
        if sent is not None and len(sent.data) > ANSWER_BYTES_MAX:
            raise TurnTooLarge(instance, len(sent.data), ANSWER_BYTES_MAX)
        self._backlog.settle(token, now_ms)
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

    def renew(self, token: str, extend_for_ms: int, heartbeat: Payload | None = None) -> Awaitable[None] | None:
        """Extend a lease; with a `heartbeat`, an awaitable that is done when that is kept.

        Raises:
            LeaseLost: (at once) As in `ack`.
            Refused: (at once) The heartbeat is larger than may travel; the lease is as it was.
        """
        if heartbeat is not None and len(heartbeat.data) > DETAILS_BYTES_MAX:
            raise Refused(
                "renew_work_item_lock",
                f"expected details of a heartbeat of at most {DETAILS_BYTES_MAX} bytes, "
                f"but they have {len(heartbeat.data)}",
            )
        now_ms = self._ledger.now_ms()
        lease = self._backlog.lease(token, now_ms)
        wanted = lease is not None and self._is_wanted(lease.key)
        if not (wanted and self._backlog.renew(token, now_ms, extend_for_ms, self._around.node)):
            raise LeaseLost("renew_work_item_lock", f"expected a live lease, but invalid lock token {token}")
        return None if heartbeat is None or lease is None else self._keep(token, lease.key, heartbeat)

    def _keep(self, token: str, key: WorkKey, heartbeat: Payload) -> Awaitable[None]:
        instance, execution_id, activity_id = key
        said = r.WorkItemHeartbeat(
            envelope=self._ledger.envelope(),
            instance=instance,
            execution_id=execution_id,
            activity_id=activity_id,
            heartbeat=heartbeat,
        )
        order = self._backlog.place_of(token)
        self._ledger.admit(said, about=None)
        self._ledger.after_commit(lambda: self._backlog.keep(key, order, heartbeat))
        return self._ledger.durable()

    def abandon(self, token: str, delay_ms: int, *, ignore_attempt: bool) -> None:
        """Give a lease back.

        Raises:
            LeaseLost: The token is unknown.
        """
        visible_at_ms = self._ledger.now_ms() + delay_ms if delay_ms > 0 else 0
        if not self._backlog.abandon(token, visible_at_ms, ignore_attempt=ignore_attempt):
            raise LeaseLost("abandon_work_item", f"expected a lease, but invalid lock token {token}")
        self._around.wakeup.signal()

    def _is_wanted(self, key: WorkKey) -> bool:
        # Another life of the instance may have an item of this key by now, which nobody was given yet.
        return key not in self._deleted and self.has(key)

    def has(self, key: WorkKey) -> bool:
        """Whether the item is there with all admitted turns, committed or not."""
        return self._ledger.overlay.get(keys.in_execution(Table.WORK, *key)) is not None

    def drop_tree(self, root: str) -> int:
        """Take back all items of a tree that is being deleted; who has one is told with the commit.

        Returns:
            How many there were.
        """
        gone = self._items_of_tree(root)
        self._withdraw(gone)
        return len(gone)

    def _items_of_tree(self, root: str) -> list[WorkKey]:
        found: list[WorkKey] = []
        for prefix in keys.tree_prefixes(Table.WORK, root):
            for key, _ in self._ledger.overlay.scan(prefix):
                execution_id, activity_id = keys.numbers_of(key)
                found.append((keys.instance_of(key), execution_id, activity_id))
        return found

    def _withdraw(self, gone: Collection[WorkKey]) -> None:
        """Nobody may answer these any more; who has one is told with the commit."""
        self._deleted.update(gone)

        def after() -> None:
            for key in gone:
                self._backlog.remove(key)
                self._deleted.discard(key)

        self._ledger.after_commit(after)

    def take_back(self, taken: r.TakenBack) -> int:
        """Remove what an owner of another partition takes back that sent it here; who has one is told with the commit.

        Returns:
            How many items there were.
        """
        match taken:
            case r.WorkItemTakenBack():
                key = (taken.instance, taken.execution_id, taken.activity_id)
                gone = [key] if self.has(key) else []
            case r.TreeTakenBack():
                gone = self._items_of_tree(taken.instance)
        for instance, execution_id, activity_id in gone:
            row = self._ledger.overlay.get(keys.in_execution(Table.WORK, instance, execution_id, activity_id))
            assert row is not None, "only what is there is taken back"
            acked = r.WorkItemAcked(
                envelope=self._ledger.envelope(),
                instance=instance,
                execution_id=execution_id,
                activity_id=activity_id,
                attempt=unpack(WorkRow, row).attempt,
                worker=self._ledger.place.topics.worker,
            )
            self._ledger.admit(acked, about=None)
        self._withdraw(gone)
        return len(gone)

    def enqueue(self, item: WorkItem, data: bytes, offset: int, arrived: Callable[[], None]) -> None:
        """A work item from the worker topic becomes a row; `arrived` is called when that is committed."""
        enqueued = r.WorkItemEnqueued(
            envelope=self._ledger.envelope(),
            instance=item.instance,
            scheduled=scheduled_of(item, data),
            consumed=r.Consumed(lane=r.Lane.WORKER, place=offset, disposition=Disposition.APPLIED),
        )
        self._ledger.admit(enqueued, about=None)
        self.release_after_commit((item,), ())
        self._ledger.after_commit(arrived)
        if self._issuer.headers_of(item):
            self._ledger.send(worker_record(item, data, self._ledger.place, self._issuer))  # now with its token

    # Sessions

    def renew_sessions(self, owners: Collection[str], extend_for_ms: int, idle_timeout_ms: int) -> int:
        """Extend sessions that these hold and use; how many."""
        return self._backlog.renew_sessions(owners, self._ledger.now_ms(), extend_for_ms, idle_timeout_ms)

    def forget_sessions(self) -> int:
        """Forget sessions that nobody holds and of which there is no item; how many."""
        return self._backlog.forget_sessions(self._ledger.now_ms())

    # Items that others serve

    @property
    def topic_tags(self) -> Collection[str]:
        """Tags of the items that others serve."""
        return self._issuer.tags

    def has_issued(self, token: bytes, answer: Answer) -> bool:
        """Whether `token` proves that its bearer was given the activity that `answer` is for."""
        return self._issuer.has_issued(token, answer)

    def waits_for(self, answer: Answer) -> bool:
        """Whether the activity, in this life of its instance, has no answer yet and was not taken back."""
        data = self._ledger.overlay.get(keys.in_execution(Table.WORK, *_key_of(answer)))
        return data is not None and codec.decode_work_item(unpack(WorkRow, data).data).incarnation == answer.incarnation

    def answer(self, answer: Answer) -> None:
        """Admit an answer that is waited for, whoever gave it."""
        key = _key_of(answer)
        row = self._ledger.overlay.get(keys.in_execution(Table.WORK, *key))
        assert row is not None, "only what is waited for is answered"
        sent, _ = send(answer, self._ledger.place)
        acked = r.WorkItemAcked(
            envelope=self._ledger.envelope(),
            instance=answer.instance,
            execution_id=answer.execution_id,
            activity_id=answer.activity_id,
            attempt=unpack(WorkRow, row).attempt + 1,
            worker=self._ledger.place.topics.orchestrator,
            sent=sent,
        )
        rows = self._ledger.admit(acked, about=answer.instance)

        def after() -> None:
            self._backlog.remove(key)  # its tag may be ours to serve by now: whoever has it learns of the answer

        self._ledger.after_commit(after)
        self._receive(rows, (answer,))

    @property
    def publishes(self) -> bool:
        """Whether there are items that others serve."""
        return bool(self._issuer.tags)

    def published(self, offset: int, key: bytes | None, token: bytes | None) -> None:
        """The worker topic has an owner's record at `offset`; with a token it is an item that others serve."""
        self._read_up_to = offset + 1
        if token is not None:
            with contextlib.suppress(ValueError):  # a stranger's: whoever writes to a topic may write anything
                numbers = numbers_of(token.decode())
                self._published[offset] = ((key or b"").decode(), numbers.execution_id, numbers.activity_id)

    def answered_up_to(self, watermark: int) -> int:
        """How much of the worker topic nobody needs any more, of what lies below its committed `watermark`."""
        if not self.publishes:
            return watermark
        # What is not read since the partition runs may be unanswered; what lies above may not be in the store yet.
        end = min(watermark, self._read_up_to)
        for offset, key in list(self._published.items()):
            if offset >= end:
                break
            if self._ledger.store.get(keys.in_execution(Table.WORK, *key)) is not None:
                return offset
            del self._published[offset]
        return end

    def release_after_commit(self, scheduled: Sequence[WorkItem], cancelled: Sequence[r.ActivityKey]) -> None:
        """Once the open batch is committed, hand out what it scheduled and tell who has what it took back."""
        if scheduled or cancelled:
            self._ledger.after_commit(lambda: self._release(scheduled, cancelled))

    def _release(self, scheduled: Sequence[WorkItem], cancelled: Sequence[r.ActivityKey]) -> None:
        for item in scheduled:
            key = (item.instance, item.execution_id, item.activity_id)
            data = self._ledger.store.get(keys.in_execution(Table.WORK, *key))
            # scheduled and cancelled in one turn leaves nothing
            if data is not None and item.tag not in self._issuer.tags:
                self._backlog.add(_waiting(key, unpack(WorkRow, data)))
        for activity in cancelled:
            self._backlog.remove((activity.instance, activity.execution_id, activity.activity_id))

    # For the owner

    def tick(self) -> None:
        """Let items become visible and leases expire."""
        self._backlog.tick(self._ledger.now_ms())

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


def _oldest_of_each_queue(stored: Sequence[Waiting], count: int) -> Iterator[WorkKey]:
    seen = Counter[tuple[str | None, str | None]]()
    for waiting in stored:
        queue = waiting.tag, waiting.session_id
        seen[queue] += 1
        if seen[queue] <= count:
            yield waiting.key


def _key_of(answer: Answer) -> WorkKey:
    return answer.instance, answer.execution_id, answer.activity_id


def _waiting(key: WorkKey, row: WorkRow) -> Waiting:
    return Waiting(
        key=key,
        order=row.order,
        tag=row.tag,
        session_id=row.session_id,
        load=lambda: codec.decode_work_item(row.data),
        attempt=row.attempt,
        start_by_ms=row.start_by_ms,
        heartbeat=row.heartbeat,
    )
