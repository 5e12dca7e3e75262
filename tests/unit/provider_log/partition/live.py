"""A running partition without its shells: what is admitted is committed when the test says so."""

import asyncio
from collections.abc import Sequence

from engine.clock import ManualClock
from engine.model.messages import AnyMessage
from engine.runtime.doors import Chance
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import LogRecord, StoredRecord
from provider_log.log.wakeup import Wakeup
from provider_log.options import SLOTS, LogProviderOptions
from provider_log.partition.backlog import Backlog
from provider_log.partition.effects import Arrivals, Watchers
from provider_log.partition.lanes import arrive
from provider_log.partition.ledger import Surroundings
from provider_log.partition.live import LivePartition
from provider_log.partition.plan import Place
from provider_log.partition.suspicion import Suspicion
from provider_log.routing import RULE
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.memory import DictStore
from provider_log.store.tables import GENESIS, GenesisRow, HeadRow, pack
from provider_log.topics import Topics

TOKEN = b"o" * r.TOKEN_BYTES
TOPICS = Topics.of("app")


class Bench:
    """Partition `partition` of `partitions`, its log played by the test."""

    def __init__(self, partition: int = 0, partitions: int = 1, options: LogProviderOptions | None = None) -> None:
        self.clock = ManualClock()
        self.store = DictStore()
        genesis = GenesisRow("app", b"a" * 16, "cluster", partition, partitions, RULE, SLOTS)
        self.store.write({keys.named(Table.META, GENESIS): pack(genesis)})
        self.place = Place(TOPICS, partition, partitions)
        self.around = Surroundings(
            place=self.place,
            node="node",
            clock=self.clock,
            chance=Chance(1),
            options=options or LogProviderOptions(),
            wakeup=Wakeup(),
        )
        self.backlog = Backlog()
        self.suspicion = Suspicion()
        self.arrivals = Arrivals()
        self.wanted = asyncio.Event()
        self.live = self.open()
        self._offsets = 0

    def open(self) -> LivePartition:
        """A partition over the store as it is, as after a restore."""
        head = HeadRow(token=TOKEN, epoch=1)
        watchers = Watchers(lambda _instance: None)
        return LivePartition(
            self.around, TOKEN, head, self.store, self.backlog, watchers, self.wanted.set, self.suspicion
        )

    def arrive(
        self,
        value: bytes | None,
        *,
        offset: int,
        lane: r.Lane = r.Lane.ORCHESTRATOR,
        key: bytes | None = b"i",
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        """Let a record of a lane come in."""
        topic = {
            r.Lane.ORCHESTRATOR: TOPICS.orchestrator,
            r.Lane.MESSAGES: TOPICS.messages,
            r.Lane.WORKER: TOPICS.worker,
        }[lane]
        stored = StoredRecord(
            topic=topic, partition=self.place.partition, offset=offset, timestamp_ms=1, key=key, value=value,
            headers=headers,
        )  # fmt: skip
        arrive(self.live, self.place, lane, stored, self.arrivals)

    def send(self, message: AnyMessage, *, offset: int, lane: r.Lane = r.Lane.ORCHESTRATOR) -> None:
        """Let a message come in."""
        self.arrive(codec.encode_message(message), offset=offset, lane=lane, key=message.instance.encode())

    def commit(self) -> tuple[Sequence[r.AnyRecord], Sequence[LogRecord]]:
        """Seal and commit the open batch; its history records, and what went to other topics."""
        sealed = self.live.seal()
        for record in sealed.log_records:
            assert record.size_bytes <= 4 * 1024 * 1024, "expected records that their topics take"
        offsets = range(self._offsets, self._offsets + len(sealed.log_records))
        self._offsets += len(sealed.log_records)
        self.live.ledger.committed(sealed, offsets)
        history = sealed.log_records[: sealed.history_count]
        decoded = [codec.decode_record(record.value or b"") for record in history]
        return decoded, sealed.log_records[sealed.history_count :]
