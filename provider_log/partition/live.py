"""What does a running partition hold? The ledger and both queues of one owner token, wired."""

from collections.abc import Awaitable, Callable, Sequence

from engine.model.turn import TurnResult
from provider_log import records as r
from provider_log.answer_token import Issuer
from provider_log.partition import batch as batches
from provider_log.partition.backlog import Backlog
from provider_log.partition.effects import Watchers
from provider_log.partition.ledger import Ledger, Surroundings
from provider_log.partition.orchestrator_queue import OrchestratorQueue
from provider_log.partition.plan import owner_record
from provider_log.partition.removal import Removal
from provider_log.partition.suspicion import Suspicion
from provider_log.partition.worker_queue import SUSPECTS_MAX, WorkerQueue
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.port import Store
from provider_log.store.tables import GENESIS, GenesisRow, HeadRow, unpack


class LivePartition:
    """A partition in phase RUNNING. Made after each restore, dropped whole at a doubt.

    Methods of its queues are synchronous: they decide, admit a changelog record, and return. Nothing leaves before
    the batch it is in is committed.

    Args:
        around: What it shares with its node.
        owner_token: The token it was acquired with.
        head: Where log and store stand.
        store: Committed rows.
        backlog: The worker queue's memory, which outlives a doubt because running activities do.
        watchers: Queries that wait.
        want: Called when there is something to commit.
        suspicion: Which turns the log may not take; outlives a doubt too.
        is_careful: The owner before ended without a word: maybe an activity took its process with it.
    """

    def __init__(
        self,
        around: Surroundings,
        owner_token: bytes,
        head: HeadRow,
        store: Store,
        backlog: Backlog,
        watchers: Watchers,
        want: Callable[[], None],
        suspicion: Suspicion,
        *,
        is_careful: bool = False,
    ) -> None:
        self.ledger = Ledger(around, owner_token, head, store, watchers, want, suspicion)
        genesis = store.get(keys.named(Table.META, GENESIS))
        assert genesis is not None, "a partition runs once its genesis is written"
        issuer = Issuer(around.options.topic_tags, unpack(GenesisRow, genesis).application_id)
        self.registry = around.registry
        self.messages = OrchestratorQueue(around, self.ledger, suspicion, issuer)
        self.work = WorkerQueue(
            around, self.ledger, backlog, self.messages.receive, issuer, SUSPECTS_MAX if is_careful else 0
        )
        self.removal = Removal(self.ledger, self.messages, self.work)

    @property
    def depths(self) -> tuple[int, int, int]:
        """Unlocked messages, unleased work items, timers: as they are now, and not when somebody fetched last."""
        self.messages.tick()
        self.work.tick()
        return self.messages.unlocked, self.work.unleased, self.messages.timers

    def in_ms(self, at_ms: int | None) -> int | None:
        """How long it is until an instant of partition time; 0 if it has passed."""
        return None if at_ms is None else max(0, at_ms - self.ledger.now_ms())

    def ack_turn(self, lock_token: str, result: TurnResult) -> Awaitable[None]:
        """Admit a turn, with what it means for the workers; see `OrchestratorQueue.admit_turn` for what is raised."""
        self.work.release_after_commit(*self.messages.admit_turn(lock_token, result))
        return self.ledger.durable()

    def add_schemas(self, texts: Sequence[str]) -> None:
        """Let the log explain itself: `texts` are those of the schemas that are new to it."""
        self.ledger.admit(r.SchemasAdded(envelope=self.ledger.envelope(), schemas=tuple(texts)), about=None)

    def release(self) -> Awaitable[None]:
        """Say goodbye, in the history and in the owners topic; the awaitable is done when that is committed."""
        released = r.OwnershipReleased(envelope=self.ledger.envelope(), clean=True, leases=tuple(self.work.leases()))
        self.ledger.admit(released, about=None)
        self.ledger.send(owner_record(self.ledger.place, None))
        return self.ledger.durable()

    def seal(self) -> batches.Sealed:
        """Close the open batch with how far the lanes are and who has which work item."""
        self.messages.park_overdue()
        overlay = self.ledger.overlay
        deliveries = [
            delivery
            for delivery in self.work.drain_deliveries()  # of those answered meanwhile nobody needs to know
            if overlay.get(
                keys.in_execution(Table.WORK, delivery.instance, delivery.execution_id, delivery.activity_id)
            )
            is not None
        ]
        return self.ledger.seal(self.messages.moved_positions(), deliveries)
