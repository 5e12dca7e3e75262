"""Is a sealed batch what a restore expects next, and are its positions where a restore looks for them?"""

import asyncio
import gc

import pytest
from msgspec.structs import replace

from engine.errors import OwnershipLost
from provider_log import codec
from provider_log import records as r
from provider_log.log.port import LogRecord
from provider_log.partition.batch import Batch, Sealed, seal
from provider_log.partition.head import ChangelogBroken, follow
from provider_log.store.tables import HeadRow

TOKEN = b"o" * r.TOKEN_BYTES
HEAD = HeadRow(offset=9, chain=b"c" * 16, token=TOKEN, batch=4, epoch=2, time_ms=1_000)
ENVELOPE = r.Envelope(
    owner_token=TOKEN, batch=5, index=0, count=1, last=True, apply_version=1, chain=bytes(16), time_ms=1_000, node="n"
)
POSITION = r.Position(r.Lane.ORCHESTRATOR, 5, (7,))
DELIVERY = r.Delivery(
    instance="i", execution_id=1, activity_id=2, attempt=1, nonce=b"n", worker="w", lease_end_ms=9_000
)
OUTGOING = LogRecord(topic="app.messages", partition=1, key=b"j", value=b"message")

pytestmark = pytest.mark.anyio


def sealed(*records: r.EnvelopedRecord) -> Sealed:
    batch = Batch(number=5)
    for record in records:
        batch.add(record, {})
    batch.outgoing.append(OUTGOING)
    return seal(batch, HEAD, "app.history", 0, [POSITION], [DELIVERY])


def resumed(instance: str, time_ms: int = 1_000) -> r.InstanceResumed:
    return r.InstanceResumed(envelope=replace(ENVELOPE, time_ms=time_ms), instance=instance)


async def test_its_records_continue_the_head_and_each_other() -> None:
    made = sealed(resumed("a"), resumed("b", 1_001), resumed("c", 1_001))
    head = HEAD
    for offset, record in enumerate(made.log_records[: made.history_count], start=20):
        head = follow(head, offset, codec.decode_record(record.value or b""), record.value or b"").head
    assert head == made.head_at([20, 21, 22, 3]) == replace(made.head, offset=22)


async def test_positions_and_deliveries_stand_on_its_last_record() -> None:
    made = sealed(resumed("a"), resumed("b"))
    found = [codec.decode_record(record.value or b"") for record in made.log_records[:2]]
    assert [
        (one.envelope.positions, one.envelope.deliveries) for one in found if isinstance(one, r.InstanceResumed)
    ] == [
        ((), ()),
        ((POSITION,), (DELIVERY,)),
    ]


async def test_the_history_comes_first_and_is_keyed_by_instance() -> None:
    made = sealed(resumed("a"), r.FeatureLevelRaised(envelope=ENVELOPE, level=1))
    assert [(record.topic, record.key) for record in made.log_records] == [
        ("app.history", b"a"),
        ("app.history", None),
        ("app.messages", b"j"),
    ]
    assert made.history_count == 2


async def test_what_a_restore_would_refuse_is_never_written() -> None:
    with pytest.raises(ChangelogBroken, match="expected a time from"):
        sealed(resumed("a", 999))


async def test_who_gives_up_waiting_takes_nothing_from_the_others_and_who_never_waits_is_told_nothing() -> None:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    batch = Batch(number=1, waiters=[loop.create_future() for _ in range(3)])
    impatient, patient, _ = batch.waiters
    impatient.cancel()

    batch.tell(OwnershipLost("commit", "it was dropped"))

    with pytest.raises(OwnershipLost):
        await patient
    del batch, impatient, patient, _
    gc.collect()
    assert not reported
