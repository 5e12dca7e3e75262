"""Does a restore believe exactly what the log says, and refuse a log that contradicts itself?"""

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from engine.clock import ManualClock
from engine.runtime.doors import Chance
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.log.simulated import SimulatedLog
from provider_log.partition.head import ChangelogBroken, chained, follow
from provider_log.partition.restore import Restore, RestoreStalled, head_of
from provider_log.store import keys
from provider_log.store.keys import Table
from provider_log.store.memory import DictStore
from provider_log.store.tables import GenesisRow, HeadRow, pack, unpack
from provider_log.topics import Topics

TOPICS = Topics.of("app")
UNKNOWN = b"\xc3\x01" + b"\xff" * 8
"""A record under a fingerprint that no released schema has."""

FIRST, SECOND, THIRD = b"1" * 16, b"2" * 16, b"3" * 16

pytestmark = pytest.mark.anyio


class Log:
    """A history that the test writes record by record; envelopes continue it unless the test changes them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = SimulatedLog(self.clock, chance=Chance(1))
        self.head = HeadRow()
        self.was_clean: bool | None = None

    async def open(self) -> "Log":
        await self.log.create_topics(TOPICS.specs(1))
        return self

    async def append(self, record: r.AnyRecord) -> None:
        data = codec.encode_record(record)
        offset = await self.log.append(LogRecord(topic=TOPICS.history, partition=0, key=None, value=data))
        try:
            self.head = follow(self.head, offset, record, data).head
        except ChangelogBroken:
            self.head = replace(self.head, offset=offset, chain=chained(self.head.chain, data))

    async def append_bytes(self, data: bytes) -> None:
        await self.log.append(LogRecord(topic=TOPICS.history, partition=0, key=None, value=data))

    async def acquire(self, token: bytes, node: str = "n") -> None:
        await self.append(r.OwnershipAcquired(owner_token=token, node=node, address="", generation=0, slots=4))

    async def raise_level(
        self, level: int, change: Callable[[r.Envelope], r.Envelope] = lambda envelope: envelope
    ) -> None:
        await self.append(r.FeatureLevelRaised(envelope=change(self.next_envelope()), level=level))

    def next_envelope(self) -> r.Envelope:
        return r.Envelope(
            owner_token=self.head.token, batch=self.head.batch + 1, index=0, count=1, last=True, apply_version=1,
            chain=self.head.chain, time_ms=self.head.time_ms, node="n",
        )  # fmt: skip

    async def release(self) -> None:
        await self.append(r.OwnershipReleased(envelope=self.next_envelope(), clean=True))

    async def restored(self, token: bytes, store: DictStore | None = None) -> DictStore:
        store = DictStore() if store is None else store
        restored = await Restore(self.log, TOPICS.history, 0, store, self.clock, 0).until(token, None)
        assert restored.head == head_of(store)
        self.was_clean = restored.is_clean
        return store


def level(store: DictStore) -> bytes | None:
    return store.get(keys.named(Table.META, "feature_level"))


async def test_everything_up_to_the_own_acquire_record_is_applied_and_nothing_after_it() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.raise_level(5)
    await log.acquire(SECOND)
    await log.raise_level(6)
    store = await log.restored(SECOND)
    assert level(store) == b"\x05"
    assert head_of(store).epoch == 2


@pytest.mark.parametrize("is_behind", [True, False], ids=["from-nothing", "from-a-store"])
async def test_an_owner_that_ended_without_a_word_is_told_from_one_that_said_goodbye(is_behind: bool) -> None:
    """From the records on the way, and if there are none, from the one at which the store stands."""
    log, clean = await Log().open(), list[bool | None]()
    store = DictStore()

    async def takes(token: bytes) -> None:
        await log.acquire(token)
        await log.restored(token, DictStore() if is_behind else store)
        clean.append(log.was_clean)

    await takes(FIRST)
    await log.raise_level(5)
    await log.release()
    await takes(SECOND)
    await takes(THIRD)  # the second had no time for anything but its first delivery, of which nothing tells
    await log.raise_level(6)
    await takes(b"4" * 16)
    await log.release()
    if not is_behind:
        with pytest.raises(RestoreStalled):
            await log.restored(b"5" * 16, store)  # reads all there is
    await takes(b"5" * 16)
    assert clean == [True, True, False, False, True]


async def test_a_record_of_a_former_owner_is_counted_and_has_no_effect() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.raise_level(5)
    await log.acquire(SECOND)
    await log.raise_level(9, lambda envelope: replace(envelope, owner_token=FIRST, batch=2))
    await log.raise_level(6)
    await log.acquire(THIRD)
    store = await log.restored(THIRD)
    assert level(store) == b"\x06"
    assert head_of(store).void == 1


REFUSALS: Sequence[tuple[str, Callable[[r.Envelope], r.Envelope]]] = [
    ("record 0 of batch 2", lambda envelope: replace(envelope, batch=3)),
    ("record 0 of batch 2", lambda envelope: replace(envelope, batch=1)),
    ("last-record flag", lambda envelope: replace(envelope, last=False)),
    ("expected chain", lambda envelope: replace(envelope, chain=b"x" * 16)),
    ("expected a time", lambda envelope: replace(envelope, time_ms=-1)),
]


@pytest.mark.parametrize(("why", "change"), REFUSALS, ids=["gap", "step back", "torn", "chain", "time"])
async def test_a_log_that_does_not_continue_is_refused(why: str, change: Callable[[r.Envelope], r.Envelope]) -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.raise_level(5)
    await log.raise_level(6, change)
    await log.acquire(SECOND)
    with pytest.raises(ChangelogBroken, match=why):
        await log.restored(SECOND)


async def test_a_torn_batch_before_an_acquire_is_refused() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.raise_level(5, lambda envelope: replace(envelope, count=2, last=False))
    await log.acquire(SECOND)
    with pytest.raises(ChangelogBroken, match="expected the rest of batch 1"):
        await log.restored(SECOND)


async def test_a_record_that_cannot_be_decoded_is_never_passed_over() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.log.append(LogRecord(topic=TOPICS.history, partition=0, key=None, value=b"garbage"))
    await log.acquire(SECOND)
    with pytest.raises(ChangelogBroken, match="begins with"):
        await log.restored(SECOND)


async def test_a_record_without_a_value_is_refused() -> None:
    log = await Log().open()
    await log.log.append(LogRecord(topic=TOPICS.history, partition=0, key=None, value=None))
    await log.acquire(FIRST)
    with pytest.raises(ChangelogBroken, match="its value is empty"):
        await log.restored(FIRST)


async def test_a_store_that_is_behind_is_brought_up_and_equals_one_built_from_nothing() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.raise_level(5)
    await log.acquire(SECOND)
    behind = await log.restored(SECOND)
    behind.rows[b"\x01mark"] = b"kept"
    await log.raise_level(6)
    await log.acquire(THIRD)
    await log.restored(THIRD, behind)
    assert behind.rows.pop(b"\x01mark") == b"kept", "expected the store to be kept, but it was built again"
    assert behind.rows == (await log.restored(THIRD)).rows


async def test_a_store_that_is_ahead_of_its_log_is_built_again() -> None:
    longer, shorter = await Log().open(), await Log().open()
    for log in (longer, shorter):
        await log.acquire(FIRST)
    for number in range(5):
        await longer.raise_level(number)
    await longer.acquire(SECOND)
    await shorter.acquire(SECOND)
    ahead = await longer.restored(SECOND)
    await shorter.restored(SECOND, ahead)
    assert ahead.rows == (await shorter.restored(SECOND)).rows


async def test_a_store_of_another_log_is_built_again_although_its_offset_exists() -> None:
    one, other = await Log().open(), await Log().open()
    await one.acquire(FIRST)
    await other.acquire(SECOND)
    for number in range(5):
        await one.raise_level(number)
        await other.raise_level(number + 10)
    await one.acquire(THIRD)
    store = await one.restored(THIRD)
    for number in range(5):
        await other.raise_level(number + 20)
    await other.acquire(THIRD)
    store.rows[keys.named(Table.META, "head")] = (await one.restored(THIRD)).rows[keys.named(Table.META, "head")]
    await other.restored(THIRD, store)
    assert store.rows == (await other.restored(THIRD)).rows


def genesis(application_id: bytes) -> r.Genesis:
    return r.Genesis(
        application="app", application_id=application_id, cluster_id="c", partition=0, partitions=1, routing="r",
        slots=4, created_at_ms=1,
    )  # fmt: skip


async def test_a_store_that_stands_at_the_genesis_of_another_log_is_built_again() -> None:
    one, other = await Log().open(), await Log().open()
    for log, application_id in ((one, b"a" * 16), (other, b"b" * 16)):
        await log.acquire(FIRST)
        await log.append(genesis(application_id))
    stored = DictStore()
    with pytest.raises(RestoreStalled):
        await one.restored(SECOND, stored)  # reads all there is, and waits for a record that does not come
    assert head_of(stored).offset == 1
    await other.acquire(SECOND)
    await other.restored(SECOND, stored)
    assert stored.rows == (await other.restored(SECOND)).rows


async def test_a_store_that_stands_at_the_genesis_of_another_partition_is_built_again() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.append(genesis(b"a" * 16))
    stored, key = DictStore(), keys.named(Table.META, "genesis")
    with pytest.raises(RestoreStalled):
        await log.restored(SECOND, stored)
    stored.rows[key] = pack(replace(unpack(GenesisRow, stored.rows[key]), partition=1))
    await log.acquire(SECOND)
    await log.restored(SECOND, stored)
    assert stored.rows == (await log.restored(SECOND)).rows


async def test_a_store_that_stands_at_a_void_record_is_built_again() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.acquire(SECOND)
    await log.raise_level(9, lambda envelope: replace(envelope, owner_token=FIRST))
    store = DictStore()
    with pytest.raises(RestoreStalled):
        await log.restored(THIRD, store)
    store.rows[b"\x01mark"] = b"gone"
    await log.acquire(THIRD)
    await log.restored(THIRD, store)
    assert store.rows == (await log.restored(THIRD)).rows


async def test_a_history_that_was_cut_is_refused() -> None:
    log = await Log().open()
    await log.acquire(FIRST)
    await log.raise_level(5)
    await log.acquire(SECOND)
    await log.log.delete_records(TOPICS.history, 0, 2)
    with pytest.raises(ChangelogBroken, match="begins at 2"):
        await log.restored(SECOND)


async def test_an_acquire_record_behind_an_open_transaction_stalls_the_restore() -> None:
    log = await Log().open()
    stranger = await log.log.open_producer("stranger")
    await stranger.produce([LogRecord(topic=TOPICS.history, partition=0, key=None, value=b"open")])
    await log.acquire(FIRST)
    with pytest.raises(RestoreStalled, match="stranger has a transaction open"):
        await log.restored(FIRST)


async def test_a_broken_history_says_which_nodes_came_no_further() -> None:
    log = await Log().open()
    await log.acquire(FIRST, "before")
    await log.append_bytes(b"no record")
    await log.acquire(SECOND, "second")
    await log.acquire(THIRD, "third")
    with pytest.raises(ChangelogBroken) as broken:
        await log.restored(THIRD)
    assert broken.value.tried == {"second", "third"}


async def test_a_record_that_a_later_owner_could_use_is_held_against_nobody() -> None:
    """A newer version wrote it, and a newer node went on: that this one cannot is for this one to say."""
    log = await Log().open()
    await log.acquire(FIRST, "before")
    await log.append_bytes(b"of a schema to come")
    await log.acquire(SECOND, "newer")
    await log.raise_level(2)
    await log.acquire(THIRD, "third")
    with pytest.raises(ChangelogBroken) as broken:
        await log.restored(THIRD)
    assert broken.value.tried == frozenset()


async def test_who_acquired_in_the_midst_of_a_batch_is_one_that_came_no_further() -> None:
    log = await Log().open()
    await log.acquire(FIRST, "before")
    await log.raise_level(2, lambda envelope: replace(envelope, count=2, last=False))
    await log.acquire(SECOND, "second")
    await log.acquire(THIRD, "third")
    with pytest.raises(ChangelogBroken, match="expected the rest of batch") as broken:
        await log.restored(THIRD)
    assert broken.value.tried == {"second", "third"}


async def test_a_later_owner_that_wrote_what_this_version_does_not_know_went_on() -> None:
    log = await Log().open()
    await log.acquire(FIRST, "before")
    await log.append_bytes(UNKNOWN)
    await log.acquire(SECOND, "newer")
    await log.append_bytes(UNKNOWN)
    await log.acquire(THIRD, "old")
    with pytest.raises(ChangelogBroken, match="upgrade this node") as broken:
        await log.restored(THIRD)
    assert broken.value.tried == frozenset()
