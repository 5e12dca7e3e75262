"""What is admitted and not yet committed? One owner token's batches, over the committed store.

Everything uncommitted hangs on one `Ledger`: dropping the object drops it all, exactly. What was committed comes back
by restore, which runs the same `follow` and the same `apply`.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from engine.clock import Clock
from engine.runtime.doors import Chance
from provider_log import records as r
from provider_log.log.port import LogError, LogRecord
from provider_log.log.wakeup import Wakeup
from provider_log.options import LogProviderOptions
from provider_log.partition import batch as batches
from provider_log.partition.effects import Watchers
from provider_log.partition.owners import Owners
from provider_log.partition.partition_time import PartitionTime
from provider_log.partition.plan import Place, unsealed
from provider_log.partition.restore import put_head
from provider_log.partition.suspicion import Suspicion
from provider_log.schema_registry import SchemaRegistry
from provider_log.store import apply as applying
from provider_log.store.overlay import Overlay
from provider_log.store.port import Store
from provider_log.store.tables import HeadRow


def _alone() -> int:
    return 0


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a partition shares with the node it lives in.

    Attributes:
        address: Where the node answers, for other nodes; empty if it does not.
        generation: Of the placement that the node acts on; 0 for a node that is alone.
        owners: Who has which partition, where other nodes could; None where no other can.
        registry: Where schemas of input are looked up that is framed so; None if there is none.
    """

    place: Place
    node: str
    clock: Clock
    chance: Chance
    options: LogProviderOptions
    wakeup: Wakeup
    address: str = ""
    generation: Callable[[], int] = _alone
    owners: Owners | None = None
    registry: SchemaRegistry | None = None


class Ledger:
    """Admits records into the open batch, seals batches, and makes committed ones true.

    Args:
        around: What the partition shares.
        owner_token: Of the acquire record; every record carries it.
        head: Where log and store stand.
        store: Committed rows.
        watchers: Queries that wait for a commit.
        want: Called when there is something to commit.
        suspicion: Told what is committed and what is not.
    """

    def __init__(
        self,
        around: Surroundings,
        owner_token: bytes,
        head: HeadRow,
        store: Store,
        watchers: Watchers,
        want: Callable[[], None],
        suspicion: Suspicion,
    ) -> None:
        self._around = around
        self._token = owner_token
        self._head = head
        self._watchers = watchers
        self._want = want
        self._suspicion = suspicion
        self._time = PartitionTime(around.clock, head.time_ms)
        self._batch = batches.Batch(number=1)
        self._in_flight: deque[batches.Batch] = deque()
        self._token_root = around.chance.token()
        self._tokens = itertools.count(1)
        self.store = store
        self.overlay = Overlay(store)

    @property
    def place(self) -> Place:
        """Where the partition's records go."""
        return self._around.place

    @property
    def is_current(self) -> bool:
        """Whether the log has lately said that this token owns the partition; true where no other node could.

        What is admitted needs no such proof, its commit is one. What leaves without a commit does: an activity that
        starts, a lease, the answer to a query.
        """
        owners = self._around.owners
        return owners is None or owners.names(self.place.partition, self._token)

    @property
    def lineage(self) -> int:
        """Tells turns admitted under this ledger from those of any other."""
        return int.from_bytes(self._token[:7])

    def lock_token(self) -> str:
        """A token nobody else has: partition, a part nobody can guess, and a running number."""
        return f"{self.place.partition}.{self._token_root}.{next(self._tokens)}"

    @property
    def open_batch(self) -> batches.Batch:
        """The batch that collects now."""
        return self._batch

    @property
    def is_full(self) -> bool:
        """Whether the open batch must be closed."""
        options = self._around.options
        return (
            len(self._batch.records) >= options.batch_records_max or self._batch.size_bytes >= options.batch_bytes_max
        )

    def now_ms(self) -> int:
        """Partition time."""
        return self._time.now_ms()

    def envelope(self) -> r.Envelope:
        """For a record of the open batch, at this moment."""
        return unsealed(self._token, self._batch.number, self._time.now_ms(), self._around.node, applying.VERSION)

    def admit(self, record: r.EnvelopedRecord, *, about: str | None) -> Mapping[bytes, bytes | None]:
        """Put a record in the open batch and its rows in the overlay.

        Args:
            record: With an `envelope` of this ledger.
            about: The instance whose watchers the commit concerns.

        Returns:
            The rows it changes.
        """
        rows = applying.Rows(self.overlay, self.place.partition)
        applying.apply_body(rows, record)
        self.overlay.put(rows.changed, self._batch.number)
        self._batch.add(record, rows.changed)
        if about is not None:
            self._batch.touched.add(about)
        self._want()
        return rows.changed

    def send(self, *records: LogRecord) -> None:
        """Let records for other topics go with the open batch."""
        self._batch.outgoing.extend(records)

    def after_commit(self, effect: batches.Effect) -> None:
        """Call `effect` when the open batch is committed, and never otherwise."""
        self._batch.effects.append(effect)

    def durable(self) -> Awaitable[None]:
        """Done when the open batch is committed.

        Raises:
            OwnershipLost: (from the awaitable) It was dropped.
        """
        return _waiter_of(self._batch)

    def durable_so_far(self) -> Awaitable[None]:
        """Done when all that was admitted is committed; for who changes nothing, and so opens no batch that ends.

        Raises:
            OwnershipLost: (from the awaitable) Some of it was dropped.
        """
        if self._batch.records:
            return self.durable()
        if self._in_flight:
            return _waiter_of(self._in_flight[-1])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def seal(self, positions: Sequence[r.Position], deliveries: Sequence[r.Delivery]) -> batches.Sealed:
        """Close the open batch, its last record carrying these, and open the next one."""
        batch = self._batch
        rows = applying.Rows(self.overlay, self.place.partition)
        last = replace(batch.records[-1].envelope, positions=tuple(positions), deliveries=tuple(deliveries))
        applying.apply_envelope(rows, last)
        self.overlay.put(rows.changed, batch.number)
        batch.mutations.update(rows.changed)
        sealed = batches.seal(batch, self._head, self.place.topics.history, self.place.partition, positions, deliveries)
        self._head = sealed.head
        self._in_flight.append(batch)
        self._batch = batches.Batch(number=batch.number + 1)
        return sealed

    def committed(self, sealed: batches.Sealed, offsets: Sequence[int]) -> None:
        """The batch is in the log: the store first, then everything that waited for it."""
        batch = self._in_flight.popleft()
        assert batch is sealed.batch, "batches are committed in order"
        self.store.write(batch.mutations | put_head(sealed.head_at(offsets)))
        self.overlay.commit(batch.mutations, batch.number)
        for effect in batch.effects:
            effect()
        batch.tell(None)
        self._suspicion.committed(batch.turns)
        for instance in batch.touched:
            self._watchers.touched(instance)
        self._around.wakeup.signal()

    def failed(self, sealed: batches.Sealed, error: LogError) -> None:
        """The batch was not committed, as far as is known."""
        self._suspicion.failed(sealed.batch.turns, error)

    def drop(self, error: Exception) -> None:
        """Tell everybody who waits for a batch that it did not happen, as far as this owner knows."""
        for batch in (*self._in_flight, self._batch):
            batch.tell(error)


def _waiter_of(batch: batches.Batch) -> "asyncio.Future[None]":
    """One for each: who gives up takes nothing from the others. A shielded common one took three callbacks more."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    batch.waiters.append(waiter)
    return waiter
