"""Are keys in the order of what they stand for, and is no key the beginning of another instance's?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_log.store import keys
from provider_log.store.keys import Table

ids = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=8)
numbers = st.integers(0, 2**63 - 1)
tables = st.sampled_from([Table.HISTORY, Table.TIMER, Table.WORK])


@given(tables, st.tuples(ids, numbers, numbers), st.tuples(ids, numbers, numbers))
def test_the_order_of_keys_is_the_order_of_ids_and_numbers(
    table: Table, one: tuple[str, int, int], other: tuple[str, int, int]
) -> None:
    def place(row: tuple[str, int, int]) -> tuple[bytes, int, int]:
        return (row[0].encode(), row[1], row[2])

    assert (keys.in_execution(table, *one) < keys.in_execution(table, *other)) == (place(one) < place(other))


@given(st.sampled_from(Table), ids, ids)
def test_the_rows_of_an_instance_are_one_prefix_that_no_other_has(table: Table, one: str, other: str) -> None:
    prefix, key = keys.instance_prefix(table, one), keys.numbered(table, other, 7)
    assert key.startswith(prefix) == (one == other)


@given(ids, numbers, numbers)
def test_a_key_says_whose_it_is(instance: str, execution_id: int, number: int) -> None:
    key = keys.in_execution(Table.WORK, instance, execution_id, number)
    assert keys.instance_of(key) == instance
    assert keys.numbers_of(key) == (execution_id, number)


@given(ids, numbers)
def test_an_executions_events_are_one_prefix(instance: str, execution_id: int) -> None:
    prefix = keys.history_prefix(instance, execution_id)
    assert keys.in_execution(Table.HISTORY, instance, execution_id, 1).startswith(prefix)
    assert not keys.in_execution(Table.HISTORY, instance, execution_id + 1, 1).startswith(prefix)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (keys.named(Table.META, "head"), "META head"),
        (keys.named(Table.POSITION, "orchestrator"), "POSITION orchestrator"),
        (keys.instance_prefix(Table.INSTANCE, "i"), "INSTANCE i"),
        (keys.numbered(Table.INBOX, "i", 7), "INBOX i 7"),
        (keys.in_execution(Table.HISTORY, "i", 1, 2), "HISTORY i 1 2"),
        (keys.seen("i", "message-1"), "SEEN i message-1"),
        (b"\xeeabc", "unknown table, key ee616263"),
        (b"", "unknown table, key "),
        (bytes([Table.INBOX]) + b"i", "INBOX 69"),
        (bytes([Table.INBOX]) + b"i\x00\x01\x02", "INBOX i 0102"),
    ],
)
def test_a_key_is_told_to_people(key: bytes, text: str) -> None:
    assert keys.describe(key) == text


def test_a_schemas_key_is_its_texts_digest() -> None:
    assert keys.schema("text") == keys.schema("text") != keys.schema("another")


def test_no_two_tables_share_a_byte() -> None:
    assert len({keys.table_prefix(table) for table in Table}) == len(Table)


@pytest.mark.parametrize("key", [bytes([Table.INBOX]) + b"\xff\x00" + bytes(8), bytes([Table.SEEN]) + b"\xff\x00\xff"])
def test_a_damaged_key_is_told_to_people_too(key: bytes) -> None:
    assert keys.describe(key).startswith(Table(key[0]).name)
