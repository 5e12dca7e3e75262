"""Is a record refused that does not continue the ones before it?"""

from typing import Any

import pytest
from msgspec.structs import replace

from provider_log import codec
from provider_log import records as r
from provider_log.partition.head import ChangelogBroken, Followed, chained, follow
from provider_log.store.tables import HeadRow

TOKEN, OTHER = b"a" * 16, b"b" * 16
HEAD = HeadRow(
    offset=9, chain=b"c" * 16, token=TOKEN, batch=4, index=2, count=3, epoch=2, time_ms=1_000, void=0
)  # fmt: skip
MID_BATCH = replace(HEAD, index=1)


def resumed(**changes: Any) -> r.InstanceResumed:
    """The record that continues HEAD, but for `changes`."""
    fields: dict[str, Any] = {
        "owner_token": TOKEN, "batch": 5, "index": 0, "count": 1, "last": True, "apply_version": 1,
        "chain": HEAD.chain, "time_ms": 1_000, "node": "n",
    }  # fmt: skip
    return r.InstanceResumed(envelope=r.Envelope(**(fields | changes)), instance="i")


def acquired(token: bytes) -> r.OwnershipAcquired:
    return r.OwnershipAcquired(owner_token=token, node="n", address="", generation=0, slots=4)


GENESIS = r.Genesis(
    application="app", application_id=b"i" * 16, cluster_id="c", partition=0, partitions=1, routing="r", slots=4,
    created_at_ms=1,
)  # fmt: skip


def followed(head: HeadRow, record: r.AnyRecord) -> Followed:
    return follow(head, 12, record, codec.encode_record(record))


def test_a_record_that_continues_moves_the_head() -> None:
    record = resumed(time_ms=1_001)
    after = followed(HEAD, record)
    assert not after.void
    assert after.head == replace(
        HEAD,
        offset=12,
        chain=chained(HEAD.chain, codec.encode_record(record)),
        batch=5,
        index=0,
        count=1,
        time_ms=1_001,
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"batch": 6}, "record 0 of batch 5, but found record 0 of batch 6"),
        ({"batch": 4}, "record 0 of batch 5, but found record 0 of batch 4"),
        ({"index": 1, "count": 2}, "but found record 1 of batch 5"),
        ({"last": False}, "last-record flag"),
        ({"count": 2}, "last-record flag"),
        ({"chain": b"d" * 16}, "expected chain"),
        ({"time_ms": 999}, "expected a time from 1000 on"),
    ],
)
def test_a_record_that_does_not_continue_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ChangelogBroken, match=why) as refusal:
        followed(HEAD, resumed(**changes))
    assert refusal.value.offset == 12


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"batch": 5, "index": 0, "count": 1}, "record 2 of batch 4, but found record 0 of batch 5"),
        ({"batch": 4, "index": 1, "count": 3, "last": False}, "but found record 1 of batch 4"),
        ({"batch": 4, "index": 2, "count": 4, "last": False}, "a batch of 3 records, but this one says 4"),
        ({"batch": 4, "index": 2, "count": 3, "last": False}, "last-record flag"),
    ],
)
def test_in_the_middle_of_a_batch_only_its_next_record_continues(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ChangelogBroken, match=why):
        followed(MID_BATCH, resumed(**changes))
    assert followed(MID_BATCH, resumed(batch=4, index=2, count=3)).head.index == 2


def test_a_torn_batch_is_refused_when_the_next_owner_comes() -> None:
    with pytest.raises(ChangelogBroken, match="expected the rest of batch 4"):
        followed(MID_BATCH, acquired(OTHER))


def test_a_new_owner_begins_a_new_count_of_batches() -> None:
    head = followed(HEAD, acquired(OTHER)).head
    assert (head.token, head.batch, head.index, head.count, head.epoch) == (OTHER, 0, 0, 1, 3)
    assert not followed(head, resumed(owner_token=OTHER, batch=1, chain=head.chain)).void


def test_a_record_of_a_former_owner_is_void_and_changes_only_the_count() -> None:
    head = followed(HEAD, acquired(OTHER)).head
    void = followed(head, resumed())
    assert void.void
    assert void.head == replace(head, offset=12, void=1)


@pytest.mark.parametrize("changes", [{"batch": 99}, {"chain": b"d" * 16}, {"time_ms": 0}, {"last": False}])
def test_a_void_record_may_say_what_it_likes(changes: dict[str, Any]) -> None:
    assert followed(replace(HEAD, token=OTHER), resumed(**changes)).void


def test_the_genesis_is_in_the_chain_and_in_no_batch() -> None:
    head = followed(HEAD, GENESIS).head
    assert head == replace(HEAD, offset=12, chain=chained(HEAD.chain, codec.encode_record(GENESIS)))


def test_the_chain_tells_one_byte_from_another() -> None:
    assert chained(HEAD.chain, b"one") != chained(HEAD.chain, b"two") != chained(b"d" * 16, b"two")
    assert len(chained(HEAD.chain, b"one")) == r.CHAIN_BYTES
